"""One account of OKX: what its pushes and answers do; `connectors.account` has what all accounts do.

OKX pushes nothing at the start, so the first snapshot follows the subscription. Sets of positions come in pages.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from random import Random

import orjson

from connectors import permissions
from connectors.account import DEFINITIONS_S, FRAMES_REMEMBERED
from connectors.backoff import Backoff
from connectors.config import KeyedAccountSettings
from connectors.keyed import KeyedAccount
from connectors.okx import answers, snapshot
from connectors.okx.pages import Pages
from connectors.okx.parse import (
    PONG,
    AccountRow,
    Changed,
    Other,
    PositionRow,
    Positions,
    Reply,
    UserFrame,
    Warned,
    is_swap,
    private_frame,
)
from connectors.okx.permissions import HOW_TO
from connectors.okx.private import UserStream
from connectors.okx.rest import ADL_RUNS, LIQUIDATION_RUNS
from connectors.okx.snapshot import PACE_S, Catalogue, Round, is_paced
from connectors.okx.state import AccountState, Answers, is_unread
from connectors.session import Request
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import AccountMode, Position
from monitor.model.events import AccountSnapshot, Event, SnapshotReason
from monitor.telemetry import Telemetry

REPORTED_S = 5.0
"""Snapshots are at least this frequent where maintenance is known from them alone."""

REPORTED_SPACING_S = 2.0
"""And no more frequent than this, however often such an account trades: a snapshot is three of its 135 requests a
minute."""

MARK_PAUSE_S = 12.0
"""OKX repeats a mark that does not change every 10 s."""

INDEX_PAUSE_S = 62.0
"""And an index every minute."""

ROUND_S = 60.0
_FORCED = {"liquidation": "liquidation", "adl": "adl"}


class AccountFeed(KeyedAccount[Round, UserFrame]):
    """One account. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: KeyedAccountSettings, life_s: float, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        super().__init__(venue, settings, life_s, telemetry, random, backoff_cap_s=60.0, round_s=ROUND_S)
        self._settings = settings
        self._private: UserStream = UserStream(settings.private_url, self._wiring)
        self._handlers |= self._private.handlers
        self._handlers["pace"] = self._on_pace
        self._definitions_backoff = Backoff(10.0, 600.0, random)
        self._state = AccountState()
        self._catalogue = Catalogue()
        self._lacking: frozenset[str] = frozenset()
        """Definitions that were asked for in vain."""
        self._renew_at = inf
        """When all definitions are due."""
        self._waiting_turn: deque[str] = deque()
        """Questions of the present round that take turns; no more than the account has families of contracts."""
        self._pages = Pages()
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)
        self._others: frozenset[str] = frozenset()

    # --- inputs

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Events may be missed from here on."""
        self._pages.forget(connection)
        return super().closed(connection, reason, now)

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
            return self._missed(bad.defect, now)
        if isinstance(told, Reply):
            return self._replied(told.good, self._private.replied(connection, told, now), now)
        if frame in self._recent:
            self._count_bad(self.stream, Defect.DUPLICATE)
            return ()
        self._recent.append(frame)
        self._health.heard(now)
        if isinstance(told, Positions | AccountRow):
            whole = self._pages.collect(connection, told)
            if whole is None:
                return ()
            told = whole
        return self._apply(told, now) if self._synced else self._keep(told, now)

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- permissions

    def _permissions_request(self) -> Request:
        return snapshot.request(self._settings.rest_url, "config")

    def _judge_permissions(self, body: bytes, now: float) -> Sequence[Event]:
        config = answers.config(body)
        return self._weigh(config.dangerous if config.permissions else None, now)

    def _refusal(self, dangerous: Sequence[str]) -> MarginwatchError:
        name = self._settings.name
        if dangerous:
            return permissions.refusal(name, dangerous, HOW_TO)
        return permissions.unknown(name, "api_key", self._settings.rest_url)

    # --- snapshots

    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> Round:
        self._waiting_turn.clear()
        return Round(reason, link, self._catalogue)

    def _go_on(self, asked: Round, further: Iterable[str], now: float) -> Sequence[Event]:
        """Questions of which there may be many are asked one by one."""
        kinds = list(further)
        self._waiting_turn.extend(sorted(kind for kind in kinds if is_paced(kind)))
        if self._waiting_turn and not self._timers.is_set("pace"):
            self._timers.set("pace", now)
        return super()._go_on(asked, [kind for kind in kinds if not is_paced(kind)], now)

    def _on_pace(self, now: float) -> Sequence[Event]:
        while self._round is not None and self._waiting_turn:
            kind = self._waiting_turn.popleft()
            if kind in self._round.missing:
                self._ask(self._request(self._round, kind))
                self._timers.set("pace", now + PACE_S)
                break
        return ()

    def _on_snapshot(self, now: float) -> Sequence[Event]:
        events = super()._on_snapshot(now)
        if self._is_reported():
            self._not_before = max(self._not_before, now + REPORTED_SPACING_S)
        return events

    def _request(self, asked: Round, kind: str) -> Request:
        return snapshot.request(self._settings.rest_url, kind)

    def _round_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        """Some refusals say that OKX is closing positions by force at this moment."""
        kind = "adl" if error.code in ADL_RUNS else "liquidation" if error.code in LIQUIDATION_RUNS else ""
        detail = f"OKX refuses to answer while it runs: {error}"
        frozen = [self._notice(int(now * 1000), kind, "", detail)] if kind else []
        return [*frozen, *super()._round_failed(error, now)]

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        taken = done.answers()
        loaded = self._load(done, taken, now)
        corrected = self._state.absorb(taken)
        self._state.follow_indexes(self._catalogue.indexes)
        self._settle(done, corrected, now)
        kept = self._kept()
        for told in kept:
            self._overlay(told)
        seen = AccountSnapshot(
            venue=self.venue,
            account=self._account,
            feed=self.feed,
            at_ms=taken.sent_ms,
            reason=done.reason,
            account_mode=self._state.account_mode,
            position_mode=self._state.position_mode,
            wallets=tuple(self._state.wallets.values()),
            positions=tuple(self._state.positions.values()),
            reports=self._state.reports(taken),
            mark_pause_s=MARK_PAUSE_S,
            index_pause_s=INDEX_PAUSE_S,
            reported=self._state.reported,
        )
        self._mind_others(taken.others)
        self._mind_unread(self._state.positions.values(), None)
        later = [event for told in kept if isinstance(told, Warned | Changed) for event in self._apply(told, now)]
        return [*loaded, seen, *later, *self._judge(now)]

    def _interval_s(self) -> float:
        return min(self._reconcile_s, REPORTED_S) if self._is_reported() else self._reconcile_s

    def _is_reported(self) -> bool:
        """Whether OKX's word is needed for what any pool requires."""
        return self._state.account_mode is AccountMode.PORTFOLIO or bool(self._state.reported)

    def _load(self, done: Round, taken: Answers, now: float) -> list[Event]:
        """Contracts that are new or changed, as far as they are held; and when to ask again."""
        known, changed = self._state.instruments, []
        for symbol in dict.fromkeys(row.instrument for row in taken.positions):
            found = self._catalogue.instrument(symbol)
            if found is not None and known.get(symbol) != found:
                known[symbol] = found
                changed.append(found)
        if done.defined or not self._timers.is_set("definitions"):
            self._schedule(frozenset(self._catalogue.lacks(taken.positions, taken.config.account_mode)), now)
        return self._instruments_loaded(changed, taken.sent_ms)

    def _schedule(self, lacking: frozenset[str], now: float) -> None:
        """What was not told is asked for sooner than what was told is read again, after pauses that grow."""
        if self._renew_at == inf:
            self._renew_at = now + DEFINITIONS_S
        if not lacking <= self._lacking:
            self._definitions_backoff.reset()  # the pauses of what is never told are not those of another
        again_at = now + self._definitions_backoff.next() if lacking else inf
        self._lacking = lacking
        self._timers.set("definitions", min(again_at, self._renew_at))

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Tiers and fees change without an event: read them again. What could not be read is asked for anyway."""
        if now >= self._renew_at:
            self._renew_at = inf
            self._catalogue.expire()
        self._catalogue.ask_again(self._lacking)
        self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _look_for_strangers(self, positions: Iterable[Position], now: float) -> None:
        """A position in a contract whose definition was not read yet."""
        if any(it.size and it.instrument not in self._state.instruments for it in positions):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)

    def _mind_others(self, others: frozenset[Other]) -> None:
        """Tell, once, of what is no contract."""
        kinds = frozenset(other.kind for other in others)
        new = kinds - self._others
        self._others |= kinds
        if new:
            self._warn(
                f"holds {', '.join(sorted(new))} positions, which are not watched; in a cross pool with contracts "
                "OKX's own figures count them in, at each snapshot"
            )

    def _mind_unread(self, positions: Iterable[Position], now: float | None) -> None:
        """A position of which not enough can be read is unknown, and the rest of the account is not."""
        for position in positions:
            if is_unread(position):
                self._warn(
                    f"OKX's figures of the position in {position.instrument} cannot be read; its pool is unknown "
                    "until they can"
                )
                self._count_bad("rest" if now is None else self.stream, Defect.NUMBER)
                if now is not None:
                    self._want_snapshot(SnapshotReason.TIMER, now)

    # --- pushes

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
        self._count_bad(self.stream, Defect.OUT_OF_ORDER, stale)
        if told.whole and told.rows:
            gone = self._state.close_absent(told.rows, told.at_ms)
            for position in gone:
                self._owed.pop((position.instrument, position.slot), None)
            moved += gone
        elif told.whole and self._state.positions and not told.others:
            self._want_snapshot(SnapshotReason.TIMER, now)  # nothing is open, but since when is not said
        self._mind_others(told.others)
        self._mind_unread(moved, now)
        self._look_for_strangers(moved, now)
        if not moved:
            return ()
        if self._is_reported() or not all(is_swap(position.instrument) for position in moved):
            self._want_snapshot(SnapshotReason.TIMER, now)
        return self._delta(told.at_ms, "positions", (), moved)

    def _settle_debts(self, rows: Iterable[PositionRow]) -> None:
        for row in rows:
            self._owed.pop((row.instrument, row.slot), None)

    def _pay(self, told: AccountRow, now: float) -> Sequence[Event]:
        for coin in told.coins:
            self._owed.pop(coin.coin, None)
        wallets, stale = self._state.pay(told)
        for wallet in wallets:
            self._owed.pop(wallet.coin, None)
        if any(wallet.balance != wallet.balance for wallet in wallets):
            self._missed(Defect.NUMBER, now)
        self._count_bad(self.stream, Defect.OUT_OF_ORDER, stale)
        multi = told.adjusted_equity is not None
        if self._state.positions and multi is (self._state.account_mode is AccountMode.SINGLE_ASSET):
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)  # this figure comes and goes with the account's mode
        return self._delta(told.at_ms, "account", wallets, ())

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
