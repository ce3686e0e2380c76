"""Kill the monitor, Redis and mosquitto in the middle of bursts: every alert reaches every sink, under one id.

The moments are random and seeded. `MARGINWATCH_FAULT_ROUNDS` sets how many rounds each; ``make soak`` repeats them
with other seeds.
"""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from alerts.alert import Alert
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.redis_link import RedisConfig
from alerts.sink import Sink, Surroundings
from alerts.sinks.mqtt import MqttConfig
from alerts.sinks.mqtt import build as build_mqtt
from alerts.sinks.redis import build as build_redis
from monitor.clock import SystemClock
from monitor.telemetry import Telemetry
from tests.support.alert_process import BURST, burst, expected_ids
from tests.support.mosquitto import Listener, Mosquitto
from tests.support.redis_server import RedisServer
from tests.support.server_process import until, until_answer

pytestmark = pytest.mark.integration

ROUNDS = int(os.environ.get("MARGINWATCH_FAULT_ROUNDS", "20"))
SOAKS = 10
DEADLINE_S = 40.0
STREAM = "marginwatch:alerts"
ROOT = Path(__file__).parents[2]

seeds = pytest.mark.parametrize(
    "seed", [pytest.param(0), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, SOAKS))]
)


async def stream_ids(client: Redis) -> list[str]:
    """Ids in the stream, oldest first."""
    return [fields["id"] for _, fields in await client.xrange(STREAM)]


def heard_ids(listener: Listener) -> list[str]:
    """Ids of the alerts that the listener heard, in order."""
    return [json.loads(heard.payload)["id"] for heard in listener.heard if heard.topic.endswith("/alert")]


def firsts(ids: Sequence[str]) -> list[str]:
    """Every id at its first appearance."""
    return list(dict.fromkeys(ids))


async def until_stream_holds(client: Redis, count: int) -> None:
    """Wait until the stream has that many entries."""

    async def holds() -> bool:
        return int(await client.xlen(STREAM)) >= count

    await until_answer(holds, f"{count} entries in the stream", DEADLINE_S)


async def until_stream_has(client: Redis, ids: Sequence[str]) -> None:
    """Wait until all of these are in the stream."""

    async def has() -> bool:
        return set(await stream_ids(client)) >= set(ids)

    await until_answer(has, "every id in the stream", DEADLINE_S)


@contextmanager
def alert_process(state: Path, redis: RedisServer, mosquitto: Mosquitto, bursts: int) -> Iterator[None]:
    """The process that is to be killed; the end of the block kills it."""
    command = [sys.executable, "-m", "tests.support.alert_process", state, redis.url, mosquitto.url, str(bursts)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@seeds
async def test_killed_monitor(tmp_path: Path, seed: int) -> None:
    """kill -9 in the middle of each burst: what was not delivered is, in order, and repeats carry the same id."""
    rng = random.Random(seed)
    state = tmp_path / "state.sqlite"
    places = tmp_path / "redis", tmp_path / "mosquitto"
    for place in places:
        place.mkdir()
    with RedisServer(places[0]) as redis, Mosquitto(places[1]) as mosquitto:
        async with redis.client() as client, Listener(mosquitto, "marginwatch/+/+/+/alert") as listener:
            for number in range(1, ROUNDS + 1):
                with alert_process(state, redis, mosquitto, number):
                    await until_stream_holds(client, (number - 1) * BURST + rng.randrange(BURST))
            with alert_process(state, redis, mosquitto, ROUNDS):
                with closing(sqlite3.connect(state)) as database:
                    (salt,) = database.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
                expected = expected_ids(salt, ROUNDS)
                await until(lambda: set(heard_ids(listener)) >= set(expected), "mosquitto heard all", DEADLINE_S)
                await until_stream_has(client, expected)
            assert firsts(heard_ids(listener)) == expected
            assert firsts(await stream_ids(client)) == expected


@dataclass
class Monitor:
    """Engine, outbox and dispatcher in this process, with what was said."""

    engine: Engine
    dispatcher: Dispatcher
    clock: SystemClock
    said: list[Alert]

    async def say_burst(self, number: int) -> None:
        """Let the pools of one burst fire, giving the sinks a turn after each."""
        for pool in burst(number):
            alerts = self.engine.on_pool(pool, self.clock.now())
            self.said += alerts
            self.dispatcher.submit(alerts)
            await asyncio.sleep(0)

    async def repeat(self) -> None:
        """Say again what is due, for ever."""
        while True:
            self.dispatcher.submit(self.engine.due(self.clock.now()))
            await asyncio.sleep(0.05)


@asynccontextmanager
async def monitor(state: Path, sink: Sink) -> AsyncIterator[Monitor]:
    """Run with one sink; what fires is repeated every few seconds."""
    clock, telemetry = SystemClock(), Telemetry()
    with Outbox.open(state, [sink.name], clock, telemetry) as outbox:
        engine = Engine(AlertsConfig.model_validate({"repeat": {"warning_s": 8}}), "box")
        engine.restore(outbox.restored, clock.now())
        dispatcher = Dispatcher(outbox, [sink], clock, telemetry)
        now = Monitor(engine, dispatcher, clock, [])
        tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(now.repeat())]
        try:
            yield now
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)


@seeds
async def test_restarted_redis(tmp_path: Path, seed: int) -> None:
    """Stopped or killed and started again in the middle of each burst, keeping what it acknowledged."""
    rng = random.Random(seed)
    with RedisServer(tmp_path, durable=True) as server:
        sink = build_redis(RedisConfig(url=server.url, stream_max=1_000_000), Surroundings(SystemClock(), "box"))
        async with monitor(tmp_path / "state.sqlite", sink) as now:
            for number in range(ROUNDS):
                saying = asyncio.create_task(now.say_burst(number))
                wanted = number * BURST + rng.randrange(BURST)
                await until(lambda wanted=wanted: len(now.said) > wanted, "in the middle of the burst")
                rng.choice((server.stop, server.kill))()
                server.start()
                await saying
            expected = [alert.id for alert in now.said]
            async with server.client() as client:
                await until_stream_has(client, expected)
                assert firsts(await stream_ids(client)) == expected


@seeds
async def test_restarted_mosquitto(tmp_path: Path, seed: int) -> None:
    """Stopped or killed and started again in the middle of each burst; killed, it forgets what it acknowledged."""
    rng = random.Random(seed)
    with Mosquitto(tmp_path, durable=True) as server:
        sink = build_mqtt(MqttConfig(url=server.url), Surroundings(SystemClock(), "box"))
        listening = Listener(server, "marginwatch/+/+/+/alert")
        async with monitor(tmp_path / "state.sqlite", sink) as now, listening as listener:
            for number in range(ROUNDS):
                saying = asyncio.create_task(now.say_burst(number))
                wanted = number * BURST + rng.randrange(BURST)
                await until(lambda wanted=wanted: len(now.said) > wanted, "in the middle of the burst")
                rng.choice((server.stop, server.kill))()
                server.start()
                await saying
            expected = {alert.id for alert in now.said}
            await until(lambda: set(heard_ids(listener)) >= expected, "all heard", DEADLINE_S)
            assert set(heard_ids(listener)) == expected


async def test_a_redis_that_forgot_everything_is_told_what_fires(tmp_path: Path) -> None:
    """Killed without a word to the disk while nothing happens: all that fires is said again, what is over is not."""
    with RedisServer(tmp_path) as server:
        sink = build_redis(RedisConfig(url=server.url, state_s=0.1), Surroundings(SystemClock(), "box"))
        async with monitor(tmp_path / "state.sqlite", sink) as now:
            await now.say_burst(0)
            over = now.said[7]
            assert over.pool is not None
            now.dispatcher.submit(now.engine.on_pool_gone(over.pool, now.clock.now()))
            await until(lambda: now.dispatcher.pending()["redis"] == 0, "delivered")
            server.kill()
            server.start()
            async with server.client() as client:
                await until_stream_holds(client, BURST - 1)
                assert firsts(await stream_ids(client)) == [alert.id for alert in now.said if alert is not over]


@pytest.mark.parametrize("kind", ["redis", "mqtt"])
async def test_a_hung_server_is_noticed_within_seconds_and_gets_everything_later(tmp_path: Path, kind: str) -> None:
    """SIGSTOP: connections stay open and nothing is answered, until it goes on."""
    server = RedisServer(tmp_path) if kind == "redis" else Mosquitto(tmp_path)
    with server:
        sink: Sink
        if isinstance(server, RedisServer):
            sink = build_redis(
                RedisConfig(url=server.url, timeout_s=0.5, state_s=0.1), Surroundings(SystemClock(), "box")
            )
        else:
            sink = build_mqtt(
                MqttConfig(url=server.url, timeout_s=0.5, state_s=0.1), Surroundings(SystemClock(), "box")
            )
        async with AsyncExitStack() as stack:
            listener = Listener(server, "marginwatch/+/+/+/alert") if isinstance(server, Mosquitto) else None
            if listener is not None:
                await stack.enter_async_context(listener)
            now = await stack.enter_async_context(monitor(tmp_path / "state.sqlite", sink))
            await now.say_burst(0)
            await until(lambda: now.dispatcher.pending()[kind] == 0, "delivered")
            server.suspend()
            await until(lambda: now.dispatcher.health()[0].failing_since is not None, "noticed", 2.0)
            await now.say_burst(1)
            assert now.dispatcher.pending()[kind] >= BURST
            server.resume()
            await until(lambda: now.dispatcher.pending()[kind] == 0, "delivered what was missed")
            await until(lambda: now.dispatcher.health()[0].failing_since is None, "works again")
            said = [alert.id for alert in now.said]
            if listener is not None:
                await until(lambda: set(heard_ids(listener)) >= set(said), "mosquitto heard all")
                assert firsts(heard_ids(listener)) == said
            elif isinstance(server, RedisServer):
                assert firsts(await stream_ids(await stack.enter_async_context(server.client()))) == said
