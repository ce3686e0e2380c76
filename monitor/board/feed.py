"""The live side of the board: a round about once a second while somebody looks, made once for all of them.

A reader holds at most one round on its way out. Who is slower than a round gets the next one whole instead of what
changed (the rounds between are never made for it), and who does not read at all for `WRITE_S` is dropped.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from aiohttp import web

from alerts.danger import Scale
from alerts.message import encode
from alerts.sink import Handling
from alerts.sinks.prometheus import AlertSource
from monitor.board.state import POOLS_MAX, Round, follow, sections, worst
from monitor.clock import Clock
from monitor.model.sources import PoolSource
from monitor.turns import in_turns
from monitor.views import pool_json, rows, unread

ROUND_S = 1.0
READERS_MAX = 16
"""Open event streams. They are beside `requests_max`: a wall of boards must not shut the door to metrics."""
_UNBUFFERED = {"X-Accel-Buffering": "no"}
"""Asks nginx to pass rounds on as they come."""
WRITE_S = 10.0
"""How long a reader may take for one round."""

log = structlog.get_logger()


class Feed:
    """Makes rounds and hands them to readers until it is closed."""

    def __init__(self, source: PoolSource, alerts: AlertSource, handling: Handling, clock: Clock) -> None:
        self._source = source
        self._alerts = alerts
        self._handling = handling
        self._clock = clock
        self._round: Round | None = None
        self._turn = asyncio.Event()
        """Set, and replaced, when there is a new round."""
        self._making: asyncio.Task[None] | None = None
        self._closed = False
        self.protocols: set[object] = set()
        """The connections of the readers."""

    async def now(self) -> Round:
        """The present, for somebody who asks once."""
        return self._round or await self._make(None)

    async def events(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        """Send rounds to one reader until it leaves. Raises ConnectionError when it left or was dropped."""
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream", **_UNBUFFERED})
        with self._reading(request.protocol):
            await response.prepare(request)
            held = -1
            while (current := await self._newer_than(held)) is not None:
                pieces = current.change() if current.since == held else current.full()
                try:
                    async with asyncio.timeout(WRITE_S):
                        async for piece in in_turns(_event(current.number, pieces)):
                            await response.write(piece)
                except TimeoutError:
                    if request.transport is not None:
                        request.transport.abort()
                    raise ConnectionResetError("the reader does not read") from None
                held = current.number
        return response

    def close(self) -> None:
        """Let every reader go."""
        self._closed = True
        self._turn.set()
        if self._making is not None:
            self._making.cancel()

    @contextmanager
    def _reading(self, protocol: object) -> Iterator[None]:
        """One reader more; rounds are made while there is one."""
        self.protocols.add(protocol)
        if self._making is None:
            self._making = asyncio.create_task(self._make_rounds(), name="board rounds")
        try:
            yield
        finally:
            self.protocols.discard(protocol)
            if not self.protocols and self._making is not None:
                self._making.cancel()
                self._making = self._round = None

    async def _newer_than(self, held: int) -> Round | None:
        """A round that the reader does not have, None once closed."""
        while not self._closed and (self._round is None or self._round.number == held):
            await self._turn.wait()
        return None if self._closed else self._round

    async def _make_rounds(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + ROUND_S
            try:
                self._round = await self._make(self._round)
            except Exception:
                # Readers see that nothing comes and say so; the next round may succeed.
                log.exception("a round of the board could not be made")
            else:
                turn, self._turn = self._turn, asyncio.Event()
                turn.set()
            await asyncio.sleep(max(due - loop.time(), ROUND_S / 2))

    async def _make(self, before: Round | None) -> Round:
        """Read the book, in turns."""
        at = self._clock.now()
        table = self._source.table()
        pools: dict[str, bytes] = {}
        firing = self._alerts.firing()
        rungs = self._alerts.rungs()
        silences = self._handling.silences()
        chosen = rows(table, dict(self._source.assessments()), Scale(rungs, firing), POOLS_MAX, silences, at)
        alerts: list[bytes] = []

        def encoded() -> Iterator[bytes]:
            for row in chosen:
                pools[row.pool] = pool_json(row)
                yield b""
            for alert in worst(firing):
                alerts.append(encode(alert))
                yield b""

        async for _ in in_turns(encoded()):
            pass
        others = sections(
            self._source.ready(),
            unread(self._source.accounts()),
            rungs,
            self._source.health(),
            len(firing),
            alerts,
            silences,
        )
        return follow(before, at, len(table.pools), others, pools)


def _event(number: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A server-sent event. JSON holds no line break, so that the data is one line."""
    yield b"id: %d\nevent: round\ndata: " % number
    yield from pieces
    yield b"\n\n"
