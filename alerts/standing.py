"""How well each of two monitors could speak for an account, so that one gives way to the other. Pure; time is given.

A standing is a number, 0 where nothing is in the way and greater the worse it is: how many of the monitor's sinks fail,
or `BLIND` where it does not see the account.

What counts is a lease's time. The one that speaks is held to its best in it, any other to its worst: a hiccup of either
moves nothing, nor does what befalls both, though one notices sooner. A standing that is not known for so long, as after
a start or a sleep, is none: nobody gives way for it, and to nobody without one.

That its venue can be seen a monitor knows whether it speaks or not; that all sinks take what they are given it knows
for sure only while it speaks. So one that gives way soon after it began is held to what its sinks were like for longer,
twice as long each time: where a sink fails at both they do not hand the account to and fro.
"""

from collections import deque
from collections.abc import Collection
from math import inf

from alerts.lease import Account

BLIND = 1_000
"""Worse than any number of sinks that fail."""
SOON_LEASES = 10.0
DOUBLINGS_MAX = 7


class _Course:
    """A value and how long it was what: since when, and what, the oldest first."""

    def __init__(self) -> None:
        self._runs: deque[tuple[float, int]] = deque()

    def add(self, now: float, value: int, kept_s: float) -> None:
        """It is this now; what lies back more than `kept_s` may be forgotten."""
        if not self._runs or self._runs[-1][1] != value:
            self._runs.append((now, value))
        while len(self._runs) > 1 and self._runs[1][0] <= now - kept_s:
            self._runs.popleft()

    def is_known_since(self, at: float) -> bool:
        """Whether it is known what it was from this moment on."""
        return bool(self._runs) and self._runs[0][0] <= at

    def since(self, at: float) -> list[int]:
        """What it was from this moment on, as far as that is known."""
        ends = [*(began for began, _ in self._runs), inf][1:]
        return [value for (_, value), end in zip(self._runs, ends, strict=True) if end > at]


class Standings:
    """Those of one monitor. Call `look` with every beat, then ask."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._unseen: dict[Account, _Course] = {}
        self._failing = _Course()
        self._looked_at: float | None = None
        self._began_at: dict[Account, float] = {}
        self._doublings: dict[Account, int] = {}

    def look(self, accounts: Collection[Account], unseen: Collection[Account], failing: int, now: float) -> None:
        """These are shared, these of them cannot be seen, and so many sinks fail."""
        if self._looked_at is not None and now > self._looked_at + self._lease_s:
            self._unseen, self._failing = {}, _Course()
        self._looked_at = now
        self._unseen = {account: self._unseen.get(account, _Course()) for account in accounts}
        for account, course in self._unseen.items():
            course.add(now, int(account in unseen), self._lease_s)
        self._failing.add(now, failing, self._lease_s * 2.0**DOUBLINGS_MAX)
        self._began_at = {account: at for account, at in self._began_at.items() if account in accounts}
        self._doublings = {account: count for account, count in self._doublings.items() if account in accounts}

    def best(self, account: Account, now: float) -> int | None:
        """The best in the last lease's time: while we speak we are held to it."""
        since = now - self._lease_s
        if not self._is_known(account, since):
            return None
        return BLIND if all(self._unseen[account].since(since)) else min(self._failing.since(since))

    def worst(self, account: Account, now: float) -> int | None:
        """The worst in the last lease's time: while another one speaks we are held to it."""
        since = now - self._lease_s
        if not self._is_known(account, since):
            return None
        if any(self._unseen[account].since(since)):
            return BLIND
        return max(self._failing.since(now - self._lease_s * 2.0 ** self._doublings.get(account, 0)))

    def begins(self, account: Account, now: float) -> None:
        """We speak from now on."""
        self._began_at[account] = now

    def gives_way(self, account: Account, now: float) -> None:
        """We are about to hand the account over."""
        if self.best(account, now) == BLIND:
            return
        is_soon = now < self._began_at.get(account, now) + SOON_LEASES * self._lease_s
        self._doublings[account] = min(self._doublings.get(account, 0) + 1, DOUBLINGS_MAX) if is_soon else 0

    def _is_known(self, account: Account, since: float) -> bool:
        course = self._unseen.get(account)
        return course is not None and course.is_known_since(since) and self._failing.is_known_since(since)
