"""How much of an account can be seen: the private stream and the snapshots, each judged by what it delivers."""

from monitor.errors import VenueError
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
        self._owes_proof = False
        self._lost_reason = ""
        self._error = ""
        self._denied = ""
        self._refused = ""
        self._unseen = ""
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

    @property
    def suspects(self) -> bool:
        """Whether the private stream fell silent without a word, and its successor has proved nothing yet."""
        return self._owes_proof

    def silent(self, reason: str, now: float, *, unsaid: bool) -> None:
        """The private stream did not deliver what it should have.

        When it fell silent `unsaid`, nobody knows for how long; then being open and followed by a snapshot is not
        enough for its successor: it stays stale until an event comes, or a later snapshot finds that none was missed.
        """
        self._fault = reason
        self._owes_proof = self._owes_proof or unsaid
        self._gap_at = self._gap_at or now

    def heard(self, now: float) -> None:
        """An event came. One of before the snapshot that covers a gap is no proof: it may be the dead stream's last."""
        self._proof_at = now
        if self._gap_at is None:
            self._trust()

    def synced(self, now: float, *, covers_gap: bool, stream_ok: bool, proven: bool) -> None:
        """A snapshot was taken; `covers_gap` when it was asked for after the stream was last lost or found wanting.

        `stream_ok` while nothing speaks against the stream; `proven` when this is not the first snapshot beside it and
        an event had told of all there is to correct.
        """
        self._synced_at = now
        self._error = self._denied = ""
        if covers_gap:
            self._gap_at = None
        if covers_gap and stream_ok:
            self._proof_at = now
            if proven or not self._owes_proof:
                self._trust()

    def _trust(self) -> None:
        self._fault = ""
        self._owes_proof = False

    def failed(self, error: VenueError) -> None:
        """A question to the venue had no good answer. One that only a person can heal need not be waited out."""
        self._error = str(error)
        if not error.retry:
            self._denied = self._error

    def refused(self, reason: str) -> None:
        """The account cannot be watched at all."""
        self._refused = reason

    def unseen(self, what: str) -> None:
        """A part of the account that snapshots cannot see, though all that is known of it is in sync; "" for none."""
        self._unseen = what

    def judge(self, now: float) -> list[FeedChanged]:
        """What changed since the last time."""
        changed = []
        for stream, (state, detail) in {"user": self._user(now), "account": self._in_sync(now)}.items():
            before = self._states.get(stream)
            self._states[stream] = (state, detail)
            if before is None or before[0] is not state:
                changed.append(
                    FeedChanged(
                        self._venue, self._account, self._feed, stream, state, now, detail, self._data_at(stream)
                    )
                )
        if any(state is not FeedState.LIVE for state, _ in self._states.values()):
            self.well_since = None
        elif self.well_since is None:
            self.well_since = now
        return changed

    def report(self, now: float) -> list[FeedHealth]:
        """Both states with their ages: since when events may be missing, and since the last snapshot."""
        return [
            FeedHealth(self._venue, self._account, stream, state, None if at is None else now - at, detail)
            for stream in ("user", "account")
            for at in [self._data_at(stream)]
            for state, detail in [self._states.get(stream, (FeedState.DOWN, "not started"))]
        ]

    def _data_at(self, stream: str) -> float | None:
        """Up to when nothing was missed: by the stream as far as it is known, by the account as of its snapshot."""
        if stream == "account":
            return self._synced_at
        if self._proof_at is None or self._fault or self._lost_at is None:
            return self._proof_at
        return self._lost_at

    def _user(self, now: float) -> tuple[FeedState, str]:
        if self._fault:
            return FeedState.STALE, self._fault
        if self._lost_at is None:
            return FeedState.LIVE, ""
        state = FeedState.LATE if now - self._lost_at <= RECONNECT_GRACE_S else FeedState.DOWN
        # Not tried yet: what keeps it from that is why the venue's answers do not come.
        return state, self._lost_reason or self._error or "connecting"

    def _in_sync(self, now: float) -> tuple[FeedState, str]:
        if self._refused:
            return FeedState.DOWN, self._refused
        if self._denied:
            return FeedState.STALE, self._denied
        if self._gap_at is not None and now - self._gap_at > SYNC_GRACE_S:
            never = self._synced_at is None
            detail = self._error or ("no snapshot yet" if never else "no snapshot since events may have been missed")
            return (FeedState.DOWN if never else FeedState.STALE), detail
        if self._synced_at is None:
            return FeedState.LATE, self._error or "waiting for the first snapshot"
        age_s = now - self._synced_at
        if age_s > self._stale_after_s:
            return FeedState.STALE, self._error or "no new snapshot comes"
        if age_s > self._late_after_s or self._gap_at is not None:
            return FeedState.LATE, self._error or "waiting for a snapshot"
        return FeedState.LIVE, self._unseen
