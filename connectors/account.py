"""What every account session does alike: snapshots, events, and the judgement of both by each other.

A snapshot is a round of REST questions. Events that come before the first wait for it. Afterwards a snapshot on a timer
is laid over what the events told; what it must correct without an event that explains it shows that the private stream
is dead, however open its socket is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Generic, Protocol, TypeVar

from connectors.backoff import Backoff
from connectors.health import AccountHealth
from connectors.private import PrivateStream, Wiring
from connectors.rounds import Round, Unanswered
from connectors.session import Action, Halt, Request, Timers, Warn
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import Position, Wallet
from monitor.model.assessment import FeedHealth
from monitor.model.events import AccountDelta, Event, FeedChanged, InstrumentsLoaded, SnapshotReason, VenueNotice
from monitor.model.instrument import Instrument
from monitor.telemetry import Telemetry

FRAMES_REMEMBERED = 256
"""Frames in which a repetition is recognised: two connections overlap, and venues repeat themselves."""

EVENT_GRACE_S = 5.0
"""How long the event that explains a snapshot's correction may be on its way."""

WITHOUT_STREAM_S = 10.0
"""Snapshots are at least this frequent while the private stream cannot be relied on."""

DEFINITIONS_S = 3600.0
"""Tiers, fees and funding intervals change without an event: so often they are read again."""

SNAPSHOT_SPACING_S = 1.0
ROUND_S = 30.0
JUDGE_S = 0.5
STEADY_S = 60.0

_HARMLESS = frozenset({Defect.UNKNOWN_EVENT, Defect.REJECTED})
"""Venues invent events, and refuse what was asked: neither tells of a change that was missed."""


class Settings(Protocol):
    """What this needs to know of an account."""

    @property
    def name(self) -> str:
        """As configured."""
        ...

    @property
    def feed(self) -> str:
        """Where its marks come from."""
        ...

    @property
    def reconcile_s(self) -> float:
        """Between two snapshots."""
        ...


R = TypeVar("R", bound=Round)


class AccountBase(ABC, Generic[R]):
    """Snapshots beside a private stream; a venue adds what it asks, what the answers mean, and what its frames tell.

    It makes `_private` of `_wiring`, adds the stream's `handlers` to its own, and overrides the methods under "for the
    venue".
    """

    _private: PrivateStream

    def __init__(
        self,
        venue: str,
        settings: Settings,
        life_s: float,
        telemetry: Telemetry,
        random: Random,
        *,
        backoff_cap_s: float = 15.0,
        round_s: float = ROUND_S,
    ) -> None:
        self.name = f"{venue}/{settings.name}"
        self.venue = venue
        self.stream = "user"
        self.feed = settings.feed
        self.actions: list[Action] = []
        self._account = settings.name
        self._reconcile_s = settings.reconcile_s
        self._round_s = round_s
        self._telemetry = telemetry
        self._timers = Timers()
        self._wiring = Wiring(
            f"{self.name}/user", self.actions, self._timers, random, self._took_over, self._expired, life_s
        )
        self._backoff = Backoff(1.0, backoff_cap_s, random)
        self._health = AccountHealth(venue, settings.name, settings.feed, settings.reconcile_s)
        self._warned: set[str] = set()
        self._request_count = 0
        self._last_asked: dict[str, str] = {}
        self._round: R | None = None
        self._without_answer = Unanswered()
        self._synced = False
        self._streaming = True
        """Whether there is to be a private stream at all."""
        self._next_reason = SnapshotReason.START
        self._not_before = 0.0
        self._verified_link: str | None = None
        """The private connection under which the last snapshot was taken: since then every change must be told."""
        self._owed: dict[Hashable, float] = {}
        """Corrections that an event has yet to explain, and until when."""
        self._handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "snapshot": self._on_snapshot,
            "round": self._on_round_overdue,
            "definitions": self._on_definitions,
            "judge": self._on_judge,
        }

    # --- for the venue

    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""

    @abstractmethod
    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> R:
        """The questions of the next snapshot."""

    @abstractmethod
    def _request(self, asked: R, kind: str) -> Request:
        """A question of a round; its id is the kind."""

    @abstractmethod
    def _complete(self, done: R, now: float) -> Sequence[Event]:
        """All answers are in: lay them over what the events told, and `_settle`. Raises BadFrame, before any change."""

    @abstractmethod
    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Timer ``definitions``: the next snapshot reads them again."""

    def _answered(self, kind: str, body: bytes, now: float) -> Sequence[Event] | None:
        """The answer to a question that belongs to no round; None when this is none. Raises BadFrame."""
        return None

    def _unanswered(self, kind: str, error: VenueError, now: float) -> Sequence[Event] | None:
        """No good answer to a question that belongs to no round; None when this is none."""
        return None

    def _interval_s(self) -> float:
        """Until the next snapshot, while the private stream can be relied on."""
        return self._reconcile_s

    # --- inputs

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """A handshake is done; whether the connection counts is for the stream to say."""
        self._private.opened(connection, now)
        return self._judge(now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Events may be missed from here on."""
        self._health.unreachable(reason)
        if self._private.closed(connection, reason, now):
            self._health.lost(now)
            self._distrust(now)
        return self._judge(now)

    def _took_over(self, now: float, gap: bool) -> None:
        """Another private connection is live. After a gap only a snapshot tells what was missed."""
        if gap:
            self._health.opened(now)
            self._want_snapshot(SnapshotReason.RECONNECT, now)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """The answer to a question."""
        kind = self._kind(request)
        try:
            if kind and (own := self._answered(kind, body, now)) is not None:
                return own
            if self._round is not None and kind in self._round.missing:
                further = self._round.take(kind, body, sent_ms)
                self._without_answer.told(kind)
                return self._go_on(self._round, further, now)
        except BadFrame as bad:
            return self._without(kind, self._unusable(kind, bad), now)
        return ()

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A question without a good answer is asked again later; one that never can have one ends the account."""
        return self._without(kind, error, now) if (kind := self._kind(request)) else ()

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        return self._timers.run(now, self._handlers)

    def deadline(self) -> float | None:
        """When something is due."""
        return self._timers.next()

    def reconcile(self, now: float) -> Sequence[Event]:
        """Take a snapshot soon; before the first, that one is on its way already."""
        if self._synced:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """The private stream and the snapshots."""
        return self._health.report(now)

    def secrets(self) -> Collection[str]:
        """Strings learnt from the venue that must not be written anywhere."""
        return ()

    # --- questions

    def _without(self, kind: str, error: VenueError, now: float) -> Sequence[Event]:
        """A question got no answer that can be used."""
        if (own := self._unanswered(kind, error, now)) is not None:
            return own
        if self._round is None:
            return ()
        try:
            further = self._round.do_without(kind)
            if further is not None:
                self._do_without(kind, error)
                return self._go_on(self._round, further, now)
        except BadFrame as bad:
            error = self._unusable(kind, bad)
        if not error.retry and not self._synced:
            return self._halt(error, now)
        return self._round_failed(error, now)

    def _do_without(self, kind: str, error: VenueError) -> None:
        """Tell a person, once until it is answered again."""
        if self._without_answer.untold(kind):
            self.actions.append(Warn(f"{self.name}: {error}; {self._meanwhile(kind)}"))

    def _meanwhile(self, kind: str) -> str:
        """What holds while a question that a snapshot can do without is not answered."""
        return "what it told before stands, what it never told is unknown, and it is asked again"

    def _ask(self, request: Request) -> None:
        """Number a question. Its kind is what stands before the number; only the latest of a kind is waited for."""
        self._request_count += 1
        numbered = replace(request, id=f"{request.id}-{self._request_count}")
        self._last_asked[request.id] = numbered.id
        self.actions.append(numbered)

    def _kind(self, request: str) -> str:
        """What a question was about; nothing any more, when it was asked anew since."""
        kind = request.rpartition("-")[0]
        return kind if self._last_asked.get(kind) == request else ""

    def _unusable(self, kind: str, bad: BadFrame) -> VenueError:
        self._count_bad("rest", bad.defect)
        return VenueError(f"{self.name}: {kind}: {bad}", retry=True)

    def _halt(self, error: MarginwatchError, now: float) -> Sequence[Event]:
        self._round = None
        self._health.refused(str(error))
        self.actions.append(Halt(error))
        return self._judge(now)

    def _warn(self, text: str) -> None:
        """Tell a person, once."""
        if text not in self._warned:
            self._warned.add(text)
            self.actions.append(Warn(f"{self.name}: {text}"))

    # --- snapshots

    def _want_snapshot(self, reason: SnapshotReason, now: float) -> None:
        """Take one soon, but not against the venue's wish and not without pause."""
        if self._synced and self._next_reason is SnapshotReason.TIMER:
            self._next_reason = reason
        self._timers.pull("snapshot", max(now, self._not_before))

    def _on_snapshot(self, now: float) -> Sequence[Event]:
        self._not_before = now + SNAPSHOT_SPACING_S
        if self._round is not None:
            # One is on its way, but it was asked for before whatever made this one wanted.
            self._timers.set("snapshot", self._not_before)
            return ()
        asked = self._round = self._new_round(self._next_reason, self._private.trusted, now)
        self._next_reason = SnapshotReason.TIMER
        self._timers.set("round", now + self._round_s)
        return self._go_on(asked, asked.missing, now)

    def _go_on(self, asked: R, further: Iterable[str], now: float) -> Sequence[Event]:
        for kind in sorted(further):
            self._ask(self._request(asked, kind))
        return () if asked.missing else self._complete(asked, now)

    def _on_round_overdue(self, now: float) -> Sequence[Event]:
        return self._round_failed(VenueError(f"{self.name}: the snapshot took too long", retry=True), now)

    def _round_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        if self._round is not None:
            self._next_reason = self._round.reason
        self._end_round("failed")
        self._health.failed(error)
        self._not_before = now + self._backoff.next(error.retry_after_s)
        self._timers.set("snapshot", self._not_before)
        return self._judge(now)

    def _end_round(self, outcome: str) -> None:
        self._round = None
        self._without_answer.end_round()
        self._timers.clear("round")
        self._telemetry.reconciliations.add(self.venue, self._account, outcome)

    def _settle(self, done: R, corrected: Collection[Hashable], now: float) -> None:
        """A snapshot is there, and `corrected` is what it told that no event had told."""
        trusted, verified = self._private.trusted, done.link is not None and done.link == self._verified_link
        unexplained = corrected if verified else ()
        self._owed.update(dict.fromkeys(unexplained, now + EVENT_GRACE_S))
        self._end_round("corrected" if unexplained else "clean")
        self._backoff.reset()
        # What an event has yet to explain speaks against the stream; the second clean snapshot beside it, for it.
        stream_ok = (trusted is not None or not self._streaming) and not self._owed
        self._health.synced(now, covers_gap=done.link == trusted, stream_ok=stream_ok, proven=verified)
        self._verified_link = trusted if done.link == trusted else None
        self._synced = True
        # Pulled and not set: a snapshot that was wanted while this one was on its way still follows.
        self._timers.pull("snapshot", now + self._pause_s())

    def _pause_s(self) -> float:
        relied_on = self._private.trusted is not None and not self._health.suspects
        return self._interval_s() if relied_on or not self._streaming else min(self._interval_s(), WITHOUT_STREAM_S)

    def _instruments_loaded(self, changed: Iterable[Instrument], at_ms: int) -> list[Event]:
        """Instruments that are new or changed, if there are any."""
        instruments = tuple(changed)
        return [InstrumentsLoaded(self.venue, self._account, instruments, at_ms)] if instruments else []

    # --- events

    def _delta(
        self, at_ms: int, reason: str, wallets: tuple[Wallet, ...], positions: tuple[Position, ...]
    ) -> Sequence[Event]:
        """What an event changed, if it changed anything."""
        if not wallets and not positions:
            return ()
        return (AccountDelta(self.venue, self._account, at_ms, reason, wallets, positions),)

    def _notice(self, at_ms: int, kind: str, instrument: str, detail: str) -> Event:
        return VenueNotice(self.venue, self._account, at_ms, kind, instrument, detail)

    def _missed(self, defect: Defect, now: float) -> Sequence[Event]:
        """A frame that could not be read may have been the one that mattered: ask."""
        self._count_bad(self.stream, defect)
        if defect not in _HARMLESS:
            self._health.missed(now)
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def _expired(self, reason: str, now: float, *, unsaid: bool = False) -> Sequence[Event]:
        """The private stream is dead and being replaced; `unsaid` when nobody knows for how long."""
        self._health.silent(reason, now, unsaid=unsaid)
        self._distrust(now)
        return self._judge(now)

    def _distrust(self, now: float) -> None:
        """No event is to be expected for a while."""
        self._verified_link = None
        self._owed.clear()
        self._timers.pull("snapshot", max(now + WITHOUT_STREAM_S, self._not_before))

    def _replied(self, good: bool, dead: str | None, now: float) -> Sequence[Event]:
        """The venue has answered on the stream; `dead` is why the live connection is, if the answer shows that."""
        if not good:
            self._count_bad(self.stream, Defect.REJECTED)
            self._health.unreachable(dead or self._private.lost_reason)
        if dead is None:
            return self._judge(now)
        self._private.renew(now)
        return self._expired(dead, now)

    def _count_bad(self, stream: str, defect: Defect, amount: int = 1) -> None:
        if amount:
            self._telemetry.bad_frames.add(self.venue, stream, defect.value, amount=amount)

    # --- judgement

    def _judge(self, now: float) -> list[FeedChanged]:
        return self._health.judge(now)

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._timers.set("judge", now + JUDGE_S)
        overdue = [key for key, until in self._owed.items() if until <= now]
        if overdue:
            named = ", ".join(str(key[0]) if isinstance(key, tuple) else str(key) for key in overdue)
            self._private.distrust(now)
            return self._expired(f"no event told of a change that a snapshot found: {named}", now, unsaid=True)
        if self._health.well_since is not None and now - self._health.well_since > STEADY_S:
            self._private.steady()
        return self._judge(now)
