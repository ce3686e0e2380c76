"""Figures for people never hide what is unknown, and the page is made in small pieces."""

from dataclasses import replace
from math import inf, nan

import orjson
import pytest

from alerts.alert import Severity, Silence
from alerts.danger import Scale
from alerts.message import rfc3339
from monitor.model.ids import Side
from monitor.views import (
    NOT_ASSESSED,
    SILENCES_MAX,
    PageState,
    PoolRow,
    amount,
    page,
    percent,
    pool_json,
    rows,
    without_pools,
)
from tests.support.desk import NOW, Desk, alert, bad_day, leg, many_pools, pool
from tests.support.pools import a_leg, a_pool


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (0.5, "50.00 %"),
        (0.0123, "1.23 %"),
        (0.004, "0.40 %"),
        (0.0005, "0.050 %"),
        (-0.000_051_9, "-0.0052 %"),
        (0.000_000_12, "0.000012 %"),
        (0.009_99, "1.00 %"),
        (0.0, "0.00 %"),
        (inf, "no margin left"),
        (nan, "unknown"),
    ],
)
def test_percent(ratio: float, shown: str) -> None:
    """A ratio as a percentage, two digits at least of what is not nothing; no bound and no knowledge in words."""
    assert percent(ratio) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567.891, "1,234,567.89"), (-3.0, "-3.00"), (0.00012345, "0.00012345"), (nan, "unknown")]
)
def test_amount(value: float, shown: str) -> None:
    """Big amounts to the cent, amounts of coins with all their places."""
    assert amount(value) == shown


def scale(desk: Desk) -> Scale:
    """What a desk's pools are measured by."""
    return Scale(desk.rungs(), desk.alerts)


RATIO_765 = pool("main", "USDT", 4_000.0, 3_060.0, leg("ETHUSDT", Side.LONG, 60.0, 2_500.0, 2_484.75))
"""A margin ratio of 76.5 %, 0.61 % away from liquidation."""


def test_rows_by_severity_then_by_ratio() -> None:
    """Past liquidation, unknown, then by severity whatever it comes from; a table's order among equals."""
    btc, doge, new, sol, _ = bad_day()
    high = replace(btc, distance=None, margin_ratio=0.94)
    desk = Desk([sol, high, RATIO_765, new, doge], alerts=[alert(Severity.CRITICAL, sol)])
    found = [
        (row.pool.split("/")[2], str(row.danger))
        for row in rows(desk.table(), desk.assessments(), scale(desk), 9, (), NOW)
    ]
    assert found == [
        ("DOGEUSDT:short", "emergency · by ratio and distance"),
        ("NEWUSDT:long", ""),
        ("USDT", "emergency · by distance"),
        ("BTCUSDT:long", "critical · by ratio"),
        ("SOLUSDT:long", "critical · by alert"),
    ]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 50, 51, 100])
def test_a_cut_keeps_the_most_dangerous(most: int) -> None:
    """However few rows are asked for, they are the first of all rows, alerts and distances included."""
    pools = [replace(each, distance=0.3) for each in many_pools(100)]
    pools[3] = replace(pools[3], distance=0.005)
    pools[60] = replace(pools[60], margin_ratio=inf)
    pools[61] = replace(pools[61], margin_ratio=nan)
    desk = Desk(pools, alerts=[alert(Severity.EMERGENCY, pools[1])])
    whole = [row.pool for row in rows(desk.table(), desk.assessments(), scale(desk), 100, (), NOW)]
    numbers = [int(name.split("COIN")[1].split("USDT")[0]) for name in whole]
    # The rung of the emergencies is at 95 %.
    assert numbers[:10] == [60, 61, 99, 98, 97, 96, 95, 3, 1, 94]
    assert [row.pool for row in rows(desk.table(), desk.assessments(), scale(desk), most, (), NOW)] == whole[:most]


def test_a_pool_s_document_says_how_bad_and_why() -> None:
    """Null and nothing for a calm one."""
    desk = Desk([RATIO_765, bad_day()[3]])
    first, second = [
        orjson.loads(pool_json(row)) for row in rows(desk.table(), desk.assessments(), scale(desk), 2, (), NOW)
    ]
    assert (first["severity"], first["severity_by"]) == ("emergency", ["distance"])
    assert (second["severity"], second["severity_by"]) == (None, [])


def test_the_page_says_how_bad_and_that_alerts_are_of_their_moment() -> None:
    """The severity with its cause in the row, and beside an alert's figure that it is the one of then."""
    desk = Desk([RATIO_765], alerts=[alert(Severity.EMERGENCY, RATIO_765)])
    text = "".join(
        page(PageState(NOW, 1, rows(desk.table(), desk.assessments(), scale(desk), 1, (), NOW), (), desk.alerts, ()))
    )
    assert "<td>emergency · by distance</td>" in text
    assert "<li>emergency, when raised: 76% binance/main/USDT</li>" in text


@pytest.mark.parametrize("why", ["stale", "account_stale"])
def test_old_figures_say_so(why: str) -> None:
    """To programs and on the page, whether the marks or the account are not fresh."""
    for is_old in (False, True):
        desk = Desk([replace(RATIO_765, **{why: is_old})])  # type: ignore[arg-type]
        (row,) = rows(desk.table(), desk.assessments(), scale(desk), 1, (), NOW)
        assert orjson.loads(pool_json(row))["stale"] is is_old
        assert ("the figures are old" in "".join(page(PageState(NOW, 1, [row], (), (), ())))) is is_old


@pytest.mark.parametrize(
    ("ready", "unread", "said"),
    [
        (True, [], "No pool has risk open."),
        (False, [], "What risk is open is not known: not everything is seen."),
        (False, ["okx/a", "okx/b"], "Not read yet: okx/a, okx/b. What risk is open there is not known."),
        (False, list("abcdefg"), "Not read yet: a, b, c, d, e and 2 more. What risk is open there is not known."),
    ],
)
def test_no_pool_is_not_no_risk(ready: bool, unread: list[str], said: str) -> None:
    """That nothing is open is said only while everything is seen."""
    assert without_pools(ready, unread) == said


def test_the_figures_of_a_row_are_of_one_moment() -> None:
    """Beside marks and distances stands the ratio that belongs to them; without these it is that of the columns."""
    desk = Desk(many_pools(3))
    table = desk.table()
    table.margin_ratio[0] = 0.9
    first, *_ = rows(table, desk.assessments(), scale(desk), 3, (), NOW)
    assert first.assessment is not None
    assert (first.pool, first.margin_ratio) == ("binance/desk0/COIN0USDT:long", first.assessment.margin_ratio)
    first, *_ = rows(table, {}, scale(desk), 3, (), NOW)
    assert (first.pool, first.margin_ratio) == ("binance/desk0/COIN0USDT:long", 0.9)


def test_an_unknown_ratio_always_has_a_reason() -> None:
    """Even before the first assessment; a known one needs none."""
    assert PoolRow("binance/main/USDT", nan, nan, nan, None).unknown == (NOT_ASSESSED,)
    assert PoolRow("binance/main/USDT", 1.0, 0.5, 0.5, None).unknown == ()


def test_a_leg_s_adl_rank_is_null_where_the_venue_does_not_say() -> None:
    """A rank of zero is one, and not the same."""
    legs = tuple(a_leg(adl_rank=rank) for rank in (None, 0, 5))
    shown = orjson.loads(pool_json(PoolRow("binance/main/USDT", 1.0, 0.5, 0.5, a_pool(0.5, legs=legs))))
    assert [leg["adl_rank"] for leg in shown["legs"]] == [None, 0, 5]


def test_a_leg_s_next_payment_of_funding_is_null_where_it_is_not_told() -> None:
    """Below zero where it costs; when, as all times are written."""
    paying = a_leg(funding_rate=0.0001, next_funding=-2.95, next_funding_at=1_790_000_000.0, funding_interval_s=3600.0)
    legs = (a_leg(), paying)
    shown = orjson.loads(pool_json(PoolRow("binance/main/USDT", 1.0, 0.5, 0.5, a_pool(0.5, legs=legs))))
    keys = ("funding_rate", "next_funding", "next_funding_at", "funding_interval_s")
    first, second = ([leg[key] for key in keys] for leg in shown["legs"])
    assert first == [None] * 4
    assert second == [0.0001, -2.95, "2026-09-21T14:13:20.000Z", 3600.0]


def test_the_page_comes_in_small_pieces() -> None:
    """One pool is one piece, so that a long page does not keep the event loop."""
    desk = Desk(many_pools(100))
    state = PageState(NOW, 100, rows(desk.table(), desk.assessments(), scale(desk), 100, (), NOW), (), (), ())
    pieces = list(page(state))
    assert sum("<tr><th" in piece for piece in pieces) >= 100
    assert max(map(len, pieces)) < 1500


def test_silences_in_force_are_listed_up_to_a_bound() -> None:
    """Also those that fit no pool; emergencies that are silent too are told apart, and the rest is counted."""
    silences = [Silence(f"s{n}", f"binance/a{n}", NOW + 60, "ann", "why", n == 0, NOW) for n in range(SILENCES_MAX + 2)]
    text = "".join(page(PageState(NOW, 0, (), (), (), (), silences)))
    assert f"<li>binance/a0: silent until {rfc3339(NOW + 60)}, even emergencies, by ann: why</li>" in text
    assert text.count("silent until") == SILENCES_MAX
    assert "<li>and 2 more</li>" in text
