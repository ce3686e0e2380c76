"""Binance USD-M margin rules.

Maintenance of a position = notional at the mark * rate - cumulative amount of the bracket that holds the notional (FAQ
360033162192). An isolated position stands alone with its wallet; cross positions share the wallet of their margin coin
in single-asset mode, and all wallets, valued in USD, in multi-assets mode (FAQ 360033525271). Neither fees nor leverage
enter maintenance. Under portfolio margin all is one pool, and the requirement is held as Binance reports it.
"""

from functools import lru_cache

from monitor.margin.rules import Held
from monitor.margin.tiers import Maintenance, segments_by_notional
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis
from monitor.model.ids import MULTI_SCOPE
from monitor.model.instrument import Tier

UNI_MMR_LIQUIDATION = 1.05
"""uniMMR (adjusted equity / maintenance) at which Binance liquidates an account under portfolio margin (FAQ
ff4b1ab6c27b4ed6b3ebe8e4ed1572f8)."""

_DOLLARS = {"USDT", "USDC", "FDUSD", "BFUSD"}


@lru_cache(maxsize=4096)
def _maintenance(tiers: tuple[Tier, ...]) -> Maintenance:
    return Maintenance(segments_by_notional(tiers))


class BinanceRules:
    """Binance USD-M; see this module's docstring."""

    venue = "binance"
    cut_releases_isolated_margin = True
    counts_pooled_size = False
    default_account_mode = AccountMode.SINGLE_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """The margin coin, or ``multi``."""
        return coin if mode is AccountMode.SINGLE_ASSET else MULTI_SCOPE

    def unit(self, mode: AccountMode, coin: str) -> str:
        """The margin coin, or USD, in which multi-assets mode adds up."""
        return coin if mode is AccountMode.SINGLE_ASSET else "USD"

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Computed, save under portfolio margin."""
        return Basis.REPORTED if mode is AccountMode.PORTFOLIO else Basis.COMPUTED

    def maintenance(self, held: Held) -> Maintenance:
        """The brackets: the notional chooses, and nothing else counts. Binance states one threshold."""
        return _maintenance(held.instrument.tiers)

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One, where the pool's unit is the coin, or a dollar in all but name."""
        return 1.0 if mode is AccountMode.SINGLE_ASSET or coin in _DOLLARS else None

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """The same quotient (as a percentage); under portfolio margin uniMMR, which falls towards danger.

        What is reported there is held as `UNI_MMR_LIQUIDATION` times the venue's requirement, so that 1 is liquidation.
        """
        if self.basis(mode, margin_mode) is Basis.COMPUTED:
            return ratio
        return UNI_MMR_LIQUIDATION / ratio if ratio != 0.0 else None


RULES = BinanceRules()
