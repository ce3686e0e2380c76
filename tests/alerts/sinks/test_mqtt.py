"""The MQTT sink against a real mosquitto."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from math import nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import pytest

from alerts.alert import Alert, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import encode
from alerts.sink import Envelope, Surroundings
from alerts.sinks._broker import topic
from alerts.sinks.mqtt import MqttConfig, MqttSink, build
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.errors import SinkError
from tests.support.certificates import make_certificate
from tests.support.desk import Desk
from tests.support.mosquitto import Listener, Mosquitto
from tests.support.pools import a_pool
from tests.support.server_process import until, until_answer

pytestmark = pytest.mark.integration

STATUS = "marginwatch/status"
STATE = "marginwatch/main/binance/USDT/state"


def alerts(count: int) -> list[Alert]:
    """That many alerts about as many pools."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for n in range(count) for alert in engine.on_pool(a_pool(0.75, scope=f"P{n}"), 1_790_000_000.0)]


def envelopes(said: Iterable[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, 1)]


def sink_for(server: Mosquitto, **config: Any) -> MqttSink:
    """A sink that is not connected yet."""
    return build(MqttConfig(url=server.url, **{"timeout_s": 2.0, **config}), Surroundings(SystemClock(), "box"))


@asynccontextmanager
async def connected(server: Mosquitto, **config: Any) -> AsyncIterator[MqttSink]:
    """A sink that is connected to `server`."""
    sink = sink_for(server, **config)
    try:
        async with asyncio.timeout(5):
            await sink.connect()
        yield sink
    finally:
        await sink.close()


async def heard_all_retained(sink: MqttSink, listener: Listener) -> None:
    """Wait until the listener has heard something new, which comes after everything retained."""
    await sink.publish_state([], [])
    await until(lambda: any(not heard.retain for heard in listener.heard), "something new")


@pytest.fixture
def server(tmp_path: Path) -> Iterable[Mosquitto]:
    """A fresh broker."""
    with Mosquitto(tmp_path) as broker:
        yield broker


async def test_alerts_arrive_in_order_on_the_topic_of_their_pool(server: Mosquitto) -> None:
    """More than the broker takes in flight at once, each the message itself, none retained."""
    said = alerts(60)
    async with Listener(server, "marginwatch/+/+/+/alert") as listener, connected(server) as sink:
        await sink.deliver(envelopes(said))
        await until(lambda: len(listener.heard) >= 60, "heard")
    assert [json.loads(heard.payload)["id"] for heard in listener.heard] == [alert.id for alert in said]
    assert [heard.topic for heard in listener.heard[:2]] == [
        "marginwatch/main/binance/P0/alert",
        "marginwatch/main/binance/P1/alert",
    ]
    assert not any(heard.retain for heard in listener.heard)


async def test_an_alert_about_no_pool_has_a_topic_too(server: Mosquitto) -> None:
    """The rule stands for the scope, a dash for account and venue."""
    engine = Engine(AlertsConfig(), "box")
    said = engine.on_sink("redis", 0.0, 1, "refused", 60.0)
    async with Listener(server, "marginwatch/+/+/+/alert") as listener, connected(server) as sink:
        await sink.deliver(envelopes(said))
        await until(lambda: bool(listener.heard), "heard")
    assert listener.heard[0].topic == "marginwatch/-/-/sink_failure/alert"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("main", "binance", "BTCUSDT:long", "alert"), "p/main/binance/BTCUSDT:long/alert"),
        (("a/b", "x+y", "#1", "state"), "p/a%2Fb/x%2By/%231/state"),
        (("50%", "", "a\nb\0", "state"), "p/50%25/-/a%0Ab%00/state"),
        (("Zürich", "binance", "币", "state"), "p/Zürich/binance/币/state"),
    ],
)
def test_names_cannot_break_topics(levels: tuple[str, ...], expected: str) -> None:
    """Separators, wildcards and controls are encoded, everything else is left."""
    assert topic("p", *levels) == expected


async def test_state_is_retained_and_cleared_when_the_pool_is_gone(server: Mosquitto) -> None:
    """Whoever subscribes later sees the last state, and nothing of a pool that is closed."""
    pool = a_pool(0.75, margin_balance=nan, account_stale=True)
    async with connected(server) as sink:
        await sink.publish_state([pool], [])
        async with Listener(server) as late:
            await until(lambda: late.last(STATE) is not None, "retained state")
            assert all(heard.retain for heard in late.heard)
            state = json.loads(late.last(STATE) or b"")
            assert (state["margin_ratio"], state["margin_balance"], state["pool"]) == (0.75, None, "binance/main/USDT")
            assert state["stale"] is True
            await sink.publish_state([], [pool])
            await until(lambda: late.last(STATE) == b"", "cleared")
        async with Listener(server) as later:
            await heard_all_retained(sink, later)
            assert later.last(STATE) is None


async def test_a_silence_is_seen_in_the_state(server: Mosquitto) -> None:
    """Until its end, and with who made it and why."""
    silence = Silence("a", "binance/main", SystemClock().now() + 60, "ann", "moving", False, 0.0)
    sink = build(MqttConfig(url=server.url), Surroundings(SystemClock(), "box", Desk(silent=[silence])))
    async with Listener(server) as listener:
        await sink.connect()
        await sink.publish_state([a_pool(0.75)], [])
        await until(lambda: listener.last(STATE) is not None, "state")
        await sink.close()
    silenced = json.loads(listener.last(STATE) or b"")["silenced"]
    assert (silenced["by"], silenced["reason"], silenced["emergency"]) == ("ann", "moving", False)


async def test_state_of_a_dead_monitor_disappears(server: Mosquitto) -> None:
    """Retained state has a time to live."""
    async with connected(server, state_ttl_s=2) as sink:
        await sink.publish_state([a_pool(0.75)], [])
        async with Listener(server) as late:
            await until(lambda: late.last(STATE) is not None, "retained state")
            assert json.loads(late.last(STATE) or b"")["margin_ratio"] == 0.75
        ends, retained = asyncio.get_running_loop().time() + 10, late.last(STATE)
        while retained is not None and asyncio.get_running_loop().time() < ends:
            async with Listener(server) as later:
                await heard_all_retained(sink, later)
                retained = later.last(STATE)
    assert retained is None


async def test_status_is_online_and_after_a_clean_stop_offline(server: Mosquitto) -> None:
    """Retained, both."""
    async with Listener(server, STATUS) as listener:
        async with connected(server):
            await until(lambda: listener.last(STATUS) == b"online", "online")
        await until(lambda: listener.last(STATUS) == b"offline", "offline")
    assert [heard.payload for heard in listener.heard] == [b"online", b"offline"]
    async with Listener(server, STATUS) as late:
        await until(lambda: bool(late.heard), "what is retained")
    assert [(heard.payload, heard.retain) for heard in late.heard] == [(b"offline", True)]


async def test_a_connection_that_breaks_leaves_the_will(server: Mosquitto) -> None:
    """The broker says offline when a monitor is gone without a word."""
    async with Listener(server, STATUS) as listener:
        sink = sink_for(server)
        await sink.connect()
        await until(lambda: listener.last(STATUS) == b"online", "online")
        assert sink._broker.link is not None
        sink._broker.link.client._client.socket().close()
        await until(lambda: listener.last(STATUS) == b"offline", "the will")
        await sink.close()


async def test_a_lost_connection_ends_a_delivery_at_once(server: Mosquitto) -> None:
    """aiomqtt would wait for the acknowledgement until its timeout."""
    async with connected(server, timeout_s=30.0) as sink:
        server.suspend()
        delivery = asyncio.create_task(sink.deliver(envelopes(alerts(3))))
        await asyncio.wait([delivery], timeout=0.05)
        assert not delivery.done()
        server.kill()
        with pytest.raises(SinkError):
            async with asyncio.timeout(2):
                await delivery
        with pytest.raises(SinkError):
            async with asyncio.timeout(2):
                await sink.publish_state([], [])


async def test_a_hung_broker_never_answers_and_can_be_left(server: Mosquitto) -> None:
    """Our deadline ends the wait, connecting to it fails in time, and when it is back the sink is, too."""
    async with connected(server, timeout_s=0.3) as sink:
        server.suspend()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sink.deliver(envelopes(alerts(1)))
        await sink.close()
        with pytest.raises((TimeoutError, SinkError)):
            async with asyncio.timeout(1):
                await sink.connect()
        await sink.close()
        server.resume()
        async with asyncio.timeout(5):
            await sink.connect()
            await sink.deliver(envelopes(alerts(1)))


async def test_a_connection_that_comes_too_late_is_left(server: Mosquitto) -> None:
    """While it is still on its way no other is made; afterwards the next one works and stays online."""
    server.suspend()
    sink = sink_for(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sink.connect()
    await sink.close()
    with pytest.raises(SinkError, match="not ended yet"):
        await sink.connect()
    server.resume()
    assert sink._broker.opening is not None
    async with asyncio.timeout(5):
        await sink._broker.opening
    async with Listener(server, STATUS) as listener:
        await sink.connect()
        await heard_all_retained(sink, listener)
        assert listener.last(STATUS) == b"online"
        await sink.close()


async def test_a_broker_that_is_not_there_is_worth_another_try(server: Mosquitto) -> None:
    """Refused now, perhaps not later; it says where in words."""
    server.kill()
    with pytest.raises(SinkError) as caught:
        await sink_for(server).connect()
    assert caught.value.retry
    assert str(caught.value) == f"mqtt: connection refused ({urlsplit(server.url).netloc})"


async def test_passwords(tmp_path: Path) -> None:
    """Right, wrong and missing; the error does not say the password and is not worth another try soon."""
    with Mosquitto(tmp_path, users={"watch": "open sesame"}) as server:
        url = server.url.replace("//", "//watch@")
        sink = build(MqttConfig(url=url, password=Secret("open sesame")), Surroundings(SystemClock(), "box"))
        await sink.connect()
        await sink.deliver(envelopes(alerts(1)))
        await sink.close()
        for password in (Secret("guessed"), None):
            sink = build(MqttConfig(url=url, password=password, timeout_s=2.0), Surroundings(SystemClock(), "box"))
            with pytest.raises(SinkError) as caught:
                await sink.connect()
            assert not caught.value.retry
            assert "guessed" not in str(caught.value)
            await sink.close()


async def test_a_password_without_a_user_is_that_of_marginwatch(tmp_path: Path) -> None:
    """A password is never left away in silence."""
    with Mosquitto(tmp_path, users={"marginwatch": "open sesame"}) as server:
        for password in (Secret("guessed"), None):
            with pytest.raises(SinkError) as caught:
                await sink_for(server, password=password).connect()
            assert not caught.value.retry
        async with connected(server, password=Secret("open sesame")) as sink:
            await sink.deliver(envelopes(alerts(1)))


async def test_a_message_that_the_broker_refuses_is_not_taken_for_delivered(tmp_path: Path) -> None:
    """MQTT 5 acknowledges a refusal, too; aiomqtt takes any acknowledgement for success."""
    rights = "topic readwrite marginwatch/status\n"
    with Mosquitto(tmp_path, rights=rights) as server:
        async with connected(server) as sink:
            with pytest.raises(SinkError, match="refused") as caught:
                await sink.deliver(envelopes(alerts(1)))
            assert not caught.value.retry


async def test_tls_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    """Trusted when it is named, refused when it is not, told when the file is not there."""
    certificate = make_certificate(tmp_path)
    with Mosquitto(tmp_path, tls=certificate) as server:
        async with Listener(server) as listener, connected(server, ca_file=certificate.certificate) as sink:
            await sink.deliver(envelopes(alerts(1)))
            await until(lambda: listener.last("marginwatch/main/binance/P0/alert") is not None, "heard")
        for files in ({}, {"ca_file": tmp_path / "absent.pem"}):
            sink = sink_for(server, **files)
            with pytest.raises(SinkError):
                await sink.connect()
            await sink.close()


async def order(server: Mosquitto, name: str, payload: str, *, retain: bool = False) -> None:
    """Publish an order as mosquitto_pub does."""
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        await client.publish(f"marginwatch/order/{name}", payload, qos=1, retain=retain)


async def test_orders_are_taken_where_that_is_wanted_and_answered(server: Mosquitto) -> None:
    """Acknowledge, silence, end; what makes no sense is refused with the reason, and a kept order is never done."""
    desk = Desk()
    sink = build(MqttConfig(url=server.url, orders=True), Surroundings(SystemClock(), "box", handling=desk))
    answers: list[dict[str, Any]] = []
    async with Listener(server, "marginwatch/order/answer") as listener:
        await sink.connect()
        try:
            for name, payload, retain in (
                ("acknowledge", '{"key": "k", "by": "ann"}', False),
                ("silence", '{"subject": "binance/main", "for_s": 60, "reason": "moving", "by": "ann"}', False),
                ("unsilence", '{"id": "s0", "by": "bob"}', False),
                ("silence", '{"subject": "binance/main"}', False),
                ("acknowledge", '{"key": "kept", "by": "ann"}', True),
            ):
                before = len(listener.heard)
                await order(server, name, payload, retain=retain)

                async def answered(before: int = before) -> bool:
                    await sink.publish_state([], [])
                    return len(listener.heard) > before

                await until_answer(answered, f"answered: {name}")
                answers = [json.loads(heard.payload) for heard in listener.heard]
        finally:
            await sink.close()
    assert desk.orders == [("acknowledge", "k", "ann"), ("silence", "binance/main", "ann"), ("end", "s0", "bob")]
    assert [answer["ok"] for answer in answers] == [True, True, True, False, False]
    assert answers[3]["error"].startswith("for_s")


async def test_orders_are_not_heard_unless_that_is_wanted(server: Mosquitto) -> None:
    """Nor by the one of two monitors that follows."""
    for orders, leads in ((False, True), (True, False)):
        desk = Desk()
        around = Surroundings(
            SystemClock(),
            "box",
            handling=desk,
            accounts=[("binance", "main")],
            speaks=lambda account, leads=leads: leads,
        )
        sink = build(MqttConfig(url=server.url, orders=orders), around)
        async with Listener(server, "marginwatch/#") as listener:
            await sink.connect()
            try:
                await order(server, "acknowledge", '{"key": "k", "by": "ann"}')
                await until(lambda: any("/order/" in heard.topic for heard in listener.heard), "the order passed by")
                await sink.publish_state([], [])
            finally:
                await sink.close()
        assert desk.orders == []
