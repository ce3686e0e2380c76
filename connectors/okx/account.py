"""One account: key permissions, private stream, snapshots, and the judgement of both by each other.

In order: what the key may do, the private stream, and when that is subscribed a REST snapshot. Pushes that come before
the snapshot wait for it. Afterwards a snapshot on a timer is laid over what the pushes told; what it must correct
without a push that explains it shows that the private stream is dead, however open its socket is.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from random import Random

import orjson

from connectors.backoff import Backoff
from connectors.health import AccountHealth
from connectors.okx import answers, snapshot
from connectors.okx.config import AccountSettings
from connectors.okx.parse import (
    PONG,
    AccountRow,
    Changed,
    PositionRow,
    Positions,
    Reply,
    UserFrame,
    Warned,
    private_frame,
)
from connectors.okx.permissions import refusal, unknown_permissions
from connectors.okx.private import PING_S, PrivateStream
from connectors.okx.rest import ADL_RUNS, LIQUIDATION_RUNS
from connectors.okx.snapshot import Definitions, Round, table_modes
from connectors.okx.state import AccountState, Answers, Key
from connectors.session import Action, Halt, Timers, Warn
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import AccountMode, MarginMode, Position, Wallet
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
from monitor.telemetry import Telemetry

EVENTS_WAITING_MAX = 10_000
"""Pushes kept while the first snapshot is on its way. When full they are forgotten together with that snapshot, and
another is taken, which knows them all: nothing is lost."""

FRAMES_REMEMBERED = 256
"""Frames in which a repetition is recognised: two connections overlap, and venues repeat themselves."""

PAGES_MAX = 200
"""Pages of one set of positions. A set that is longer is forgotten: it cannot be one."""

EVENT_GRACE_S = 5.0
"""How long the push that explains a snapshot's correction may be on its way."""

WITHOUT_STREAM_S = 10.0
"""Snapshots are at least this frequent while the private stream cannot be relied on."""

PORTFOLIO_S = 5.0
"""... and under portfolio margin, where maintenance is known from them alone."""

MARK_PAUSE_S = 12.0
"""OKX repeats a mark that does not change every 10 s."""

SNAPSHOT_SPACING_S = 1.0
ROUND_S = 60.0
DEFINITIONS_S = 3600.0
JUDGE_S = 0.5
STEADY_S = 60.0
PERMISSIONS = "permissions"
_FORCED = {"liquidation": "liquidation", "adl": "adl"}


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
        self._backoff = Backoff(1.0, 60.0, random)
        self._definitions_backoff = Backoff(10.0, 600.0, random)
        self._private = PrivateStream(
            f"{self.name}/user", settings.private_url, self.actions, self._timers, random, self._took_over, life_s
        )
        self._state = AccountState()
        self._health = AccountHealth(venue, settings.name, settings.feed, settings.reconcile_s)
        self._loaded: dict[str, MarginMode] = {}
        """Contracts whose definitions are known and young, by the table of tiers that they were read from."""
        self._request_count = 0
        self._last_asked: dict[str, str] = {}
        self._round: Round | None = None
        self._next_reason = SnapshotReason.START
        self._not_before = 0.0
        self._verified_link: str | None = None
        """The private connection under which the last snapshot was taken: since then every change must be told."""
        self._waiting: list[UserFrame] | None = []
        """Pushes that wait for the first snapshot; None once it is there."""
        self._pages: dict[str, list[Positions]] = {}
        """Pages of a set of positions that is not complete yet, by connection."""
        self._owed: dict[Key | str, float] = {}
        """Corrections that a push has yet to explain, and until when."""
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)
        self._others: frozenset[str] = frozenset()
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
        """Log in; the stream is open when OKX has acknowledged its channels."""
        self._private.opened(connection, now)
        return self._judge(now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Events may be missed from here on."""
        self._pages.pop(connection, None)
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
        self._private.heard(connection)
        if frame in (PONG, PONG.decode()):
            return ()
        try:
            told = private_frame(orjson.loads(frame))
        except orjson.JSONDecodeError:
            return self._missed(Defect.JSON, now)
        except BadFrame as bad:
            if bad.defect is Defect.UNKNOWN_EVENT:
                self._count_bad(self.stream, bad.defect)
                return ()
            return self._missed(bad.defect, now)
        if isinstance(told, Reply):
            return self._replied(connection, told, now)
        if frame in self._recent:
            self._count_bad(self.stream, Defect.DUPLICATE)
            return ()
        self._recent.append(frame)
        self._health.heard(now)
        if isinstance(told, Positions):
            whole = self._collect(connection, told)
            if whole is None:
                return ()
            told = whole
        return self._keep(told, now) if self._waiting is not None else self._apply(told, now)

    def _collect(self, connection: str, told: Positions) -> Positions | None:
        """A set that comes in pages is put together; None while some are missing. Pages out of turn spoil the set."""
        if not told.whole or (told.page == 1 and told.last):
            return told
        pages = self._pages.setdefault(connection, [])
        if told.page != len(pages) + 1 or len(pages) >= PAGES_MAX:
            pages.clear()
            if told.page != 1:
                return replace(told, whole=False)  # its rows are good, but nothing follows from what they do not name
        pages.append(told)
        if not told.last:
            return None
        del self._pages[connection]
        rows = tuple(row for page in pages for row in page.rows)
        return Positions(rows, True, 1, True, frozenset[str]().union(*(page.others for page in pages)))

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
                return self._judge_permissions(answers.config(body), now)
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
            if not error.retry:
                return self._halt(error, now)
            self._health.failed(str(error))
            self._timers.set("permissions", now + self._backoff.next(error.retry_after_s))
            return self._judge(now)
        if self._round is None or not self._is_current(request, kind):
            return ()
        if snapshot.is_optional(kind):
            self._round.do_without(kind)
            return self._take(self._round, (), now)
        if not error.retry and self._waiting is not None:
            return self._halt(error, now)
        return [*self._frozen(error, now), *self._round_failed(error, now)]

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
        """OKX hands out none."""
        return ()

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- questions

    def _ask(self, kind: str, ask_as: str = "") -> None:
        """Number a question. Its kind is what stands before the number; only the latest of a kind is waited for."""
        self._request_count += 1
        name = ask_as or kind
        self._last_asked[name] = f"{name}-{self._request_count}"
        self.actions.append(replace(snapshot.request(self._settings.rest_url, kind), id=self._last_asked[name]))

    def _is_current(self, request: str, kind: str) -> bool:
        return self._last_asked.get(kind) == request

    def _halt(self, error: MarginwatchError, now: float) -> Sequence[Event]:
        self._health.refused(str(error))
        self.actions.append(Halt(error))
        return self._judge(now)

    # --- permissions

    def _on_permissions(self, now: float) -> Sequence[Event]:
        self._ask("config", PERMISSIONS)
        return ()

    def _judge_permissions(self, config: answers.Config, now: float) -> Sequence[Event]:
        allowed = self._settings.allow_dangerous_key
        if not config.permissions and not allowed:
            return self._halt(unknown_permissions(self._settings.name, self._settings.rest_url), now)
        if config.dangerous and not allowed:
            return self._halt(refusal(self._settings.name, config.dangerous), now)
        if config.dangerous or not config.permissions:
            able = ", ".join(config.dangerous) or "nobody says what"
            self.actions.append(Warn(f"{self.name}: the API key can do more than read ({able}); it is allowed to"))
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
        self._round = Round(self._next_reason, self._private.trusted, dict(self._loaded))
        self._next_reason = SnapshotReason.TIMER
        self._timers.set("round", now + ROUND_S)
        return self._take(self._round, sorted(self._round.missing), now)

    def _take(self, asked: Round, further: Iterable[str], now: float) -> Sequence[Event]:
        for kind in further:
            self._ask(kind)
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

    def _frozen(self, error: VenueError, now: float) -> Sequence[Event]:
        """Some refusals say that OKX is closing positions by force at this moment."""
        kind = "adl" if error.code in ADL_RUNS else "liquidation" if error.code in LIQUIDATION_RUNS else ""
        return (
            [self._notice(int(now * 1000), kind, "", f"OKX refuses to answer while it runs: {error}")] if kind else ()
        )

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        """All answers are in: lay them over what the pushes told."""
        taken = done.answers()
        self._round = None
        self._timers.clear("round")
        self._backoff.reset()
        loaded = self._load(done.definitions(), taken, now)
        corrected = self._state.absorb(taken)
        waited, first, self._waiting = self._waiting or (), self._waiting is not None, None
        for told in waited:
            self._overlay(told)
        unexplained = [] if first or done.link is None or done.link != self._verified_link else corrected
        self._owed.update(dict.fromkeys(unexplained, now + EVENT_GRACE_S))
        self._count_round("corrected" if unexplained else "clean")
        trusted = self._private.trusted
        self._verified_link = trusted if done.link == trusted else None
        self._health.synced(now, covers_gap=done.link == trusted, stream_ok=trusted is not None)
        # Pulled and not set: a snapshot that was wanted while this one was on its way still follows.
        self._timers.pull("snapshot", now + self._interval_s(trusted is not None))
        seen = AccountSnapshot(
            venue=self.venue,
            account=self._settings.name,
            feed=self.feed,
            at_ms=taken.sent_ms,
            reason=done.reason,
            account_mode=self._state.account_mode,
            position_mode=self._state.position_mode,
            wallets=tuple(self._state.wallets.values()),
            positions=tuple(self._state.positions.values()),
            reports=self._state.reports(taken),
            mark_pause_s=MARK_PAUSE_S,
        )
        self._mind_others(taken.others)
        later = [event for told in waited if isinstance(told, Warned | Changed) for event in self._apply(told, now)]
        return [*loaded, seen, *later, *self._judge(now)]

    def _interval_s(self, streaming: bool) -> float:
        interval_s = self._settings.reconcile_s
        if self._state.account_mode is AccountMode.PORTFOLIO:
            interval_s = min(interval_s, PORTFOLIO_S)
        return interval_s if streaming else min(interval_s, WITHOUT_STREAM_S)

    def _load(self, told: Definitions | None, taken: Answers, now: float) -> list[Event]:
        """Contracts that are new or changed, as far as they are held."""
        if told is None:
            return []
        known, changed, complete = self._state.instruments, [], told.complete
        for symbol, mode in table_modes(taken.positions).items():
            found = told.instrument(symbol, mode, known.get(symbol))
            if found is None:
                complete = False
                continue
            if known.get(symbol) != found:
                known[symbol] = found
                changed.append(found)
            if told.complete:
                self._loaded[symbol] = mode
        if complete:
            self._definitions_backoff.reset()
        wait_s = DEFINITIONS_S if complete else self._definitions_backoff.next()
        self._timers.pull("definitions", now + wait_s)
        return [InstrumentsLoaded(self.venue, self._settings.name, tuple(changed), taken.sent_ms)] if changed else []

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Tiers and fees change without an event: read them again."""
        self._loaded.clear()
        self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _look_for_strangers(self, positions: Iterable[Position], now: float) -> None:
        """A position in a contract whose definition was not read yet."""
        if any(it.size and it.instrument not in self._state.instruments for it in positions):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)

    def _mind_others(self, others: frozenset[str]) -> None:
        """Tell, once, of contracts that are not computed."""
        new = others - self._others
        self._others |= others
        if new:
            self.actions.append(
                Warn(
                    f"{self.name}: holds {', '.join(sorted(new))} beside swaps, which are not computed; in a cross "
                    "pool with swaps OKX's own figures count them in, at each snapshot; isolated ones are not watched"
                )
            )

    def _count_round(self, outcome: str) -> None:
        self._telemetry.reconciliations.add(self.venue, self._settings.name, outcome)

    # --- pushes

    def _keep(self, told: UserFrame, now: float) -> Sequence[Event]:
        assert self._waiting is not None  # noqa: S101 - the caller looked
        if len(self._waiting) >= EVENTS_WAITING_MAX:
            self._waiting.clear()
            self._round = None
            self._next_reason = SnapshotReason.START
            self._want_snapshot(SnapshotReason.START, now)
        self._waiting.append(told)
        return ()

    def _overlay(self, told: UserFrame) -> None:
        """A push that waited for the first snapshot; what it says beside figures is told after the snapshot."""
        if isinstance(told, Positions):
            self._state.move(told.rows)
        elif isinstance(told, AccountRow):
            self._state.pay(told)

    def _apply(self, told: UserFrame, now: float) -> Sequence[Event]:
        match told:
            case Positions():
                return self._move(told, now)
            case AccountRow():
                return self._pay(told, now)
            case Warned():
                self._want_snapshot(SnapshotReason.TIMER, now)
                return [self._notice(told.at_ms, "margin_call", name, detail) for name, detail in told.rows]
            case Changed():
                return self._changed(told, now)
            case Reply():
                return ()

    def _move(self, told: Positions, now: float) -> Sequence[Event]:
        self._settle_debts(told.rows)
        moved, stale = self._state.move(told.rows)
        self._count_stale(stale)
        if told.whole and told.rows:
            gone = self._state.close_absent(told.rows, told.at_ms)
            for position in gone:
                self._owed.pop((position.instrument, position.slot), None)
            moved += gone
        elif told.whole and self._state.positions and not told.others:
            self._want_snapshot(SnapshotReason.TIMER, now)  # nothing is open, but since when is not said
        self._mind_others(told.others)
        self._look_for_strangers(moved, now)
        if not moved:
            return ()
        if self._state.account_mode is AccountMode.PORTFOLIO:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return self._delta(told.at_ms, "positions", (), moved)

    def _settle_debts(self, rows: Iterable[PositionRow]) -> None:
        for row in rows:
            self._owed.pop((row.instrument, row.slot), None)

    def _pay(self, told: AccountRow, now: float) -> Sequence[Event]:
        for coin in told.coins:
            self._owed.pop(coin.coin, None)
        wallets, stale = self._state.pay(told)
        self._count_stale(stale)
        multi = told.adjusted_equity is not None
        if self._state.positions and multi is (self._state.account_mode is AccountMode.SINGLE_ASSET):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)  # this figure comes and goes with the account's mode
        return self._delta(told.at_ms, "account", wallets, ()) if wallets else ()

    def _changed(self, told: Changed, now: float) -> Sequence[Event]:
        """The fastest word of a liquidation; the figures that follow come by the other channels."""
        kind = _FORCED.get(told.event)
        if kind is None:
            return ()
        self._want_snapshot(SnapshotReason.TIMER, now)
        return [
            self._notice(told.at_ms, kind, name, f"OKX has closed in {name or 'the account'}: {told.event}")
            for name in told.instruments or ("",)
        ]

    def _count_stale(self, stale: int) -> None:
        if stale:
            self._telemetry.bad_frames.add(self.venue, self.stream, Defect.OUT_OF_ORDER.value, amount=stale)

    def _delta(
        self, at_ms: int, reason: str, wallets: tuple[Wallet, ...], positions: tuple[Position, ...]
    ) -> Sequence[Event]:
        return (AccountDelta(self.venue, self._settings.name, at_ms, reason, wallets, positions),)

    def _notice(self, at_ms: int, kind: str, instrument: str, detail: str) -> Event:
        return VenueNotice(self.venue, self._settings.name, at_ms, kind, instrument, detail)

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
        silent = self._private.ping()
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
            return self._expired(f"no push told of a change that a snapshot found: {named}", now)
        if self._health.well_since is not None and now - self._health.well_since > STEADY_S:
            self._private.steady()
        return self._judge(now)


def _kind(request: str) -> str:
    return request.rpartition("-")[0]
