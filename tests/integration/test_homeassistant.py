"""The whole daemon beside a simulated venue and a real broker, seen and handled from Home Assistant."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec
from tests.support.daemon import Daemon, daemon
from tests.support.homeassistant import House, house
from tests.support.mosquitto import Mosquitto
from tests.support.venue_server import Venue, venue_process

pytestmark = pytest.mark.integration

POOL = "binance/main/BTCUSDT:long"
STATE = "marginwatch/homeassistant/state/main/binance/BTCUSDT:long"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """A venue whose account has an isolated long of one BTC."""
    account = AccountSpec(name="main", wallets={"USDT": Decimal(100_000)})
    scenario = Scenario(name="still", accounts=(account,), venue=VenueSpec(republish_s=0.25))
    async with venue_process(scenario, max_seconds=110) as running:
        position = {"symbol": "BTCUSDT", "size": "1", "entry_price": "76888.1", "isolated_wallet": "8000"}
        await running.act("main", "set_position", **position)
        yield running


async def firing(process: Daemon) -> list[dict[str, Any]]:
    """What fires for the pool, by HTTP."""
    answer = await process.get("/api/v1/alerts")
    return [alert for alert in answer["alerts"] if alert["pool"] == POOL]


async def silenced(process: Daemon) -> list[str]:
    """What is silenced, by HTTP."""
    answer = await process.get("/api/v1/silences")
    return [silence["subject"] for silence in answer["silences"]]


async def all_acknowledged(process: Daemon) -> bool:
    """Whether everything that fires for the pool has been seen by Home Assistant."""
    found = await firing(process)
    return bool(found) and all(alert.get("acknowledged", {}).get("by") == "Home Assistant" for alert in found)


async def moved(ha: House, before: str) -> None:
    """Wait until the margin ratio is another and worse."""

    def is_worse() -> bool:
        state = ha.hear().by_name("BTCUSDT long margin ratio").state
        return state != before and float(state) > float(before)

    await ha.until_holds(is_worse, "a worse margin ratio")


async def test_a_pools_life_in_home_assistant(venue: Venue, tmp_path: Path) -> None:
    """It appears, moves, alarms, is acknowledged and silenced; it survives a kill, and goes when it is closed."""
    (tmp_path / "broker").mkdir()
    with Mosquitto(tmp_path / "broker") as broker:
        more = f'[sinks.homeassistant]\nurl = "{broker.url}"\nstate_s = 0.2\n'
        async with house(broker) as ha, daemon(venue, tmp_path / "daemon", more, reconcile_s=5.0) as process:
            await process.start()
            await ha.until("Monitor", "online")
            await ha.until("BTCUSDT long alerts", "OFF")
            await ha.until_holds(lambda: "." in ha.hear().by_name("BTCUSDT long margin ratio").state, "a figure")
            ratio = ha.home.by_name("BTCUSDT long margin ratio")
            shown = (await process.pools())[POOL]
            assert float(ratio.state) == pytest.approx(100 * shown["margin_ratio"], rel=1e-3)
            price = ha.home.by_name("BTCUSDT long liquidation price")
            assert float(price.state) == pytest.approx(shown["legs"][0]["liquidation_price"])
            before, identifiers = ratio.state, set(ha.home.entities)
            await venue.marks(BTCUSDT="69200")
            await moved(ha, before)
            alerts = await ha.until("BTCUSDT long alerts", "ON")
            assert "margin ratio" in alerts.attributes["text"] or "liquidation" in alerts.attributes["text"]

            await ha.press("BTCUSDT long acknowledge")
            await process.until(lambda: all_acknowledged(process), "acknowledged")
            await ha.until_holds(lambda: ha.hear().by_name("BTCUSDT long alerts").attributes["acknowledged"], "shown")

            await ha.turn("BTCUSDT long silence", "on")
            await ha.until("BTCUSDT long silence", "ON")
            assert await silenced(process) == [POOL]

            await process.kill()
            await ha.until("Monitor", "offline")
            await ha.until("BTCUSDT long margin ratio", "unavailable")
            told = len(ha.listener.heard)
            await process.start()
            await ha.until("Monitor", "online")
            # Until then the switch shows what Home Assistant remembers.
            await ha.until_holds(
                lambda: any(each.topic == STATE for each in ha.listener.heard[told:]), "the pool again"
            )
            await ha.until("BTCUSDT long silence", "ON")
            assert set(ha.hear().entities) == identifiers

            await ha.turn("BTCUSDT long silence", "off")
            await ha.until("BTCUSDT long silence", "OFF")
            assert await silenced(process) == []

            await venue.act("main", "set_position", symbol="BTCUSDT", size="0")
            await ha.until_names({"Monitor", "Account alerts", "Acknowledge account alerts", "Last order"})
            assert await process.stop() == 0
            await ha.until("Monitor", "offline")
