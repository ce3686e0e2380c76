"""Bybit margin rules: V5 unified account, linear (USDT, USDC) and inverse contracts.

Maintenance of a position = value at the mark * rate - deduction of the tier that holds the value + fee to close (help
centre, "Maintenance Margin", rules since 2025-09-02; before, the value was taken at entry). The fee to close is the
taker fee at the bankruptcy price that follows from entry and leverage, in cross mode too, so no mark moves it. It
stands on both sides of an isolated position, in its margin and in its maintenance, and so does not move its price of
liquidation.

Cross positions share one pool, the account, in USD. Isolated margin is a mode of the whole account. Both sides of a
hedge are counted: how much Bybit takes off for the hedged part is not published, and the difference to its report
shows it. Of a position above the first tier Bybit closes parts; the price at which it closes the last is not published,
so one stage is stated.
"""

from functools import lru_cache

from monitor.margin.rules import Held
from monitor.margin.tiers import Maintenance, Segment, segments_by_notional
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis
from monitor.model.ids import MULTI_SCOPE
from monitor.model.instrument import ContractKind, Tier

DEFAULT_TAKER_FEE_RATE = 0.00055
"""Bybit's rate for users without a discount."""

DEFAULT_LEVERAGE = 10.0
"""What a contract has before its user chooses another."""

_DOLLARS = {"USDT", "USDC"}


@lru_cache(maxsize=4096)
def _segments(tiers: tuple[Tier, ...]) -> tuple[Segment, ...]:
    return segments_by_notional(tiers)


def fee_to_close(held: Held) -> float:
    """Taker fee on the value at the bankruptcy price, in the margin coin (help centre, "Bankruptcy Price").

    Linear: size * entry * (1 - side/leverage) * fee rate; inverse: size / entry * (1 + side/leverage) * fee rate, with
    side +1 for long and -1 for short.
    """
    instrument = held.instrument
    rate = DEFAULT_TAKER_FEE_RATE if instrument.taker_fee_rate is None else instrument.taker_fee_rate
    share = (1.0 if held.size > 0.0 else -1.0) / (held.leverage or DEFAULT_LEVERAGE)
    quantity = abs(held.size) * instrument.multiplier
    if instrument.kind is ContractKind.INVERSE:
        return quantity / held.entry_price * (1.0 + share) * rate
    return quantity * held.entry_price * (1.0 - share) * rate


class BybitRules:
    """Bybit unified account; see this module's docstring."""

    venue = "bybit"
    cut_releases_isolated_margin = True
    counts_pooled_size = False
    default_account_mode = AccountMode.MULTI_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """``multi``: the unified account is one pool."""
        return coin if mode is AccountMode.SINGLE_ASSET else MULTI_SCOPE

    def unit(self, mode: AccountMode, coin: str) -> str:
        """USD, in which the unified account adds up."""
        return coin if mode is AccountMode.SINGLE_ASSET else "USD"

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """A portfolio's stress tests cannot be recomputed."""
        return Basis.REPORTED if mode is AccountMode.PORTFOLIO else Basis.COMPUTED

    def maintenance(self, held: Held) -> Maintenance:
        """The tiers by value, and the fee to close, which stays as it was at entry."""
        segments = _segments(held.instrument.tiers)
        return Maintenance(segments, shift=fee_to_close(held)) if segments else Maintenance(())

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """One, where the pool's unit is the coin, or a dollar in all but name."""
        return 1.0 if mode is AccountMode.SINGLE_ASSET or coin in _DOLLARS else None

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """``accountMMRate`` is the same quotient (Bybit cuts it off after four digits)."""
        return ratio


RULES = BybitRules()
