"""An hour of margin ratios in bounded memory."""

from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.board.history import POINTS, STEP_S, STEP_S_MIN, History

START = 1_790_000_000.0
POOL = "binance/main/USDT"


def noted(history: History, seconds: float, ratio_at: dict[float, float] | None = None, every_s: float = 1.0) -> float:
    """Note the pool from the start on whenever it is due, as the server's beat does; returns the last moment."""
    now, given_ratios = START, dict(ratio_at or {})
    while now <= START + seconds:
        if history.due(now):
            history.note(now, [POOL], [given_ratios.get(now - START, 0.25)])
        now += every_s
    return now - every_s


def test_a_pool_that_was_never_noted_has_no_points() -> None:
    """Nothing is made up."""
    assert History().series(POOL) == []


def test_a_young_history_is_fine_grained() -> None:
    """Soon after the start a point stands for little more than a second."""
    history = History()
    noted(history, 100.0, every_s=0.5)
    assert history.step_s == STEP_S_MIN
    assert len(history.series(POOL)) == pytest.approx(100 / STEP_S_MIN, abs=1)


def test_it_grows_to_an_hour_and_no_further() -> None:
    """After a day there are as many points as after an hour, of twenty seconds each, none of them empty."""
    history = History()
    noted(history, 3 * 3600.0)
    assert history.step_s == STEP_S
    assert POINTS * STEP_S == 3600
    assert history.series(POOL) == [0.25] * POINTS


def test_a_peak_outlives_the_merging_of_points() -> None:
    """Where points are made one, the highest stays: what was dangerous is not smoothed away."""
    history = History()
    noted(history, 1700.0, {50.0: 0.91})
    assert max(history.series(POOL)) == pytest.approx(0.91)


def test_what_lies_more_than_an_hour_back_is_gone() -> None:
    """The ring forgets."""
    history = History()
    noted(history, 2 * 3600.0, {1200.0: 0.91})
    assert max(history.series(POOL)) == 0.25


def test_a_gap_is_unknown() -> None:
    """While nothing was noted, and where the ratio was unknown, the points are nan; they are never filled in."""
    history = History()
    history.note(START, [POOL], [0.1])
    history.note(START + 5 * STEP_S_MIN, [POOL], [inf])
    history.note(START + 6 * STEP_S_MIN, [POOL], [float("nan")])
    first, *between, endless, last = history.series(POOL)
    assert (first, endless) == (0.1, inf)
    assert len(between) == 4
    assert all(map(isnan, [*between, last]))


def test_an_hour_s_silence_empties_it() -> None:
    """After a long sleep of the machine old points do not stand beside new ones."""
    history = History()
    history.note(START, [POOL, "binance/main/gone"], [0.1, 0.1])
    history.note(START + 5 * 3600.0, [POOL], [0.2])
    assert history.series(POOL) == [0.2]
    assert history.series("binance/main/gone") == []


def test_beyond_the_bound_the_oldest_pools_are_forgotten() -> None:
    """Memory does not grow with the number of pools that ever were."""
    history = History(pools_max=3)
    for n in range(10):
        history.note(START + n * STEP_S_MIN, [f"a/b/{n}"], [0.5])
    assert [n for n in range(10) if history.series(f"a/b/{n}")] == [7, 8, 9]
    history.note(START + 20.0, [f"a/b/{n}" for n in range(20, 30)], [0.5] * 10)
    assert [n for n in range(30) if history.series(f"a/b/{n}")] == [20, 21, 22]


def test_a_new_pool_takes_the_row_of_none_that_is_noted_with_it() -> None:
    """Only what is not noted any more is forgotten, wherever it stands among the others."""
    history = History(pools_max=2)
    history.note(START, ["a/b/1", "a/b/2"], [0.1, 0.2])
    history.note(START + 2.0, ["a/b/3", "a/b/1"], [0.3, 0.1])
    assert history.series("a/b/1")[0] == 0.1
    assert history.series("a/b/2") == []


def test_a_row_that_is_used_again_starts_empty() -> None:
    """A new pool does not inherit the past of a forgotten one."""
    history = History(pools_max=1)
    history.note(START, ["a/b/old"], [0.9])
    history.note(START + 10.0, ["a/b/new"], [0.1])
    assert history.series("a/b/new") == [0.1]


@given(st.lists(st.tuples(st.floats(0, 4000), st.floats(0, 2)), min_size=1, max_size=60))
def test_any_rhythm(steps: list[tuple[float, float]]) -> None:
    """However the moments fall, there are never too many points, and the last is what was noted last or more."""
    history, now = History(), START
    for pause, ratio in steps:
        now += pause
        history.note(now, [POOL], [ratio])
        series = history.series(POOL)
        assert 1 <= len(series) <= POINTS
        assert series[-1] >= ratio - 0.0001
