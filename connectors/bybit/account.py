"""One account of Bybit: what its events and answers do; `connectors.account` has what all accounts do.

Bybit's stream begins with nothing, so the first snapshot follows the subscription.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from random import Random

import orjson

from connectors import permissions
from connectors.account import DEFINITIONS_S, FRAMES_REMEMBERED
from connectors.backoff import Backoff
from connectors.bybit import answers, snapshot
from connectors.bybit.answers import Definitions, Mode
from connectors.bybit.notices import Notices, Said
from connectors.bybit.parse import (
    ForcedOrders,
    PositionUpdate,
    Reply,
    UserEvent,
    WalletUpdate,
    private_frame,
)
from connectors.bybit.permissions import HOW_TO, PATH
from connectors.bybit.private import UserStream
from connectors.bybit.snapshot import COLLATERAL, Round
from connectors.bybit.state import AccountState
from connectors.config import KeyedAccountSettings
from connectors.definitions import DefinitionTimes
from connectors.keyed import KeyedAccount
from connectors.session import Request, Security
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.events import Event, SnapshotReason
from monitor.telemetry import Telemetry

PORTFOLIO_S = 5.0
"""Snapshots are at least this frequent under portfolio margin, where maintenance is known from them alone."""

PORTFOLIO_SPACING_S = 2.5
"""And no more frequent than this, whatever happens: every wallet event asks for one, and a busy account has many."""

ROUND_S = 60.0
KEY_DAYS_MIN = 7
NO_SUCH_ROUTE = (404, 10017)
APART = (
    "inverse contracts of Bybit's unified account 1.0 draw on an account of their own, which is not read, so they are "
    "shown as unknown; upgrade to unified account 2.0"
)


class AccountFeed(KeyedAccount[Round, UserEvent]):
    """One account. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: KeyedAccountSettings, life_s: float, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        super().__init__(venue, settings, life_s, telemetry, random, round_s=ROUND_S)
        self._settings = settings
        self._private: UserStream = UserStream(settings.private_url, self._wiring)
        self._handlers |= self._private.handlers
        self._definitions = DefinitionTimes(DEFINITIONS_S, Backoff(5.0, 600.0, random))
        self._state = AccountState()
        self._notices = Notices()
        self._asked_at = 0.0
        self._api_key = ""
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)

    # --- inputs

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame of the private stream."""
        self._telemetry.frames.add(self.venue, self.stream)
        try:
            event = private_frame(orjson.loads(frame))
        except orjson.JSONDecodeError:
            return self._missed(Defect.JSON, now)
        except BadFrame as bad:
            return self._missed(bad.defect, now)
        if isinstance(event, Reply):
            return self._replied(event.good, self._private.replied(connection, event, now), now)
        if event is None:
            return ()
        if frame in self._recent:
            self._count_bad(self.stream, Defect.DUPLICATE)
            return ()
        self._recent.append(frame)
        self._health.heard(now)
        return self._apply(event, now) if self._synced else self._keep(event, now)

    def secrets(self) -> Collection[str]:
        """Bybit repeats the API key when asked what it may do."""
        return (self._api_key,) if self._api_key else ()

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- permissions

    def _permissions_request(self) -> Request:
        return Request("", "GET", self._settings.rest_url, PATH, Security.SIGNED)

    def _judge_permissions(self, body: bytes, now: float) -> Sequence[Event]:
        granted = answers.permissions(body)
        self._api_key = granted.api_key
        if granted.days_left is not None and granted.days_left <= KEY_DAYS_MIN:
            self._warn(f"the API key expires in {granted.days_left} days")
        return self._weigh(granted.dangerous, now)

    def _refusal(self, dangerous: Sequence[str]) -> MarginwatchError:
        name = self._settings.name
        if dangerous:
            return permissions.refusal(name, dangerous, HOW_TO)
        return permissions.unknown(name, "rest_url", self._settings.rest_url)

    def _is_untold(self, error: VenueError) -> bool:
        return error.code in NO_SUCH_ROUTE

    # --- snapshots

    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> Round:
        self._asked_at = now
        return Round(reason, link, self._definitions.fresh(now))

    def _request(self, asked: Round, kind: str) -> Request:
        return snapshot.request(self._settings.rest_url, kind, asked.cursors.get(kind, ""))

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        taken, told = done.answers(), done.definitions()
        if not done.unified():
            sentence = f"{self.name}: this is a classic account; only Bybit's unified trading account can be watched"
            return self._halt(VenueError(sentence, retry=False), now)
        changed = self._state.load(told) if told is not None else ()
        corrected = self._state.absorb(taken)
        self._settle(done, corrected, now)
        kept = self._kept()
        for event in kept:
            self._overlay(event)
        seen = self._state.snapshot(self.venue, self._account, self.feed, done.reason, taken)
        self._note_definitions(done, told, now)
        self._mind_apart()
        if self._state.mode is Mode.PORTFOLIO and not self._state.agrees(taken):
            self._want_report(now)
        said = self._notices.of_incidents(done.incidents) + self._notices.of_positions(self._state.rows.values())
        later = [event for it in kept if isinstance(it, ForcedOrders) for event in self._apply(it, now)]
        loaded = self._instruments_loaded(changed, taken.sent_ms)
        return [*loaded, seen, *self._tell(said, taken.sent_ms), *later, *self._judge(now)]

    def _interval_s(self) -> float:
        return min(self._reconcile_s, PORTFOLIO_S) if self._state.mode is Mode.PORTFOLIO else self._reconcile_s

    def _note_definitions(self, done: Round, told: Definitions | None, now: float) -> None:
        """What is lacking is asked for again, also of a contract that no answer has, only an event."""
        asked, lacking = (told.asked, told.lacking) if told is not None else (frozenset[str](), frozenset[str]())
        strange = self._state.symbols() - self._definitions.fresh(now) - asked
        asked, lacking = asked | strange, lacking | strange
        if done.asked_collateral:
            asked, lacking = asked | {COLLATERAL}, lacking | ({COLLATERAL} & done.failed)
        self._definitions.asked(asked, lacking, now)
        self._plan_definitions(now)

    def _plan_definitions(self, now: float) -> None:
        """Wake when the definitions of a contract that is held are due: at once, for one that is new."""
        due_at = self._definitions.next(self._state.symbols())
        self._timers.set("definitions", now + DEFINITIONS_S if due_at is None else max(due_at, now))

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Tiers and fees change without an event: read them again."""
        self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _mind_apart(self) -> None:
        """Tell, once, of positions that are not computed."""
        if apart := self._state.apart():
            self._warn(f"{', '.join(sorted(apart))}: {APART}")

    def _want_report(self, now: float) -> None:
        """Take a snapshot for what it reports."""
        self._timers.pull("snapshot", max(now, self._not_before, self._asked_at + PORTFOLIO_SPACING_S))

    # --- events

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
        self._count_bad(self.stream, Defect.OUT_OF_ORDER, stale)
        self._plan_definitions(now)
        delta = self._delta(event.at_ms, "position", self._state.empty_wallets(), positions) if positions else ()
        return [*delta, *self._tell(self._notices.of_positions(event.positions), event.at_ms)]

    def _pay(self, event: WalletUpdate, now: float) -> Sequence[Event]:
        for row in event.coins:
            self._owed.pop(row.coin, None)
        wallets, stale = self._state.pay(event)
        self._count_bad(self.stream, Defect.OUT_OF_ORDER, stale)
        if self._state.lacks_ratios() and self._definitions.is_due(COLLATERAL, now):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        if self._state.mode is Mode.PORTFOLIO:
            self._want_report(now)
        elif self._state.seems_another_mode(event.totals):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return self._delta(event.at_ms, "wallet", wallets, ())

    def _tell(self, said: Iterable[Said], at_ms: int) -> list[Event]:
        return [self._notice(at_ms, one.kind, one.instrument, one.detail) for one in said]
