"""Blindness by the risk behind it."""

from dataclasses import replace
from math import inf, nan

import pytest

from alerts.alert import Severity
from alerts.rules.stale_feed import StaleFeedConfig, describe, hold_s, judge
from monitor.model.assessment import Blindness, FeedState


def blind(
    stream: str = "mark", notional: float = 1000.0, ratio: float | None = 0.1, age: float | None = 9.0
) -> Blindness:
    """Something that cannot be seen."""
    return Blindness("binance", "main", stream, FeedState.STALE, ("BTCUSDT",), age, notional, ratio, "")


@pytest.mark.parametrize(
    ("what", "severity"),
    [
        (blind(notional=0.0, ratio=None), Severity.NOTICE),
        (blind(), Severity.WARNING),
        (blind(ratio=None), Severity.WARNING),
        (blind(notional=nan, ratio=nan), Severity.WARNING),
        (blind(ratio=0.5), Severity.CRITICAL),
        (blind(ratio=0.85), Severity.EMERGENCY),
        (blind(ratio=inf), Severity.EMERGENCY),
        (blind("account", 0.0, None, None), Severity.WARNING),
        (blind("account", 0.0, None, 30.0), Severity.NOTICE),
        (blind("user", 0.0, None, None), Severity.WARNING),
        (blind("user", 0.0, None, 30.0), Severity.NOTICE),
    ],
)
def test_severity(what: Blindness, severity: Severity) -> None:
    """No open risk is a notice at most; an account that was never seen is not without risk."""
    assert judge(what, StaleFeedConfig()).demands is severity


def test_only_marks_have_waited_already() -> None:
    """Their age is judged at the feed; the other streams get a moment, counted from their last data."""
    assert hold_s(blind(), StaleFeedConfig()) == 0.0
    assert hold_s(replace(blind("user"), age_s=None), StaleFeedConfig(account_s=7.0)) == 7.0
    assert hold_s(replace(blind("user"), age_s=3.0), StaleFeedConfig(account_s=7.0)) == 4.0
    assert hold_s(replace(blind("user"), age_s=9.0), StaleFeedConfig(account_s=7.0)) == 0.0


def test_text_names_what_cannot_be_seen_and_the_risk() -> None:
    """No open risk is said in words."""
    what = blind(notional=0.0, ratio=None)
    assert describe(what, judge(what, StaleFeedConfig())).text == (
        "9 s without data · binance/main · marks of BTCUSDT · no open risk"
    )
