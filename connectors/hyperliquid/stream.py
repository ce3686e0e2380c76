"""An address's own connection: subscriptions and pings.

The venue closes a connection on which it had nothing to say for a minute, so it is given something to answer: its own
ping, which is a message like any other. What is open but silent to pings is dead.
"""

import orjson

from connectors.private import PrivateStream, Wiring
from connectors.session import Send

PING_S = 20.0
PING = orjson.dumps({"method": "ping"}).decode()

SUBSCRIPTIONS = ("allDexsClearinghouseState", "spotState", "userFills")


def subscribe(kind: str, **arguments: str) -> str:
    """The message that asks for a stream."""
    return _message("subscribe", kind, arguments)


def unsubscribe(kind: str, **arguments: str) -> str:
    """The message that ends one."""
    return _message("unsubscribe", kind, arguments)


def _message(method: str, kind: str, arguments: dict[str, str]) -> str:
    return orjson.dumps({"method": method, "subscription": {"type": kind, **arguments}}).decode()


class UserStream(PrivateStream):
    """See `connectors.private.PrivateStream`."""

    PING = PING
    PING_S = PING_S
    PINGS_MISSED_MAX = 1

    def __init__(self, url: str, address: str, wiring: Wiring) -> None:
        super().__init__(url, wiring)
        self._address = address

    def _greet(self, connection: str, now: float) -> None:
        self._actions += [Send(connection, subscribe(kind, user=self._address)) for kind in SUBSCRIPTIONS]
        self._ready(connection, now)
