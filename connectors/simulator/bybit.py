"""Bybit on loopback: as much of its V5 REST and WebSocket interfaces as a monitor uses, with one account.

It checks signatures and times as Bybit does, numbers its position events, sends deltas without what did not change,
and misbehaves on request.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import orjson
from aiohttp import web

from connectors.simulator.bybit_contracts import (
    base_of,
    contract_row,
    counted,
    maintenance_of,
    margin_coin_of,
    tier_rows,
)
from connectors.simulator.scenario import AccountSpec
from connectors.simulator.streams import Connection
from connectors.simulator.venue import HOST, Leg, Risk, VenueServer, side_of
from monitor.clock import Clock

API_KEY = "key-of-the-bybit-account"
API_SECRET = "secret-of-the-bybit-account"  # noqa: S105 - opens nothing but this simulator
WINDOW_MS = 5000


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
    options: dict[str, float] = field(default_factory=dict)
    """Maintenance of options, by coin."""
    status: dict[str, str] = field(default_factory=dict)
    """Of contracts that do not trade: lists are of those that do, unless they are asked for by status."""
    taker_fee_rate: str = "0.00055"
    funding_minutes: int = 480
    tier_rate: str = ""
    """Of the first tier, instead of its own."""
    page: int = 200
    """Rows on a page of the tables that have pages."""
    positions: list[Position] = field(default_factory=lambda: [Position("BTCUSDT", 1.0, 75_000.0)])
    marks: dict[str, float] = field(default_factory=lambda: {"BTCUSDT": 75_000.0, "ETHUSDT": 4_000.0})
    incidents: list[dict[str, Any]] = field(default_factory=list)


class BybitServer(VenueServer[Connection]):
    """The whole of it."""

    venue = "bybit"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.state = State()
        self.key, self.secret = API_KEY, API_SECRET
        self.signatures: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.subscribed: list[tuple[str, list[str]]] = []
        """Operation and topics of every message on the public sockets."""
        self._cross = count(1000)
        self._authed: set[int] = set()
        self._category: dict[int, str] = {}

    # --- addresses

    @property
    def market_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/v5/public"

    @property
    def private_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/v5/private"

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
        market = web.get("/v5/public/{category}", partial(self.serve, route="market"))
        return [*rest, market, web.get("/v5/private", partial(self.serve, route="private"))]

    # --- REST

    def _rest(self, answer: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests.append((request.path, dict(request.query)))
            if (spoiled := await self.fault(request.path)) is not None:
                return spoiled
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
        if key != self.key:
            return 10003
        if not self.now_ms() - int(window) <= int(stamp) < self.now_ms() + 1000:
            return 10002
        return 0 if signature == self._sign(f"{stamp}{key}{window}{request.query_string}") else 10004

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def _query_api(self, request: web.Request) -> dict[str, Any]:
        can = {"ContractTrade": ["Order", "Position"], "Spot": [], "Wallet": ["AccountTransfer"]}
        return {"apiKey": self.key, "readOnly": self.state.read_only, "permissions": can, "uta": 1, "deadlineDay": 60}

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
            "positionMM": f"{maintenance_of(held.symbol, value) + fee:.8f}", "takeProfit": "", "stopLoss": "",
            "trailingStop": "0", "unrealisedPnl": f"{pnl:.8f}", "cumRealisedPnl": "0", "seq": held.seq,
            "isReduceOnly": False, "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "",
            "createdTime": "1789999000000", "updatedTime": str(self.now_ms()),
        }  # fmt: skip
        return row | held.changes

    def _positions(self, request: web.Request) -> dict[str, Any]:
        category, settle = request.query["category"], request.query.get("settleCoin")
        held = [p for p in self.state.positions if p.category == category and p.size]
        if settle is not None:
            held = [p for p in held if margin_coin_of(p.symbol) == settle]
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
        own = sum(counted(c["coin"], float(c["walletBalance"])) * self.usd(c["coin"]) for c in coins)
        if self.state.maintenance is not None:
            required = self.state.maintenance
        rate = required / (own + pnl) if own + pnl else 0.0
        totals = {
            "accountMMRate": f"{int(rate * 10_000) / 10_000}", "accountIMRate": "0.1",
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
        # In unified account 1.0 inverse contracts draw on an account of their own.
        counts = (p for p in self.state.positions if p.size and (self.state.unified > 4 or p.category != "inverse"))
        rows = [self.position_row(p) for p in counts if margin_coin_of(p.symbol) == coin]
        pnl = sum(float(row["unrealisedPnl"]) for row in rows)
        required = sum(float(row["positionMM"] or 0) for row in rows) + self.state.options.get(coin, 0.0)
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
        category, name = request.query["category"], request.query.get("symbol")
        wanted, minutes = request.query.get("status", "Trading"), self.state.funding_minutes
        listed = [
            contract_row(s) | {"fundingInterval": minutes, "status": status}
            for s in self.state.marks
            if (category == "inverse") == s.endswith("USD")
            and (status := self.state.status.get(s, "Trading")) == wanted
            and name in (None, s)
        ]
        return self._page(request, listed) | {"category": category}

    def _risk(self, request: web.Request) -> Any:
        symbol = request.query.get("symbol")
        if symbol is not None and symbol not in self.state.marks:
            return self.envelope(10029)
        symbols = [symbol] if symbol else list(self.state.marks)
        return self._page(request, [row for s in symbols for row in tier_rows(s, self.state.tier_rate)]) | {
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

    # --- an account that follows a price path

    def open(self, spec: AccountSpec, seed: int) -> None:
        """A unified account in cross mode, one-way; sizes in coins, of inverse contracts in dollars."""
        if any(held.isolated_wallet is not None for held in spec.positions):
            raise ValueError("isolated positions in an account with cross ones")
        self.key, self.secret = spec.keys(seed)
        self.state.balances = {coin: float(quantity) for coin, quantity in spec.wallets.items()}
        self.state.positions = [
            Position(
                held.symbol,
                float(held.size),
                float(held.entry_price or self.state.marks[held.symbol]),
                "inverse" if self.is_inverse(held.symbol) else "linear",
                str(held.leverage or 10),
            )
            for held in spec.positions
        ]

    def table(self) -> dict[str, str]:
        """Addresses and credentials."""
        urls = {"rest_url": self.rest_url, "market_url": self.market_url, "private_url": self.private_url}
        return urls | {"api_key": self.key, "api_secret": self.secret}

    def prices(self) -> dict[str, float]:
        """Of the contracts."""
        return self.state.marks

    def leader(self, symbol: str) -> str:
        """The coin's; inverse and USDC contracts follow it too."""
        return f"{base_of(symbol)}USDT"

    def set_mark(self, symbol: str, price: float) -> None:
        """A delta."""
        self.send_mark(symbol, price)

    def is_inverse(self, symbol: str) -> bool:
        """Those that are margined in their coin."""
        return symbol.endswith("USD")

    def risks(self) -> list[Risk]:
        """The account, in USD."""
        held = [p for p in self.state.positions if p.size]
        whole = self.wallet()
        legs = tuple(Leg(p.symbol, side_of(p.size), p.size, p.entry, self._value(p)) for p in held)
        balance, required = (float(whole[key]) for key in ("totalMarginBalance", "totalMaintenanceMargin"))
        return [Risk("multi", "USD", balance, required, legs)] if held else []

    def _value(self, held: Position) -> float:
        mark = self.state.marks[held.symbol]
        quantity = abs(held.size) / mark if self.is_inverse(held.symbol) else abs(held.size) * mark
        return quantity * self.usd(margin_coin_of(held.symbol))

    def take_over(self, risk: Risk) -> None:
        """First orders and positions, then the wallet: nothing is left."""
        lost = [held for held in self.state.positions if held.size]
        orders = [
            {
                "category": held.category, "symbol": held.symbol, "side": "Sell" if held.size > 0 else "Buy",
                "positionIdx": held.index, "orderStatus": "Filled", "qty": f"{abs(held.size):g}",
                "createType": "CreateByLiq", "orderType": "Market", "updatedTime": str(self.now_ms()),
            }
            for held in lost
        ]  # fmt: skip
        self.state.balances = dict.fromkeys(self.state.balances, 0.0)
        for held in lost:
            held.size, held.seq = 0.0, held.seq + 1
        rows = [self.position_row(held, "entryPrice") | {"category": held.category} for held in lost]
        self.state.positions = [held for held in self.state.positions if held.size]
        self.send_private("order", orders)
        self.send_private("position", rows)
        self.send_private("wallet", [self.wallet()])

    # --- WebSocket

    def connected(self, route: str, ws: web.WebSocketResponse, request: web.Request) -> Connection:
        """As the simulated exchange's own."""
        connection = Connection(next(self.numbers), route, False, ws, request)
        self._category[connection.number] = request.match_info.get("category", "")
        return connection

    def hear(self, connection: Connection, text: str) -> None:
        """Pings, log-ins and subscriptions."""
        said = orjson.loads(text)
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
            if key != self.key or signature != self._sign(f"GET/realtime{expires}"):
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
