"""The Redis sink against a real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from alerts.alert import Alert, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import encode
from alerts.redis_link import RedisConfig
from alerts.sink import Envelope, Surroundings
from alerts.sinks.redis import RedisSink, build
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.errors import SinkError
from tests.support.certificates import make_certificate
from tests.support.desk import Desk
from tests.support.pools import a_leg, a_pool
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration

STREAM = "marginwatch:alerts"


def alerts(count: int) -> list[Alert]:
    """That many alerts about as many pools."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for n in range(count) for alert in engine.on_pool(a_pool(0.75, scope=f"P{n}"), 1_790_000_000.0)]


def envelopes(said: Iterable[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, 1)]


@asynccontextmanager
async def connected(server: RedisServer, **config: Any) -> AsyncIterator[RedisSink]:
    """A sink that is connected to `server`."""
    sink = build(RedisConfig(url=server.url, **config), Surroundings(SystemClock(), "box"))
    try:
        async with asyncio.timeout(5):
            await sink.connect()
        yield sink
    finally:
        await sink.close()


async def fault(sink: RedisSink) -> SinkError:
    """The error with which connecting fails."""
    with pytest.raises(SinkError) as caught:
        async with asyncio.timeout(5):
            await sink.connect()
    await sink.close()
    return caught.value


@pytest.fixture
def server(tmp_path: Path) -> Iterable[RedisServer]:
    """A fresh Redis."""
    with RedisServer(tmp_path) as redis:
        yield redis


async def test_alerts_are_in_the_stream_and_on_the_channel(server: RedisServer) -> None:
    """In order, with the documented fields; the channel carries the message itself."""
    said = alerts(50)
    async with connected(server) as sink, server.client() as client, client.pubsub() as channel:
        await channel.subscribe(STREAM)
        assert (await channel.get_message(timeout=5))["type"] == "subscribe"
        await sink.deliver(envelopes(said))
        heard = [await channel.get_message(timeout=5) for _ in said]
        entries = await client.xrange(STREAM)
    assert [fields["id"] for _, fields in entries] == [alert.id for alert in said]
    _, fields = entries[0]
    assert list(fields) == ["id", "key", "severity", "state", "json"]
    assert (fields["key"], fields["severity"], fields["state"]) == (said[0].key, "warning", "firing")
    assert fields["json"] == encode(said[0]).decode()
    assert [json.loads(message["data"])["id"] for message in heard] == [alert.id for alert in said]


async def test_the_stream_does_not_grow_for_ever(server: RedisServer) -> None:
    """About `stream_max` entries are kept (Redis trims whole nodes of a hundred)."""
    async with connected(server, stream_max=100) as sink, server.client() as client:
        for _ in range(10):
            await sink.deliver(envelopes(alerts(64)))
        assert 100 <= await client.xlen(STREAM) <= 300


async def test_the_latest_state_is_a_hash_that_expires(server: RedisServer) -> None:
    """Unknown is empty, infinity a word, legs are JSON; a pool that is gone is gone at once."""
    pool = a_pool(0.75, margin_ratio=inf, margin_balance=nan, legs=(a_leg(),))
    async with connected(server, state_ttl_s=20, prefix="desk") as sink, server.client() as client:
        await sink.publish_state([pool], [])
        state = await client.hgetall("desk:pool:binance/main/USDT")
        assert (state["margin_ratio"], state["margin_balance"], state["unit"]) == ("Infinity", "", "USDT")
        assert (state["maintenance_margin"], state["account"]) == ("1000.0", "main")
        assert json.loads(state["legs"])[0]["liquidation_price"] == 57_820.0
        assert state["stale"] == "false"
        await sink.publish_state([replace(pool, stale=True)], [])
        assert await client.hget("desk:pool:binance/main/USDT", "stale") == "true"
        assert 0 < await client.ttl("desk:pool:binance/main/USDT") <= 20
        await sink.publish_state([], [pool])
        assert await client.keys("*") == []


async def test_a_silence_is_seen_in_the_state(server: RedisServer) -> None:
    """Of the pools that it covers, until its end and with who made it and why."""
    desk = Desk()
    sink = build(RedisConfig(url=server.url), Surroundings(SystemClock(), "box", desk))
    desk.silent = [Silence("a", "binance/main/USDT", SystemClock().now() + 60, "ann", "moving", False, 0.0)]
    async with server.client() as client:
        await sink.connect()
        await sink.publish_state([a_pool(0.75), a_pool(0.75, scope="USDC")], [])
        await sink.close()
        silenced = json.loads(await client.hget("marginwatch:pool:binance/main/USDT", "silenced"))
        assert (silenced["by"], silenced["reason"], silenced["emergency"]) == ("ann", "moving", False)
        assert await client.hget("marginwatch:pool:binance/main/USDC", "silenced") == ""


async def test_publishing_nothing_still_proves_the_connection(server: RedisServer) -> None:
    """A server that was restarted in between is noticed without any alert or pool."""
    async with connected(server) as sink:
        await sink.publish_state([], [])
        server.kill()
        server.start()
        with pytest.raises(SinkError):
            await sink.publish_state([], [])


async def test_a_server_that_is_not_there_is_worth_another_try(server: RedisServer) -> None:
    """Refused now, perhaps not later; it says where in words."""
    server.kill()
    error = await fault(build(RedisConfig(url=server.url), Surroundings(SystemClock(), "box")))
    assert error.retry
    assert str(error) == f"redis: connection refused ({urlsplit(server.url).netloc})"


async def test_a_hung_server_never_answers_and_can_be_left(server: RedisServer) -> None:
    """Nothing but a deadline ends the wait; afterwards the sink connects anew."""
    async with connected(server) as sink:
        server.suspend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sink.deliver(envelopes(alerts(1)))
        await sink.close()
        with pytest.raises((TimeoutError, SinkError)):
            async with asyncio.timeout(0.1):
                await sink.connect()
        await sink.close()
        server.resume()
        async with asyncio.timeout(5):
            await sink.connect()
            await sink.deliver(envelopes(alerts(1)))


async def test_password_of_the_default_user(tmp_path: Path) -> None:
    """Right, wrong and missing; the error does not say the password and is not worth another try soon."""
    with RedisServer(tmp_path, password="open sesame") as server:
        async with connected(server, password=Secret("open sesame")) as sink:
            await sink.deliver(envelopes(alerts(1)))
        for password in (Secret("guessed"), None):
            error = await fault(
                build(RedisConfig(url=server.url, password=password), Surroundings(SystemClock(), "box"))
            )
            assert not error.retry
            assert "guessed" not in str(error)


async def test_a_user_with_rights_of_its_own(tmp_path: Path) -> None:
    """The URL names the user; a right that is missing is told and not worth another try soon."""
    users = (
        "user default off\n"
        "user watch on >secret ~marginwatch:* &marginwatch:* +@all\n"
        "user peek on >secret +ping +client\n"
    )
    with RedisServer(tmp_path, users=users) as server:
        for user, allowed in (("watch", True), ("peek", False)):
            url = server.url.replace("//", f"//{user}@")
            sink = build(RedisConfig(url=url, password=Secret("secret")), Surroundings(SystemClock(), "box"))
            await sink.connect()
            if allowed:
                await sink.deliver(envelopes(alerts(1)))
            else:
                with pytest.raises(SinkError, match="permission") as caught:
                    await sink.deliver(envelopes(alerts(1)))
                assert not caught.value.retry
            await sink.close()


async def test_tls_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    """Trusted when it is named, refused when it is not."""
    certificate = make_certificate(tmp_path)
    with RedisServer(tmp_path, tls=certificate) as server:
        async with connected(server, ca_file=certificate.certificate) as sink, server.client() as client:
            await sink.deliver(envelopes(alerts(1)))
            assert await client.xlen(STREAM) == 1
        error = await fault(build(RedisConfig(url=server.url), Surroundings(SystemClock(), "box")))
        assert not error.retry


async def test_alerts_and_state_do_not_wait_for_each_other(server: RedisServer) -> None:
    """Both at the same time, over and over, each in its own order."""

    async def deliver(sink: RedisSink, said: Sequence[Envelope]) -> None:
        for envelope in said:
            await sink.deliver([envelope])

    async def show(sink: RedisSink) -> None:
        for _ in range(50):
            await sink.publish_state([a_pool(0.1, scope=f"P{n}") for n in range(10)], [])

    said = envelopes(alerts(50))
    async with connected(server) as sink, server.client() as client:
        await asyncio.gather(deliver(sink, said), show(sink))
        entries = await client.xrange(STREAM)
    assert [fields["id"] for _, fields in entries] == [envelope.alert.id for envelope in said]
