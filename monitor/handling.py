"""Orders over HTTP: acknowledge, silence, end a silence. Each must bear the token; looking on needs none."""

import hmac
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from alerts.handling import SILENCE_S_MAX
from alerts.message import silence_fields
from alerts.orders import BODY_BYTES_MAX, AcknowledgeOrder, Order, SilenceOrder, read_order
from alerts.silences import fits
from alerts.sink import Handling
from monitor.credential import Secret
from monitor.errors import RefusedError

Answer = Callable[[dict[str, object], int], web.Response]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Orders:
    """The handlers, and who may use them. `known` are the names that a silence can fit at the moment."""

    def __init__(
        self, handling: Handling, token: Secret, answer: Answer, known: Callable[[], Iterable[str]] = lambda: ()
    ) -> None:
        self._handling = handling
        self._known = known
        self._token = token
        self._answer = answer

    def routes(self) -> list[web.RouteDef]:
        """What to add to the server."""
        return [
            web.post("/api/v1/acknowledgements", self._checked(self._acknowledge)),
            web.get("/api/v1/silences", self._list),
            web.post("/api/v1/silences", self._checked(self._silence)),
            web.delete("/api/v1/silences/{id}", self._checked(self._end)),
        ]

    def _checked(self, handler: Handler) -> Handler:
        """Ask for the token, and answer an order that is refused with its reason."""

        async def handle(request: web.Request) -> web.StreamResponse:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            # Bytes that are no text reach us as surrogates; they are compared as the bytes that they were.
            offered, known = given.strip().encode(errors="surrogateescape"), self._token.reveal().encode()
            if scheme.lower() != "bearer" or not hmac.compare_digest(offered, known):
                where = "it is [http] token, or in the file STATE.token beside the state file"
                missing = f"needs the token (MARGINWATCH_TOKEN, or the header Authorization: Bearer ...); {where}"
                return self._answer({"error": f"this is not the token; {where}" if given.strip() else missing}, 401)
            try:
                return await handler(request)
            except RefusedError as refused:
                status = 404 if refused.faults[0].key in ("key", "id") else 400
                return self._answer({"error": str(refused)}, status)

        return handle

    async def _acknowledge(self, request: web.Request) -> web.StreamResponse:
        order = await _order(request, AcknowledgeOrder)
        self._handling.acknowledge(order.key, order.by)
        return self._answer({"acknowledged": order.key}, 200)

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        order = await _order(request, SilenceOrder)
        silence = self._handling.silence(order.subject, order.for_s, order.by, order.reason, emergency=order.emergency)
        # A subject may be silenced before it is there; a mistyped one must not pass for done.
        fits_now = any(fits(order.subject, name) for name in self._known())
        return self._answer({"silence": silence_fields(silence), "fits_now": fits_now}, 201)

    async def _end(self, request: web.Request) -> web.StreamResponse:
        self._handling.end_silence(request.match_info["id"], request.query.get("by", "http"))
        return self._answer({"ended": request.match_info["id"]}, 200)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        silences = [silence_fields(silence) for silence in self._handling.silences()]
        return self._answer({"silences": silences, "for_s_max": SILENCE_S_MAX}, 200)


async def _order(request: web.Request, model: type[Order]) -> Order:
    """The body of a request, checked. Raises RefusedError."""
    body = bytearray()
    try:
        # One read gives what has arrived so far, which need not be all.
        while len(body) <= BODY_BYTES_MAX and (piece := await request.content.read(BODY_BYTES_MAX + 1 - len(body))):
            body += piece
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise RefusedError("body", f"cannot be read: {error}") from None
    return read_order(bytes(body), model)
