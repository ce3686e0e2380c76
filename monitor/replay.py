"""The past once more: the live code on a clock that is set, and how long before a liquidation each warning left.

Events go through the same pipeline as live. Where a moment is only known to lie in an interval (a bar of a price path)
a warning counts from the interval's end and a liquidation from its beginning, so a lead time is never flattered.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter

from alerts.alert import Alert, Severity, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from monitor.book import Book
from monitor.clock import ManualClock
from monitor.kernel import best_kernel
from monitor.margin.rules import position_scope
from monitor.margin.venues import RULES
from monitor.model.account import Account, Position
from monitor.model.assessment import PoolTable
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    Event,
    InstrumentsLoaded,
    Marks,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Side, pool_id, side_of
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.pricepath import Tick
from monitor.telemetry import Telemetry

LADDERS = ("margin_ratio", "distance")
"""The rules whose warnings lead up to a liquidation."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since the epoch: the time that counts as now, and the interval in which it may have been."""

    at: float
    earliest: float
    latest: float

    @classmethod
    def known(cls, at: float) -> "Moment":
        """A moment that is known exactly."""
        return cls(at, at, at)


@dataclass(frozen=True, slots=True)
class Warned:
    """An alert and when it left."""

    alert: Alert
    when: Moment


@dataclass(frozen=True, slots=True)
class Liquidated:
    """A pool met its first liquidation stage. `by`: ``model``, or ``venue`` when the venue itself said so."""

    pool: str
    when: Moment
    by: str
    instruments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeadTime:
    """How long before a liquidation a severity was first said, at the least."""

    pool: str
    rule: str
    severity: Severity
    warned: Warned
    liquidated: Liquidated

    @property
    def seconds(self) -> float:
        """Never negative: a warning and a liquidation within one bar leave no time that could be counted on."""
        return max(0.0, self.liquidated.when.earliest - self.warned.when.latest)


class Ladder:
    """For each pool and ladder: since when each severity has been said without a break."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], dict[Severity, Warned]] = {}

    def note(self, warned: Warned) -> None:
        """Take one alert."""
        alert = warned.alert
        if alert.rule not in LADDERS or alert.pool is None:
            return
        said = self._said.setdefault((alert.pool, alert.rule), {})
        if alert.state is State.RESOLVED:
            said.clear()
        elif alert.step is Step.EASED:
            for severity in [severity for severity in said if severity > alert.severity]:
                del said[severity]
        said_before = said.get(alert.severity)
        if alert.state is State.FIRING and said_before is None:
            said[alert.severity] = warned

    def lead_times(self, liquidated: Liquidated) -> list[LeadTime]:
        """What had been said of this pool, mildest first."""
        return [
            LeadTime(liquidated.pool, rule, severity, warned, liquidated)
            for rule in LADDERS
            for severity, warned in sorted(self._said.get((liquidated.pool, rule), {}).items())
        ]


@dataclass(slots=True)
class Outcome:
    """Everything that a replay has to tell. `first_at` and `last_at` bound the time replayed."""

    ticks: int = 0
    cut_off: bool = False
    """Whether the recording ends before its end."""
    first_at: float | None = None
    last_at: float | None = None
    warnings: list[Warned] = field(default_factory=list)
    liquidations: list[Liquidated] = field(default_factory=list)
    lead_times: list[LeadTime] = field(default_factory=list)
    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Pool to its highest margin ratio and when that was."""


class Replay:
    """Feeds events to a pipeline of its own, in order of time. `said` hears every alert and liquidation at once."""

    def __init__(
        self,
        config: AlertsConfig,
        start: float,
        *,
        judge_marks: bool,
        said: Callable[[Warned | Liquidated], None] = lambda what: None,
    ) -> None:
        """`judge_marks`: whether old marks are blindness, which means nothing for prices that are a minute apart."""
        self.outcome = Outcome()
        self.telemetry = Telemetry()
        self._clock = ManualClock(start)
        self._said = said
        self._ladder = Ladder()
        self._engine = Engine(config, socket.gethostname())
        self._moment = Moment.known(start)
        self.pipeline = Pipeline(
            Book(best_kernel()),
            self._engine,
            self._deliver,
            self._clock,
            self.telemetry,
            PipelineSettings(
                mark_s=config.stale_feed.mark_s if judge_marks else inf,
                remedy_ratio=config.margin_ratio.first_release,
                remedy_distance=config.distance.first_release,
            ),
        )
        self._over: set[str] = set()

    def feed(self, events: Sequence[Event], moment: Moment) -> list[Liquidated]:
        """Let everything fall due until `moment`, then apply `events`; returns the pools that were liquidated."""
        self._pass_time(moment.at)
        self._moment = moment
        liquidated: list[Liquidated] = []
        for event in events:
            self.pipeline.handle(event, perf_counter())
            if isinstance(event, Marks):
                self.outcome.ticks += 1
                liquidated += self._look(moment)
            elif isinstance(event, VenueNotice) and event.kind == "liquidation":
                liquidated += self._told(event, moment)
        self._warm(moment.at)
        first_at = self.outcome.first_at
        self.outcome.first_at = moment.at if first_at is None else first_at
        self.outcome.last_at = moment.at
        return liquidated

    def _pass_time(self, until: float) -> None:
        """Repeats, holds and calms happen at their own time, not at the next tick's."""
        until = max(until, self._clock.now())
        # What is due with the tick too: after it, the last look would be told as if it were of then.
        while (due := self._engine.deadline()) is not None and due <= until:
            self._clock.set(max(due, self._clock.now()))
            self._moment = Moment.known(self._clock.now())
            self._warm(self._clock.now())
        self._clock.set(until)

    def _warm(self, now: float) -> None:
        while self.pipeline.warm(now):
            pass

    def _deliver(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            warned = Warned(alert, self._moment)
            self._ladder.note(warned)
            self.outcome.warnings.append(warned)
            self._said(warned)

    def _look(self, moment: Moment) -> list[Liquidated]:
        """Pools whose margin ratio has reached 1 by the model."""
        table = self.pipeline.table()
        self._keep_peaks(table, moment)
        reached = [table.pools[index] for index in (table.margin_ratio >= 1.0).nonzero()[0].tolist()]
        return [self._liquidated(Liquidated(pool, moment, "model")) for pool in reached if pool not in self._over]

    def _told(self, notice: VenueNotice, moment: Moment) -> list[Liquidated]:
        """Pools that hold the instrument that the venue says it liquidates."""
        pools = [
            assessment.pool
            for assessment in self.pipeline.assessments().values()
            if (assessment.venue, assessment.account) == (notice.venue, notice.account)
            and any(leg.instrument == notice.instrument for leg in assessment.legs)
        ]
        return [
            self._liquidated(Liquidated(pool, moment, "venue", (notice.instrument,)))
            for pool in pools
            if pool not in self._over
        ]

    def _liquidated(self, liquidated: Liquidated) -> Liquidated:
        self._over.add(liquidated.pool)
        self.outcome.liquidations.append(liquidated)
        self.outcome.lead_times += self._ladder.lead_times(liquidated)
        self._said(liquidated)
        return liquidated

    def _keep_peaks(self, table: PoolTable, moment: Moment) -> None:
        for pool, ratio in zip(table.pools, table.margin_ratio.tolist(), strict=True):
            known = self.outcome.peaks.get(pool)
            if known is None or ratio > known[0]:
                self.outcome.peaks[pool] = (ratio, moment.at)


class PathReplay:
    """An account that does nothing while prices move: what a price path is replayed against.

    A pool that is liquidated is closed with everything in it, which is the end of its story here; a venue may begin
    with a part of it.
    """

    FEED = "replay"

    def __init__(self, replay: Replay, account: Account, start: Moment) -> None:
        self._replay = replay
        self._account = account
        self._open: dict[str, list[Position]] = {}
        for position in account.positions:
            self._open.setdefault(self._pool_of(position), []).append(position)
        replay.pipeline.add_account(account.venue, account.name)
        self._opening: list[Event] = _opening(account, self.FEED, int(start.at * 1000))

    @property
    def over(self) -> bool:
        """Whether nothing is left that could be liquidated."""
        return not self._open

    def tick(self, tick: Tick) -> None:
        """Apply one tick; what it liquidates is closed."""
        moment = Moment(tick.at_ms / 1000, tick.earliest_ms / 1000, tick.latest_ms / 1000)
        times = [tick.at_ms] * len(tick.instruments)
        marks = Marks(self.FEED, tick.instruments, tick.prices, times)
        # The account comes together with its first prices: there is no moment at which it could not be seen.
        events, self._opening = [*self._opening, marks], []
        for liquidated in self._replay.feed(events, moment):
            self._close(liquidated.pool, moment)

    def _pool_of(self, position: Position) -> str:
        account = self._account
        rules = RULES[account.venue]
        instrument = account.instruments[position.instrument]
        return pool_id(account.venue, account.name, position_scope(rules, account.account_mode, instrument, position))

    def _close(self, pool: str, moment: Moment) -> None:
        """The positions of a liquidated pool are gone, and the collateral of a cross pool with them."""
        account = self._account
        rules = RULES[account.venue]
        positions = tuple(replace(position, size=0.0, isolated_wallet=0.0) for position in self._open.pop(pool, ()))
        wallets = tuple(
            replace(wallet, balance=0.0)
            for wallet in account.wallets
            if pool == pool_id(account.venue, account.name, rules.cross_scope(account.account_mode, wallet.coin))
        )
        at_ms = int(moment.at * 1000)
        self._replay.feed([AccountDelta(account.venue, account.name, at_ms, "liquidated", wallets, positions)], moment)


def net_sides(account: Account) -> dict[str, Side]:
    """Each instrument's net direction, which decides which extreme of a bar is the adverse one."""
    sizes: dict[str, float] = {}
    for position in account.positions:
        sizes[position.instrument] = sizes.get(position.instrument, 0.0) + position.size
    return {instrument: side_of(size) for instrument, size in sizes.items()}


def _opening(account: Account, feed: str, at_ms: int) -> list[Event]:
    """What makes an account known to a pipeline."""
    return [
        InstrumentsLoaded(account.venue, account.name, tuple(account.instruments.values()), at_ms),
        AccountSnapshot(
            venue=account.venue,
            account=account.name,
            feed=feed,
            at_ms=at_ms,
            reason=SnapshotReason.START,
            account_mode=account.account_mode,
            position_mode=account.position_mode,
            wallets=account.wallets,
            positions=account.positions,
            reports=(),
        ),
    ]
