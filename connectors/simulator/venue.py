"""What the simulated OKX, Bybit and Hyperliquid have in common: a server, its sockets and faults, and an account's end.

Each holds one account (Hyperliquid any number of addresses). Its prices are set by a test, or follow those of the
exchange whose path is played; then it liquidates what its own figures say is lost.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import ClassVar, Generic, Self, TypeVar

from aiohttp import WSMsgType, web

from connectors.simulator.liquidator import LiquidatedLeg, Liquidation
from connectors.simulator.prices import Marks
from connectors.simulator.scenario import AccountSpec, ScenarioFault
from connectors.simulator.streams import Connection
from connectors.simulator.wire import EIGHT_PLACES
from monitor.clock import Clock

HOST = "127.0.0.1"
REPORT_S = 2.0
"""How often a venue that repeats the state of an account unasked does so."""
_CLOSE_TIMEOUT_S = 1.0
_HANG_S = 60.0
_SHUTDOWN_S = 0.2

C = TypeVar("C", bound=Connection)
Reply = Callable[[], web.StreamResponse | None]


@dataclass(frozen=True, slots=True)
class Leg:
    """One position of a `Risk`; `amount` is signed, `notional` in the unit of its pool."""

    symbol: str
    side: str
    amount: float
    entry: float
    notional: float


@dataclass(frozen=True, slots=True)
class Risk:
    """What is liquidated as one, as the venue sees it now. `maintenance` has the fees that the venue counts in."""

    scope: str
    unit: str
    balance: float
    maintenance: float
    legs: tuple[Leg, ...]

    @property
    def ratio(self) -> float:
        """Maintenance margin over margin balance; infinite when nothing is left."""
        return self.maintenance / self.balance if self.balance > 0 else float("inf")


def side_of(amount: float) -> str:
    """The side of a signed amount, as a scope names it."""
    return "long" if amount > 0 else "short"


@dataclass(frozen=True, slots=True)
class Question:
    """A request that came in, about a path or a type, and whether a fault met it. `at` is by the machine's clock."""

    at: float
    about: str
    spoiled: bool


class VenueServer(ABC, Generic[C]):
    """A venue on loopback. ``async with`` listens on a free port until the block ends."""

    venue: ClassVar[str]

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.offset_ms = 0
        self.port = 0
        self.account = ""
        """Name of the account that a scenario opened here."""
        self.connections: list[C] = []
        self.faults: list[tuple[str, Reply]] = []
        """What the next question for a path (or of a type) is answered with instead; None: not before `heal`."""
        self.questions: list[Question] = []
        """Every question so far."""
        self.numbers = count(1)
        self._refusals: dict[str, tuple[int, int]] = {}
        self._silent: set[str] = set()
        self._healed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._reported_at = 0.0

    # --- life

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port. Call `close` afterwards."""
        app = web.Application()
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self.port = int(self._runner.addresses[0][1])
        return self.port

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        self._healed.set()
        for connection in list(self.connections):
            connection.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def rest_url(self) -> str:
        """For the configuration."""
        return f"http://{HOST}:{self.port}"

    def now_ms(self) -> int:
        """The venue's clock."""
        return int(self.clock.now() * 1000) + self.offset_ms

    # --- what each venue is

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Everything that is served."""

    @abstractmethod
    def hear(self, connection: C, text: str) -> None:
        """A client said something."""

    @abstractmethod
    def open(self, spec: AccountSpec, seed: int) -> None:
        """Open the account of a scenario; what the venue does not know raises KeyError or ValueError."""

    @abstractmethod
    def table(self) -> dict[str, str]:
        """The account's ``[[account]]`` table, secrets included, but for name and venue."""

    def watched(self) -> bool:
        """Whether marks and the account are listened to: there are subscriptions of both kinds."""
        return all(any(c.subscriptions for c in self.of(stream)) for stream in ("mark", "user"))

    @abstractmethod
    def prices(self) -> dict[str, float]:
        """The present mark of every contract."""

    @abstractmethod
    def leader(self, symbol: str) -> str:
        """The USDT contract of the exchange whose path is played that a contract's price follows."""

    @abstractmethod
    def set_mark(self, symbol: str, price: float) -> None:
        """Set a mark and tell who listens."""

    @abstractmethod
    def risks(self) -> list[Risk]:
        """Every pool with an open position, by the venue's own figures."""

    @abstractmethod
    def take_over(self, risk: Risk) -> None:
        """Liquidate a pool and tell who listens."""

    def report(self) -> None:
        """Tell the state of the account, unasked, as some venues do."""

    # --- following a price path

    def enter(self, spec: AccountSpec, seed: int, marks: Marks) -> Self:
        """Open a scenario's account at the prices of the exchange that it follows."""
        self.account = spec.name
        try:
            for symbol in [*self.prices(), *(position.symbol for position in spec.positions)]:
                leader = self.leader(symbol)
                if leader in marks:
                    self.set_mark(symbol, float(marks[leader]))
            self.open(spec, seed)
            self.risks()
        except (KeyError, ValueError) as fault:
            raise ScenarioFault(f"account {spec.name}: {self.venue} has no {fault}") from None
        return self

    def follow(self, marks: Marks, at: float, step: int) -> list[Liquidation]:
        """Take the prices over, tell them, and liquidate what they leave without enough margin.

        The venues first close a part of larger positions; this simulator takes the whole pool over at once.
        """
        for symbol in list(self.prices()):
            if (price := marks.get(self.leader(symbol))) is not None:
                self.set_mark(symbol, float(price))
        lost = [risk for risk in self.risks() if risk.ratio >= 1.0]
        found = [self._liquidation(risk, at, step) for risk in lost]
        for risk in lost:
            self.take_over(risk)
        if at - self._reported_at >= REPORT_S:
            self._reported_at = at
            self.report()
        return found

    def _liquidation(self, risk: Risk, at: float, step: int) -> Liquidation:
        legs = tuple(self._liquidated(leg, risk) for leg in risk.legs)
        balance, required = _decimal(risk.balance), _decimal(risk.maintenance)
        return Liquidation(self.venue, at, step, self.account, risk.scope, risk.unit, balance, required, legs)

    def _liquidated(self, leg: Leg, risk: Risk) -> LiquidatedLeg:
        """Closed where nothing is left of the pool: each leg moves against it by the same share of its notional."""
        mark, shift = self.prices()[leg.symbol], risk.balance / sum(other.notional for other in risk.legs)
        against = shift if leg.amount > 0 else -shift
        price = mark / (1 + against) if self.is_inverse(leg.symbol) else mark * (1 - against)
        return LiquidatedLeg(leg.symbol, leg.side, *map(_decimal, (leg.amount, leg.entry, mark, price)))

    def is_inverse(self, symbol: str) -> bool:
        """Whether a contract is margined in its coin."""
        return False

    # --- REST

    async def fault(self, about: str) -> web.StreamResponse | None:
        """The answer that a fault laid on this question gives instead; one that hangs does so until `heal`."""
        met = next((each for each in self.faults if each[0] == about), None)
        self.questions.append(Question(self.clock.now(), about, met is not None))
        if met is None:
            return None
        self.faults.remove(met)
        reply = met[1]()
        if reply is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._healed.wait(), _HANG_S)
        return reply

    # --- WebSocket

    @abstractmethod
    def connected(self, route: str, ws: web.WebSocketResponse, request: web.Request) -> C:
        """A connection that a client has made on a route."""

    async def serve(self, request: web.Request, route: str) -> web.StreamResponse:
        """A client's connection until it ends."""
        left, status = self._refusals.get(route, (0, 0))
        if left:
            self._refusals[route] = left - 1, status
            return web.Response(status=status)
        # Frames are not compressed, so that a fault can write bytes of its own between them.
        ws = web.WebSocketResponse(autoping=False, compress=False, timeout=_CLOSE_TIMEOUT_S)
        await ws.prepare(request)
        connection = self.connected(route, ws, request)
        connection.silent = route in self._silent
        self.connections.append(connection)
        writer = asyncio.create_task(_write(connection), name=f"write-{connection.number}")
        try:
            while True:
                message = await ws.receive()
                if message.type is WSMsgType.PING and not connection.frozen:
                    await ws.pong(message.data)
                elif message.type is WSMsgType.TEXT and not connection.frozen:
                    self.hear(connection, message.data)
                elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    return ws
        except (ConnectionError, RuntimeError):
            return ws
        finally:
            writer.cancel()
            self.connections.remove(connection)

    def route_of(self, stream: str) -> str:
        """The route that carries a stream: ``mark`` or ``user``."""
        return "market" if stream == "mark" else "private"

    def of(self, stream: str) -> list[C]:
        """The open connections of a stream."""
        return [connection for connection in self.connections if connection.route == self.route_of(stream)]

    # --- faults

    def silence(self, stream: str) -> None:
        """Accept, acknowledge and say nothing, also on connections to come."""
        self._silent.add(self.route_of(stream))
        for connection in self.of(stream):
            connection.silent = True

    def refuse_handshakes(self, stream: str, status: int, times: int) -> None:
        """Answer the next handshakes with an HTTP status."""
        self._refusals[self.route_of(stream)] = times, status

    def heal(self) -> None:
        """Take every fault back; what was cut or frozen stays so."""
        self._silent.clear()
        self._refusals.clear()
        self.faults.clear()
        self._healed.set()
        self._healed = asyncio.Event()
        for connection in self.connections:
            connection.silent = connection.swap = False
            connection.duplicate = 0


async def _write(connection: Connection) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        await connection.write()


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(EIGHT_PLACES)
