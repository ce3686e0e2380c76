"""Numbers and sentences as people read them."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules import _words
from monitor.model.assessment import DistanceRemedy, Remedy
from tests.support.pools import a_leg, a_pool


@pytest.mark.parametrize(
    ("value", "text"),
    [(59_000.0, "59,000"), (57_820.55, "57,820.55"), (1.5, "1.5"), (0.000_012_34, "0.00001234"), (0.0, "0")],
)
def test_amounts_keep_what_matters(value: float, text: str) -> None:
    """At least six significant digits, no useless zeros."""
    assert _words.amount(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.123_4, "12.3 %"),
        (0.02, "2.0 %"),
        (0.009_96, "1.0 %"),
        (0.009_9, "0.99 %"),
        (0.005, "0.50 %"),
        (0.000_83, "0.083 %"),
        (0.0, "0 %"),
        (-0.01, "-1.0 %"),
        (nan, "unknown"),
    ],
)
def test_per_cents_that_stand_beside_each_other_look_alike(share: float, text: str) -> None:
    """The number of digits goes by what is shown."""
    assert _words.percent(share) == text


def test_amounts_that_are_none() -> None:
    """Words instead of nan and inf."""
    assert (_words.amount(nan), _words.amount(inf), _words.ratio(inf)) == ("unknown", "infinite", "infinite")


@given(st.floats(1e-6, 1e9))
def test_advice_is_rounded_up(value: float) -> None:
    """Following it to the digit is enough."""
    assert float(_words.amount_at_least(value).replace(",", "")) >= value * (1 - 1e-12)


def test_advice_names_both_ways() -> None:
    """Collateral to add or size to cut; for several legs, every one."""
    pool = a_pool(0.8, remedy=Remedy(0.49, 12.0, 0.251_23), legs=(a_leg(), a_leg("ETHUSDT")))
    assert _words.remedy(pool) == (
        "Add at least 12 USDT of margin, or cut every position of the pool by 25.2 %:"
        " brings the margin ratio below 0.49"
    )
    assert _words.remedy(pool, ends_here=True).endswith(
        "25.2 %: brings the margin ratio below 0.49, where this alert ends"
    )


@pytest.mark.parametrize(
    ("remedy", "text"),
    [
        (None, ""),
        (Remedy(0.5, 12.0, None), "Add at least 12 USDT of margin: brings the margin ratio below 0.5"),
        (Remedy(0.445_56, 12.0, None), "below 0.4455"),
        (Remedy(0.5, 12.0, 1.0), "or cut the position by 100.0 %"),
        (Remedy(0.5, nan, None), ""),
    ],
)
def test_advice_leaves_out_what_would_not_help(remedy: Remedy | None, text: str) -> None:
    """No figure is made up."""
    advice = _words.remedy(a_pool(0.8, remedy=remedy))
    assert text in advice if text else advice == ""


@pytest.mark.parametrize(
    ("target", "text"),
    [(0.1 / 0.9, "11.1 %"), (0.1389, "13.8 %"), (0.05, "5.0 %"), (0.00389, "0.38 %"), (1.2, "120.0 %")],
)
def test_advice_on_the_distance_promises_no_more_than_it_keeps(target: float, text: str) -> None:
    """The level is rounded down."""
    advice = _words.distance_remedy(a_pool(0.3, distance_remedy=DistanceRemedy(target, 12.0, None)))
    assert advice == (
        f"Add at least 12 USDT of margin: brings liquidation more than {text} away, where this alert ends"
    )


@pytest.mark.parametrize(("value", "text"), [(7.0, "7 s"), (119.0, "119 s"), (600.0, "10 min"), (10_800.0, "3 h")])
def test_durations(value: float, text: str) -> None:
    """Short, in the unit people would use."""
    assert _words.seconds(value) == text
