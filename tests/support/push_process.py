"""A process that does nothing but decide and push alerts, to be killed at any moment.

Each round brings as many accounts into danger, each of which is one push. Run it with
``python -m tests.support.push_process``.
"""

import argparse
import asyncio
import os
from pathlib import Path

from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.sink import Surroundings
from alerts.sinks.push import PushConfig, build
from monitor.clock import SystemClock
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool

ACCOUNTS = 30


async def run(state: Path, rounds: int) -> None:
    """Say all rounds up to this one; run until killed."""
    clock, telemetry = SystemClock(), Telemetry()
    config = PushConfig.model_validate(
        {"gather_s": 0, "per_hour": 100_000, "route": [{"name": "phone", "url": "env:PUSH_URL"}]}
    )
    sink = build(config, Surroundings(clock, "box"))
    outbox = Outbox.open(state, [sink.name], clock, telemetry)
    engine = Engine(AlertsConfig(), "box")
    engine.restore(outbox.restored, clock.now())
    dispatcher = Dispatcher(outbox, [sink], clock, telemetry)
    delivery = asyncio.create_task(dispatcher.run())
    for number in range(rounds):
        for n in range(ACCOUNTS):
            dispatcher.submit(engine.on_pool(a_pool(0.75, account=f"A{number}-{n}"), clock.now()))
            await asyncio.sleep(0)
    await delivery


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("url")
    parser.add_argument("rounds", type=int)
    arguments = parser.parse_args()
    os.environ["PUSH_URL"] = arguments.url
    asyncio.run(run(arguments.state, arguments.rounds))
