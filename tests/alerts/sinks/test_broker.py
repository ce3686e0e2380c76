"""What the sinks that speak MQTT share, against a real mosquitto; deadlines and losses stand in test_mqtt.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from alerts.sinks._broker import Broker, BrokerConfig, Heard, Publication, Subscription, check_topic
from monitor.errors import SinkError
from tests.support.mosquitto import Listener, Mosquitto
from tests.support.server_process import until

pytestmark = pytest.mark.integration

PLUGINS = sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))


@pytest.fixture
def server(tmp_path: Path) -> Iterable[Mosquitto]:
    """A fresh broker."""
    with Mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def connected(server: Mosquitto, heard: list[Heard], **config: Any) -> AsyncIterator[Broker]:
    """A connection whose messages go into `heard`."""
    broker = Broker("test", BrokerConfig(url=server.url, timeout_s=2.0, **config), "own/status", heard.append)
    try:
        async with asyncio.timeout(5):
            await broker.connect()
        yield broker
    finally:
        await broker.close()


async def publish(server: Mosquitto, *messages: tuple[str, bytes, bool]) -> None:
    """Publish as somebody else: topic, payload, retain."""
    async with aiomqtt.Client("127.0.0.1", server.port, timeout=5) as client:
        for topic, payload, retain in messages:
            await client.publish(topic, payload, qos=1, retain=retain)


async def test_what_is_subscribed_to_is_heard(server: Mosquitto) -> None:
    """And nothing else, nor what we say ourselves."""
    heard: list[Heard] = []
    async with connected(server, heard) as broker:
        await broker.subscribe([Subscription("a/#"), Subscription("b")])
        await broker.publish([Publication("a/own", b"1", qos=1)])
        await publish(server, ("c", b"2", False), ("a/b/c", b"3", False), ("b", b"4", False))
        await until(lambda: len(heard) >= 2, "heard")
    assert heard == [Heard("a/b/c", b"3", retained=False), Heard("b", b"4", retained=False)]


async def test_what_is_retained_comes_only_when_asked_for(server: Mosquitto) -> None:
    """And is known for retained also when it is published while we listen."""
    heard: list[Heard] = []
    await publish(server, ("orders", b"old", True), ("config", b"old", True))
    async with connected(server, heard) as broker:
        await broker.subscribe([Subscription("orders"), Subscription("config", retained=True)])
        await publish(server, ("orders", b"new", True))
        await until(lambda: len(heard) >= 2, "heard")
    assert heard == [Heard("config", b"old", retained=True), Heard("orders", b"new", retained=True)]


async def test_a_loss_ends_a_subscription_that_waits(server: Mosquitto) -> None:
    """As it ends a publication."""
    async with connected(server, []) as broker:
        server.suspend()
        waiting = asyncio.create_task(broker.subscribe([Subscription("a")]))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        server.kill()
        with pytest.raises(SinkError):
            async with asyncio.timeout(2):
                await waiting


async def test_a_broker_that_forbids_to_listen_says_so(tmp_path: Path) -> None:
    """Better no sink than one whose buttons do nothing. (With an acl_file mosquitto takes every subscription.)"""
    if not PLUGINS:
        pytest.skip("mosquitto came without its dynamic security plugin")
    rules = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    (tmp_path / "rules.json").write_text(json.dumps({"defaultACLAccess": rules}))
    more = [f"plugin {PLUGINS[0]}", f"plugin_opt_config_file {tmp_path / 'rules.json'}"]
    with Mosquitto(tmp_path, more=more) as server:
        async with connected(server, []) as broker:
            with pytest.raises(SinkError, match="does not let us subscribe to a") as caught:
                await broker.subscribe([Subscription("a")])
            assert not caught.value.retry


async def test_status_follows_the_connection(server: Mosquitto) -> None:
    """Online when said, offline when we go; only what was connected can be published to."""
    async with Listener(server, "own/status") as listener:
        async with connected(server, []) as broker:
            await broker.publish([broker.status()])
            await until(lambda: listener.last("own/status") == b"online", "online")
        await until(lambda: listener.last("own/status") == b"offline", "offline")
        with pytest.raises(SinkError, match="not connected"):
            await broker.publish([broker.status()])


@pytest.mark.parametrize("topic", ["", "a", "a/b", "homeassistant"])
def test_topics_that_can_be_begun_with(topic: str) -> None:
    """Levels of plain words."""
    assert check_topic(topic) == topic


@pytest.mark.parametrize("topic", ["a/+", "#", "/a", "a/", "$SYS", "a\0"])
def test_topics_that_cannot(topic: str) -> None:
    """Wildcards, empty levels, the broker's own."""
    with pytest.raises(ValueError, match="must be a topic"):
        check_topic(topic)
