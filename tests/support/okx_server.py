"""OKX on loopback: as much of its V5 REST and WebSocket interfaces as a monitor uses, with one account.

It checks signatures, passphrases and times as OKX does, computes maintenance and ratios by the published formulas,
pushes whole rows in which every number is a string, and misbehaves on request.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from connectors.simulator.streams import Connection
from monitor.clock import Clock

HOST = "127.0.0.1"
API_KEY = "key-of-the-okx-account"
API_SECRET = "secret-of-the-okx-account"
PASSPHRASE = "passphrase-of-the-okx-account"
FEE = 0.0005
VALID_MS = 25_000
"""A request is refused when its time is further off. OKX allows 30 s."""

TIERS = ((1000, 0.004), (5000, 0.0065), (10_000, 0.01), (20_000, 0.02))
"""Last contract and maintenance rate."""


@dataclass
class Position:
    """What the account holds in one slot. `size` is signed; `margin` of an isolated position."""

    symbol: str = "BTC-USDT-SWAP"
    size: float = 1.0
    entry: float = 75_000.0
    mode: str = "isolated"
    side: str = "net"
    margin: float = 100.0
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class State:
    """The account and the market; tests change it at will."""

    level: str = "2"
    position_mode: str = "net_mode"
    permissions: str = "read_only"
    gear: str = "3"
    cash: dict[str, float] = field(default_factory=lambda: {"USDT": 50_000.0})
    usd: dict[str, float] = field(default_factory=lambda: {"USDT": 1.0005, "BTC": 75_000.0})
    discount: dict[str, float] = field(default_factory=lambda: {"BTC": 0.95})
    maintenance: float = 40.0
    """Of the whole account under portfolio margin."""
    taker: str = "-0.0005"
    tiers: tuple[tuple[int, float], ...] = TIERS
    funding_interval_s: float = 28_800.0
    page: int = 100
    """Positions on a page of a push."""
    positions: list[Position] = field(default_factory=lambda: [Position()])
    marks: dict[str, float] = field(
        default_factory=lambda: {"BTC-USDT-SWAP": 75_000.0, "ETH-USDT-SWAP": 4_000.0, "BTC-USD-SWAP": 75_000.0}
    )


class OkxServer:
    """The whole of it. Made by `okx_server`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = State()
        self.offset_ms = 0
        self.port = 0
        self.signatures: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.heard: list[tuple[str, Any]] = []
        """Route and content of every message of a client, log-ins aside."""
        self.connections: list[Connection] = []
        self.faults: list[tuple[str, Callable[[], web.StreamResponse | None]]] = []
        self.pongs = True
        self.refused: set[str] = set()
        """Private channels that do not exist here."""
        self._refusals: dict[str, tuple[int, int]] = {}
        self._silent: set[str] = set()
        self._numbers = count(1)
        self._logged_in: set[int] = set()

    # --- addresses

    @property
    def rest_url(self) -> str:
        """For the configuration."""
        return f"http://{HOST}:{self.port}"

    @property
    def market_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/ws/v5/public"

    @property
    def private_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/ws/v5/private"

    def now_ms(self) -> int:
        """The venue's clock."""
        return int(self.clock.now() * 1000) + self.offset_ms

    @property
    def answers(self) -> dict[str, Callable[[Any], list[Any]]]:
        """Rows of the REST endpoints by path; the argument needs no more than ``query``."""
        return {
            "/api/v5/public/time": lambda request: [{"ts": str(self.now_ms())}],
            "/api/v5/account/config": self._config,
            "/api/v5/account/balance": lambda request: [self.balance()],
            "/api/v5/account/positions": lambda request: [self.row(p) for p in self.state.positions if p.size],
            "/api/v5/account/instruments": lambda request: [_contract(symbol) for symbol in self.state.marks],
            "/api/v5/account/trade-fee": self._fees,
            "/api/v5/public/position-tiers": self._tiers,
            "/api/v5/public/funding-rate": self._funding,
        }

    def routes(self) -> list[web.RouteDef]:
        """Everything that is served."""
        rest = [web.get(path, self._rest(answer)) for path, answer in self.answers.items()]
        streams = [web.get(f"/ws/v5/{route}", self._serve) for route in ("public", "private")]
        return [*rest, *streams]

    # --- REST

    def _rest(self, answer: Callable[[web.Request], list[Any]]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests.append((request.path, dict(request.query)))
            self.headers.append(dict(request.headers))
            for fault in list(self.faults):
                if fault[0] == request.path:
                    self.faults.remove(fault)
                    reply = fault[1]()
                    if reply is None:
                        await asyncio.sleep(60.0)
                    return reply or web.Response()
            code = self._refuses(request)
            return self.envelope(code, [] if code else answer(request), status=401 if code else 200)

        return handle

    def envelope(
        self, code: int, data: list[Any] | None = None, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """An answer as all of OKX's are."""
        text = f"error {code}" if code else ""
        return web.json_response({"code": str(code), "msg": text, "data": data or []}, status=status, headers=headers)

    def _refuses(self, request: web.Request) -> int:
        """The code with which a signed request is refused, 0 for none."""
        if not request.path.startswith("/api/v5/account"):
            return 0
        key, at, signature, passphrase = (
            request.headers.get(f"OK-ACCESS-{name}", "") for name in ("KEY", "TIMESTAMP", "SIGN", "PASSPHRASE")
        )
        self.signatures.append(signature)
        if key != API_KEY:
            return 50111
        if passphrase != PASSPHRASE:
            return 50105
        if abs(datetime.fromisoformat(at).timestamp() * 1000 - self.now_ms()) > VALID_MS:
            return 50102
        return 0 if signature == _sign(f"{at}{request.method}{request.path_qs}") else 50113

    def _config(self, request: web.Request) -> list[Any]:
        state = self.state
        return [
            {
                "uid": "1", "mainUid": "1", "acctLv": state.level, "posMode": state.position_mode, "ip": "",
                "perm": state.permissions, "ctIsoMode": "automatic", "liquidationGear": state.gear, "level": "Lv1",
            }
        ]  # fmt: skip

    def _fees(self, request: web.Request) -> list[Any]:
        taker = self.state.taker
        groups = [{"groupId": "1", "maker": "-0.0002", "taker": taker}]
        return [{"instType": "SWAP", "taker": taker, "takerU": taker, "takerUSDC": taker, "feeGroup": groups}]

    def _tiers(self, request: web.Request) -> list[Any]:
        return [
            {
                "instFamily": family, "uly": family, "tier": str(i + 1), "maxSz": str(last), "mmr": str(rate),
                "minSz": str(self.state.tiers[i - 1][0] + 1 if i else 0), "imr": str(rate * 2), "maxLever": "50",
            }
            for family in request.query["instFamily"].split(",")
            for i, (last, rate) in enumerate(self.state.tiers)
        ]  # fmt: skip

    def _funding(self, request: web.Request) -> list[Any]:
        coming = self.now_ms() // 3_600_000 * 3_600_000 + 3_600_000
        following = coming + int(self.state.funding_interval_s * 1000)
        return [
            {"instId": symbol, "fundingRate": "0.0001", "fundingTime": str(coming), "nextFundingTime": str(following)}
            for symbol in self.state.marks
        ]

    # --- what the account looks like

    def figures(self, held: Position) -> tuple[float, float, float]:
        """Notional, profit and maintenance rate of a position."""
        mark, inverse = self.state.marks[held.symbol], held.symbol.startswith("BTC-USD-")
        quantity = held.size * _multiplier(held.symbol)
        notional = abs(quantity) / mark if inverse else abs(quantity) * mark
        profit = quantity * (1 / held.entry - 1 / mark) if inverse else quantity * (mark - held.entry)
        same = [p for p in self.state.positions if p.mode == "cross" and p.symbol == held.symbol]
        contracts = sum(abs(p.size) for p in same) if held.mode == "cross" else abs(held.size)
        return notional, profit, next(rate for last, rate in self.state.tiers if contracts <= last)

    def row(self, held: Position) -> dict[str, Any]:
        """A position as REST and the stream tell it."""
        notional, profit, rate = self.figures(held)
        isolated, coin = held.mode == "isolated", _coin(held.symbol)
        ratio = (held.margin + profit) / (notional * (rate + FEE)) if isolated and held.size else None
        mark = self.state.marks[held.symbol]
        row = {
            "instType": "SWAP", "instId": held.symbol, "mgnMode": held.mode, "posId": "1", "posSide": held.side,
            "pos": f"{held.size if held.side == 'net' else abs(held.size):g}", "ccy": coin, "posCcy": "",
            "avgPx": f"{held.entry}" if held.size else "", "markPx": f"{mark}", "lever": "10",
            "margin": f"{held.margin!r}" if isolated else "", "imr": "" if isolated else f"{notional / 10!r}",
            "mmr": f"{notional * rate!r}", "mgnRatio": "" if ratio is None else f"{ratio!r}", "upl": f"{profit!r}",
            "liqPx": "", "notionalUsd": f"{notional}", "usdPx": "", "adl": "1", "cTime": "1789999000000",
            "uTime": str(self.now_ms()),
        }  # fmt: skip
        return row | held.changes

    def cross(self, coin: str) -> tuple[float, float, float]:
        """Profit, maintenance, and maintenance with fees of the cross positions in a coin."""
        figures = [self.figures(p) for p in self.state.positions if p.mode == "cross" and _coin(p.symbol) == coin]
        return (
            sum(profit for _, profit, _ in figures),
            sum(notional * rate for notional, _, rate in figures),
            sum(notional * (rate + FEE) for notional, _, rate in figures),
        )

    def balance(self) -> dict[str, Any]:
        """The account as REST and the stream tell it. Figures over all coins are empty in futures mode."""
        coins = [self._coin_row(coin) for coin in self.state.cash]
        totals = dict.fromkeys(("adjEq", "imr", "mmr", "mgnRatio"), "")
        if self.state.level in ("3", "4"):
            equity = sum(float(coin["disEq"]) for coin in coins)
            crosses = {coin: self.cross(coin) for coin in self.state.cash}
            required = sum(mm * self.state.usd[coin] for coin, (_, mm, _) in crosses.items())
            with_fees = sum(mm * self.state.usd[coin] for coin, (_, _, mm) in crosses.items())
            if self.state.level == "4":
                with_fees += self.state.maintenance - required
                required = self.state.maintenance
            totals = {"adjEq": f"{equity!r}", "imr": "1", "mmr": f"{required!r}"}
            totals["mgnRatio"] = f"{equity / with_fees!r}" if with_fees else ""
        return {"uTime": str(self.now_ms()), "totalEq": "1", "isoEq": "0", **totals, "details": coins}

    def _coin_row(self, coin: str) -> dict[str, Any]:
        alone = [p for p in self.state.positions if p.mode == "isolated" and p.size and _coin(p.symbol) == coin]
        isolated = sum(p.margin + self.figures(p)[1] for p in alone)
        profit, required, with_fees = self.cross(coin)
        cash, price = self.state.cash[coin], self.state.usd[coin]
        equity, futures = cash + profit + isolated, self.state.level == "2"
        return {
            "ccy": coin, "cashBal": f"{cash!r}", "eq": f"{equity!r}", "isoEq": f"{isolated!r}", "upl": f"{profit!r}",
            "availEq": f"{cash + profit!r}", "uTime": "1789999000000", "coinUsdPrice": f"{price!r}",
            "eqUsd": f"{(equity - isolated) * price!r}", "liab": "", "twap": "0",
            "disEq": f"{(equity - isolated) * price * self.state.discount.get(coin, 1.0)!r}" if not futures else "0",
            "mmr": f"{required!r}" if futures and required else "", "imr": "",
            "mgnRatio": f"{(cash + profit) / with_fees!r}" if futures and with_fees else "",
        }  # fmt: skip

    # --- WebSocket

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route = request.path.rpartition("/")[2]
        left, status = self._refusals.get(route, (0, 0))
        if left:
            self._refusals[route] = left - 1, status
            return web.Response(status=status)
        ws = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await ws.prepare(request)
        # The simulator's connection knows its two routes only.
        connection = Connection(next(self._numbers), "market" if route == "public" else "private", False, ws, request)
        connection.silent = route in self._silent
        self.connections.append(connection)
        writer = asyncio.create_task(self._write(connection))
        try:
            while True:
                message = await ws.receive()
                if message.type is WSMsgType.PING and not connection.frozen:
                    await ws.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._hear(connection, message.data)
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

    def _hear(self, connection: Connection, text: str) -> None:
        if text == "ping":
            if self.pongs:
                connection.put(b"pong")
            return
        said = orjson.loads(text)
        if said["op"] == "login":
            self._log_in(connection, said["args"][0])
            return
        self.heard.append((connection.route, said))
        for arg in said["args"]:
            self._subscribe(connection, said["op"], arg)

    def _log_in(self, connection: Connection, said: dict[str, str]) -> None:
        self.signatures.append(said["sign"])
        code = 0
        if said["apiKey"] != API_KEY:
            code = 60005
        elif abs(int(said["timestamp"]) * 1000 - self.now_ms()) > VALID_MS:
            code = 60006
        elif said["passphrase"] != PASSPHRASE:
            code = 60024
        elif said["sign"] != _sign(f"{said['timestamp']}GET/users/self/verify"):
            code = 60007
        if code:
            connection.put(orjson.dumps({"event": "error", "code": str(code), "msg": "Login failed.", "connId": "c"}))
            return
        self._logged_in.add(connection.number)
        connection.put(orjson.dumps({"event": "login", "code": "0", "msg": "", "connId": "c"}))

    def _subscribe(self, connection: Connection, operation: str, arg: dict[str, str]) -> None:
        channel, private = arg["channel"], connection.route == "private"
        name = arg["instId"] if channel == "mark-price" else channel
        if private and connection.number not in self._logged_in:
            connection.put(orjson.dumps({"event": "error", "code": "60011", "msg": "Please log in", "connId": "c"}))
            return
        if channel in self.refused or (channel == "mark-price" and name not in self.state.marks):
            words = f"Wrong URL or channel:{channel},instId:{name} doesn't exist."
            connection.put(orjson.dumps({"event": "error", "code": "60018", "msg": words, "connId": "c"}))
            return
        connection.put(orjson.dumps({"event": operation, "arg": arg, "connId": "c"}))
        if operation == "unsubscribe":
            connection.subscriptions.pop(name, None)
            return
        connection.subscriptions[name] = None
        if channel == "mark-price":
            connection.publish(name, self.mark(name))
        elif channel == "positions":
            for frame in self.pages():
                connection.publish(name, frame)
        elif channel == "account":
            connection.publish(name, self._push("account", [self.balance()], eventType="snapshot"))

    def _push(self, channel: str, data: list[Any], **fields: Any) -> dict[str, Any]:
        return {"arg": {"channel": channel, "uid": "1"}, **fields, "data": data}

    def mark(self, symbol: str) -> dict[str, Any]:
        """A frame of the mark-price channel."""
        row = {
            "instType": "SWAP",
            "instId": symbol,
            "markPx": f"{self.state.marks[symbol]}",
            "ts": str(self.now_ms()),
        }
        return {"arg": {"channel": "mark-price", "instId": symbol}, "data": [row]}

    def pages(self) -> list[dict[str, Any]]:
        """The whole set of positions as the stream repeats it, page after page."""
        stamp = {"pTime": str(self.now_ms())}
        rows = [self.row(p) | stamp for p in self.state.positions if p.size]
        pages = [rows[i : i + self.state.page] for i in range(0, len(rows), self.state.page)] or [[]]
        return [
            self._push("positions", page, eventType="snapshot", curPage=i + 1, lastPage=i + 1 == len(pages))
            for i, page in enumerate(pages)
        ]

    def send_mark(self, symbol: str, price: float) -> None:
        """A mark to whoever subscribed."""
        self.state.marks[symbol] = price
        for connection in self.of("mark"):
            if symbol in connection.subscriptions:
                connection.publish(symbol, self.mark(symbol))

    def send(self, channel: str, data: list[Any], **fields: Any) -> None:
        """A push to whoever is subscribed."""
        frame = self._push(channel, data, **fields)
        for connection in self.of("user"):
            if channel in connection.subscriptions:
                connection.publish(channel, frame)

    def trade(self, size: float, *, silent: bool = False) -> None:
        """Give the first position another size; with the event, or without."""
        held = self.state.positions[0]
        held.size = size
        if not silent:
            stamp = {"pTime": str(self.now_ms())}
            self.send("positions", [self.row(held) | stamp], eventType="event_update")

    # --- faults

    def of(self, stream: str) -> list[Connection]:
        """The open connections of a stream."""
        route = "market" if stream == "mark" else "private"
        return [connection for connection in self.connections if connection.route == route]

    def end_subscriptions(self, *, silent: bool) -> None:
        """One connection too many: the channels of the present ones are dead, their sockets and pings are not."""
        for connection in self.of("user"):
            connection.subscriptions.clear()
            if not silent:
                said = {"event": "channel-conn-count-error", "channel": "positions", "connCount": "30", "connId": "c"}
                connection.put(orjson.dumps(said))

    def silence(self, stream: str) -> None:
        """Accept, acknowledge and say nothing, also on connections to come."""
        self._silent.add("public" if stream == "mark" else "private")
        for connection in self.of(stream):
            connection.silent = True

    def refuse_handshakes(self, stream: str, status: int, times: int) -> None:
        """Answer the next handshakes with an HTTP status."""
        self._refusals["public" if stream == "mark" else "private"] = times, status

    def heal(self) -> None:
        """Take every fault back."""
        self._silent.clear()
        self._refusals.clear()
        self.faults.clear()
        for connection in self.connections:
            connection.silent = connection.swap = False
            connection.duplicate = 0


def _sign(text: str) -> str:
    return base64.b64encode(hmac.new(API_SECRET.encode(), text.encode(), hashlib.sha256).digest()).decode()


def _coin(symbol: str) -> str:
    base, quote, _ = symbol.split("-")
    return base if quote == "USD" else quote


def _multiplier(symbol: str) -> float:
    return {"BTC-USDT-SWAP": 0.01, "ETH-USDT-SWAP": 0.1}.get(symbol, 100.0)


def _contract(symbol: str) -> dict[str, Any]:
    base, quote, _ = symbol.split("-")
    return {
        "instType": "SWAP", "instId": symbol, "instFamily": f"{base}-{quote}", "uly": f"{base}-{quote}",
        "ctType": "inverse" if quote == "USD" else "linear", "ctVal": f"{_multiplier(symbol):g}", "ctMult": "1",
        "ctValCcy": "USD" if quote == "USD" else base, "settleCcy": _coin(symbol), "tickSz": "0.1", "lotSz": "0.01",
        "groupId": "1", "state": "live", "lever": "100", "ruleType": "normal",
    }  # fmt: skip


@asynccontextmanager
async def okx_server(clock: Clock) -> AsyncIterator[OkxServer]:
    """The server on this loop with the test's clock, until the block ends."""
    server = OkxServer(clock)
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
