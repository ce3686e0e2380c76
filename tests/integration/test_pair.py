"""Two daemons on one account, one voice: the speaker is killed, stopped or cut off from Redis, round after round.

In every round the account falls through three rungs and recovers: once while both live, once while the speaker is
struck, then with the other one alone. Nothing may be lost, and what is said while both live is said once.
`MARGINWATCH_FAULT_ROUNDS` sets the number of rounds; `make soak` runs twenty of each.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from tests.support.daemon import Daemon, daemon
from tests.support.gate import Gate, gate
from tests.support.mosquitto import Listener, Mosquitto
from tests.support.redis_server import RedisServer
from tests.support.server_process import until_answer
from tests.support.venue_server import Venue, venue_in_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

POOL = "binance/main/BTCUSDT:long"
KEY = f"margin_ratio:{POOL}"
# 1 BTC from 70,000 on 1,000: 0.004 * mark / (mark - 69,000)
SAFE, WARNING, CRITICAL, EMERGENCY = "70000", "69390", "69320", "69290"
LEASE_S = 2.0
TAKEN_OVER_S = 15.0
"""From the blow until the other one has said something new: a lease and a third, and a slow machine."""
SETTINGS = f"""
[alerts.margin_ratio]
notice = 0.6
warning = 0.70
critical = 0.85
emergency = 0.95
calm_s = 0

[alerts.distance]
emergency = 0.000001

[alerts.stale_feed]
mark_s = 30

[pair]
enabled = true
lease_s = {LEASE_S}
"""


@dataclass
class Stage:
    """The venue, both brokers, both daemons, and a gate between each daemon and Redis."""

    venue: Venue
    redis: Redis
    listener: Listener
    daemons: list[Daemon]
    gates: list[Gate]
    price: str = SAFE

    async def keep_marking(self) -> None:
        """The present price, ten times a second."""
        while True:
            with suppress(OSError, TimeoutError, aiohttp.ClientError):
                await self.venue.marks(BTCUSDT=self.price)
            await asyncio.sleep(0.1)

    async def in_redis(self) -> list[dict[str, Any]]:
        """Every message of the ladder in the stream, in order."""
        found = [orjson.loads(fields["json"]) for _, fields in await self.redis.xrange("marginwatch:alerts")]
        return [message for message in found if message["key"] == KEY]

    def in_mqtt(self) -> list[dict[str, Any]]:
        """Every message of the ladder that was heard, in order."""
        found = [orjson.loads(heard.payload) for heard in self.listener.heard if heard.topic.endswith("/alert")]
        return [message for message in found if message["key"] == KEY]

    async def are_both_there(self) -> None:
        """Wait until Redis sees two monitors, and each of them has asked since and so knows of the other."""
        seen: dict[str, float] = {}

        async def both() -> bool:
            beats = dict(await self.redis.zrange("marginwatch:pair:members", 0, -1, withscores=True))
            if len(beats) != 2 or len(seen) != 2 or beats.keys() != seen.keys():
                seen.clear()
                seen.update(beats)
                return False
            return all(beats[name] > beat for name, beat in seen.items())

        await until_answer(both, "both in the pair", 30.0)

    async def is_noted(self, severity: str, state: str) -> None:
        """Wait until the last noted word says this."""

        async def noted() -> bool:
            last = await self.noted()
            return (last.get("severity"), last.get("state")) == (severity, state)

        await until_answer(noted, f"{severity} {state} noted")

    async def noted(self) -> dict[str, Any]:
        """The last word that is noted."""
        word = await self.redis.hget("marginwatch:pair:words:binance/main", KEY)
        return {} if word is None else dict(orjson.loads(orjson.loads(word)[3]))

    async def token(self) -> int:
        """The token of the lease."""
        return int(await self.redis.hget("marginwatch:pair:lease:binance/main", "token") or 0)

    async def has_changed_hands(self, token: int) -> None:
        """Wait until another monitor holds the lease than with this token."""

        async def changed() -> bool:
            return await self.token() > token

        await until_answer(changed, "taken over", TAKEN_OVER_S)

    async def speaker(self) -> int:
        """Which daemon said the last noted word: the one whose console has it."""
        last = (await self.noted())["id"]
        (index,) = [
            number for number, each in enumerate(self.daemons) if any(message["id"] == last for message in each.said())
        ][-1:]
        return index


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Both daemons ready and in the pair."""
    async with AsyncExitStack() as stack:
        for name in ("redis", "mosquitto"):
            (tmp_path / name).mkdir()
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        mosquitto = stack.enter_context(Mosquitto(tmp_path / "mosquitto"))
        listener = await stack.enter_async_context(Listener(mosquitto, "marginwatch/#"))
        venue = await stack.enter_async_context(venue_in_process())
        client = await stack.enter_async_context(redis.client())
        await venue.marks(BTCUSDT=SAFE)
        await venue.act("main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="1000")
        gates, daemons = [], []
        for name in "ab":
            each = await stack.enter_async_context(gate(redis.port))
            more = (
                f'{SETTINGS}\n[sinks.redis]\nurl = "redis://127.0.0.1:{each.port}/0"\ntimeout_s = 1\n'
                f'[sinks.mqtt]\nurl = "{mosquitto.url}"\n'
            )
            gates.append(each)
            daemons.append(await stack.enter_async_context(daemon(venue, tmp_path / name, more)))
        subject = Stage(venue, client, listener, daemons, gates)
        marking = asyncio.create_task(subject.keep_marking())
        try:
            for each in daemons:
                await each.start()
            await subject.are_both_there()
            yield subject
        finally:
            marking.cancel()
            await asyncio.gather(marking, return_exceptions=True)


def rounds() -> list[Any]:
    """How many rounds at once: a few for every run, twenty for soaking."""
    few = int(os.environ.get("MARGINWATCH_FAULT_ROUNDS", "2"))
    return [pytest.param(few, id=f"{few} rounds"), pytest.param(20, id="20 rounds", marks=pytest.mark.soak)]


async def said(stage: Stage, price: str, severity: str, state: str, since: int, deadline_s: float = 20.0) -> None:
    """Move the price; wait until both brokers have this change, of those since message number `since`."""
    stage.price = price

    def fits(messages: list[dict[str, Any]]) -> list[str]:
        return [m["id"] for m in messages if (m["severity"], m["state"]) == (severity, state)]

    async def arrived() -> bool:
        in_redis = fits((await stage.in_redis())[since:])
        return bool(set(in_redis) & set(fits(stage.in_mqtt())))

    await until_answer(arrived, f"{severity} {state} on both brokers", deadline_s)


async def strike(stage: Stage, fault: str, index: int) -> None:
    """Kill, stop or cut off one daemon."""
    if fault == "kill":
        await stage.daemons[index].kill()
    elif fault == "stop":
        stage.daemons[index].send(signal.SIGSTOP)
    else:
        stage.gates[index].shut()


async def mend(stage: Stage, fault: str, index: int) -> None:
    """Undo it, and wait until both are there again."""
    if fault == "kill":
        await stage.daemons[index].start()
    elif fault == "stop":
        stage.daemons[index].send(signal.SIGCONT)
    else:
        stage.gates[index].open()
    await stage.are_both_there()


@pytest.mark.parametrize("count", rounds())
@pytest.mark.parametrize("fault", ["kill", "stop", "cut"])
async def test_the_other_one_takes_over(stage: Stage, fault: str, count: int) -> None:
    """Every change arrives on both brokers; those of quiet times once, whoever says them."""
    random = Random(fault)
    steady = 0
    for _ in range(count):
        token, since, heard = await stage.token(), len(await stage.in_redis()), len(stage.in_mqtt())
        await said(stage, WARNING, "warning", "firing", since)
        await stage.is_noted("warning", "firing")
        index = await stage.speaker()
        stage.price = CRITICAL
        await asyncio.sleep(random.uniform(0.0, 0.3))
        await strike(stage, fault, index)
        await said(stage, CRITICAL, "critical", "firing", since, TAKEN_OVER_S)
        await stage.has_changed_hands(token)
        await said(stage, EMERGENCY, "emergency", "firing", since)
        await stage.is_noted("emergency", "firing")
        assert await stage.speaker() != index
        await mend(stage, fault, index)
        await said(stage, SAFE, "emergency", "resolved", since)
        await stage.is_noted("emergency", "resolved")
        if await stage.token() != token + 1:
            continue  # the machine was so busy that the speaker slept longer than its lease: one blow more than ours
        steady += 1
        for messages in ((await stage.in_redis())[since:], stage.in_mqtt()[heard:]):
            times = Counter((message["severity"], message["state"]) for message in messages)
            del times["critical", "firing"]
            assert times == {("warning", "firing"): 1, ("emergency", "firing"): 1, ("emergency", "resolved"): 1}
    assert steady > 0


async def shows(at: Daemon, severity: str, by: str | None) -> bool:
    """Whether a daemon says that the ladder fires at this severity, and who has seen it."""
    found = {alert["key"]: alert for alert in (await at.get("/api/v1/alerts"))["alerts"]}
    alert = found.get(KEY, {})
    return (alert.get("severity"), alert.get("acknowledged", {}).get("by")) == (severity, by)


async def test_an_acknowledgement_shows_at_both(stage: Stage) -> None:
    """Whichever of the two it is given to, and whoever speaks; a worsening ends it at both."""
    await said(stage, WARNING, "warning", "firing", 0)
    await stage.is_noted("warning", "firing")
    speaker = await stage.speaker()
    for given_to, severity, price in ((speaker, "warning", WARNING), (1 - speaker, "critical", CRITICAL)):
        await said(stage, price, severity, "firing", 0)
        for each in stage.daemons:
            await each.until(partial(shows, each, severity, None), f"{severity} fires at both")
        await stage.daemons[given_to].order("/api/v1/acknowledgements", key=KEY, by="ann")
        for each in stage.daemons:
            await each.until(partial(shows, each, severity, "ann"), "both show who has seen it")
