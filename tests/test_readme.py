"""README is tried: what it shows can be used as it stands, and what it links to is there."""

import re
from pathlib import Path

import orjson
import pytest
import yaml

from alerts.config import AlertsConfig
from alerts.sinks._entities import Home, Subject, discovery
from monitor.accountfile import read_account_file
from monitor.assess import assess_account
from monitor.config import parse
from monitor.document import read_document

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def block(language: str, start: str) -> str:
    """The one code block of a language that holds `start`."""
    (found,) = [text for name, text in BLOCKS if name == language and start in text]
    return found


def anchors(text: str) -> set[str]:
    """What a heading is linked by."""
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    """Every file and every section that README links to exists."""
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert len(targets) > 20
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors(README), target
        elif not target.startswith("https://"):
            assert (ROOT / target.partition("#")[0]).exists(), target


def test_every_venue_and_mode_names_its_rules() -> None:
    """Each row of the table of venues links to where its rules come from."""
    table = README[README.index("| `venue` | mode |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) > 10
    for row in table:
        assert "](https://" in row.split(" | ")[-1], row


def test_runbooks_are_sections() -> None:
    """Every runbook link of the Prometheus rules is a section here."""
    rules = (ROOT / "deploy" / "prometheus" / "marginwatch.rules.yml").read_text(encoding="utf-8")
    links = set(re.findall(r"README\.md#([\w-]+)", rules))
    assert links
    assert links <= anchors(README)


def test_configurations_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest configuration, and the keys that most people change, are accepted together."""
    for name in ("BINANCE_KEY", "BINANCE_SECRET", "MQTT_PASSWORD"):
        monkeypatch.setenv(name, "x")
    config = parse(block("toml", "[[account]]") + block("toml", "[alerts.distance]"), "README.md")
    assert config.alerts == AlertsConfig()
    assert config.sinks.redis is not None
    assert config.sinks.mqtt is not None


def test_the_recipe_for_home_assistant_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its section is accepted, its automations are YAML and name entities as Home Assistant derives them."""
    for name in ("BINANCE_KEY", "BINANCE_SECRET", "HOMEASSISTANT_MQTT_PASSWORD"):
        monkeypatch.setenv(name, "x")
    config = parse(block("toml", "[[account]]") + block("toml", "[sinks.homeassistant]"), "README.md")
    assert config.sinks.homeassistant is not None
    home = Home(config.sinks.homeassistant.prefix, "homeassistant", "status", 30, "1")
    owner = Subject("binance", "main")
    device = discovery(home, owner, [Subject("binance", "main", "USDT")], {}, {})
    entities = {
        each["p"] + "." + f"{device['dev']['name']} {each['name']}".lower().replace(" ", "_")
        for each in device["cmps"].values()
    }
    text = block("yaml", "triggers:")
    automations = yaml.safe_load(text)
    assert [set(each) >= {"alias", "triggers", "actions"} for each in automations] == [True, True]
    named = set(re.findall(r"binary_sensor\.\w+", text))
    assert len(named) == 2
    assert named <= entities


def test_push_routes_can_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The recipe's one route, and the routes with a cap and quiet hours."""
    monkeypatch.setenv("BINANCE_KEY", "x")
    monkeypatch.setenv("BINANCE_SECRET", "x")
    for name in ("PUSH_PHONE", "PUSH_ANA"):
        monkeypatch.setenv(name, "ntfys://ntfy.sh/a-topic-that-nobody-guesses")
    (tmp_path / "on_call").write_text("ntfys://ntfy.sh/another-topic")
    accounts = block("toml", "[[account]]")
    several = block("toml", "quiet_hours").replace(
        "/run/credentials/marginwatch.service/push_on_call", str(tmp_path / "on_call")
    )
    for text in (block("toml", '"env:PUSH_PHONE"'), several):
        assert parse(accounts + text, "README.md").sinks.push is not None


def test_the_calculator_s_example_computes() -> None:
    """The document is accepted and has a liquidation price below its mark."""
    account, marks, rules = read_document(block("json", '"collateral"').encode(), "README.md")
    (leg,) = [leg for pool in assess_account(account, marks, rules) for leg in pool.legs]
    assert leg.liquidation_price == pytest.approx((30_000 - 1_500) / 0.5 / (1 - 0.004))


def test_the_replay_s_account_can_be_used(tmp_path: Path) -> None:
    """long.toml is an account file."""
    path = tmp_path / "long.toml"
    path.write_text(block("toml", "# long.toml"), encoding="utf-8")
    assert len(read_account_file(path).account.positions) == 1


def test_the_message_has_the_fields_of_version_1() -> None:
    """The example message has exactly the fields of a real one."""
    message = orjson.loads(block("json", '"raised_at"'))
    assert set(message) == {
        "v", "id", "key", "rule", "severity", "state", "reason", "venue", "account", "pool", "value", "threshold",
        "margin_ratio", "margin_balance", "maintenance_margin", "unit", "legs", "text", "advice", "raised_at",
        "mark_at", "host",
    }  # fmt: skip
    (leg,) = message["legs"]
    assert set(leg) == {"instrument", "side", "size", "mark_price", "liquidation_price", "distance"}
    assert message["margin_ratio"] == pytest.approx(message["maintenance_margin"] / message["margin_balance"], rel=1e-3)


def test_every_metric_named_is_exported() -> None:
    """The metrics in README's table are the exporter's."""
    source = (ROOT / "alerts" / "sinks" / "prometheus.py").read_text(encoding="utf-8")
    table = README.partition("| metric |")[2].partition("\n\n")[0]
    names = re.findall(r"`(?:marginwatch)?_([a-z_]+?)(?:_total)?`", table)
    assert len(names) > 10
    for name in names:
        assert f'"{name}"' in source, name
