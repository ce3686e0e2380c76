"""Sinks, and the state file, that fail."""

from dataclasses import replace

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


def test_a_state_file_that_was_begun_anew_is_told_at_once() -> None:
    """With where the damaged one is, and what may come twice or be missing; one that cannot be written is worse."""
    failure = SinkFailure("state", None, 0, "", 600.0, "the damaged one is now state.damaged")
    verdict = judge(failure, SinkFailureConfig())
    assert (verdict.demands, verdict.reason) == (Severity.WARNING, Reason.STATE_BEGUN_ANEW)
    wording = describe(failure, verdict)
    assert wording.text == "1 state file damaged · begun anew · the damaged one is now state.damaged"
    assert "a second time" in wording.advice
    assert "silence" in wording.advice
    worse = replace(failure, failing_since=500.0, detail="disk is full")
    verdict = judge(worse, SinkFailureConfig())
    assert (verdict.demands, verdict.reason) == (Severity.CRITICAL, Reason.STATE_NOT_SAVED)
    assert describe(worse, verdict).text == "100 s failing · state file · 0 alerts wait · disk is full"


def test_the_end_says_how_long_it_lasted() -> None:
    """Counted to the last look at which it failed, and kept while its calm runs."""
    failing = SinkFailure("redis", 75.0, 3, "connection refused", 100.0)
    works = SinkFailure("redis", None, 0, "", 101.0).after(failing)
    for failure in (works, SinkFailure("redis", None, 0, "", 105.0).after(works)):
        text = describe(failure, judge(failure, SinkFailureConfig())).text
        assert text == "25 s failing · sink redis works again"
    unseen = SinkFailure("redis", None, 0, "", 101.0).after(None)
    assert describe(unseen, judge(unseen, SinkFailureConfig())).text == "sink redis works again"


def test_a_dead_mans_switch_that_hears_nothing_is_told_as_one() -> None:
    """It is no sink, and no alert waits for it."""
    failure = SinkFailure("heartbeat", 0.0, 0, "cannot be reached: connection refused", 60.0)
    wording = describe(failure, judge(failure, SinkFailureConfig()))
    assert wording.text == "60 s failing · dead-man's switch · cannot be reached: connection refused"
    assert wording.advice.startswith("It does not hear this monitor")


def test_text_counts_what_waits() -> None:
    """One alert waits, two alerts wait."""
    failure = SinkFailure("mqtt", 0.0, 1, "no answer within 3 s", 600.0)
    text = describe(failure, judge(failure, SinkFailureConfig())).text
    assert text == "10 min failing · sink mqtt · 1 alert waits · no answer within 3 s"
