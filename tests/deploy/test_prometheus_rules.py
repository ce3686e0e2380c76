"""The Prometheus files are valid, every rule is unit-tested, and every rule says a number and where to read on."""

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.http import HttpConfig
from tests.support.prometheus import promtool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "marginwatch.rules.yml"
UNIT_TESTS = Path(__file__).parent / "marginwatch.rules.test.yml"
DOCS = '{{ with index $externalLabels "marginwatch_docs" }}{{ . }}/{{ end }}'
SEVERITIES = {"notice", "warning", "critical", "emergency"}


def rules() -> list[dict[str, Any]]:
    """All alerting rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.integration
def test_promtool_accepts_the_rules() -> None:
    """Promtool checks the rules and, with lint warnings fatal, finds nothing."""
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.integration
def test_promtool_accepts_the_configuration() -> None:
    """Promtool checks the scrape configuration, with the rule file it names."""
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.integration
def test_the_recipe_of_the_readme(tmp_path: Path) -> None:
    """What README says to add to a configuration is one, beside a copy of the rules, and scrapes where we listen."""
    block = re.search(r"```yaml\n( *global: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    shutil.copy(RULES, tmp_path)
    config = tmp_path / "prometheus.yml"
    config.write_text(textwrap.dedent(block[1]))
    checked = promtool("check", "config", config)
    assert checked.returncode == 0, checked.stderr
    recipe = yaml.safe_load(config.read_text())
    assert recipe["global"]["evaluation_interval"] == "5s", "a minute would hold back every alert"
    assert recipe["alerting"], "somebody must tell people"
    (scraped,) = recipe["scrape_configs"]
    assert (scraped["job_name"], scraped["static_configs"]) == ("marginwatch", [{"targets": [HttpConfig().listen]}])


@pytest.mark.integration
def test_the_rules_do_what_their_tests_say() -> None:
    """Promtool runs the rules over made-up series."""
    run = promtool("test", "rules", UNIT_TESTS)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_rule_is_seen_firing_and_quiet() -> None:
    """For each rule some unit test expects an alert, and some expects none."""
    cases = [case for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == quiet == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_can_be_acted_on(rule: dict[str, Any]) -> None:
    """It holds for a stated time, has a severity of ours, a summary that begins with its figure, and a runbook."""
    assert "for" in rule
    assert rule["labels"]["severity"] in SEVERITIES
    assert re.match(r"(\{\{ \$value|\d|unknown)", rule["annotations"]["summary"])
    assert rule["annotations"]["description"].endswith((".", "?"))
    assert rule["annotations"]["runbook_url"].startswith(f"{DOCS}README.md#")


def test_runbooks_exist() -> None:
    """Each runbook link leads to a heading of README."""
    headings = re.findall(r"^#+ +(.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules()}
    assert linked <= anchors
