"""Binance COIN-M margin rules.

Inverse contracts, paid and margined in their base coin: notional in the coin = contracts * contract size / mark, and
maintenance = notional * rate - cumulative amount of the bracket (stated in the coin) that holds it (FAQ
ceccfcfb4e3a45e3b48b0b1bb1a8ae46). An isolated position stands alone with its wallet; cross positions, perpetual and
quarterly alike, share the wallet of their coin, and coins do not help each other. Neither fees nor leverage enter
maintenance.
"""

from functools import lru_cache

from monitor.margin.rules import Held
from monitor.margin.tiers import Maintenance, segments_by_notional
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis
from monitor.model.instrument import Tier


@lru_cache(maxsize=4096)
def _maintenance(tiers: tuple[Tier, ...]) -> Maintenance:
    return Maintenance(segments_by_notional(tiers))


class BinanceCoinRules:
    """Binance COIN-M; see this module's docstring."""

    venue = "binance-coinm"
    cut_releases_isolated_margin = True
    counts_pooled_size = False
    default_account_mode = AccountMode.SINGLE_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """The coin, whatever the mode: multi-assets mode is one of USD-M."""
        return coin

    def unit(self, mode: AccountMode, coin: str) -> str:
        """The coin."""
        return coin

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Computed, in every mode that there is."""
        return Basis.COMPUTED

    def maintenance(self, held: Held) -> Maintenance:
        """The brackets: the notional in the coin chooses, and nothing else counts. Binance states one threshold."""
        return _maintenance(held.instrument.tiers)

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One: the pool's unit is the coin."""
        return 1.0

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """Binance shows the same quotient (as a percentage)."""
        return ratio


RULES = BinanceCoinRules()
