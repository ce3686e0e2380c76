"""Clocks: time that does not run backwards."""

import time

import pytest

from monitor.clock import ManualClock, SystemClock


def test_the_system_clock_starts_at_the_wall_clock_and_never_runs_back() -> None:
    """Seconds since the epoch, steady."""
    clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=1.0)
    readings = [clock.now() for _ in range(1000)]
    assert readings == sorted(readings)


def test_a_step_of_the_wall_clock_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen stays as old as it is when somebody sets the clock back."""
    clock = SystemClock()
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock.now() < before + 60.0


def test_a_manual_clock_moves_when_told_and_never_back() -> None:
    """For tests and replays."""
    clock = ManualClock(100.0)
    assert clock.advance(2.5) == 102.5
    clock.set(200.0)
    assert clock.now() == 200.0
    with pytest.raises(ValueError, match="backwards"):
        clock.set(199.0)
