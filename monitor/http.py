"""The HTTP server: metrics, health, JSON, the board and a plain page, read from the book when somebody asks.

It answers on the loopback interface unless told otherwise. Every answer that grows with the book is made in small
pieces with a turn for the event loop in between, so that a reader of many pools does not delay a tick.
"""

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Annotated, Any, Protocol

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from alerts.danger import Scale
from alerts.message import encode, rfc3339
from alerts.sink import Handling
from alerts.sinks.prometheus import AlertSource
from monitor.board.routes import EVENTS_PATH, Board
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.errors import ConfigurationError, Fault
from monitor.handling import Orders
from monitor.model.assessment import PoolTable
from monitor.model.sources import PoolSource
from monitor.token import bearable
from monitor.turns import in_turns
from monitor.views import STYLESHEET, Json, PageState, PoolRow, page, pool_json, rows, unread

POOLS_DEFAULT, POOLS_MAX, PAGE_POOLS_MAX, PAGE_ALERTS_MAX = 500, 100_000, 200, 50

CONNECTIONS_MAX = 64
"""Open connections beside the board's event streams; beyond it the oldest are dropped. aiohttp waits for ever for the
first request of a connection, and what a stranger leaves open must never cost the file descriptors that reach the
venues."""

_FORBIDDEN = {errno.EACCES, errno.EPERM}
"""What keeps an address from this user for good."""

LAG_BEAT_S, LAG_BEATS, LAG_S_MAX = 0.5, 30, 2.0
"""The loop is responsive when none of the last 15 seconds' beats came more than 2 seconds late."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_JSON = "application/json"
_begun: ContextVar[bool] = ContextVar("begun", default=False)
"""Whether the answer to the request of this context has begun."""

_log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpConfig(BaseModel):
    """`[http]` of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = "127.0.0.1:9464"
    """Address and port, ``[::1]:9464`` for IPv6; port 0 takes any free one."""

    allowed_hosts: tuple[Annotated[str, StringConstraints(to_lower=True)], ...] = ()
    """Further host names under which a loopback address may be asked, for example behind a reverse proxy."""

    token: Secret | None = None
    """What orders (acknowledge, silence) must bear; without it one is made beside the state file."""

    answer_s: float = Field(default=10.0, gt=0, le=300)
    """How long one answer may take, the reader's own slowness included."""

    requests_max: int = Field(default=16, ge=1, le=1000)
    """Answers under way at once; further requests are refused with 503."""

    @field_validator("listen")
    @classmethod
    def _checked(cls, listen: str) -> str:
        split_listen(listen)
        return listen

    @field_validator("token")
    @classmethod
    def _bearable(cls, token: Secret | None) -> Secret | None:
        return None if token is None else bearable(token)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return split_listen(self.listen)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        host, _ = self.address
        return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``host:port``; raises ValueError with a sentence."""
    host, _, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError('must be "address:port", for example "127.0.0.1:9464" or "[::1]:9464"')
    return host.strip("[]"), int(port)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Metrics(Protocol):
    """Whoever can say what ``/metrics`` says: `alerts.sinks.prometheus.Exposition`."""

    def render(self, accept: str) -> tuple[str, Iterator[bytes]]:
        """Content type for an ``Accept`` header, and the body in small pieces."""
        ...


class LoopWatch:
    """How late the event loop has been lately, from a beat that it is asked for twice a second."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=LAG_BEATS)

    async def run(self, at_each_beat: Callable[[], None]) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_BEAT_S
            await asyncio.sleep(LAG_BEAT_S)
            self.beat(loop.time() - due)
            at_each_beat()

    def beat(self, late_s: float) -> None:
        """One beat came `late_s` after it was due."""
        self._lags.append(max(late_s, 0.0))

    @property
    def worst_s(self) -> float:
        """The latest of the remembered beats."""
        return max(self._lags, default=0.0)


class HttpServer:
    """Serves from `start` to `stop`."""

    def __init__(
        self,
        config: HttpConfig,
        source: PoolSource,
        alerts: AlertSource,
        metrics: Metrics,
        clock: Clock,
        handling: Handling,
        token: Secret,
    ) -> None:
        self._config = config
        self._orders = Orders(handling, token, lambda body, status: _json(body, status=status), self._names)
        self._board = Board(source, alerts, handling, clock, _HEADERS)
        self._source = source
        self._alerts = alerts
        self._metrics = metrics
        self._clock = clock
        self._watch = LoopWatch()
        self._beating: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self.under_way = 0
        """Answers that are being made or sent."""

    @property
    def urls(self) -> list[str]:
        """Where it answers, once started; the port is the real one."""
        addresses = self._runner.addresses if self._runner is not None else []
        return [f"http://{_bracketed(address[0])}:{address[1]}" for address in addresses]

    async def start(self, source: str = "configuration") -> None:
        """Listen. Raises ConfigurationError, naming the file `source`, when the address cannot be had.

        Its `retry` is true unless this user may never have the address: a port is free again, an interface comes up.
        """
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_harden)
        app.add_routes(
            [
                web.get("/plain", self._page),
                web.get("/page.css", self._stylesheet),
                web.get("/metrics", self._get_metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/api/v1/pools", self._pools),
                web.get("/api/v1/alerts", self._firing),
                *self._orders.routes(),
                *self._board.routes(),
            ]
        )
        runner = _Runner(app, access_log=None, logger=_server_log(), shutdown_timeout=1.0)
        await runner.setup()
        host, port = self._config.address
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            fault = Fault("http.listen", _why_not(self._config.listen, error))
            raise ConfigurationError(source, [fault], retry=error.errno not in _FORBIDDEN) from error
        self._runner = runner
        self._beating = asyncio.create_task(self._watch.run(self._at_each_beat), name="http-loop-watch")
        _log.info("http listens", urls=self.urls)
        if not self._config.loopback:
            _log.warning(
                "http answers anyone who can reach it, without asking who they are", listen=self._config.listen
            )

    async def stop(self) -> None:
        """Stop listening; answers under way get a second to finish."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None
        self._board.feed.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _names(self) -> Iterator[str]:
        """What a silence can fit now: pools, and the keys of what fires."""
        yield from self._source.table().pools
        yield from (alert.key for alert in self._alerts.firing())

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse strangers' names and too many at once; bound every answer in time; answer also what goes wrong."""
        if self._config.loopback and not self._own_name(request.headers.get("Host", "")):
            # A page from elsewhere whose name was made to point at this machine must not read the account.
            return _json({"error": "unknown host; allow it with http.allowed_hosts"}, status=421)
        if request.path != EVENTS_PATH and self.under_way >= self._config.requests_max:
            return _json({"error": "too many requests at once"}, status=503)
        _begun.set(False)
        try:
            return await self._bounded(request, handler)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # The reader does not read; what waits for it is let go.
            return _json({"error": "the answer took too long"}, status=503)
        except ConnectionError:
            return _json({"error": "the reader left"}, status=503)  # Goes nowhere; aiohttp wants an answer.
        except web.HTTPException as answer:
            return _json({"error": answer.reason}, status=answer.status)
        except Exception:  # noqa: BLE001 - whatever a handler does, an answer has its headers
            _log.exception("a request could not be answered", method=request.method, path=request.path)
            if _begun.get() and request.transport is not None:
                request.transport.abort()  # A part of an answer must not pass for a whole one.
            return _json({"error": "the monitor is at fault; its log says more"}, status=500)

    async def _bounded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The answer within `answer_s`. The stream of events lasts for as long as its reader looks."""
        if request.path == EVENTS_PATH:
            return await handler(request)
        self.under_way += 1
        try:
            async with asyncio.timeout(self._config.answer_s):
                return await handler(request)
        finally:
            self.under_way -= 1

    def _at_each_beat(self) -> None:
        self._drop_oldest()
        self._board.remember()

    def _drop_oldest(self) -> None:
        server = self._runner.server if self._runner is not None else None
        streams = self._board.feed.protocols  # They are old because somebody looks.
        connections = [each for each in server.connections if each not in streams] if server is not None else []
        for connection in connections[: max(0, len(connections) - CONNECTIONS_MAX)]:
            connection.force_close()

    def _own_name(self, host_header: str) -> bool:
        """Whether a ``Host`` header names this machine; an address does, since no name was made to point to it."""
        host, colon, port = host_header.lower().rpartition(":")
        name = host if colon and port.isdecimal() else host_header.lower()
        bare = name.strip("[]")
        return not bare or bare == "localhost" or bare in self._config.allowed_hosts or _is_address(bare)

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        """The process answers, so it is alive; its loop is responsive unless it was late of late."""
        lag_s = self._watch.worst_s
        good = lag_s <= LAG_S_MAX
        body: Json = {"status": "ok" if good else "slow", "loop_lag_seconds": round(lag_s, 6)}
        return _json(body, status=200 if good else 503)

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        ready, reasons = self._source.ready()
        return _json({"ready": ready, "reasons": reasons}, status=200 if ready else 503)

    async def _get_metrics(self, request: web.Request) -> web.StreamResponse:
        content_type, pieces = self._metrics.render(request.headers.get("Accept", ""))
        return await _stream(request, content_type, pieces)

    async def _pools(self, request: web.Request) -> web.StreamResponse:
        asked = request.query.get("limit", str(POOLS_DEFAULT))
        # The interpreter refuses to make a number of some thousand digits.
        if not asked.isdecimal() or len(asked) > len(str(POOLS_MAX)) or not 1 <= int(asked) <= POOLS_MAX:
            return _json({"error": f"limit: must be a whole number from 1 to {POOLS_MAX}"}, status=400)
        table = self._source.table()
        head: Json = {"at": rfc3339(self._clock.now()), "total": len(table.pools)}
        chosen = self._rows(table, int(asked))
        return await _stream(request, _JSON, _document(head, "pools", map(pool_json, chosen)))

    async def _firing(self, request: web.Request) -> web.StreamResponse:
        firing = self._alerts.firing()
        head: Json = {"at": rfc3339(self._clock.now()), "total": len(firing)}
        return await _stream(request, _JSON, _document(head, "alerts", map(encode, firing)))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        table = self._source.table()
        firing = sorted(self._alerts.firing(), key=lambda alert: -alert.severity)
        state = PageState(
            at=self._clock.now(),
            total=len(table.pools),
            rows=self._rows(table, PAGE_POOLS_MAX),
            reasons=self._source.ready()[1],
            unread=unread(self._source.accounts()),
            alerts=firing[:PAGE_ALERTS_MAX],
            feeds=self._source.health(),
            silences=self._alerts.silences(),
        )
        return await _stream(request, "text/html; charset=utf-8", map(str.encode, page(state)))

    def _rows(self, table: PoolTable, most: int) -> Iterator[PoolRow]:
        scale = Scale(self._alerts.rungs(), self._alerts.firing())
        silences = self._alerts.silences()
        return rows(table, dict(self._source.assessments()), scale, most, silences, self._clock.now())

    async def _stylesheet(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=STYLESHEET, content_type="text/css", headers=_HEADERS)


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer that begins now the headers that it has not set itself."""
    _begun.set(True)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


class _Connection(web.RequestHandler):
    """A connection on which what aiohttp answers by itself, for example to what is no HTTP, has the headers too."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See `aiohttp.web.RequestHandler`."""
        response = super().handle_error(request, status, exc, message)
        response.headers.update(_HEADERS)
        return response


class _Server(web.Server):
    """Makes the connections."""

    def __init__(self, like: web.Server, **settings: Any) -> None:
        super().__init__(like.request_handler, request_factory=like.request_factory, **settings)
        self._settings = settings

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._settings)


class _Runner(web.AppRunner):
    """Runs an application on a `_Server`."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), **self._kwargs)


def _server_log() -> logging.Logger:
    """Where aiohttp writes what goes wrong: our faults, but not that a stranger spoke HTTP badly or not at all."""
    log = logging.getLogger("marginwatch.http")
    log.addFilter(_is_our_fault)
    return log


def _is_our_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))


def _json(body: Json, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type=_JSON, headers=_HEADERS)


async def _stream(request: web.Request, content_type: str, pieces: Iterable[bytes]) -> web.StreamResponse:
    """Send the pieces as they are made, with turns for the event loop in between."""
    response = web.StreamResponse(headers=_HEADERS | {"Content-Type": content_type})
    await response.prepare(request)
    async for piece in in_turns(pieces):
        await response.write(piece)
    await response.write_eof()
    return response


def _document(head: Json, name: str, items: Iterable[bytes]) -> Iterator[bytes]:
    """The object `head` with a further member `name`, an array of items that are JSON already."""
    yield orjson.dumps(head)[:-1] + b',"' + name.encode() + b'":['
    separator = b""
    for item in items:
        yield separator + item
        separator = b","
    yield b"]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _why_not(listen: str, error: OSError) -> str:
    """A sentence for an address that cannot be listened on."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"{listen} is in use by another program; is marginwatch running already? Choose another port"
        case errno.EADDRNOTAVAIL:
            return f"{listen} is not an address of this machine"
        case errno.EACCES:
            return f"{listen} may not be used by this user; choose a port from 1024"
    return f"cannot listen on {listen}: {error.strerror or error}"
