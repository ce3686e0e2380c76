"""The listen key and the private stream's connections.

A listen key lives an hour unless extended; the account has one, shared by every program that reads it. So it is
extended every 25 minutes, asked for anew when it died, and never deleted: that would silence the others. A dead key
does not close the socket, and a socket may be opened with a key that never existed: being connected proves nothing.
"""

from collections.abc import Callable, Sequence
from random import Random
from urllib.parse import quote

from connectors.backoff import Backoff
from connectors.binance_common import answers
from connectors.binance_common.parse import BadFrame
from connectors.links import Links
from connectors.session import Action, Request, Security, Timers
from monitor.errors import VenueError
from monitor.model.events import Event

KEEPALIVE_S = 25 * 60.0
KEEPALIVE_JITTER_S = 120.0
OVERLAP_S = 10.0
"""How long the old and the new connection run side by side when a connection is renewed for its age."""

OPEN_S = 30.0
NO_SUCH_KEY = -1125

LISTEN = "listen"
KEEP = "keep"


TookOver = Callable[[float, bool], None]
"""Told when a connection becomes the live one, and whether events may have been missed before."""


class PrivateStream:
    """Keeps one private connection. The account session passes on what happens and asks for nothing else.

    `requests` is the base and the path of the requests for a key. `addresses` are where the stream may be, with
    ``{key}`` for the listen key: which of them delivers is found by trying, because all of them may connect.
    """

    def __init__(
        self,
        name: str,
        requests: tuple[str, str],
        addresses: tuple[str, ...],
        actions: list[Action],
        timers: Timers,
        random: Random,
        ask: Callable[[Request], None],
        took_over: TookOver,
        life_s: float,
    ) -> None:
        self._rest_url, self._path = requests
        self._addresses = addresses
        self._address = 0
        self._timers = timers
        self._random = random
        self._ask = ask
        self._took_over = took_over
        self._backoff = Backoff(1.0, 15.0, random)
        self._links = Links(name, actions, timers, self._dial, random, prove_s=OPEN_S, life_s=life_s)
        self._dead = False
        self.key: str | None = None
        self.keys: set[str] = set()
        self.handlers: dict[str, Callable[[float], Sequence[Event]]] = {
            "dial": self._on_dial,
            "prove": self._on_prove,
            "rollover": self._on_rollover,
            "overlap": self._on_overlap,
            "keepalive": self._on_keepalive,
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
        """A handshake is done. Where nothing is lost by it, the old connection runs on for a while."""
        if not self._links.opened(connection, now):
            return
        if self.trusted is not None:
            self._timers.set("overlap", now + OVERLAP_S)
        else:
            self._promote(connection, now)

    def _promote(self, connection: str, now: float) -> None:
        gap = self.trusted is None
        self._dead = False
        self._timers.clear("overlap")
        if self._links.prove(connection, now):
            self._took_over(now, gap)

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
        """The stream is dead although its socket may be open: ask for a key and connect again.

        A successor that is on its way was made with the same dead key. It goes too, and so does a key that was asked
        for before the death: the answer may name the dead one.
        """
        if self._dead and self._links.dialling:
            return
        self._dead = True
        self._timers.clear("overlap")
        self._links.abandon()
        self._links.replace(now)

    def turn(self) -> None:
        """The stream delivered nothing although its key was good: take the next address from now on."""
        self._address = (self._address + 1) % len(self._addresses)

    # --- the key

    def _dial(self, now: float) -> None:
        self._ask(self._request(LISTEN, "POST"))

    def _request(self, kind: str, method: str) -> Request:
        return Request(kind, method, self._rest_url, self._path, Security.KEY)

    def granted(self, body: bytes, now: float) -> None:
        """The answer to the request for a key. Raises BadFrame."""
        if not self._links.dialling:
            return
        self._learn(answers.listen_key(body))
        self._set_keepalive(now)
        address = self._addresses[self._address]
        self._links.connect(address.replace("{key}", quote(self.key or "", safe="")), now)

    def refused(self, error: VenueError, now: float) -> None:
        """No key this time."""
        if not self._links.dialling:
            return
        self._links.fail(str(error), now, error.retry_after_s)

    def kept(self, body: bytes, now: float) -> bool:
        """The key was extended. True when the venue names another instead: ours is dead."""
        self._backoff.reset()
        self._set_keepalive(now)
        try:
            key = answers.listen_key(body)
        except BadFrame:
            return False  # Older answers are empty.
        if key == self.key:
            return False
        self._learn(key)
        self.renew(now)
        return True

    def not_kept(self, error: VenueError, now: float) -> bool:
        """True when the key is dead. Otherwise the extension is tried again, well within what is left of the hour."""
        if error.code == NO_SUCH_KEY:
            self.renew(now)
            return True
        self._timers.set("keepalive", now + self._backoff.next(error.retry_after_s))
        return False

    def _learn(self, key: str) -> None:
        self.key = key
        self.keys.add(key)

    def _set_keepalive(self, now: float) -> None:
        self._timers.set("keepalive", now + KEEPALIVE_S - self._random.uniform(0.0, KEEPALIVE_JITTER_S))

    # --- timers

    def _on_keepalive(self, now: float) -> Sequence[Event]:
        self._ask(self._request(KEEP, "PUT"))
        return ()

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
