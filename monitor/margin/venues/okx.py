"""OKX margin rules (V5 accounts).

Maintenance of a position = notional at the mark * rate of its tier. The tier goes by the count of contracts, not by
notional, and its rate holds for the whole position (help centre, "position tiers" and "liquidation in unified
account"). Cross and isolated positions have tables of their own. In a cross pool the long and the short side of an
instrument are counted together. OKX's ratio divides equity by maintenance plus the fee to close at the user's taker
rate, so the fee is part of what is required here: where the ratio is 100 %, margin balance meets maintenance.

Liquidation has two stages from the third tier up: at the ratio of the position's own tier OKX closes what brings it two
tiers down; at that of tier 1 it closes all (help centre, "forced partial or full liquidation"). In the first two
tiers everything is closed at once.

Futures mode (account level 2) has one cross pool per currency, multi-currency mode (3) one for all in USD. The
requirement in portfolio margin (4) is a set of stress tests that only OKX can run. What a pool in any mode requires is
held as reported while an expiry future, an option or a borrowed coin stands in it: tiers of futures are counted over
all expiries of a family, and options have formulas of their own.
"""

from functools import lru_cache
from math import inf

from monitor.margin.rules import Held
from monitor.margin.tiers import UNKNOWN, Maintenance, Segment
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis
from monitor.model.ids import MULTI_SCOPE
from monitor.model.instrument import Tier

DEFAULT_TAKER_FEE_RATE = 0.0005
"""Of a regular user; reproduces every published ratio."""

_PARTIAL_FROM = 2
"""Index of the tier from which positions are liquidated in part first."""

_DOLLARS = {"USD", "USDT", "USDC", "USDG"}


def tier_index(tiers: tuple[Tier, ...], contracts: float) -> int:
    """The tier that holds so many contracts; past the table its last one. Edges belong to the lower tier."""
    for index, tier in enumerate(tiers):
        if tier.cap is None or contracts <= tier.cap:
            return index
    return len(tiers) - 1


@lru_cache(maxsize=4096)
def _flat(rate: float, full_rate: float | None, ahead: float) -> Maintenance:
    """The same rates at every notional."""
    full = None if full_rate is None else (Segment(0.0, inf, full_rate, 0.0),)
    return Maintenance((Segment(0.0, inf, rate, 0.0),), full, ahead=ahead)


class OkxRules:
    """OKX; see this module's docstring."""

    venue = "okx"
    cut_releases_isolated_margin = True
    counts_pooled_size = True
    default_account_mode = AccountMode.SINGLE_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """The currency, or ``multi``."""
        return coin if mode is AccountMode.SINGLE_ASSET else MULTI_SCOPE

    def unit(self, mode: AccountMode, coin: str) -> str:
        """The currency, or USD, in which OKX adds up all of them."""
        return coin if mode is AccountMode.SINGLE_ASSET else "USD"

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Computed, save for what is under portfolio margin; an isolated position that stands beside it is not."""
        portfolio = mode is AccountMode.PORTFOLIO and margin_mode is MarginMode.CROSS
        return Basis.REPORTED if portfolio else Basis.COMPUTED

    def maintenance(self, held: Held) -> Maintenance:
        """The rate of the tier that holds the pool's contracts, plus the fee; full from tier 3 at the rate of tier 1.

        The liquidation price that OKX states for an isolated position is one tick nearer to the mark than where its
        own ratio is 100 %, on every published answer; that of a cross position is not.
        """
        instrument, isolated = held.instrument, held.margin_mode is MarginMode.ISOLATED
        own = instrument.isolated_tiers if isolated else None
        tiers = instrument.tiers if own is None else own
        if not tiers:
            return UNKNOWN
        fee_rate = DEFAULT_TAKER_FEE_RATE if instrument.taker_fee_rate is None else instrument.taker_fee_rate
        index = tier_index(tiers, held.pooled_size)
        rate = tiers[index].rate + fee_rate
        full_rate = tiers[0].rate + fee_rate if index >= _PARTIAL_FROM else None
        return _flat(rate, full_rate, instrument.tick_size or 0.0 if isolated else 0.0)

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One, where the pool's unit is the coin, or a dollar in all but name."""
        return 1.0 if mode is AccountMode.SINGLE_ASSET or coin in _DOLLARS else None

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """OKX shows equity / requirement: it falls towards danger, 1 is liquidation; nothing where nothing is required.

        Equity of zero or less, which is +inf in the project's direction, is shown as 0.
        """
        return 1.0 / ratio if ratio != 0.0 else None


RULES = OkxRules()
