"""The compliance suite's adapter for exchanges that are read through ccxt; see `tests.connectors.compliance`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import orjson
import pytest
from aiohttp import web

from connectors.ccxt import library
from connectors.config import BaseAccountConfig
from monitor.clock import Clock
from tests.connectors.ccxt.stage import account
from tests.connectors.compliance import (
    REFUSED_TIMES,
    Asked,
    Ending,
    Lack,
    Refusal,
    Spoil,
    Stream,
    VenueUnderTest,
)
from tests.support.ccxt_server import CcxtServer, ccxt_server

POSITIONS = {"bitget": "all-position", "gate": "usdt/positions", "krakenfutures": "openpositions"}
"""Part of the path of the question for positions."""

DEFINITIONS = {
    "bitget": ("/public/coins", "/mix/market/"),
    "gate": ("/currencies", "/contracts", "/risk_limit_tiers"),
    "krakenfutures": ("/instruments",),
}
"""Likewise of the questions for what is listed."""

REFUSED_KEYS = {
    "bitget": (400, '{"code":"40006","msg":"Invalid ACCESS_KEY","requestTime":1,"data":null}'),
    "gate": (401, '{"label":"INVALID_KEY","message":"Invalid key provided"}'),
    "krakenfutures": (200, '{"result":"error","error":"authenticationError","serverTime":"x"}'),
}

REQUESTS_PER_MINUTE = {"bitget": 6000, "gate": 1200, "krakenfutures": 1500}
"""Of one address at Bitget, to one endpoint at Gate, for an account's figures at Kraken Futures, by their documents."""

HIDDEN = frozenset({Lack.DELTAS, Lack.FRAMES, Lack.CONNECTIONS, Lack.CLOCK, Lack.PERMISSIONS, Lack.HASTE, Lack.LISTING})
"""What ccxt keeps to itself, whatever the exchange."""


class CcxtUnderTest:
    """One exchange of the loopback server, with one position."""

    def __init__(self, server: CcxtServer) -> None:
        self._server = server
        self._prices = count()
        self.name = server.dialect.name
        self.instrument = server.dialect.instrument
        self.unit = float(server.dialect.unit)
        self.budget = float(REQUESTS_PER_MINUTE[self.name])
        # Where ccxt finds the time of a mark.
        self.lacks = HIDDEN if self.name == "bitget" else HIDDEN | {Lack.MARK_TIMES}

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The server's account, which says that its key may do anything: ccxt cannot tell."""
        return [account(self._server, **changes)]

    def secrets(self) -> list[str]:
        """Key, secret, passphrase and every signature so far."""
        given = self._server.dialect.credentials
        return [*(text for name, text in given.items() if name != "uid"), *self._server.signatures]

    async def tick(self) -> None:
        """A mark that differs from the last in its last digits."""
        await self._server.mark(79_000.0 + next(self._prices) % 100 / 100)

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Set the position."""
        await self._server.trade(int(size), silent=silent)

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """A frame as nobody sends it."""
        await self._server.carries(stream)
        server = self._server
        (frame, *_) = (
            server.dialect.tickers(server.price, server.at_ms)
            if stream is Stream.MARK
            else [server.dialect.position(server.size, server.at_ms)]
        )
        text = orjson.dumps(frame).decode()
        frames = {
            Spoil.GARBAGE: "{this is not JSON}",
            Spoil.TRUNCATED: text[: len(text) // 2],
            Spoil.UNKNOWN_EVENT: '{"channel":"something.new","feed":"something_new","event":"update","data":[]}',
            Spoil.EMPTY_NUMBERS: orjson.dumps(_emptied(frame)).decode(),
        }
        await server.push(stream, frames[how])

    async def repeat_next(self, stream: Stream) -> None:
        """As the other servers do."""
        self._server.repeated.add(stream)

    async def swap_next(self, stream: Stream) -> None:
        """As the other servers do."""
        self._server.swapped[stream] = None

    async def silence(self, stream: Stream) -> None:
        """Pings are answered all the same."""
        self._server.silent.add(stream)

    async def half_open(self, stream: Stream) -> None:
        """Freeze."""
        await self._server.carries(stream)
        self._server.freeze(stream)

    async def end(self, stream: Stream, how: Ending) -> None:
        """Cut, tear or close."""
        await self._server.carries(stream)
        if how is Ending.CLOSED:
            await self._server.hang_up(stream)
        else:
            await self._server.cut(stream, torn=how is Ending.TORN)

    async def refuse_handshakes(self, stream: Stream, status: int, times: int) -> None:
        """Of whatever stream: some exchanges carry both at one address, and only one of them is cut at a time."""
        self._server.refused_handshakes += [status] * times

    async def end_stream_key(self, *, silent: bool) -> None:
        """There is no key; the connection ends with a close frame instead, or the subscription without a word."""
        await self._server.carries(Stream.USER)
        if silent:
            self._server.end_subscriptions(Stream.USER)
        else:
            await self._server.hang_up(Stream.USER)

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """On the account's positions."""
        wait = {"Retry-After": "3"}
        status, body = REFUSED_KEYS[self.name]
        answers: dict[Refusal, Callable[[], web.Response] | None] = {
            Refusal.TOO_MANY: lambda: web.json_response({}, status=429, headers=wait),
            Refusal.BANNED: lambda: web.json_response({}, status=418, headers=wait),
            Refusal.BROKEN: lambda: web.json_response({}, status=503),
            Refusal.HANGS: None,
            Refusal.GARBAGE: lambda: web.Response(text="<html>not JSON"),
            Refusal.KEY: lambda: web.Response(status=status, text=body, content_type="application/json"),
        }
        self._server.faults += [(POSITIONS[self.name], answers[refusal])] * times

    async def unlist(self) -> None:
        """The list is ccxt's."""

    async def refuse_definitions(self) -> None:
        """Markets, coins and tiers."""
        self._server.faults += [
            (path, lambda: web.json_response({}, status=503)) for path in DEFINITIONS[self.name]
        ] * REFUSED_TIMES

    async def asked(self) -> list[Asked]:
        """One request is as good as another."""
        return [Asked(at, about, 1.0, refused) for at, about, refused in self._server.asked]

    async def step_clock(self, seconds: float) -> None:
        """Nothing here depends on it."""

    async def grant(self, **flags: bool) -> None:
        """ccxt would not notice."""

    async def heal(self) -> None:
        """All faults."""
        self._server.heal()

    async def open_connections(self, stream: Stream) -> int:
        """As the server counts them."""
        return self._server.streams(stream)


def _emptied(value: Any) -> Any:
    """A frame with its prices and sizes left empty."""
    if isinstance(value, list):
        return [_emptied(each) for each in value]
    if isinstance(value, dict):
        figures = ("markPrice", "mark_price", "total", "available", "size", "balance")
        return {key: "" if key in figures else _emptied(each) for key, each in value.items()}
    return value


@asynccontextmanager
async def through_ccxt(exchange: str, clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """The server on this loop, without ccxt's pauses between requests: they are for the real exchanges."""
    make = library.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "make", lambda name, config: make(name, config | {"rateLimit": 10}))
        async with ccxt_server(exchange, clock) as server:
            server.dialect.alone = True
            yield CcxtUnderTest(server)
