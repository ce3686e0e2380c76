"""What /metrics says is true, whole, in the standard's form, and made in small pieces."""

from dataclasses import replace
from math import inf, isnan

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from alerts.alert import Acknowledgement, Severity, Silence
from alerts.sinks.prometheus import RATIO_BUCKETS, SLICE, Build, Exposition, MetricsConfig
from monitor.model.assessment import FeedHealth, FeedState
from monitor.telemetry import Telemetry
from tests.support.desk import NOW, Desk, alert, bad_day, busy_telemetry, many_pools
from tests.support.prometheus import promtool

BUILD = Build(version="0.1.0", python="3.11.7", kernel="compiled")
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"

Labels = dict[str, str]


def a_silence() -> Silence:
    """An hour about one pool."""
    return Silence("s", "binance/main/USDT", NOW + 3600, "anna", "known", emergency=False, at=NOW)


def exposition(desk: Desk, telemetry: Telemetry | None = None, max_pools: int = 500) -> Exposition:
    """The collector over a desk."""
    return Exposition(desk, telemetry or busy_telemetry(), desk, BUILD, MetricsConfig(max_pools=max_pools))


def scrape(collector: Exposition, accept: str = "") -> list[Metric]:
    """Render and read back with the parser of `prometheus_client`, the strict one for OpenMetrics."""
    content_type, pieces = collector.render(accept)
    text = b"".join(pieces).decode()
    return list(parse_openmetrics(text) if content_type.startswith("application/openmetrics") else parse_text(text))


def values(metrics: list[Metric], name: str, **labels: str) -> list[float]:
    """Values of the samples of that name whose labels include these."""
    return [
        sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def value(metrics: list[Metric], name: str, **labels: str) -> float:
    """The only such value."""
    (only,) = values(metrics, name, **labels)
    return only


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_every_name_of_the_design(accept: str) -> None:
    """All metrics that outsiders were promised are there, in both formats."""
    pools = bad_day()
    handled = replace(
        alert(Severity.CRITICAL, pools[0]), acknowledged=Acknowledgement("anna", NOW), silenced=a_silence()
    )
    desk = Desk(pools, alerts=[handled])
    names = {sample.name for metric in scrape(exposition(desk), accept) for sample in metric.samples}
    promised = {
        "margin_ratio", "margin_balance", "maintenance_margin", "liquidation_price", "mark_price",
        "liquidation_distance_ratio", "alert_firing", "alerts_total", "deliveries_total", "outbox_pending",
        "feed_age_seconds", "feed_state", "ticks_total", "tick_seconds_bucket", "tick_seconds_count",
        "tick_seconds_sum", "reconciliations_total", "model_error_ratio", "build_info", "pools_margin_ratio_bucket",
        "blind_seconds_total", "silences", "alert_acknowledged", "alert_silenced", "sink_up",
        "last_delivery_timestamp_seconds", "pool_stale", "account_stale",
    }  # fmt: skip
    assert {f"marginwatch_{name}" for name in promised} <= names


@pytest.mark.integration
@pytest.mark.parametrize("desk", [Desk(), Desk(pools=[], feeds=[], outbox={}), Desk(many_pools(200))])
def test_promtool_accepts_it(desk: Desk) -> None:
    """Promtool reads it and its linter has nothing to say, for a bad day, an empty desk and a big one."""
    body = b"".join(exposition(desk, max_pools=100).render("")[1])
    checked = promtool("check", "metrics", feed=body)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_pool_and_its_legs() -> None:
    """A pool's figures carry venue, account and pool, a leg's its instrument and side too."""
    metrics = scrape(exposition(Desk()))
    hedge = {"venue": "binance", "account": "main", "pool": "binance/main/USDT"}
    assert value(metrics, "marginwatch_margin_ratio", **hedge) == 2200 / 4000
    assert value(metrics, "marginwatch_margin_balance", **hedge) == 4000
    assert value(metrics, "marginwatch_maintenance_margin", **hedge) == 2200
    assert value(metrics, "marginwatch_pool_info", **hedge, unit="USDT", basis="computed") == 1
    assert value(metrics, "marginwatch_model_error_ratio", **hedge) == 0.000_02
    assert value(metrics, "marginwatch_mark_price", **hedge, instrument="ETHUSDT", side="short") == 2500
    assert value(metrics, "marginwatch_liquidation_price", **hedge, side="long") == 2380
    assert value(metrics, "marginwatch_liquidation_distance_ratio", **hedge, side="short") == 400 / 2500


def test_unknown_is_not_safe() -> None:
    """An unknown ratio is NaN and counted, never zero; a ratio without bound is +Inf."""
    metrics = scrape(exposition(Desk()))
    assert isnan(value(metrics, "marginwatch_margin_ratio", pool="binance/main/NEWUSDT:long"))
    assert isnan(value(metrics, "marginwatch_liquidation_price", pool="binance/main/NEWUSDT:long"))
    assert value(metrics, "marginwatch_pools_unknown") == 1
    assert value(metrics, "marginwatch_margin_ratio", pool="binance/main/DOGEUSDT:short") == inf


@pytest.mark.parametrize("why", ["stale", "account_stale"])
def test_old_figures_stay_and_are_said_to_be_old(why: str) -> None:
    """A gauge beside each pool's figures says so, whether it was assessed in full or not; the figures do not change."""
    pools = bad_day()
    pools[4] = replace(pools[4], **{why: True})  # type: ignore[arg-type]
    for assessed in (None, {}):
        metrics = scrape(exposition(Desk(pools, assessed=assessed)))
        stale = {pool.pool: value(metrics, "marginwatch_pool_stale", pool=pool.pool) for pool in pools}
        assert stale == {pool.pool: float(pool is pools[4]) for pool in pools}
        assert value(metrics, "marginwatch_margin_ratio", pool=pools[4].pool) == 2200 / 4000
        assert value(metrics, "marginwatch_pools_stale") == 1


def test_an_account_without_pools_is_seen_to_be_unread() -> None:
    """No pool says so of it; one that was read is fresh until its user stream is not."""
    pools = [*bad_day(), replace(bad_day("quiet")[0], account="quiet", account_stale=True)]
    metrics = scrape(exposition(Desk(pools, unread=(("okx", "new"),))))
    accounts = {account: value(metrics, "marginwatch_account_stale", account=account) for account in ("main", "new")}
    assert accounts == {"main": 0, "new": 1}
    assert value(metrics, "marginwatch_account_stale", venue="binance", account="quiet") == 1


def test_what_does_not_exist_has_no_series() -> None:
    """A position without a liquidation price exports none, and no distance."""
    metrics = scrape(exposition(Desk()))
    healthy = "binance/main/SOLUSDT:long"
    assert values(metrics, "marginwatch_mark_price", pool=healthy) == [100]
    assert values(metrics, "marginwatch_liquidation_price", pool=healthy) == []
    assert values(metrics, "marginwatch_liquidation_distance_ratio", pool=healthy) == []


def test_an_adl_rank_is_exported_where_the_venue_tells_one() -> None:
    """A rank of zero is one; a position without has no series."""
    pools = bad_day()
    long, short = pools[4].legs
    pools[4] = replace(pools[4], legs=(replace(long, adl_rank=0), replace(short, adl_rank=5)))
    metrics = scrape(exposition(Desk(pools)))
    hedge = {"venue": "binance", "account": "main", "pool": "binance/main/USDT", "instrument": "ETHUSDT"}
    assert value(metrics, "marginwatch_adl_rank", **hedge, side="long") == 0
    assert value(metrics, "marginwatch_adl_rank", **hedge, side="short") == 5
    assert len(values(metrics, "marginwatch_adl_rank")) == 2


def test_columns_are_fresher_than_assessments() -> None:
    """A pool that was not assessed yet has its figures already; one that is gone from the columns is gone."""
    pools = bad_day()
    gone = pools.pop()
    metrics = scrape(exposition(Desk(pools, assessed={gone.pool: gone})))
    assert len(values(metrics, "marginwatch_margin_ratio")) == len(pools)
    assert values(metrics, "marginwatch_mark_price") == []


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_only_the_riskiest_one_by_one(accept: str) -> None:
    """Of many pools the riskiest are exported singly and the rest as a histogram of ratios."""
    count, most = 1000, 100
    metrics = scrape(exposition(Desk(many_pools(count)), max_pools=most), accept)
    ratios = sorted(values(metrics, "marginwatch_margin_ratio"))
    assert ratios == pytest.approx([(n + 0.5) / count for n in range(count - most, count)])
    buckets = [value(metrics, "marginwatch_pools_margin_ratio_bucket", le=repr(bound)) for bound in RATIO_BUCKETS]
    assert buckets == [min(count * bound, count - most) for bound in RATIO_BUCKETS]
    assert value(metrics, "marginwatch_pools_margin_ratio_gcount") == count - most
    assert value(metrics, "marginwatch_pools_margin_ratio_gsum") == pytest.approx(
        sum(n + 0.5 for n in range(count - most)) / count
    )
    assert value(metrics, "marginwatch_pools") == count


def test_a_pool_near_its_liquidation_is_exported_whatever_its_ratio() -> None:
    """Which pools are exported singly is decided by their distance and by what fires for them, too."""
    pools = [replace(each, distance=0.5) for each in many_pools(100)]
    pools[3] = replace(pools[3], distance=0.001)
    desk = Desk(pools, alerts=[alert(Severity.EMERGENCY, pools[7])])
    metrics = scrape(exposition(desk, max_pools=10))
    for shown in (3, 7, 99):
        assert value(metrics, "marginwatch_margin_ratio", pool=pools[shown].pool) == pools[shown].margin_ratio
    assert len(values(metrics, "marginwatch_margin_ratio")) == 10


def test_alerts_are_counted_by_what_they_are() -> None:
    """Two alerts with the same labels are one series of two, since a doubled series would spoil the whole scrape."""
    first, *_ = bad_day()
    blind = alert(Severity.CRITICAL, first, rule="stale_feed")
    desk = Desk(alerts=[alert(Severity.WARNING, first), blind, blind])
    metrics = scrape(exposition(desk))
    assert value(metrics, "marginwatch_alert_firing", rule="stale_feed", severity="critical", pool=first.pool) == 2
    assert value(metrics, "marginwatch_alert_firing", rule="margin_ratio", severity="warning") == 1


def test_how_people_handle_alerts() -> None:
    """What is acknowledged or silenced goes on firing and is counted beside; silences count even when none applies."""
    first, second, *_ = bad_day()
    seen = replace(alert(Severity.WARNING, first), acknowledged=Acknowledgement("anna", NOW))
    quiet = replace(alert(Severity.WARNING, second), silenced=a_silence())
    metrics = scrape(exposition(Desk(alerts=[seen, quiet], silent=[a_silence(), a_silence()])))
    assert len(values(metrics, "marginwatch_alert_firing")) == 2
    assert values(metrics, "marginwatch_alert_acknowledged") == [1]
    assert value(metrics, "marginwatch_alert_acknowledged", pool=first.pool, severity="warning") == 1
    assert values(metrics, "marginwatch_alert_silenced") == [1]
    assert value(metrics, "marginwatch_alert_silenced", pool=second.pool) == 1
    assert value(metrics, "marginwatch_silences") == 2


def test_sinks() -> None:
    """Whether each takes what it is given, and when it last did; the state file takes part."""
    metrics = scrape(exposition(Desk()))
    up = {sink: value(metrics, "marginwatch_sink_up", sink=sink) for sink in ("console", "redis", "state")}
    assert up == {"console": 1, "redis": 0, "state": 1}
    assert value(metrics, "marginwatch_last_delivery_timestamp_seconds", sink="redis") == NOW - 3
    assert values(metrics, "marginwatch_last_delivery_timestamp_seconds", sink="console") == []


def test_blind_time() -> None:
    """Seconds by account, as counted."""
    assert value(scrape(exposition(Desk())), "marginwatch_blind_seconds_total", account="main") == 12.5


def test_streams() -> None:
    """A stream has an age, NaN before its first data, and one state out of four; of two by one name the worse shows."""
    worse = FeedHealth("binance", "", "mark", FeedState.STALE, 7.0)
    metrics = scrape(exposition(Desk(feeds=[*Desk().feeds, worse])))
    assert isnan(value(metrics, "marginwatch_feed_age_seconds", account="main", stream="user"))
    assert value(metrics, "marginwatch_feed_age_seconds", account="", stream="mark") == 7
    assert value(metrics, "marginwatch_feed_state", stream="mark", state="stale") == 1
    assert sum(values(metrics, "marginwatch_feed_state", stream="mark")) == 1


def test_ticks() -> None:
    """The histogram of tick latencies is cumulative and whole."""
    telemetry = busy_telemetry()
    metrics = scrape(exposition(Desk(), telemetry), OPENMETRICS)
    assert value(metrics, "marginwatch_ticks_total") == 1000
    assert value(metrics, "marginwatch_tick_seconds_bucket", le="+Inf") == 1000
    assert value(metrics, "marginwatch_tick_seconds_bucket", le="5e-05") == 301
    assert value(metrics, "marginwatch_tick_seconds_sum") == telemetry.tick_seconds.total


def test_awkward_names_survive() -> None:
    """Quotes, backslashes and line breaks in a label come back as they were."""
    telemetry = Telemetry()
    telemetry.venue_errors.add("binance", 'say "no"\\\n')
    metrics = scrape(exposition(Desk(), telemetry))
    assert value(metrics, "marginwatch_venue_errors_total", code='say "no"\\\n') == 1


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_pieces_are_small_and_make_the_whole(accept: str) -> None:
    """No piece has more than a slice of samples, and each family's head stands once."""
    _, pieces = exposition(Desk(many_pools(300)), max_pools=300).render(accept)
    parts = list(pieces)
    assert max(sum(not line.startswith(b"#") for line in part.splitlines()) for part in parts) <= SLICE
    assert b"".join(parts).count(b"# TYPE marginwatch_margin_ratio ") == 1


def test_it_registers_like_any_collector() -> None:
    """The collector works in a registry of `prometheus_client`, and says there what it says in pieces."""
    collector = exposition(Desk())
    registry = CollectorRegistry()
    registry.register(collector)

    def ours(body: bytes) -> list[bytes]:
        return [line for line in body.splitlines() if b"marginwatch_" in line]

    assert ours(generate_latest(registry)) == ours(b"".join(collector.render("")[1]))
