"""The solver: found prices meet the threshold exactly, the nearest one is found, and none is invented."""

from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.margin.liquidation import LegCurve, Piece, bankruptcy_crossings, liquidation_crossings, lowest_surplus
from monitor.margin.risk import Leg, Risk
from monitor.margin.tiers import Maintenance, Segment, segments_by_notional
from tests.support.accounts import flat_tier, tiers


def leg(quantity: float, entry: float, segments: tuple[Segment, ...], *, inverse: bool = False) -> Leg:
    """A leg whose mark is its entry."""
    return Leg("X", abs(quantity), quantity, inverse, entry, Maintenance(segments), entry)


ONE_PERCENT = segments_by_notional(flat_tier(0.01))
JUMPING = (Segment(0.0, 100.0, 0.01, 0.0), Segment(100.0, float("inf"), 0.05, 0.0))


@pytest.mark.parametrize(
    ("legs", "rest", "mark", "below", "above"),
    [
        pytest.param([leg(1.0, 100.0, ONE_PERCENT)], 10.0, 100.0, 90.0 / 0.99, None, id="a long falls into it"),
        pytest.param([leg(-1.0, 100.0, ONE_PERCENT)], 10.0, 100.0, None, 110.0 / 1.01, id="a short rises into it"),
        pytest.param([leg(1.0, 100.0, ONE_PERCENT)], 100.0, 100.0, None, None, id="a fully paid long has none"),
        pytest.param(
            [leg(1.0, 100.0, ONE_PERCENT)], 10.0, 90.0, None, 90.0 / 0.99, id="a long past it finds it above the mark"
        ),
        pytest.param(
            [leg(1.0, 100.0, ONE_PERCENT), leg(-1.0, 100.0, ONE_PERCENT)],
            10.0,
            100.0,
            None,
            500.0,
            id="an even hedge is liquidated by its growing maintenance",
        ),
        pytest.param([leg(-1.0, 90.0, JUMPING)], 10.0, 95.0, None, 99.0099009901, id="before a jump"),
        pytest.param([leg(-1.0, 97.0, JUMPING)], 6.0, 95.0, None, 100.0, id="at a jump of maintenance"),
        pytest.param(
            [leg(100.0, 50.0, ONE_PERCENT, inverse=True)], 0.2, 50.0, 101.0 / 2.2, None, id="an inverse long falls"
        ),
        pytest.param(
            [leg(-100.0, 50.0, ONE_PERCENT, inverse=True)], 0.2, 50.0, None, 99.0 / 1.8, id="an inverse short rises"
        ),
        pytest.param(
            [leg(-100.0, 50.0, ONE_PERCENT, inverse=True)], 2.5, 50.0, None, None, id="an inverse short covered 1x"
        ),
    ],
)
def test_crossings(legs: list[Leg], rest: float, mark: float, below: float | None, above: float | None) -> None:
    """The nearest crossing on each side, or none."""
    found = liquidation_crossings(legs, rest, mark)
    assert (found.below, found.above) == (
        below if below is None else pytest.approx(below, rel=1e-9),
        above if above is None else pytest.approx(above, rel=1e-9),
    )


def test_a_nearly_even_hedge_can_be_liquidated_on_both_sides() -> None:
    """The nearer of two prices is reported; the other is there too."""
    segments = segments_by_notional(tiers((0.0, 8000.0, 1e6), (0.004, 0.01, 0.05)))
    legs = [leg(100.0, 50.0, segments), leg(-98.5, 50.0, segments)]
    found = liquidation_crossings(legs, 60.0, 50.0)
    assert found.below is not None
    assert found.above is not None
    assert found.nearest(50.0) == min(found.below, found.above, key=lambda price: abs(price - 50.0))


def test_distance_is_negative_once_passed() -> None:
    """Positive while safe, negative after, and none without a price."""
    long = leg(1.0, 100.0, ONE_PERCENT)
    assert liquidation_crossings([long], 10.0, 100.0).distance(100.0) == pytest.approx(1 - 90 / 99)
    assert liquidation_crossings([long], 10.0, 90.0).distance(90.0) == pytest.approx(-(90 / 0.99 - 90) / 90)
    assert liquidation_crossings([long], 100.0, 100.0).distance(100.0) is None


prices = st.floats(0.001, 1e6)
tables = st.lists(st.tuples(st.floats(1.0, 1e7), st.floats(0.001, 0.2)), max_size=5).map(
    lambda steps: tiers(
        [0.0, *(floor for floor, _ in sorted(set(steps)))],
        sorted([0.004, *(rate for _, rate in sorted(set(steps)))]),
    )
)


@st.composite
def instrument_legs(draw: st.DrawFn) -> tuple[list[Leg], float]:
    """One or two legs of one instrument, with the mark."""
    inverse = draw(st.booleans())
    mark = draw(prices)
    segments = segments_by_notional(draw(tables))
    quantities = draw(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=2))
    signs = [draw(st.sampled_from([1.0, -1.0])), 0.0]
    signs[1] = -signs[0]
    legs = [
        leg(sign * q * (mark if inverse else 1.0), mark * draw(st.floats(0.5, 2.0)), segments, inverse=inverse)
        for q, sign in zip(quantities, signs, strict=False)
    ]
    return legs, mark


def surplus(legs: list[Leg], rest: float, price: float) -> tuple[float, float]:
    """Surplus at a price, and the size of what was added up (for the rounding allowed)."""
    parts = [one.risk(price) for one in legs]
    total = sum(parts, start=Risk(rest, 0.0))
    scale = abs(rest) + sum(
        abs(p.margin_balance) + p.maintenance_margin + one.notional(price) + one.notional(one.entry_price)
        for p, one in zip(parts, legs, strict=True)
    )
    return total.margin_balance - total.maintenance_margin, scale


@given(instrument_legs(), st.floats(-0.2, 1.5))
def test_at_the_liquidation_price_balance_equals_maintenance(drawn: tuple[list[Leg], float], share: float) -> None:
    """Whatever is found is a threshold, and nothing on the way to it was one."""
    legs, mark = drawn
    rest = share * sum(one.notional(mark) for one in legs)
    here, scale = surplus(legs, rest, mark)
    assume(abs(here) > 1e-9 * scale)
    found = liquidation_crossings(legs, rest, mark)
    assert found.safe == (here > 0)
    for price in (found.below, found.above):
        if price is None:
            continue
        value, scale = surplus(legs, rest, price)
        assert abs(value) <= 1e-9 * scale
        for k in range(1, 20):
            between, scale = surplus(legs, rest, mark + (price - mark) * k / 20)
            assert between * here > 0 or abs(between) <= 1e-9 * scale


@given(instrument_legs(), st.floats(-0.2, 1.5), st.floats(0.01, 100.0))
def test_without_a_liquidation_price_no_price_liquidates(
    drawn: tuple[list[Leg], float], share: float, factor: float
) -> None:
    """None on one side means that every price on that side keeps the sign of the surplus."""
    legs, mark = drawn
    rest = share * sum(one.notional(mark) for one in legs)
    here, scale = surplus(legs, rest, mark)
    assume(abs(here) > 1e-9 * scale and factor != 1.0)
    found = liquidation_crossings(legs, rest, mark)
    side = found.above if factor > 1.0 else found.below
    there, scale = surplus(legs, rest, mark * factor)
    if side is None:
        assert there * here > 0 or abs(there) <= 1e-9 * scale


@given(instrument_legs(), st.floats(-0.2, 1.5))
def test_looking_for_the_nearest_only_finds_the_nearest(drawn: tuple[list[Leg], float], share: float) -> None:
    """What is left out is never the nearer one."""
    legs, mark = drawn
    rest = share * sum(one.notional(mark) for one in legs)
    both = liquidation_crossings(legs, rest, mark)
    quick = liquidation_crossings(legs, rest, mark, nearest_only=True)
    assert quick.nearest(mark) == both.nearest(mark)
    assert quick.distance(mark) == both.distance(mark)


@given(instrument_legs(), st.floats(0.01, 1.5))
def test_a_pool_is_bankrupt_where_its_balance_is_zero(drawn: tuple[list[Leg], float], share: float) -> None:
    """At the bankruptcy price the margin balance is zero."""
    legs, mark = drawn
    rest = share * sum(one.notional(mark) for one in legs)
    found = bankruptcy_crossings(legs, rest, mark)
    for price in (found.below, found.above):
        if price is not None:
            balance = rest + sum(one.unrealized_pnl(price) for one in legs)
            scale = abs(rest) + sum(one.notional(price) + one.notional(one.entry_price) for one in legs)
            assert abs(balance) <= 1e-9 * scale


@pytest.mark.parametrize(
    ("curves", "low", "high", "lowest"),
    [
        pytest.param([LegCurve(leg(1.0, 100.0, ONE_PERCENT), ONE_PERCENT, 0.0)], 90.0, 110.0, (-0.9, 90.0), id="long"),
        pytest.param(
            [LegCurve(leg(-1.0, 97.0, JUMPING), JUMPING, 0.0)], 90.0, 100.0, (6.0, 100.0), id="a jump at the end"
        ),
        pytest.param(
            [LegCurve(leg(1.0, 100.0, JUMPING), JUMPING, 0.0)], 99.5, 110.0, (5.0, 100.0), id="a jump on the way"
        ),
        pytest.param([[(0.0, inf, 0.0, 1.0, 100.0)]], 5.0, 50.0, (30.0, 10.0), id="a turn on the way"),
        pytest.param([[(0.0, inf, 0.0, 0.0, -1.0)]], 0.0, 1.0, (-inf, 0.0), id="an inverse long at zero"),
    ],
)
def test_the_lowest_surplus(curves: list[list[Piece]], low: float, high: float, lowest: tuple[float, float]) -> None:
    """At an end, at an edge or between; 10 are held beside."""
    assert lowest_surplus(curves, 10.0, low, high) == pytest.approx(lowest)
