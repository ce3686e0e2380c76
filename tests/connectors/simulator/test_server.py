"""The player: when the path starts, stands still, goes on and ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from connectors import venues
from connectors.simulator.scenario import BUILT_IN, PathSpec, Scenario, SegmentSpec
from connectors.simulator.server import Simulator
from monitor.credential import Secret
from tests.connectors.simulator.stage import stage

LONG = PathSpec(segments=(SegmentSpec(duration_s=100, move=-0.01),))
SHORT = PathSpec(segments=(SegmentSpec(duration_s=0.01, move=-0.01),))
DEADLINE_S = 5.0


def scenario(path: PathSpec, **more: Any) -> Scenario:
    """A path of fast steps."""
    venue = {key: more.pop(key) for key in ("republish_s",) if key in more}
    return stage(**venue).model_copy(update={"path": path, "tick_s": 0.001, "linger_s": 0.0} | more)


@asynccontextmanager
async def playing(chosen: Scenario) -> AsyncIterator[Simulator]:
    """A simulator whose path is played."""
    simulator = Simulator(chosen)
    await simulator.start()
    task = asyncio.create_task(simulator.run())
    try:
        yield simulator
    finally:
        simulator.player.stop()
        await asyncio.wait_for(task, DEADLINE_S)
        await simulator.close()


async def steps(simulator: Simulator, count: int) -> None:
    """Wait for so many steps."""
    async with asyncio.timeout(DEADLINE_S):
        while simulator.exchange.step_number < count:  # noqa: ASYNC110 - the player has no event for it
            await asyncio.sleep(0.001)


async def test_a_path_starts_without_audience_in_the_end() -> None:
    """After the longest wait."""
    async with playing(scenario(LONG, start="subscribed", start_wait_s=0.01)) as simulator:
        await steps(simulator, 1)


class Ears:
    """An audience that remembers streams."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def market(self, stream: str, payload: Any) -> None:
        """A market frame."""
        self.told.append(stream)

    def private(self, account: str, listen_key: str | None, payload: Any) -> None:
        """A user frame."""

    async def hear(self, stream: str, times: int) -> None:
        """Wait until a stream has spoken so often."""
        async with asyncio.timeout(DEADLINE_S):
            while self.told.count(stream) < times:  # noqa: ASYNC110 - the clock is the server's
                await asyncio.sleep(0.001)


async def test_a_path_pauses_and_resumes() -> None:
    """While it stands still the marks are repeated, so that a standing price does not look like a dead stream."""
    async with playing(scenario(LONG, start="now", republish_s=0.005)) as simulator:
        await steps(simulator, 3)
        simulator.player.command("pause")
        stood = simulator.exchange.step_number
        simulator.exchange.audience = ears = Ears()
        await ears.hear("btcusdt@markPrice@1s", times=3)
        assert simulator.exchange.step_number == stood
        simulator.player.command("resume")
        await steps(simulator, stood + 3)


async def test_marks_are_repeated_before_the_start() -> None:
    """A path that waits to be started has not taken a step."""
    async with playing(scenario(LONG, start="manual", republish_s=0.005)) as simulator:
        simulator.exchange.audience = ears = Ears()
        await ears.hear("btcusdt@markPrice@1s", times=2)
        assert simulator.exchange.step_number == 0


async def test_it_ends_after_its_path() -> None:
    """By itself; the number of steps is that of the path."""
    simulator = Simulator(scenario(SHORT, start="now"))
    await simulator.start()
    await asyncio.wait_for(simulator.run(), DEADLINE_S)
    await simulator.close()
    assert simulator.exchange.step_number == 10


async def test_a_fault_of_the_path_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The player does not swallow it."""
    simulator = Simulator(scenario(LONG, start="now"))

    def broken() -> bool:
        raise OSError("broken")

    monkeypatch.setattr(simulator.exchange, "step", broken)
    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(simulator.run(), DEADLINE_S)


async def test_the_ready_line_tells_addresses_and_keys() -> None:
    """Stream addresses are bases; the made keys are in it, and the length of the path."""
    simulator = Simulator(scenario(LONG, start="manual"))
    port = await simulator.start()
    line = simulator.address(pid=1).to_json()
    await simulator.close()
    assert line["rest_url"] == line["permissions_url"] == f"http://127.0.0.1:{port}"
    assert line["market_url"] == line["private_url"] == f"ws://127.0.0.1:{port}"
    assert line["control_url"] == f"http://127.0.0.1:{port}/control"
    assert line["duration_s"] == 100
    assert len(line["accounts"][0]["api_secret"]) == 64


async def test_the_ready_line_has_the_table_of_every_account() -> None:
    """As a configuration file would have it: each venue on a port of its own, COIN-M on a path of the exchange's."""
    simulator = Simulator(BUILT_IN["all-venues"])
    port = await simulator.start()
    tables = {table["venue"]: table for table in simulator.address(pid=1).to_json()["tables"]}
    await simulator.close()
    assert set(tables) == {"binance", "binance-coinm", "okx", "bybit", "hyperliquid"}
    assert tables["binance"]["rest_url"] == tables["binance-coinm"]["rest_url"] == f"http://127.0.0.1:{port}"
    assert tables["binance-coinm"]["market_url"] == f"ws://127.0.0.1:{port}/dstream"
    assert len({table["rest_url"] for table in tables.values()}) == 4
    for venue, table in tables.items():
        secrets = {key: Secret(table[key]) for key in ("api_key", "api_secret", "passphrase") if key in table}
        assert venues()[venue].AccountConfig.model_validate(table | secrets).name == table["name"]


async def test_a_path_waits_until_every_venue_is_watched() -> None:
    """Also those that follow."""
    accounts = tuple(spec for spec in BUILT_IN["all-venues"].accounts if spec.venue == "hyperliquid")
    chosen = scenario(LONG, start="subscribed").model_copy(update={"accounts": accounts})
    async with playing(chosen) as simulator:
        (server,) = simulator.followers
        address = simulator.address(pid=1).to_json()["market_url"]
        async with (
            connect(f"{address}/market/ws/btcusdt@markPrice@1s", close_timeout=0.1) as marks,
            connect(server.table()["private_url"], close_timeout=0.1) as client,
        ):
            async with asyncio.timeout(DEADLINE_S):
                while not simulator.hub.watched():  # noqa: ASYNC110 - the hub has no event for it
                    await asyncio.sleep(0.001)
            assert not simulator.watched()
            assert simulator.exchange.step_number == 0
            for kind in ("activeAssetCtx", "allDexsClearinghouseState"):
                asked = {"type": kind, "coin": "BTC", "user": server.table()["address"]}
                await client.send(json.dumps({"method": "subscribe", "subscription": asked}))
            await steps(simulator, 1)
            assert simulator.watched()
            assert json.loads(await asyncio.wait_for(marks.recv(), DEADLINE_S))["e"] == "markPriceUpdate"
