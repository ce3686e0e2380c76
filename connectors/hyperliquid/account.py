"""One address: what its frames and answers do; `connectors.account` has what all accounts do.

The stream tells whole states of all dexes, each with the venue's time, so nothing waits for the first snapshot; a
snapshot asks for the same and for what the stream does not tell, the account's mode. An address beyond the venue's
limit of streams is only asked, more often.

There is no key and so no permission to look at. What takes its place is the address itself: one that nobody ever used
looks like an account that holds nothing, so an empty account is asked for its role before it is believed.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from random import Random

import orjson

from connectors.account import DEFINITIONS_S, JUDGE_S, WITHOUT_STREAM_S, AccountBase
from connectors.backoff import Backoff
from connectors.definitions import DefinitionTimes
from connectors.hyperliquid import snapshot
from connectors.hyperliquid.answers import Abstraction, Role
from connectors.hyperliquid.config import AccountSettings
from connectors.hyperliquid.pace import Pace
from connectors.hyperliquid.parse import (
    MAIN_DEX,
    Answered,
    Fills,
    Pong,
    Refused,
    Spot,
    States,
    UserFrame,
    dex_of,
    is_greeting,
    user_frame,
)
from connectors.hyperliquid.snapshot import Round
from connectors.hyperliquid.state import AccountState
from connectors.hyperliquid.stream import UserStream
from connectors.session import Request
from connectors.wire import BadFrame, Defect
from monitor.errors import ConfigurationError, Fault, MarginwatchError
from monitor.model.account import PositionMode
from monitor.model.events import AccountSnapshot, Event, SnapshotReason
from monitor.model.instrument import Instrument
from monitor.telemetry import Telemetry

PORTFOLIO_S = 10.0
"""A portfolio account is read so often, as far as its share allows: no stream tells its ratio."""

POLL_S = 5.0
"""An account without a stream that can be relied on is read so often, as far as its share allows."""

PAYMENT_SPACING_S = 10.0
"""Between snapshots because spot and dexes seem to disagree: each has its own moment, and marks move between them."""

FILLS_REMEMBERED = 256

LISTED = "listed"
"""All dexes and their perpetuals, which are asked for together."""


class AccountFeed(AccountBase[Round]):
    """One address. See `connectors.session.AccountSession` for the protocol."""

    def __init__(
        self, settings: AccountSettings, life_s: float, telemetry: Telemetry, random: Random, venue: str
    ) -> None:
        super().__init__(venue, settings, life_s, telemetry, random)
        self._settings = settings
        self._streaming = settings.streamed
        self._private: UserStream = UserStream(settings.private_url, settings.address, self._wiring)
        self._handlers |= self._private.handlers
        self._state = AccountState()
        self._instruments: dict[str, Instrument] = {}
        self._dexes: tuple[str, ...] = ()
        """All there are, as far as known."""
        self._are_dexes_told = False
        """Whether the venue ever told which there are."""
        self._pace = Pace(settings.weight_per_minute)
        self._touched: set[str] = set()
        """Dexes on which something changed since the last reading began."""
        self._definitions = DefinitionTimes(DEFINITIONS_S, Backoff(10.0, 600.0, random), soonest_s=POLL_S)
        self._payment_at = 0.0
        self._began_ms: int | None = None
        """The venue's time of the first snapshot: what was filled up to then is nobody's news."""
        self._told_ms: dict[str, int] = {}
        """The venue's time of each dex's last state on the stream."""
        self._odd: frozenset[str] = frozenset()
        """Coins whose position is unknown because its row cannot be read."""
        self._forced: deque[tuple[int, int]] = deque(maxlen=FILLS_REMEMBERED)

    # --- inputs

    def start(self, now: float) -> Sequence[Event]:
        """Open the stream, whose opening calls for a snapshot; without one ask at once."""
        self._timers.set("judge", now + JUDGE_S)
        changed = self._health.start(now)
        if self._streaming:
            self._private.begin(now)
            # Should the stream not open, snapshots alone are better than nothing.
            self._timers.set("snapshot", now + WITHOUT_STREAM_S)
        else:
            self._health.opened(now)
            self._timers.set("snapshot", now)
        return changed

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """One frame of the stream."""
        self._telemetry.frames.add(self.venue, self.stream)
        self._private.heard(connection)
        try:
            told = user_frame(orjson.loads(frame))
        except orjson.JSONDecodeError:
            return () if is_greeting(frame) else self._missed(Defect.JSON, now)
        except BadFrame as bad:
            return self._missed(bad.defect, now)
        return () if told is None else self._apply(connection, told, now)

    def needs(self) -> frozenset[str]:
        """Instruments whose marks this account needs."""
        return self._state.needs()

    # --- snapshots

    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> Round:
        defining = self._definitions.is_due(LISTED, now)
        whole = reason is not SnapshotReason.TIMER or defining or self._pace.is_whole_due(now)
        others = {"mode"} if self._pace.is_mode_due(now) else set()
        if whole and self._pace.are_fees_due(now, starting=not self._synced):
            others.add("fees")
            self._pace.asked_fees(now)
        dexes = (self._dexes or self._state.dexes) if whole else self._near()
        asked = Round.begin(reason, link, dexes=dexes, defining=defining, whole=whole, others=others)
        self._touched.clear()
        self._pace.begins(asked.weight, now)
        return asked

    def _near(self) -> tuple[str, ...]:
        """The first dex, and those on which something is held or has changed.

        Where no stream tells of the others, all of them, or if the share does not allow that often enough, also those
        where there is money to open something with.
        """
        dexes, untold = self._dexes, self._private.trusted is None
        if untold and self._pace.at_least_s(0.0, snapshot.reading_weight(dexes)) <= WITHOUT_STREAM_S:
            return dexes
        near = self._state.holding(money=untold) | self._touched | {MAIN_DEX}
        return tuple(dex for dex in dexes if dex in near)

    def _request(self, asked: Round, kind: str) -> Request:
        looked_for = asked.reason is SnapshotReason.CONFIGURATION
        listed_age_s = snapshot.NEWLY_LISTED_AGE_S if looked_for else snapshot.LISTED_AGE_S
        return snapshot.request(self._settings.rest_url, self._settings.address, kind, listed_age_s)

    def _want_snapshot(self, reason: SnapshotReason, now: float) -> None:
        """What can wait does, so that what comes together is read together and every address has its turn."""
        super()._want_snapshot(reason, max(now, self._pace.soon_at) if reason is SnapshotReason.TIMER else now)

    def _distrust(self, now: float) -> None:
        self._pace.want_whole(now)
        super()._distrust(now)

    def _missed(self, defect: Defect, now: float) -> Sequence[Event]:
        self._pace.want_whole(now)
        return super()._missed(defect, now)

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        abstraction, spot, role = done.abstraction(), done.spot(), done.role()
        if role is not None and (error := self._refusal(role)) is not None:
            return self._halt(error, now)
        if done.assets is not None:
            self._state.load(done.assets)
        if done.defining:
            self._dexes = done.dexes
            if "dexes" not in done.unanswered:
                self._are_dexes_told = True
                self._state.forget_unread({*done.dexes, *self._state.holding(money=False)})
        if done.taker_fee_rate is not None:
            self._state.taker_fee_rate = done.taker_fee_rate
            self._pace.told_fees(now)
        if done.whole:
            self._pace.was_whole(done.weight, self._reconcile_s, now)
        unread = self._state.unread
        self._state.read(done.states, done.unread)
        self._state.spot = spot
        if not self._synced and role is None and self._state.empty:
            done.missing = {snapshot.ROLE}
            return self._go_on(done, done.missing, now)
        self._take_mode(abstraction, now)
        wallets, positions = self._state.refresh(whole=True)
        loaded = self._load(self._state.instruments(), now)
        if done.defining:
            self._plan_definitions(done.unanswered & snapshot.LISTS, now)
        self._look_for_strangers((each.instrument for each in positions), now)
        corrected = [each.instrument for each in positions]
        if self._state.separate:
            corrected += [each.coin for each in wallets]
        # That a dex cannot be read, or can be again, is no change that an event would have told.
        unread |= self._state.unread
        self._settle(done, [name for name in corrected if dex_of(name) not in unread], now)
        self._mind_odd("rest")
        self._mind_unseen()
        for coin, (own, listed) in self._state.deviations().items():
            self._warn(f"{coin} is ruled by a maximum leverage of {own:g}, its table says {listed:g}")
        seen = self._snapshot(done.reason)
        self._began_ms = self._began_ms or seen.at_ms
        return [*loaded, seen, *self._judge(now)]

    def _mind_unseen(self) -> None:
        """Say in the account's health what of it cannot be seen."""
        dexes = "" if self._are_dexes_told else "which builders' dexes there are is not told"
        self._health.unseen("; ".join(filter(None, (dexes, self._state.unseen()))))

    def _meanwhile(self, kind: str) -> str:
        if (dex := snapshot.builders_dex(kind)) is not None:
            return f"what is known to be held on {dex} stays as it was, and its pools are unknown until it can be read"
        return super()._meanwhile(kind)

    def _mind_odd(self, stream: str) -> list[str]:
        """Positions that have become unknown because their rows cannot be read, counted and told."""
        odd = self._state.odd()
        new = [coin for coin in odd if coin not in self._odd]
        self._odd = frozenset(odd)
        self._count_bad(stream, Defect.NUMBER, len(new))
        for coin in new:
            self._warn(f"{coin} is unknown: Hyperliquid's {', '.join(odd[coin])} cannot be read")
        return new

    def _take_mode(self, abstraction: Abstraction | None, now: float) -> None:
        if abstraction is not None:
            self._state.abstraction = abstraction
            self._pace.told_mode(now)
            if abstraction is Abstraction.STRANGE:
                self._warn("the account is in a mode that is not known here; its cross positions are unknown")
        self._state.decide_mode()

    def _interval_s(self) -> float:
        portfolio = self._state.stands_for is Abstraction.PORTFOLIO
        return min(self._reconcile_s, self._at_least_s(PORTFOLIO_S)) if portfolio else self._reconcile_s

    def _pause_s(self) -> float:
        relied_on = self._private.trusted is not None and not self._health.suspects
        return self._interval_s() if relied_on else self._at_least_s(POLL_S)

    def _at_least_s(self, wanted_s: float) -> float:
        """The time between readings that are wanted so often, as far as the share of the address allows."""
        return self._pace.at_least_s(wanted_s, snapshot.reading_weight(self._near()))

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
        return self._instruments_loaded(changed, at_ms)

    def _plan_definitions(self, unanswered: Collection[str], now: float) -> None:
        """When they are read again: every hour, or after a growing while where they lack something."""
        strange = self._state.needs() - self._instruments.keys()
        lacking = strange | {LISTED} if strange or unanswered else strange
        self._definitions.asked({LISTED, *self._instruments, *strange}, lacking, now)
        self._timers.set("definitions", self._definitions.next({LISTED}) or now)

    def _on_definitions(self, now: float) -> Sequence[Event]:
        """The next snapshot reads them; what is lacking is worth one of its own."""
        if self._definitions.lacking:
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)
        return ()

    def _look_for_strangers(self, coins: Iterable[str], now: float) -> None:
        """A position in a perpetual that was not there when the definitions were read."""
        if any(coin not in self._instruments and coin not in self._definitions.lacking for coin in coins):
            self._definitions.want(LISTED)
            self._want_snapshot(SnapshotReason.CONFIGURATION, now)

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

    # --- frames

    def _apply(self, connection: str, told: UserFrame, now: float) -> Sequence[Event]:
        match told:
            case Pong():
                return ()
            case Answered() | Refused():
                return self._answer(connection, told, now)
            case States(address) | Spot(address) | Fills(address) if address != self._settings.address:
                self._count_bad(self.stream, Defect.SHAPE)
                return ()
            case States():
                return self._states(told, now)
            case Spot():
                return self._spot(told, now)
            case Fills():
                return self._fills(told, now)

    def _answer(self, connection: str, told: Answered | Refused, now: float) -> Sequence[Event]:
        dead = self._private.replied(connection, told, now)
        if isinstance(told, Refused) and self._private.trusted is None:
            self._want_snapshot(SnapshotReason.TIMER, now)  # nothing else is going to tell of the account
        return self._replied(isinstance(told, Answered), dead, now)

    def _states(self, told: States, now: float) -> Sequence[Event]:
        self._health.heard(now)
        unread = self._state.unread
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
        if unread != self._state.unread:
            self._mind_unseen()
            self._want_snapshot(SnapshotReason.TIMER, now)  # what it shares with others is known by a reading alone
        wallets, positions = self._state.refresh(whole=False)
        if not wallets and not positions:
            return ()
        self._touched.update(dex_of(each.instrument) for each in positions)
        if self._mind_odd(self.stream) or (positions and not self._state.separate):
            self._want_snapshot(SnapshotReason.TIMER, now)
        self._look_for_strangers((each.instrument for each in positions), now)
        at_ms = max(state.at_ms for state in told.states.values())
        loaded = self._load(self._state.held_instruments(), now)
        return (*loaded, *self._delta(at_ms, "STATE", wallets, positions))

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
            notices.append(self._notice(fill.at_ms, fill.kind, fill.coin, fill.detail))
        if notices:
            self._want_snapshot(SnapshotReason.TIMER, now)
        return notices
