"""The configuration of Alertmanager is one that it takes, and inhibits what it should and nothing else."""

from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.alertmanager import Alertmanager
from tests.support.server_process import until_answer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"

pytestmark = pytest.mark.integration

MARGIN = {"alertname": "MarginwatchMarginCritical", "severity": "critical", "pool": "binance/main/USDT"}
CASES = {
    "a lower rung of the same pool": (MARGIN | {"severity": "emergency"}, MARGIN | {"severity": "warning"}, True),
    "a lower rung of another pool": (MARGIN, MARGIN | {"severity": "notice", "pool": "binance/main/USDC"}, False),
    "a lower rung of a position's distance": (
        MARGIN | {"alertname": "MarginwatchDistanceEmergency", "severity": "emergency", "instrument": "ETHUSDT"},
        MARGIN | {"alertname": "MarginwatchDistanceCritical", "instrument": "ETHUSDT"},
        True,
    ),
    "a higher rung": (MARGIN, MARGIN | {"severity": "emergency"}, False),
    "a stale stream without a monitor": (
        {"alertname": "MarginwatchMissing", "severity": "emergency"},
        {"alertname": "MarginwatchFeedStale", "severity": "critical"},
        True,
    ),
    "what a monitor says while Prometheus cannot reach it": (
        {"alertname": "MarginwatchMissing", "severity": "emergency"},
        {"alertname": "MarginwatchMarginRatio", "severity": "critical", "rule": "margin_ratio"},
        False,
    ),
}


@pytest.mark.parametrize(("source", "target", "inhibited"), CASES.values(), ids=CASES)
async def test_inhibitions(source: dict[str, str], target: dict[str, str], inhibited: bool, tmp_path: Path) -> None:
    """Whether the second alert is kept back while the first fires."""
    with Alertmanager(tmp_path, config=CONFIG) as server:
        async with aiohttp.ClientSession() as session:
            posted = [{"labels": source}, {"labels": target}]
            async with session.post(f"{server.url}/api/v2/alerts", json=posted) as answer:
                assert answer.status == 200, await answer.text()

        async def as_expected() -> bool:
            states = {alert["labels"]["severity"]: alert["status"] for alert in await server.alerts()}
            looked_at = all(status["state"] != "unprocessed" for status in states.values())
            return looked_at and bool(states[target["severity"]]["inhibitedBy"]) is inhibited

        await until_answer(as_expected, "both are looked at, and the second is inhibited or not")


def test_the_containers_are_wired() -> None:
    """The names in the files of Prometheus and marginwatch, behind their "#", are those of compose.yaml."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    assert services["alertmanager"]["profiles"] == ["alertmanager"]
    for file, address in (
        (
            "prometheus/prometheus.yml",
            '#  alertmanagers: [{static_configs: [{targets: ["alertmanager:9093"]}]}]',
        ),
        ("compose/marginwatch.toml", '#url = "http://alertmanager:9093"'),
    ):
        assert address in (ROOT / "deploy" / file).read_text().splitlines()
    shared = set(services["alertmanager"]["networks"]) & set(services["marginwatch"]["networks"])
    assert shared & set(services["prometheus"]["networks"])
