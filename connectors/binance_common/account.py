"""One account of Binance's futures: what its events and answers do; `connectors.account` has what all accounts do."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

import orjson

from connectors import permissions
from connectors.account import DEFINITIONS_S, FRAMES_REMEMBERED
from connectors.backoff import Backoff
from connectors.binance_common import answers
from connectors.binance_common.pace import Pace
from connectors.binance_common.parse import (
    IN_ORDER,
    AccountUpdate,
    AssetModeChanged,
    ForcedOrder,
    KeyExpired,
    LeverageChanged,
    MarginCall,
    RiskLevel,
    UserEvent,
    user_event,
)
from connectors.binance_common.permissions import HOW_TO, is_untold, unknown_permissions
from connectors.binance_common.private import KEEP, LISTEN, UserStream
from connectors.binance_common.product import Product
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.snapshot import Round, account_snapshot
from connectors.binance_common.state import REST_LAG_MS, AccountState, Answers
from connectors.definitions import DefinitionTimes
from connectors.keyed import KeyedAccount
from connectors.session import Request, Security
from connectors.wire import BadFrame, Defect
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import AccountMode, Position
from monitor.model.events import Event, SnapshotReason
from monitor.model.instrument import Instrument
from monitor.telemetry import Telemetry

FEES_PER_ROUND = 5
"""Fees are asked for contract by contract, each for twenty times the weight of a light question."""

RETRY_S = 600.0
"""Until a fee that could not be read is asked for again."""

LISTING = "listing"
"""Contracts, tiers and funding intervals, which are asked for together."""


class AccountFeed(KeyedAccount[Round, UserEvent]):
    """One account. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: AccountSettings, life_s: float, telemetry: Telemetry, random: Random, product: Product
    ) -> None:
        super().__init__(product.venue, settings, life_s, telemetry, random)
        self._product = product
        self._settings = settings
        self._private: UserStream = UserStream(
            (settings.rest_url, product.listen_path),
            tuple(f"{settings.private_url}{path}" for path in product.private_paths),
            self._ask,
            self._wiring,
        )
        self._handlers |= self._private.handlers
        self._state = AccountState()
        self._instruments: dict[str, Instrument] = {}
        self._definitions = DefinitionTimes(DEFINITIONS_S, Backoff(10.0, 600.0, random))
        self._pace = Pace()
        self._level, self._level_ms = IN_ORDER, 0
        """What state the account is in by the venue's word, under portfolio margin, and since when that is known."""
        self._fee_due_at: dict[str, float] = {}
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)
        self._forced: deque[str] = deque(maxlen=FRAMES_REMEMBERED)

    # --- inputs

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame of the private stream."""
        self._telemetry.frames.add(self.venue, self.stream)
        if frame in self._recent:
            self._count_bad(self.stream, Defect.DUPLICATE)
            return ()
        self._recent.append(frame)
        try:
            event = user_event(orjson.loads(frame), self._product.foreign)
        except orjson.JSONDecodeError:
            return self._missed(Defect.JSON, now)
        except BadFrame as bad:
            return self._missed(bad.defect, now)
        if event is None:
            return ()
        self._health.heard(now)
        if not self._synced and not isinstance(event, KeyExpired):
            return self._keep(event, now)
        return self._apply(event, now)

    def secrets(self) -> Collection[str]:
        """Every listen key so far."""
        return self._private.keys

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- the key, and the listen key

    def _permissions_request(self) -> Request:
        path = "/sapi/v1/account/apiRestrictions"
        return Request("", "GET", self._settings.permissions_url, path, Security.SIGNED)

    def _judge_permissions(self, body: bytes, now: float) -> Sequence[Event]:
        granted = answers.permissions(body)
        if not granted.reads:
            sentence = f'{self.name}: the API key may not read; tick "Enable Reading" for it on binance.com'
            return self._halt(VenueError(sentence, retry=False), now)
        return self._weigh(granted.dangerous, now)

    def _refusal(self, dangerous: Sequence[str]) -> MarginwatchError:
        name = self._settings.name
        if dangerous:
            return permissions.refusal(name, dangerous, HOW_TO)
        return unknown_permissions(name, self._settings.permissions_url)

    def _is_untold(self, error: VenueError) -> bool:
        return is_untold(error, self._settings.permissions_url)

    def _answered(self, kind: str, body: bytes, now: float) -> Sequence[Event] | None:
        if kind == LISTEN:
            self._private.granted(body, now)
            return ()
        if kind == KEEP:
            replaced = self._private.kept(body, now)
            return self._expired("another listen key took the place of ours", now, unsaid=True) if replaced else ()
        return super()._answered(kind, body, now)

    def _unanswered(self, kind: str, error: VenueError, now: float) -> Sequence[Event] | None:
        if kind not in (LISTEN, KEEP):
            return super()._unanswered(kind, error, now)
        if not error.retry:
            if kind == LISTEN and not self._synced:
                return self._halt(error, now)
            self._want_snapshot(SnapshotReason.TIMER, now)  # it finds out whether the key is refused altogether
        if kind == LISTEN:
            self._health.unreachable(str(error))
            self._private.refused(error, now)
            return self._judge(now)
        dead = self._private.not_kept(error, now)
        return self._expired("the listen key had expired", now, unsaid=True) if dead else ()

    # --- snapshots

    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> Round:
        multi_asset = self._state.account_mode is AccountMode.MULTI_ASSET
        return Round.begin(
            self._product,
            reason,
            link,
            definitions=self._definitions.is_due(LISTING, now),
            multi_asset=multi_asset,
            fees_of=self._fees_due(now),
        )

    def _fees_due(self, now: float) -> list[str]:
        """Held contracts whose fee is not known or old, the longest overdue first, as many as one round may ask for."""
        held = self._state.needs() & self._instruments.keys()
        self._fee_due_at = {symbol: self._fee_due_at.get(symbol, 0.0) for symbol in held}
        due = sorted((at, symbol) for symbol, at in self._fee_due_at.items() if at <= now)
        return [symbol for _, symbol in due[:FEES_PER_ROUND]]

    def _request(self, asked: Round, kind: str) -> Request:
        request = self._product.request(self._settings, kind)
        self._pace.spend(request.weight)
        return request

    def _on_snapshot(self, now: float) -> Sequence[Event]:
        self._pace.leak(now)
        events = super()._on_snapshot(now)
        self._not_before = max(self._not_before, now + self._pace.pause_s)
        return events

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        listed = done.listing.over(self._instruments) if done.defining else {}
        taken = done.answers({**self._instruments, **listed})
        loaded = self._load(done, listed, taken.sent_ms, now)
        corrected = self._state.absorb(taken)
        self._settle(done, corrected, now)
        kept = self._kept()
        for event in kept:
            if isinstance(event, AccountUpdate):
                self._state.update(self._product.priced(event, self._instruments))
        self._count_bad("rest", Defect.NUMBER, taken.unusable)
        seen = account_snapshot(
            self.venue, self._account, self.feed, done.reason, self._state, taken, self._instruments
        )
        if done.defining:
            self._note_definitions(now, told=done.defined)
        self._look_for_strangers(self._state.positions.values(), now)
        later = [event for it in kept if not isinstance(it, AccountUpdate) for event in self._apply(it, now)]
        return [*loaded, seen, *self._level_found(taken), *later, *self._judge(now)]

    def _level_found(self, taken: Answers) -> list[Event]:
        """The state of the account by an answer, unless an event is newer, which the answer need not know."""
        known_ms = taken.sent_ms - REST_LAG_MS
        return self._level_told(taken.level, known_ms) if taken.level and known_ms >= self._level_ms else []

    def _load(self, done: Round, listed: Mapping[str, Instrument], at_ms: int, now: float) -> list[Event]:
        """Instruments that are new or changed."""
        funding = done.funding()
        found = {symbol: self._defined(it, funding) for symbol, it in listed.items()}
        self._state.margin_coins = done.listing.margin_coins or self._state.margin_coins
        for symbol, rate in done.fees.items():
            if (known := found.get(symbol) or self._instruments.get(symbol)) is not None:
                found[symbol] = replace(known, taker_fee_rate=rate)
        for symbol in done.fees_of:
            self._fee_due_at[symbol] = now + (DEFINITIONS_S if symbol in done.fees else RETRY_S)
        changed = [it for symbol, it in found.items() if self._instruments.get(symbol) != it]
        self._instruments.update(found)
        return self._instruments_loaded(changed, at_ms)

    def _defined(self, listed: Instrument, funding: Mapping[str, float] | None) -> Instrument:
        """A contract as it is listed, with what is told elsewhere; what was not told this time stays as it is known."""
        known, interval_s = self._instruments.get(listed.symbol), listed.funding_interval_s
        if interval_s is not None and funding is not None:
            interval_s = funding.get(listed.symbol, interval_s)
        elif interval_s is not None:
            interval_s = known.funding_interval_s if known else None
        fee_rate = known.taker_fee_rate if known else None
        return replace(listed, taker_fee_rate=fee_rate, funding_interval_s=interval_s)

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """The next snapshot reads them; what is lacking is worth one of its own."""
        if self._definitions.lacking:
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _note_definitions(self, now: float, *, told: bool) -> None:
        """They were asked for: those of held contracts that are lacking are asked for again, less and less."""
        strangers = frozenset(symbol for symbol, _ in self._state.positions) - self._instruments.keys()
        lacking = strangers if told and not strangers else strangers | {LISTING}
        self._definitions.asked({LISTING, *self._instruments, *strangers}, lacking, now)
        self._timers.set("definitions", self._definitions.next({LISTING}) or now)

    def _look_for_strangers(self, positions: Iterable[Position], now: float) -> None:
        """A position in a contract that was listed, if at all, after the list was read."""
        due_at = self._definitions.next(it.instrument for it in positions)
        if due_at is not None and due_at <= now and not self._definitions.is_due(LISTING, now):
            self._definitions.want(LISTING)
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)

    # --- events

    def _apply(self, event: UserEvent, now: float) -> Sequence[Event]:
        match event:
            case AccountUpdate():
                return self._update(event, now)
            case LeverageChanged():
                return self._delta(event.at_ms, "LEVERAGE", (), self._state.leverage(event.symbol, event.leverage))
            case AssetModeChanged():
                self._want_snapshot(SnapshotReason.CONFIGURATION, now)
                return ()
            case MarginCall():
                self._want_snapshot(SnapshotReason.TIMER, now)
                told = event.sentences(self._coin_of)
                return [self._notice(event.at_ms, "margin_call", symbol, words) for symbol, words in told]
            case RiskLevel():
                self._want_snapshot(SnapshotReason.TIMER, now)
                return self._level_told(event, event.at_ms)
            case ForcedOrder():
                return self._forced_order(event, now)
            case KeyExpired():
                # It may come twice, and late, for a key that was already replaced.
                if event.listen_key not in ("", self._private.key):
                    return ()
                self._private.renew(now)
                return self._expired("the listen key had expired", now)

    def _coin_of(self, symbol: str) -> str:
        known = self._instruments.get(symbol)
        return "" if known is None else known.margin_coin

    def _update(self, event: AccountUpdate, now: float) -> Sequence[Event]:
        for row in event.positions:
            self._owed.pop((row.symbol, row.slot), None)
        for coin, _ in event.balances:
            self._owed.pop(coin, None)
        wallets, positions, stale = self._state.update(self._product.priced(event, self._instruments))
        self._count_bad(self.stream, Defect.OUT_OF_ORDER, stale)
        if event.reason == "MARGIN_TYPE_CHANGE":
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        self._look_for_strangers(positions, now)
        if self._state.account_mode is AccountMode.PORTFOLIO:
            self._want_snapshot(SnapshotReason.TIMER, now)
            return ()  # equity and requirement follow from no event: only a snapshot tells all of it together
        return self._delta(event.at_ms, event.reason, wallets, positions)

    def _level_told(self, level: RiskLevel, known_ms: int) -> list[Event]:
        """A notice when an account leaves the state that it was in for another that is not in order."""
        changed = level.word != self._level
        if known_ms >= self._level_ms:
            self._level, self._level_ms = level.word, known_ms
        noted = changed and level.word != IN_ORDER
        return [self._notice(level.at_ms, level.kind, "", level.detail)] if noted else []

    def _forced_order(self, event: ForcedOrder, now: float) -> Sequence[Event]:
        """One notice for an order, however many events it has."""
        if event.order in self._forced:
            return ()
        self._forced.append(event.order)
        self._want_snapshot(SnapshotReason.TIMER, now)
        return (self._notice(event.at_ms, event.kind.value, event.symbol, event.detail),)
