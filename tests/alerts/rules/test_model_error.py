"""The model against the venue's own numbers."""

from math import nan

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.model_error import ModelErrorConfig, describe, judge
from monitor.model.assessment import Disagreement
from tests.support.pools import a_pool


@pytest.mark.parametrize(
    ("error", "demands", "reason"),
    [
        (0.001, None, Reason.MODEL_AGREES),
        (0.02, None, Reason.MODEL_AGREES),
        (0.021, Severity.WARNING, Reason.MODEL_DISAGREES),
        (-0.05, Severity.WARNING, Reason.MODEL_DISAGREES),
        (None, None, Reason.UNKNOWN),
        (nan, None, Reason.UNKNOWN),
    ],
)
def test_verdicts(error: float | None, demands: Severity | None, reason: Reason) -> None:
    """Past the tolerance, either way, it is a warning."""
    verdict = judge(a_pool(0.1, model_error=error), ModelErrorConfig())
    assert (verdict.demands, verdict.reason) == (demands, reason)


def test_text_shows_both_numbers() -> None:
    """Model and venue side by side; the ratio, which follows the venue's report, says nothing here."""
    apart = Disagreement("maintenance margin", 1000.0, 875.0)
    pool = a_pool(0.4, model_error=0.125, disagreement=apart, venue_margin_ratio=0.4)
    text = describe(pool, judge(pool, ModelErrorConfig())).text
    assert text == (
        "12.5 % model error · binance/main/USDT · maintenance margin 1,000 USDT computed, the venue says 875"
    )


def test_text_of_what_cannot_be_compared() -> None:
    """No numbers are invented."""
    pool = a_pool(0.4)
    assert describe(pool, judge(pool, ModelErrorConfig())).text == "unknown model error · binance/main/USDT"
