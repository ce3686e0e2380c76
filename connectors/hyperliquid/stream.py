"""An address's own connection: subscriptions and pings.

A connection counts once the venue has acknowledged what is vital. It may refuse it on a socket that stays open, for one
because it streams only so many addresses to a machine.

The venue closes a connection on which it had nothing to say for a minute, so it is given something to answer: its own
ping, which is a message like any other. What is open but silent to pings is dead.
"""

import orjson

from connectors.hyperliquid.parse import Answered, Refused
from connectors.private import PrivateStream, Wiring
from connectors.session import Send

PING_S = 20.0
PING = orjson.dumps({"method": "ping"}).decode()

VITAL = ("allDexsClearinghouseState", "spotState")
"""Without these the stream is worth nothing; fills only tell sooner what the states tell too."""

SUBSCRIPTIONS = (*VITAL, "userFills")

REFUSED_S = 60.0
"""At least until a refused address is tried again: what the venue allows a machine does not change in a moment, and it
allows 30 new connections a minute to all of it."""


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
        self._waiting: dict[str, set[str]] = {}
        """Vital subscriptions not yet acknowledged."""

    def replied(self, connection: str, told: Answered | Refused, now: float) -> str | None:
        """An answer of the venue's. Returns why the live connection is dead, if the answer shows that it is."""
        waiting = self._waiting.get(connection)
        match told:
            case Answered(ended=True):
                return self._refused(connection, f"the venue ended the stream {told.subscription}", now)
            case Answered() if waiting is not None:
                waiting.discard(told.subscription)
                if not waiting:
                    del self._waiting[connection]
                    self._ready(connection, now)
            case Refused() if waiting is not None:
                reason = f"Hyperliquid refused a subscription: {told.words}"
                return self._refused(connection, reason, now, at_least_s=REFUSED_S)
        return None

    def _greet(self, connection: str, now: float) -> None:
        self._waiting[connection] = set(VITAL)
        self._actions += [Send(connection, subscribe(kind, user=self._address)) for kind in SUBSCRIPTIONS]

    def _forget(self, connection: str | None) -> None:
        super()._forget(connection)
        self._waiting.pop(connection or "", None)
