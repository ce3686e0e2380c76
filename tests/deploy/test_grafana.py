"""The dashboards: well formed, complete in units and thresholds, and every query brings data from a real Prometheus."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from math import isnan, nan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import yaml

from alerts.alert import Acknowledgement, Severity
from alerts.sinks.prometheus import Build, Exposition
from monitor.clock import SystemClock
from monitor.commands.stage import stage
from monitor.credential import Secret
from monitor.http import HttpConfig, HttpServer
from monitor.model.assessment import PoolAssessment
from monitor.telemetry import Telemetry
from tests.support.daemon import daemon
from tests.support.desk import Desk, alert, bad_day, busy_telemetry
from tests.support.pools import a_leg, a_pool
from tests.support.prometheus import PrometheusServer, run_prometheus
from tests.support.venue_server import Venue, venue_in_process

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
RULES = GRAFANA.parent / "prometheus" / "marginwatch.rules.yml"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SUBSTITUTES = {"$__rate_interval": "3s", "$__range": "1m", "$venue": ".*", "$account": ".*", "$pool": ".*"}
NONE = r" or (vector\(0\)|0 \* max\(marginwatch_ready\)|label_replace\(0 \* max\(marginwatch_ready\), .*\))$"
"""What a query shows where there is nothing."""
DEMO_HAS_NONE = {"Acknowledged", "Not seen", "Faults"}
"""Panels about what does not happen in the demo, where they show that."""
RUNGS = {"margin_ratio": "margin_ratio", "liquidation_distance_ratio": "distance", "model_error_ratio": "model_error"}
"""Which rungs belong beside which figure."""
SHOWN_S = 120.0
"""As if the dashboard showed the last two minutes."""

Json = dict[str, Any]


def script() -> ModuleType:
    """The script that writes the dashboards."""
    spec = spec_from_file_location("dashboards", GRAFANA / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dashboard(path: Path) -> Json:
    """One dashboard."""
    loaded: Json = json.loads(path.read_text())
    return loaded


def panels(path: Path) -> list[Json]:
    """All its panels but the rows."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def expressions(path: Path) -> Iterator[tuple[str, str]]:
    """Each panel's title and query, and each annotation's."""
    for panel in panels(path):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in dashboard(path)["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def substituted(expression: str, **chosen: str) -> str:
    """The query with every variable replaced, as Grafana does with "All" chosen, or these."""
    for variable, value in (SUBSTITUTES | {f"${name}": value for name, value in chosen.items()}).items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"unknown variable in {expression}"
    return expression


@pytest_asyncio.fixture(params=["desk", "demo"], scope="module", loop_scope="module")
async def prometheus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PrometheusServer]:
    """Prometheus that scrapes a desk on a bad day over our server, or the daemon of the running demo."""
    directory = tmp_path_factory.mktemp(request.param)
    source = desk_on_a_bad_day() if request.param == "desk" else running_demo(directory)
    async with source as url, run_prometheus(directory, url.removeprefix("http://"), rules=(RULES,)) as running:
        await running.until_data("increase(marginwatch_ticks_total[3s]) > 0")
        yield running


def eventful() -> Desk:
    """A desk with something of everything: also an alert that is acknowledged, and one about the monitor itself."""
    pools = bad_day()
    seen, unseen = alert(Severity.CRITICAL, pools[0]), alert(Severity.EMERGENCY, pools[1])
    own = replace(unseen, rule="sink_failure", venue=None, account=None, pool=None)
    desk = Desk(pools, alerts=[replace(seen, acknowledged=Acknowledgement("ann", seen.at)), unseen, own])
    desk.silence("binance/main", 600.0, "ann", "moving")
    return desk


@asynccontextmanager
async def desk_on_a_bad_day() -> AsyncIterator[str]:
    """The address of a server over such a desk, whose ticks go on."""
    async with serving(eventful()) as url:
        yield url


@asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[str]:
    """The address of a server over this desk."""
    telemetry = busy_telemetry()
    metrics = Exposition(desk, telemetry, desk, Build("0.1.0", "3.11", "compiled"))
    server = HttpServer(HttpConfig(listen="127.0.0.1:0"), desk, desk, metrics, SystemClock(), desk, Secret("token"))
    await server.start()
    ticking = asyncio.create_task(tick(telemetry))
    try:
        yield server.urls[0]
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await server.stop()


@asynccontextmanager
async def running_demo(directory: Path) -> AsyncIterator[str]:
    """The address of the daemon that watches the demo's exchange, both processes of their own."""
    arguments = ["--scenario", "demo", "--seed", "1", "--tick", "0.1", "--max-seconds", "90"]
    async with stage(directory, arguments) as on_stage:
        yield on_stage.http_url


async def tick(telemetry: Telemetry) -> None:
    """A hundred ticks a second, until cancelled."""
    while True:
        telemetry.ticks += 1
        telemetry.tick_seconds.observe(0.000_08)
        await asyncio.sleep(0.01)


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_query_brings_data(
    path: Path, prometheus: PrometheusServer, request: pytest.FixtureRequest
) -> None:
    """Each query of each panel and annotation brings, over the time shown, some figure that is a number.

    By itself, without what it shows instead where there is nothing; the demo has not everything that can be.
    """
    is_demo = "demo" in request.node.callspec.id
    for title, expression in expressions(path):
        asked = expression if is_demo and title in DEMO_HAS_NONE else without_none(expression)
        await until_figures(prometheus, title, substituted(asked))


def without_none(expression: str) -> str:
    """The query without its last part, if that says what to show where there is nothing."""
    return re.sub(NONE, "", expression)


def test_what_is_shown_where_there_is_nothing_is_told_apart() -> None:
    """Nothing else is cut off, and nothing of that kind is left in the dashboards."""
    assert without_none("sum(a or b) or vector(0)") == "sum(a or b)"
    assert without_none('sum(a) or label_replace(0 * max(marginwatch_ready), "b", "c", "", "")') == "sum(a)"
    assert without_none("max(a) or b") == "max(a) or b"
    found = [without_none(expression) for path in DASHBOARDS for _, expression in expressions(path)]
    assert not [expression for expression in found if re.search(r"vector\(|or 0 \*", expression)]
    titles = {title for path in DASHBOARDS for title, _ in expressions(path)}
    assert titles >= DEMO_HAS_NONE


def test_every_metric_of_a_query_is_exported() -> None:
    """No name is misspelt: each is that of a sample of a desk with something of everything, or Prometheus's own."""
    desk = eventful()
    exposition = Exposition(desk, busy_telemetry(), desk, Build("0.1.0", "3.11", "compiled"))
    lines = b"".join(exposition.render("")[1]).decode().splitlines()
    exported = {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")} | {"up"}
    for path in DASHBOARDS:
        for title, expression in expressions(path):
            bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
            names = set(re.findall(r"\b(?:marginwatch_\w+|process_\w+|up)\b", bare))
            assert names, title
            assert names <= exported, title
        for variable in dashboard(path)["templating"]["list"]:
            if variable["type"] == "query":
                assert set(re.findall(r"marginwatch_\w+", variable["query"]["query"])) <= exported


SHARED = ("binance", "main")


def single(title: str) -> str:
    """The query of a panel of the overview that shows one figure."""
    (found,) = [
        panel["targets"][0]["expr"]
        for panel in panels(GRAFANA / "dashboards" / "overview.json")
        if (panel["type"], panel["title"]) == ("stat", title)
    ]
    return str(found)


async def legends(prometheus: PrometheusServer, target: Json) -> list[str]:
    """What stands beside each line that a query draws."""
    found = await prometheus.query(substituted(target["expr"]))
    return [
        re.sub(r"\{\{(\w+)\}\}", lambda label, each=each: each["metric"].get(label[1], ""), target["legendFormat"])
        for each in found
    ]


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_a_pair_of_monitors_shows_everything_once(tmp_path: Path) -> None:
    """What both see of one account is one thing; what one sees of itself is its own. No line is drawn twice."""
    desks = [eventful(), eventful()]
    for desk, speaks in zip(desks, (True, False), strict=True):
        desk.shared = {SHARED: speaks}
    many = [*bad_day(), *bad_day("other")]
    desks[1].pools = many

    async def figure(title: str, **chosen: str) -> float:
        (found,) = await prometheus.until_data(substituted(single(title), **chosen))
        return float(found["value"][1])

    async with serving(desks[0]) as first, serving(desks[1]) as second:
        targets = [url.removeprefix("http://") for url in (first, second)]
        async with run_prometheus(tmp_path, *targets) as prometheus:
            await prometheus.until_data("count(rate(marginwatch_ticks_total[3s]) > 0) == 2")
            assert await figure("Alerts firing") == 2 + 2
            assert await figure("Acknowledged") == 1
            assert await figure("Silences") == 1
            assert await figure("Not seen") == 2
            assert await figure("Monitors") == 2
            alone = {"pool": desks[0].alerts[0].pool or ""}
            assert await figure("Alerts firing", **alone) == 1 + 2
            assert await figure("Not seen", **alone) == 0
            for path in DASHBOARDS:
                for panel in panels(path):
                    for target in panel["targets"]:
                        if target["legendFormat"] != "__auto":
                            drawn = await legends(prometheus, target)
                            assert len(drawn) == len(set(drawn)), f"{panel['title']}: {drawn}"
            (annotation,) = dashboard(DASHBOARDS[0])["annotations"]["list"]
            assert len(await prometheus.query(substituted(annotation["expr"], **alone))) == 2


def seen_by_two() -> tuple[Desk, Desk]:
    """Two desks whose accounts are named after how well they see them."""

    def pool(account: str, ratio: float, scope: str = "USDT", **age: bool) -> PoolAssessment:
        return a_pool(ratio, scope, account, legs=(a_leg(distance=0.2),), distance=0.2, **age)

    both = [
        pool("fresh", 0.2),
        pool("blind", 0.2, stale=True),
        pool("silent", 0.2, account_stale=True),
        pool("notice", 0.2, "ETHUSDT:long", stale=True),
        pool("notice", 0.6),
        pool("danger", 0.9, stale=True),
        pool("unknown", nan, stale=True),
    ]
    unread = (("binance", "unread"),)
    first = Desk([*both, pool("half", 0.2, stale=True)], unread=(*unread, ("binance", "late")))
    second = Desk([*both, pool("half", 0.2), pool("late", 0.2)], unread=unread)
    return first, second


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_seen_is_never_green(tmp_path: Path) -> None:
    """Old figures below the rungs cannot be seen; a rung that they reached stays. One monitor that sees is enough."""
    levels = {number: word for number, (word, _) in script().LEVELS.items()}
    expected = {
        "fresh": ("below the rungs", 0),
        "blind": ("cannot be seen", 1),
        "silent": ("cannot be seen", 1),
        "notice": ("notice", 1),
        "danger": ("critical", 1),
        "unknown": ("unknown", 1),
        "unread": ("cannot be seen", 1),
        "half": ("below the rungs", 0),
        "late": ("below the rungs", 0),
        "fresh|blind": ("cannot be seen", 1),
        "fresh|unread": ("cannot be seen", 1),
        ".*": ("unknown", 6),
    }
    first, second = seen_by_two()
    async with serving(first) as one, serving(second) as other:
        targets = [url.removeprefix("http://") for url in (one, other)]
        async with run_prometheus(tmp_path, *targets) as prometheus:

            async def shown(account: str) -> tuple[str, int]:
                figures = [
                    (await prometheus.query(substituted(single(title), account=account)))[0]["value"][1]
                    for title in ("Worst rung reached", "Not seen")
                ]
                return levels[int(figures[0])], int(figures[1])

            async def rows(title: str, name: str) -> dict[str, float]:
                (panel,) = [
                    each
                    for each in panels(GRAFANA / "dashboards" / f"{name}.json")
                    if each["title"] == title and each["type"] == "table"
                ]
                found = await prometheus.query(substituted(panel["targets"][-1]["expr"]))
                return {each["metric"]["pool"].removeprefix("binance/"): float(each["value"][1]) for each in found}

            await prometheus.until_data("count(marginwatch_ready) == 2")
            assert {account: await shown(account) for account in expected} == expected
            old = {"blind/USDT", "silent/USDT", "notice/ETHUSDT:long", "danger/USDT", "unknown/USDT"}
            ages = dict.fromkeys(old, 1.0) | dict.fromkeys(("fresh/USDT", "notice/USDT", "half/USDT", "late/USDT"), 0.0)
            assert await rows("Pools, the riskiest first", "overview") == ages
            assert await rows("Pools", "account") == ages
            assert await rows("Positions", "account") == ages
            for title, name in LINES_WITH_GAPS.items():
                (panel,) = [each for each in panels(GRAFANA / "dashboards" / f"{name}.json") if each["title"] == title]
                drawn = await prometheus.query(substituted(panel["targets"][0]["expr"]))
                pools = {each["metric"]["pool"].removeprefix("binance/") for each in drawn}
                assert pools == ages.keys() - old, title


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_a_daemon_whose_marks_stop(tmp_path: Path) -> None:
    """What was below the rungs cannot be seen any more, the figure itself stays, and the rules about sight speak."""
    levels = {number: word for number, (word, _) in script().LEVELS.items()}
    asked = {title: substituted(single(title)) for title in ("Worst rung reached", "Not seen")}

    async def repeat(venue: Venue) -> None:
        while True:
            await venue.marks(BTCUSDT="70000")
            await asyncio.sleep(0.2)

    async with venue_in_process() as venue, daemon(venue, tmp_path / "daemon", STALE_SOON) as watching:
        await venue.marks(BTCUSDT="70000")
        await venue.act("main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="9000")
        repeating = asyncio.create_task(repeat(venue))
        await watching.start()
        async with run_prometheus(tmp_path, f"127.0.0.1:{watching.port}", rules=(RULES,)) as prometheus:
            await prometheus.until_data(f"({asked['Worst rung reached']}) == 0 and on () ({asked['Not seen']}) == 0")
            (before,) = await prometheus.query("marginwatch_margin_ratio")
            repeating.cancel()
            (found,) = await prometheus.until_data(f"({asked['Worst rung reached']}) > 0")
            assert levels[int(found["value"][1])] == "cannot be seen"
            assert [each["value"][1] for each in await prometheus.query(asked["Not seen"])] == ["1"]
            (after,) = await prometheus.query("marginwatch_margin_ratio")
            assert after["value"][1] == before["value"][1]
            for rule in ("MarginwatchFeedStale", "MarginwatchNotReady"):
                await prometheus.until_data(f'ALERTS{{alertname="{rule}"}}')


STALE_SOON = "[alerts.stale_feed]\nmark_s = 2\n"
LINES_WITH_GAPS = {
    "Margin ratio by pool, with the configured rungs": "account",
    "Margin balance against maintenance margin": "account",
    "Distance to liquidation by position, with the configured rungs": "account",
    "Mark price against liquidation price": "account",
}
"""Lines that would go on, flat, where nothing is seen any more."""


def test_nothing_is_green_by_default() -> None:
    """What Prometheus has no figure of has the colour of no threshold: that is not the colour of good news."""
    for path in DASHBOARDS:
        for panel in panels(path):
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["color"] != "green", panel["title"]


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_monitors_of_accounts_of_their_own_are_added_up(tmp_path: Path) -> None:
    """Nobody shares anything: two silences are two, and so are the large books."""
    desks = [eventful(), eventful()]
    for desk in desks:
        desk.shared = {}
    async with serving(desks[0]) as first, serving(desks[1]) as second:
        targets = [url.removeprefix("http://") for url in (first, second)]
        async with run_prometheus(tmp_path, *targets) as prometheus:
            (silences,) = await prometheus.until_data(f"({single('Silences')}) == 2")
            assert silences["value"][1] == "2"


async def until_figures(prometheus: PrometheusServer, title: str, expression: str, deadline_s: float = 45.0) -> None:
    """Ask for a range, as a panel does, until there is something to show."""
    ends = time.monotonic() + deadline_s
    while True:
        now = time.time()
        asked = {"query": expression, "start": f"{now - SHOWN_S}", "end": f"{now}", "step": "1"}
        data = await prometheus.get("query_range", **asked)
        if any(not isnan(float(value)) for series in data["result"] for _, value in series["values"]):
            return
        assert time.monotonic() < ends, f"{title}: no figures from {expression}"
        await asyncio.sleep(0.2)


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_variable_has_values(path: Path, prometheus: PrometheusServer) -> None:
    """Each variable offers something to choose."""
    for variable in dashboard(path)["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            values = await prometheus.get(f"label/{asked[2]}/values", **{"match[]": substituted(asked[1])})
            assert values, variable["name"]


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_the_rules_work_on_the_same_metrics(prometheus: PrometheusServer) -> None:
    """Each rule was evaluated without a fault, and the one about a margin that is in danger is about to fire."""
    await prometheus.until_data('ALERTS{alertname="MarginwatchMarginWarning", pool!=""}', deadline_s=60)
    rules = [rule for group in (await prometheus.get("rules"))["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
async def test_levels(tmp_path: Path) -> None:
    """The worst configured rung that a pool, or a position, has reached; what is unknown is not below the rungs."""
    level, desk = script().level, Desk()
    names = {number: word for number, (word, _) in script().LEVELS.items()}
    async with serving(desk) as url, run_prometheus(tmp_path, url.removeprefix("http://")) as prometheus:

        async def found(metric: str, rule: str, beyond: str, *labels: str) -> dict[str, str]:
            result = await prometheus.until_data(level(metric, rule, beyond))
            return {
                " ".join(each["metric"][label] for label in labels): names[int(float(each["value"][1]))]
                for each in result
            }

        assert await found("marginwatch_margin_ratio", "margin_ratio", ">=", "pool") == {
            "binance/main/BTCUSDT:long": "critical",
            "binance/main/DOGEUSDT:short": "emergency",
            "binance/main/NEWUSDT:long": "unknown",
            "binance/main/SOLUSDT:long": "below the rungs",
            "binance/main/USDT": "notice",
        }
        assert await found("marginwatch_liquidation_distance_ratio", "distance", "<=", "instrument", "side") == {
            "BTCUSDT long": "emergency",
            "DOGEUSDT short": "emergency",
            "NEWUSDT long": "unknown",
            "ETHUSDT long": "warning",
            "ETHUSDT short": "below the rungs",
        }


def test_the_files_are_what_the_script_writes() -> None:
    """Nobody changed one without the other; run deploy/grafana/dashboards.py."""
    assert {path.name: path.read_text() for path in DASHBOARDS} == script().made()


def test_the_dashboards() -> None:
    """Risk, one account, the monitor; the first is what compose.yaml makes Grafana's home."""
    assert {path.stem for path in DASHBOARDS} == {"overview", "account", "monitor"}
    compose = (GRAFANA.parent / "compose.yaml").read_text()
    assert "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /etc/marginwatch/dashboards/overview.json" in compose


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_are_complete(path: Path) -> None:
    """Every panel has an own id, a title, a description, a unit, thresholds, and asks the chosen data source."""
    ids = [panel["id"] for panel in dashboard(path)["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels(path):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert defaults["thresholds"]["steps"][0]["value"] is None, panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)), panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    """The grid has 24 columns and one panel at each place."""
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard(path)["panels"]]
    for title, at in places:
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart or above, f"{one} over {other}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_rungs_are_the_configured_ones(path: Path) -> None:
    """No colour changes at a ratio written into a dashboard: a panel of ratios draws the configured rungs."""
    for panel in panels(path):
        defaults = panel["fieldConfig"]["defaults"]
        if defaults["unit"] == "percentunit":
            assert len(defaults["thresholds"]["steps"]) == 1, panel["title"]
    ratios = {target["expr"] for panel in panels(path) for target in panel["targets"] if panel["type"] == "timeseries"}
    for metric, rule in RUNGS.items():
        drawn = rf"\w+ by \([\w, ]+\) \(marginwatch_{metric}\{{[^}}]+\}}\)( unless .*)?$"
        if any(re.match(drawn, each) for each in ratios):
            assert f'max by (severity) (marginwatch_rung_ratio{{rule="{rule}"}})' in ratios


def test_every_kind_of_rung_is_drawn_somewhere() -> None:
    """The ladders and the tolerance of the model."""
    asked = {expression for path in DASHBOARDS for _, expression in expressions(path)}
    for rule in RUNGS.values():
        assert f'max by (severity) (marginwatch_rung_ratio{{rule="{rule}"}})' in asked


def test_links_between_dashboards() -> None:
    """A click on a pool leads to a dashboard that is there."""
    uids = {dashboard(path)["uid"] for path in DASHBOARDS}
    linked = set(re.findall(r"/d/([\w-]+)\?", (GRAFANA / "dashboards" / "overview.json").read_text()))
    assert linked == {"marginwatch-account"}
    assert linked <= uids


def test_identity() -> None:
    """Uids are unique, so that no dashboard replaces another."""
    uids = [dashboard(path)["uid"] for path in DASHBOARDS]
    assert len(uids) == len(set(uids))


def test_provisioning() -> None:
    """Grafana is told one Prometheus, and to read the dashboards where compose.yaml puts them."""
    sources = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert [source["url"] for source in sources["datasources"]] == ["http://prometheus:9090"]
    providers = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "marginwatch.yaml").read_text())
    assert [provider["options"]["path"] for provider in providers["providers"]] == ["/etc/marginwatch/dashboards"]
