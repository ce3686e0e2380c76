"""Whether the monitor does its job, which is more than running: what has risk open is seen, ticks are decided. Pure.

A service manager should begin anew a monitor that decides nothing at all; a person should look at one that has been
blind to anything for a while, also when no warning gets out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Account = tuple[str, str]
"""(venue, name)."""


@dataclass(slots=True)
class Vitality:
    """Since when some, and since when all, of what is watched is seen. Begin with `now`: starting is not failing."""

    seen_some_at: float
    seen_all_at: float

    @classmethod
    def beginning(cls, now: float) -> "Vitality":
        """Nothing is held against a monitor that has just begun."""
        return cls(now, now)

    def look(self, now: float, watched: Collection[Account], blind: Collection[Account]) -> None:
        """Note which of the accounts that matter (with positions, or never in sync yet) cannot be seen now."""
        unseen = set(blind) & set(watched)
        if len(unseen) < len(watched) or not watched:
            self.seen_some_at = now
        if not unseen:
            self.seen_all_at = now

    def decides(self, now: float, patience_s: float) -> bool:
        """Whether anything was seen within `patience_s`; without it a restart can only help."""
        return now - self.seen_some_at <= patience_s

    def sees_all(self, now: float, patience_s: float) -> bool:
        """Whether everything was seen within `patience_s`."""
        return now - self.seen_all_at <= patience_s


def is_heard(failing: Mapping[str, bool]) -> bool:
    """Whether a warning would get out: `failing` says of each sink whether it fails.

    One way that works is enough. Standard output is nobody's ear where there are other ways.
    """
    ways = [fails for sink, fails in failing.items() if sink not in ("console", "state")]
    return not ways or not all(ways)
