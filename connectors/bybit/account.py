"""One account: key permissions, private stream, snapshots, and the judgement of both by each other.

In order: the key's permissions, the private stream, and when that is subscribed a REST snapshot, because Bybit sends
none. Events that come before the snapshot wait for it. Afterwards a snapshot on a timer is laid over what the events
told; what it must correct without an event that explains it shows that the private stream is dead, however open its
socket is.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from random import Random

import orjson

from connectors.backoff import Backoff
from connectors.bybit import answers, snapshot
from connectors.bybit.answers import Definitions, Mode
from connectors.bybit.config import AccountSettings
from connectors.bybit.notices import Notices, Said
from connectors.bybit.parse import (
    ForcedOrders,
    PositionUpdate,
    Reply,
    UserEvent,
    WalletUpdate,
    private_frame,
)
from connectors.bybit.permissions import PATH, refusal, unknown_permissions
from connectors.bybit.private import PING_S, PrivateStream
from connectors.bybit.snapshot import Question, Round
from connectors.bybit.state import AccountState, Key
from connectors.health import AccountHealth
from connectors.session import Action, Halt, Request, Security, Timers, Warn
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import Position, Wallet
from monitor.model.assessment import FeedHealth
from monitor.model.events import (
    AccountDelta,
    Event,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from monitor.telemetry import Telemetry

EVENTS_WAITING_MAX = 10_000
"""Events kept while the first snapshot is on its way. When full they are forgotten together with that snapshot, and
another is taken, which knows them all: nothing is lost."""

FRAMES_REMEMBERED = 256
"""Frames in which a repetition is recognised: two connections overlap, and venues repeat themselves."""

EVENT_GRACE_S = 5.0
"""How long the event that explains a snapshot's correction may be on its way."""

WITHOUT_STREAM_S = 10.0
"""Snapshots are at least this frequent while the private stream cannot be relied on."""

PORTFOLIO_S = 5.0
"""... and under portfolio margin, where maintenance is known from them alone."""

SNAPSHOT_SPACING_S = 1.0
ROUND_S = 60.0
DEFINITIONS_S = 3600.0
JUDGE_S = 0.5
STEADY_S = 60.0
KEY_DAYS_MIN = 7
PERMISSIONS = "permissions"
NO_SUCH_ROUTE = (404, 10017)


class AccountFeed:
    """One account. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: AccountSettings, life_s: float, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        self.name = f"{venue}/{settings.name}"
        self.venue = venue
        self.stream = "user"
        self.feed = settings.feed
        self.actions: list[Action] = []
        self._settings = settings
        self._telemetry = telemetry
        self._timers = Timers()
        self._backoff = Backoff(1.0, 15.0, random)
        self._definitions_backoff = Backoff(10.0, 600.0, random)
        self._private = PrivateStream(
            f"{self.name}/user",
            settings.private_url,
            self.actions,
            self._timers,
            random,
            self._took_over,
            life_s,
        )
        self._state = AccountState()
        self._notices = Notices()
        self._health = AccountHealth(venue, settings.name, settings.feed, settings.reconcile_s)
        self._loaded: frozenset[str] = frozenset()
        """Contracts whose definitions are known and young."""
        self._api_key = ""
        self._request_count = 0
        self._last_asked: dict[str, str] = {}
        self._round: Round | None = None
        self._next_reason = SnapshotReason.START
        self._not_before = 0.0
        self._verified_link: str | None = None
        """The private connection under which the last snapshot was taken: since then every change must be told."""
        self._waiting: list[UserEvent] | None = []
        """Events that wait for the first snapshot; None once it is there."""
        self._owed: dict[Key | str, float] = {}
        """Corrections that an event has yet to explain, and until when."""
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)
        self._handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            **self._private.handlers,
            "permissions": self._on_permissions,
            "snapshot": self._on_snapshot,
            "round": self._on_round_overdue,
            "definitions": self._on_definitions,
            "ping": self._on_ping,
            "judge": self._on_judge,
        }

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Ask what the key may do."""
        self._timers.set("judge", now + JUDGE_S)
        self._on_permissions(now)
        return self._health.start(now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Log in; the stream is open when Bybit has acknowledged the subscription."""
        self._private.opened(connection, now)
        return self._judge(now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Events may be missed from here on."""
        self._health.unreachable(reason)
        if self._private.closed(connection, reason, now):
            self._verified_link = None
            self._owed.clear()
            self._health.lost(now)
        return self._judge(now)

    def _took_over(self, now: float, gap: bool) -> None:
        """Another private connection is live. After a gap only a snapshot tells what was missed."""
        if gap:
            self._health.opened(now)
            self._want_snapshot(SnapshotReason.RECONNECT, now)

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame of the private stream."""
        self._telemetry.frames.add(self.venue, self.stream)
        try:
            event = private_frame(orjson.loads(frame))
        except orjson.JSONDecodeError:
            return self._missed(Defect.JSON, now)
        except BadFrame as bad:
            if bad.defect is Defect.UNKNOWN_EVENT:
                self._count_bad(self.stream, bad.defect)
                return ()
            return self._missed(bad.defect, now)
        if isinstance(event, Reply):
            return self._replied(connection, event, now)
        if event is None:
            return ()
        if frame in self._recent:
            self._count_bad(self.stream, Defect.DUPLICATE)
            return ()
        self._recent.append(frame)
        self._health.heard(now)
        return self._keep(event, now) if self._waiting is not None else self._apply(event, now)

    def _replied(self, connection: str, reply: Reply, now: float) -> Sequence[Event]:
        dead = self._private.replied(connection, reply, now)
        if not reply.good:
            self._count_bad(self.stream, Defect.REJECTED)
            self._health.unreachable(dead or self._private.lost_reason)
        if dead is None:
            return self._judge(now)
        self._private.renew(now)
        return self._expired(dead, now)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """The answer to a question."""
        kind = _kind(request)
        try:
            if kind == PERMISSIONS:
                return self._judge_permissions(answers.permissions(body), now)
            if self._round is not None and self._is_current(request, kind):
                return self._take(self._round, self._round.take(kind, body, sent_ms), now)
        except BadFrame as bad:
            self._count_bad("rest", bad.defect)
            return self.failed(request, VenueError(f"{self.name}: {kind}: {bad}", retry=True), now)
        return ()

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A question without a good answer is asked again later; one that never can have one ends the account."""
        kind = _kind(request)
        if kind == PERMISSIONS:
            return self._permissions_failed(error, now)
        if self._round is None or not self._is_current(request, kind):
            return ()
        if snapshot.is_optional(kind):
            return self._take(self._round, self._round.do_without(kind), now)
        if not error.retry and self._waiting is not None:
            return self._halt(error, now)
        return self._round_failed(error, now)

    def tick(self, now: float) -> Sequence[Event]:
        """Do what is due."""
        return self._timers.run(now, self._handlers)

    def deadline(self) -> float | None:
        """When something is due."""
        return self._timers.next()

    def reconcile(self, now: float) -> Sequence[Event]:
        """Take a snapshot soon; before the first, that one is on its way already."""
        if self._waiting is None:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """The private stream and the snapshots."""
        return self._health.report(now)

    def secrets(self) -> Collection[str]:
        """Bybit repeats the API key when asked what it may do."""
        return (self._api_key,) if self._api_key else ()

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- questions

    def _ask(self, request: Request) -> None:
        """Number a question. Its kind is what stands before the number; only the latest of a kind is waited for."""
        self._request_count += 1
        numbered = replace(request, id=f"{request.id}-{self._request_count}")
        self._last_asked[request.id] = numbered.id
        self.actions.append(numbered)

    def _is_current(self, request: str, kind: str) -> bool:
        return self._last_asked.get(kind) == request

    def _halt(self, error: MarginwatchError, now: float) -> Sequence[Event]:
        self._health.refused(str(error))
        self.actions.append(Halt(error))
        return self._judge(now)

    # --- permissions

    def _on_permissions(self, now: float) -> Sequence[Event]:
        self._ask(Request(PERMISSIONS, "GET", self._settings.rest_url, PATH, Security.SIGNED))
        return ()

    def _judge_permissions(self, granted: answers.Permissions, now: float) -> Sequence[Event]:
        self._api_key = granted.api_key
        if granted.dangerous and not self._settings.allow_dangerous_key:
            return self._halt(refusal(self._settings.name, granted.dangerous), now)
        if granted.dangerous:
            able = ", ".join(granted.dangerous)
            self.actions.append(Warn(f"{self.name}: the API key can do more than read ({able}); it is allowed to"))
        if granted.days_left is not None and granted.days_left <= KEY_DAYS_MIN:
            self.actions.append(Warn(f"{self.name}: the API key expires in {granted.days_left} days"))
        return self._begin(now)

    def _permissions_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        if not error.retry:
            return self._halt(error, now)
        if error.code not in NO_SUCH_ROUTE:
            self._health.failed(str(error))
            self._timers.set("permissions", now + self._backoff.next(error.retry_after_s))
            return self._judge(now)
        if not self._settings.allow_dangerous_key:
            return self._halt(unknown_permissions(self._settings.name, self._settings.rest_url), now)
        self.actions.append(Warn(f"{self.name}: it is not known what the API key may do; it is allowed to do anything"))
        return self._begin(now)

    def _begin(self, now: float) -> Sequence[Event]:
        self._backoff.reset()
        self._private.begin(now)
        self._timers.set("ping", now + PING_S)
        # Should the private stream not open, snapshots alone are better than nothing.
        self._timers.set("snapshot", now + WITHOUT_STREAM_S)
        return ()

    # --- snapshots

    def _want_snapshot(self, reason: SnapshotReason, now: float) -> None:
        """Take one soon, but not against the venue's wish and not without pause."""
        if self._waiting is None and self._next_reason is SnapshotReason.TIMER:
            self._next_reason = reason
        self._timers.pull("snapshot", max(now, self._not_before))

    def _on_snapshot(self, now: float) -> Sequence[Event]:
        self._not_before = now + SNAPSHOT_SPACING_S
        if self._round is not None:
            # One is on its way, but it was asked for before whatever made this one wanted.
            self._timers.set("snapshot", self._not_before)
            return ()
        self._round = Round(self._next_reason, self._private.trusted, self._loaded)
        self._next_reason = SnapshotReason.TIMER
        self._timers.set("round", now + ROUND_S)
        return self._take(self._round, [(kind, "") for kind in sorted(self._round.missing)], now)

    def _take(self, asked: Round, further: Sequence[Question], now: float) -> Sequence[Event]:
        for kind, cursor in further:
            self._ask(snapshot.request(self._settings.rest_url, kind, cursor))
        return () if asked.missing else self._complete(asked, now)

    def _on_round_overdue(self, now: float) -> Sequence[Event]:
        return self._round_failed(VenueError(f"{self.name}: the snapshot took too long", retry=True), now)

    def _round_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        if self._round is not None:
            self._next_reason = self._round.reason
        self._round = None
        self._timers.clear("round")
        self._count_round("failed")
        self._health.failed(str(error))
        self._not_before = now + self._backoff.next(error.retry_after_s)
        self._timers.set("snapshot", self._not_before)
        return self._judge(now)

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        """All answers are in: lay them over what the events told."""
        taken, told = done.answers(), done.definitions()
        if not done.unified():
            sentence = f"{self.name}: this is a classic account; only Bybit's unified trading account can be watched"
            return self._halt(VenueError(sentence, retry=False), now)
        self._round = None
        self._timers.clear("round")
        self._backoff.reset()
        loaded = self._load(told, taken.sent_ms, now)
        corrected = self._state.absorb(taken)
        waited, first, self._waiting = self._waiting or (), self._waiting is not None, None
        for event in waited:
            self._overlay(event)
        unexplained = [] if first or done.link is None or done.link != self._verified_link else corrected
        self._owed.update(dict.fromkeys(unexplained, now + EVENT_GRACE_S))
        self._count_round("corrected" if unexplained else "clean")
        trusted = self._private.trusted
        self._verified_link = trusted if done.link == trusted else None
        self._health.synced(now, covers_gap=done.link == trusted, stream_ok=trusted is not None)
        # Pulled and not set: a snapshot that was wanted while this one was on its way still follows.
        self._timers.pull("snapshot", now + self._interval_s(trusted is not None))
        seen = self._state.snapshot(self.venue, self._settings.name, self.feed, done.reason, taken)
        self._look_for_strangers(self._state.positions(), now)
        said = self._notices.of_incidents(done.incidents()) + self._notices.of_positions(self._state.rows.values())
        later = [event for kept in waited if isinstance(kept, ForcedOrders) for event in self._apply(kept, now)]
        return [*loaded, seen, *self._tell(said, taken.sent_ms), *later, *self._judge(now)]

    def _interval_s(self, streaming: bool) -> float:
        interval_s = self._settings.reconcile_s
        if self._state.mode is Mode.PORTFOLIO:
            interval_s = min(interval_s, PORTFOLIO_S)
        return interval_s if streaming else min(interval_s, WITHOUT_STREAM_S)

    def _load(self, told: Definitions | None, at_ms: int, now: float) -> list[Event]:
        """Contracts that are new or changed; what is missing is asked for again."""
        if told is None:
            return []
        changed = self._state.load(told)
        if told.complete:
            self._definitions_backoff.reset()
            self._loaded |= told.contracts.keys()
            self._timers.pull("definitions", now + DEFINITIONS_S)
        else:
            self._timers.pull("definitions", now + self._definitions_backoff.next())
        return [InstrumentsLoaded(self.venue, self._settings.name, changed, at_ms)] if changed else []

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Tiers and fees change without an event: read them again."""
        self._loaded = frozenset()
        self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _look_for_strangers(self, positions: Iterable[Position], now: float) -> None:
        """A position in a contract whose definition was not read yet."""
        if any(it.size and it.instrument not in self._state.instruments for it in positions):
            self._timers.pull("definitions", now + SNAPSHOT_SPACING_S)

    def _count_round(self, outcome: str) -> None:
        self._telemetry.reconciliations.add(self.venue, self._settings.name, outcome)

    # --- events

    def _keep(self, event: UserEvent, now: float) -> Sequence[Event]:
        assert self._waiting is not None  # noqa: S101 - the caller looked
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self._waiting.clear()
            self._round = None
            self._next_reason = SnapshotReason.START
            self._want_snapshot(SnapshotReason.START, now)
        self._waiting.append(event)
        return ()

    def _overlay(self, event: UserEvent) -> None:
        """An event that waited for the first snapshot; what it says beside figures is told with the snapshot."""
        if isinstance(event, PositionUpdate):
            self._state.move(event)
        elif isinstance(event, WalletUpdate):
            self._state.pay(event)

    def _apply(self, event: UserEvent, now: float) -> Sequence[Event]:
        match event:
            case PositionUpdate():
                return self._move(event, now)
            case WalletUpdate():
                return self._pay(event, now)
            case ForcedOrders():
                self._want_snapshot(SnapshotReason.TIMER, now)
                return self._tell(self._notices.of_forced(event.orders), event.orders[0].at_ms)

    def _move(self, event: PositionUpdate, now: float) -> Sequence[Event]:
        for row in event.positions:
            self._owed.pop((row.symbol, row.slot), None)
        positions, stale = self._state.move(event)
        self._count_stale(stale)
        self._look_for_strangers(positions, now)
        delta = self._delta(event.at_ms, "position", self._state.empty_wallets(), positions) if positions else ()
        return [*delta, *self._tell(self._notices.of_positions(event.positions), event.at_ms)]

    def _pay(self, event: WalletUpdate, now: float) -> Sequence[Event]:
        for row in event.coins:
            self._owed.pop(row.coin, None)
        wallets, stale = self._state.pay(event)
        self._count_stale(stale)
        if self._state.mode is Mode.PORTFOLIO:
            self._want_snapshot(SnapshotReason.TIMER, now)
        elif self._state.seems_another_mode(event.totals):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return self._delta(event.at_ms, "wallet", wallets, ()) if wallets else ()

    def _count_stale(self, stale: int) -> None:
        if stale:
            self._telemetry.bad_frames.add(self.venue, self.stream, Defect.OUT_OF_ORDER.value, amount=stale)

    def _delta(
        self, at_ms: int, reason: str, wallets: tuple[Wallet, ...], positions: tuple[Position, ...]
    ) -> Sequence[Event]:
        return (AccountDelta(self.venue, self._settings.name, at_ms, reason, wallets, positions),)

    def _tell(self, said: Iterable[Said], at_ms: int) -> list[Event]:
        name = self._settings.name
        return [VenueNotice(self.venue, name, at_ms, one.kind, one.instrument, one.detail) for one in said]

    def _missed(self, defect: Defect, now: float) -> Sequence[Event]:
        """A frame that could not be read may have been the one that mattered: ask."""
        self._count_bad(self.stream, defect)
        self._health.missed(now)
        self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def _expired(self, reason: str, now: float) -> Sequence[Event]:
        """The private stream is dead and being replaced."""
        self._verified_link = None
        self._owed.clear()
        self._health.silent(reason, now)
        return self._judge(now)

    def _count_bad(self, stream: str, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, stream, defect.value)

    # --- judgement

    def _judge(self, now: float) -> list[FeedChanged]:
        return self._health.judge(now)

    def _on_ping(self, now: float) -> Sequence[Event]:
        self._timers.set("ping", now + PING_S)
        silent = self._private.ping(now)
        if silent is None:
            return ()
        self._private.renew(now)
        return self._expired(silent, now)

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._timers.set("judge", now + JUDGE_S)
        overdue = [key for key, until in self._owed.items() if until <= now]
        if overdue:
            named = ", ".join(key if isinstance(key, str) else key[0] for key in overdue)
            self._private.renew(now)
            return self._expired(f"no event told of a change that a snapshot found: {named}", now)
        if self._health.well_since is not None and now - self._health.well_since > STEADY_S:
            self._private.steady()
        return self._judge(now)


def _kind(request: str) -> str:
    return request.rpartition("-")[0]
