"""How soon after one snapshot an account may take the next. Pure; time is passed in."""

WEIGHT_PER_MINUTE_MAX = 600.0
"""What one account takes of the address's 2,400 a minute in the long run, whatever asks for its snapshots."""

BURST = 100.0
"""Weight that may be spent at once after a quiet while: a few snapshots follow the events that ask for them at once."""


class Pace:
    """A bucket that fills with what snapshots cost and leaks steadily; what is above its brim has to be waited for.

    Events that only a snapshot can follow (under portfolio margin all of them) may come many times a second. Each
    asking for a snapshot would take the whole budget of an address, which its accounts share.
    """

    def __init__(self) -> None:
        self._level = 0.0
        self._at = 0.0

    def leak(self, now: float) -> None:
        """Time has passed."""
        self._level = max(0.0, self._level - WEIGHT_PER_MINUTE_MAX / 60.0 * (now - self._at))
        self._at = now

    def spend(self, weight: int) -> None:
        """A request of this weight is made."""
        self._level += weight

    @property
    def pause_s(self) -> float:
        """Seconds until the next snapshot may begin."""
        return max(0.0, (self._level - BURST) / (WEIGHT_PER_MINUTE_MAX / 60.0))
