"""The whole daemon pushing to a server that plays ntfy: danger, a dead route, nobody who acknowledges, two monitors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec
from tests.support.daemon import Daemon, daemon
from tests.support.push_server import Fault, PushServer
from tests.support.redis_server import RedisServer
from tests.support.server_process import until, until_answer
from tests.support.venue_server import Venue, venue_process

pytestmark = pytest.mark.integration

MORE = """
[alerts.escalation]
critical_s = 1
emergency_s = 1

[alerts.repeat]
critical_s = 2
emergency_s = 2

[alerts.sink_failure]
after_s = 1

[sinks.push]
""" + "".join(
    f'[[sinks.push.route]]\nname = "{name}"\nurl = "env:PUSH_{name.upper()}"\nat_least = "warning"\n'
    for name in ("broken", "ana", "ben")
)


async def acknowledge_all(process: Daemon) -> None:
    """Acknowledge what fires, over HTTP, until all of it is."""
    token = (process.directory / "state.sqlite.token").read_text().strip()
    address = f"http://127.0.0.1:{process.port}/api/v1/acknowledgements"

    async def acknowledged() -> bool:
        alerts = (await process.get("/api/v1/alerts"))["alerts"]
        waiting = [alert for alert in alerts if "acknowledged" not in alert]
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            for alert in waiting:
                async with session.post(address, json={"key": alert["key"], "by": "ana"}):
                    pass  # one that has ended meanwhile is refused
        return not waiting

    await process.until(acknowledged, "acknowledged")


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
        # Repeats would come every other second from here on.
        await acknowledge_all(process)
        heard = [each for each in server.taken if "BTCUSDT:long" in each.body]
        await venue.act(
            "main", "set_position", symbol="ETHUSDT", size="10", entry_price="3215.4", isolated_wallet="140"
        )
        await until(lambda: sum("ETHUSDT:long" in each.body for each in server.to("ana")) > 2, "other danger, repeated")
        assert [each for each in server.taken if "BTCUSDT:long" in each.body] == heard
        shown = process.log() + str(process.said())
        assert server.ntfy("") not in shown
        assert await process.stop() == 0


LADDER = "margin_ratio:binance/main/BTCUSDT:long"
PAIR = """
[alerts.distance]
emergency = 0.000001

[alerts.escalation]
critical_s = 6

[alerts.stale_feed]
mark_s = 30

[pair]
enabled = true
lease_s = 1

[sinks.redis]
url = "{redis}"

[sinks.push]
""" + "".join(
    f'[[sinks.push.route]]\nname = "{name}"\nurl = "env:PUSH_{name.upper()}"\nrules = ["margin_ratio"]\n'
    for name in ("ana", "ben")
)


@dataclass
class Two:
    """A pair that watches a position in no danger; `first` speaks."""

    server: PushServer
    venue: Venue
    first: Daemon
    second: Daemon
    redis: Redis

    async def is_noted(self, member: str) -> None:
        """Wait until a word about the ladder that holds this is noted for the other monitor, and no sink lacks it."""

        async def noted() -> bool:
            word = await self.redis.hget("marginwatch:pair:words:binance/main", LADDER) or ""
            return member in word and word.endswith("\n")

        await until_answer(noted, f"{member} noted")


@asynccontextmanager
async def two_monitors(tmp_path: Path) -> AsyncIterator[Two]:
    """Both see everything."""
    (tmp_path / "redis").mkdir()
    scenario = Scenario(name="still", accounts=(AccountSpec(name="main"),), venue=VenueSpec(republish_s=0.25))
    with RedisServer(tmp_path / "redis") as redis:
        async with (
            PushServer() as server,
            venue_process(scenario, max_seconds=110) as venue,
            daemon(venue, tmp_path / "a", PAIR.format(redis=redis.url)) as first,
            daemon(venue, tmp_path / "b", PAIR.format(redis=redis.url)) as second,
            redis.client() as client,
        ):
            secrets = {f"PUSH_{name.upper()}": server.ntfy(name) for name in ("ana", "ben")}
            await venue.marks(BTCUSDT="70000")
            await venue.act(
                "main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="1000"
            )
            for each in (first, second):
                await each.start(env=secrets)
            yield Two(server, venue, first, second, client)


async def test_of_two_monitors_one_pushes_and_the_other_one_goes_on(tmp_path: Path) -> None:
    """Danger is pushed once; the one that pushed it dies, and the other one finds that nobody has acknowledged it."""
    async with two_monitors(tmp_path) as pair:
        await pair.venue.marks(BTCUSDT="69320")
        await until(lambda: bool(pair.server.to("ana")), "ana hears of it")
        await pair.is_noted("critical")
        await pair.first.kill()
        await until(lambda: bool(pair.server.to("ben")), "ben hears of it")
        assert "nobody has acknowledged it" in pair.server.to("ben")[0].title
        # The one that lives said it, and nothing that the dead one had said.
        await until(
            lambda: [each["reason"] for each in pair.second.said() if each["key"] == LADDER] == ["unacknowledged"],
            "and says so on the console",
        )
        assert [each.to for each in pair.server.asked] == ["ana", "ben"]


async def test_an_acknowledgement_may_be_given_to_either(tmp_path: Path) -> None:
    """Given to the one that follows it is seen there and reaches the one that speaks; worse is said all the same."""

    async def acknowledged(process: Daemon) -> bool:
        alerts = (await process.get("/api/v1/alerts"))["alerts"]
        return any(each["key"] == LADDER and "acknowledged" in each for each in alerts)

    async with two_monitors(tmp_path) as pair:
        await pair.venue.marks(BTCUSDT="69320")
        await until(lambda: bool(pair.server.to("ana")), "ana hears of it")
        await acknowledge_all(pair.second)
        await pair.second.until(lambda: acknowledged(pair.second), "seen where it was given")
        await pair.first.until(lambda: acknowledged(pair.first), "carried out by the one that speaks")
        await pair.is_noted("acknowledged")
        assert not [each for each in pair.second.said() if each["key"] == LADDER]
        await pair.first.kill()
        await pair.venue.marks(BTCUSDT="69290")
        await until(lambda: len(pair.server.asked) > 1, "worse is said by the other one")
        assert [each.to for each in pair.server.asked] == ["ana", "ana"]
        # Each sink has a task of its own: the console's may come after the push.
        await until(
            lambda: [each["severity"] for each in pair.second.said() if each["key"] == LADDER] == ["emergency"],
            "it is on the console, too",
        )
