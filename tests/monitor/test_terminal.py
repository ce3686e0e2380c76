"""Whether SIGHUP is the end of a terminal or an order."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from monitor.terminal import HANGUP_S, Terminal


@dataclass
class Line:
    """A terminal that can be closed."""

    there: bool = True

    def __call__(self) -> bool:
        """Whether it is there."""
        return self.there


@pytest.fixture
def _ignored() -> Iterator[None]:
    """As nohup starts a program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def test_an_order_and_a_hang_up() -> None:
    """While the terminal is there SIGHUP is an order; when it is gone, its end; long after that an order again."""
    line = Line()
    terminal = Terminal(line)
    assert terminal.counts
    assert not terminal.hung_up(10.0)
    line.there = False
    terminal.look(20.0)
    assert terminal.hung_up(20.0)
    assert terminal.hung_up(20.0 + HANGUP_S / 2)
    assert not terminal.hung_up(20.0 + HANGUP_S)


def test_a_hang_up_that_nobody_has_looked_for() -> None:
    """The signal itself is reason enough to look."""
    line = Line()
    terminal = Terminal(line)
    line.there = False
    assert terminal.hung_up(10.0)


def test_without_a_terminal_every_signal_is_an_order() -> None:
    """As under systemd."""
    terminal = Terminal(Line(there=False))
    terminal.look(0.0)
    assert not terminal.counts
    assert not terminal.hung_up(1.0)


@pytest.mark.usefixtures("_ignored")
def test_nohup_outlives_the_terminal() -> None:
    """It was asked for."""
    line = Line()
    terminal = Terminal(line)
    line.there = False
    assert not terminal.hung_up(1.0)
