"""What every venue's connector is put through: the faults of the real world, on real sockets.

A venue joins by an adapter (`VenueUnderTest`) in `VENUES`: a server on loopback that speaks the venue's protocol and
can be told to misbehave. The tests in ``test_compliance.py`` know only the adapter.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from itertools import count
from typing import Any, Protocol

import orjson
from aiohttp import web

from connectors import FeedSettings, VenueModule, connector_of
from connectors.binance.config import AccountConfig
from connectors.binance_coinm.config import AccountConfig as CoinAccountConfig
from connectors.binance_common.settings import FuturesAccountConfig
from connectors.config import BaseAccountConfig
from connectors.hyperliquid.config import AccountConfig as HyperliquidConfig
from connectors.okx.config import AccountConfig as OkxConfig
from connectors.okx.rest import REQUESTS_PER_MINUTE as OKX_REQUESTS_PER_MINUTE
from connectors.recorder import Recorder
from connectors.simulator import hyperliquid as hyperliquid_server
from connectors.simulator import okx as okx_server
from connectors.simulator.hyperliquid import Address, Held, HyperliquidServer
from connectors.simulator.okx import OkxServer
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from connectors.simulator.venue import VenueServer
from monitor.book import Book
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.margin.venues import rules_of
from monitor.model.assessment import FeedState, PoolAssessment
from monitor.model.events import AccountSnapshot, Event, FeedChanged, InstrumentsLoaded, Marks
from monitor.telemetry import Telemetry
from tests.support.booked import apply
from tests.support.venue_server import Venue, venue_in_process

SPEED = 10.0
"""The clock of these tests runs so much faster than the wall's: five seconds without a mark pass in half a second."""

SETTINGS = FeedSettings(connect_s=2.0, request_s=2.0, send_s=1.0, ping_s=0.3, pong_s=0.4, poll_s=0.01)
DEADLINE_S = 20.0


class QuickClock:
    """A steady clock that runs `SPEED` times as fast."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch, more or less."""
        return 1_790_000_000.0 + (time.monotonic() - self._started) * SPEED


class Stream(StrEnum):
    """The two kinds of sockets."""

    MARK = "mark"
    USER = "user"


class Ending(StrEnum):
    """How a connection may end."""

    CUT = "without a word"
    TORN = "in the middle of a frame"
    CLOSED = "with a close frame"


class Spoil(StrEnum):
    """Frames that no client should have to read."""

    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    UNKNOWN_EVENT = "unknown_event"
    EMPTY_NUMBERS = "empty_numbers"


class Refusal(StrEnum):
    """What REST may answer instead of an answer."""

    TOO_MANY = "too many requests, wait three seconds"
    BANNED = "banned, wait three seconds"
    BROKEN = "internal error"
    HANGS = "nothing, ever"
    GARBAGE = "not JSON"
    KEY = "the key is refused"


class Lack(StrEnum):
    """What some venues do not have, so that the tests about it say nothing about them."""

    KEYS = "no keys: everything is public"
    SIGNED_TIME = "no request bears a time"
    MARK_TIMES = "marks bear neither time nor number"
    CLOCK = "ccxt signs with this machine's clock, and while that is wrong the requests fail"
    PERMISSIONS = "ccxt has no question for what a key may do, so every key is refused until it is allowed"
    DELTAS = "through ccxt a stream only tells that something changed, and a snapshot what"
    FRAMES = "ccxt keeps the frames to itself: which were repeated, late or of no use, it does not tell"
    CONNECTIONS = "ccxt keeps the connections to itself: their handshakes cannot be counted, nor their ends foreseen"
    LISTING = "ccxt names positions, and counts them, by a list of contracts of its own: others it cannot tell"
    HASTE = "ccxt may connect again by itself, so a stream that was lost is late at first, and stale only later"


UNLISTED_TIMES = 10_000
"""How many questions for contracts are answered without the instrument, once it is not listed: all that come."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came to the venue: when, about what, its cost there, and whether a test had it answered amiss."""

    at: float
    about: str
    weight: float
    refused: bool


class VenueUnderTest(Protocol):
    """A venue on loopback with one account that holds one position in `instrument`."""

    name: str
    """As in the account's pools and metrics."""
    instrument: str
    unit: float
    """Contracts that a size of one is, as in `trade`."""
    lacks: frozenset[Lack]
    budget: float
    """The weight of requests that one address, or one user, is allowed a minute."""

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The account's configuration."""
        ...

    def secrets(self) -> list[str]:
        """Strings that must not be printed."""
        ...

    async def tick(self) -> None:
        """Send a fresh mark to whoever asked for it."""
        ...

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Give the position another size; with an event, or without."""
        ...

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """Send a bad frame."""
        ...

    async def repeat_next(self, stream: Stream) -> None:
        """Send the next frame twice."""
        ...

    async def swap_next(self, stream: Stream) -> None:
        """Send the next frame after the one that follows it."""
        ...

    async def silence(self, stream: Stream) -> None:
        """Accept, acknowledge and say nothing, also on connections to come."""
        ...

    async def half_open(self, stream: Stream) -> None:
        """Stop reading and writing on the present connections, and leave them open."""
        ...

    async def end(self, stream: Stream, how: Ending) -> None:
        """End the present connections."""
        ...

    async def refuse_handshakes(self, stream: Stream, status: int, times: int) -> None:
        """Answer the next handshakes with an HTTP status."""
        ...

    async def end_stream_key(self, *, silent: bool) -> None:
        """Let the key of the private stream expire, with the event that tells so or without."""
        ...

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """Answer the next requests for the account's state so."""
        ...

    async def unlist(self) -> None:
        """Leave the instrument out of the venue's list of contracts, though it is held and has marks."""
        ...

    async def asked(self) -> list[Asked]:
        """The venue's own record of every request, in the order of their coming, by the clock of both sides."""
        ...

    async def step_clock(self, seconds: float) -> None:
        """Move the venue's clock."""
        ...

    async def grant(self, **flags: bool) -> None:
        """Let the key do more than read."""
        ...

    async def heal(self) -> None:
        """Take every fault back."""
        ...

    async def open_connections(self, stream: Stream) -> int:
        """How many there are."""
        ...


class OverConnections:
    """What is the same for every server of the simulator whose connections can be reached one by one."""

    server: VenueServer[Any]
    close_code = 1001

    async def repeat_next(self, stream: Stream) -> None:
        """On the present connections."""
        for connection in self.server.of(stream):
            connection.duplicate = 1

    async def swap_next(self, stream: Stream) -> None:
        """On the present connections."""
        for connection in self.server.of(stream):
            connection.swap = True

    async def silence(self, stream: Stream) -> None:
        """Present and future connections; pings are answered all the same."""
        self.server.silence(stream)

    async def half_open(self, stream: Stream) -> None:
        """Present connections."""
        for connection in self.server.of(stream):
            connection.freeze()

    async def end(self, stream: Stream, how: Ending) -> None:
        """Present connections."""
        for connection in self.server.of(stream):
            match how:
                case Ending.CUT:
                    connection.cut()
                case Ending.TORN:
                    connection.tear()
                case Ending.CLOSED:
                    await asyncio.wait_for(connection.ws.close(code=self.close_code), 5.0)

    async def refuse_handshakes(self, stream: Stream, status: int, times: int) -> None:
        """The next handshakes."""
        self.server.refuse_handshakes(stream, status, times)

    async def asked(self) -> list[Asked]:
        """As the server wrote them down."""
        return [Asked(each.at, each.about, self.weight(each.about), each.spoiled) for each in self.server.questions]

    def weight(self, about: str) -> float:
        """What a question costs; one is as good as another where a venue does not weigh them."""
        return 1.0


class BinanceUnderTest:
    """Binance USD-M by the simulator."""

    name = "binance"
    instrument = "BTCUSDT"
    unit = 1.0
    account_path = "/fapi/v3/account"
    lacks: frozenset[Lack] = frozenset()
    budget = 2400.0
    _ROUTES = {Stream.MARK: "market", Stream.USER: "private"}  # noqa: RUF012 - a constant

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._prices = count()

    @property
    def _config(self) -> type[FuturesAccountConfig]:
        return AccountConfig

    @property
    def _streams(self) -> tuple[str, str]:
        return self._venue.market_url, self._venue.private_url

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The simulator's account."""
        key, (market_url, private_url) = self._venue.key, self._streams
        values = {
            "name": key.name,
            "api_key": Secret(key.api_key),
            "api_secret": Secret(key.api_secret),
            "rest_url": self._venue.rest_url,
            "market_url": market_url,
            "private_url": private_url,
            "permissions_url": self._venue.permissions_url,
            "reconcile_s": 5.0,
        }
        return [self._config.model_validate(values | changes)]

    def secrets(self) -> list[str]:
        """Key, secret, listen key, and the word that stands before every signature."""
        assert self._venue.simulator is not None
        keys = self._venue.simulator.exchange.listen_keys.values()
        key = self._venue.key
        return [key.api_key, key.api_secret, "signature=", *(each.text for each in keys)]

    async def tick(self) -> None:
        """A mark that differs from the last in its last digits."""
        await self._venue.marks(**{self.instrument: str(Decimal(75_000) + Decimal(next(self._prices) % 100) / 100)})

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Set the position."""
        await self._venue.act("main", "set_position", symbol=self.instrument, size=size, silent=silent)

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """A frame fault."""
        await self._venue.frame_fault(self._ROUTES[stream], how.value, symbol=self.instrument)

    async def repeat_next(self, stream: Stream) -> None:
        """A stream fault."""
        await self._venue.stream_fault(self._ROUTES[stream], "duplicate")

    async def swap_next(self, stream: Stream) -> None:
        """A stream fault."""
        await self._venue.stream_fault(self._ROUTES[stream], "swap")

    async def silence(self, stream: Stream) -> None:
        """A stream fault on present and future connections."""
        await self._venue.stream_fault(self._ROUTES[stream], "silent", future=True)

    async def half_open(self, stream: Stream) -> None:
        """A stream fault."""
        await self._venue.stream_fault(self._ROUTES[stream], "half_open")

    async def end(self, stream: Stream, how: Ending) -> None:
        """A stream fault."""
        kinds = {Ending.CUT: "drop", Ending.TORN: "torn", Ending.CLOSED: "close"}
        await self._venue.stream_fault(self._ROUTES[stream], kinds[how])

    async def refuse_handshakes(self, stream: Stream, status: int, times: int) -> None:
        """A stream fault."""
        await self._venue.stream_fault(self._ROUTES[stream], "refuse", status=status, times=times)

    async def end_stream_key(self, *, silent: bool) -> None:
        """The listen key."""
        assert await self._venue.expire_listen_key("main", silent=silent)

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """A REST fault on the account's endpoints."""
        faults: dict[Refusal, dict[str, Any]] = {
            Refusal.TOO_MANY: {"status": 429, "code": -1003, "retry_after": 3},
            Refusal.BANNED: {"status": 418, "code": -1003, "retry_after": 3},
            Refusal.BROKEN: {"status": 503, "code": -1001},
            Refusal.HANGS: {"kind": "hang"},
            Refusal.GARBAGE: {"kind": "garbage"},
            Refusal.KEY: {"status": 401, "code": -2015},
        }
        await self._venue.rest_fault(self.account_path, times=times, **faults[refusal])

    async def unlist(self) -> None:
        """In ``exchangeInfo``."""
        assert self._venue.simulator is not None
        self._venue.simulator.exchange.market.unlisted.add(self.instrument)

    async def asked(self) -> list[Asked]:
        """As the simulator's log has them."""
        log = await self._venue.log("request")
        return [Asked(each["at"], each["path"], each["weight"], each["fault"] is not None) for each in log]

    async def step_clock(self, seconds: float) -> None:
        """The venue's clock against ours."""
        await self._venue.clock_offset(int(seconds * 1000))

    async def grant(self, **flags: bool) -> None:
        """Flags of apiRestrictions."""
        await self._venue.permissions("main", **(flags or {"enableFutures": True}))

    async def heal(self) -> None:
        """All faults."""
        await self._venue.heal()

    async def open_connections(self, stream: Stream) -> int:
        """As the simulator counts them."""
        return len(await self._venue.connections(self._ROUTES[stream]))


@asynccontextmanager
async def binance(clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """The simulator in this process, on real sockets, with the test's clock."""
    held = PositionSpec(symbol="BTCUSDT", size=Decimal(1), isolated_wallet=Decimal(10_000))
    account = AccountSpec(name="main", wallets={"USDT": Decimal(50_000)}, positions=(held,))
    async with venue_in_process(Scenario(accounts=(account,), start="manual"), clock=clock) as venue:
        yield BinanceUnderTest(venue)


class CoinMUnderTest(BinanceUnderTest):
    """Binance COIN-M by the simulator, which carries both its streams un-routed."""

    name = "binance-coinm"
    instrument = "BTCUSD_PERP"
    account_path = "/dapi/v1/account"

    @property
    def _config(self) -> type[FuturesAccountConfig]:
        return CoinAccountConfig

    @property
    def _streams(self) -> tuple[str, str]:
        return self._venue.info["coin_stream_url"], self._venue.info["coin_stream_url"]


@asynccontextmanager
async def binance_coinm(clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """The same simulator with an account of coins and contracts."""
    held = PositionSpec(symbol="BTCUSD_PERP", size=Decimal(1), isolated_wallet=Decimal("0.001"))
    account = AccountSpec(name="main", venue="binance-coinm", wallets={"BTC": Decimal("0.5")}, positions=(held,))
    async with venue_in_process(Scenario(accounts=(account,), start="manual"), clock=clock) as venue:
        yield CoinMUnderTest(venue)


class OkxUnderTest(OverConnections):
    """OKX by a server of its own. It has no stream key; what dies instead is a subscription."""

    name = "okx"
    close_code = 4006
    instrument = "BTC-USDT-SWAP"
    unit = 1.0
    lacks: frozenset[Lack] = frozenset()
    budget = float(OKX_REQUESTS_PER_MINUTE)  # OKX limits each endpoint by itself; so many are none too many for any

    def __init__(self, server: OkxServer) -> None:
        self.server = server
        self._prices = count()

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The server's account."""
        values = {
            "name": "main",
            "api_key": Secret(okx_server.API_KEY),
            "api_secret": Secret(okx_server.API_SECRET),
            "passphrase": Secret(okx_server.PASSPHRASE),
            "rest_url": self.server.rest_url,
            "market_url": self.server.market_url,
            "private_url": self.server.private_url,
            "reconcile_s": 5.0,
        }
        return [OkxConfig.model_validate(values | changes)]

    def secrets(self) -> list[str]:
        """Key, secret, passphrase and every signature so far."""
        return [okx_server.API_KEY, okx_server.API_SECRET, okx_server.PASSPHRASE, *self.server.signatures]

    async def tick(self) -> None:
        """A mark that differs from the last in its last digits."""
        self.server.send_mark(self.instrument, 75_000.0 + next(self._prices) % 100 / 100)

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Set the position."""
        self.server.trade(float(size), silent=silent)

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """A frame as nobody sends it."""
        channel = "mark-price" if stream is Stream.MARK else "positions"
        row = {"instId": self.instrument, "instType": "SWAP", "markPx": "", "ts": "", "pos": "", "mgnMode": "cross"}
        frame = {"arg": {"channel": channel, "instId": self.instrument}, "data": [row]}
        text = orjson.dumps(frame)
        frames = {
            Spoil.GARBAGE: b"]this is not JSON[",
            Spoil.TRUNCATED: text[: len(text) // 2],
            Spoil.UNKNOWN_EVENT: text.replace(channel.encode(), b"something-new"),
            Spoil.EMPTY_NUMBERS: text,
        }
        for connection in self.server.of(stream):
            connection.put(frames[how])

    async def end_stream_key(self, *, silent: bool) -> None:
        """Subscriptions."""
        self.server.end_subscriptions(silent=silent)

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """On the account's balance."""
        wait = {"Retry-After": "3"}
        replies: dict[Refusal, Callable[[], web.StreamResponse | None]] = {
            Refusal.TOO_MANY: lambda: self.server.envelope(50011, status=429, headers=wait),
            Refusal.BANNED: lambda: self.server.envelope(50011, status=403, headers=wait),
            Refusal.BROKEN: lambda: self.server.envelope(50001, status=503),
            Refusal.HANGS: lambda: None,
            Refusal.GARBAGE: lambda: web.Response(text="<html>not JSON"),
            Refusal.KEY: lambda: self.server.envelope(50111, status=401),
        }
        self.server.faults += [("/api/v5/account/balance", replies[refusal])] * times

    async def unlist(self) -> None:
        """In the account's instruments."""
        path = "/api/v5/account/instruments"
        self.server.faults += [(path, lambda: self.server.envelope(0, []))] * UNLISTED_TIMES

    async def step_clock(self, seconds: float) -> None:
        """The venue's clock against ours."""
        self.server.offset_ms += int(seconds * 1000)

    async def grant(self, **flags: bool) -> None:
        """``perm`` of the account's configuration."""
        self.server.state.permissions = "read_only,trade"

    async def heal(self) -> None:
        """All faults."""
        self.server.heal()

    async def open_connections(self, stream: Stream) -> int:
        """As the server counts them."""
        return len(self.server.of(stream))


@asynccontextmanager
async def okx(clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """OKX in this process, on real sockets, with the test's clock."""
    async with OkxServer(clock) as server:
        yield OkxUnderTest(server)


class HyperliquidUnderTest(OverConnections):
    """Hyperliquid by a server of its own."""

    name = "hyperliquid"
    instrument = "BTC"
    unit = 1.0
    lacks = frozenset({Lack.KEYS, Lack.SIGNED_TIME, Lack.MARK_TIMES})
    budget = 1200.0
    _ROUTES = {Stream.MARK: hyperliquid_server.MARKET, Stream.USER: hyperliquid_server.USER}  # noqa: RUF012 - a constant

    def __init__(self, server: HyperliquidServer, address: str = "0x" + "ab" * 20) -> None:
        self.server = server
        self._prices = count()
        self._account = server.add(Address(address, cash={"": 50_000.0}))
        self._account.positions["BTC"] = Held("BTC", 1.0, 75_000.0)

    def accounts(self, **changes: Any) -> list[BaseAccountConfig]:
        """The address."""
        values = {
            "name": "main",
            "address": self._account.name,
            "rest_url": self.server.rest_url,
            "market_url": self.server.stream_url(hyperliquid_server.MARKET),
            "private_url": self.server.stream_url(hyperliquid_server.USER),
            "reconcile_s": 5.0,
        }
        return [HyperliquidConfig.model_validate(values | changes)]

    def secrets(self) -> list[str]:
        """There are none."""
        return []

    async def tick(self) -> None:
        """A mark that differs from the last in its last digits."""
        self.server.mark(BTC=75_000.0 + next(self._prices) % 100 / 100)

    async def trade(self, size: str, *, silent: bool = False) -> None:
        """Set the position."""
        self._account.positions["BTC"].size = float(size)
        if not silent:
            self.server.tell_states(self._account)

    async def spoil(self, stream: Stream, how: Spoil) -> None:
        """A frame as no client should have to read."""
        channel, data = "activeAssetCtx", self.server.context("BTC")
        if stream is Stream.USER:
            channel, data = "allDexsClearinghouseState", self.server.states(self._account)
        text = orjson.dumps({"channel": channel, "data": data}).decode()
        spoilt = {
            Spoil.GARBAGE: "\x00\x01garbage",
            Spoil.TRUNCATED: text[: len(text) // 2],
            Spoil.UNKNOWN_EVENT: '{"channel":"somethingNew","data":{}}',
            Spoil.EMPTY_NUMBERS: text.replace('"markPx":"', '"markPx":"","x":"').replace('"szi":"', '"szi":"","x":"'),
        }
        self.server.send_raw(self._ROUTES[stream], spoilt[how])

    async def repeat_next(self, stream: Stream) -> None:
        """The next frame twice."""
        self.server.repeat_next(self._ROUTES[stream])

    async def swap_next(self, stream: Stream) -> None:
        """The next two frames the other way round."""
        self.server.swap_next(self._ROUTES[stream])

    async def refuse_handshakes(self, stream: Stream, status: int, times: int) -> None:
        """Statuses."""
        self.server.refuse_handshakes(self._ROUTES[stream], status, times)

    async def end_stream_key(self, *, silent: bool) -> None:
        """There is no key; subscriptions end instead."""
        self.server.end_subscriptions(silent=silent)

    async def refuse(self, refusal: Refusal, times: int = 1) -> None:
        """Faults of the question for the account's state. Its one refusal that waiting does not heal is a 422."""
        wait = {"Retry-After": "3"}
        answers: dict[Refusal, Callable[[], web.StreamResponse | None]] = {
            Refusal.TOO_MANY: lambda: web.Response(status=429, headers=wait),
            Refusal.BANNED: lambda: web.Response(status=418, headers=wait),
            Refusal.BROKEN: lambda: web.Response(status=500, text="null"),
            Refusal.HANGS: lambda: None,
            Refusal.GARBAGE: lambda: web.Response(text="<html>"),
            Refusal.KEY: lambda: web.Response(status=422, text="Failed to deserialize the JSON body"),
        }
        self.server.refuse("clearinghouseState", answers[refusal], times)

    async def unlist(self) -> None:
        """In every dex's universe."""
        metas = [{"universe": [], "marginTables": [], "collateralToken": 0} for _ in hyperliquid_server.DEXES]
        self.server.refuse("allPerpMetas", lambda: web.json_response(metas), UNLISTED_TIMES)

    async def asked(self) -> list[Asked]:
        """With what was asked of which dex, which the type does not tell."""
        told = zip(await super().asked(), self.server.asked, strict=True)
        return [replace(each, about=orjson.dumps(question).decode()) for each, question in told]

    def weight(self, about: str) -> float:
        """By the documented weights of the info endpoint."""
        return {"clearinghouseState": 2.0, "spotClearinghouseState": 2.0, "userRole": 60.0}.get(about, 20.0)

    async def step_clock(self, seconds: float) -> None:
        """Nothing depends on it."""

    async def grant(self, **flags: bool) -> None:
        """There is nothing to grant."""

    async def heal(self) -> None:
        """All faults."""
        self.server.heal()

    async def open_connections(self, stream: Stream) -> int:
        """As the server counts them."""
        return len(self.server.of(stream))


@asynccontextmanager
async def hyperliquid(clock: Clock) -> AsyncIterator[VenueUnderTest]:
    """The server on this loop, with the test's clock."""
    async with HyperliquidServer(clock) as server:
        yield HyperliquidUnderTest(server)


def bybit(clock: Clock) -> AbstractAsyncContextManager[VenueUnderTest]:
    """Its adapter, which stands beside its tests, needs the names of this module."""
    from tests.connectors.bybit import under_test

    return under_test.bybit(clock)


def ccxt(exchange: str) -> Callable[[Clock], AbstractAsyncContextManager[VenueUnderTest]]:
    """An exchange through ccxt; its adapter stands beside its tests as well."""

    def entry(clock: Clock) -> AbstractAsyncContextManager[VenueUnderTest]:
        from tests.connectors.ccxt import under_test

        return under_test.through_ccxt(exchange, clock)

    return entry


VENUES: dict[str, Callable[[Clock], AbstractAsyncContextManager[VenueUnderTest]]] = {
    "binance": binance,
    "binance-coinm": binance_coinm,
    "bybit": bybit,
    "okx": okx,
    "hyperliquid": hyperliquid,
    "ccxt-bitget": ccxt("bitget"),
    "ccxt-gate": ccxt("gate"),
    "ccxt-krakenfutures": ccxt("krakenfutures"),
}

SOAKED = {"ccxt-gate", "ccxt-krakenfutures"}
"""The same connector as another one's, once more: with the long rounds only, but for what differs by exchange."""


@dataclass
class Watch:
    """A running connector and everything it said."""

    venue: VenueUnderTest
    clock: QuickClock
    module: VenueModule
    telemetry: Telemetry = field(default_factory=Telemetry)
    events: list[Event] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self, event: Event, received: float) -> None:
        """Remember."""
        self.events.append(event)
        self.changed.set()

    def of(self, kind: type[Event]) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def states(self, stream: str) -> list[FeedState]:
        """How a stream's state went."""
        return [event.state for event in self.of(FeedChanged) if event.stream == stream]

    def state(self, stream: str) -> FeedState | None:
        """Where it is."""
        states = self.states(stream)
        return states[-1] if states else None

    def bad(self, stream: str) -> set[str]:
        """Defects that were counted."""
        return {labels[2] for labels in self.telemetry.bad_frames.items() if labels[1] == stream}

    def pools(self) -> list[PoolAssessment]:
        """Every pool after all that was told."""
        book = Book()
        for account in {event.account for event in self.of(AccountSnapshot)}:
            book.add_account(self.venue.name, account, rules_of(self.venue.name))
        for event in self.events:
            if not isinstance(event, InstrumentsLoaded) or book.has_account(event.venue, event.account):
                apply(book, event, self.clock.now())
        return [book.assess(row) for row in book.rows()]

    def error(self) -> BaseException | None:
        """What a runner ended with."""
        ended = (task for task in self.tasks if task.done() and not task.cancelled())
        return next((task.exception() for task in ended), None)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; fails after the deadline, saying what was waited for and what was seen."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.changed.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await self.changed.wait()
        except TimeoutError:
            changes = "\n".join(str(event) for event in self.of(FeedChanged))
            raise AssertionError(f"waited in vain for: {what}\n{changes}\n{self.error()}") from None

    async def in_sync_account(self) -> None:
        """Wait until the account is live, whatever its marks do."""
        await self.until(lambda: self.state("account") == self.state("user") == FeedState.LIVE, "a live account")

    async def in_sync(self) -> None:
        """Wait until everything is live and a mark has come."""
        await self.until(
            lambda: self.state("account") == self.state("user") == FeedState.LIVE and self.of(Marks), "a live account"
        )


@asynccontextmanager
async def watching(
    venue: VenueUnderTest,
    clock: QuickClock,
    *,
    settings: FeedSettings = SETTINGS,
    recorder: Recorder | None = None,
    ticking: bool = True,
    **changes: Any,
) -> AsyncIterator[Watch]:
    """Run the venue's connector against it while marks come (unless they are not to), until the block ends."""
    accounts = venue.accounts(**changes)
    watch = Watch(venue, clock, connector_of(accounts[0]))
    runners = watch.module.build(accounts, watch.handle, clock, watch.telemetry, settings, recorder)
    watch.tasks = [asyncio.create_task(runner.run(), name=runner.name) for runner in runners]
    ticker = asyncio.create_task(_tick(venue) if ticking else asyncio.sleep(0))
    try:
        yield watch
    finally:
        for task in (ticker, *watch.tasks):
            task.cancel()
        started = time.monotonic()
        await asyncio.gather(ticker, *watch.tasks, return_exceptions=True)
        assert time.monotonic() - started < 5.0, "it did not stop in bounded time"


async def _tick(venue: VenueUnderTest) -> None:
    while True:
        await venue.tick()
        await asyncio.sleep(0.05)
