"""Times and durations as the commands show them."""

import time
from collections.abc import Iterator

import pytest

from monitor.commands.show import clock_time, duration, local_time

NOW = 1_798_948_800.0  # 2027-01-02 23:00 in New York


@pytest.fixture
def _in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_new_york")
def test_a_time_for_a_person_is_local_and_names_its_zone() -> None:
    """With the day where that is not today."""
    assert local_time(NOW + 60.0, NOW) == "23:01 EST"
    assert local_time(NOW + 7_200.0, NOW) == "2027-01-03 01:00 EST"


def test_a_time_of_a_demo_or_replay_is_utc() -> None:
    """To the millisecond."""
    assert clock_time(NOW + 0.25) == "04:00:00.250"
    assert clock_time(NOW, with_date=True) == "2027-01-03 04:00:00.000"


@pytest.mark.parametrize(("seconds", "text"), [(1.25, "1.25 s"), (250.0, "4 min 10 s"), (12_000.0, "3 h 20 min")])
def test_durations(seconds: float, text: str) -> None:
    """In the units that fit."""
    assert duration(seconds) == text
