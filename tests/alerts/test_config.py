"""``[alerts]`` and the sections of the sinks."""

from typing import Any

import pytest
from pydantic import ValidationError

from alerts.alert import Severity
from alerts.config import AlertsConfig
from alerts.rules import POOL_RULES, RULES_CHANGED, SINK_FAILURE, STALE_FEED, VENUE_NOTICE
from alerts.sinks import SINKS, SinksConfig


def rungs(document: dict[str, Any]) -> dict[str, float]:
    """The rungs on margin ratio that a document leaves on."""
    config = AlertsConfig.model_validate(document)
    return {severity.label: rung for severity, rung in config.margin_ratio.rungs()}


def test_the_default_ladder_is_the_documented_one() -> None:
    """Nothing configured: four rungs on each ladder."""
    assert rungs({}) == {"notice": 0.50, "warning": 0.70, "critical": 0.85, "emergency": 0.95}
    assert [severity for severity, _ in AlertsConfig().distance.rungs()] == list(Severity)


def test_a_rung_left_out_is_off() -> None:
    """A section that names rungs has these and no others."""
    assert rungs({"margin_ratio": {"critical": 0.8}}) == {"critical": 0.8}


def test_a_section_without_rungs_keeps_the_default_ones() -> None:
    """Setting the hysteresis does not switch every warning off."""
    assert len(rungs({"margin_ratio": {"hysteresis": 0.8}})) == 4


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"margin_ratio": {"notice": 0.9, "warning": 0.8}}, "must be above notice"),
        ({"distance": {"notice": 0.01, "warning": 0.02}}, "must be below notice"),
        ({"margin_ratio": {"notice": 0.5, "warning": 0.5}}, "must be above notice"),
        ({"margin_ratio": {"notice": float("nan")}}, "notice"),
        ({"margin_ratio": {"emergency": 1.5}}, "emergency"),
        ({"margin_ratio": {"hysteresis": 0}}, "hysteresis"),
        ({"margin_ratio": {"panic": 0.5}}, "panic"),
        ({"margin_ratio": {"hold_s": -1}}, "hold_s"),
        ({"repeat": {"notice_s": 0}}, "notice_s"),
        ({"stale_feed": {"mark_s": 0}}, "mark_s"),
        ({"model_error": {"tolerance": float("inf")}}, "tolerance"),
        ({"venue_notice": {"hold_s": 1}}, "a venue says a notice once"),
        ({"rules_changed": {"hold_s": 1}}, "rules change once"),
        ({"rules_changed": {"critical_distance": 2}}, "critical_distance"),
        ({"no_such_rule": {}}, "no_such_rule"),
    ],
)
def test_a_fault_names_its_key(document: dict[str, Any], key: str) -> None:
    """One document per fault."""
    with pytest.raises(ValidationError, match=key):
        AlertsConfig.model_validate(document)


def test_every_rule_has_a_section_of_its_name() -> None:
    """The engine finds a rule's configuration by the rule's name."""
    for rule in (*POOL_RULES, STALE_FEED, SINK_FAILURE, VENUE_NOTICE, RULES_CHANGED):
        assert AlertsConfig().rule(rule.name)


def test_every_sink_has_a_section_of_its_name() -> None:
    """A sink that is registered can be configured, and the other way round."""
    assert set(SINKS) == set(SinksConfig.model_fields)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"redis": {"url": "http://127.0.0.1"}}, "redis://"),
        ({"redis": {"url": "redis://"}}, "redis://"),
        ({"mqtt": {"url": "127.0.0.1"}}, "mqtt://"),
        ({"mqtt": {"url": "mqtt://127.0.0.1/topic"}}, "nothing behind"),
        ({"mqtt": {"url": "mqtt://host:99999"}}, "between 1 and 65535"),
        ({"mqtt": {"prefix": "a/#"}}, "without"),
        ({"mqtt": {"prefix": "$SYS"}}, "not beginning"),
        ({"mqtt": {"timeout_s": 0}}, "timeout_s"),
        ({"redis": {"stream_max": 0}}, "stream_max"),
        ({"redis": {"password": "hunter2"}}, "env:NAME"),
        ({"kafka": {}}, "kafka"),
    ],
)
def test_a_faulty_sink_section_is_told_what_is_allowed(document: dict[str, Any], words: str) -> None:
    """One document per fault."""
    with pytest.raises(ValidationError, match=words):
        SinksConfig.model_validate(document)


@pytest.mark.parametrize("sink", ["redis", "mqtt"])
def test_a_password_in_a_url_is_refused_without_being_shown(sink: str) -> None:
    """Secrets come from the environment or from files; the sentence does not repeat this one."""
    with pytest.raises(ValidationError) as caught:
        SinksConfig.model_validate({sink: {"url": f"{sink}://user:hunter2@127.0.0.1"}})
    assert "env:NAME" in str(caught.value.errors()[0]["msg"])
    assert "hunter2" not in str(caught.value.errors()[0]["msg"])
