"""An account's own connections: which one counts, when it is replaced, and by what it is found dead."""

from collections.abc import Sequence
from random import Random

import pytest

from connectors.private import OPEN_S, OVERLAP_S, PrivateStream, Wiring
from connectors.session import Action, Connect, Disconnect, Send, Timers
from monitor.model.events import Event

LIFE_S = 1000.0


class Pinging(PrivateStream):
    """A venue that wants pings, and something said before a connection counts."""

    PING = "ping"
    PING_S = 20.0

    def _greet(self, connection: str, now: float) -> None:
        self._actions.append(Send(connection, "subscribe"))

    def acknowledged(self, connection: str, now: float) -> None:
        """The venue's answer."""
        self._ready(connection, now)

    def refuse(self, connection: str, now: float) -> str | None:
        """The venue's other answer."""
        return self._refused(connection, "refused", now)


class Desk:
    """A stream, its timers, and what it said."""

    def __init__(self, kind: type[PrivateStream] = PrivateStream) -> None:
        self.actions: list[Action] = []
        self.timers = Timers()
        self.now = 0.0
        self.told: list[tuple[float, bool]] = []
        self.silences: list[str] = []
        wiring = Wiring("x", self.actions, self.timers, Random(3), self._took_over, self._silent, LIFE_S)
        self.stream = kind("wss://x", wiring)
        self.stream.begin(0.0)

    def _took_over(self, now: float, gap: bool) -> None:
        self.told.append((now, gap))

    def _silent(self, reason: str, now: float) -> Sequence[Event]:
        self.silences.append(reason)
        return ()

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.timers.next()) is not None and due <= end:
            self.now = due
            self.timers.run(due, self.stream.handlers)
        self.now = end

    def open(self, connection: str) -> None:
        """A handshake is done."""
        self.stream.opened(connection, self.now)

    def did(self, kind: type[Action]) -> list[Action]:
        """Actions of a kind."""
        return [action for action in self.actions if isinstance(action, kind)]


def trusted() -> Desk:
    """With a connection that counts."""
    desk = Desk()
    desk.open("x-1")
    return desk


def test_the_first_connection_takes_over_with_a_gap() -> None:
    """Whatever was told before, nobody heard."""
    desk = trusted()
    assert desk.stream.trusted == "x-1"
    assert desk.told == [(0.0, True)]


def test_a_connection_that_is_old_is_followed_without_a_gap() -> None:
    """The two run side by side for a while."""
    desk = trusted()
    desk.pass_s(LIFE_S)
    assert len(desk.did(Connect)) == 2
    desk.open("x-2")
    assert desk.stream.trusted == "x-1"
    desk.pass_s(OVERLAP_S)
    assert desk.stream.trusted == "x-2"
    assert desk.told[-1][1] is False
    assert desk.did(Disconnect) == [Disconnect("x-1")]


def test_a_successor_that_is_ready_takes_over_at_once_when_the_old_one_ends() -> None:
    """There is a gap all the same, for the old one may have lost something."""
    desk = trusted()
    desk.pass_s(LIFE_S)
    desk.open("x-2")
    assert desk.stream.closed("x-1", "cut", desk.now)
    desk.pass_s(0.0)
    assert desk.stream.trusted == "x-2"
    assert desk.told[-1] == (desk.now, True)


def test_a_dead_stream_is_replaced_although_its_socket_is_open() -> None:
    """It is not trusted from that moment on."""
    desk = trusted()
    desk.stream.distrust(desk.now)
    assert desk.stream.trusted is None
    desk.pass_s(1.0)
    desk.open("x-2")
    assert desk.stream.trusted == "x-2"
    assert desk.told[-1][1] is True


def test_the_end_of_a_successor_is_not_the_end_of_the_stream() -> None:
    """Another is made."""
    desk = trusted()
    desk.pass_s(LIFE_S)
    assert not desk.stream.closed("x-2", "refused", desk.now)
    assert desk.stream.trusted == "x-1"
    desk.pass_s(20.0)
    assert len(desk.did(Connect)) == 3


def test_a_connection_counts_only_once_the_venue_says_so() -> None:
    """One that stays silent is given up."""
    desk = Desk(Pinging)
    desk.open("x-1")
    assert desk.stream.trusted is None
    desk.pass_s(OPEN_S)
    assert desk.did(Disconnect) == [Disconnect("x-1")]
    assert desk.stream.lost_reason == "connected, but nothing was delivered"


def test_a_refusal_ends_the_successor_and_condemns_the_live_one() -> None:
    """Which is for the account to tell."""
    desk = Desk(Pinging)
    stream = desk.stream
    assert isinstance(stream, Pinging)
    desk.open("x-1")
    assert stream.refuse("x-1", desk.now) is None
    assert stream.lost_reason == "refused"
    desk.pass_s(20.0)
    desk.open("x-2")
    stream.acknowledged("x-2", desk.now)
    assert stream.refuse("x-2", desk.now) == "refused"
    assert stream.refuse("x-9", desk.now) is None


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "silent"])
def test_a_connection_that_answers_no_ping_is_dead(heard: bool) -> None:
    """Anything that is heard counts."""
    desk = Desk(Pinging)
    stream = desk.stream
    assert isinstance(stream, Pinging)
    desk.open("x-1")
    stream.acknowledged("x-1", desk.now)
    for _ in range(3):
        desk.pass_s(20.0)
        if heard:
            stream.heard("x-1")
    assert desk.did(Send).count(Send("x-1", "ping")) == 3
    assert desk.silences == ([] if heard else ["no answer to a ping for 40 s"])
    assert stream.trusted == ("x-1" if heard else None)
