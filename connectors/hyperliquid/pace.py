"""When an address asks what: as often as is of use, within its share of what the venue allows the machine.

Each kind of question keeps to a part of the share, so that whatever calls for one of them, and however often, the
others are still asked, and the other addresses too.
"""

from connectors.account import DEFINITIONS_S
from connectors.hyperliquid.rest import weight

SOON_SHARE, WHOLE_SHARE, MODE_SHARE = 0.5, 0.25, 0.125
"""For readings that something calls for, for those of all dexes, for the mode. The rest is for what is asked hourly."""

MODE_S = 60.0
FEES_RETRY_S = 300.0

START_WEIGHT = 102
"""Of everything that an address asks at its start, on ten dexes."""


class Pace:
    """The times of one address. `weight_per_minute` is its share."""

    def __init__(self, weight_per_minute: float) -> None:
        self._weight_per_minute = weight_per_minute
        self._whole_at = self._mode_at = self._fees_at = 0.0
        self.soon_at = 0.0
        """When the next reading that something calls for may begin."""

    # --- readings

    def begins(self, reading_weight: int, now: float) -> None:
        """The account is being read."""
        self.soon_at = now + self._spacing_s(reading_weight, SOON_SHARE)

    def is_whole_due(self, now: float) -> bool:
        """Whether all dexes are to be read; until then those on which something is held."""
        return now >= self._whole_at

    def want_whole(self, now: float) -> None:
        """Anything may have been missed."""
        self._whole_at = now

    def was_whole(self, reading_weight: int, wanted_s: float, now: float) -> None:
        """All dexes were read, as is wanted so often."""
        self._whole_at = now + max(wanted_s, self._spacing_s(reading_weight, WHOLE_SHARE))

    def at_least_s(self, wanted_s: float, reading_weight: int) -> float:
        """The time between readings that are wanted so often."""
        return max(wanted_s, self._spacing_s(reading_weight, SOON_SHARE))

    # --- what else is asked

    def is_mode_due(self, now: float) -> bool:
        """Whether to ask for the account's mode."""
        return now >= self._mode_at

    def told_mode(self, now: float) -> None:
        """It was told."""
        self._mode_at = now + max(MODE_S, self._spacing_s(weight("userAbstraction"), MODE_SHARE))

    def are_fees_due(self, now: float, *, starting: bool) -> bool:
        """Whether to ask for fees. No figure depends on them: where many start at once, they are for later."""
        return now >= self._fees_at and not (starting and self._weight_per_minute < START_WEIGHT)

    def asked_fees(self, now: float) -> None:
        """They are asked for; should they not be told, it is tried again."""
        self._fees_at = now + FEES_RETRY_S

    def told_fees(self, now: float) -> None:
        """They were told."""
        self._fees_at = now + DEFINITIONS_S

    def _spacing_s(self, question_weight: int, share: float) -> float:
        """Seconds from one question of this weight to the next."""
        return question_weight * 60.0 / (self._weight_per_minute * share)
