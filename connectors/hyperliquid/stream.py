"""An address's own connection: subscriptions, pings, and its replacement.

The venue closes a connection on which it had nothing to say for a minute, so it is given something to answer: its own
ping, which is a message like any other. What is open but silent to pings is dead.
"""

from collections.abc import Callable, Sequence
from random import Random

import orjson

from connectors.links import Links
from connectors.session import Action, Send, Timers
from monitor.model.events import Event

PING_S = 20.0
PING = orjson.dumps({"method": "ping"}).decode()

OPEN_S = 30.0
OVERLAP_S = 10.0
"""How long the old and the new connection run side by side when a connection is renewed for its age."""

SUBSCRIPTIONS = ("allDexsClearinghouseState", "spotState", "userFills")

TookOver = Callable[[float, bool], None]
"""Told when a connection becomes the live one, and whether events may have been missed before."""

Silent = Callable[[str, float], Sequence[Event]]
"""Told when the live connection is found dead, and why."""


def subscribe(kind: str, **arguments: str) -> str:
    """The message that asks for a stream."""
    return _message("subscribe", kind, arguments)


def unsubscribe(kind: str, **arguments: str) -> str:
    """The message that ends one."""
    return _message("unsubscribe", kind, arguments)


def _message(method: str, kind: str, arguments: dict[str, str]) -> str:
    return orjson.dumps({"method": method, "subscription": {"type": kind, **arguments}}).decode()


class UserStream:
    """Keeps one connection for an address. The account session passes on what happens."""

    def __init__(
        self,
        name: str,
        url: str,
        address: str,
        actions: list[Action],
        timers: Timers,
        random: Random,
        took_over: TookOver,
        silent: Silent,
        life_s: float,
    ) -> None:
        self._url = url
        self._address = address
        self._actions = actions
        self._timers = timers
        self._took_over = took_over
        self._silent = silent
        self._links = Links(name, actions, timers, self._dial, random, prove_s=OPEN_S, life_s=life_s)
        self._dead = False
        self._heard = True
        self.handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "dial": self._on_dial,
            "prove": self._on_prove,
            "rollover": self._on_rollover,
            "overlap": self._on_overlap,
            "ping": self._on_ping,
        }

    @property
    def trusted(self) -> str | None:
        """The connection that events are expected from; None while there is none, or it is known to be dead."""
        return None if self._dead else self._links.live

    def begin(self, now: float) -> None:
        """Make the first connection."""
        self._links.begin(now)
        self._timers.set("ping", now + PING_S)

    def steady(self) -> None:
        """All has been well for a while."""
        self._links.steady()

    def opened(self, connection: str, now: float) -> None:
        """Subscribe. Where nothing is lost by it, the old connection runs on for a while."""
        if not self._links.opened(connection, now):
            return
        for kind in SUBSCRIPTIONS:
            self._actions.append(Send(connection, subscribe(kind, user=self._address)))
        if self.trusted is not None:
            self._timers.set("overlap", now + OVERLAP_S)
        else:
            self._promote(connection, now)

    def heard(self, connection: str) -> None:
        """A frame came."""
        if connection == self._links.live:
            self._heard = True

    def closed(self, connection: str, reason: str, now: float) -> bool:
        """True when the live connection was lost. A successor that is open already takes over by itself."""
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

    def _promote(self, connection: str, now: float) -> None:
        gap = self.trusted is None
        self._dead = False
        self._heard = True
        self._timers.clear("overlap")
        if self._links.prove(connection, now):
            self._took_over(now, gap)

    def _dial(self, now: float) -> None:
        self._links.connect(self._url, now)

    # --- timers

    def _on_dial(self, now: float) -> Sequence[Event]:
        self._links.on_dial(now)
        return ()

    def _on_prove(self, now: float) -> Sequence[Event]:
        self._timers.clear("overlap")
        self._links.on_prove(now)
        return ()

    def _on_rollover(self, now: float) -> Sequence[Event]:
        self._links.on_rollover(now)
        return ()

    def _on_overlap(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._promote(self._links.heir, now)
        return ()

    def _on_ping(self, now: float) -> Sequence[Event]:
        self._timers.set("ping", now + PING_S)
        connection = self.trusted
        if connection is None:
            return ()
        if not self._heard:
            self.renew(now)
            return self._silent(f"the venue did not answer for {PING_S:g} s", now)
        self._heard = False
        self._actions.append(Send(connection, PING))
        return ()
