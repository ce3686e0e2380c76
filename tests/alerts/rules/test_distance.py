"""Distance to liquidation against its ladder."""

from math import inf, nan
from typing import Any

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.distance import DistanceConfig, describe, judge
from monitor.model.assessment import DistanceRemedy, Remedy
from tests.support.pools import a_leg, a_pool


@pytest.mark.parametrize(
    ("distance", "demands", "holds", "reason"),
    [
        (0.5, None, None, Reason.BELOW_RUNGS),
        (0.105, None, Severity.NOTICE, Reason.RUNG_HELD),
        (0.10, Severity.NOTICE, Severity.NOTICE, Reason.RUNG_REACHED),
        (0.026, Severity.WARNING, Severity.CRITICAL, Reason.RUNG_REACHED),
        (0.01, Severity.EMERGENCY, Severity.EMERGENCY, Reason.RUNG_REACHED),
        (-0.02, Severity.EMERGENCY, Severity.EMERGENCY, Reason.LIQUIDATION_PASSED),
        (None, None, None, Reason.BELOW_RUNGS),
    ],
)
def test_verdicts(distance: float | None, demands: Severity | None, holds: Severity | None, reason: Reason) -> None:
    """Danger falls with the value; a leg without a liquidation price is far from it."""
    verdict = judge(a_pool(0.1, distance=distance), DistanceConfig())
    assert (verdict.demands, verdict.holds, verdict.reason) == (demands, holds, reason)


@pytest.mark.parametrize("ratio", [1.0, 7.5, inf])
def test_a_pool_past_liquidation_without_a_price_is_an_emergency(ratio: float) -> None:
    """Hedged legs have no liquidation price of one instrument, also when the pool is lost already."""
    pool = a_pool(0.5, margin_ratio=ratio, distance=None)
    verdict = judge(pool, DistanceConfig())
    assert (verdict.demands, verdict.holds) == (Severity.EMERGENCY, Severity.EMERGENCY)
    assert (verdict.reason, verdict.value) == (Reason.LIQUIDATION_PASSED, 0.0)
    assert "past liquidation at the present marks" in describe(pool, verdict).text


@pytest.mark.parametrize(("distance", "unknown"), [(nan, ()), (None, ("no mark for X",))])
def test_an_unknown_distance_is_not_a_safe_one(distance: float | None, unknown: tuple[str, ...]) -> None:
    """Neither nan nor a missing figure of an incomplete pool lets go of anything."""
    verdict = judge(a_pool(0.1, distance=distance, unknown=unknown), DistanceConfig())
    assert (verdict.unknown, verdict.demands) == (True, None)


def test_text_puts_the_way_left_first() -> None:
    """Then the leg and the ratio."""
    pool = a_pool(0.3, distance=0.02, legs=(a_leg(),))
    text = describe(pool, judge(pool, DistanceConfig())).text
    assert text == (
        "2.0 % to liquidation · binance/main/USDT · BTCUSDT long at 59,000, liquidation at 57,820 (2.0 % away)"
        " · margin ratio 0.300"
    )


@pytest.mark.parametrize(
    ("changes", "when", "why"),
    [
        ({"stale": True}, " when last seen", "its marks are old"),
        ({"unknown": ("no mark for X",)}, "", "not all of it can be seen: no mark for X"),
    ],
)
def test_figures_that_are_not_of_now_say_so(changes: dict[str, Any], when: str, why: str) -> None:
    """With what keeps them, and without advice that was worked out from them."""
    cures = {"remedy": Remedy(0.45, 12.0, 0.2), "distance_remedy": DistanceRemedy(0.1 / 0.9, 40.0, 0.5)}
    pool = a_pool(0.3, distance=0.02, legs=(a_leg(),), **cures, **changes)
    said = describe(pool, judge(pool, DistanceConfig()))
    assert said.text == (
        f"2.0 % to liquidation{when} · binance/main/USDT · BTCUSDT long at 59,000, liquidation at 57,820 (2.0 % away)"
        f" · margin ratio 0.300 · {why}"
    )
    assert said.advice == "Look at the venue itself: the last figure that could be seen was in danger."


FARTHER = "brings liquidation more than 11.1 % away, where this alert ends"


@pytest.mark.parametrize(
    ("ratio_remedy", "needed", "advice"),
    [
        (None, None, ""),
        (None, DistanceRemedy(0.1 / 0.9, 40.0, None), f"Add at least 40 USDT of margin: {FARTHER}"),
        (
            Remedy(0.45, 12.0, 0.2),
            DistanceRemedy(0.1 / 0.9, 40.0, 0.5),
            f"Add at least 40 USDT of margin, or cut the position by 50.0 %: {FARTHER}",
        ),
        (
            Remedy(0.45, 50.0, 0.2),
            DistanceRemedy(0.1 / 0.9, 40.0, 0.5),
            f"Add at least 40 USDT of margin, or cut the position by 50.0 %: {FARTHER}",
        ),
        (
            Remedy(0.45, 50.0, 0.6),
            DistanceRemedy(0.1 / 0.9, 40.0, 0.5),
            "Add at least 50 USDT of margin, or cut the position by 60.0 %: brings the margin ratio below 0.45",
        ),
        (
            Remedy(0.45, 50.0, None),
            DistanceRemedy(0.1 / 0.9, 40.0, 0.5),
            "Add at least 50 USDT of margin: brings the margin ratio below 0.45",
        ),
        (Remedy(0.45, 50.0, 0.6), None, "Add at least 50 USDT of margin, or cut the position by 60.0 %"),
    ],
)
def test_advice_ends_the_alert_that_it_stands_in(
    ratio_remedy: Remedy | None, needed: DistanceRemedy | None, advice: str
) -> None:
    """What mends the ratio is advised only where it mends the distance too."""
    pool = a_pool(0.3, distance=0.02, legs=(a_leg(),), remedy=ratio_remedy, distance_remedy=needed)
    said = describe(pool, judge(pool, DistanceConfig())).advice
    assert said.startswith(advice) if advice else said == ""
