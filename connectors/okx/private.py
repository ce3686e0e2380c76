"""The private stream's connections: log in, subscribe, ping, and replace what does not answer.

A refused log-in leaves the socket open. A connection counts once OKX has acknowledged every channel; and even then it
may end a subscription with ``channel-conn-count-error`` and leave the socket open.
"""

import orjson

from connectors.okx.parse import Reply
from connectors.private import PrivateStream, Wiring
from connectors.session import Login, Send

CHANNELS: tuple[dict[str, str], ...] = (
    {"channel": "positions", "instType": "ANY", "extraParams": '{"updateInterval":"2000"}'},
    {"channel": "account"},
    {"channel": "liquidation-warning", "instType": "ANY"},
    {"channel": "balance_and_position"},
)
"""With an interval OKX repeats everything, so what a push was lost for heals by itself; the account's is 5 s."""

VITAL = frozenset({"positions", "account"})
"""Without these the stream is worth nothing; the others only say it sooner, and may be refused."""

_EXTRA = [each["channel"] for each in CHANNELS if each["channel"] not in VITAL]

PING = "ping"

UPGRADE = "64008"
"""OKX will end the connection in a minute."""


class UserStream(PrivateStream):
    """See `connectors.private.PrivateStream`."""

    PING = PING
    PING_S = 10.0
    """OKX ends connections on which nothing went for 30 s; only this text counts, WebSocket pings do not."""

    def __init__(self, url: str, wiring: Wiring) -> None:
        super().__init__(url, wiring)
        self._waiting: dict[str, set[str]] = {}
        """Vital channels not yet acknowledged."""

    def replied(self, connection: str, reply: Reply, now: float) -> str | None:
        """An answer of the venue's. Returns why the live connection is dead, if the answer shows that it is."""
        if not reply.good:
            # Some refusals name the channel in words only.
            channel = reply.channel or next((name for name in _EXTRA if name in reply.text), "")
            if channel and channel not in VITAL:
                return None
            words = f"{reply.text} (code {reply.code})" if reply.code else reply.text
            return self._refused(connection, f"{reply.channel or reply.event} refused: {words or reply.event}", now)
        if reply.event == "login":
            self._waiting[connection] = set(VITAL)
            self._actions.append(Send(connection, orjson.dumps({"op": "subscribe", "args": CHANNELS}).decode()))
        elif reply.event == "subscribe" and connection in self._waiting:
            self._waiting[connection].discard(reply.channel)
            if not self._waiting[connection]:
                del self._waiting[connection]
                self._ready(connection, now)
        elif reply.event == "notice" and reply.code == UPGRADE:
            self._links.begin(now)
        return None

    def _greet(self, connection: str, now: float) -> None:
        self._actions.append(Login(connection))

    def _forget(self, connection: str | None) -> None:
        super()._forget(connection)
        self._waiting.pop(connection or "", None)
