"""Three exchanges on loopback, in the shapes of their documentation, as far as ccxt asks them.

An account holds one long position in BTC (`sizes` in the exchange's own units) and what else its fixture shows. The
fixtures are whole answers; a server changes only sizes, prices and what follows from them.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from monitor.clock import Clock, SystemClock

_SIGNATURE_HEADERS = ("access-sign", "sign", "authent")
_SIGNATURES = re.compile(r'"(?:sign|SIGN|signed_challenge)":\s*"([^"]+)"')

FRAMES = Path(__file__).parents[1] / "connectors" / "ccxt" / "frames"


def frame(name: str) -> Any:
    """A fixture."""
    return json.loads((FRAMES / f"{name}.json").read_text())


class Dialect(Protocol):
    """What one exchange says."""

    name: str
    instrument: str
    credentials: Mapping[str, str]
    alone: bool
    """Whether BTC is all that is held."""
    unit: int
    """Contracts in one BTC."""

    def answer(self, path: str, query: Mapping[str, str], size: int, price: float) -> tuple[int, Any] | None:
        """Status and body of a GET; None for what is not there."""
        ...

    def hear(self, text: str) -> tuple[list[str], str | None]:
        """Replies to a frame, and the stream that it subscribed to: ``mark``, ``user`` or another."""
        ...

    def tickers(self, price: float, at_ms: int) -> list[Any]:
        """Frames of the mark stream: BTC at this price, and what else is held."""
        ...

    def position(self, size: int, at_ms: int) -> Any:
        """A frame of the stream of positions."""
        ...


class Bitget:
    """Classic account, hedge mode: 1 BTC long isolated, 5 ETH short cross; perhaps a long that is margined in coins."""

    name = "bitget"
    instrument = "BTCUSDT"
    credentials = {"api_key": "bg_key_5a7d", "api_secret": "bg_secret_91c2", "passphrase": "bg_pass_77e1"}  # noqa: RUF012
    alone = False
    unit = 1

    def __init__(self) -> None:
        self.in_coins = False
        """Whether something is held in COIN-FUTURES."""
        self.maintenance = "0.004"
        """Rate of the first tier."""

    def answer(self, path: str, query: Mapping[str, str], size: int, price: float) -> tuple[int, Any] | None:
        """REST, version 2; version 3 is for unified accounts, which this is not."""
        usdt, coins = (query.get("productType") == f"{each}-FUTURES" for each in ("USDT", "COIN"))
        empty = {"code": "00000", "msg": "success", "requestTime": 0, "data": []}
        match path.rpartition("/api/v2/")[2]:
            case "spot/public/coins":
                return 200, empty
            case "mix/market/contracts":
                return 200, frame("bitget_contracts") if usdt else frame("bitget_contracts_coin") if coins else empty
            case "mix/market/query-position-lever":
                answer = frame("bitget_position_lever")
                answer["data"][0]["keepMarginRate"] = self.maintenance
                return 200, answer
            case "mix/account/accounts":
                return 200, self._accounts(size, price) if usdt else empty
            case "mix/position/all-position":
                if coins:
                    held = self.in_coins and query.get("marginCoin") == "BTC"
                    return 200, frame("bitget_positions_coin") if held else empty
                return 200, self._positions(size, price) if usdt else empty
        return None

    def _positions(self, size: int, price: float) -> Any:
        answer = frame("bitget_positions")
        held = answer["data"][0]
        held |= {"total": str(size), "available": str(size), "marginSize": str(4000 * size), "markPrice": str(price)}
        held["unrealizedPL"] = str(size * (price - 80_000))
        answer["data"] = [*([held] if size else []), *([] if self.alone else answer["data"][1:])]
        return answer

    def _accounts(self, size: int, price: float) -> Any:
        answer = frame("bitget_accounts")
        answer["data"][0]["accountEquity"] = str(2050 + 4000 * size + size * (price - 80_000))
        return answer

    def hear(self, text: str) -> tuple[list[str], str | None]:
        """Log-in, subscriptions, text pings."""
        if text == "ping":
            return ["pong"], None
        message = json.loads(text)
        if message["op"] == "login":
            return [json.dumps({"event": "login", "code": 0})], None
        streams = {"ticker": "mark", "positions": "user"}
        channel = message["args"][0]["channel"]
        return [json.dumps({"event": "subscribe", "arg": arg}) for arg in message["args"]], streams.get(
            channel, channel
        )

    def tickers(self, price: float, at_ms: int) -> list[Any]:
        """ccxt leaves the mark of this one in `info`."""
        others = [] if self.alone else [self._ticker("ETHUSDT", 1990, at_ms)]
        return [self._ticker("BTCUSDT", price, at_ms), *others]

    def _ticker(self, symbol: str, price: float, at_ms: int) -> Any:
        push = frame("bitget_ws_ticker")
        push["arg"]["instId"] = symbol
        push["data"][0] |= {"instId": symbol, "symbol": symbol, "markPrice": str(price), "ts": str(at_ms)}
        return push

    def position(self, size: int, at_ms: int) -> Any:
        """The whole of what is held in BTC."""
        push = frame("bitget_ws_positions")
        push["data"][0] |= {"total": str(size), "uTime": str(at_ms)}
        return push


class Gate:
    """Classic account, one-way: 1 BTC (10,000 contracts) long isolated, 10,000 ADA short cross; nothing in BTC."""

    name = "gate"
    instrument = "BTC_USDT"
    credentials = {"api_key": "gt_key_3f60", "api_secret": "gt_secret_aa04", "uid": "10000"}  # noqa: RUF012
    alone = False
    unit = 10_000

    def __init__(self) -> None:
        self.delivers = False
        """Whether delivery contracts are listed."""

    def answer(self, path: str, query: Mapping[str, str], size: int, price: float) -> tuple[int, Any] | None:
        """REST, version 4."""
        match path.rpartition("/api/v4/")[2]:
            case "spot/currencies" | "futures/btc/contracts":
                return 200, []
            case "delivery/usdt/contracts":
                listed = frame("gate_contracts")[0] | {"name": "BTC_USDT_20270326", "expire_time": 1_806_048_000}
                return 200, [listed] if self.delivers else []
            case "account/detail":
                return 200, {"user_id": 10000, "key": {"mode": 1}, "tier": 0}
            case "futures/usdt/contracts":
                return 200, frame("gate_contracts")
            case "futures/usdt/risk_limit_tiers":
                return 200, frame("gate_risk_limit_tiers")
            case "futures/usdt/positions":
                return 200, self._positions(size, price)
            case "futures/usdt/accounts":
                total, pnl = 2800 + 4000 * size, 200 + size * (price - 80_000)
                return 200, frame("gate_accounts") | {"total": str(total), "unrealised_pnl": str(pnl)}
            case "futures/btc/positions" | "futures/btc/accounts":
                said = "please transfer funds first to create futures account"
                return 400, {"label": "USER_NOT_FOUND", "message": said}
        return None

    def _positions(self, size: int, price: float) -> Any:
        held, *others = frame("gate_positions")
        held |= {
            "size": 10_000 * size,
            "value": str(size * price),
            "margin": str(4000 * size),
            "mark_price": str(price),
        }
        held |= {"unrealised_pnl": str(size * (price - 80_000)), "maintenance_margin": str(size * price * 0.00475)}
        return [held] if self.alone else [held, *others]

    def hear(self, text: str) -> tuple[list[str], str | None]:
        """Each private subscription is signed for itself."""
        message = json.loads(text)
        reply = {"time": message["time"], "id": message.get("id"), "channel": message["channel"], "error": None}
        if message["channel"] == "futures.ping":
            return [json.dumps(reply | {"channel": "futures.pong", "event": "", "result": None})], None
        streams = {"futures.tickers": "mark", "futures.positions": "user"}
        done = reply | {"event": "subscribe", "result": {"status": "success"}}
        return [json.dumps(done)], streams.get(message["channel"], message["channel"])

    def tickers(self, price: float, at_ms: int) -> list[Any]:
        """The time stands outside, where ccxt does not look."""
        push = frame("gate_ws_tickers") | {"time_ms": at_ms}
        (btc,) = push["result"]
        push["result"] = [btc | {"mark_price": str(price)}, btc | {"contract": "ADA_USDT", "mark_price": "0.8"}]
        return [push]

    def position(self, size: int, at_ms: int) -> Any:
        """The position that changed."""
        push = frame("gate_ws_positions") | {"time_ms": at_ms}
        push["result"][0] |= {"size": 10_000 * size, "time_ms": at_ms}
        return push


class KrakenFutures:
    """Multi-collateral wallet: 1 BTC long cross. The answer about positions has neither mark nor margins."""

    name = "krakenfutures"
    instrument = "PF_XBTUSD"
    credentials = {"api_key": "kf_key_0b5e", "api_secret": "a2Zfc2VjcmV0XzZkNGU="}  # noqa: RUF012
    alone = True
    unit = 1

    def answer(self, path: str, query: Mapping[str, str], size: int, price: float) -> tuple[int, Any] | None:
        """REST, version 3."""
        match path.rpartition("/api/v3/")[2]:
            case "instruments":
                return 200, frame("krakenfutures_instruments")
            case "instruments/status":
                return 200, {"result": "success", "instrumentStatus": []}
            case "tickers":
                answer = frame("krakenfutures_tickers")
                answer["tickers"][0]["markPrice"] = price
                return 200, answer
            case "openpositions":
                answer = frame("krakenfutures_openpositions")
                answer["openPositions"][0]["size"] = size
                answer["openPositions"] = answer["openPositions"] if size else []
                return 200, answer
            case "accounts":
                answer = frame("krakenfutures_accounts")
                pnl = size * (price - 80_000)
                answer["accounts"]["flex"] |= {"marginEquity": 5000 + pnl, "maintenanceMargin": 800 * size, "pnl": pnl}
                return 200, answer
        return None

    def hear(self, text: str) -> tuple[list[str], str | None]:
        """A challenge is signed with each private subscription."""
        message = json.loads(text)
        if message["event"] == "challenge":
            return [json.dumps({"event": "challenge", "message": "5f0c1d7e-0000-4000-8000-9b1e6c2a4d31"})], None
        streams = {"ticker": "mark", "open_positions": "user"}
        return [json.dumps({"event": "subscribed", "feed": message["feed"]})], streams.get(
            message["feed"], message["feed"]
        )

    def tickers(self, price: float, at_ms: int) -> list[Any]:
        """With a time that ccxt does not take over."""
        return [frame("krakenfutures_ws_ticker") | {"markPrice": price, "time": at_ms}]

    def position(self, size: int, at_ms: int) -> Any:
        """Everything that is held."""
        push = frame("krakenfutures_ws_open_positions") | {"timestamp": at_ms}
        push["positions"][0]["balance"] = size
        return push


DIALECTS: Mapping[str, type[Dialect]] = {"bitget": Bitget, "gate": Gate, "krakenfutures": KrakenFutures}


class CcxtServer:
    """One exchange with one account. Faults are attributes; they hold until they are taken back."""

    def __init__(self, dialect: Dialect, clock: Clock | None = None) -> None:
        self.dialect = dialect
        self._clock = clock or SystemClock()
        self.size = 1
        self.price = 79_000.0
        self.at_ms = 1_790_000_000_000
        self.requests: list[tuple[str, str]] = []
        self.asked: list[tuple[float, str, bool]] = []
        """When each of them came, with its query, and whether a fault met it."""
        self.heard: list[str] = []
        self.refusals: list[tuple[str, int, str]] = []
        """Part of a path, status and body, each for one request."""
        self.hanging: str | None = None
        """Requests with this in their path are never answered."""
        self.faults: list[tuple[str, Callable[[], web.Response] | None]] = []
        """Part of a path and an answer, or None for none at all, each for one request."""
        self.silent: set[str] = set()
        """Streams that are acknowledged and say nothing."""
        self.repeated: set[str] = set()
        """Streams whose next frame is sent twice."""
        self.swapped: dict[str, str | None] = {}
        """Streams whose next frame is held back until another one was sent, and that frame."""
        self.signatures: list[str] = []
        self.never_mark = False
        """Whether the marks of tickers are left out, as they may be in any ticker."""
        self.refused_handshakes: list[int] = []
        """Statuses for the next handshakes."""
        self.rest_url = ""
        self.stream_url = ""
        self._sockets: dict[web.WebSocketResponse, set[str]] = {}

    def streams(self, stream: str) -> int:
        """How many connections carry a stream."""
        return sum(stream in subscribed for subscribed in self._sockets.values())

    async def carries(self, stream: str) -> None:
        """Wait until somebody has subscribed: ccxt does not tell when that is."""
        async with asyncio.timeout(10.0):
            while not self.streams(stream):  # noqa: ASYNC110 - the server's sockets are all there is to look at
                await asyncio.sleep(0.01)

    async def mark(self, price: float | None = None) -> None:
        """A new mark to whoever listens."""
        self.price = self.price if price is None else price
        self.at_ms += 250
        for push in self.dialect.tickers(self.price, self.at_ms):
            text = json.dumps(push)
            await self._push("mark", text.replace('"mark', '"un') if self.never_mark else text)

    async def trade(self, size: int, *, silent: bool = False) -> None:
        """Another size, with an event or without."""
        self.size = size
        self.at_ms += 250
        if not silent:
            await self._push("user", json.dumps(self.dialect.position(size, self.at_ms)))

    async def push(self, stream: str, text: str) -> None:
        """Any frame."""
        for socket, subscribed in list(self._sockets.items()):
            if stream in subscribed:
                with suppress(ConnectionError):  # it has just ended
                    await socket.send_str(text)

    def of(self, stream: str) -> list[web.WebSocketResponse]:
        """Connections that carry a stream."""
        return [socket for socket, subscribed in self._sockets.items() if stream in subscribed]

    async def cut(self, stream: str | None = None, *, torn: bool = False) -> None:
        """End connections without a word, or `torn`: in the middle of a frame."""
        for socket in list(self._sockets) if stream is None else self.of(stream):
            transport = _transport(socket)
            del self._sockets[socket]
            if torn:
                transport.write(b"\x81\x7e\x10\x00{")  # the head of a text frame of 4,096 bytes
                transport.close()
            else:
                transport.abort()

    async def hang_up(self, stream: str) -> None:
        """End connections with a close frame. Its handler is the one who waits for the answer to it."""
        for socket in self.of(stream):
            del self._sockets[socket]
            await socket.close(code=4006, drain=False)

    def freeze(self, stream: str) -> None:
        """Neither read nor write any more, and leave it open."""
        for socket in self.of(stream):
            del self._sockets[socket]
            _transport(socket).pause_reading()

    def end_subscriptions(self, stream: str) -> None:
        """Say nothing more to whoever has subscribed so far."""
        for subscribed in self._sockets.values():
            subscribed.discard(stream)

    def heal(self) -> None:
        """All faults; what is frozen stays so."""
        self.refusals.clear()
        self.faults.clear()
        self.silent.clear()
        self.repeated.clear()
        self.swapped.clear()
        self.refused_handshakes.clear()
        self.hanging = None

    async def _push(self, stream: str, text: str) -> None:
        if stream in self.silent:
            return
        frames = [text, text] if stream in self.repeated else [text]
        self.repeated.discard(stream)
        if stream in self.swapped:
            held = self.swapped[stream]
            if held is None:
                self.swapped[stream] = text
                return
            del self.swapped[stream]
            frames.append(held)
        for each in frames:
            await self.push(stream, each)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Everything."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        self.requests.append((request.method, request.path))
        if self.hanging is not None and self.hanging in request.path:
            await asyncio.sleep(60.0)
        self.signatures += [value for name, value in request.headers.items() if name.lower() in _SIGNATURE_HEADERS]
        fault = next((each for each in self.faults if each[0] in request.path), None)
        self.asked.append((self._clock.now(), request.path_qs, fault is not None))
        if fault is not None:
            self.faults.remove(fault)
            if fault[1] is not None:
                return fault[1]()
            await asyncio.sleep(60.0)
        for refusal in self.refusals:
            part, status, body = refusal
            if part in request.path:
                self.refusals.remove(refusal)
                return web.Response(status=status, text=body, content_type="application/json")
        found = self.dialect.answer(request.path, request.query, self.size, self.price)
        status, answer = found if found is not None else (404, {"code": "40404", "msg": "Request URL NOT FOUND"})
        return web.json_response(deepcopy(answer), status=status)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.refused_handshakes:
            return web.Response(status=self.refused_handshakes.pop(0))
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        subscribed = self._sockets[socket] = set()
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                self.heard.append(message.data)
                self.signatures += _SIGNATURES.findall(message.data)
                replies, stream = self.dialect.hear(message.data)
                for reply in replies:
                    await socket.send_str(reply)
                if stream is not None:
                    subscribed.add(stream)
        finally:
            self._sockets.pop(socket, None)
        return socket


def _transport(socket: web.WebSocketResponse) -> asyncio.Transport:
    """There is no other way to it."""
    assert socket._req is not None
    transport = socket._req.transport
    assert isinstance(transport, asyncio.Transport)
    return transport


@asynccontextmanager
async def ccxt_server(exchange: str, clock: Clock | None = None) -> AsyncIterator[CcxtServer]:
    """One exchange on a port of its own."""
    server = CcxtServer(DIALECTS[exchange](), clock)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    # ccxt tells Gate's streams apart by words in their addresses.
    server.rest_url, server.stream_url = f"http://{host}:{port}", f"ws://{host}:{port}/fx-ws"
    try:
        yield server
    finally:
        await runner.cleanup()
