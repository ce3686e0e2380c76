"""At which margin ratios a pool has to be judged at once."""

from math import inf, isnan

import pytest

from alerts.rules.margin_ratio import MarginRatioConfig
from alerts.thresholds import Thresholds

LEVELS = [0.45, 0.50, 0.63, 0.70, 0.765, 0.85, 0.855, 0.95]


def test_a_safe_pool_is_news_from_the_first_rung_on() -> None:
    """And never downwards; without a rung not at all."""
    down, up = Thresholds(MarginRatioConfig()).safe
    assert isnan(down)
    assert up == 0.50
    assert all(map(isnan, Thresholds(MarginRatioConfig.model_construct()).safe))


@pytest.mark.parametrize("place", range(len(LEVELS) - 1))
def test_between_two_levels_those_are_the_thresholds(place: int) -> None:
    """Rungs, and where they let go; a ratio on a level is above it."""
    subject = Thresholds(MarginRatioConfig())
    want = pytest.approx((LEVELS[place], LEVELS[place + 1]))
    assert subject.around((LEVELS[place] + LEVELS[place + 1]) / 2) == want
    assert subject.around(0.70) == pytest.approx((0.70, 0.765))


def test_outside_of_the_levels_there_is_one_way() -> None:
    """Below all of them upwards, above all of them downwards."""
    subject = Thresholds(MarginRatioConfig())
    down, up = subject.around(0.1)
    assert isnan(down)
    assert up == pytest.approx(0.45)
    down, up = subject.around(inf)
    assert down == 0.95
    assert isnan(up)
