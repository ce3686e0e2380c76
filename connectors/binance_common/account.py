"""One account: key permissions, private stream, snapshots, and the judgement of both by each other.

In order: the key's permissions, the private stream, and when that is open a REST snapshot. Events that come before the
snapshot wait for it. Afterwards a snapshot on a timer is laid over what the events told; what it must correct without
an event that explains it shows that the private stream is dead, however open its socket is.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from random import Random

import orjson

from connectors.backoff import Backoff
from connectors.binance_common import answers
from connectors.binance_common.health import AccountHealth
from connectors.binance_common.parse import (
    AccountUpdate,
    AssetModeChanged,
    BadFrame,
    Defect,
    ForcedOrder,
    KeyExpired,
    LeverageChanged,
    MarginCall,
    UserEvent,
    user_event,
)
from connectors.binance_common.permissions import is_untold, refusal, unknown_permissions
from connectors.binance_common.private import KEEP, LISTEN, PrivateStream
from connectors.binance_common.product import Listing, Product
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.snapshot import Round, account_snapshot
from connectors.binance_common.state import AccountState, Key
from connectors.session import Action, Halt, Request, Security, Timers, Warn
from monitor.errors import MarginwatchError, VenueError
from monitor.model.account import AccountMode, Position, Wallet
from monitor.model.assessment import FeedHealth
from monitor.model.events import (
    AccountDelta,
    Event,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.instrument import Instrument
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

SNAPSHOT_SPACING_S = 1.0
ROUND_S = 30.0
DEFINITIONS_S = 3600.0
JUDGE_S = 0.5
STEADY_S = 60.0
PERMISSIONS = "permissions"


class AccountFeed:
    """One account. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: AccountSettings, life_s: float, telemetry: Telemetry, random: Random, product: Product
    ) -> None:
        self.name = f"{product.venue}/{settings.name}"
        self.venue = product.venue
        self.stream = "user"
        self.feed = settings.feed
        self.actions: list[Action] = []
        self._product = product
        self._settings = settings
        self._telemetry = telemetry
        self._timers = Timers()
        self._backoff = Backoff(1.0, 15.0, random)
        self._private = PrivateStream(
            f"{self.name}/user",
            (settings.rest_url, product.listen_path),
            tuple(f"{settings.private_url}{path}" for path in product.private_paths),
            self.actions,
            self._timers,
            random,
            self._ask,
            self._took_over,
            life_s,
        )
        self._state = AccountState()
        self._health = AccountHealth(product.venue, settings.name, settings.feed, settings.reconcile_s)
        self._instruments: dict[str, Instrument] = {}
        self._request_count = 0
        self._last_asked: dict[str, str] = {}
        self._round: Round | None = None
        self._next_reason = SnapshotReason.START
        self._not_before = 0.0
        self._definitions_due = True
        self._verified_link: str | None = None
        """The private connection under which the last snapshot was taken: since then every change must be told."""
        self._waiting: list[UserEvent] | None = []
        """Events that wait for the first snapshot; None once it is there."""
        self._owed: dict[Key | str, float] = {}
        """Corrections that an event has yet to explain, and until when."""
        self._recent: deque[bytes | str] = deque(maxlen=FRAMES_REMEMBERED)
        self._forced: deque[str] = deque(maxlen=FRAMES_REMEMBERED)
        self._handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            **self._private.handlers,
            "permissions": self._on_permissions,
            "snapshot": self._on_snapshot,
            "round": self._on_round_overdue,
            "definitions": self._on_definitions,
            "judge": self._on_judge,
        }

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Ask what the key may do."""
        self._timers.set("judge", now + JUDGE_S)
        self._on_permissions(now)
        return self._health.start(now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """The private stream is open: from here on every event is kept, and a snapshot can be laid under them."""
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
        if self._waiting is not None and not isinstance(event, KeyExpired):
            return self._keep(event, now)
        return self._apply(event, now)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """The answer to a question."""
        kind = self._kind(request)
        try:
            if kind == PERMISSIONS:
                return self._judge_permissions(answers.permissions(body), now)
            if kind == LISTEN:
                self._private.granted(body, now)
            elif kind == KEEP:
                if self._private.kept(body, now):
                    return self._unsaid("another listen key took the place of ours", now)
            elif kind and self._round is not None:
                return self._take(kind, body, sent_ms, now)
        except BadFrame as bad:
            self._count_bad("rest", bad.defect)
            return self.failed(request, VenueError(f"{self.name}: {kind}: {bad}", retry=True), now)
        return ()

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """A question without a good answer is asked again later; one that never can have one ends the account."""
        kind = self._kind(request)
        if not error.retry and self._waiting is not None and kind not in (KEEP, ""):
            return self._halt(error, now)
        if kind == PERMISSIONS:
            return self._permissions_failed(error, now)
        if kind in (LISTEN, KEEP) and not error.retry:
            self._want_snapshot(SnapshotReason.TIMER, now)  # it finds out whether the key is refused altogether
        if kind == LISTEN:
            self._health.unreachable(str(error))
            self._private.refused(error, now)
            return self._judge(now)
        if kind == KEEP:
            return self._unsaid("the listen key had expired", now) if self._private.not_kept(error, now) else ()
        return self._round_failed(error, now) if kind and self._round is not None else ()

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
        """Every listen key so far."""
        return self._private.keys

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

    def _kind(self, request: str) -> str:
        """What a question was about; nothing any more, when it was asked anew since."""
        kind = request.rpartition("-")[0]
        return kind if self._last_asked.get(kind) == request else ""

    def _halt(self, error: MarginwatchError, now: float) -> Sequence[Event]:
        self._health.refused(str(error))
        self.actions.append(Halt(error))
        return self._judge(now)

    # --- permissions

    def _on_permissions(self, now: float) -> Sequence[Event]:
        path = "/sapi/v1/account/apiRestrictions"
        self._ask(Request(PERMISSIONS, "GET", self._settings.permissions_url, path, Security.SIGNED))
        return ()

    def _judge_permissions(self, granted: answers.Permissions, now: float) -> Sequence[Event]:
        if not granted.reads:
            sentence = f'{self.name}: the API key may not read; tick "Enable Reading" for it on binance.com'
            return self._halt(VenueError(sentence, retry=False), now)
        if granted.dangerous and not self._settings.allow_dangerous_key:
            return self._halt(refusal(self._settings.name, granted.dangerous), now)
        if granted.dangerous:
            able = ", ".join(granted.dangerous)
            self.actions.append(Warn(f"{self.name}: the API key can do more than read ({able}); it is allowed to"))
        return self._begin(now)

    def _permissions_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        if not is_untold(error, self._settings.permissions_url):
            self._health.failed(error)
            self._timers.set("permissions", now + self._backoff.next(error.retry_after_s))
            return self._judge(now)
        if not self._settings.allow_dangerous_key:
            return self._halt(unknown_permissions(self._settings.name, self._settings.permissions_url), now)
        self.actions.append(Warn(f"{self.name}: it is not known what the API key may do; it is allowed to do anything"))
        return self._begin(now)

    def _begin(self, now: float) -> Sequence[Event]:
        self._backoff.reset()
        self._private.begin(now)
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
        self._round = Round.begin(
            self._product,
            self._next_reason,
            self._private.trusted,
            definitions=self._definitions_due,
            multi_asset=self._state.account_mode is AccountMode.MULTI_ASSET,
        )
        self._next_reason = SnapshotReason.TIMER
        for kind in sorted(self._round.missing):
            self._ask(self._product.request(self._settings, kind))
        self._timers.set("round", now + ROUND_S)
        return ()

    def _take(self, kind: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        assert self._round is not None  # noqa: S101 - the caller looked
        another = self._round.take(kind, body, sent_ms)
        if another is not None:
            self._ask(self._product.request(self._settings, another))
        return () if self._round.missing else self._complete(self._round, now)

    def _on_round_overdue(self, now: float) -> Sequence[Event]:
        return self._round_failed(VenueError(f"{self.name}: the snapshot took too long", retry=True), now)

    def _round_failed(self, error: VenueError, now: float) -> Sequence[Event]:
        if self._round is not None:
            self._next_reason, self._round = self._round.reason, None
        self._timers.clear("round")
        self._telemetry.reconciliations.add(self.venue, self._settings.name, "failed")
        self._health.failed(error)
        self._not_before = now + self._backoff.next(error.retry_after_s)
        self._timers.set("snapshot", self._not_before)
        return self._judge(now)

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        """All answers are in: lay them over what the events told."""
        # A table that lacks a symbol for once does not unlearn its tiers.
        listing = done.listing({symbol: it.tiers for symbol, it in self._instruments.items() if it.tiers})
        taken = done.answers({**self._instruments, **(listing.instruments if listing else {})})
        loaded = self._load(listing, taken.sent_ms, now) if listing else []
        self._round = None
        self._timers.clear("round")
        self._backoff.reset()
        first = self._waiting is not None
        corrected = self._state.absorb(taken)
        for event in self._waiting or ():
            if isinstance(event, AccountUpdate):
                self._state.update(self._product.priced(event, self._instruments))
        waited, self._waiting = self._waiting or (), None
        unexplained = [] if first or done.link is None or done.link != self._verified_link else corrected
        self._owed.update(dict.fromkeys(unexplained, now + EVENT_GRACE_S))
        self._telemetry.reconciliations.add(self.venue, self._settings.name, "corrected" if unexplained else "clean")
        if taken.unusable:
            self._telemetry.bad_frames.add(self.venue, "rest", Defect.NUMBER.value, amount=taken.unusable)
        trusted = self._private.trusted
        # What an event has yet to explain speaks against the stream; the second clean snapshot beside it, for it.
        stream_ok, again = trusted is not None and not self._owed, done.link == self._verified_link
        self._health.synced(now, covers_gap=done.link == trusted, stream_ok=stream_ok, proven=stream_ok and again)
        self._verified_link = trusted if done.link == trusted else None
        # Pulled and not set: a snapshot that was wanted while this one was on its way still follows.
        interval_s = self._settings.reconcile_s
        relied_on = trusted is not None and not self._health.suspects
        self._timers.pull("snapshot", now + (interval_s if relied_on else min(interval_s, WITHOUT_STREAM_S)))
        names = self.venue, self._settings.name, self.feed
        seen = account_snapshot(*names, done.reason, self._state, taken, self._instruments)
        self._look_for_strangers(self._state.positions.values(), now)
        if self._state.account_mode is AccountMode.PORTFOLIO and seen.positions and not seen.reports:
            self._want_snapshot(SnapshotReason.TIMER, now)
        later = [event for kept in waited if not isinstance(kept, AccountUpdate) for event in self._apply(kept, now)]
        return [*loaded, seen, *later, *self._judge(now)]

    def _load(self, found: Listing, at_ms: int, now: float) -> list[Event]:
        """Instruments that are new or changed."""
        changed = [it for symbol, it in found.instruments.items() if self._instruments.get(symbol) != it]
        self._instruments.update(found.instruments)
        self._state.margin_coins = found.margin_coins
        self._definitions_due = False
        self._timers.set("definitions", now + DEFINITIONS_S)
        return [InstrumentsLoaded(self.venue, self._settings.name, tuple(changed), at_ms)] if changed else []

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """Brackets change without an event: the next snapshot reads them again."""
        self._definitions_due = True
        return ()

    def _look_for_strangers(self, positions: Iterable[Position], now: float) -> None:
        """A position in a contract that was not listed when the definitions were read."""
        if any(it.instrument not in self._instruments for it in positions) and not self._definitions_due:
            self._definitions_due = True
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)

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

    def _apply(self, event: UserEvent, now: float) -> Sequence[Event]:
        match event:
            case AccountUpdate():
                return self._update(event, now)
            case LeverageChanged():
                changed = self._state.leverage(event.symbol, event.leverage)
                return self._delta(event.at_ms, "LEVERAGE", (), changed) if changed else ()
            case AssetModeChanged():
                self._want_snapshot(SnapshotReason.CONFIGURATION, now)
                return ()
            case MarginCall():
                self._want_snapshot(SnapshotReason.TIMER, now)
                return [self._notice(event.at_ms, event.kind, symbol, told) for symbol, told in event.positions]
            case ForcedOrder():
                return self._forced_order(event, now)
            case KeyExpired():
                # It may come twice, and late, for a key that was already replaced.
                if event.listen_key not in ("", self._private.key):
                    return ()
                self._private.renew(now)
                return self._expired("the listen key had expired", now)

    def _update(self, event: AccountUpdate, now: float) -> Sequence[Event]:
        for row in event.positions:
            self._owed.pop((row.symbol, row.slot), None)
        for coin, _ in event.balances:
            self._owed.pop(coin, None)
        wallets, positions, stale = self._state.update(self._product.priced(event, self._instruments))
        if stale:
            self._telemetry.bad_frames.add(self.venue, self.stream, Defect.OUT_OF_ORDER.value, amount=stale)
        if event.reason == "MARGIN_TYPE_CHANGE":
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        self._look_for_strangers(positions, now)
        if self._state.account_mode is AccountMode.PORTFOLIO:
            self._want_snapshot(SnapshotReason.TIMER, now)
            return ()  # equity and requirement follow from no event: only a snapshot tells all of it together
        return self._delta(event.at_ms, event.reason, wallets, positions) if wallets or positions else ()

    def _delta(
        self, at_ms: int, reason: str, wallets: tuple[Wallet, ...], positions: tuple[Position, ...]
    ) -> Sequence[Event]:
        return (AccountDelta(self.venue, self._settings.name, at_ms, reason, wallets, positions),)

    def _forced_order(self, event: ForcedOrder, now: float) -> Sequence[Event]:
        """One notice for an order, however many events it has."""
        if event.order in self._forced:
            return ()
        self._forced.append(event.order)
        self._want_snapshot(SnapshotReason.TIMER, now)
        return (self._notice(event.at_ms, event.kind.value, event.symbol, event.detail),)

    def _notice(self, at_ms: int, kind: str, instrument: str, detail: str) -> Event:
        return VenueNotice(self.venue, self._settings.name, at_ms, kind, instrument, detail)

    def _missed(self, defect: Defect, now: float) -> Sequence[Event]:
        """A frame that could not be read may have been the one that mattered: ask. Venues invent events, though."""
        self._count_bad(self.stream, defect)
        if defect is not Defect.UNKNOWN_EVENT:
            self._health.missed(now)
            self._want_snapshot(SnapshotReason.TIMER, now)
        return ()

    def _unsaid(self, reason: str, now: float) -> Sequence[Event]:
        return self._expired(reason, now, unsaid=True)

    def _expired(self, reason: str, now: float, *, unsaid: bool = False) -> Sequence[Event]:
        """The private stream is dead and being replaced; `unsaid` when the venue did not tell."""
        self._verified_link = None
        self._owed.clear()
        self._health.silent(reason, now, unsaid=unsaid)
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
            named = ", ".join(key if isinstance(key, str) else key[0] for key in overdue)
            self._private.turn()
            self._private.renew(now)
            return self._unsaid(f"no event told of a change that a snapshot found: {named}", now)
        if self._health.well_since is not None and now - self._health.well_since > STEADY_S:
            self._private.steady()
        return self._judge(now)
