"""The whole daemon with a real Alertmanager: a falling price, a kill, a restart, an acknowledgement, a silence."""

from pathlib import Path

import pytest

from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec
from tests.support.alertmanager import Alertmanager
from tests.support.daemon import daemon
from tests.support.venue_server import venue_process

pytestmark = pytest.mark.integration

POOL = "binance/main/BTCUSDT:long"
KEY = f"margin_ratio:{POOL}"
MORE = """
[sinks.alertmanager]
url = "{url}"
board_url = "http://127.0.0.1:9464"
state_s = 0.2
timeout_s = 1
state_ttl_s = 4

[alerts.margin_ratio]
warning = 0.50
critical = 0.60

[alerts.distance]
emergency = 0.0001
"""


async def test_from_the_price_to_alertmanager(tmp_path: Path) -> None:
    """What fires stands there, ends when the monitor is dead, stands again when it is back, and is gone in silence."""
    scenario = Scenario(name="still", accounts=(AccountSpec(name="main"),), venue=VenueSpec(republish_s=0.25))
    with Alertmanager(tmp_path) as server:
        async with (
            venue_process(scenario, max_seconds=110) as venue,
            daemon(venue, tmp_path / "daemon", MORE.format(url=server.url)) as process,
        ):
            await venue.act(
                "main", "set_position", symbol="BTCUSDT", size="1", entry_price="76888.1", isolated_wallet="8000"
            )
            await process.start()

            async def stands(*severities: str) -> bool:
                return await server.standing() == {(KEY, severity) for severity in severities}

            assert await stands()
            await venue.marks(BTCUSDT="69390")
            await process.until(lambda: stands("warning"), "the warning stands")
            await process.kill()
            await process.until(stands, "a dead monitor's alerts end")
            await process.start()
            await process.until(lambda: stands("warning"), "it stands again")
            await venue.marks(BTCUSDT="69310")
            await process.until(lambda: stands("critical"), "it worsens")
            await process.order("/api/v1/acknowledgements", key=KEY, by="anna")

            async def acknowledged() -> bool:
                (found,) = await server.alerts()
                return found["annotations"].get("acknowledged", "").startswith("by anna at ")

            await process.until(acknowledged, "the acknowledgement is told")
            await process.order("/api/v1/silences", subject=POOL, for_s=600, by="anna", reason="known")
            await process.until(stands, "a silenced alert is not there")
