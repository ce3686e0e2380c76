"""Hyperliquid margin rules: perpetuals of all dexes.

Maintenance of a position = notional at the mark * rate - deduction of the tier that holds the notional; a tier's rate
is half the initial margin at its maximum leverage, 1 / (2 * maximum leverage), and the deductions make it continuous
(documentation, "Margining" and "Margin tiers"). Neither fees nor the leverage a user chose enter it.

There are two stages ("Liquidations"): below maintenance the engine sends market orders; below two thirds of it the
backstop takes over everything, which is stated as the last stage.

In unified and portfolio mode the venue's application says that what shares collateral may be liquidated above a ratio
of 95 %, where the documentation describes 100 %. UNVERIFIED: which of the two the engine goes by (a liquidation price
recorded under portfolio margin fits 100 %). So that either is survived, the first stage is taken to stand at 95 %: what
is required there is held as maintenance / 0.95, and prices of liquidation lie that much nearer to the mark. Isolated
positions and standard mode have no such threshold.

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

SHARED_LIQUIDATION_RATIO = 0.95
"""The venue's own ratio above which it may liquidate what shares collateral in unified and portfolio mode. UNVERIFIED:
it may be 1."""


def liquidation_ratio(mode: AccountMode, margin_mode: MarginMode) -> float:
    """The venue's own ratio (maintenance / balance) at which its first stage is taken to stand, in such a pool."""
    alone = mode is AccountMode.SINGLE_ASSET or margin_mode is MarginMode.ISOLATED
    return 1.0 if alone else SHARED_LIQUIDATION_RATIO


@lru_cache(maxsize=4096)
def _maintenance(tiers: tuple[Tier, ...], ratio: float) -> Maintenance:
    table = segments_by_notional(tiers)
    return Maintenance(_times(table, 1.0 / ratio), _times(table, BACKSTOP_SHARE) or None)


def _times(segments: tuple[Segment, ...], share: float) -> tuple[Segment, ...]:
    """So many times what is required."""
    return tuple(Segment(s.floor, s.cap, s.alpha * share, s.beta * share) for s in segments)


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
        """The margin table, over the ratio at which the first stage stands. The backstop stands at two thirds of it."""
        return _maintenance(held.instrument.tiers, liquidation_ratio(held.mode, held.margin_mode))

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One: every token that margins perpetuals is the pool's unit, or under portfolio margin a dollar."""
        return 1.0

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """Maintenance / balance; where the first stage stands at 0.95 of that, ours of 1 is the venue's 0.95."""
        return ratio * liquidation_ratio(mode, margin_mode)


def _token(coin: str) -> str:
    """A margin coin without the dex before it."""
    return coin.rpartition(":")[2]


RULES = HyperliquidRules()
