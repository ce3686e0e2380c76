"""The listen key and the private stream's connections.

A listen key lives an hour unless extended; the account has one, shared by every program that reads it. So it is
extended every 25 minutes, asked for anew when it died, and never deleted: that would silence the others. A dead key
does not close the socket, and a socket may be opened with a key that never existed: being connected proves nothing.
"""

from collections.abc import Callable, Sequence
from urllib.parse import quote

from connectors.backoff import Backoff
from connectors.binance_common import answers
from connectors.private import PrivateStream, Wiring
from connectors.session import Request, Security
from connectors.wire import BadFrame
from monitor.errors import VenueError
from monitor.model.events import Event

KEEPALIVE_S = 25 * 60.0
KEEPALIVE_JITTER_S = 120.0
NO_SUCH_KEY = -1125

LISTEN = "listen"
KEEP = "keep"


class UserStream(PrivateStream):
    """See `connectors.private.PrivateStream`.

    `requests` is the base and the path of the requests for a key. `addresses` are where the stream may be, with
    ``{key}`` for the listen key: which of them delivers is found by trying, because all of them may connect.
    """

    def __init__(
        self, requests: tuple[str, str], addresses: tuple[str, ...], ask: Callable[[Request], None], wiring: Wiring
    ) -> None:
        super().__init__(addresses[0], wiring)
        self._rest_url, self._path = requests
        self._addresses = addresses
        self._random = wiring.random
        self._ask = ask
        self._backoff = Backoff(1.0, 15.0, wiring.random)
        self.key: str | None = None
        self.keys: set[str] = set()
        self.handlers["keepalive"] = self._on_keepalive

    def renew(self, now: float) -> None:
        """The stream is dead although its socket may be open: ask for a key and connect again.

        A successor that is on its way was made with the same dead key. It goes too, and so does a key that was asked
        for before the death: the answer may name the dead one.
        """
        if self._dead and self._links.dialling:
            return
        self._timers.clear("overlap")
        self._forget(self._links.heir)
        self._links.abandon()
        super().renew(now)

    def distrust(self, now: float) -> None:
        """The stream delivered nothing although its key was good: take the next address from now on."""
        self._url = self._addresses[(self._addresses.index(self._url) + 1) % len(self._addresses)]
        self.renew(now)

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
        self._links.connect(self._url.replace("{key}", quote(self.key or "", safe="")), now)

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

    def _on_keepalive(self, now: float) -> Sequence[Event]:
        self._ask(self._request(KEEP, "PUT"))
        return ()
