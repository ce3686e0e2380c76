"""Ladders of rungs."""

from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Severity
from alerts.rules.distance import DistanceConfig
from alerts.rules.margin_ratio import MarginRatioConfig

LADDERS = st.sampled_from(
    [
        MarginRatioConfig(),
        MarginRatioConfig(warning=0.6, emergency=0.62),
        MarginRatioConfig(hysteresis=1.0),
        DistanceConfig(),
        DistanceConfig(notice=0.2, critical=0.19, hysteresis=0.5),
    ]
)


@given(LADDERS, st.floats(-1.0, 3.0))
def test_a_value_holds_at_least_what_it_demands(ladder: MarginRatioConfig | DistanceConfig, value: float) -> None:
    """And both are rungs that are on."""
    demands, holds, rung = ladder.reached(value)
    on = dict(ladder.rungs())
    assert (demands is None) or (holds is not None and holds >= demands)
    assert {demands, holds} - {None} <= on.keys()
    assert rung == (on[demands] if demands is not None else on.get(holds) if holds is not None else None)


@given(LADDERS, st.floats(-1.0, 3.0), st.floats(0.0, 1.0))
def test_more_danger_never_demands_less(ladder: MarginRatioConfig | DistanceConfig, value: float, more: float) -> None:
    """Whichever way danger points."""
    worse = value + more if ladder.rising else value - more
    for before, after in zip(ladder.reached(value)[:2], ladder.reached(worse)[:2], strict=True):
        assert (after or 0) >= (before or 0)


def test_a_rung_demands_from_itself_on_and_holds_from_its_release_on() -> None:
    """Both ends belong to the rung."""
    rising, falling = MarginRatioConfig(warning=0.7), DistanceConfig(warning=0.05)
    assert rising.reached(0.7)[0] is Severity.WARNING
    assert rising.reached(rising.release(0.7))[:2] == (None, Severity.WARNING)
    assert falling.reached(0.05)[0] is Severity.WARNING
    assert falling.reached(falling.release(0.05))[:2] == (None, Severity.WARNING)


def test_past_the_first_release_nothing_holds() -> None:
    """That of the mildest rung that is on; a ladder without rungs has none."""
    assert MarginRatioConfig(warning=0.6, emergency=0.9, hysteresis=0.5).first_release == 0.3
    assert DistanceConfig(warning=0.05, hysteresis=0.5).first_release == 0.1
    assert DistanceConfig(notice=None).first_release is None
