"""Clocks: time that does not run backwards."""

import time

import pytest

from monitor.clock import ManualClock, Setting, SystemClock


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


def test_a_wall_clock_that_was_set_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and back."""
    clock, real = SystemClock(), time.time
    assert clock.set_by_s() == pytest.approx(0.0, abs=1.0)
    monkeypatch.setattr(time, "time", lambda: real() - 3600.0)
    assert clock.set_by_s() == pytest.approx(-3600.0, abs=1.0)


def test_a_setting_is_told_once_and_again_when_it_moved_much() -> None:
    """Also when the clock is put right again; a slow drift is told at every step of it."""
    setting = Setting(30.0)
    assert [setting.news(by) for by in (0.0, 29.0, 31.0, 31.0, 60.0, 62.0, 62.0, 0.5, 0.5, -31.0)] == [
        *(False, False, True, False, False, True, False, True, False, True),
    ]


def test_a_manual_clock_moves_when_told_and_never_back() -> None:
    """For tests and replays."""
    clock = ManualClock(100.0)
    assert clock.advance(2.5) == 102.5
    clock.set(200.0)
    assert clock.now() == 200.0
    with pytest.raises(ValueError, match="backwards"):
        clock.set(199.0)
