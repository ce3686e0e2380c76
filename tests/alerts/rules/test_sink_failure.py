"""Sinks, and the state file, that fail."""

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.sink_failure import SinkFailure, SinkFailureConfig, describe, judge


@pytest.mark.parametrize(
    ("sink", "since", "demands", "reason"),
    [
        ("redis", None, None, Reason.RECOVERED),
        ("redis", 90.0, None, Reason.SINK_FAILING),
        ("redis", 85.0, Severity.WARNING, Reason.SINK_FAILING),
        ("state", 85.0, Severity.CRITICAL, Reason.STATE_NOT_SAVED),
        ("redis", 101.0, None, Reason.SINK_FAILING),
    ],
)
def test_verdicts(sink: str, since: float | None, demands: Severity | None, reason: Reason) -> None:
    """Fifteen seconds of failure are an alert."""
    verdict = judge(SinkFailure(sink, since, 2, "refused", 100.0), SinkFailureConfig())
    assert (verdict.demands, verdict.reason) == (demands, reason)


def test_an_alert_that_is_refused_for_good_is_told_at_once() -> None:
    """Though the sink works: whoever listens there has not heard this one."""
    failure = SinkFailure("mqtt", None, 0, "", 600.0, "margin_ratio:binance/main/USDT warning firing: too large")
    verdict = judge(failure, SinkFailureConfig())
    assert (verdict.demands, verdict.reason) == (Severity.WARNING, Reason.ALERT_REFUSED)
    text = describe(failure, verdict).text
    assert text == ("1 alert refused for good · sink mqtt · margin_ratio:binance/main/USDT warning firing: too large")


def test_text_counts_what_waits() -> None:
    """One alert waits, two alerts wait."""
    failure = SinkFailure("mqtt", 0.0, 1, "no answer within 3 s", 600.0)
    text = describe(failure, judge(failure, SinkFailureConfig())).text
    assert text == "10 min failing · sink mqtt · 1 alert waits · no answer within 3 s"
