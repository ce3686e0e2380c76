"""Prometheus: everything `/metrics` says, read from the columns when somebody scrapes.

A tick pays nothing for it. A scrape costs a copy of the columns and then one small slice of samples after the other:
`Exposition.render` hands out pieces of at most `SLICE` samples, so that the shell that sends them decides how often the
event loop gets a turn in between. Only the worst pools (`alerts.danger`) are exported one by one, the rest as one
histogram.

An unknown figure is nan, never zero; a margin ratio beyond every bound is +Inf; what does not exist (a liquidation
price that the position does not have) has no series. Figures that have grown old stay, so that what they accuse of does
not seem to be over, and a gauge beside them says that they are old.
"""

import re
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import inf, nan
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from pydantic import BaseModel, ConfigDict, Field

from alerts.alert import Alert, Silence
from alerts.danger import Scale
from monitor.model.assessment import AccountSight, FeedHealth, FeedState, LegAssessment, PoolAssessment, PoolTable
from monitor.model.sources import PoolSource
from monitor.telemetry import Counter, Histogram, Telemetry

SLICE = 16
"""Samples rendered in one go: about a sixth of a millisecond."""

RATIO_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.85, 0.95, 1.0)
"""Upper bounds of the histogram of the pools that are not exported one by one."""

_PREFIX = "marginwatch_"
_VERSION = re.compile(r"version=([^;,]*)")
_NUMBERED = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}", re.ASCII)
_WORST_FIRST = tuple(reversed(FeedState))


class MetricsConfig(BaseModel):
    """`[metrics]` of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pools: int = Field(default=500, ge=1, le=100_000)
    """How many pools, the worst first, are exported one by one."""


class AlertSource(Protocol):
    """What the metrics and the HTTP pages may ask of the alerting side. Every call is cheap."""

    def firing(self) -> Sequence[Alert]:
        """The alerts that fire now."""
        ...

    def pending(self) -> Mapping[str, int]:
        """Sink to the number of messages it has not acknowledged yet."""
        ...

    def voices(self) -> Mapping[tuple[str, str], bool]:
        """Where accounts are shared with another monitor: (venue, account) to whether this one speaks for it."""
        ...

    def working(self) -> Mapping[str, bool]:
        """Whether a sink, one of its destinations or the state file takes what it is given, by name."""
        ...

    def silences(self) -> Sequence[Silence]:
        """The silences in force."""
        ...

    def rungs(self) -> Mapping[tuple[str, str], float]:
        """The configured ladder: (rule, severity label) to its threshold; a rung that is off is absent."""
        ...


@dataclass(frozen=True, slots=True)
class Build:
    """What is running: the labels of ``marginwatch_build_info``. `kernel` is ``compiled`` or ``plain``."""

    version: str
    python: str
    kernel: str


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric's name (without the prefix), type and help, and its samples, made when they are asked for."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]

    def metric(self) -> Metric:
        """The family without its samples."""
        return Metric(_PREFIX + self.name, self.help, self.kind)


class Exposition(Collector):
    """The collector: register it with a `prometheus_client` registry, or let `render` cut it into pieces."""

    def __init__(
        self,
        source: PoolSource,
        telemetry: Telemetry,
        alerts: AlertSource,
        build: Build,
        config: MetricsConfig | None = None,
    ) -> None:
        self._source = source
        self._telemetry = telemetry
        self._alerts = alerts
        self._build = build
        self._config = config or MetricsConfig()
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """All families at once, as `prometheus_client` asks for them."""
        for metric, samples in self._families():
            metric.samples.extend(samples)
            if metric.samples:
                yield metric

    def render(self, accept: str) -> tuple[str, Iterator[bytes]]:
        """Content type for this ``Accept`` header, and the body in small pieces.

        A header that asks for a version that is no number counts as none: `prometheus_client` would compare it with
        numbers, and repeat it in the content type. The pools are copied at the first piece; whoever iterates may let
        other work run between two pieces.
        """
        sensible = all(_NUMBERED.fullmatch(version) for version in _VERSION.findall(accept))
        encode, content_type = choose_encoder(accept if sensible else "")
        return content_type, self._pieces(encode)

    def _pieces(self, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
        end = encode(_Only())
        for metric, samples in self._families():
            header = encode(_Only(metric)).removesuffix(end)
            continued = False
            rest = iter(samples)
            while batch := list(islice(rest, SLICE)):
                metric.samples = batch
                piece = encode(_Only(metric)).removesuffix(end)
                yield piece.removeprefix(header) if continued else piece
                continued = True
        yield end

    def _families(self) -> Iterator[tuple[Metric, Iterable[Sample]]]:
        for family in self._own_families():
            yield family.metric(), family.samples
        for metric in self._process.collect():
            yield Metric(metric.name, metric.documentation, metric.type), metric.samples

    def _own_families(self) -> Iterator[_Family]:
        """Each group of families is read when it is reached, so that no turn has to pay for all of them."""
        table = self._source.table()
        assessments = dict(self._source.assessments())
        chosen = Scale(self._alerts.rungs(), self._alerts.firing()).worst(table, assessments, self._config.max_pools)
        yield from _pool_families(_Pools(table, chosen, assessments), table)
        yield from _book_families(table, chosen, self._source.ready()[0])
        yield _account_family(self._source.accounts())
        yield from _feed_families(self._source.health())
        yield from _alert_families(self._alerts)
        yield from _telemetry_families(self._telemetry)
        yield _build_family(self._build)


class _Only(Collector):
    """A registry of nothing, or of one metric, for the encoders of `prometheus_client`."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class _Pools:
    """The pools exported one by one: columns, labels and assessments of one scrape."""

    def __init__(self, table: PoolTable, chosen: NDArray[np.intp], assessments: Mapping[str, PoolAssessment]) -> None:
        self._names = table.pools
        self._chosen = chosen.tolist()
        self._assessments = assessments

    def column(self, name: str, values: NDArray[np.float64] | NDArray[np.bool_]) -> Iterator[Sample]:
        """One sample a pool, from a column."""
        for index in self._chosen:
            yield Sample(_PREFIX + name, _pool_labels(self._names[index]), float(values[index]))

    def assessed(self, name: str, value: Callable[[PoolAssessment], float | None]) -> Iterator[Sample]:
        """One sample a pool where the assessment has the figure."""
        for pool in self._with_assessment():
            figure = value(pool)
            if figure is not None:
                yield Sample(_PREFIX + name, _pool_labels(pool.pool), figure)

    def info(self, name: str) -> Iterator[Sample]:
        """What does not change about a pool, as labels."""
        for pool in self._with_assessment():
            labels = _pool_labels(pool.pool) | {"unit": pool.unit, "basis": pool.basis.value}
            yield Sample(f"{_PREFIX}{name}_info", labels, 1.0)

    def legs(self, name: str, value: Callable[[LegAssessment], float | None]) -> Iterator[Sample]:
        """One sample a leg where there is such a figure; nan where it is unknown."""
        for pool in self._with_assessment():
            shared = _pool_labels(pool.pool)
            for leg in pool.legs:
                figure = value(leg)
                if figure is not None:
                    labels = shared | {"instrument": leg.instrument, "side": leg.side.value}
                    yield Sample(_PREFIX + name, labels, figure)

    def _with_assessment(self) -> Iterator[PoolAssessment]:
        for index in self._chosen:
            assessment = self._assessments.get(self._names[index])
            if assessment is not None:
                yield assessment


def _pool_labels(pool: str) -> dict[str, str]:
    venue, account, _ = pool.split("/", 2)
    return {"venue": venue, "account": account, "pool": pool}


def _pool_families(pools: _Pools, table: PoolTable) -> Iterator[_Family]:
    """The pools and legs that are exported one by one."""

    def column(name: str, text: str, values: NDArray[np.float64] | NDArray[np.bool_]) -> _Family:
        return _Family(name, "gauge", text, pools.column(name, values))

    def leg(name: str, text: str, value: Callable[[LegAssessment], float | None]) -> _Family:
        return _Family(name, "gauge", text, pools.legs(name, value))

    yield column(
        "margin_ratio",
        "Maintenance margin / margin balance: rises with danger, 1 is the venue's first liquidation stage, "
        "+Inf is no margin left, NaN is unknown.",
        table.margin_ratio,
    )
    yield column(
        "margin_balance",
        "Collateral after haircut plus unrealized PnL, in the pool's unit (see marginwatch_pool_info).",
        table.margin_balance,
    )
    yield column(
        "maintenance_margin",
        "Margin that the venue requires, with the fees it includes, in the pool's unit (see marginwatch_pool_info).",
        table.maintenance_margin,
    )
    yield column(
        "pool_stale",
        "1 while a pool's marks or its account are not fresh, so that its figures are the last ones seen, else 0.",
        table.old,
    )
    name = "model_error_ratio"
    text = "Difference between the venue's report and the model at the last report, relative to the report."
    yield _Family(name, "gauge", text, pools.assessed(name, lambda pool: pool.model_error))
    text = "Always 1; the unit of a pool's amounts, and whether its maintenance margin is computed or reported."
    yield _Family("pool", "info", text, pools.info("pool"))
    yield leg("mark_price", "Mark price of an open position.", lambda leg: leg.mark_price)
    yield leg(
        "liquidation_price",
        "Mark price at which the venue's first liquidation stage starts; absent where there is none.",
        lambda leg: leg.liquidation_price,
    )
    yield leg(
        "liquidation_distance_ratio",
        "Relative move of the mark to the liquidation price, positive while safe; absent where there is none.",
        lambda leg: leg.distance,
    )
    yield leg(
        "adl_rank",
        "Place in the queue for auto-deleveraging, 0 to 5 (first in line); absent where the venue does not say.",
        lambda leg: leg.adl_rank,
    )


def _book_families(table: PoolTable, chosen: NDArray[np.intp], ready: bool) -> Iterator[_Family]:
    """Sums over all pools, those not exported one by one included."""
    others = np.delete(table.margin_ratio, chosen)
    known = others[~np.isnan(others)]
    counts = np.bincount(np.searchsorted(RATIO_BUCKETS, known), minlength=len(RATIO_BUCKETS) + 1)
    finite = known[np.isfinite(known)]
    yield _histogram(
        "pools_margin_ratio",
        "Margin ratios of the pools that are not exported one by one; unknown ones are not in it.",
        "gaugehistogram",
        RATIO_BUCKETS,
        counts.tolist(),
        float(finite.sum()) if len(finite) == len(known) else inf,
    )
    yield _gauge("pools", "Pools with risk open.", len(table.pools))
    yield _gauge("pools_unknown", "Pools whose margin ratio is unknown.", int(np.isnan(table.margin_ratio).sum()))
    yield _gauge("pools_stale", "Pools whose marks or whose account are not fresh.", int(table.old.sum()))
    yield _gauge("ready", "1 while every account is in sync and fresh, else 0.", float(ready))


def _account_family(accounts: Sequence[AccountSight]) -> _Family:
    """Accounts of which no pool is known, too: nothing says so of one that was never read but this."""
    text = "1 while an account is not in sync (never read, for one) or its user stream is silent, else 0."
    stale = (((each.venue, each.account), float(not each.fresh)) for each in accounts)
    return _labelled("account_stale", "gauge", text, ("venue", "account"), stale)


def _feed_families(feeds: Sequence[FeedHealth]) -> Iterator[_Family]:
    """Age and state of every stream; where two share a name, the worse one shows."""
    worst: dict[tuple[str, str, str], FeedHealth] = {}
    for state in _WORST_FIRST:
        for feed in feeds:
            if feed.state is state:
                worst.setdefault((feed.venue, feed.account, feed.stream), feed)
    ages, states = [], []
    for (venue, account, stream), feed in worst.items():
        labels = {"venue": venue, "account": account, "stream": stream}
        ages.append(Sample(_PREFIX + "feed_age_seconds", labels, nan if feed.age_s is None else feed.age_s))
        for state in FeedState:
            value = float(feed.state is state)
            states.append(Sample(_PREFIX + "feed_state", labels | {"state": state.value}, value))
    text = "Age of the newest data of a stream, NaN before any came. Streams of a whole market have no account."
    yield _Family("feed_age_seconds", "gauge", text, ages)
    yield _Family("feed_state", "gauge", "1 for the state a stream is in, 0 for the others.", states)


def _alert_families(source: AlertSource) -> Iterator[_Family]:
    firing = source.firing()

    def count(name: str, text: str, alerts: Iterable[Alert]) -> _Family:
        names = ("venue", "account", "pool", "rule", "severity")
        tally: Tally[tuple[str, ...]] = Tally(
            (a.venue or "", a.account or "", a.pool or "", a.rule, a.severity.label) for a in alerts
        )
        return _labelled(name, "gauge", text, names, tally.items())

    yield count("alert_firing", "Alerts that fire now.", firing)
    yield count("alert_acknowledged", "Alerts that fire and are acknowledged.", (a for a in firing if a.acknowledged))
    yield count("alert_silenced", "Alerts that fire and are kept from people.", (a for a in firing if a.silenced))
    yield _gauge("silences", "Silences in force.", len(source.silences()))
    text = "1 while a sink, one of its destinations or the state file takes what it is given, else 0."
    yield _labelled(
        "sink_up", "gauge", text, ("sink",), (((name,), float(up)) for name, up in source.working().items())
    )
    text = "Messages that a sink has not acknowledged yet."
    yield _labelled("outbox_pending", "gauge", text, ("sink",), (((sink,), n) for sink, n in source.pending().items()))
    text = "Whether this monitor speaks for an account that it shares with another one."
    speaks = ((account, int(ours)) for account, ours in source.voices().items())
    yield _labelled("speaks", "gauge", text, ("venue", "account"), speaks)
    text = "Configured rungs of the ladder, as ratios."
    yield _labelled("rung_ratio", "gauge", text, ("rule", "severity"), source.rungs().items())


def _telemetry_families(telemetry: Telemetry) -> Iterator[_Family]:
    yield _count("ticks", "Frames of mark prices decided.", telemetry.ticks)
    yield _tick_histogram(telemetry.tick_seconds)
    yield _counter("alerts", "Alerts raised and resolved.", telemetry.alerts)
    yield _counter("deliveries", "Deliveries to sinks by outcome.", telemetry.deliveries)
    yield _counter("reconciliations", "Snapshots held against the book, by what came of it.", telemetry.reconciliations)
    yield _counter("frames", "Frames received from venues.", telemetry.frames)
    yield _counter("bad_frames", "Frames refused, by reason.", telemetry.bad_frames)
    yield _counter("connects", "Attempts to connect to venues, by outcome.", telemetry.connects)
    yield _counter("heartbeats", "Signs of life to the dead-man's switch, by outcome.", telemetry.heartbeats)
    yield _counter("venue_errors", "Errors that venues answered, by code.", telemetry.venue_errors)
    yield _count("assess_failures", "Pools shown as unknown because of a fault.", telemetry.assess_failures)
    yield _count("persist_failures", "Failed writes of alert state to disk.", telemetry.persist_failures)
    text = "Time during which something of an account could not be seen."
    yield _labelled("blind_seconds", "counter", text, ("venue", "account"), telemetry.blind_seconds.items())
    text = "When a sink last took an alert, in seconds since the epoch; absent before the first."
    last = (((sink,), at) for sink, at in telemetry.delivered_at.items())
    yield _labelled("last_delivery_timestamp_seconds", "gauge", text, ("sink",), last)
    text = "Largest relative difference when pool totals were last rebuilt from the legs; should be rounding."
    yield _gauge("book_drift_ratio", text, telemetry.book_drift_ratio)


def _build_family(build: Build) -> _Family:
    labels = {"version": build.version, "python": build.python, "kernel": build.kernel}
    return _Family("build", "info", "Always 1; what is running.", [Sample(_PREFIX + "build_info", labels, 1.0)])


def _gauge(name: str, text: str, value: float) -> _Family:
    return _Family(name, "gauge", text, [Sample(_PREFIX + name, {}, value)])


def _count(name: str, text: str, value: int) -> _Family:
    return _Family(name, "counter", text, [Sample(f"{_PREFIX}{name}_total", {}, value)])


def _counter(name: str, text: str, counter: Counter) -> _Family:
    return _labelled(name, "counter", text, counter.labels, counter.items().items())


def _labelled(
    name: str, kind: str, text: str, names: Sequence[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> _Family:
    full_name = f"{_PREFIX}{name}_total" if kind == "counter" else _PREFIX + name
    samples = [Sample(full_name, dict(zip(names, labels, strict=True)), value) for labels, value in values]
    return _Family(name, kind, text, samples)


def _tick_histogram(ticks: Histogram) -> _Family:
    text = "Time from frame received to decision."
    return _histogram("tick_seconds", text, "histogram", ticks.bounds, tuple(ticks.counts), ticks.total)


def _histogram(
    name: str, text: str, kind: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> _Family:
    """Cumulative buckets from counts by bucket, of which there is one more than `bounds`."""
    sums = list(accumulate(counts))
    full_name = _PREFIX + name
    samples = [
        Sample(full_name + "_bucket", {"le": "+Inf" if bound == inf else repr(bound)}, count)
        for bound, count in zip((*bounds, inf), sums, strict=True)
    ]
    suffix = "g" if kind == "gaugehistogram" else ""
    samples.append(Sample(f"{full_name}_{suffix}count", {}, sums[-1]))
    samples.append(Sample(f"{full_name}_{suffix}sum", {}, total))
    return _Family(name, kind, text, samples)
