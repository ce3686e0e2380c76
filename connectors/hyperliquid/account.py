"""One address: its stream, its snapshots, and the judgement of both by each other.

The stream tells whole states of all dexes, each with the venue's time; a snapshot asks for the same and for what the
stream does not tell, the account's mode. What a snapshot must correct without a frame that explains it shows that the
stream is dead, however open its socket is. An address beyond the venue's limit of streams is only asked, more often.

There is no key and so no permission to look at. What takes its place is the address itself: one that nobody ever used
looks like an account that holds nothing, so an empty account is asked for its role before it is believed.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from random import Random

import orjson

from connectors.backoff import Backoff
from connectors.health import AccountHealth
from connectors.hyperliquid import snapshot
from connectors.hyperliquid.answers import Abstraction, Role
from connectors.hyperliquid.config import AccountSettings
from connectors.hyperliquid.parse import Answered, Fills, Pong, Spot, States, UserFrame, is_greeting, user_frame
from connectors.hyperliquid.snapshot import Round
from connectors.hyperliquid.state import AccountState
from connectors.hyperliquid.stream import UserStream
from connectors.session import Action, Halt, Request, Timers, Warn
from connectors.wire import BadFrame, Defect
from monitor.errors import ConfigurationError, Fault, MarginwatchError, VenueError
from monitor.model.account import PositionMode
from monitor.model.assessment import FeedHealth
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    Event,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.instrument import Instrument
from monitor.telemetry import Telemetry

EVENT_GRACE_S = 5.0
"""How long the frame that explains a snapshot's correction may be on its way."""

WITHOUT_STREAM_S = 10.0
"""Snapshots are at least this frequent while the stream cannot be relied on."""

PORTFOLIO_S = 10.0
"""Snapshots of a portfolio account are at least this frequent: no stream tells its ratio."""

SNAPSHOT_SPACING_S = 1.0
PAYMENT_SPACING_S = 10.0
"""Between snapshots because spot and dexes seem to disagree: each has its own moment, and marks move between them."""

ROUND_S = 30.0
MODE_S = 60.0
DEFINITIONS_S = 3600.0
JUDGE_S = 0.5
STEADY_S = 60.0
FILLS_REMEMBERED = 256


class AccountFeed:
    """One address. See `connectors.session.AccountSession` for the protocol."""

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
        self._stream = UserStream(
            f"{self.name}/user",
            settings.private_url,
            settings.address,
            self.actions,
            self._timers,
            random,
            self._took_over,
            self._expired,
            life_s,
        )
        self._state = AccountState()
        self._health = AccountHealth(venue, settings.name, settings.feed, settings.reconcile_s)
        self._instruments: dict[str, Instrument] = {}
        self._warned: set[str] = set()
        self._request_count = 0
        self._last_asked: dict[str, str] = {}
        self._round: Round | None = None
        self._next_reason = SnapshotReason.START
        self._not_before = 0.0
        self._dexes: tuple[str, ...] | None = None
        """All there are; None while they are not known, or are to be asked for again."""
        self._mode_due_at = 0.0
        self._payment_at = 0.0
        self._verified_link: str | None = None
        """The connection under which the last snapshot was taken: since then every change must be told."""
        self._synced = False
        self._began_ms: int | None = None
        """The venue's time of the first snapshot: what was filled up to then is nobody's news."""
        self._told_ms: dict[str, int] = {}
        """The venue's time of each dex's last state on the stream."""
        self._owed: dict[str, float] = {}
        """Corrections that a frame has yet to explain, and until when."""
        self._forced: deque[tuple[int, int]] = deque(maxlen=FILLS_REMEMBERED)
        self._handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            **self._stream.handlers,
            "snapshot": self._on_snapshot,
            "round": self._on_round_overdue,
            "definitions": self._on_definitions,
            "judge": self._on_judge,
        }

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Open the stream, whose opening calls for a snapshot; without one ask at once."""
        self._timers.set("judge", now + JUDGE_S)
        changed = self._health.start(now)
        if self._settings.poll_s is None:
            self._stream.begin(now)
            # Should the stream not open, snapshots alone are better than nothing.
            self._timers.set("snapshot", now + WITHOUT_STREAM_S)
        else:
            self._health.opened(now)
            self._timers.set("snapshot", now)
        return changed

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """From here on every change is told, and a snapshot can be laid under it."""
        self._stream.opened(connection, now)
        return self._judge(now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Changes may be missed from here on."""
        self._health.unreachable(reason)
        if self._stream.closed(connection, reason, now):
            self._verified_link = None
            self._owed.clear()
            self._health.lost(now)
        return self._judge(now)

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame of the stream."""
        self._telemetry.frames.add(self.venue, self.stream)
        self._stream.heard(connection)
        try:
            told = user_frame(orjson.loads(frame))
        except orjson.JSONDecodeError:
            return () if is_greeting(frame) else self._missed(Defect.JSON, now)
        except BadFrame as bad:
            if bad.defect in (Defect.UNKNOWN_EVENT, Defect.REJECTED):
                self._count_bad(self.stream, bad.defect)
                return ()
            return self._missed(bad.defect, now)
        return () if told is None else self._apply(told, now)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """The answer to a question."""
        kind = _kind(request)
        if self._round is None or self._last_asked.get(kind) != request:
            return ()
        try:
            self._ask(self._round.take(kind, body))
            return () if self._round.missing else self._complete(self._round, now)
        except BadFrame as bad:
            self._count_bad("rest", bad.defect)
            return self._round_failed(VenueError(f"{self.name}: {kind}: {bad}", retry=True), now)

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A question without a good answer is asked again later; one that never can have one ends the account."""
        if self._round is None or self._last_asked.get(_kind(request)) != request:
            return ()
        if not error.retry and not self._synced:
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
        if self._synced:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """The stream and the snapshots."""
        return self._health.report(now)

    def secrets(self) -> Collection[str]:
        """Everything is public."""
        return ()

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- snapshots

    def _took_over(self, now: float, gap: bool) -> None:
        """Another connection is live. After a gap only a snapshot tells what was missed."""
        if gap:
            self._health.opened(now)
            self._want_snapshot(SnapshotReason.RECONNECT, now)

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
        self._round = Round.begin(
            self._next_reason, self._stream.trusted, dexes=self._dexes, mode=now >= self._mode_due_at
        )
        self._next_reason = SnapshotReason.TIMER
        self._ask(self._round.missing)
        self._timers.set("round", now + ROUND_S)
        return ()

    def _ask(self, kinds: Collection[str]) -> None:
        """Number each question. Only the latest of a kind is waited for."""
        for kind in sorted(kinds):
            self._request_count += 1
            asked: Request = snapshot.request(self._settings.rest_url, self._settings.address, kind)
            self._last_asked[kind] = f"{kind}-{self._request_count}"
            self.actions.append(replace(asked, id=self._last_asked[kind]))

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
        """All answers are in: lay them over what the stream told. Raises BadFrame, before anything is changed."""
        assets, abstraction, states, spot, role = (
            done.definitions(), done.abstraction(), done.states(), done.spot(), done.role(),
        )  # fmt: skip
        if role is not None and (error := self._refusal(role)) is not None:
            return self._halt(error, now)
        if assets is not None:
            self._state.load(assets)
            self._dexes = done.dexes
            self._timers.set("definitions", now + DEFINITIONS_S)
        self._state.accept(states)
        self._state.spot = spot
        if not self._synced and role is None and self._state.empty:
            done.missing = {snapshot.ROLE}
            self._ask(done.missing)
            return ()
        self._take_mode(abstraction, now)
        return self._settle(done, now)

    def _take_mode(self, abstraction: Abstraction | None, now: float) -> None:
        if abstraction is not None:
            self._state.abstraction = abstraction
            self._mode_due_at = now + MODE_S
            if abstraction is Abstraction.STRANGE:
                self._warn("mode", "the account is in a mode that is not known here; its cross positions are unknown")
        self._state.decide_mode()

    def _settle(self, done: Round, now: float) -> Sequence[Event]:
        self._round = None
        self._timers.clear("round")
        self._backoff.reset()
        wallets, positions = self._state.refresh(whole=True)
        loaded = self._load(self._state.instruments(), now)
        verified = self._synced and done.link is not None and done.link == self._verified_link
        self._synced = True
        corrected = [each.instrument for each in positions]
        if self._state.separate:
            corrected += [each.coin for each in wallets]
        unexplained = corrected if verified else []
        self._owed.update(dict.fromkeys(unexplained, now + EVENT_GRACE_S))
        self._count_round("corrected" if unexplained else "clean")
        polled = self._settings.poll_s is not None
        trusted = self._stream.trusted
        self._verified_link = trusted if done.link == trusted else None
        self._health.synced(now, covers_gap=done.link == trusted, stream_ok=polled or trusted is not None)
        # Pulled and not set: a snapshot that was wanted while this one was on its way still follows.
        self._timers.pull("snapshot", now + self._interval_s())
        for coin, (own, listed) in self._state.deviations().items():
            self._warn(coin, f"{coin} is ruled by a maximum leverage of {own:g}, its table says {listed:g}")
        seen = self._snapshot(done.reason)
        self._began_ms = self._began_ms or seen.at_ms
        return [*loaded, seen, *self._judge(now)]

    def _interval_s(self) -> float:
        interval_s = self._settings.reconcile_s
        if self._settings.poll_s is not None:
            return min(interval_s, self._settings.poll_s)
        if self._stream.trusted is None:
            interval_s = min(interval_s, WITHOUT_STREAM_S)
        return min(interval_s, PORTFOLIO_S) if self._state.stands_for is Abstraction.PORTFOLIO else interval_s

    def _snapshot(self, reason: SnapshotReason) -> AccountSnapshot:
        state = self._state
        return AccountSnapshot(
            venue=self.venue,
            account=self._settings.name,
            feed=self.feed,
            at_ms=max(each.at_ms for each in state.dexes.values()),
            reason=reason,
            account_mode=state.mode,
            position_mode=PositionMode.ONE_WAY,
            wallets=tuple(state.wallets.values()),
            positions=tuple(state.positions.values()),
            reports=state.reports(),
        )

    def _load(self, instruments: dict[str, Instrument], now: float) -> list[Event]:
        """Instruments that are new or changed."""
        changed = [it for coin, it in instruments.items() if self._instruments.get(coin) != it]
        self._instruments.update(instruments)
        at_ms = max((each.at_ms for each in self._state.dexes.values()), default=0)
        return [InstrumentsLoaded(self.venue, self._settings.name, tuple(changed), at_ms)] if changed else []

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Margin tables change without a word: the next snapshot reads them again."""
        self._dexes = None
        return ()

    def _count_round(self, outcome: str) -> None:
        self._telemetry.reconciliations.add(self.venue, self._settings.name, outcome)

    # --- the address

    def _refusal(self, role: Role) -> MarginwatchError | None:
        """Why an empty address is not an account."""
        address = self._settings.address
        if role.name == "missing":
            problem = f"Hyperliquid knows no account {address}; check every digit"
        elif role.name == "agent":
            owner = f", {role.owner}" if role.owner else ""
            problem = f"{address} is an API wallet, which holds nothing; give the address of its account{owner}"
        else:
            return None
        return ConfigurationError(f"account {self._settings.name}", [Fault("address", problem)])

    def _halt(self, error: MarginwatchError, now: float) -> Sequence[Event]:
        self._round = None
        self._health.refused(str(error))
        self.actions.append(Halt(error))
        return self._judge(now)

    def _warn(self, about: str, text: str) -> None:
        """Once for each subject."""
        if about not in self._warned:
            self._warned.add(about)
            self.actions.append(Warn(f"{self.name}: {text}"))

    # --- frames

    def _apply(self, told: UserFrame, now: float) -> Sequence[Event]:
        match told:
            case Pong():
                return ()
            case Answered(ended, subscription):
                if not ended:
                    return ()
                self._stream.renew(now)
                return self._expired(f"the venue ended the stream {subscription}", now)
            case States(address) | Spot(address) | Fills(address) if address != self._settings.address:
                self._count_bad(self.stream, Defect.SHAPE)
                return ()
            case States():
                return self._states(told, now)
            case Spot():
                return self._spot(told, now)
            case Fills():
                return self._fills(told, now)

    def _states(self, told: States, now: float) -> Sequence[Event]:
        self._health.heard(now)
        repeated, outdated = self._state.accept(told.states)
        late = [dex for dex in outdated if told.states[dex].at_ms < self._told_ms.get(dex, 0)]
        again = [dex for dex in repeated if told.states[dex].at_ms == self._told_ms.get(dex, 0)]
        if late or (again and len(again) == len(told.states)):
            self._count_bad(self.stream, Defect.OUT_OF_ORDER if late else Defect.DUPLICATE)
            return ()
        self._told_ms |= {dex: state.at_ms for dex, state in told.states.items()}
        self._owed.clear()  # every state is whole: what was corrected is in it
        if not self._synced:
            return ()
        wallets, positions = self._state.refresh(whole=False)
        if not wallets and not positions:
            return ()
        if positions and not self._state.separate:
            self._want_snapshot(SnapshotReason.TIMER, now)
        if any(each.instrument not in self._instruments for each in positions) and self._dexes is not None:
            self._dexes = None
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        at_ms = max(state.at_ms for state in told.states.values())
        delta = AccountDelta(self.venue, self._settings.name, at_ms, "STATE", wallets, positions)
        return (*self._load(self._state.held_instruments(), now), delta)

    def _spot(self, told: Spot, now: float) -> Sequence[Event]:
        self._state.spot = told.state
        if self._synced and self._state.seems_paid() and now >= self._payment_at:
            self._payment_at = now + PAYMENT_SPACING_S
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def _fills(self, told: Fills, now: float) -> Sequence[Event]:
        """One notice for an order of the venue, however many fills it has. Those of the past are old news."""
        notices: list[Event] = []
        for fill in told.forced:
            known = any(fill.key[0] == order for order, _ in self._forced)
            if fill.key in self._forced:
                if not told.past:
                    self._count_bad(self.stream, Defect.DUPLICATE)
                continue
            self._forced.append(fill.key)
            if known or (told.past and (self._began_ms is None or fill.at_ms <= self._began_ms)):
                continue
            notices.append(VenueNotice(self.venue, self._settings.name, fill.at_ms, fill.kind, fill.coin, fill.detail))
        if notices:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return notices

    def _missed(self, defect: Defect, now: float) -> Sequence[Event]:
        """A frame that could not be read may have been the one that mattered: ask."""
        self._count_bad(self.stream, defect)
        self._health.missed(now)
        self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def _expired(self, reason: str, now: float) -> Sequence[Event]:
        """The stream is dead and being replaced."""
        self._verified_link = None
        self._owed.clear()
        self._health.silent(reason, now)
        return self._judge(now)

    def _count_bad(self, stream: str, defect: Defect) -> None:
        self._telemetry.bad_frames.add(self.venue, stream, defect.value)

    # --- judgement

    def _judge(self, now: float) -> list[FeedChanged]:
        return self._health.judge(now)

    def _on_judge(self, now: float) -> Sequence[Event]:
        self._timers.set("judge", now + JUDGE_S)
        overdue = [key for key, until in self._owed.items() if until <= now]
        if overdue:
            self._stream.renew(now)
            return self._expired(f"no frame told of a change that a snapshot found: {', '.join(overdue)}", now)
        if self._health.well_since is not None and now - self._health.well_since > STEADY_S:
            self._stream.steady()
        return self._judge(now)


def _kind(request: str) -> str:
    return request.rpartition("-")[0]
