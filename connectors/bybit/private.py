"""The private stream's connections: log in, subscribe, ping, and replace what does not answer.

A refused log-in leaves the socket open. A connection counts once Bybit has acknowledged the subscription.
"""

import orjson

from connectors.bybit.parse import Reply
from connectors.private import PrivateStream
from connectors.session import Login, Send

TOPICS = ("position", "wallet", "order", "execution")


class UserStream(PrivateStream):
    """See `connectors.private.PrivateStream`."""

    PING = '{"op":"ping"}'
    """Bybit ends connections on which it hears nothing; WebSocket pings do not count."""

    def replied(self, connection: str, reply: Reply, now: float) -> str | None:
        """An answer of the venue's. Returns why the live connection is dead, if the answer shows that it is."""
        self.heard(connection)
        if not reply.good:
            return self._refused(connection, f"{reply.op}: {reply.text or 'refused'}", now)
        if reply.op == "auth":
            text = orjson.dumps({"req_id": "topics", "op": "subscribe", "args": TOPICS}).decode()
            self._actions.append(Send(connection, text))
        elif reply.op == "subscribe":
            self._ready(connection, now)
        return None

    def _greet(self, connection: str, now: float) -> None:
        self._actions.append(Login(connection))
