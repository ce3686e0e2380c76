"""How bad a pool is comes from the worst of all that says so, and the worst pools are the ones that are shown."""

from math import inf, nan

import pytest

from alerts.alert import Severity
from alerts.danger import Scale
from tests.support.desk import Desk, alert, bad_day, many_pools

POOL = bad_day()[0]


@pytest.mark.parametrize(
    ("ratio", "distance", "firing", "shown"),
    [
        (0.30, None, None, ""),
        (0.30, 0.20, None, ""),
        (0.765, None, None, "warning · by ratio"),
        (0.765, 0.0061, None, "emergency · by distance"),
        (0.765, 0.05, None, "warning · by ratio and distance"),
        (0.765, 0.20, Severity.CRITICAL, "critical · by alert"),
        (0.765, 0.0061, Severity.EMERGENCY, "emergency · by distance"),
        (0.765, 0.20, Severity.NOTICE, "warning · by ratio"),
        (0.30, -0.01, None, "emergency · by distance"),
        (1.0, None, None, "emergency · by ratio"),
        (inf, None, Severity.NOTICE, "emergency · by ratio"),
        (nan, nan, None, ""),
        (nan, nan, Severity.WARNING, "warning · by alert"),
        (nan, 0.02, None, "critical · by distance"),
    ],
)
def test_danger_is_the_worst_of_all(ratio: float, distance: float | None, firing: Severity | None, shown: str) -> None:
    """Of the rungs on the ratio, those on the distance, and what fires for the pool; and it says which."""
    alerts = [] if firing is None else [alert(Severity.NOTICE, POOL), alert(firing, POOL, rule="distance")]
    found = Scale(Desk().rungs(), alerts).danger(POOL.pool, ratio, distance)
    assert str(found) == shown


def test_liquidation_is_an_emergency_without_any_rung() -> None:
    """By the ratio and by the distance, as the order of the rows has it too."""
    bare = Scale({}, [])
    assert str(bare.danger("a/b/c", 1.0, None)) == "emergency · by ratio"
    assert str(bare.danger("a/b/c", 0.2, 0.0)) == "emergency · by distance"
    assert str(bare.danger("a/b/c", 0.99, 0.001)) == ""


def test_many_unknown_pools_do_not_hide_a_lost_one() -> None:
    """Unknown pools rank ahead of all that is short of liquidation and behind what is past it."""
    table = Desk(many_pools(10)).table()
    table.margin_ratio[:] = [0.99, nan, 0.2, inf, nan, 1.5, 0.1, nan, 0.3, 0.4]
    bare = Scale({}, [])
    assert bare.worst(table, {}, 6).tolist() == [3, 5, 1, 4, 7, 0]
    assert bare.worst(table, {}, 100).tolist() == [3, 5, 1, 4, 7, 0, 9, 8, 2, 6]
