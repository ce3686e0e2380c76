"""The board over HTTP: its files, its stream of events, its state for programs, and the history of the pools."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import PurePath

import orjson
from aiohttp import web

from alerts.danger import Scale
from alerts.message import number, rfc3339
from alerts.sink import Handling
from alerts.sinks.prometheus import AlertSource
from monitor.board.feed import READERS_MAX, Feed
from monitor.board.history import POOLS_MAX, History
from monitor.clock import Clock
from monitor.model.sources import PoolSource
from monitor.turns import in_turns

EVENTS_PATH = "/api/v1/events"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: run and show its own files and ask its own daemon, and never make markup of text."""

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_INDEX = "index.html"


class Board:
    """The board's handlers; `headers` are those of every answer."""

    def __init__(
        self, source: PoolSource, alerts: AlertSource, handling: Handling, clock: Clock, headers: Mapping[str, str]
    ) -> None:
        self._source = source
        self._alerts = alerts
        self._clock = clock
        self._headers = headers
        self._history = History()
        self._files = {file.name: file.read_bytes() for file in files(__package__).joinpath("static").iterdir()}
        self.feed = Feed(source, alerts, handling, clock)

    def routes(self) -> list[web.RouteDef]:
        """What to add to the server."""
        return [
            web.get("/", self._page),
            web.get("/board/{name}", self._file),
            web.get(EVENTS_PATH, self._events, allow_head=False),
            web.get("/api/v1/board", self._state),
            web.get("/api/v1/history", self._get_history),
        ]

    def remember(self) -> None:
        """Note the pools' margin ratios when the time has come; to be called about twice a second."""
        now = self._clock.now()
        if self._history.due(now):
            table = self._source.table()
            scale = Scale(self._alerts.rungs(), self._alerts.firing())
            chosen = scale.worst(table, dict(self._source.assessments()), POOLS_MAX)
            pools = [table.pools[index] for index in chosen.tolist()]
            self._history.note(now, pools, table.margin_ratio[chosen].tolist())

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._answer(_INDEX)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._files or name == _INDEX:
            raise web.HTTPNotFound
        return self._answer(name)

    def _answer(self, name: str) -> web.Response:
        return web.Response(
            body=self._files[name],
            content_type=_TYPES[PurePath(name).suffix],
            charset="utf-8",
            headers={**self._headers, "Content-Security-Policy": PAGE_POLICY},
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if len(self.feed.protocols) >= READERS_MAX:
            return self._json({"error": f"{READERS_MAX} boards are open already"}, status=503)
        try:
            return await self.feed.events(request, self._headers)
        except ConnectionError:
            return self._json({"error": "the reader left"}, status=503)  # Goes nowhere; aiohttp wants an answer.

    async def _state(self, request: web.Request) -> web.StreamResponse:
        current = await self.feed.now()
        return await self._stream(request, current.full())

    async def _get_history(self, request: web.Request) -> web.StreamResponse:
        head = {"at": rfc3339(self._clock.now()), "step_s": self._history.step_s}
        return await self._stream(request, self._series(head, self._source.table().pools))

    def _series(self, head: Mapping[str, object], pools: Sequence[str]) -> Iterator[bytes]:
        """The object `head` with a further member `pools`: pool to its points."""
        yield orjson.dumps(head)[:-1] + b',"pools":{'
        separator = b""
        for pool in pools:
            if series := self._history.series(pool):
                yield separator + orjson.dumps(pool) + b":" + orjson.dumps([number(ratio) for ratio in series])
                separator = b","
        yield b"}}"

    async def _stream(self, request: web.Request, pieces: Iterator[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={**self._headers, "Content-Type": "application/json"})
        await response.prepare(request)
        async for piece in in_turns(pieces):
            await response.write(piece)
        await response.write_eof()
        return response

    def _json(self, body: Mapping[str, object], *, status: int) -> web.Response:
        return web.Response(
            body=orjson.dumps(body), status=status, content_type="application/json", headers=self._headers
        )
