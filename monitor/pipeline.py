"""Events in, alerts out: the one place where book and engine meet. Synchronous; the caller owns the loop and the clock.

Hot: `handle` decides a frame of marks before it returns. Warm: `warm`, called often, does in small slices what may be
about a second old: full assessments, blindness, repeats, and rebuilding the totals.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter

import numpy as np
import structlog

from alerts.alert import Alert
from alerts.engine import Engine
from monitor.book import Book, BookChange
from monitor.clock import Clock
from monitor.margin.venues import rules_of
from monitor.model.assessment import AccountSight, Blindness, FeedHealth, FeedState, PoolAssessment, PoolTable
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    Event,
    FeedChanged,
    FundingTold,
    InstrumentsLoaded,
    Marks,
    VenueNotice,
)
from monitor.pools import AccountBook, Exposure
from monitor.telemetry import Telemetry

log = structlog.get_logger(__name__)

NAMED_MAX = 10
"""Instruments named in one sentence."""
_BLIND = (FeedState.STALE, FeedState.DOWN)
Deliver = Callable[[Sequence[Alert]], None]


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """How often the warm side works, and how much at once."""

    mark_s: float = 5.0
    """Age at which a mark with risk behind it is blindness."""
    remedy_ratio: float | None = 0.45
    """The margin ratio that advice aims below: where the first rung lets go."""
    remedy_distance: float | None = 0.10 / 0.9
    """The distance to liquidation that advice aims beyond, likewise."""
    cycle_s: float = 1.0
    """Every pool worth it is assessed once in so many seconds."""
    slice_s: float = 0.002
    """A slice of assessments stops after this long, so that frames do not wait for it."""
    rebuild_s: float = 60.0
    shown_max: int = 500
    """So many of the pools with the highest ratio are assessed in full for showing ..."""
    shown_legs_max: int = 5000
    """... as long as they have not more legs than this together."""
    near: float = 0.3
    """Beyond these, pools whose cushion (surplus / gross notional) is below this, for the rungs on distance."""


class Pipeline:
    """Applies events to the book, asks the engine, and hands what it says to `deliver`. A `PoolSource`."""

    def __init__(
        self,
        book: Book,
        engine: Engine,
        deliver: Deliver,
        clock: Clock,
        telemetry: Telemetry,
        settings: PipelineSettings | None = None,
    ) -> None:
        self.book = book
        self.settings = settings or PipelineSettings()
        self.reconcile: Callable[[str, str], None] = lambda venue, account: None
        """Called when a report disagrees with the model: ask the venue again soon."""
        self.feeds: Callable[[float], Sequence[FeedHealth]] = lambda now: ()
        """Health of the streams, from whoever runs them."""
        self._engine = engine
        self._deliver = deliver
        self._clock = clock
        self._telemetry = telemetry
        self._assessments: dict[str, PoolAssessment] = {}
        self._feed_states: dict[tuple[str, str, str, str], FeedChanged] = {}
        """(venue, account or empty, feed where the account is empty, stream) to its last change."""
        self._blind: Sequence[Blindness] = ()
        self._looked_at = clock.now()
        self._queue: list[int] = []
        self._rule_changes: list[int] = []
        """Rows of pools whose rules have changed, to be compared in this cycle."""
        self._previous: set[int] = set()
        self._shown: set[int] | None = None
        """Rows whose assessments are kept for showing; None for all. An alert's is kept until the next cycle."""
        self._next_cycle = 0.0
        self._next_rebuild = clock.now() + self.settings.rebuild_s
        self._faulty: set[str] = set()
        self._stale: set[int] = set()
        """Rows of pools behind which a mark has grown old: nothing about them eases."""
        self._unseen: set[tuple[str, str]] = set()
        """Accounts that are not in sync, or whose user stream is silent."""
        self._unconfirmed: set[tuple[str, str]] = set()

    # -- accounts -------------------------------------------------------------------------------

    def add_account(self, venue: str, name: str) -> None:
        """Watch an account; until its first snapshot it counts as not in sync. One already watched stays as it is."""
        if not self.book.has_account(venue, name):
            self.book.add_account(venue, name, rules_of(venue))

    def lose(self, venue: str, name: str, reason: str, now: float) -> None:
        """Nobody watches this account any more, although somebody should."""
        self._handle_rare(FeedChanged(venue, name, "", "account", FeedState.DOWN, now, reason), now)

    def remove_account(self, venue: str, name: str) -> None:
        """Stop watching an account. What fires for it ends through `Engine.retain`."""
        for pool in self.book.remove_account(venue, name).gone:
            self._assessments.pop(pool, None)
        self._feed_states = {key: state for key, state in self._feed_states.items() if key[:2] != (venue, name)}

    def rejudge(self, venue: str, name: str, now: float) -> None:
        """Judge everything of an account anew, and end what fires for pools that it has not."""
        if not self.book.has_account(venue, name) or not self.book.account(venue, name).synced:
            return
        rows = list(self.book.account(venue, name).pools.values())
        self._decide(rows, now)
        self._submit(self._engine.on_account(venue, name, {self.book.name_of(row) for row in rows}, now))
        self._look_for_blindness(now)

    def reconfigure(self, settings: PipelineSettings) -> None:
        """Take new settings, and the engine's new thresholds for every pool."""
        self.settings = settings
        self._rethreshold(self.book.rows())

    # -- hot ------------------------------------------------------------------------------------

    def handle(self, event: Event, received: float) -> None:
        """Take one event; everything it calls for is decided and submitted when this returns.

        `received` is `time.perf_counter()` when the event's frame arrived.
        """
        now = self._clock.now()
        if type(event) is Marks:
            crossed = self.book.apply_marks(event, now)
            if crossed:
                self._decide(crossed, now, hot=True)
            self._telemetry.ticks += 1
            self._telemetry.tick_seconds.observe(perf_counter() - received)
            return
        self._handle_rare(event, now)

    def _handle_rare(self, event: Event, now: float) -> None:
        match event:
            case AccountDelta():
                self._changed(self.book.apply_delta(event), now)
            case AccountSnapshot():
                self._snapshot(event, now)
            case InstrumentsLoaded():
                self._changed(self.book.load_instruments(event), now)
            case VenueNotice():
                self._submit(self._engine.on_notice(event, now))
            case FeedChanged():
                feed = "" if event.account else event.feed
                self._feed_states[event.venue, event.account, feed, event.stream] = event
                self._look_for_blindness(now)
            case FundingTold():
                self.book.ledger.take_funding(event)
            case Marks():
                raise AssertionError("marks are handled before")

    def _snapshot(self, event: AccountSnapshot, now: float) -> None:
        change = self.book.apply_snapshot(event)
        account = self.book.account(event.venue, event.account)
        if not self._blind_to_account(account, now):
            self._unseen.discard((event.venue, event.account))
        self._changed(change, now)
        names = {self.book.name_of(row) for row in account.pools.values()}
        self._submit(self._engine.on_account(event.venue, event.account, names, now))
        key = (event.venue, event.account)
        if self.book.disagrees(account) and key not in self._unconfirmed:
            self._unconfirmed.add(key)
            self.reconcile(*key)
        elif not self.book.disagrees(account):
            self._unconfirmed.discard(key)

    def _changed(self, change: BookChange, now: float) -> None:
        """Look again at pools that an account event touched, and end those that are gone."""
        for pool in change.gone:
            self._assessments.pop(pool, None)
            self._submit(self._engine.on_pool_gone(pool, now))
        self._rethreshold(change.touched)
        self._decide([row for row in change.touched if self.book.ledger.is_crossed(row)], now)
        if self._shown is None and self.book.ledger.legs.rows.used <= self.settings.shown_legs_max:
            # What came new is shown at once, unless there are very many; the rest within a cycle.
            self._decide([row for row in change.touched if self.book.name_of(row) not in self._assessments], now)

    def _decide(self, rows: Iterable[int], now: float, *, hot: bool = False) -> None:
        """Assess pools in full, let the engine judge them, submit what it says.

        `hot`: by the margin ratio alone; the other rules follow with the next cycle, within about a second.
        """
        engine, book = self._engine, self.book
        for row in rows:
            assessment = self._assess(row, hot=hot)
            said = engine.on_pool(assessment, now, ratio_only=hot)
            if said:
                self._submit(said)
            if said or self._shown is None or row in self._shown:
                self._assessments[assessment.pool] = assessment
            book.ledger.set_thresholds(row, *engine.thresholds(assessment.pool))

    def _assess(self, row: int, *, hot: bool = False) -> PoolAssessment:
        """The full assessment of a pool. A fault of ours in it makes that pool unknown, and no other one wait.

        `hot`: without advice on the distance, which is not judged then.
        """
        try:
            distance = None if hot else self.settings.remedy_distance
            assessment = self.book.assess(row, self.settings.remedy_ratio, distance)
            if row in self._stale:
                assessment = replace(assessment, stale=True)
            if (assessment.venue, assessment.account) in self._unseen:
                assessment = replace(assessment, account_stale=True)
        except Exception as error:
            self._telemetry.assess_failures += 1
            assessment = self.book.unknown(row, f"the calculation ({type(error).__name__})")
            if assessment.pool not in self._faulty:
                self._faulty.add(assessment.pool)
                log.exception("a pool could not be assessed", pool=assessment.pool)
        return assessment

    def _rethreshold(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.book.ledger.set_thresholds(row, *self._engine.thresholds(self.book.name_of(row)))

    def _submit(self, said: Sequence[Alert]) -> None:
        if said:
            self._deliver(said)

    # -- warm -----------------------------------------------------------------------------------

    def warm(self, now: float) -> bool:
        """Do what is due, for at most about a slice; returns whether more waits (call again soon)."""
        deadline = self._engine.deadline()
        if deadline is not None and deadline <= now:
            said = self._engine.due(now)
            self._submit(said)
            pools = ((alert.venue or "", alert.account or "", alert.pool) for alert in said if alert.pool)
            rows = (self.book.row_of(*pool) for pool in pools)
            self._rethreshold([row for row in rows if row is not None])
        if not self._queue and now >= self._next_cycle:
            self._next_cycle = now + self.settings.cycle_s
            self._look_for_blindness(now)
            self._decide([row for row in self.book.requote() if self.book.ledger.is_crossed(row)], now)
            self._plan_cycle()
            self._rule_changes = self.book.with_former_rules()
        if now >= self._next_rebuild:
            self._next_rebuild = now + self.settings.rebuild_s
            self.book.rebuild()
            self._telemetry.book_drift_ratio, self.book.drift = self.book.drift, 0.0
        end = perf_counter() + self.settings.slice_s
        while (self._queue or self._rule_changes) and perf_counter() < end:
            if self._queue and self.book.has_pool(row := self._queue.pop()):
                self._decide((row,), now)
            if self._rule_changes and self.book.has_pool(row := self._rule_changes.pop()):
                self._compare_rules(row, now)
        return bool(self._queue or self._rule_changes)

    def _compare_rules(self, row: int, now: float) -> None:
        """Tell what a change of the venue's rules moved in a pool, or wait for the next cycle while that is unknown."""
        present = self._assess(row)
        if present.stale or present.unknown:
            return
        try:
            change = self.book.rules_changed(row, present)
        except Exception:
            self._telemetry.assess_failures += 1
            change = None
            log.exception("a pool could not be assessed under its former rules", pool=present.pool)
        self.book.forget_former_rules(row)
        if change is not None:
            self._submit(self._engine.on_rules_changed(change, now))

    def _plan_cycle(self) -> None:
        """Which pools to assess in this cycle, the most dangerous last (they are taken from the end)."""
        rows = np.array(self.book.rows(), np.int64)
        if not len(rows):
            self._assessments.clear()
            return
        table = self.book.table()
        danger = np.where(np.isnan(table.margin_ratio), inf, table.margin_ratio)
        if len(rows) <= self.settings.shown_max and self.book.ledger.legs.rows.used <= self.settings.shown_legs_max:
            self._shown = None
            self._queue = rows[np.argsort(danger)].tolist()
            return
        shown = np.argsort(-danger)[: self.settings.shown_max]
        legs = np.cumsum(self.book.ledger.leg_counts()[rows[shown]])
        shown = shown[: max(1, int(np.searchsorted(legs, self.settings.shown_legs_max, side="right")))]
        near = np.flatnonzero(self.book.ledger.cushions(rows) < self.settings.near)
        chosen = np.union1d(shown, near)
        now_near = set(rows[near].tolist())
        leaving = [row for row in self._previous - now_near if self.book.has_pool(row)]
        self._previous = now_near
        self._queue = leaving + rows[chosen[np.argsort(danger[chosen])]].tolist()
        self._shown = set(rows[shown].tolist())
        kept = {table.pools[i] for i in shown.tolist()}
        self._assessments = {pool: a for pool, a in self._assessments.items() if pool in kept}

    def _look_for_blindness(self, now: float) -> None:
        seconds, blind = self._telemetry.blind_seconds, self.blind()
        for key in {(account.venue, account.name) for account in self.book.accounts()}:
            seconds[key] = seconds.get(key, 0.0) + (now - self._looked_at if key in blind else 0.0)
        self._looked_at = now
        self._blind = self._blindness(now)
        unsynced = [(account.venue, account.name) for account in self.book.accounts() if not account.synced]
        self._submit(self._engine.on_blind(self._blind, now, unsynced))

    def _blindness(self, now: float) -> list[Blindness]:
        """Everything that cannot be seen: accounts out of sync, user streams, marks with legs behind them."""
        found = [blind for account in self.book.accounts() for blind in self._blind_to_account(account, now)]
        self._unseen = {(blind.venue, blind.account) for blind in found}
        return found + self._blind_to_marks(now)

    def _blind_to_account(self, account: AccountBook, now: float) -> list[Blindness]:
        """What cannot be seen of an account itself, by its own streams."""
        found: list[Blindness] = []
        own = {feed.stream: feed for key, feed in self._feed_states.items() if key[:2] == (account.venue, account.name)}
        if not account.synced and "account" not in own:
            found.append(self._blind_to(account, "account", FeedState.DOWN, None, "no snapshot yet"))
        for feed in own.values():
            if feed.state in _BLIND or (feed.stream == "account" and not account.synced):
                age = now - (feed.at if feed.data_at is None else feed.data_at) if account.synced else None
                state = feed.state if feed.state in _BLIND else FeedState.DOWN
                found.append(self._blind_to(account, feed.stream, state, age, feed.detail or "no snapshot yet"))
        return found

    def _blind_to(
        self, account: AccountBook, stream: str, state: FeedState, age_s: float | None, detail: str
    ) -> Blindness:
        risk = self.book.account_exposure(account) if account.synced else Exposure()
        return _blindness_of((account.venue, account.name), stream, state, (), replace(risk, age_s=age_s), detail)

    def _blind_to_marks(self, now: float) -> list[Blindness]:
        """By the age of each instrument's newest mark, and by what the market stream's own session says of it.

        Marks that come, but ever later, are as good as none, and only the session, which compares clocks, can tell.
        """
        ages = self.book.ledger.stale_instruments(now, self.settings.mark_s)
        self._stale = self.book.ledger.pools_of(ages)
        seen = dict(self.book.exposure(ages))
        told: dict[tuple[str, str], tuple[FeedState, str]] = {}
        for (venue, name, feed_name, _), feed in self._feed_states.items():
            if name or feed.state not in _BLIND:
                continue
            age = now - (feed.at if feed.data_at is None else feed.data_at)
            for account in self.book.accounts():
                if account.venue == venue and account.feed == feed_name and account.legs:
                    self._stale.update(account.pools.values())
                    key = (venue, account.name)
                    told[key] = feed.state, feed.detail
                    if key not in seen:
                        seen[key] = replace(self.book.account_exposure(account), age_s=age)
        found = []
        for key, exposure in seen.items():
            judged = FeedState.DOWN if exposure.age_s is None else FeedState.STALE
            state, detail = told.get(key, (judged, ""))
            found.append(_blindness_of(key, "mark", state, exposure.instruments, exposure, detail))
        return found

    def watched(self) -> set[tuple[str, str]]:
        """Accounts (venue, name) that matter now: with positions, or never seen whole yet."""
        return {(each.venue, each.name) for each in self.book.accounts() if each.legs or not each.synced}

    def blind(self) -> set[tuple[str, str]]:
        """Accounts of which something cannot be seen."""
        return {(each.venue, each.account) for each in self._blind}

    # -- PoolSource -----------------------------------------------------------------------------

    def table(self) -> PoolTable:
        """Every pool's figures as they are now."""
        table = self.book.table()
        if not self._stale and not self._unseen:
            return table
        old: list[bool] = []
        for account in self.book.accounts():
            if (account.venue, account.name) in self._unseen:
                old += [True] * len(account.pools)
            else:
                old += map(self._stale.__contains__, account.pools.values())
        return replace(table, old=np.array(old, np.bool_))

    def assessments(self) -> Mapping[str, PoolAssessment]:
        """The last full assessments by pool id."""
        return self._assessments

    def accounts(self) -> Sequence[AccountSight]:
        """How well each account is seen."""
        return [
            AccountSight(
                account.venue,
                account.name,
                account.synced,
                account.synced and (account.venue, account.name) not in self._unseen,
            )
            for account in self.book.accounts()
        ]

    def health(self) -> Sequence[FeedHealth]:
        """Every stream's health."""
        return self.feeds(self._clock.now())

    def ready(self) -> tuple[bool, tuple[str, ...]]:
        """Whether nothing is unseen, and one sentence for each thing that is."""
        if not any(True for _ in self.book.accounts()):
            return False, ("no account is configured",)
        reasons = [_sentence(each) for each in self._blind]
        blind = {(b.venue, b.account) for b in self._blind}
        unsynced = [a for a in self.book.accounts() if not a.synced and (a.venue, a.name) not in blind]
        reasons += [f"{a.venue}/{a.name}: no snapshot yet" for a in unsynced]
        unseen = self.book.ledger.unseen()
        if unseen:
            reasons.append(f"no mark yet of {', '.join(unseen[:NAMED_MAX])}{' ...' if len(unseen) > NAMED_MAX else ''}")
        return not reasons, tuple(reasons)


def _blindness_of(
    key: tuple[str, str], stream: str, state: FeedState, instruments: Sequence[str], risk: Exposure, detail: str
) -> Blindness:
    return Blindness(
        venue=key[0],
        account=key[1],
        stream=stream,
        state=state,
        instruments=tuple(instruments),
        age_s=risk.age_s,
        notional=sum(risk.amounts.values()),
        worst_ratio=risk.worst_ratio,
        detail=detail,
        amounts=tuple(sorted(risk.amounts.items())),
    )


def _sentence(blind: Blindness) -> str:
    """What cannot be seen of which account, how it is with it now, for how long, and why."""
    names = ", ".join(blind.instruments[:NAMED_MAX]) + (" ..." if len(blind.instruments) > NAMED_MAX else "")
    what = {"mark": f"marks of {names}" if names else "marks", "user": "user stream"}.get(blind.stream, blind.stream)
    age = "" if blind.age_s is None else f"no data for {blind.age_s:.0f} s"
    why = ", ".join(part for part in (age, blind.detail) if part) or "no data yet"
    return f"{blind.venue}/{blind.account}: {what} {blind.state.value}: {why}"
