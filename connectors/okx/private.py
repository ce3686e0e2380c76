"""The private stream's connections: log in, subscribe, ping, and replace what does not answer.

Being connected proves nothing, and a refused log-in leaves the socket open. A connection counts once OKX has
acknowledged every channel; and even then it may end a subscription with ``channel-conn-count-error`` and leave the
socket open. Whether events really come, the snapshots show.
"""

from collections.abc import Callable, Sequence
from random import Random

import orjson

from connectors.links import Links
from connectors.okx.parse import Reply
from connectors.session import Action, Disconnect, Login, Send, Timers
from monitor.model.events import Event

CHANNELS: tuple[dict[str, str], ...] = (
    {"channel": "positions", "instType": "ANY", "extraParams": '{"updateInterval":"2000"}'},
    {"channel": "account"},
    {"channel": "liquidation-warning", "instType": "ANY"},
    {"channel": "balance_and_position"},
)
"""With an interval OKX repeats everything, so what a push was lost for heals by itself; the account's is 5 s."""

VITAL = frozenset({"positions", "account"})
"""Without these the stream is worth nothing; the others only say it sooner, and may be refused."""

PING = "ping"
PING_S = 10.0
"""OKX ends connections on which nothing went for 30 s; only this text counts, WebSocket pings do not."""

OVERLAP_S = 10.0
"""How long the old and the new connection run side by side when a connection is renewed for its age."""

OPEN_S = 30.0
"""For log-in and subscription together."""

UPGRADE = "64008"
"""OKX will end the connection in a minute."""

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
        self._unheard: dict[str, int] = {}
        """Open connections, and after how many pings in a row nothing at all was heard."""
        self._waiting: dict[str, set[str]] = {}
        """Vital channels not yet acknowledged."""
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

    @property
    def lost_reason(self) -> str:
        """Why the last connection came to nothing."""
        return self._links.lost_reason

    def begin(self, now: float) -> None:
        """Make the first connection."""
        self._links.begin(now)

    def steady(self) -> None:
        """All has been well for a while."""
        self._links.steady()

    def opened(self, connection: str, now: float) -> None:
        """A handshake is done: log in."""
        if self._links.opened(connection, now):
            self._unheard[connection] = 0
            self._actions.append(Login(connection))

    def heard(self, connection: str) -> None:
        """Something came."""
        if connection in self._unheard:
            self._unheard[connection] = 0

    def replied(self, connection: str, reply: Reply, now: float) -> str | None:
        """An answer of the venue's. Returns why the live connection is dead, if the answer shows that it is."""
        if not reply.good:
            if reply.channel and reply.channel not in VITAL:
                return None
            words = f"{reply.text} (code {reply.code})" if reply.code else reply.text
            return self._refused(connection, f"{reply.channel or reply.event} refused: {words or reply.event}", now)
        if reply.event == "login":
            self._waiting[connection] = set(VITAL)
            self._actions.append(Send(connection, orjson.dumps({"op": "subscribe", "args": CHANNELS}).decode()))
        elif reply.event == "subscribe" and connection in self._waiting:
            self._waiting[connection].discard(reply.channel)
            if not self._waiting[connection]:
                self._subscribed(connection, now)
        elif reply.event == "notice" and reply.code == UPGRADE:
            self._links.begin(now)
        return None

    def _refused(self, connection: str, reason: str, now: float) -> str | None:
        if connection == self._links.live:
            return reason
        if connection == self._links.heir:
            self._forget(connection)
            self._actions.append(Disconnect(connection))
            self._links.fail(reason, now)
        return None

    def _forget(self, connection: str | None) -> None:
        self._unheard.pop(connection or "", None)
        self._waiting.pop(connection or "", None)

    def _subscribed(self, connection: str, now: float) -> None:
        """Where nothing is lost by it, the old connection runs on for a while."""
        del self._waiting[connection]
        if connection != self._links.heir:
            return
        if self.trusted is not None:
            self._timers.set("overlap", now + OVERLAP_S)
            self._timers.set("prove", now + OVERLAP_S + OPEN_S)
        else:
            self._promote(connection, now)

    def _promote(self, connection: str, now: float) -> None:
        gap, old = self.trusted is None, self._links.live
        self._dead = False
        self._timers.clear("overlap")
        if self._links.prove(connection, now):
            self._forget(old)
            self._took_over(now, gap)

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

    def ping(self) -> str | None:
        """Ping every connection. Returns why the live connection is dead, if nothing was heard after two pings."""
        silent = None
        for connection, unheard in self._unheard.items():
            self._unheard[connection] = unheard + 1
            self._actions.append(Send(connection, PING))
            if connection == self.trusted and unheard >= 2:
                silent = f"no answer to a ping for {PING_S * unheard:.0f} s"
        return silent

    def _dial(self, now: float) -> None:
        self._links.connect(self._private_url, now)

    # --- timers

    def _on_dial(self, now: float) -> Sequence[Event]:
        self._links.on_dial(now)
        return ()

    def _on_prove(self, now: float) -> Sequence[Event]:
        self._timers.clear("overlap")
        self._forget(self._links.heir)
        self._links.on_prove(now)
        return ()

    def _on_rollover(self, now: float) -> Sequence[Event]:
        self._links.on_rollover(now)
        return ()

    def _on_overlap(self, now: float) -> Sequence[Event]:
        if self._links.heir is not None:
            self._promote(self._links.heir, now)
        return ()
