"""Bybit on loopback: as much of its V5 REST and WebSocket interfaces as a monitor uses, with one account.

It checks signatures and times as Bybit does, numbers its position events, sends deltas without what did not change,
and misbehaves on request.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from connectors.simulator.streams import Connection
from monitor.clock import Clock

HOST = "127.0.0.1"
API_KEY = "key-of-the-bybit-account"
API_SECRET = "secret-of-the-bybit-account"
WINDOW_MS = 5000

Answer = Callable[[web.Request], web.StreamResponse]


@dataclass
class Position:
    """What the account holds in one slot. `size` is signed."""

    symbol: str
    size: float
    entry: float
    category: str = "linear"
    leverage: str = "10"
    index: int = 0
    seq: int = 100
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class State:
    """The account and the market; tests change it at will."""

    margin_mode: str = "REGULAR_MARGIN"
    unified: int = 5
    read_only: int = 1
    balances: dict[str, float] = field(default_factory=lambda: {"USDT": 50_000.0})
    maintenance: float | None = None
    """Of the whole account, where it is not the sum of its positions' (portfolio margin)."""
    taker_fee_rate: str = "0.00055"
    funding_minutes: int = 480
    tier_rate: str = "0.005"
    """Of the first tier."""
    page: int = 200
    """Rows on a page of the tables that have pages."""
    positions: list[Position] = field(default_factory=lambda: [Position("BTCUSDT", 1.0, 75_000.0)])
    marks: dict[str, float] = field(default_factory=lambda: {"BTCUSDT": 75_000.0, "ETHUSDT": 4_000.0})
    incidents: list[dict[str, Any]] = field(default_factory=list)


class BybitServer:
    """The whole of it. Made by `bybit_server`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = State()
        self.offset_ms = 0
        self.port = 0
        self.signatures: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: list[Connection] = []
        self.subscribed: list[tuple[str, list[str]]] = []
        """Operation and topics of every message on the public sockets."""
        self.faults: list[tuple[str, Callable[[], web.StreamResponse | None]]] = []
        self._refusals: dict[str, tuple[int, int]] = {}
        self._silent: set[str] = set()
        self._numbers = count(1)
        self._cross = count(1000)
        self._authed: set[int] = set()
        self._category: dict[int, str] = {}

    # --- addresses

    @property
    def rest_url(self) -> str:
        """For the configuration."""
        return f"http://{HOST}:{self.port}"

    @property
    def market_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/v5/public"

    @property
    def private_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/v5/private"

    def now_ms(self) -> int:
        """The venue's clock."""
        return int(self.clock.now() * 1000) + self.offset_ms

    @property
    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Results of the REST endpoints by path; the argument needs no more than ``query``."""
        return {
            "/v5/market/time": lambda request: {"timeSecond": str(self.now_ms() // 1000)},
            "/v5/user/query-api": self._query_api,
            "/v5/account/info": self._info,
            "/v5/account/wallet-balance": self._wallet,
            "/v5/account/fee-rate": self._fees,
            "/v5/position/list": self._positions,
            "/v5/market/instruments-info": self._contracts,
            "/v5/market/risk-limit": self._risk,
            "/v5/market/tickers": self._spot,
            "/v5/spot-margin-trade/collateral": self._collateral,
            "/v5/system/status": lambda request: {"list": self.state.incidents},
        }

    def routes(self) -> list[web.RouteDef]:
        """Everything that is served."""
        rest = [web.get(path, self._rest(answer)) for path, answer in self.answers.items()]
        return [*rest, web.get("/v5/public/{category}", self._public), web.get("/v5/private", self._private)]

    # --- REST

    def _rest(self, answer: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests.append((request.path, dict(request.query)))
            for fault in list(self.faults):
                if fault[0] == request.path:
                    self.faults.remove(fault)
                    reply = fault[1]()
                    if reply is None:
                        await asyncio.sleep(60.0)
                    return reply or web.Response()
            code = self._refuses(request)
            result = {} if code else answer(request)
            if isinstance(result, web.StreamResponse):
                return result
            return self.envelope(code, result)

        return handle

    def envelope(
        self, code: int, result: Any = None, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """An answer as all of Bybit's are."""
        text = "OK" if code == 0 else f"error {code}"
        body = {"retCode": code, "retMsg": text, "result": result or {}, "retExtInfo": {}, "time": self.now_ms()}
        return web.json_response(body, status=status, headers=headers)

    def _refuses(self, request: web.Request) -> int:
        """The code with which a signed request is refused, 0 for none."""
        signed = request.path.startswith(("/v5/account", "/v5/position", "/v5/user"))
        if not signed:
            return 0
        key, stamp, window = (
            request.headers.get(f"X-BAPI-{name}", "") for name in ("API-KEY", "TIMESTAMP", "RECV-WINDOW")
        )
        signature = request.headers.get("X-BAPI-SIGN", "")
        self.signatures.append(signature)
        if key != API_KEY:
            return 10003
        if not self.now_ms() - int(window) <= int(stamp) < self.now_ms() + 1000:
            return 10002
        return 0 if signature == _sign(f"{stamp}{key}{window}{request.query_string}") else 10004

    def _query_api(self, request: web.Request) -> dict[str, Any]:
        can = {"ContractTrade": ["Order", "Position"], "Spot": [], "Wallet": ["AccountTransfer"]}
        return {"apiKey": API_KEY, "readOnly": self.state.read_only, "permissions": can, "uta": 1, "deadlineDay": 60}

    def _info(self, request: web.Request) -> dict[str, Any]:
        return {"marginMode": self.state.margin_mode, "unifiedMarginStatus": self.state.unified}

    def position_row(self, held: Position, entry_key: str = "avgPrice") -> dict[str, Any]:
        """A position as REST tells it; the stream calls the entry price otherwise."""
        size, mark, inverse = abs(held.size), self.state.marks[held.symbol], held.category == "inverse"
        sign = 1.0 if held.size > 0 else -1.0
        value, at_entry = (size / mark, size / held.entry) if inverse else (size * mark, size * held.entry)
        fee_rate, leverage = float(self.state.taker_fee_rate), float(held.leverage)
        fee = at_entry * (1 + (sign if inverse else -sign) / leverage) * fee_rate
        isolated = self.state.margin_mode == "ISOLATED_MARGIN"
        pnl = sign * size * (1 / held.entry - 1 / mark) if inverse else held.size * (mark - held.entry)
        row = {
            "positionIdx": held.index, "riskId": 1, "riskLimitValue": "2000000", "symbol": held.symbol,
            "side": ("Buy" if held.size > 0 else "Sell") if size else "", "size": f"{size:g}",
            entry_key: f"{held.entry:g}" if size else "0", "positionValue": f"{at_entry:.8f}", "tradeMode": 0,
            "positionStatus": "Normal", "autoAddMargin": 0, "adlRankIndicator": 2, "leverage": held.leverage,
            "markPrice": f"{mark:g}", "liqPrice": "", "bustPrice": "",
            "positionIM": f"{(at_entry if isolated else value) / leverage + fee:.8f}",
            "positionMM": f"{value * 0.005 + fee:.8f}", "takeProfit": "", "stopLoss": "", "trailingStop": "0",
            "unrealisedPnl": f"{pnl:.8f}", "cumRealisedPnl": "0", "seq": held.seq, "isReduceOnly": False,
            "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "", "createdTime": "1789999000000",
            "updatedTime": str(self.now_ms()),
        }  # fmt: skip
        return row | held.changes

    def _positions(self, request: web.Request) -> dict[str, Any]:
        category, settle = request.query["category"], request.query.get("settleCoin")
        held = [p for p in self.state.positions if p.category == category and p.size]
        if settle is not None:
            held = [p for p in held if _margin_coin(p.symbol) == settle]
        return self._page(request, [self.position_row(p) for p in held]) | {"category": category}

    def _page(self, request: web.Request, listed: list[Any]) -> dict[str, Any]:
        start = int(request.query.get("cursor", "0"))
        end = start + min(self.state.page, int(request.query.get("limit", "20")))
        return {"list": listed[start:end], "nextPageCursor": str(end) if end < len(listed) else ""}

    def wallet(self) -> dict[str, Any]:
        """The account as ``wallet-balance`` and the wallet stream tell it, added up in USD."""
        coins = [self._coin(coin) for coin in self.state.balances]
        pnl = sum(float(c["unrealisedPnl"]) * self.usd(c["coin"]) for c in coins)
        required = sum(float(c["totalPositionMM"]) * self.usd(c["coin"]) for c in coins)
        own = sum(_counted(c["coin"], float(c["walletBalance"])) * self.usd(c["coin"]) for c in coins)
        if self.state.maintenance is not None:
            required = self.state.maintenance
        totals = {
            "accountMMRate": f"{int(required / (own + pnl) * 10_000) / 10_000}", "accountIMRate": "0.1",
            "totalEquity": f"{own + pnl:.8f}", "totalWalletBalance": f"{own:.8f}",
            "totalMarginBalance": f"{own + pnl:.8f}", "totalPerpUPL": f"{pnl:.8f}",
            "totalMaintenanceMargin": f"{required:.8f}",
        }  # fmt: skip
        if self.state.margin_mode == "ISOLATED_MARGIN":
            totals = dict.fromkeys(totals, "")
        return {"accountType": "UNIFIED", **totals, "coin": coins}

    def usd(self, coin: str) -> float:
        """A coin's price."""
        return {"USDT": 0.9995, "USDC": 1.0}.get(coin) or self.state.marks[f"{coin}USDT"]

    def _coin(self, coin: str) -> dict[str, Any]:
        held = [p for p in self.state.positions if p.size and _margin_coin(p.symbol) == coin]
        rows = [self.position_row(p) for p in held]
        pnl = sum(float(row["unrealisedPnl"]) for row in rows)
        required = sum(float(row["positionMM"] or 0) for row in rows)
        equity = self.state.balances[coin] + pnl
        return {
            "coin": coin, "equity": f"{equity:.8f}", "usdValue": f"{equity * self.usd(coin):.8f}",
            "walletBalance": f"{self.state.balances[coin]:.8f}", "unrealisedPnl": f"{pnl:.8f}", "spotBorrow": "0",
            "borrowAmount": "0", "locked": "0", "totalPositionMM": f"{required:.8f}", "marginCollateral": True,
            "collateralSwitch": True, "bonus": "0", "cumRealisedPnl": "0",
        }  # fmt: skip

    def _wallet(self, request: web.Request) -> dict[str, Any]:
        return {"list": [self.wallet()]}

    def _fees(self, request: web.Request) -> dict[str, Any]:
        rate = self.state.taker_fee_rate
        return {"list": [{"symbol": s, "takerFeeRate": rate, "makerFeeRate": "0.0002"} for s in self.state.marks]}

    def _contracts(self, request: web.Request) -> dict[str, Any]:
        category = request.query["category"]
        minutes = self.state.funding_minutes
        listed = [
            _contract(s) | {"fundingInterval": minutes}
            for s in self.state.marks
            if (category == "inverse") == s.endswith("USD")
        ]
        return self._page(request, listed) | {"category": category}

    def _risk(self, request: web.Request) -> Any:
        symbol = request.query.get("symbol")
        if symbol is not None and symbol not in self.state.marks:
            return self.envelope(10029)
        symbols = [symbol] if symbol else list(self.state.marks)
        return self._page(request, [row for s in symbols for row in _tiers(s, self.state.tier_rate)]) | {
            "category": "linear"
        }

    def _spot(self, request: web.Request) -> dict[str, Any]:
        found = {"BTCUSDT": self.state.marks["BTCUSDT"], "ETHUSDT": self.state.marks["ETHUSDT"]}
        return {"list": [{"symbol": s, "usdIndexPrice": f"{p:g}", "lastPrice": f"{p:g}"} for s, p in found.items()]}

    def _collateral(self, request: web.Request) -> dict[str, Any]:
        steps = [
            {"minQty": "0", "maxQty": "1", "collateralRatio": "0.95"},
            {"minQty": "1", "maxQty": "", "collateralRatio": "0.9"},
        ]
        return {"list": [{"currency": "BTC", "collateralRatioList": steps}]}

    # --- WebSocket

    async def _public(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "mark", request.match_info["category"])

    async def _private(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "user", "")

    async def _serve(self, request: web.Request, stream: str, category: str) -> web.StreamResponse:
        left, status = self._refusals.get(stream, (0, 0))
        if left:
            self._refusals[stream] = left - 1, status
            return web.Response(status=status)
        ws = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await ws.prepare(request)
        connection = Connection(next(self._numbers), "market" if stream == "mark" else "private", False, ws, request)
        connection.silent = stream in self._silent
        self._category[connection.number] = category
        self.connections.append(connection)
        writer = asyncio.create_task(self._write(connection))
        try:
            while True:
                message = await ws.receive()
                if message.type is WSMsgType.PING and not connection.frozen:
                    await ws.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._hear(connection, orjson.loads(message.data))
                elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    return ws
        except (ConnectionError, RuntimeError):
            return ws
        finally:
            writer.cancel()
            self.connections.remove(connection)

    async def _write(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await connection.write()

    def _hear(self, connection: Connection, said: dict[str, Any]) -> None:
        op, args = said["op"], said.get("args", [])
        private = connection.route == "private"
        reply = {"success": True, "ret_msg": "", "conn_id": "c", "req_id": said.get("req_id", ""), "op": op}
        if op == "ping":
            reply = {"op": "pong", "args": [str(self.now_ms())], "conn_id": "c"} if private else reply
            connection.put(orjson.dumps(reply))
            return
        fault = self._fault_of(connection, op, args)
        if fault:
            connection.put(orjson.dumps(reply | {"success": False, "ret_msg": fault}))
            return
        connection.put(orjson.dumps(reply))
        if not private:
            self.subscribed.append((op, args))
        for topic in args if op == "subscribe" else ():
            connection.subscriptions[topic] = None
            if not private:
                symbol = topic.removeprefix("tickers.")
                connection.publish(topic, self.ticker(symbol, "snapshot", self._category[connection.number]))
        for topic in args if op == "unsubscribe" else ():
            connection.subscriptions.pop(topic, None)

    def _fault_of(self, connection: Connection, op: str, args: list[Any]) -> str:
        if connection.route != "private":
            if op == "subscribe":
                for topic in args:
                    if topic in connection.subscriptions:
                        return f"error:already subscribed,topic:{topic}"
                    if topic.removeprefix("tickers.") not in self.state.marks:
                        return f"error:handler not found,topic:{topic}"
            return ""
        if op == "auth":
            key, expires, signature = args
            self.signatures.append(signature)
            if key != API_KEY or signature != _sign(f"GET/realtime{expires}"):
                return "Params Error"
            if expires <= self.now_ms():
                return "request expired"
            self._authed.add(connection.number)
        elif connection.number not in self._authed:
            return "Request not authorized"
        return ""

    def ticker(self, symbol: str, kind: str, category: str = "linear", **changes: Any) -> dict[str, Any]:
        """A ticker frame; a delta has only what `changes` says."""
        price = f"{self.state.marks[symbol]:.2f}"
        row: dict[str, Any] = {"symbol": symbol}
        if kind == "snapshot" and category == "spot":
            row |= {"lastPrice": price, "usdIndexPrice": price}
        elif kind == "snapshot":
            row |= {"lastPrice": price, "markPrice": price, "indexPrice": price, "fundingRate": "", "bid1Size": "1"}
        topic = f"tickers.{symbol}"
        return {
            "topic": topic,
            "type": kind,
            "cs": next(self._cross),
            "ts": self.now_ms(),
            "data": row | changes,
        }

    def send_mark(self, symbol: str, price: float | None) -> None:
        """A delta to whoever subscribed: of the mark price, or (None) of something else."""
        if price is not None:
            self.state.marks[symbol] = price
        changes = {"bid1Size": "2"} if price is None else {"markPrice": f"{price:.2f}"}
        for connection in self.of("mark"):
            if f"tickers.{symbol}" in connection.subscriptions:
                connection.publish(symbol, self.ticker(symbol, "delta", **changes))

    def send_private(self, topic: str, data: list[Any]) -> None:
        """An event to whoever is subscribed."""
        frame = {"id": f"id{next(self._cross)}", "topic": topic, "creationTime": self.now_ms(), "data": data}
        for connection in self.of("user"):
            if topic in connection.subscriptions:
                connection.publish(topic, frame)

    def trade(self, size: float, *, silent: bool = False) -> None:
        """Give the first position another size; with the events, or without."""
        held = self.state.positions[0]
        held.size, held.seq = size, held.seq + 1
        if silent:
            return
        row = self.position_row(held, "entryPrice") | {"category": held.category}
        self.send_private("position", [row])

    # --- faults

    def of(self, stream: str) -> list[Connection]:
        """The open connections of a stream."""
        route = "market" if stream == "mark" else "private"
        return [connection for connection in self.connections if connection.route == route]

    def silence(self, stream: str) -> None:
        """Accept, acknowledge and say nothing, also on connections to come."""
        self._silent.add(stream)
        for connection in self.of(stream):
            connection.silent = True

    def refuse_handshakes(self, stream: str, status: int, times: int) -> None:
        """Answer the next handshakes with an HTTP status."""
        self._refusals[stream] = times, status

    def heal(self) -> None:
        """Take every fault back."""
        self._silent.clear()
        self._refusals.clear()
        self.faults.clear()
        for connection in self.connections:
            connection.silent = connection.swap = False
            connection.duplicate = 0


def _sign(text: str) -> str:
    return hmac.new(API_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def _margin_coin(symbol: str) -> str:
    if symbol.endswith("USD"):
        return symbol.removesuffix("USD")
    return "USDC" if symbol.endswith("PERP") else "USDT"


def _counted(coin: str, balance: float) -> float:
    """Coins after the collateral ratio: 95 % of the first and 90 % of every further bitcoin; dollars in full."""
    if coin in ("USDT", "USDC") or balance <= 0:
        return balance
    return 0.95 * min(balance, 1.0) + 0.9 * max(balance - 1.0, 0.0)


def _contract(symbol: str) -> dict[str, Any]:
    inverse = symbol.endswith("USD")
    base = symbol.removesuffix("USDT").removesuffix("USD").removesuffix("PERP")
    return {
        "symbol": symbol, "contractType": "InversePerpetual" if inverse else "LinearPerpetual", "status": "Trading",
        "baseCoin": base, "quoteCoin": "USD" if inverse else "USDT",
        "settleCoin": _margin_coin(symbol),
        "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999.8", "tickSize": "0.1"},
    }  # fmt: skip


def _tiers(symbol: str, first_rate: str) -> list[dict[str, Any]]:
    """Two tiers; inverse limits are in the coin."""
    limits = ("30", "60") if symbol.endswith("USD") else ("2000000", "2600000")
    second = "0.018" if symbol.endswith("USD") else "1200"
    return [
        {
            "id": 1, "symbol": symbol, "riskLimitValue": limits[0], "maintenanceMargin": first_rate,
            "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100.00", "mmDeduction": "",
        },
        {
            "id": 2, "symbol": symbol, "riskLimitValue": limits[1], "maintenanceMargin": "0.0056",
            "initialMargin": "0.0111", "isLowestRisk": 0, "maxLeverage": "90.00", "mmDeduction": second,
        },
    ]  # fmt: skip


@asynccontextmanager
async def bybit_server(clock: Clock) -> AsyncIterator[BybitServer]:
    """The server on this loop with the test's clock, until the block ends."""
    server = BybitServer(clock)
    app = web.Application()
    app.add_routes(server.routes())
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        for connection in list(server.connections):
            connection.cut()
        await runner.cleanup()
