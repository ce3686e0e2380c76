"""Bybit's adapter for the compliance suite; see `tests.connectors.compliance`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import web

from connectors.bybit.config import AccountConfig
from connectors.bybit.rest import REQUESTS_PER_MINUTE
from connectors.config import BaseAccountConfig
from connectors.simulator.bybit import API_KEY, API_SECRET, BybitServer
from monitor.clock import Clock
from monitor.credential import Secret
from tests.connectors.compliance import (
    REFUSED_TIMES,
    UNLISTED_TIMES,
    Lack,
    OverConnections,
    Refusal,
    Spoil,
    Stream,
    VenueUnderTest,
)

STATE_PATH = "/v5/account/wallet-balance"

_SPOILED = {
    (Stream.MARK, Spoil.UNKNOWN_EVENT): b'{"topic":"novelty.BTCUSDT","type":"snapshot","ts":1,"data":{}}',
    (Stream.USER, Spoil.UNKNOWN_EVENT): b'{"topic":"novelty","creationTime":1,"data":[]}',
    (Stream.MARK, Spoil.EMPTY_NUMBERS): (
        b'{"topic":"tickers.BTCUSDT","type":"delta","cs":1,"ts":1790000000000,'
        b'"data":{"symbol":"BTCUSDT","markPrice":""}}'
    ),
    (Stream.USER, Spoil.EMPTY_NUMBERS): (
        b'{"topic":"position","creationTime":1790000000000,"data":[{"category":"linear","symbol":"BTCUSDT",'
        b'"positionIdx":0,"side":"Buy","size":"","entryPrice":"","updatedTime":"1790000000000"}]}'
    ),
}


class BybitUnderTest(OverConnections):
    """One account of the loopback server, with one cross position."""

    name = "bybit"
    instrument = "BTCUSDT"
    unit = 1.0
    lacks: frozenset[Lack] = frozenset()
    budget = float(REQUESTS_PER_MINUTE)  # Bybit limits each endpoint's second, and the address far above

    def __init__(self, server: BybitServer) -> None:
        self.server = server
        self._ticks = count(1)

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The server's account."""
        values = {
            "name": "main",
            "api_key": Secret(API_KEY),
            "api_secret": Secret(API_SECRET),
            "rest_url": self.server.rest_url,
            "market_url": self.server.market_url,
            "private_url": self.server.private_url,
            "reconcile_s": 5.0,
        }
        return [AccountConfig.model_validate(values | changes)]

    def secrets(self) -> list[str]:
        """Key, secret, and every signature so far."""
        return [API_KEY, API_SECRET, *filter(None, self.server.signatures)]

    async def tick(self) -> None:
        """A mark that differs from the last in its last digits; every third frame has none, as most of Bybit's."""
        tick = next(self._ticks)
        self.server.send_mark(self.instrument, None if tick % 3 == 0 else 75_000 + tick % 100 / 100)

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Set the position."""
        self.server.trade(float(size), silent=silent)

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """A bad frame to the present connections."""
        frame = {Spoil.GARBAGE: b"\x00garbage", Spoil.TRUNCATED: b'{"topic":"posi'}.get(how) or _SPOILED[stream, how]
        for connection in self.server.of(stream):
            connection.put(frame)

    async def end_stream_key(self, *, silent: bool) -> None:
        """Bybit has no key for its stream; what comes nearest: the log-in no longer counts, and events end."""
        for connection in self.server.of("user"):
            connection.silent = True
            if not silent:
                connection.put(b'{"success":false,"ret_msg":"Request not authorized","op":"auth","conn_id":"c"}')

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """The next questions for the wallet."""
        for _ in range(times):
            self.server.faults.append((STATE_PATH, lambda: self._refusal(refusal)))

    def _refusal(self, refusal: Refusal) -> web.StreamResponse | None:
        envelope = self.server.envelope
        match refusal:
            case Refusal.TOO_MANY:
                reset = str(self.server.now_ms() + 3000)
                return envelope(10006, headers={"X-Bapi-Limit-Reset-Timestamp": reset})
            case Refusal.BANNED:
                return web.Response(status=403, text="access too frequent", headers={"Retry-After": "3"})
            case Refusal.BROKEN:
                return envelope(10016, status=500)
            case Refusal.HANGS:
                return None
            case Refusal.GARBAGE:
                return web.Response(text="<html>")
            case Refusal.KEY:
                return envelope(10003)

    async def unlist(self) -> None:
        """In ``instruments-info``."""
        answer = {"category": "linear", "list": [], "nextPageCursor": ""}
        path = "/v5/market/instruments-info"
        self.server.faults += [(path, lambda: self.server.envelope(0, answer))] * UNLISTED_TIMES

    async def refuse_definitions(self) -> None:
        """Public ones and the account's own."""
        refused = ("market/instruments-info", "market/risk-limit", "market/tickers", "account/fee-rate")
        self.server.faults += [
            (f"/v5/{path}", lambda: self.server.envelope(10016, status=500))
            for path in (*refused, "spot-margin-trade/collateral", "system/status")
        ] * REFUSED_TIMES

    async def step_clock(self, seconds: float) -> None:
        """The venue's clock against ours."""
        self.server.offset_ms = int(seconds * 1000)

    async def grant(self, **flags: bool) -> None:
        """A key that reads and writes."""
        self.server.state.read_only = 0

    async def heal(self) -> None:
        """All faults."""
        self.server.heal()

    async def open_connections(self, stream: Stream) -> int:
        """As the server counts them."""
        return len(self.server.of(stream))


@asynccontextmanager
async def bybit(clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """The loopback server with the test's clock."""
    async with BybitServer(clock) as server:
        yield BybitUnderTest(server)
