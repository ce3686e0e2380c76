"""Hyperliquid margin rules: perpetuals of all dexes.

Maintenance of a position = notional at the mark * rate - deduction of the tier that holds the notional; a tier's rate
is half the initial margin at its maximum leverage, 1 / (2 * maximum leverage), and the deductions make it continuous
(documentation, "Margining" and "Margin tiers"). Neither fees nor the leverage a user chose enter it.

There are two stages ("Liquidations"): below maintenance the engine sends market orders; below two thirds of it the
backstop takes over everything, which is stated as the last stage.

What shares collateral depends on the account's mode ("Account abstraction modes"). In standard mode each dex keeps a
balance of its own, so a builder-deployed dex's margin coin is written with the dex before it, ``xyz:USDC``. In unified
mode (`AccountMode.MULTI_ASSET`) all dexes share one balance per token. Under portfolio margin the whole account is one
pool whose requirement only the venue can say.
"""

from functools import lru_cache

from monitor.margin.rules import Held
from monitor.margin.tiers import Maintenance, Segment, segments_by_notional
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis
from monitor.model.ids import MULTI_SCOPE
from monitor.model.instrument import Tier

BACKSTOP_SHARE = 2.0 / 3.0
"""Share of maintenance below which the backstop liquidates."""


@lru_cache(maxsize=4096)
def _maintenance(tiers: tuple[Tier, ...]) -> Maintenance:
    first = segments_by_notional(tiers)
    backstop = tuple(Segment(s.floor, s.cap, s.alpha * BACKSTOP_SHARE, s.beta * BACKSTOP_SHARE) for s in first)
    return Maintenance(first, backstop or None)


class HyperliquidRules:
    """Hyperliquid; see this module's docstring."""

    venue = "hyperliquid"
    cut_releases_isolated_margin = True
    counts_pooled_size = False
    default_account_mode = AccountMode.SINGLE_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """The dex's own balance in standard mode, the token in unified mode, ``multi`` under portfolio margin."""
        if mode is AccountMode.PORTFOLIO:
            return MULTI_SCOPE
        return coin if mode is AccountMode.SINGLE_ASSET else _token(coin)

    def unit(self, mode: AccountMode, coin: str) -> str:
        """The coin as in the scope; USD, in which portfolio margin adds up."""
        return "USD" if mode is AccountMode.PORTFOLIO else self.cross_scope(mode, coin)

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Computed, save what portfolio margin takes together."""
        together = mode is AccountMode.PORTFOLIO and margin_mode is MarginMode.CROSS
        return Basis.REPORTED if together else Basis.COMPUTED

    def maintenance(self, held: Held) -> Maintenance:
        """The margin table: the notional chooses, and nothing else counts. The backstop stands at two thirds of it."""
        return _maintenance(held.instrument.tiers)

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One: every token that margins perpetuals is the pool's unit, or under portfolio margin a dollar."""
        return 1.0

    def venue_margin_ratio(self, ratio: float, basis: Basis = Basis.COMPUTED) -> float | None:
        """The unified and the portfolio ratio that the venue shows are the same quotient."""
        return ratio


def _token(coin: str) -> str:
    """A margin coin without the dex before it."""
    return coin.rpartition(":")[2]


RULES = HyperliquidRules()
