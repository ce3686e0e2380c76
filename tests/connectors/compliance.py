"""What every venue's connector is put through: the faults of the real world, on real sockets.

A venue joins by an adapter (`VenueUnderTest`) in `VENUES`: a server on loopback that speaks the venue's protocol and
can be told to misbehave. The tests in ``test_compliance.py`` know only the adapter.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import count
from typing import Any, Protocol

from connectors import FeedSettings, VenueModule, venues
from connectors.binance.config import AccountConfig
from connectors.binance_coinm.config import AccountConfig as CoinAccountConfig
from connectors.binance_common.settings import FuturesAccountConfig
from connectors.config import BaseAccountConfig
from connectors.recorder import Recorder
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.model.assessment import FeedState
from monitor.model.events import Event, FeedChanged
from monitor.telemetry import Telemetry
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


class VenueUnderTest(Protocol):
    """A venue on loopback with one account that holds one position in `instrument`."""

    name: str
    instrument: str

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


class BinanceUnderTest:
    """Binance USD-M by the simulator."""

    name = "binance"
    instrument = "BTCUSDT"
    account_path = "/fapi/v3/account"
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
    account = AccountSpec(name="main", product="coin-m", wallets={"BTC": Decimal("0.5")}, positions=(held,))
    async with venue_in_process(Scenario(accounts=(account,), start="manual"), clock=clock) as venue:
        yield CoinMUnderTest(venue)


VENUES: dict[str, Callable[[Clock], AbstractAsyncContextManager[VenueUnderTest]]] = {
    "binance": binance,
    "binance-coinm": binance_coinm,
}


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

    async def in_sync(self) -> None:
        """Wait until everything is live and a mark has come."""
        from monitor.model.events import Marks

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
    watch = Watch(venue, clock, venues()[venue.name])
    runners = watch.module.build(venue.accounts(**changes), watch.handle, clock, watch.telemetry, settings, recorder)
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
