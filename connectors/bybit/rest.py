"""Bybit's way of speaking HTTP: signatures, error codes, limits, clock; and the log-in frame of its private stream.

Facts: Bybit's V5 documentation (integration guidance, error codes, rate limits, WebSocket authentication).
"""

import hashlib
import hmac
from urllib.parse import urlencode

import orjson

from connectors.rest import Prepared, Reply, clock_in, told, whole, why_refused
from connectors.session import Request, Security
from monitor.credential import Secret
from monitor.errors import VenueError

REQUESTS_PER_MINUTE = 300
"""Bybit allows an address 600 in any 5 s and shuts it out for ten minutes after more. So few in a minute keep that even
when two minutes meet, and are far more than a handful of accounts ask for."""

RECEIVE_WINDOW_MS = 5000
LOGIN_VALID_MS = 10_000
"""How long a log-in frame is good for; one that expired on its way is refused."""

SHUT_OUT_S = 600.0
TOO_MANY_S = 5.0
"""After "too many visits" of one endpoint, whose limits are by the second."""

CLOCK_OFF = 10002
TOO_MANY = 10006
_FATAL = {
    10003: (
        "the API key is not known there; check that api_key is right and was made for this address (production, the "
        "test network, demo trading and the regional sites have keys of their own)"
    ),
    10004: "the signature is wrong; check that api_secret belongs to api_key",
    10005: "the API key may not read this; check that it may read Contract positions, orders and the unified account",
    10007: "the API key is refused; check api_key and api_secret",
    10010: "the API key is bound to other addresses; check that its IP restriction allows this machine",
    33004: "the API key has expired; make a new one",
    -2015: "the API key has expired; make a new one",
}
"""Refusals that waiting does not heal, and what to do about each."""


def sign(secret: str, payload: str) -> str:
    """HMAC-SHA-256 in lower-case hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class BybitDialect:
    """One account's HTTP. See `connectors.rest.Dialect`."""

    def __init__(self, venue: str, rest_url: str, api_key: Secret, api_secret: Secret) -> None:
        self.venue = venue
        self._rest_url = rest_url
        self._api_key = api_key
        self._api_secret = api_secret

    def prepare(self, request: Request, at_ms: int) -> Prepared:
        """Time + key + window + query, exactly as it is sent, are signed; all but the query go in headers."""
        query = urlencode(request.params)
        url = f"{request.base}{request.path}"
        headers: dict[str, str] = {}
        if request.security is Security.SIGNED:
            key = self._api_key.reveal()
            stamp = f"{at_ms}{key}{RECEIVE_WINDOW_MS}"
            headers = {
                "X-BAPI-API-KEY": key,
                "X-BAPI-TIMESTAMP": str(at_ms),
                "X-BAPI-RECV-WINDOW": str(RECEIVE_WINDOW_MS),
                "X-BAPI-SIGN": sign(self._api_secret.reveal(), f"{stamp}{query}"),
            }
        return Prepared(f"{url}?{query}" if query else url, headers)

    def login(self, at_ms: int) -> str:
        """The log-in frame of the private stream, good for a few seconds from this time of the venue's clock."""
        expires = at_ms + LOGIN_VALID_MS
        signature = sign(self._api_secret.reveal(), f"GET/realtime{expires}")
        return orjson.dumps(
            {"req_id": "auth", "op": "auth", "args": [self._api_key.reveal(), expires, signature]}
        ).decode()

    def fault(self, request: Request, reply: Reply) -> VenueError | None:
        """Bybit answers most refusals with HTTP 200: ``retCode`` tells. Only what a person must mend is not retried."""
        value, text = told(reply.body, "retCode", "retMsg")
        code = whole(value)
        if reply.status == 200 and code == 0:
            return None
        reason = _FATAL.get(code) if code is not None else None
        if reply.status == 200 and code is None:
            text = "the answer is not one of Bybit's"
        return VenueError(
            why_refused(self.venue, request, reply, code, reason or text),
            retry=reason is None,
            retry_after_s=_retry_after_s(reply, code),
            code=reply.status if code in (None, 0) else code,
        )

    def is_clock_fault(self, error: VenueError) -> bool:
        """10002 comes both for a clock that is behind and for one more than a second ahead."""
        return error.code == CLOCK_OFF

    def clock_request(self) -> Request:
        """The time endpoint."""
        return Request("time", "GET", self._rest_url, "/v5/market/time")

    def clock_ms(self, body: bytes) -> int:
        """``time`` of the envelope, which every answer carries."""
        return clock_in(self.venue, body, "time")

    def used_weight(self, reply: Reply) -> int | None:
        """Bybit tells only what is left of an endpoint's second."""
        return None


def _retry_after_s(reply: Reply, code: int | None) -> float | None:
    if code == TOO_MANY:
        return _until_reset_s(reply)
    if reply.status not in (403, 418, 429):
        return None
    value = reply.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    # 403 without a code is "access too frequent": the address is shut out for at least ten minutes.
    return SHUT_OUT_S if reply.status == 403 else 60.0


def _until_reset_s(reply: Reply) -> float:
    """From the answer's time to the moment at which the endpoint's limit starts anew, both by the venue's clock."""
    reset = reply.headers.get("X-Bapi-Limit-Reset-Timestamp", "")
    told = orjson.loads(reply.body).get("time")
    if not (reset.isascii() and reset.isdigit() and isinstance(told, int)):
        return TOO_MANY_S
    return min(max((int(reset) - told) / 1000.0, 1.0), 60.0)
