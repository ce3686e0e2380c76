"""Several addresses at once on real sockets, within what the venue allows one machine, and where it allows less."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from connectors import FeedSettings
from connectors import hyperliquid as venue
from connectors.account import WITHOUT_STREAM_S
from connectors.hyperliquid import STREAMED_MAX
from connectors.hyperliquid.config import AccountConfig
from connectors.hyperliquid.rest import info
from connectors.simulator.hyperliquid import BOTH, Address, Held, HyperliquidServer
from monitor.clock import SystemClock
from monitor.model.assessment import FeedState
from monitor.model.events import AccountDelta, AccountSnapshot, Event, FeedChanged, Marks
from monitor.telemetry import Telemetry
from tests.connectors.compliance import HyperliquidUnderTest, QuickClock, watching

COUNT = STREAMED_MAX + 3
DEADLINE_S = 20.0


async def test_eleven_addresses_share_ten_connections() -> None:
    """Eight have streams, three are read by requests, all are in sync within the budget of the first minute."""
    events: list[Event] = []
    changed = asyncio.Event()

    def handle(event: Event, received: float) -> None:
        events.append(event)
        changed.set()

    def of(kind: type[Event]) -> list[Any]:
        return [event for event in events if isinstance(event, kind)]

    async def until(condition: Callable[[], object]) -> None:
        while not condition():
            changed.clear()
            await changed.wait()

    async with HyperliquidServer(SystemClock()) as server:
        addresses = [server.add(Address(f"0x{n:040x}", cash={"": 50_000.0})) for n in range(1, COUNT + 1)]
        for n, address in enumerate(addresses):
            address.positions["BTC"] = Held("BTC", 1.0 + n, 75_000.0)
        urls = {"rest_url": server.rest_url, "market_url": server.stream_url(), "private_url": server.stream_url()}
        accounts = [
            AccountConfig.model_validate({"name": f"a{n}", "address": address.name, **urls})
            for n, address in enumerate(addresses)
        ]
        runners = venue.build(accounts, handle, SystemClock(), Telemetry(), FeedSettings())
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        try:
            async with asyncio.timeout(DEADLINE_S):
                await until(lambda: len({e.account for e in of(AccountSnapshot)}) == COUNT)
                await until(lambda: of(Marks))
                assert server.open_of(BOTH) == STREAMED_MAX + 1
                streams = [s for connection in server.connections for s in connection.wanted]
                assert {s["user"] for s in streams if "user" in s} == {a.name for a in addresses[:STREAMED_MAX]}
                assert sum(info("", "", asked["type"]).weight for asked in server.asked) < 1200
                for once in ("perpDexs", "allPerpMetas"):
                    assert [asked["type"] for asked in server.asked].count(once) == 1
                addresses[3].positions["BTC"].size = 0.5
                server.tell_states(addresses[3])
                await until(lambda: of(AccountDelta))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert [(delta.account, delta.positions[0].size) for delta in of(AccountDelta)] == [("a3", 0.5)]


async def test_an_address_that_the_venue_does_not_stream_is_read_instead() -> None:
    """Another program on this machine may have taken its place; a change is seen within a few seconds all the same."""
    clock = QuickClock()
    async with HyperliquidServer(clock) as server:
        server.users_max = 1
        watches = []
        async with AsyncExitStack() as stack:
            for n in (1, 2):
                venue_under_test = HyperliquidUnderTest(server, f"0x{n:040x}")
                watches.append(await stack.enter_async_context(watching(venue_under_test, clock, reconcile_s=60.0)))
                await watches[-1].until(lambda: watches[-1].of(AccountSnapshot), "a snapshot")
            streamed, read = watches
            await streamed.in_sync_account()
            await read.until(lambda: read.state("user") is FeedState.DOWN, "a stream that is known to be none")
            down = [e for e in read.of(FeedChanged) if e.stream == "user"][-1]
            assert down.detail == "Hyperliquid refused a subscription: Cannot track more than 1 total users."
            assert read.bad("user") == {"rejected"}
            begun = clock.now()
            await read.venue.trade("0.5")
            await read.until(lambda: read.of(AccountSnapshot)[-1].positions[0].size == 0.5, "the trade")
            assert clock.now() - begun < 3.0 * WITHOUT_STREAM_S
            assert (read.state("account"), streamed.state("user")) == (FeedState.LIVE, FeedState.LIVE)
