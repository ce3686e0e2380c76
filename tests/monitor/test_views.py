"""Figures for people never hide what is unknown, and the page is made in small pieces."""

from math import inf, nan

import orjson
import pytest

from monitor.views import NOT_ASSESSED, PageState, PoolRow, amount, page, percent, pool_json, rows
from tests.support.desk import NOW, Desk, many_pools
from tests.support.pools import a_leg, a_pool


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(0.5, "50.00 %"), (0.004, "0.40 %"), (0.0, "0.00 %"), (inf, "no margin left"), (nan, "unknown")],
)
def test_percent(ratio: float, shown: str) -> None:
    """A ratio as a percentage; no bound and no knowledge in words."""
    assert percent(ratio) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567.891, "1,234,567.89"), (-3.0, "-3.00"), (0.00012345, "0.00012345"), (nan, "unknown")]
)
def test_amount(value: float, shown: str) -> None:
    """Big amounts to the cent, amounts of coins with all their places."""
    assert amount(value) == shown


def test_rows_take_the_columns() -> None:
    """A row has the figures of the columns, which are newer than the assessment's."""
    desk = Desk(many_pools(3))
    table = desk.table()
    table.margin_ratio[0] = 0.9
    first, *_ = rows(table, desk.assessments(), 3)
    assert (first.pool, first.margin_ratio) == ("binance/desk0/COIN0USDT:long", 0.9)
    assert first.assessment is not None


def test_an_unknown_ratio_always_has_a_reason() -> None:
    """Even before the first assessment; a known one needs none."""
    assert PoolRow("binance/main/USDT", nan, nan, nan, None).unknown == (NOT_ASSESSED,)
    assert PoolRow("binance/main/USDT", 1.0, 0.5, 0.5, None).unknown == ()


def test_a_leg_s_adl_rank_is_null_where_the_venue_does_not_say() -> None:
    """A rank of zero is one, and not the same."""
    legs = tuple(a_leg(adl_rank=rank) for rank in (None, 0, 5))
    shown = orjson.loads(pool_json(PoolRow("binance/main/USDT", 1.0, 0.5, 0.5, a_pool(0.5, legs=legs))))
    assert [leg["adl_rank"] for leg in shown["legs"]] == [None, 0, 5]


def test_the_page_comes_in_small_pieces() -> None:
    """One pool is one piece, so that a long page does not keep the event loop."""
    desk = Desk(many_pools(100))
    state = PageState(NOW, 100, rows(desk.table(), desk.assessments(), 100), (), (), ())
    pieces = list(page(state))
    assert sum("<tr><th" in piece for piece in pieces) >= 100
    assert max(map(len, pieces)) < 1500
