"""Binance's way of speaking HTTP: signatures, error codes, budget, clock.

Facts: Binance's documentation of its futures REST APIs (endpoint security, error codes, limits).
"""

import hashlib
import hmac
from urllib.parse import urlencode

from connectors.rest import Prepared, Reply, clock_in, told, whole, why_refused
from connectors.session import Request, Security
from monitor.credential import Secret
from monitor.errors import VenueError

WEIGHT_PER_MINUTE = 2400
RECEIVE_WINDOW_MS = 5000

CLOCK_OFF = -1021
_FATAL = {
    -1022: "the signature is wrong; check that api_secret belongs to api_key",
    -2008: "the API key is not known there; check api_key, and that it was made on the host in rest_url",
    -2014: "the API key has a wrong format; check api_key",
    -2015: (
        "the API key is refused; check that it exists, that it may read (Enable Reading) and that its IP restriction "
        "allows this machine"
    ),
    -2017: "the API keys of this account are locked; unlock them on binance.com",
}
"""Refusals that waiting does not heal, and what to do about each."""


def sign(secret: str, payload: str) -> str:
    """HMAC-SHA-256 of the query string exactly as it is sent, in lower-case hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class BinanceDialect:
    """One account's HTTP. See `connectors.rest.Dialect`."""

    def __init__(self, venue: str, rest_url: str, api_key: Secret, api_secret: Secret, time_path: str) -> None:
        self.venue = venue
        self._rest_url = rest_url
        self._api_key = api_key
        self._api_secret = api_secret
        self._time_path = time_path

    def prepare(self, request: Request, at_ms: int) -> Prepared:
        """Percent-encode first, then sign, signature last: Binance verifies the text as transmitted."""
        query = urlencode(request.params)
        if request.security is Security.SIGNED:
            stamp = urlencode({"recvWindow": RECEIVE_WINDOW_MS, "timestamp": at_ms})
            query = f"{query}&{stamp}" if query else stamp
            query = f"{query}&signature={sign(self._api_secret.reveal(), query)}"
        url = f"{request.base}{request.path}"
        headers = {} if request.security is Security.NONE else {"X-MBX-APIKEY": self._api_key.reveal()}
        return Prepared(f"{url}?{query}" if query else url, headers)

    def fault(self, request: Request, reply: Reply) -> VenueError | None:
        """Binance's code where there is one, else the HTTP status; only what a person must mend is not retried."""
        if reply.status == 200:
            return None
        value, text = told(reply.body, "code", "msg")
        code = whole(value)
        reason = _FATAL.get(code) if code is not None else None
        # A path that a host does not have is answered with codes of several kinds: there the status says more.
        by_status = code is None or (reason is None and reply.status in (403, 404))
        return VenueError(
            why_refused(self.venue, request, reply, code, reason or text),
            retry=reason is None,
            retry_after_s=_retry_after_s(reply),
            code=reply.status if by_status else code,
        )

    def is_clock_fault(self, error: VenueError) -> bool:
        """-1021 comes both for a clock that is behind and for one more than a second ahead."""
        return error.code == CLOCK_OFF

    def clock_request(self) -> Request:
        """The time endpoint; the time in exchangeInfo may be hours old."""
        return Request("time", "GET", self._rest_url, self._time_path)

    def clock_ms(self, body: bytes) -> int:
        """``serverTime``."""
        return clock_in(self.venue, body, "serverTime")

    def used_weight(self, reply: Reply) -> int | None:
        """The header that every answer carries."""
        value = reply.headers.get("X-MBX-USED-WEIGHT-1M", "")
        return int(value) if value.isascii() and value.isdigit() else None


def _retry_after_s(reply: Reply) -> float | None:
    value = reply.headers.get("Retry-After", "")
    if reply.status in (418, 429):
        # Bans last up to three days; one that is not told is taken for two minutes, the shortest.
        return float(value) if value.isascii() and value.isdigit() else (120.0 if reply.status == 418 else 60.0)
    return None
