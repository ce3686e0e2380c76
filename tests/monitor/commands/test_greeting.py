"""What a terminal is told of a pair of monitors."""

import asyncio
from pathlib import Path

import pytest

from alerts.pair import Pair, PairConfig
from alerts.redis_link import RedisConfig, RedisLink, connector
from monitor.clock import SystemClock
from monitor.commands.greeting import WAITING, tell_voices
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration

ACCOUNT = ("binance", "main")


def monitor(redis: RedisServer, host: str) -> Pair:
    """One of two monitors on the same account."""
    config = RedisConfig.model_validate({"url": redis.url})
    pair = Pair(PairConfig(enabled=True, lease_s=0.5), RedisLink(connector(config)), "mw", 5.0, SystemClock(), host)
    pair.watch({ACCOUNT})
    return pair


async def test_that_another_monitor_speaks_is_said_once_one_does(tmp_path: Path) -> None:
    """At the very first start both wait for a lease; then one speaks, and the other one stands by."""
    with RedisServer(tmp_path) as redis:
        pairs = [monitor(redis, host) for host in ("one", "two")]
        said: list[list[str]] = [[], []]
        for pair in pairs:
            await pair.first_beat()
        keeping = [asyncio.create_task(pair.run()) for pair in pairs]
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(
                    *(tell_voices(pair, lines.append) for pair, lines in zip(pairs, said, strict=True))
                )
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
    assert [lines[0] for lines in said] == [f"binance/main: {WAITING}"] * 2
    assert sorted(lines[-1] for lines in said) == [
        "binance/main: standing by: another monitor speaks",
        "binance/main: this monitor speaks",
    ]
