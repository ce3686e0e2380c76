"""Hyperliquid on loopback: its info endpoint and its streams, as far as a monitor uses them, with faults on demand.

Addresses, positions and marks are set by the test; every figure of an answer follows from them, in the documented
shapes. Market and account connections come on paths of their own, so that a fault can be given to one of the two.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from connectors.simulator.scenario import AccountSpec
from connectors.simulator.streams import Connection
from connectors.simulator.venue import HOST, Leg, Reply, Risk, VenueServer, side_of
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


class Listener(Connection):
    """An open socket, with what it subscribed to; `mute` when its subscriptions have died."""

    def __init__(self, number: int, route: str, ws: web.WebSocketResponse, request: web.Request) -> None:
        super().__init__(number, route, False, ws, request)
        self.wanted: list[dict[str, Any]] = []
        self.mute = False

    def wants(self, kind: str, **more: str) -> bool:
        """Whether it subscribed to this."""
        return any(s.get("type") == kind and all(s.get(k) == v for k, v in more.items()) for s in self.wanted)


class HyperliquidServer(VenueServer[Listener]):
    """The venue. Start it, then steer it by its attributes and methods."""

    venue = "hyperliquid"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.marks = {"BTC": 75_000.0, "ETH": 4_000.0, "HYPE": 40.0, "xyz:AAPL": 250.0, "xyz:TSLA": 350.0}
        self.addresses: dict[str, Address] = {}
        self.asked: list[dict[str, Any]] = []
        self.repeats_contexts = True
        """Whether a subscription to a coin is answered with its context at once."""
        self.users_max: int | None = None
        """How many addresses it streams to one machine, over all connections."""
        self._repeat: set[str] = set()
        self._swap: set[str] = set()
        self._kept: dict[str, bytes] = {}
        self._fills = 0

    def routes(self) -> list[web.RouteDef]:
        """Questions, and the streams: both together, or each by itself."""
        return [
            web.post("/info", self._info),
            web.get("/ws", partial(self.serve, route=BOTH)),
            *(web.get(f"/ws/{route}", partial(self.serve, route=route)) for route in (MARKET, USER)),
        ]

    def stream_url(self, route: str = BOTH) -> str:
        """Where connections go; as at the real venue, one address serves for everything."""
        return f"ws://{HOST}:{self.port}/ws" + ("" if route == BOTH else f"/{route}")

    def add(self, address: Address) -> Address:
        """Make an account known."""
        self.addresses[address.name] = address
        return address

    # --- figures

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

    # --- what happens

    def mark(self, **prices: float) -> None:
        """Move marks and tell who listens; coins of builders' dexes are written ``xyz_AAPL``."""
        for name, price in prices.items():
            self.marks[name.replace("_", ":")] = price
        for name in prices:
            coin = name.replace("_", ":")
            self._tell(MARKET, "activeAssetCtx", self.context(coin), coin=coin)

    def tell_states(self, address: Address) -> None:
        """Tell an address its states and its spot balances."""
        self._tell(USER, "allDexsClearinghouseState", self.states(address), user=address.name)
        spot = {"user": address.name, "spotState": self.spot(address)}
        self._tell(USER, "spotState", spot, user=address.name)

    def liquidate(self, address: Address, coin: str) -> None:
        """Close a position at the mark, with the fill that tells so."""
        self._tell_fill(address, self._close(address, coin))
        self.tell_states(address)

    def _close(self, address: Address, coin: str) -> dict[str, Any]:
        """Take a position away; what it was worth stays in the account. Returns the fill."""
        held = address.positions.pop(coin)
        kind = "Cross" if held.raw_usd is None else "Isolated"
        worth = self._profit(held) if held.raw_usd is None else self._equity(held)
        purse = "" if address.shares else held.dex
        address.cash[purse] = address.cash.get(purse, 0.0) + worth
        self._fills += 1
        return {
            "coin": coin, "px": repr(self.marks[coin]), "sz": repr(abs(held.size)), "time": self.now_ms(),
            "side": "A" if held.size > 0 else "B", "startPosition": repr(held.size), "closedPnl": "0.0", "hash": "0x0",
            "dir": f"Liquidated {kind} {side_of(held.size).title()}", "oid": 1000 + self._fills, "crossed": True,
            "fee": "0.0", "tid": self._fills, "feeToken": "USDC",
            "liquidation": {"liquidatedUser": address.name, "markPx": repr(self.marks[coin]), "method": "market"},
        }  # fmt: skip

    def _tell_fill(self, address: Address, *fills: dict[str, Any]) -> None:
        self._tell(USER, "userFills", {"user": address.name, "fills": list(fills)}, user=address.name)

    # --- faults of its own

    def send_raw(self, route: str, text: str) -> None:
        """A frame as it is, to every connection of a route."""
        for connection in self._of(route):
            connection.put(text.encode())

    def end_subscriptions(self, *, silent: bool) -> None:
        """The present account connections tell nothing any more."""
        for connection in self._of(USER):
            connection.mute = True
            if not silent:
                first = next(iter(connection.wanted), {"type": "allDexsClearinghouseState"})
                ended = {"method": "unsubscribe", "subscription": first}
                connection.put(_frame("subscriptionResponse", ended))

    def repeat_next(self, route: str) -> None:
        """The next frame goes twice."""
        self._repeat.add(route)

    def swap_next(self, route: str) -> None:
        """The next frame goes after the one of its channel that follows it."""
        self._swap.add(route)

    def refuse(self, question: str, answer: Reply, times: int) -> None:
        """Answer the next questions of a type so; what gives None never answers."""
        self.faults += [(question, answer)] * times

    def heal(self) -> None:
        """Take every fault back."""
        super().heal()
        self._repeat.clear()
        self._swap.clear()

    def open_of(self, route: str) -> int:
        """Connections of a route."""
        return len(self._of(route))

    # --- an account that follows a price path

    def open(self, spec: AccountSpec, seed: int) -> None:
        """An address in standard mode with its USDC, its positions each cross or isolated; its sizes are in coins."""
        address = Address(f"0x{spec.keys(seed)[0][:40]}", cash={"": float(spec.wallets.get("USDC", 0))})
        for held in spec.positions:
            size, entry = float(held.size), float(held.entry_price or self.marks[held.symbol])
            own = None if held.isolated_wallet is None else float(held.isolated_wallet) - size * entry
            address.positions[held.symbol] = Held(held.symbol, size, entry, own)
        self.add(address)

    def table(self) -> dict[str, str]:
        """Addresses; there is no key."""
        (address,) = self.addresses
        stream = self.stream_url()
        return {"rest_url": self.rest_url, "market_url": stream, "private_url": stream, "address": address}

    def watched(self) -> bool:
        """By subscriptions of both kinds."""
        told = {s["type"] for connection in self.connections for s in connection.wanted}
        return {"activeAssetCtx", "allDexsClearinghouseState"} <= told

    def prices(self) -> dict[str, float]:
        """Of the perpetuals."""
        return self.marks

    def leader(self, symbol: str) -> str:
        """The coin's."""
        return f"{symbol}USDT"

    def set_mark(self, symbol: str, price: float) -> None:
        """A context."""
        self.mark(**{symbol: price})

    def risks(self) -> list[Risk]:
        """Isolated positions, and the cross ones of the first dex."""
        return [risk for address in self.addresses.values() for risk in self._risks(address)]

    def _risks(self, address: Address) -> list[Risk]:
        alone = [
            Risk(f"{p.coin}:{side_of(p.size)}", "USDC", self._equity(p), self._required(p), (self._leg(p),))
            for p in address.positions.values()
            if p.raw_usd is not None
        ]
        cross = [p for p in address.positions.values() if p.raw_usd is None]
        balance = address.cash.get("", 0.0) + sum(map(self._profit, cross))
        legs = tuple(map(self._leg, cross))
        return [*alone, Risk("USDC", "USDC", balance, sum(map(self._required, cross)), legs)] if cross else alone

    def _leg(self, held: Held) -> Leg:
        return Leg(held.coin, side_of(held.size), held.size, held.entry, abs(held.size) * self.marks[held.coin])

    def take_over(self, risk: Risk) -> None:
        """By market orders; what remains of the margin stays with the user, as the documentation says."""
        (address,) = self.addresses.values()
        self._tell_fill(address, *[self._close(address, leg.symbol) for leg in risk.legs])
        address.cash = {dex: max(0.0, cash) for dex, cash in address.cash.items()}
        self.tell_states(address)

    def report(self) -> None:
        """The states, which the venue repeats."""
        for address in self.addresses.values():
            self.tell_states(address)

    # --- sockets

    def route_of(self, stream: str) -> str:
        """Its routes are called by what they carry."""
        return MARKET if stream in ("mark", MARKET) else USER

    def of(self, stream: str) -> list[Listener]:
        """The open connections of a stream."""
        return self._of(self.route_of(stream))

    def _of(self, route: str) -> list[Listener]:
        return [c for c in self.connections if c.route in (route, BOTH) and not c.ws.closed]

    def _tell(self, route: str, channel: str, data: dict[str, Any], **subscription: str) -> None:
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
                    self._send(connection, each)

    def _send(self, connection: Listener, text: bytes) -> None:
        if not (connection.mute or connection.silent):
            connection.put(text)

    def connected(self, route: str, ws: web.WebSocketResponse, request: web.Request) -> Listener:
        """It is greeted with a line that is no JSON."""
        connection = Listener(next(self.numbers), route, ws, request)
        connection.put(b"Websocket connection established.")
        return connection

    def hear(self, connection: Listener, text: str) -> None:
        """Pings and subscriptions."""
        message = orjson.loads(text)
        match message.get("method"):
            case "ping":
                connection.put(_frame("pong", None))
            case "subscribe" | "unsubscribe" as method:
                subscription = message["subscription"]
                if method == "subscribe" and self._too_many(subscription.get("user")):
                    connection.put(_frame("error", f"Cannot track more than {self.users_max} total users."))
                    return
                connection.put(_frame("subscriptionResponse", {"method": method, "subscription": subscription}))
                if method == "unsubscribe":
                    connection.wanted.remove(subscription)
                    return
                connection.wanted.append(subscription)
                self._begin(connection, subscription)
            case _:
                connection.put(_frame("error", f"cannot read {message}"))

    def _too_many(self, user: str | None) -> bool:
        told = {s["user"] for c in self.connections if not c.ws.closed for s in c.wanted if "user" in s}
        return user is not None and self.users_max is not None and len(told | {user}) > self.users_max

    def _begin(self, connection: Listener, subscription: dict[str, Any]) -> None:
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
            self._send(connection, _frame(kind, data))

    # --- questions

    async def _info(self, request: web.Request) -> web.StreamResponse:
        question = orjson.loads(await request.read())
        self.asked.append(question)
        kind = question["type"]
        if (spoiled := await self.fault(kind)) is not None:
            return spoiled
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


def _frame(channel: str, data: object) -> bytes:
    return orjson.dumps({"channel": channel} if data is None else {"channel": channel, "data": data})
