"""A process that does nothing but decide and deliver alerts, to be killed at any moment.

Its world is constant: every pool of every burst up to the present one is in danger. Whatever an earlier run already
said about a pool, saying it again must change nothing. Run it with ``python -m tests.support.alert_process``.
"""

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path

from alerts.alert import Severity, State, alert_id
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.sink import Surroundings
from alerts.sinks import ConsoleConfig, MqttConfig, RedisConfig, SinksConfig, build
from monitor.clock import SystemClock
from monitor.model.assessment import PoolAssessment
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool

BURST = 100
RATIO = 0.75


def burst(number: int) -> Iterator[PoolAssessment]:
    """The pools that come into danger in one burst."""
    return (a_pool(RATIO, scope=f"P{number}-{n}") for n in range(BURST))


def expected_ids(salt: str, bursts: int) -> list[str]:
    """The one id that each pool's alert must have, whichever run says it, in the order of the bursts."""
    keys = [f"margin_ratio:{pool.pool}" for number in range(bursts) for pool in burst(number)]
    return [alert_id(salt, key, 1, Severity.WARNING, State.FIRING) for key in keys]


async def run(state: Path, redis_url: str, mqtt_url: str, bursts: int) -> None:
    """Say the last burst while the sinks are already delivering; run until killed."""
    clock, telemetry = SystemClock(), Telemetry()
    config = SinksConfig(
        console=ConsoleConfig(enabled=False), redis=RedisConfig(url=redis_url), mqtt=MqttConfig(url=mqtt_url)
    )
    sinks = build(config, Surroundings(clock, "box"))
    outbox = Outbox.open(state, [sink.name for sink in sinks], clock, telemetry)
    engine = Engine(AlertsConfig(), "box")
    engine.restore(outbox.restored, clock.now())
    dispatcher = Dispatcher(outbox, sinks, clock, telemetry)
    delivery = asyncio.create_task(dispatcher.run())
    for number in range(bursts):
        for pool in burst(number):
            dispatcher.submit(engine.on_pool(pool, clock.now()))
            await asyncio.sleep(0)
    await delivery


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("redis")
    parser.add_argument("mqtt")
    parser.add_argument("bursts", type=int)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.state, arguments.redis, arguments.mqtt, arguments.bursts))
