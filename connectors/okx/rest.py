"""OKX's way of speaking HTTP: signatures, error codes, clock; and the log-in frame of its private stream.

Facts: OKX's V5 documentation (REST authentication, WebSocket login, error codes).
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import urlencode

import orjson

from connectors.rest import Prepared, Reply, told, why_refused
from connectors.session import Request, Security
from monitor.credential import Secret
from monitor.errors import VenueError

REQUESTS_PER_MINUTE = 150
"""The narrowest endpoints allow a user five requests in two seconds; a snapshot asks each of them once."""

TOO_MANY_S = 3.0
"""After a refusal for too many requests that does not say how long; OKX's limits are by the two seconds."""

TOO_MANY = frozenset({50011, 50061})
CLOCK_OFF = frozenset({50102, 50112})
ADL_RUNS = frozenset({50017, 50018, 50019})
LIQUIDATION_RUNS = frozenset({50020, 50021, 50022})
"""Refusals that say that the account, a currency or a position is frozen because it is being closed by force."""

_REGION = "check that region and demo are those of the site on which the key was made"
_FATAL = {
    50101: f"the API key belongs to another environment; {_REGION}",
    50105: "the passphrase is wrong; check that passphrase is the one chosen when the key was made",
    50111: f"the API key is not known there; check that api_key is right, and {_REGION}",
    50113: "the signature is wrong; check that api_secret belongs to api_key",
    50119: f"the API key does not exist there; check that api_key is right, and {_REGION}",
    50110: "the API key is bound to other addresses; check that its IP list holds this machine's",
    50035: "the API key must be bound to an address; check that it is, on okx.com under API",
    50120: 'the API key may not read this; check that it has the permission "Read"',
}
"""Refusals that waiting does not heal, and what to do about each."""


def sign(secret: str, payload: str) -> str:
    """HMAC-SHA-256 in Base64."""
    return base64.b64encode(hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()).decode()


def timestamp(at_ms: int) -> str:
    """ISO 8601 in milliseconds, as REST wants it; the log-in frame wants Unix seconds."""
    return datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class OkxDialect:
    """One account's HTTP. See `connectors.rest.Dialect`. `demo` asks for the demo account, on the same host."""

    def __init__(
        self, venue: str, rest_url: str, key: Secret, secret: Secret, passphrase: Secret, *, demo: bool
    ) -> None:
        self.venue = venue
        self._rest_url = rest_url
        self._key = key
        self._secret = secret
        self._passphrase = passphrase
        self._demo = demo

    def prepare(self, request: Request, at_ms: int) -> Prepared:
        """Time + method + path with query, exactly as it is sent, are signed."""
        query = urlencode(request.params)
        path = f"{request.path}?{query}" if query else request.path
        headers = {"x-simulated-trading": "1"} if self._demo else {}
        if request.security is Security.SIGNED:
            at = timestamp(at_ms)
            headers |= {
                "OK-ACCESS-KEY": self._key.reveal(),
                "OK-ACCESS-SIGN": sign(self._secret.reveal(), f"{at}{request.method}{path}"),
                "OK-ACCESS-TIMESTAMP": at,
                "OK-ACCESS-PASSPHRASE": self._passphrase.reveal(),
            }
        return Prepared(f"{request.base}{path}", headers)

    def login(self, at_ms: int) -> str:
        """The log-in frame of the private stream; good for 30 s from this time of the venue's clock."""
        at = str(at_ms // 1000)
        fields = {
            "apiKey": self._key.reveal(),
            "passphrase": self._passphrase.reveal(),
            "timestamp": at,
            "sign": sign(self._secret.reveal(), f"{at}GET/users/self/verify"),
        }
        return orjson.dumps({"op": "login", "args": [fields]}).decode()

    def fault(self, request: Request, reply: Reply) -> VenueError | None:
        """OKX answers many refusals with HTTP 200: ``code`` tells. Only what a person must mend is not retried."""
        digits, text = told(reply.body, "code", "msg")
        code = int(digits) if isinstance(digits, str) and digits.isascii() and digits.isdigit() else None
        if reply.status == 200 and code == 0:
            return None
        reason = _FATAL.get(code) if code is not None else None
        if reply.status == 200 and code is None:
            text = "the answer is not one of OKX's"
        return VenueError(
            why_refused(self.venue, request, reply, code, reason or text),
            retry=reason is None,
            retry_after_s=_retry_after_s(reply, code),
            code=code or reply.status,
        )

    def is_clock_fault(self, error: VenueError) -> bool:
        """50102 comes for a request more than 30 s off."""
        return error.code in CLOCK_OFF

    def clock_request(self) -> Request:
        """The time endpoint."""
        return Request("time", "GET", self._rest_url, "/api/v5/public/time")

    def clock_ms(self, body: bytes) -> int:
        """``data[0].ts``, a string."""
        try:
            return int(orjson.loads(body)["data"][0]["ts"])
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
            raise VenueError(
                f"{self.venue}: the answer to the question for the time cannot be used", retry=True
            ) from None

    def used_weight(self, reply: Reply) -> int | None:
        """OKX does not tell."""
        return None


def _retry_after_s(reply: Reply, code: int | None) -> float | None:
    value = reply.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    return TOO_MANY_S if reply.status == 429 or code in TOO_MANY else None
