"""How much of an account can be seen: the private stream and the snapshots, each judged by what it delivers."""

from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import FeedChanged

RECONNECT_GRACE_S = 5.0
"""A private stream that comes back within this was late, not down."""

SYNC_GRACE_S = 15.0
"""So long a first snapshot, or the one after a gap, may take."""


class AccountHealth:
    """Two states. ``user``: would an event reach us? ``account``: is what we hold what the venue holds?"""

    def __init__(self, venue: str, account: str, feed: str, reconcile_s: float) -> None:
        self._venue = venue
        self._account = account
        self._feed = feed
        self._late_after_s = 1.5 * reconcile_s + SYNC_GRACE_S
        self._stale_after_s = 3.0 * reconcile_s + SYNC_GRACE_S
        self._lost_at: float | None = 0.0
        self._gap_at: float | None = 0.0
        self._synced_at: float | None = None
        self._proof_at: float | None = None
        self._fault = ""
        self._lost_reason = "connecting"
        self._error = ""
        self._refused = ""
        self._states: dict[str, tuple[FeedState, str]] = {}
        self.well_since: float | None = None

    def start(self, now: float) -> list[FeedChanged]:
        """Nothing is known yet: late for a while, then down."""
        self._lost_at = self._gap_at = now
        return self.judge(now)

    def opened(self, now: float) -> None:
        """The private stream is open (again); a snapshot must follow."""
        self._lost_at = None
        self._gap_at = self._gap_at or now

    def unreachable(self, reason: str) -> None:
        """Why there is no private stream, or no new one."""
        self._lost_reason = reason

    def lost(self, now: float) -> None:
        """The private stream was lost; events may be missed from now on."""
        self._lost_at = now
        self._gap_at = self._gap_at or now

    def missed(self, now: float) -> None:
        """An event came that could not be read: what it said is missing."""
        self._gap_at = self._gap_at or now

    def silent(self, reason: str, now: float) -> None:
        """The private stream did not deliver what it should have."""
        self._fault = reason
        self._gap_at = self._gap_at or now

    def heard(self, now: float) -> None:
        """An event came."""
        self._proof_at = now

    def synced(self, now: float, *, covers_gap: bool, stream_ok: bool) -> None:
        """A snapshot was taken; `covers_gap` when it was asked for after the stream was last lost or found wanting."""
        self._synced_at = now
        self._error = ""
        if covers_gap:
            self._gap_at = None
        if covers_gap and stream_ok:
            self._fault = ""
            self._proof_at = now

    def failed(self, error: str) -> None:
        """A question to the venue had no good answer."""
        self._error = error

    def refused(self, reason: str) -> None:
        """The account cannot be watched at all."""
        self._refused = reason

    def judge(self, now: float) -> list[FeedChanged]:
        """What changed since the last time."""
        changed = []
        for stream, (state, detail) in {"user": self._user(now), "account": self._in_sync(now)}.items():
            before = self._states.get(stream)
            self._states[stream] = (state, detail)
            if before is None or before[0] is not state:
                changed.append(FeedChanged(self._venue, self._account, self._feed, stream, state, now, detail))
        if any(state is not FeedState.LIVE for state, _ in self._states.values()):
            self.well_since = None
        elif self.well_since is None:
            self.well_since = now
        return changed

    def report(self, now: float) -> list[FeedHealth]:
        """Both states with their ages: since the stream last proved itself, and since the last snapshot."""
        marks = {"user": self._proof_at, "account": self._synced_at}
        return [
            FeedHealth(self._venue, self._account, stream, state, None if at is None else now - at, detail)
            for stream, at in marks.items()
            for state, detail in [self._states.get(stream, (FeedState.DOWN, "not started"))]
        ]

    def _user(self, now: float) -> tuple[FeedState, str]:
        if self._fault:
            return FeedState.STALE, self._fault
        if self._lost_at is None:
            return FeedState.LIVE, ""
        state = FeedState.LATE if now - self._lost_at <= RECONNECT_GRACE_S else FeedState.DOWN
        return state, self._lost_reason

    def _in_sync(self, now: float) -> tuple[FeedState, str]:
        if self._refused:
            return FeedState.DOWN, self._refused
        if self._gap_at is not None and now - self._gap_at > SYNC_GRACE_S:
            never = self._synced_at is None
            detail = self._error or ("no snapshot yet" if never else "no snapshot since events may have been missed")
            return (FeedState.DOWN if never else FeedState.STALE), detail
        if self._synced_at is None:
            return FeedState.LATE, self._error or "waiting for the first snapshot"
        age_s = now - self._synced_at
        if age_s > self._stale_after_s:
            return FeedState.STALE, self._error or f"no snapshot for {age_s:.0f} s"
        if age_s > self._late_after_s or self._gap_at is not None:
            return FeedState.LATE, self._error or "waiting for a snapshot"
        return FeedState.LIVE, ""
