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
    """Since when some, and since when all, of what is watched is seen; `seen_all_at` is None while it never was.

    Two different things are asked of a monitor that has just begun. A restart would not help it: that is counted from
    its beginning. But that all is well, nobody is told before it was seen: one that is started again and again would
    otherwise pass for one that watches.
    """

    seen_some_at: float
    seen_all_at: float | None = None

    @classmethod
    def beginning(cls, now: float) -> "Vitality":
        """Nothing is held against a monitor that has just begun, and nothing is taken for granted."""
        return cls(now)

    def look(self, now: float, watched: Collection[Account], blind: Collection[Account], *, is_whole: bool) -> None:
        """Note which of the accounts that matter (with positions, or never in sync yet) cannot be seen now.

        `is_whole` says that there are accounts, all in sync, and that nothing of them is unseen; it counts until it
        was true for the first time.
        """
        unseen = set(blind) & set(watched)
        if len(unseen) < len(watched) or not watched:
            self.seen_some_at = now
        if is_whole or (not unseen and self.seen_all_at is not None):
            self.seen_all_at = now

    def decides(self, now: float, patience_s: float) -> bool:
        """Whether anything was seen within `patience_s`; without it a restart can only help."""
        return now - self.seen_some_at <= patience_s

    def sees_all(self, now: float, patience_s: float) -> bool:
        """Whether everything was seen within `patience_s`."""
        return self.seen_all_at is not None and now - self.seen_all_at <= patience_s


def is_heard(failing: Mapping[str, bool]) -> bool:
    """Whether a warning would get out: `failing` says of each sink whether it fails.

    One way that works is enough. Standard output is nobody's ear where there are other ways.
    """
    ways = [fails for sink, fails in failing.items() if sink not in ("console", "state")]
    return not ways or not all(ways)
