"""An account's own connections: one that is live, its successor, and pings where the venue wants some.

Being connected proves nothing; when a connection counts is for the venue to say. Whether events really come, the
snapshots show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from connectors.links import Links
from connectors.session import Action, Disconnect, Send, Timers
from monitor.model.events import Event

OVERLAP_S = 10.0
"""How long the old and the new connection run side by side when a connection is renewed for its age."""

OPEN_S = 30.0
"""For everything that must happen before a connection counts."""

TookOver = Callable[[float, bool], None]
"""Told when a connection becomes the live one, and whether events may have been missed before."""

Silent = Callable[[str, float], Sequence[Event]]
"""Told when the live connection is found dead, and why."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a stream shares with its account: its name, where to say what is to be done, and whom to tell."""

    name: str
    actions: list[Action]
    timers: Timers
    random: Random
    took_over: TookOver
    silent: Silent
    life_s: float


class PrivateStream:
    """Keeps one private connection. The account session passes on what happens and asks for nothing else.

    A venue calls `_ready` when a connection counts, and sets `PING` if it pings.
    """

    PING = ""
    PING_S = 20.0
    PINGS_MISSED_MAX = 2
    """After so many pings without a word the next finds the connection dead."""

    def __init__(self, url: str, wiring: Wiring) -> None:
        self._url = url
        self._actions = wiring.actions
        self._timers = wiring.timers
        self._took_over = wiring.took_over
        self._silent = wiring.silent
        self._links = Links(
            wiring.name,
            wiring.actions,
            wiring.timers,
            self._dial,
            wiring.random,
            prove_s=OPEN_S,
            life_s=wiring.life_s,
        )
        self._dead = False
        self._unheard: dict[str, int] = {}
        """Open connections, and after how many pings in a row nothing was heard."""
        self.handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "dial": self._links.on_dial,
            "prove": self._on_prove,
            "rollover": self._links.on_rollover,
            "overlap": self._on_overlap,
            "ping": self._on_ping,
        }

    @property
    def trusted(self) -> str | None:
        """The connection that events are expected from; None while there is none, or it is known to be dead."""
        return None if self._dead else self._links.live

    @property
    def lost_reason(self) -> str:
        """Why the last connection came to nothing."""
        return self._links.lost_reason

    def begin(self, now: float) -> None:
        """Make the first connection."""
        self._links.begin(now)
        if self.PING:
            self._timers.set("ping", now + self.PING_S)

    def steady(self) -> None:
        """All has been well for a while."""
        self._links.steady()

    def opened(self, connection: str, now: float) -> None:
        """A handshake is done."""
        if self._links.opened(connection, now):
            self._unheard[connection] = 0
            self._greet(connection, now)

    def heard(self, connection: str) -> None:
        """Something came that shows that the connection lives."""
        if connection in self._unheard:
            self._unheard[connection] = 0

    def closed(self, connection: str, reason: str, now: float) -> bool:
        """True when the live connection was lost. A successor that is ready already takes over by itself."""
        self._forget(connection)
        was_live = connection == self._links.live
        if connection == self._links.heir:
            self._timers.clear("overlap")
        self._links.closed(connection, reason, now)
        if was_live and self._timers.is_set("overlap"):
            self._timers.set("overlap", now)
        return was_live

    def renew(self, now: float) -> None:
        """The stream is dead although its socket may be open: connect again."""
        self._dead = True
        self._links.replace(now)

    def distrust(self, now: float) -> None:
        """The stream delivered nothing although nothing spoke against it: connect again."""
        self.renew(now)

    # --- for the venue

    def _dial(self, now: float) -> None:
        """Time to connect: answer with `Links.connect`, now or once the address is known."""
        self._links.connect(self._url, now)

    def _greet(self, connection: str, now: float) -> None:
        """What is to be said on a connection that has just opened; one on which there is nothing to say is ready."""
        self._ready(connection, now)

    def _ready(self, connection: str, now: float) -> None:
        """From now on every event comes here too. Where nothing is lost by it, the old connection runs on a while."""
        if connection != self._links.heir:
            return
        if self.trusted is not None:
            self._timers.set("overlap", now + OVERLAP_S)
            self._timers.set("prove", now + OVERLAP_S + OPEN_S)
        else:
            self._promote(connection, now)

    def _refused(self, connection: str, reason: str, now: float, *, at_least_s: float | None = None) -> str | None:
        """The venue wants nothing of a connection. Returns why the live one is dead, if it is the live one.

        Otherwise the next is made after `at_least_s`.
        """
        if connection == self._links.live:
            return reason
        if connection == self._links.heir:
            self._forget(connection)
            self._actions.append(Disconnect(connection))
            self._links.fail(reason, now, at_least_s)
        return None

    def _forget(self, connection: str | None) -> None:
        self._unheard.pop(connection or "", None)

    def _promote(self, connection: str, now: float) -> None:
        gap, old = self.trusted is None, self._links.live
        self._dead = False
        self._timers.clear("overlap")
        if self._links.prove(connection, now):
            self._forget(old)
            self._took_over(now, gap)

    # --- timers

    def _on_prove(self, now: float) -> Sequence[Event]:
        self._timers.clear("overlap")
        self._forget(self._links.heir)
        return self._links.on_prove(now)

    def _on_overlap(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._promote(self._links.heir, now)
        return ()

    def _on_ping(self, now: float) -> Sequence[Event]:
        self._timers.set("ping", now + self.PING_S)
        silent_s = 0.0
        for connection, unheard in self._unheard.items():
            if connection == self.trusted and unheard >= self.PINGS_MISSED_MAX:
                silent_s = self.PING_S * unheard
            self._unheard[connection] = unheard + 1
            self._actions.append(Send(connection, self.PING))
        if not silent_s:
            return ()
        self.renew(now)
        return self._silent(f"no answer to a ping for {silent_s:.0f} s", now)
