"""Hyperliquid's way of speaking HTTP: every question is a POST to ``/info``, unsigned, of public things.

Facts: Hyperliquid's documentation, "Info endpoint" and "Rate limits and user limits".
"""

import orjson

from connectors.rest import Prepared, Reply, clock_in
from connectors.session import Request
from monitor.errors import VenueError

WEIGHT_PER_MINUTE = 1200
"""Per address of the asking machine."""

_WEIGHTS = {"clearinghouseState": 2, "spotClearinghouseState": 2, "userRole": 60}
_OTHER_WEIGHT = 20

_CANNOT_READ = 422
"""A body that the venue cannot read: the question itself is wrong, and asking again is no help."""


def weight(question: str) -> int:
    """What a question costs."""
    return _WEIGHTS.get(question, _OTHER_WEIGHT)


def info(rest_url: str, kind: str, question: str, *, age_s: float = 0.0, **arguments: str) -> Request:
    """A question to the info endpoint, under an id of its own `kind`. `age_s`: as in `Request`."""
    params = (("type", question), *arguments.items())
    return Request(kind, "POST", rest_url, "/info", params=params, weight=weight(question), age_s=age_s)


class HyperliquidDialect:
    """See `connectors.rest.Dialect`. There is nothing to sign and no clock in a request."""

    def __init__(self, venue: str, rest_url: str) -> None:
        self.venue = venue
        self._rest_url = rest_url

    def prepare(self, request: Request, at_ms: int) -> Prepared:
        """The parameters as one flat JSON object."""
        body = orjson.dumps(dict(request.params))
        return Prepared(f"{request.base}{request.path}", {"Content-Type": "application/json"}, body)

    def fault(self, request: Request, reply: Reply) -> VenueError | None:
        """The HTTP status is all that is promised: what a body of an error looks like is not documented."""
        if reply.status == 200:
            return None
        question = dict(request.params).get("type", "")
        reason = f"HTTP {reply.status}"
        if reply.status == _CANNOT_READ:
            reason += (
                "; the venue cannot read the question: check that the address is right and that rest_url is a "
                "Hyperliquid API"
            )
        return VenueError(
            f"{self.venue} {request.method} {request.path} {question}: {reason}",
            retry=reply.status != _CANNOT_READ,
            retry_after_s=_retry_after_s(reply),
            code=reply.status,
        )

    def is_clock_fault(self, error: VenueError) -> bool:
        """No request bears a time."""
        return False

    def clock_request(self) -> Request:
        """The status of the exchange, which bears its time; nothing asks for it unless something is signed."""
        return info(self._rest_url, "time", "exchangeStatus")

    def clock_ms(self, body: bytes) -> int:
        """``time``."""
        return clock_in(self.venue, body, "time")

    def used_weight(self, reply: Reply) -> int | None:
        """No answer tells."""
        return None


def _retry_after_s(reply: Reply) -> float | None:
    """Whether a 429 bears a wish is not documented; one that does is heard."""
    value = reply.headers.get("Retry-After", "")
    return float(value) if reply.status in (418, 429) and value.isascii() and value.isdigit() else None
