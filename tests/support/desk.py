"""A desk to show: pools, streams and alerts made of the real model, for tests of whatever only reads.

`Desk` is a `PoolSource` and an `AlertSource`. It starts with what a trader's account looks like on a bad day: an
isolated long near its liquidation, a cross pair in hedge mode, a pool past its margin, and one that cannot be known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from alerts.alert import Alert, Reason, Severity, Silence, State, Step
from monitor.clock import ManualClock
from monitor.errors import RefusedError
from monitor.model.assessment import (
    AccountSight,
    Basis,
    FeedHealth,
    FeedState,
    LegAssessment,
    PoolAssessment,
    PoolTable,
    Remedy,
    margin_ratio,
)
from monitor.model.ids import Side, pool_id
from monitor.telemetry import Telemetry

NOW = ManualClock().now()


def leg(instrument: str, side: Side, size: float, mark: float, liquidation: float | None) -> LegAssessment:
    """A position with 1 % maintenance, opened at the mark."""
    distance = None if liquidation is None else side.sign * (mark - liquidation) / mark
    bankruptcy = None if liquidation is None else liquidation * (1 - side.sign * 0.01)
    maintenance = size * mark * 0.01
    return LegAssessment(
        instrument, side, size, mark, size * mark, 0.0, maintenance, liquidation, liquidation, bankruptcy, distance
    )


def pool(account: str, scope: str, balance: float, maintenance: float, *legs: LegAssessment) -> PoolAssessment:
    """A pool on binance, just reported by the venue."""
    unknown = () if balance == balance else ("no tiers for NEWUSDT",)
    distances = [leg.distance for leg in legs if leg.distance is not None]
    ratio = margin_ratio(balance, maintenance)
    return PoolAssessment(
        pool=pool_id("binance", account, scope),
        venue="binance",
        account=account,
        scope=scope,
        basis=Basis.COMPUTED,
        unit="USDT",
        margin_balance=balance,
        maintenance_margin=maintenance,
        margin_ratio=ratio,
        venue_margin_ratio=None if unknown else ratio,
        legs=legs,
        distance=min(distances, default=None),
        marked_at=NOW - 0.4,
        model_error=None if unknown else 0.000_02,
        remedy=Remedy(0.5, 123.45, 0.25) if ratio > 0.5 else None,
        unknown=unknown,
    )


def bad_day(account: str = "main") -> list[PoolAssessment]:
    """Five pools, in order of name, not of danger."""
    return [
        pool(account, "BTCUSDT:long", 340.0, 295.0, leg("BTCUSDT", Side.LONG, 0.5, 59_000.0, 58_909.5)),
        pool(account, "DOGEUSDT:short", -3.0, 12.0, leg("DOGEUSDT", Side.SHORT, 10_000.0, 0.12, 0.119)),
        pool(account, "NEWUSDT:long", nan, nan, leg("NEWUSDT", Side.LONG, 3.0, 1.5, nan)),
        pool(account, "SOLUSDT:long", 5_000.0, 20.0, leg("SOLUSDT", Side.LONG, 20.0, 100.0, None)),
        pool(
            account,
            "USDT",
            4_000.0,
            2_200.0,
            leg("ETHUSDT", Side.LONG, 60.0, 2_500.0, 2_380.0),
            leg("ETHUSDT", Side.SHORT, 28.0, 2_500.0, 2_900.0),
        ),
    ]


def many_pools(count: int) -> list[PoolAssessment]:
    """`count` pools of one leg each; their margin ratios spread evenly over 0 to 1, the first at half a step."""
    return [
        pool(
            f"desk{n % 50}",
            f"COIN{n}USDT:long",
            100.0,
            100.0 * (n + 0.5) / count,
            leg(f"COIN{n}USDT", Side.LONG, 1, 50, 40),
        )
        for n in range(count)
    ]


def alert(severity: Severity, assessment: PoolAssessment, *, rule: str = "margin_ratio") -> Alert:
    """An alert that fires for a pool."""
    key = f"{rule}/{assessment.pool}"
    return Alert(
        id=f"{key}/1",
        key=key,
        rule=rule,
        severity=severity,
        state=State.FIRING,
        reason=Reason.RUNG_REACHED,
        venue=assessment.venue,
        account=assessment.account,
        pool=assessment.pool,
        value=assessment.margin_ratio,
        threshold=0.85,
        margin_ratio=assessment.margin_ratio,
        margin_balance=assessment.margin_balance,
        maintenance_margin=assessment.maintenance_margin,
        unit=assessment.unit,
        legs=(),
        text=f"{assessment.margin_ratio:.0%} {assessment.pool}",
        advice="add 123.45 USDT",
        raised_at=NOW - 5,
        mark_at=NOW - 0.4,
        host="box",
        step=Step.RAISED,
        serial=1,
        at=NOW - 5,
    )


def streams(account: str = "main") -> list[FeedHealth]:
    """A market stream that lives and a user stream that has said nothing yet."""
    return [
        FeedHealth("binance", "", "mark", FeedState.LIVE, 0.4),
        FeedHealth("binance", account, "user", FeedState.LATE, None, "no snapshot yet"),
    ]


@dataclass(slots=True)
class Desk:
    """What the daemon would show, and nothing that happens by itself."""

    pools: list[PoolAssessment] = field(default_factory=bad_day)
    feeds: list[FeedHealth] = field(default_factory=streams)
    reasons: tuple[str, ...] = ()
    alerts: list[Alert] = field(default_factory=list)
    outbox: dict[str, int] = field(default_factory=lambda: {"console": 0, "redis": 2})
    assessed: Mapping[str, PoolAssessment] | None = None
    orders: list[tuple[str, str, str]] = field(default_factory=list)
    silent: list[Silence] = field(default_factory=list)
    shared: Mapping[tuple[str, str], bool] = field(default_factory=lambda: {("binance", "shared"): False})
    unread: tuple[tuple[str, str], ...] = ()
    """(venue, account) of those that were never read."""

    def table(self) -> PoolTable:
        """See `PoolSource`."""
        return PoolTable(
            [pool.pool for pool in self.pools],
            np.array([pool.margin_balance for pool in self.pools]),
            np.array([pool.maintenance_margin for pool in self.pools]),
            np.array([pool.margin_ratio for pool in self.pools]),
            np.array([pool.old for pool in self.pools], np.bool_),
        )

    def accounts(self) -> Sequence[AccountSight]:
        """See `PoolSource`: those with pools, all alike, and those `unread`."""
        silent = {(pool.venue, pool.account): pool.account_stale for pool in self.pools}
        read = [AccountSight(*key, read=True, fresh=not stale) for key, stale in silent.items()]
        return [*read, *(AccountSight(*key, read=False, fresh=False) for key in self.unread)]

    def assessments(self) -> Mapping[str, PoolAssessment]:
        """See `PoolSource`; all pools unless `assessed` says otherwise."""
        return {pool.pool: pool for pool in self.pools} if self.assessed is None else self.assessed

    def health(self) -> Sequence[FeedHealth]:
        """See `PoolSource`."""
        return self.feeds

    def ready(self) -> tuple[bool, tuple[str, ...]]:
        """See `PoolSource`; ready while there is no reason against it."""
        return not self.reasons, self.reasons

    def firing(self) -> Sequence[Alert]:
        """See `AlertSource`."""
        return self.alerts

    def pending(self) -> Mapping[str, int]:
        """See `AlertSource`."""
        return self.outbox

    def working(self) -> Mapping[str, bool]:
        """See `AlertSource`: a sink works while nothing waits for it."""
        return {sink: not waiting for sink, waiting in self.outbox.items()} | {"state": True}

    def acknowledge(self, key: str, by: str) -> None:
        """See `Handling`."""
        self.orders.append(("acknowledge", key, by))

    def silence(self, subject: str, seconds: float, by: str, reason: str, *, emergency: bool = False) -> Silence:
        """See `Handling`; a subject called ``refused`` is."""
        if subject == "refused":
            raise RefusedError("subject", "was asked to be refused")
        self.orders.append(("silence", subject, by))
        silence = Silence(f"s{len(self.silent)}", subject, NOW + seconds, by, reason, emergency, NOW)
        self.silent.append(silence)
        return silence

    def end_silence(self, identifier: str, by: str) -> None:
        """See `Handling`."""
        self.orders.append(("end", identifier, by))
        self.silent = [silence for silence in self.silent if silence.id != identifier]

    def silences(self) -> Sequence[Silence]:
        """See `Handling`."""
        return self.silent

    def voices(self) -> Mapping[tuple[str, str], bool]:
        """See `AlertSource`: one account is shared, and the other monitor speaks, unless `shared` says otherwise."""
        return self.shared

    def rungs(self) -> Mapping[tuple[str, str], float]:
        """See `AlertSource`: the default ladder."""
        margin = {"notice": 0.50, "warning": 0.70, "critical": 0.85, "emergency": 0.95}
        distance = {"notice": 0.10, "warning": 0.05, "critical": 0.025, "emergency": 0.01}
        ladders = {"margin_ratio": margin, "distance": distance, "model_error": {"warning": 0.02}}
        return {(rule, severity): rung for rule, ladder in ladders.items() for severity, rung in ladder.items()}


def busy_telemetry() -> Telemetry:
    """Counters of a daemon that has worked for a while."""
    telemetry = Telemetry()
    for tick in range(1000):
        telemetry.ticks += 1
        telemetry.tick_seconds.observe(0.000_02 + tick * 1e-7)
    telemetry.book_drift_ratio = 2e-16
    telemetry.alerts.add("margin_ratio", "critical", "firing")
    telemetry.deliveries.add("redis", "delivered", amount=3)
    telemetry.deliveries.add("redis", "failed")
    telemetry.delivered_at["redis"] = NOW - 3.0
    telemetry.blind_seconds["binance", "main"] = 12.5
    telemetry.reconciliations.add("binance", "main", "agreed", amount=5)
    telemetry.frames.add("binance", "mark", amount=1000)
    telemetry.bad_frames.add("binance", "mark", "garbage")
    telemetry.connects.add("binance", "mark", "connected")
    telemetry.venue_errors.add("binance", "429")
    return telemetry
