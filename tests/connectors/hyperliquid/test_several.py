"""Several addresses at once on real sockets, within what the venue allows one machine."""

import asyncio
from collections.abc import Callable
from typing import Any

from connectors import FeedSettings
from connectors import hyperliquid as venue
from connectors.hyperliquid import STREAMED_MAX
from connectors.hyperliquid.config import AccountConfig
from connectors.hyperliquid.rest import info
from connectors.simulator.hyperliquid import BOTH, Address, Held, HyperliquidServer
from monitor.clock import SystemClock
from monitor.model.events import AccountDelta, AccountSnapshot, Event, Marks
from monitor.telemetry import Telemetry

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
                addresses[3].positions["BTC"].size = 0.5
                server.tell_states(addresses[3])
                await until(lambda: of(AccountDelta))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert [(delta.account, delta.positions[0].size) for delta in of(AccountDelta)] == [("a3", 0.5)]
