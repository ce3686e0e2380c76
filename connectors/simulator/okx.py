"""OKX on loopback: as much of its V5 REST and WebSocket interfaces as a monitor uses, with one account.

It checks signatures, passphrases and times as OKX does, computes maintenance and ratios by the published formulas,
pushes whole rows in which every number is a string, and misbehaves on request.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from connectors.simulator import okx_answers
from connectors.simulator.okx_account import Position, State
from connectors.simulator.okx_contracts import is_inverse
from connectors.simulator.scenario import AccountSpec
from connectors.simulator.streams import Connection
from connectors.simulator.venue import HOST, Risk, VenueServer
from monitor.clock import Clock

API_KEY = "key-of-the-okx-account"
API_SECRET = "secret-of-the-okx-account"  # noqa: S105 - opens nothing but this simulator
PASSPHRASE = "passphrase-of-the-okx-account"  # noqa: S105 - opens nothing but this simulator
VALID_MS = 25_000
"""A request is refused when its time is further off. OKX allows 30 s."""


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
            "/api/v5/account/config": lambda request: okx_answers.config(self.state),
            "/api/v5/account/balance": lambda request: [self.balance()],
            "/api/v5/account/positions": lambda request: [self.row(p) for p in self.state.positions if p.size],
            "/api/v5/account/instruments": lambda request: okx_answers.contracts(self.state, request.query),
            "/api/v5/account/trade-fee": lambda request: okx_answers.fees(self.state),
            "/api/v5/public/position-tiers": lambda request: okx_answers.tiers(self.state, request.query),
            "/api/v5/public/funding-rate": lambda request: okx_answers.funding(self.state, self.now_ms()),
            "/api/v5/market/index-tickers": lambda request: [
                okx_answers.index_row(self.state, coin, self.now_ms()) for coin in self.state.indexes
            ],
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

    # --- what it says at this moment

    def row(self, held: Position) -> dict[str, Any]:
        """A position as REST and the stream tell it."""
        return okx_answers.position_row(self.state, held, self.now_ms())

    def balance(self) -> dict[str, Any]:
        """The account as REST and the stream tell it."""
        return okx_answers.balance(self.state, self.now_ms())

    def pages(self) -> list[okx_answers.Frame]:
        """The whole set of positions as the stream repeats it, page after page."""
        return okx_answers.position_pages(self.state, self.now_ms())

    def account_pages(self) -> list[okx_answers.Frame]:
        """All currencies with a balance, as the stream repeats them."""
        return okx_answers.account_pages(self.state, self.now_ms())

    def mark(self, symbol: str) -> okx_answers.Frame:
        """A frame of the mark-price channel."""
        return okx_answers.mark_frame(self.state, symbol, self.now_ms())

    def index(self, coin: str) -> okx_answers.Frame:
        """A frame of the index-tickers channel."""
        return okx_answers.index_frame(self.state, coin, self.now_ms())

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
        return self.state.risks()

    def take_over(self, risk: Risk) -> None:
        """The positions are gone, and with them their margin."""
        lost = self.state.take_over(risk.scope)
        stamp = {"pTime": str(self.now_ms())}
        rows = [self.row(held) | stamp for held in lost]
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
        frame = okx_answers.push(channel, data, **fields)
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
