"""Margin rules of venues that have none here: every pool requires what the venue last reported, or it is unknown."""

from dataclasses import dataclass

from monitor.margin.rules import Held
from monitor.margin.tiers import UNKNOWN, Maintenance
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis


@dataclass(slots=True)
class ReportedRules:
    """Pools by margin coin, and nothing computed but profit."""

    venue: str
    cut_releases_isolated_margin: bool = False
    counts_pooled_size: bool = False
    default_account_mode: AccountMode = AccountMode.SINGLE_ASSET

    def cross_scope(self, mode: AccountMode, coin: str) -> str:
        """The margin coin."""
        return coin

    def unit(self, mode: AccountMode, coin: str) -> str:
        """The margin coin."""
        return coin

    def basis(self, mode: AccountMode, margin_mode: MarginMode) -> Basis:
        """Always reported."""
        return Basis.REPORTED

    def maintenance(self, held: Held) -> Maintenance:
        """Never known from the position alone."""
        return UNKNOWN

    def default_price(self, mode: AccountMode, coin: str) -> float | None:
        """A pool's unit is its coin."""
        return 1.0

    def venue_margin_ratio(
        self, ratio: float, mode: AccountMode = AccountMode.SINGLE_ASSET, margin_mode: MarginMode = MarginMode.CROSS
    ) -> float | None:
        """What such a venue shows is not known."""
        return None
