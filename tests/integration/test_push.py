"""The whole daemon pushing to a server that plays ntfy: danger, a dead route, nobody who acknowledges."""

from decimal import Decimal
from pathlib import Path

import pytest

from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec
from tests.support.daemon import daemon
from tests.support.push_server import Fault, PushServer
from tests.support.server_process import until
from tests.support.venue_server import venue_process

pytestmark = pytest.mark.integration

MORE = """
[alerts.escalation]
critical_s = 1
emergency_s = 1

[alerts.sink_failure]
after_s = 1

[sinks.push]
""" + "".join(
    f'[[sinks.push.route]]\nname = "{name}"\nurl = "env:PUSH_{name.upper()}"\nat_least = "warning"\n'
    for name in ("broken", "ana", "ben")
)


async def test_danger_reaches_a_person_and_then_the_next(tmp_path: Path) -> None:
    """The first route is broken, the second hears of danger, the third that nobody has acknowledged; an ack ends it."""
    account = AccountSpec(name="main", wallets={"USDT": Decimal(100_000)})
    scenario = Scenario(name="still", accounts=(account,), venue=VenueSpec(republish_s=0.25))
    async with (
        PushServer() as server,
        venue_process(scenario, max_seconds=110) as venue,
        daemon(venue, tmp_path / "daemon", MORE) as process,
    ):
        server.faults["broken"] = Fault(404)
        secrets = {f"PUSH_{name.upper()}": server.ntfy(name) for name in ("broken", "ana", "ben")}
        await venue.act(
            "main", "set_position", symbol="BTCUSDT", size="1", entry_price="76888.1", isolated_wallet="340"
        )
        await process.start(env=secrets)
        await until(lambda: bool(server.to("ana")), "ana hears of it")
        first = server.to("ana")[0]
        assert "margin ratio · binance/main/BTCUSDT:long" in first.body
        assert first.headers["X-Priority"] in {"high", "max"}
        await until(lambda: any("nobody has acknowledged" in each.title for each in server.to("ben")), "ben hears")
        await until(lambda: any("sink push.broken" in each.body for each in server.taken), "the broken route is said")
        assert "404 Not Found" in next(each.body for each in server.taken if "sink push.broken" in each.body)
        assert {message["key"] for message in process.said()} >= {"sink_failure:push.broken"}
        shown = process.log() + str(process.said())
        assert server.ntfy("") not in shown
        assert await process.stop() == 0
