"""Margin ratio against its ladder."""

from math import inf, nan
from typing import Any

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.margin_ratio import MarginRatioConfig, describe, judge
from tests.support.pools import a_leg, a_pool

UNSEEN = "Look at the venue itself: the last figure that could be seen was in danger."


@pytest.mark.parametrize(
    ("ratio", "demands", "holds", "reason", "threshold"),
    [
        (0.0, None, None, Reason.BELOW_RUNGS, None),
        (0.449, None, None, Reason.BELOW_RUNGS, None),
        (0.46, None, Severity.NOTICE, Reason.RUNG_HELD, 0.50),
        (0.50, Severity.NOTICE, Severity.NOTICE, Reason.RUNG_REACHED, 0.50),
        (0.64, Severity.NOTICE, Severity.WARNING, Reason.RUNG_REACHED, 0.50),
        (0.95, Severity.EMERGENCY, Severity.EMERGENCY, Reason.RUNG_REACHED, 0.95),
        (inf, Severity.EMERGENCY, Severity.EMERGENCY, Reason.NO_MARGIN_BALANCE, 0.95),
    ],
)
def test_verdicts(
    ratio: float, demands: Severity | None, holds: Severity | None, reason: Reason, threshold: float | None
) -> None:
    """At a rung it demands, between rung x hysteresis and rung it holds."""
    verdict = judge(a_pool(0.5, margin_ratio=ratio), MarginRatioConfig())
    assert (verdict.demands, verdict.holds, verdict.reason) == (demands, holds, reason)
    assert verdict.threshold == threshold


def test_an_unknown_ratio_holds_everything() -> None:
    """It demands nothing, and lets go of nothing."""
    verdict = judge(a_pool(0.5, margin_ratio=nan), MarginRatioConfig())
    assert (verdict.unknown, verdict.demands, verdict.reason) == (True, None, Reason.UNKNOWN)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"stale": True},
            "0.874 margin ratio when last seen · binance/main/USDT · BTCUSDT long at 59,000, liquidation at 57,820 "
            "(2.0 % away) · its marks are old",
        ),
        (
            {"margin_ratio": inf, "margin_balance": -3.0, "stale": True},
            "infinite margin ratio when last seen · binance/main/USDT · margin balance -3 USDT · BTCUSDT long at"
            " 59,000, liquidation at 57,820 (2.0 % away) · its marks are old",
        ),
        (
            {"unknown": ("no tiers for NEWUSDT",)},
            "0.874 margin ratio · binance/main/USDT · not all of it can be seen: no tiers for NEWUSDT",
        ),
        (
            {"stale": True, "unknown": ("no tiers for NEWUSDT",)},
            "0.874 margin ratio when last seen · binance/main/USDT · not all of it can be seen: no tiers for NEWUSDT"
            " · its marks are old",
        ),
    ],
)
def test_figures_that_are_not_of_now_say_so(changes: dict[str, Any], text: str) -> None:
    """With what keeps them, and without advice that was worked out from them."""
    pool = a_pool(0.874, legs=(a_leg("BTCUSDT"),), **changes)
    said = describe(pool, judge(pool, MarginRatioConfig()))
    assert (said.text, said.advice) == (text, UNSEEN)


def test_text_says_where_the_nearest_leg_stands() -> None:
    """The ratio first, then mark, liquidation price and the way between."""
    pool = a_pool(0.874, legs=(a_leg("ETHUSDT", distance=0.3), a_leg("BTCUSDT")))
    text = describe(pool, judge(pool, MarginRatioConfig())).text
    assert text == (
        "0.874 margin ratio · binance/main/USDT · BTCUSDT long at 59,000, liquidation at 57,820 (2.0 % away)"
    )
