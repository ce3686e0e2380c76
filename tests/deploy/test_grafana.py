"""The dashboards: well formed, complete in units and thresholds, and every query brings data from a real Prometheus."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from alerts.alert import Severity
from alerts.sinks.prometheus import Build, Exposition
from monitor.clock import SystemClock
from monitor.commands.stage import stage
from monitor.credential import Secret
from monitor.http import HttpConfig, HttpServer
from monitor.telemetry import Telemetry
from tests.support.desk import Desk, alert, bad_day, busy_telemetry
from tests.support.prometheus import PrometheusServer, run_prometheus

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SUBSTITUTES = {"$__rate_interval": "3s", "$venue": ".*", "$account": ".*", "$pool": ".*"}
MARGIN_RUNGS = [0.5, 0.7, 0.85, 0.95]
DISTANCE_RUNGS = [0.01, 0.025, 0.05, 0.1]

Json = dict[str, Any]


def dashboard(path: Path) -> Json:
    """One dashboard."""
    loaded: Json = json.loads(path.read_text())
    return loaded


def panels(path: Path) -> list[Json]:
    """All its panels but the rows."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def expressions(path: Path) -> Iterator[tuple[str, str]]:
    """Each panel's title and query."""
    for panel in panels(path):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def substituted(expression: str) -> str:
    """The query with every variable replaced, as Grafana does with "All" chosen."""
    for variable, value in SUBSTITUTES.items():
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
    async with source as url, run_prometheus(directory, url.removeprefix("http://")) as running:
        await running.until_data("increase(marginwatch_ticks_total[3s]) > 0")
        yield running


@asynccontextmanager
async def desk_on_a_bad_day() -> AsyncIterator[str]:
    """The address of a server over a desk with something of everything, whose ticks go on."""
    pools = bad_day()
    desk = Desk(pools, alerts=[alert(Severity.CRITICAL, pools[0])])
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
async def test_every_query_brings_data(path: Path, prometheus: PrometheusServer) -> None:
    """Each query of each panel returns at least one series, and some figure that is a number."""
    for title, expression in expressions(path):
        result = await prometheus.until_data(substituted(expression), deadline_s=30)
        assert any(not isnan(float(series["value"][1])) for series in result), f"{title}: only NaN from {expression}"


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_variable_has_values(path: Path, prometheus: PrometheusServer) -> None:
    """Each variable offers something to choose; each annotation query is one that Prometheus takes."""
    for variable in dashboard(path)["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            values = await prometheus.get(f"label/{asked[2]}/values", **{"match[]": substituted(asked[1])})
            assert values, variable["name"]
    for annotation in dashboard(path)["annotations"]["list"]:
        if "expr" in annotation:
            await prometheus.query(substituted(annotation["expr"]))


def test_there_is_an_overview() -> None:
    """The first dashboard is there, under the name that compose.yaml makes Grafana's home."""
    assert "overview" in {path.stem for path in DASHBOARDS}


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


def test_thresholds_stand_at_the_rungs() -> None:
    """Colours of margin ratio and distance change at the default rungs."""
    steps = {
        panel["title"]: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for panel in panels(GRAFANA / "dashboards" / "overview.json")
    }
    assert steps["Highest margin ratio"] == MARGIN_RUNGS
    assert steps["Margin ratio by pool, with the configured rungs"] == MARGIN_RUNGS
    assert steps["Closest to liquidation"] == DISTANCE_RUNGS
    assert {(rule, rung) for (rule, _), rung in Desk().rungs().items()} >= {
        *(("margin_ratio", rung) for rung in MARGIN_RUNGS),
        *(("distance", rung) for rung in DISTANCE_RUNGS),
    }


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
