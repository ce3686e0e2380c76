"""How much of an account can be seen, judged by the age of what was delivered; nothing is known of ccxt's sockets."""

from collections.abc import Iterable, Mapping

from connectors import FeedSettings
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import FeedChanged

SYNC_GRACE_S = 15.0
"""So long a first snapshot may take: ccxt reads all markets before it."""

STREAM_GRACE_S = 20.0
"""A stream of positions that comes back within this was late, not stale; longer than subscribing may take."""

_SEEN = (FeedState.LIVE, FeedState.LATE)


class Health:
    """Three states. ``mark``: are the marks of what is held fresh? ``user``: would a change be told at once?
    ``account``: is what we hold what the venue holds?"""

    def __init__(self, venue: str, account: str, feed: str, settings: FeedSettings, reconcile_s: float) -> None:
        self._venue, self._account, self._feed = venue, account, feed
        self._late_s = min(settings.late_s, settings.mark_s)
        self._mark_s = settings.mark_s
        self._late_after_s = 1.5 * reconcile_s + SYNC_GRACE_S
        self._stale_after_s = 3.0 * reconcile_s + SYNC_GRACE_S
        self._started_at = 0.0
        self._synced_at: float | None = None
        self._error = ""
        self._remark = ""
        self._lost_at: float | None = 0.0
        self._lost_reason = "connecting"
        self._polled = ""
        self._proof_at: float | None = None
        self._wanted: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._source = ""
        self._states: dict[str, tuple[FeedState, str]] = {}

    def start(self, now: float) -> list[FeedChanged]:
        """Nothing is known yet."""
        self._started_at = self._lost_at = now
        return self.judge(now)

    # -- what happened

    def synced(self, now: float, remark: str) -> None:
        """A snapshot was taken, and what is to be said of it.

        The first is when the stream is asked for: until then it could not be missed.
        """
        if self._synced_at is None and self._lost_at is not None:
            self._lost_at = now
        self._synced_at = now
        self._error, self._remark = "", remark
        if self._lost_at is None:
            self._proof_at = now

    def failed(self, error: str) -> None:
        """A question had no good answer."""
        self._error = error

    def stream_lost(self, reason: str, now: float) -> None:
        """The stream of positions does not run, or did not tell what it should have."""
        self._lost_at = now if self._lost_at is None else self._lost_at
        self._lost_reason = reason

    def stream_heard(self, now: float) -> None:
        """The stream of positions told something."""
        self._lost_at, self._proof_at = None, now

    def without_stream(self, reason: str) -> None:
        """There is no such stream; snapshots alone tell of changes."""
        self._lost_at, self._polled = None, reason

    def wants(self, instruments: Iterable[str], now: float) -> None:
        """From now on the marks of these are needed."""
        self._wanted = {name: self._wanted.get(name, now) for name in instruments}

    def marked(self, instrument: str, source: str, now: float) -> None:
        """A mark came."""
        self._seen[instrument] = now
        self._source = source

    # -- what follows

    def unmarked(self, now: float) -> list[str]:
        """Instruments whose marks are needed and older than they may be."""
        return [name for name in self._wanted if self._age(name, now) > self._mark_s]

    def judge(self, now: float) -> list[FeedChanged]:
        """What changed since the last time."""
        changed = []
        for stream, (state, detail) in self._now(now).items():
            before = self._states.get(stream)
            self._states[stream] = (state, detail)
            if before is None or before[0] is not state:
                # A market feed's changes have no account: what hangs on each mark is said by instrument.
                account = "" if stream == "mark" else self._account
                changed.append(FeedChanged(self._venue, account, self._feed, stream, state, now, detail))
        return changed

    def report(self, now: float) -> list[FeedHealth]:
        """All three with their ages."""
        oldest = min((self._seen.get(name, -1.0) for name in self._wanted), default=None)
        newest = {
            "mark": None if oldest is None or oldest < 0.0 else oldest,
            "user": self._proof_at,
            "account": self._synced_at,
        }
        return [
            FeedHealth(self._venue, self._account, stream, state, None if at is None else now - at, detail)
            for stream, at in newest.items()
            for state, detail in [self._states.get(stream, (FeedState.DOWN, "not started"))]
        ]

    def _now(self, now: float) -> Mapping[str, tuple[FeedState, str]]:
        return {"mark": self._mark(now), "user": self._user(now), "account": self._in_sync(now)}

    def _age(self, name: str, now: float) -> float:
        return now - max(self._seen.get(name, 0.0), self._wanted[name])

    def _mark(self, now: float) -> tuple[FeedState, str]:
        ages = {name: self._age(name, now) for name in self._wanted}
        late = sorted(name for name, age in ages.items() if age > self._late_s)
        if not late:
            return FeedState.LIVE, self._source
        stale = [name for name in late if ages[name] > self._mark_s]
        named = ", ".join((stale or late)[:5])
        return (FeedState.STALE if stale else FeedState.LATE), f"no mark of {named}"

    def _user(self, now: float) -> tuple[FeedState, str]:
        if self._lost_at is None:
            return FeedState.LIVE, self._polled
        # Until the first snapshot there is nothing whose change could be missed; `account` says that there is none.
        late = self._synced_at is None or now - self._lost_at <= STREAM_GRACE_S
        return (FeedState.LATE if late else FeedState.STALE), self._lost_reason

    def _in_sync(self, now: float) -> tuple[FeedState, str]:
        if self._synced_at is None:
            late = now - self._started_at <= 2 * SYNC_GRACE_S
            return (FeedState.LATE if late else FeedState.DOWN), self._error or "waiting for the first snapshot"
        age_s = now - self._synced_at
        if age_s > self._stale_after_s:
            return FeedState.STALE, self._error or "no new snapshot comes"
        if age_s > self._late_after_s:
            return FeedState.LATE, self._error or "waiting for a snapshot"
        return FeedState.LIVE, self._remark
