"""OKX on loopback: as much of its V5 REST and WebSocket interfaces as a monitor uses, with one account.

It checks signatures, passphrases and times as OKX does, computes maintenance and ratios by the published formulas,
pushes whole rows in which every number is a string, and misbehaves on request.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

import orjson
from aiohttp import web

from connectors.simulator.okx_contracts import (
    coin_of,
    contract_row,
    discounted,
    family_of,
    is_inverse,
    kind_of,
    multiplier_of,
)
from connectors.simulator.scenario import AccountSpec
from connectors.simulator.streams import Connection
from connectors.simulator.venue import HOST, Leg, Risk, VenueServer, side_of
from monitor.clock import Clock

API_KEY = "key-of-the-okx-account"
API_SECRET = "secret-of-the-okx-account"  # noqa: S105 - opens nothing but this simulator
PASSPHRASE = "passphrase-of-the-okx-account"  # noqa: S105 - opens nothing but this simulator
FEE = 0.0005
VALID_MS = 25_000
"""A request is refused when its time is further off. OKX allows 30 s."""

TIERS = ((1000, 0.004), (5000, 0.0065), (10_000, 0.01), (20_000, 0.02))
"""Last contract and maintenance rate."""

THIN_TIERS = ((12_000, 0.01), (30_000, 0.015), (60_000, 0.03))
"""The same of contracts that trade less."""


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
    discount: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=lambda: {"BTC": ((inf, 0.95),)})
    """Of currencies that do not count in full: up to so many of it, this share of each."""
    indexes: tuple[str, ...] = ("USDT", "BTC")
    """Currencies that have an index in USD."""
    totals: bool = True
    """Whether the figures over all currencies are told, where there are any."""
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Figures of currencies that are left empty."""
    unlisted: set[str] = field(default_factory=set)
    """Contracts that are traded and not among those that are listed."""
    maintenance: float = 40.0
    """Of the whole account under portfolio margin."""
    taker: str = "-0.0005"
    tiers: tuple[tuple[int, float], ...] = TIERS
    funding_interval_s: float = 28_800.0
    page: int = 100
    """Positions, or currencies, on a page of a push."""
    isolated_share: float = 1.0
    """By so many times the rates of isolated positions are those of cross ones."""
    positions: list[Position] = field(default_factory=lambda: [Position()])
    marks: dict[str, float] = field(
        default_factory=lambda: {"BTC-USDT-SWAP": 75_000.0, "ETH-USDT-SWAP": 4_000.0, "BTC-USD-SWAP": 75_000.0}
    )


class OkxServer(VenueServer[Connection]):
    """The whole of it."""

    venue = "okx"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.state = State()
        self.key, self.secret, self.passphrase = API_KEY, API_SECRET, PASSPHRASE
        self.signatures: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.heard: list[tuple[str, Any]] = []
        """Route and content of every message of a client, log-ins aside."""
        self.pongs = True
        self.refused: set[str] = set()
        """Private channels that do not exist here."""
        self._logged_in: set[int] = set()

    # --- addresses

    @property
    def market_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/ws/v5/public"

    @property
    def private_url(self) -> str:
        """For the configuration."""
        return f"ws://{HOST}:{self.port}/ws/v5/private"

    @property
    def answers(self) -> dict[str, Callable[[Any], list[Any]]]:
        """Rows of the REST endpoints by path; the argument needs no more than ``query``."""
        return {
            "/api/v5/public/time": lambda request: [{"ts": str(self.now_ms())}],
            "/api/v5/account/config": self._config,
            "/api/v5/account/balance": lambda request: [self.balance()],
            "/api/v5/account/positions": lambda request: [self.row(p) for p in self.state.positions if p.size],
            "/api/v5/account/instruments": self._contracts,
            "/api/v5/account/trade-fee": self._fees,
            "/api/v5/public/position-tiers": self._tiers,
            "/api/v5/public/funding-rate": self._funding,
            "/api/v5/market/index-tickers": lambda request: [self._index_row(coin) for coin in self.state.indexes],
        }

    def routes(self) -> list[web.RouteDef]:
        """Everything that is served."""
        rest = [web.get(path, self._rest(answer)) for path, answer in self.answers.items()]
        market = web.get("/ws/v5/public", partial(self.serve, route="market"))
        return [*rest, market, web.get("/ws/v5/private", partial(self.serve, route="private"))]

    # --- REST

    def _rest(self, answer: Callable[[web.Request], list[Any]]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests.append((request.path, dict(request.query)))
            self.headers.append(dict(request.headers))
            if (spoiled := await self.fault(request.path)) is not None:
                return spoiled
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
        if key != self.key:
            return 50111
        if passphrase != self.passphrase:
            return 50105
        if abs(datetime.fromisoformat(at).timestamp() * 1000 - self.now_ms()) > VALID_MS:
            return 50102
        return 0 if signature == self._sign(f"{at}{request.method}{request.path_qs}") else 50113

    def _sign(self, text: str) -> str:
        return base64.b64encode(hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).digest()).decode()

    def _config(self, request: web.Request) -> list[Any]:
        state = self.state
        return [
            {
                "uid": "1", "mainUid": "1", "acctLv": state.level, "posMode": state.position_mode, "ip": "",
                "perm": state.permissions, "ctIsoMode": "automatic", "liquidationGear": state.gear, "level": "Lv1",
            }
        ]  # fmt: skip

    def _contracts(self, request: web.Request) -> list[Any]:
        kind, family = request.query["instType"], request.query.get("instFamily")
        listed = sorted(symbol for symbol in self.state.marks.keys() - self.state.unlisted if kind_of(symbol) == kind)
        return [contract_row(symbol) for symbol in listed if family in (None, family_of(symbol))]

    def _fees(self, request: web.Request) -> list[Any]:
        taker = self.state.taker
        groups = [{"groupId": "1", "maker": "-0.0002", "taker": taker}]
        return [{"instType": "SWAP", "taker": taker, "takerU": taker, "takerUSDC": taker, "feeGroup": groups}]

    def _tiers(self, request: web.Request) -> list[Any]:
        return [
            {
                "instFamily": family, "uly": family, "tier": str(i + 1), "maxSz": str(last), "mmr": f"{rate:.12g}",
                "minSz": str(tiers[i - 1][0] + 1 if i else 0), "imr": f"{rate * 2:.12g}", "maxLever": "50",
            }
            for family in request.query["instFamily"].split(",")
            for tiers in (self._tiers_of(family, request.query["tdMode"]),)
            for i, (last, rate) in enumerate(tiers)
        ]  # fmt: skip

    def _tiers_of(self, family: str, mode: str) -> tuple[tuple[int, float], ...]:
        tiers = self.state.tiers if family.startswith(("BTC-", "ETH-")) else THIN_TIERS
        share = self.state.isolated_share if mode == "isolated" else 1.0
        return tuple((last, rate * share) for last, rate in tiers)

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
        mark, inverse = self.state.marks[held.symbol], is_inverse(held.symbol)
        quantity = held.size * multiplier_of(held.symbol)
        notional = abs(quantity) / mark if inverse else abs(quantity) * mark
        profit = quantity * (1 / held.entry - 1 / mark) if inverse else quantity * (mark - held.entry)
        same = [p for p in self.state.positions if p.mode == "cross" and p.symbol == held.symbol]
        contracts = sum(abs(p.size) for p in same) if held.mode == "cross" else abs(held.size)
        return (
            notional,
            profit,
            next(rate for last, rate in self._tiers_of(family_of(held.symbol), held.mode) if contracts <= last),
        )

    def row(self, held: Position) -> dict[str, Any]:
        """A position as REST and the stream tell it."""
        notional, profit, rate = self.figures(held)
        isolated, coin = held.mode == "isolated", coin_of(held.symbol)
        ratio = (held.margin + profit) / (notional * (rate + FEE)) if isolated and held.size else None
        mark = self.state.marks[held.symbol]
        row = {
            "instType": kind_of(held.symbol), "instId": held.symbol, "mgnMode": held.mode, "posId": "1",
            "posSide": held.side,
            "pos": f"{held.size if held.side == 'net' else abs(held.size):g}", "ccy": coin, "posCcy": "",
            "avgPx": f"{held.entry}" if held.size else "", "markPx": f"{mark}", "lever": "10",
            "margin": f"{held.margin!r}" if isolated else "", "imr": "" if isolated else f"{notional / 10!r}",
            "mmr": f"{notional * rate!r}", "mgnRatio": "" if ratio is None else f"{ratio!r}", "upl": f"{profit!r}",
            "liqPx": "", "notionalUsd": f"{notional}", "usdPx": f"{self.state.usd.get(coin, 0.0) or ''}", "adl": "1",
            "cTime": "1789999000000",
            "uTime": str(self.now_ms()),
        }  # fmt: skip
        return row | held.changes

    def cross(self, coin: str) -> tuple[float, float, float]:
        """Profit, maintenance, and maintenance with fees of the cross positions in a coin."""
        figures = [self.figures(p) for p in self.state.positions if p.mode == "cross" and coin_of(p.symbol) == coin]
        return (
            sum(profit for _, profit, _ in figures),
            sum(notional * rate for notional, _, rate in figures),
            sum(notional * (rate + FEE) for notional, _, rate in figures),
        )

    def balance(self) -> dict[str, Any]:
        """The account as REST and the stream tell it. Figures over all coins are empty in futures mode."""
        rows = [self._coin_row(coin) for coin in self.state.cash]
        owned = [row for row in rows if float(row["cashBal"]) or float(row["eq"])]
        coins = [row | dict.fromkeys(self.state.empty.get(row["ccy"], ()), "") for row in owned]
        totals = dict.fromkeys(("adjEq", "imr", "mmr", "mgnRatio"), "")
        if self.state.level in ("3", "4") and self.state.totals:
            equity, required, with_fees = self._whole()
            totals = {"adjEq": f"{equity!r}", "imr": "1", "mmr": f"{required!r}"}
            totals["mgnRatio"] = f"{equity / with_fees!r}" if with_fees else ""
        return {"uTime": str(self.now_ms()), "totalEq": "1", "isoEq": "0", **totals, "details": coins}

    def _whole(self) -> tuple[float, float, float]:
        """Equity, maintenance, and maintenance with fees over all coins, in USD."""
        equity = sum(float(self._coin_row(coin)["disEq"]) for coin in self.state.cash)
        crosses = {coin: self.cross(coin) for coin in self.state.cash}
        required = sum(mm * self.state.usd[coin] for coin, (_, mm, _) in crosses.items())
        with_fees = sum(mm * self.state.usd[coin] for coin, (_, _, mm) in crosses.items())
        if self.state.level == "4":
            with_fees += self.state.maintenance - required
            required = self.state.maintenance
        return equity, required, with_fees

    def _coin_row(self, coin: str) -> dict[str, Any]:
        alone = [p for p in self.state.positions if p.mode == "isolated" and p.size and coin_of(p.symbol) == coin]
        isolated = sum(p.margin + self.figures(p)[1] for p in alone)
        profit, required, with_fees = self.cross(coin)
        cash, price = self.state.cash[coin], self.state.usd[coin]
        equity, futures = cash + profit + isolated, self.state.level == "2"
        counted = discounted(cash + profit, self.state.discount.get(coin, ()))
        return {
            "ccy": coin, "cashBal": f"{cash!r}", "eq": f"{equity!r}", "isoEq": f"{isolated!r}", "upl": f"{profit!r}",
            "availEq": f"{cash + profit!r}", "uTime": "1789999000000", "coinUsdPrice": f"{price!r}",
            "eqUsd": f"{(equity - isolated) * price!r}", "liab": "", "twap": "0",
            "disEq": "0" if futures else f"{counted * price!r}",
            "mmr": f"{required!r}" if futures and required else "", "imr": "",
            "mgnRatio": f"{(cash + profit) / with_fees!r}" if futures and with_fees else "",
        }  # fmt: skip

    # --- an account that follows a price path

    def open(self, spec: AccountSpec, seed: int) -> None:
        """Futures mode, or multi-currency mode with `multi_assets`; positions are one-way, sizes in contracts."""
        self.key, self.secret = spec.keys(seed)
        self.passphrase = hashlib.sha256(self.secret.encode()).hexdigest()
        state = self.state
        state.level, state.cash = "3" if spec.multi_assets else "2", {c: float(q) for c, q in spec.wallets.items()}
        state.positions = [
            Position(
                held.symbol,
                float(held.size),
                float(held.entry_price or state.marks[held.symbol]),
                "cross" if held.isolated_wallet is None else "isolated",
                margin=float(held.isolated_wallet or 0),
            )
            for held in spec.positions
        ]

    def table(self) -> dict[str, str]:
        """Addresses and credentials."""
        urls = {"rest_url": self.rest_url, "market_url": self.market_url, "private_url": self.private_url}
        return urls | {"api_key": self.key, "api_secret": self.secret, "passphrase": self.passphrase}

    def prices(self) -> dict[str, float]:
        """Of the swaps."""
        return self.state.marks

    def leader(self, symbol: str) -> str:
        """The coin's."""
        return f"{symbol.partition('-')[0]}USDT"

    def set_mark(self, symbol: str, price: float) -> None:
        """A mark, and with it what the coin counts as collateral."""
        self.send_mark(symbol, price)
        if symbol.endswith("-USDT-SWAP"):
            self.send_index(symbol.partition("-")[0], price)

    def is_inverse(self, symbol: str) -> bool:
        """Those that are margined in their coin."""
        return is_inverse(symbol)

    def risks(self) -> list[Risk]:
        """Isolated positions, and the cross ones by coin or, in multi-currency mode, together in USD."""
        held = [p for p in self.state.positions if p.size]
        scopes = {self._scope(p): [q for q in held if self._scope(q) == self._scope(p)] for p in held}
        return [self._risk(scope, positions) for scope, positions in scopes.items()]

    def _scope(self, held: Position) -> str:
        if held.mode == "isolated":
            return f"{held.symbol}:{side_of(held.size)}"
        return coin_of(held.symbol) if self.state.level == "2" else "multi"

    def _risk(self, scope: str, positions: list[Position]) -> Risk:
        first, unit = positions[0], "USD" if scope == "multi" else coin_of(positions[0].symbol)
        legs = tuple(
            Leg(
                p.symbol,
                p.side,
                p.size,
                p.entry,
                self.figures(p)[0] * (self.state.usd[coin_of(p.symbol)] if unit == "USD" else 1),
            )
            for p in positions
        )
        if first.mode == "isolated":
            notional, profit, rate = self.figures(first)
            return Risk(scope, unit, first.margin + profit, notional * (rate + FEE), legs)
        if scope == "multi":
            equity, _, with_fees = self._whole()
            return Risk(scope, unit, equity, with_fees, legs)
        profit, _, with_fees = self.cross(unit)
        return Risk(scope, unit, self.state.cash[unit] + profit, with_fees, legs)

    def take_over(self, risk: Risk) -> None:
        """The positions are gone, and with them their margin."""
        lost = [p for p in self.state.positions if p.size and self._scope(p) == risk.scope]
        if lost[0].mode == "cross":
            coins = [risk.unit] if self.state.level == "2" else list(self.state.cash)
            self.state.cash |= dict.fromkeys(coins, 0.0)
        for held in lost:
            held.size = held.margin = 0.0
        stamp = {"pTime": str(self.now_ms())}
        rows = [self.row(held) | stamp for held in lost]
        self.state.positions = [held for held in self.state.positions if held not in lost]
        cash = [{"ccy": c, "cashBal": f"{q!r}", "uTime": str(self.now_ms())} for c, q in self.state.cash.items()]
        both = {"eventType": "liquidation", "balData": cash, "posData": rows, "trades": []} | stamp
        self.send("balance_and_position", [both])
        self.send("positions", rows, eventType="event_update")
        self.send("account", [self.balance()], eventType="event_update")

    def report(self) -> None:
        """Positions and account, which OKX repeats every few seconds."""
        for frame in self.pages():
            self.send("positions", frame["data"], **{key: frame[key] for key in ("eventType", "curPage", "lastPage")})
        self.send_account()

    def send_account(self) -> None:
        """All currencies, page after page."""
        for frame in self.account_pages():
            self.send("account", frame["data"], **{key: frame[key] for key in ("eventType", "curPage", "lastPage")})

    # --- WebSocket

    def connected(self, route: str, ws: web.WebSocketResponse, request: web.Request) -> Connection:
        """As the simulated exchange's own."""
        return Connection(next(self.numbers), route, False, ws, request)

    def hear(self, connection: Connection, text: str) -> None:
        """Pings, log-ins and subscriptions."""
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
        if said["apiKey"] != self.key:
            code = 60005
        elif abs(int(said["timestamp"]) * 1000 - self.now_ms()) > VALID_MS:
            code = 60006
        elif said["passphrase"] != self.passphrase:
            code = 60024
        elif said["sign"] != self._sign(f"{said['timestamp']}GET/users/self/verify"):
            code = 60007
        if code:
            connection.put(orjson.dumps({"event": "error", "code": str(code), "msg": "Login failed.", "connId": "c"}))
            return
        self._logged_in.add(connection.number)
        connection.put(orjson.dumps({"event": "login", "code": "0", "msg": "", "connId": "c"}))

    def _subscribe(self, connection: Connection, operation: str, arg: dict[str, str]) -> None:
        channel, private = arg["channel"], connection.route == "private"
        name = arg["instId"] if channel in ("mark-price", "index-tickers") else channel
        if private and connection.number not in self._logged_in:
            connection.put(orjson.dumps({"event": "error", "code": "60011", "msg": "Please log in", "connId": "c"}))
            return
        unknown = (channel == "mark-price" and name not in self.state.marks) or (
            channel == "index-tickers" and name not in (f"{coin}-USD" for coin in self.state.indexes)
        )
        if channel in self.refused or unknown:
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
        elif channel == "index-tickers":
            connection.publish(name, self.index(name.partition("-")[0]))
        elif channel in ("positions", "account"):
            for frame in self.pages() if channel == "positions" else self.account_pages():
                connection.publish(name, frame)

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

    def _index_row(self, coin: str) -> dict[str, str]:
        return {"instId": f"{coin}-USD", "idxPx": f"{self.state.usd[coin]}", "ts": str(self.now_ms())}

    def index(self, coin: str) -> dict[str, Any]:
        """A frame of the index-tickers channel."""
        return {"arg": {"channel": "index-tickers", "instId": f"{coin}-USD"}, "data": [self._index_row(coin)]}

    def pages(self) -> list[dict[str, Any]]:
        """The whole set of positions as the stream repeats it, page after page."""
        stamp = {"pTime": str(self.now_ms())}
        rows = [self.row(p) | stamp for p in self.state.positions if p.size]
        return self._set("positions", self._split(rows))

    def account_pages(self) -> list[dict[str, Any]]:
        """All currencies with a balance, as the stream repeats them."""
        told = self.balance()
        return self._set("account", [[told | {"details": coins}] for coins in self._split(told["details"])])

    def _split(self, rows: list[Any]) -> list[list[Any]]:
        return [rows[i : i + self.state.page] for i in range(0, len(rows), self.state.page)] or [[]]

    def _set(self, channel: str, pages: list[list[Any]]) -> list[dict[str, Any]]:
        return [
            self._push(channel, page, eventType="snapshot", curPage=i + 1, lastPage=i + 1 == len(pages))
            for i, page in enumerate(pages)
        ]

    def send_mark(self, symbol: str, price: float) -> None:
        """A mark to whoever subscribed."""
        self.state.marks[symbol] = price
        for connection in self.of("mark"):
            if symbol in connection.subscriptions:
                connection.publish(symbol, self.mark(symbol))

    def send_index(self, coin: str, price: float) -> None:
        """An index to whoever subscribed."""
        self.state.usd[coin] = price
        for connection in self.of("mark"):
            if f"{coin}-USD" in connection.subscriptions:
                connection.publish(f"{coin}-USD", self.index(coin))

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

    def end_subscriptions(self, *, silent: bool) -> None:
        """One connection too many: the channels of the present ones are dead, their sockets and pings are not."""
        for connection in self.of("user"):
            connection.subscriptions.clear()
            if not silent:
                said = {"event": "channel-conn-count-error", "channel": "positions", "connCount": "30", "connId": "c"}
                connection.put(orjson.dumps(said))
