"""Hyperliquid on loopback: its info endpoint and its streams, as far as a monitor uses them, with faults on demand.

Addresses, positions and marks are set by the test; every figure of an answer follows from them, in the documented
shapes. Market and account connections come on paths of their own, so that a fault can be given to one of the two.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from monitor.clock import Clock

MARKET, USER, BOTH = "market", "user", "both"
MARGIN_TABLES = [
    [55, {"description": "ETH", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 25},
                                                {"lowerBound": "100000000.0", "maxLeverage": 15}]}],
    [56, {"description": "BTC", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 40},
                                                {"lowerBound": "150000000.0", "maxLeverage": 20}]}],
]  # fmt: skip
ASSETS = {"BTC": (40, 56), "ETH": (25, 55), "HYPE": (10, 10), "xyz:AAPL": (10, 10), "xyz:TSLA": (10, 10)}
"""Maximum leverage and margin table of every perpetual."""

DEXES = ("", "xyz")


def usd(value: float) -> str:
    """As the venue writes amounts."""
    return f"{value:.6f}".rstrip("0") + ("0" if value == int(value) else "")


@dataclass
class Held:
    """A position. `raw_usd` is an isolated position's own balance, None for a cross one."""

    coin: str
    size: float
    entry: float
    raw_usd: float | None = None
    max_leverage: int | None = None

    @property
    def dex(self) -> str:
        """Where it is."""
        return self.coin.rpartition(":")[0]


@dataclass
class Address:
    """An account. `cash` is what its cross positions draw on, without profit: of each dex, or of all in one."""

    name: str
    abstraction: str | None = "disabled"
    role: dict[str, Any] = field(default_factory=lambda: {"role": "user"})
    cash: dict[str, float] = field(default_factory=dict)
    positions: dict[str, Held] = field(default_factory=dict)

    @property
    def shares(self) -> bool:
        """Whether all dexes draw on spot."""
        return self.abstraction in ("unifiedAccount", "portfolioMargin") or self.abstraction is None


@dataclass
class Connection:
    """An open socket."""

    route: str
    ws: web.WebSocketResponse
    request: web.Request
    subscriptions: list[dict[str, Any]] = field(default_factory=list)
    mute: bool = False
    frozen: bool = False

    def wants(self, kind: str, **more: str) -> bool:
        """Whether it subscribed to this."""
        return any(s.get("type") == kind and all(s.get(k) == v for k, v in more.items()) for s in self.subscriptions)


class HyperliquidServer:
    """The venue. Start it, then steer it by its attributes and methods."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.marks = {"BTC": 75_000.0, "ETH": 4_000.0, "HYPE": 40.0, "xyz:AAPL": 250.0, "xyz:TSLA": 350.0}
        self.addresses: dict[str, Address] = {}
        self.connections: list[Connection] = []
        self.asked: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        self.repeats_contexts = True
        """Whether a subscription to a coin is answered with its context at once."""
        self._repeat: set[str] = set()
        self._swap: set[str] = set()
        self._kept: dict[str, str] = {}
        self._refusals: list[tuple[str, Callable[[], web.Response] | None]] = []
        self._handshakes: dict[str, tuple[int, int]] = {}
        self._healed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._fills = 0
        self.port = 0

    # --- life

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/info", self._info)
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/ws/{route}", self._socket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop."""
        self._healed.set()
        for connection in self.connections:
            if connection.request.transport is not None:
                connection.request.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def rest_url(self) -> str:
        """Where questions go."""
        return f"http://127.0.0.1:{self.port}"

    def stream_url(self, route: str = BOTH) -> str:
        """Where connections go; as at the real venue, one address serves for everything."""
        return f"ws://127.0.0.1:{self.port}/ws" + ("" if route == BOTH else f"/{route}")

    def add(self, address: Address) -> Address:
        """Make an account known."""
        self.addresses[address.name] = address
        return address

    # --- figures

    def now_ms(self) -> int:
        """The venue's time."""
        return int(self.clock.now() * 1000)

    def state(self, address: Address, dex: str) -> dict[str, Any]:
        """``clearinghouseState``."""
        held = [p for p in address.positions.values() if p.dex == dex]
        rows = [self._position(address, p) for p in held]
        cross = [p for p in held if p.raw_usd is None]
        isolated = sum(self._equity(p) for p in held if p.raw_usd is not None)
        required = sum(self._required(p) for p in cross)
        notional = sum(abs(p.size) * self.marks[p.coin] for p in cross)
        value = notional / 10.0 if address.shares else address.cash.get(dex, 0.0) + sum(map(self._profit, cross))
        summary = {"totalNtlPos": usd(notional), "totalRawUsd": usd(value), "totalMarginUsed": usd(notional / 10.0)}
        return {
            "marginSummary": {"accountValue": usd(value + isolated), **summary},
            "crossMarginSummary": {"accountValue": usd(value), **summary},
            "crossMaintenanceMarginUsed": usd(required),
            "withdrawable": "0.0",
            "assetPositions": rows,
            "time": self.now_ms(),
        }

    def spot(self, address: Address) -> dict[str, Any]:
        """``spotClearinghouseState``."""
        total = hold = required = 0.0
        if address.shares:
            cross = [p for p in address.positions.values() if p.raw_usd is None]
            alone = sum(self._equity(p) for p in address.positions.values() if p.raw_usd is not None)
            total = address.cash.get("", 0.0) + sum(map(self._profit, cross)) + alone
            hold = alone + sum(abs(p.size) * self.marks[p.coin] for p in cross) / 10.0
            required = sum(map(self._required, cross))
        state: dict[str, Any] = {
            "balances": [{"coin": "USDC", "token": 0, "total": usd(total), "hold": usd(hold), "entryNtl": "0.0"}],
            "tokenToAvailableAfterMaintenance": [[0, usd(total - required)]],
        }
        if address.abstraction == "portfolioMargin":
            state |= {"portfolioMarginEnabled": True, "portfolioMarginRatio": repr(required / total)}
        return state

    def _profit(self, held: Held) -> float:
        return held.size * (self.marks[held.coin] - held.entry)

    def _equity(self, held: Held) -> float:
        return (held.raw_usd or 0.0) + held.size * self.marks[held.coin]

    def _leverage(self, held: Held) -> int:
        return held.max_leverage or ASSETS[held.coin][0]

    def _required(self, held: Held) -> float:
        return abs(held.size) * self.marks[held.coin] / (2.0 * self._leverage(held))

    def _position(self, address: Address, held: Held) -> dict[str, Any]:
        isolated = held.raw_usd is not None
        value = abs(held.size) * self.marks[held.coin]
        side = 1.0 if held.size > 0 else -1.0
        rate = 1.0 / (2.0 * self._leverage(held))
        price = -(held.raw_usd or 0.0) / (held.size * (1.0 - rate * side)) if isolated else None
        leverage: dict[str, Any] = {"type": "isolated" if isolated else "cross", "value": 10}
        if isolated:
            leverage["rawUsd"] = usd(held.raw_usd or 0.0)
        return {
            "type": "oneWay",
            "position": {
                "coin": held.coin,
                "szi": repr(held.size),
                "leverage": leverage,
                "entryPx": repr(held.entry),
                "positionValue": usd(value),
                "unrealizedPnl": usd(self._profit(held)),
                "returnOnEquity": "0.0",
                "liquidationPx": None if price is None or price <= 0 else f"{price:.10f}",
                "marginUsed": usd(self._equity(held) if isolated else value / 10.0),
                "maxLeverage": self._leverage(held),
                "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
            },
        }

    def context(self, coin: str) -> dict[str, Any]:
        """``activeAssetCtx``."""
        price = repr(self.marks[coin])
        return {"coin": coin, "ctx": {"funding": "0.0000125", "openInterest": "1.0", "prevDayPx": price,
                "dayNtlVlm": "1.0", "premium": None, "oraclePx": price, "markPx": price, "midPx": None,
                "impactPxs": None, "dayBaseVlm": "1.0"}}  # fmt: skip

    def states(self, address: Address) -> dict[str, Any]:
        """``allDexsClearinghouseState``."""
        return {"user": address.name, "clearinghouseStates": [[dex, self.state(address, dex)] for dex in DEXES]}

    def _metas(self) -> list[dict[str, Any]]:
        return [
            {
                "universe": [
                    {"name": coin, "szDecimals": 5, "maxLeverage": leverage, "marginTableId": table}
                    for coin, (leverage, table) in ASSETS.items()
                    if coin.rpartition(":")[0] == dex
                ],
                "marginTables": MARGIN_TABLES,
                "collateralToken": 0,
            }
            for dex in DEXES
        ]

    # --- what a test makes happen

    async def mark(self, **prices: float) -> None:
        """Move marks and tell who listens; coins of builders' dexes are written ``xyz_AAPL``."""
        for name, price in prices.items():
            self.marks[name.replace("_", ":")] = price
        for name in prices:
            coin = name.replace("_", ":")
            await self._tell(MARKET, "activeAssetCtx", self.context(coin), coin=coin)

    async def tell_states(self, address: Address) -> None:
        """Tell an address its states and its spot balances."""
        await self._tell(USER, "allDexsClearinghouseState", self.states(address), user=address.name)
        spot = {"user": address.name, "spotState": self.spot(address)}
        await self._tell(USER, "spotState", spot, user=address.name)

    async def liquidate(self, address: Address, coin: str) -> None:
        """Take a position away, with the fill that tells so."""
        held = address.positions.pop(coin)
        self._fills += 1
        fill = {
            "coin": coin, "px": repr(self.marks[coin]), "sz": repr(abs(held.size)), "side": "A", "time": self.now_ms(),
            "startPosition": repr(held.size), "dir": "Liquidated Cross Long", "closedPnl": "0.0", "hash": "0x0",
            "oid": 1000 + self._fills, "crossed": True, "fee": "0.0", "tid": self._fills, "feeToken": "USDC",
            "liquidation": {"liquidatedUser": address.name, "markPx": repr(self.marks[coin]), "method": "market"},
        }  # fmt: skip
        await self._tell(USER, "userFills", {"user": address.name, "fills": [fill]}, user=address.name)
        await self.tell_states(address)

    async def send_raw(self, route: str, text: str) -> None:
        """A frame as it is, to every connection of a route."""
        for connection in self._of(route):
            if not connection.frozen:
                await connection.ws.send_str(text)

    async def end_subscriptions(self, *, silent: bool) -> None:
        """The present account connections tell nothing any more."""
        for connection in self._of(USER):
            connection.mute = True
            if not silent:
                first = next(iter(connection.subscriptions), {"type": "allDexsClearinghouseState"})
                ended = {"method": "unsubscribe", "subscription": first}
                await connection.ws.send_str(_frame("subscriptionResponse", ended))

    def repeat_next(self, route: str) -> None:
        """The next frame goes twice."""
        self._repeat.add(route)

    def swap_next(self, route: str) -> None:
        """The next frame goes after the one of its channel that follows it."""
        self._swap.add(route)

    def freeze(self, route: str) -> None:
        """Neither read nor write on the present connections."""
        for connection in self._of(route):
            connection.frozen = True
            if connection.request.transport is not None:
                connection.request.transport.pause_reading()  # type: ignore[attr-defined]

    async def cut(self, route: str, *, torn: bool = False) -> None:
        """End the present connections without a close frame; `torn`: in the middle of a frame."""
        for connection in self._of(route):
            transport = connection.request.transport
            if transport is None:
                continue
            if torn:
                transport.write(b"\x81\x7e\x02\x00" + b'{"channel":"activeAs')  # of 512 bytes announced
                transport.close()
            else:
                transport.abort()

    async def hang_up(self, route: str) -> None:
        """End the present connections with a close frame."""
        await asyncio.gather(*(connection.ws.close(code=1001) for connection in self._of(route)))

    def refuse_handshakes(self, route: str, status: int, times: int) -> None:
        """Answer the next handshakes with a status."""
        self._handshakes[route] = (status, times)

    def refuse(self, question: str, answer: Callable[[], web.Response] | None, times: int) -> None:
        """Answer the next questions of a type so; None never answers."""
        self._refusals += [(question, answer)] * times

    def heal(self) -> None:
        """Take every fault back."""
        self.silent.clear()
        self._refusals.clear()
        self._handshakes.clear()
        self._repeat.clear()
        self._swap.clear()
        self._healed.set()
        self._healed = asyncio.Event()

    def open(self, route: str) -> int:
        """Connections of a route."""
        return len(self._of(route))

    # --- sockets

    def _of(self, route: str) -> list[Connection]:
        return [c for c in self.connections if c.route in (route, BOTH) and not c.ws.closed]

    async def _tell(self, route: str, channel: str, data: dict[str, Any], **subscription: str) -> None:
        text = _frame(channel, data)
        texts = [text]
        if route in self._swap:
            self._swap.discard(route)
            self._kept[channel] = text
            return
        if channel in self._kept:
            texts.append(self._kept.pop(channel))
        if route in self._repeat:
            self._repeat.discard(route)
            texts.append(text)
        for connection in self._of(route):
            if connection.wants(channel, **subscription):
                for each in texts:
                    await self._send(connection, each)

    async def _send(self, connection: Connection, text: str) -> None:
        if connection.mute or connection.frozen or connection.route in self.silent:
            return
        with suppress(ConnectionError, RuntimeError):
            await connection.ws.send_str(text)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info.get("route", BOTH)
        status, times = self._handshakes.get(route, (0, 0))
        if times > 0:
            self._handshakes[route] = (status, times - 1)
            return web.Response(status=status)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        connection = Connection(route, ws, request)
        self.connections.append(connection)
        try:
            await ws.send_str("Websocket connection established.")
            async for message in ws:
                if message.type is WSMsgType.TEXT and not connection.frozen:
                    await self._hear(connection, orjson.loads(message.data))
        finally:
            self.connections.remove(connection)
        return ws

    async def _hear(self, connection: Connection, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "ping":
                await connection.ws.send_str(_frame("pong", None))
            case "subscribe" | "unsubscribe" as method:
                subscription = message["subscription"]
                await connection.ws.send_str(
                    _frame("subscriptionResponse", {"method": method, "subscription": subscription})
                )
                if method == "unsubscribe":
                    connection.subscriptions.remove(subscription)
                    return
                connection.subscriptions.append(subscription)
                await self._begin(connection, subscription)
            case _:
                await connection.ws.send_str(_frame("error", f"cannot read {message}"))

    async def _begin(self, connection: Connection, subscription: dict[str, Any]) -> None:
        """What a new subscription is told at once."""
        kind = subscription["type"]
        address = self.addresses.get(subscription.get("user", ""))
        data: dict[str, Any] | None = None
        match kind:
            case "activeAssetCtx" if self.repeats_contexts:
                data = self.context(subscription["coin"])
            case "allDexsClearinghouseState" if address:
                data = self.states(address)
            case "spotState" if address:
                data = {"user": address.name, "spotState": self.spot(address)}
            case "userFills":
                data = {"user": subscription["user"], "isSnapshot": True, "fills": []}
        if data is not None:
            await self._send(connection, _frame(kind, data))

    # --- questions

    async def _info(self, request: web.Request) -> web.StreamResponse:
        question = orjson.loads(await request.read())
        self.asked.append(question)
        kind = question["type"]
        for i, (refused, answer) in enumerate(self._refusals):
            if refused == kind:
                del self._refusals[i]
                if answer is not None:
                    return answer()
                await self._healed.wait()
                break
        return web.Response(body=orjson.dumps(self._answer(kind, question)), content_type="application/json")

    def _answer(self, kind: str, question: dict[str, Any]) -> Any:
        address = self.addresses.get(question.get("user", ""))
        match kind:
            case "perpDexs":
                return [None, *({"name": dex, "fullName": dex} for dex in DEXES[1:])]
            case "allPerpMetas":
                return self._metas()
            case "clearinghouseState":
                return self.state(address or Address("nobody"), question.get("dex", ""))
            case "spotClearinghouseState":
                return self.spot(address) if address else {"balances": []}
            case "userAbstraction":
                return address.abstraction if address else None
            case "userFees":
                return {"userCrossRate": "0.00045", "userAddRate": "0.00015"}
            case "userRole":
                return address.role if address else {"role": "missing"}
        return None


def _frame(channel: str, data: object) -> str:
    body = {"channel": channel} if data is None else {"channel": channel, "data": data}
    return orjson.dumps(body).decode()


@asynccontextmanager
async def hyperliquid_server(clock: Clock) -> AsyncIterator[HyperliquidServer]:
    """The venue on this loop, gone at the end of the block."""
    server = HyperliquidServer(clock)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
