"""The private stream's connections: log in, subscribe, ping, and replace what does not answer.

Being connected proves nothing, and a refused log-in leaves the socket open. A connection counts once Bybit has
acknowledged the subscription; whether events really come, the snapshots show.
"""

from collections.abc import Callable, Sequence
from random import Random

import orjson

from connectors.bybit.parse import Reply
from connectors.links import Links
from connectors.session import Action, Disconnect, Login, Send, Timers
from monitor.model.events import Event

TOPICS = ("position", "wallet", "order", "execution")

PING_S = 20.0
"""Bybit ends connections on which it hears nothing; WebSocket pings do not count."""

OVERLAP_S = 10.0
"""How long the old and the new connection run side by side when a connection is renewed for its age."""

OPEN_S = 30.0
"""For log-in and subscription together."""

PING = '{"op":"ping"}'

TookOver = Callable[[float, bool], None]
"""Told when a connection becomes the live one, and whether events may have been missed before."""


class PrivateStream:
    """Keeps one private connection. The account session passes on what happens and asks for nothing else."""

    def __init__(
        self,
        name: str,
        private_url: str,
        actions: list[Action],
        timers: Timers,
        random: Random,
        took_over: TookOver,
        life_s: float,
    ) -> None:
        self._private_url = private_url
        self._actions = actions
        self._timers = timers
        self._took_over = took_over
        self._links = Links(name, actions, timers, self._dial, random, prove_s=OPEN_S, life_s=life_s)
        self._dead = False
        self._unanswered: dict[str, int] = {}
        """Open connections, and how many pings in a row they have not answered."""
        self.handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "dial": self._on_dial,
            "prove": self._on_prove,
            "rollover": self._on_rollover,
            "overlap": self._on_overlap,
        }

    @property
    def trusted(self) -> str | None:
        """The connection that events are expected from; None while there is none, or it is known to be dead."""
        return None if self._dead else self._links.live

    def begin(self, now: float) -> None:
        """Make the first connection."""
        self._links.begin(now)

    def steady(self) -> None:
        """All has been well for a while."""
        self._links.steady()

    def opened(self, connection: str, now: float) -> None:
        """A handshake is done: log in."""
        if self._links.opened(connection, now):
            self._unanswered[connection] = 0
            self._actions.append(Login(connection))

    def replied(self, connection: str, reply: Reply, now: float) -> str | None:
        """An answer of the venue's. Returns why the live connection is dead, if the answer shows that it is."""
        self._unanswered[connection] = 0
        if not reply.good:
            return self._refused(connection, f"{reply.op}: {reply.text or 'refused'}", now)
        if reply.op == "auth":
            text = orjson.dumps({"req_id": "topics", "op": "subscribe", "args": TOPICS}).decode()
            self._actions.append(Send(connection, text))
        elif reply.op == "subscribe":
            self._subscribed(connection, now)
        return None

    def _refused(self, connection: str, reason: str, now: float) -> str | None:
        if connection == self._links.live:
            return reason
        if connection == self._links.heir:
            self._unanswered.pop(connection, None)
            self._actions.append(Disconnect(connection))
            self._links.fail(reason, now)
        return None

    def _subscribed(self, connection: str, now: float) -> None:
        """Where nothing is lost by it, the old connection runs on for a while."""
        if connection != self._links.heir:
            return
        if self.trusted is not None:
            self._timers.set("overlap", now + OVERLAP_S)
        else:
            self._promote(connection, now)

    def _promote(self, connection: str, now: float) -> None:
        gap, old = self.trusted is None, self._links.live
        self._dead = False
        self._timers.clear("overlap")
        if self._links.prove(connection, now):
            self._unanswered.pop(old or "", None)
            self._took_over(now, gap)

    def closed(self, connection: str, reason: str, now: float) -> bool:
        """True when the live connection was lost. A successor that is ready already takes over by itself."""
        self._unanswered.pop(connection, None)
        was_live = connection == self._links.live
        if connection == self._links.heir:
            self._timers.clear("overlap")
        self._links.closed(connection, reason, now)
        if was_live and self._timers.is_set("overlap"):
            self._timers.set("overlap", now)
        return was_live

    @property
    def lost_reason(self) -> str:
        """Why the last connection came to nothing."""
        return self._links.lost_reason

    def renew(self, now: float) -> None:
        """The stream is dead although its socket may be open: connect again."""
        self._dead = True
        self._links.replace(now)

    def ping(self, now: float) -> str | None:
        """Ping every connection. Returns why the live connection is dead, if it did not answer twice."""
        silent = None
        for connection, unanswered in self._unanswered.items():
            self._unanswered[connection] = unanswered + 1
            self._actions.append(Send(connection, PING))
            if connection == self.trusted and unanswered >= 2:
                silent = f"no answer to a ping for {PING_S * unanswered:.0f} s"
        return silent

    def _dial(self, now: float) -> None:
        self._links.connect(self._private_url, now)

    # --- timers

    def _on_dial(self, now: float) -> Sequence[Event]:
        self._links.on_dial(now)
        return ()

    def _on_prove(self, now: float) -> Sequence[Event]:
        self._timers.clear("overlap")
        self._unanswered.pop(self._links.heir or "", None)
        self._links.on_prove(now)
        return ()

    def _on_rollover(self, now: float) -> Sequence[Event]:
        self._links.on_rollover(now)
        return ()

    def _on_overlap(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._promote(self._links.heir, now)
        return ()
