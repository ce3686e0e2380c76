"""The Home Assistant sink against a real mosquitto, seen by what Home Assistant would make of it."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from pydantic import ValidationError

from alerts.alert import Alert, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.handling import EngineHandling
from alerts.message import encode
from alerts.sink import Envelope, Surroundings
from alerts.sinks.homeassistant import (
    BY,
    ORDERS_MAX,
    ORDERS_S,
    SETTLE_S,
    HomeAssistantConfig,
    HomeAssistantSink,
    build,
)
from monitor.clock import ManualClock
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment
from tests.support.homeassistant import house
from tests.support.mosquitto import Listener, Mosquitto
from tests.support.pools import a_leg, a_pool
from tests.support.server_process import until, until_answer

pytestmark = pytest.mark.integration

LONG = "BTCUSDT:long"
ORDERS = "marginwatch/homeassistant/order/main/binance"
CONFIG = "homeassistant/device/marginwatch__binance__main/config"
OWN = {"Monitor", "Account alerts", "Acknowledge account alerts", "Last order"}


def a_long(ratio: float = 0.3, **changes: Any) -> PoolAssessment:
    """An isolated long, far from every rung unless told otherwise."""
    return a_pool(ratio, scope=LONG, **{"legs": (a_leg(distance=0.4),), "distance": 0.4, **changes})


class Monitor:
    """A sink with the engine and the orders behind it, driven as the dispatcher does it."""

    def __init__(
        self, server: Mosquitto, clock: ManualClock, accounts: Sequence[str] = ("main",), **config: Any
    ) -> None:
        self.engine = Engine(AlertsConfig(), "box")
        self.clock = clock
        self.kept: Sequence[Silence] = ()
        self.unsent: list[Alert] = []
        handling = EngineHandling(self.engine, self.unsent.extend, self._keep, clock)
        section = HomeAssistantConfig(url=server.url, **{"timeout_s": 2.0, **config})
        names = [("binance", name) for name in accounts]
        self.speaks = True
        around = Surroundings(clock, "box", handling, accounts=names, speaks=lambda account: self.speaks)
        self.sink: HomeAssistantSink = build(section, around)
        self.pools: dict[str, PoolAssessment] = {}

    def _keep(self, silences: Sequence[Silence]) -> None:
        self.kept = silences

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(5):
            await self.sink.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sink.close()

    async def see(self, *pools: PoolAssessment) -> None:
        """These are all the pools now: a whole round of judging, delivering, publishing and tending."""
        now = self.clock.now()
        for pool in pools:
            self.unsent += self.engine.on_pool(pool, now)
        gone = [pool for name, pool in self.pools.items() if name not in {each.pool for each in pools}]
        for pool in gone:
            self.unsent += self.engine.on_pool_gone(pool.pool, now)
        self.unsent += self.engine.due(now)
        self.pools = {pool.pool: pool for pool in pools}
        await self.deliver()
        await self.sink.publish_state(pools, gone)
        await self.sink.tend(envelopes(self.engine.firing()))

    async def deliver(self) -> None:
        """Hand over what the engine said."""
        said, self.unsent[:] = list(self.unsent), []
        await self.sink.deliver(envelopes(said))


def envelopes(said: Iterable[Alert]) -> list[Envelope]:
    """Numbered from 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, 1)]


@pytest.fixture
def server(tmp_path: Path) -> Iterable[Mosquitto]:
    """A fresh broker."""
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still."""
    return ManualClock()


KINDS = ("margin ratio", "distance to liquidation", "liquidation price", "alerts", "acknowledge", "silence")
POOL_NAMES = [f"BTCUSDT long {kind}" for kind in KINDS]


async def test_entities_appear_move_and_go(server: Mosquitto, clock: ManualClock) -> None:
    """With their pool; an account without any is there all the same."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see()
        await ha.until_names(OWN)
        await ha.until("Monitor", "online")
        await monitor.see(a_long(0.3))
        await ha.until_names(OWN, *POOL_NAMES)
        await monitor.see(a_long(0.31))
        await ha.until("BTCUSDT long margin ratio", "31.0")
        await ha.until("BTCUSDT long alerts", "OFF")
        await monitor.see()
        await ha.until_names(OWN)
        assert len(ha.home.removed) == len(POOL_NAMES)
    documents = [orjson.loads(each.payload) for each in ha.listener.heard if each.topic == CONFIG]
    gone = [each for each in documents[-2]["cmps"].values() if len(each) == 1]
    assert len(gone) == len(POOL_NAMES), "the last but one names what went"
    assert all(len(each) > 1 for each in documents[-1]["cmps"].values()), "the last leaves it out"


async def test_what_has_not_changed_is_not_announced_again(server: Mosquitto, clock: ManualClock) -> None:
    """Home Assistant would go over every entity."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        for _ in range(3):
            await monitor.see(a_long())
        await ha.until("BTCUSDT long margin ratio", "30.0")
        assert len([each for each in ha.listener.heard if each.topic == CONFIG]) == 1


async def test_figures_are_said_again_and_again(server: Mosquitto, clock: ManualClock) -> None:
    """Their expiry tells a monitor that hangs; nothing but the announcement and the status is retained."""
    topic = "marginwatch/homeassistant/state/main/binance/BTCUSDT:long"
    async with house(server) as ha, Monitor(server, clock) as monitor:
        for _ in range(4):
            await monitor.see(a_long())
        await until(lambda: sum(each.topic == topic for each in ha.listener.heard) >= 4, "said again")
        async with Listener(server) as late:
            await monitor.see(a_long())
            await until(lambda: any(not each.retain for each in late.heard), "something new")
            kept = {each.topic for each in late.heard if each.retain}
        assert kept == {CONFIG, ha.hear().by_name("Monitor").config["state_topic"]}


async def test_an_alert_turns_its_problem_on_and_a_button_acknowledges(server: Mosquitto, clock: ManualClock) -> None:
    """At once, without a round of state in between."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long())
        await ha.until("BTCUSDT long alerts", "OFF")
        monitor.unsent += monitor.engine.on_pool(a_long(0.9), clock.now())
        await monitor.deliver()
        problem = await ha.until("BTCUSDT long alerts", "ON")
        assert problem.attributes["severity"] == "critical"
        assert problem.attributes["acknowledged"] is False
        await ha.press("BTCUSDT long acknowledge")
        await until(lambda: monitor.engine.firing()[0].acknowledged is not None, "acknowledged")
        acknowledged = monitor.engine.firing()[0].acknowledged
        assert acknowledged is not None
        assert acknowledged.by == BY
        await monitor.deliver()
        await until(lambda: ha.hear().by_name("BTCUSDT long alerts").attributes["acknowledged"], "shown")
        key = f"margin_ratio:binance/main/{LONG}"
        await ha.until("Last order", f"acknowledged for binance/main/{LONG}: {key}")


async def test_what_is_about_no_pool_is_acknowledged_with_the_account(server: Mosquitto, clock: ManualClock) -> None:
    """A failing sink, blindness, and pools that have no entities."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        monitor.unsent += monitor.engine.on_sink("redis", clock.now() - 60.0, 1, "refused", clock.now())
        await monitor.see()
        await ha.until("Account alerts", "ON")
        await ha.press("Acknowledge account alerts")
        await until(lambda: monitor.engine.firing()[0].acknowledged is not None, "acknowledged")
        await ha.press("Acknowledge account alerts")
        await monitor.deliver()
        await ha.press("Acknowledge account alerts")
        await ha.until("Last order", "acknowledged for binance/main: nothing fires that is not")


async def test_the_switch_silences_and_ends_the_silence(server: Mosquitto, clock: ManualClock) -> None:
    """For the configured time, by name; its state is what holds."""
    async with house(server) as ha, Monitor(server, clock, silence_s=600.0) as monitor:
        await monitor.see(a_long())
        await ha.until("BTCUSDT long silence", "OFF")
        await ha.turn("BTCUSDT long silence", "on")
        await ha.until("BTCUSDT long silence", "ON")
        (made,) = monitor.engine.silences()
        assert (made.subject, made.by, made.until) == (f"binance/main/{LONG}", BY, clock.now() + 600.0)
        assert not made.emergency
        clock.advance(60.0)
        await ha.turn("BTCUSDT long silence", "on")
        await until(lambda: monitor.engine.silences()[0].until == clock.now() + 600.0, "prolonged")
        assert len(monitor.engine.silences()) == 1
        await ha.turn("BTCUSDT long silence", "off")
        await ha.until("BTCUSDT long silence", "OFF")
        assert not monitor.kept


async def test_the_switch_follows_what_others_do(server: Mosquitto, clock: ManualClock) -> None:
    """On while somebody else silences the pool, off when that is over; what covers more is not ended from here."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long())
        handling = monitor.sink._handling
        assert handling is not None
        handling.silence("binance/main", 100.0, "eva", "moving house")
        await monitor.see(a_long())
        switch = await ha.until("BTCUSDT long silence", "ON")
        assert switch.attributes["by"] == "eva"
        await ha.turn("BTCUSDT long silence", "off")
        expected = f"ended the silence of binance/main/{LONG}; it is still silenced through binance/main, by eva"
        await ha.until("Last order", expected)
        assert switch.state == "ON"
        clock.advance(101.0)
        await monitor.see(a_long())
        await ha.until("BTCUSDT long silence", "OFF")


@pytest.mark.parametrize(
    ("order", "payload", "retain", "why"),
    [
        ("acknowledge", b"PRESS", True, "the order was retained, and would be carried out again at every start"),
        ("acknowledge", b"press", False, "acknowledge does not know this payload"),
        ("silence", b"PRESS", False, "silence does not know this payload"),
        ("silence", b"ON" * 100_000, False, "silence does not know this payload"),
    ],
    ids=["retained", "another word", "another's word", "a flood"],
)
async def test_orders_that_are_refused(
    server: Mosquitto, clock: ManualClock, order: str, payload: bytes, retain: bool, why: str
) -> None:
    """Nothing is done, and the reason is shown."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long(0.9))
        await ha.send(f"{ORDERS}/{LONG}/{order}", payload, retain=retain)
        await ha.until("Last order", f"refused for binance/main/{LONG}: {why}")
        assert monitor.engine.firing()[0].acknowledged is None
        assert not monitor.engine.silences()


async def test_an_order_that_was_retained_before_is_not_even_heard(server: Mosquitto, clock: ManualClock) -> None:
    """It would be carried out at every start."""
    async with house(server) as ha:
        await ha.send(f"{ORDERS}/{LONG}/silence", b"ON", retain=True)
        async with Monitor(server, clock) as monitor:
            await monitor.see(a_long())
            await monitor.see(a_long())
            await ha.until("Last order", "unknown")
            assert not monitor.engine.silences()


async def test_orders_for_what_is_not_there_do_nothing(server: Mosquitto, clock: ManualClock) -> None:
    """Neither for a pool that has closed, which is said, nor for an account that is not ours."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long(0.9))
        await ha.until("BTCUSDT long silence", "OFF")
        await ha.send(f"{ORDERS}/silence", b"ON")
        await ha.send(f"{ORDERS}/ETHUSDT:long/silence", b"ON")
        await ha.until("Last order", "refused: nothing is watched under ETHUSDT:long/silence")
        await ha.send("marginwatch/homeassistant/order/other/binance/USDT/silence", b"ON")
        await ha.turn("BTCUSDT long silence", "on")
        await ha.until("BTCUSDT long silence", "ON")
        assert [each.subject for each in monitor.engine.silences()] == [f"binance/main/{LONG}"]


async def test_a_program_gone_wild_is_stopped(server: Mosquitto, clock: ManualClock) -> None:
    """So many orders a minute are not a person's; a minute later they count again."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long())
        for _ in range(ORDERS_MAX):
            await ha.send(f"{ORDERS}/{LONG}/silence", b"OFF")
        await ha.send(f"{ORDERS}/{LONG}/silence", b"ON")
        await ha.until("Last order", f"refused for binance/main/{LONG}: more than {ORDERS_MAX} orders within a minute")
        assert not monitor.engine.silences()
        clock.advance(ORDERS_S + 1.0)
        await ha.turn("BTCUSDT long silence", "on")
        await ha.until("BTCUSDT long silence", "ON")


async def test_home_assistants_birth_is_answered_with_everything(server: Mosquitto, clock: ManualClock) -> None:
    """It has forgotten it; the next round says it all."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long())
        await ha.until_names(OWN, *POOL_NAMES)
        await ha.send("homeassistant/status", b"offline")
        await ha.send("homeassistant/status", b"online")

        async def announced_again() -> bool:
            await monitor.see(a_long())
            return sum(each.topic == CONFIG for each in ha.listener.heard) >= 2

        await until_answer(announced_again, "announced again")
        ha.hear()
        assert ha.home.names == {*OWN, *POOL_NAMES}


async def test_what_closed_while_nobody_watched_goes_after_a_while(server: Mosquitto, clock: ManualClock) -> None:
    """Not at once: after a start an account is not known yet, and what Home Assistant removes it forgets."""
    async with house(server) as ha:
        async with Monitor(server, clock) as monitor:
            await monitor.see(a_long(), a_pool(0.2))
        before = {*POOL_NAMES, *(each.replace("BTCUSDT long", "USDT") for each in POOL_NAMES)}
        await ha.until_names(OWN, *before)
        async with Monitor(server, clock) as monitor:
            await monitor.see()
            await monitor.see(a_pool(0.2))
            await ha.until("USDT margin ratio", "20.0")
            assert ha.hear().names == {*OWN, *before}
            clock.advance(SETTLE_S)
            await monitor.see(a_pool(0.2))
            await ha.until_names(OWN, *(each.replace("BTCUSDT long", "USDT") for each in POOL_NAMES))


async def test_only_the_riskiest_have_entities(server: Mosquitto, clock: ManualClock) -> None:
    """What fires for the others is shown by the account."""
    async with house(server) as ha, Monitor(server, clock, max_pools=2) as monitor:
        await monitor.see(*(a_pool(0.2, scope=f"P{n}") for n in range(4)))
        await until(lambda: len(ha.hear().names) == len(OWN) + 12, "two pools")
        shown = [each for each in ("P0", "P1", "P2", "P3") if f"{each} margin ratio" in ha.home.names]
        hidden = next(each for each in ("P0", "P1", "P2", "P3") if each not in shown)
        monitor.unsent += monitor.engine.on_pool(a_pool(0.75, scope=hidden), clock.now())
        await monitor.deliver()
        alerts = await ha.until("Account alerts", "ON")
        assert alerts.attributes["alerts"][0]["key"] == f"margin_ratio:binance/main/{hidden}"


async def test_two_monitors_on_one_broker_do_not_meet(server: Mosquitto, clock: ManualClock) -> None:
    """Each has devices, topics and a status of its own; one's end does not touch the other's."""
    async with house(server) as ha, Monitor(server, clock, ["other"]) as other:
        async with Monitor(server, clock) as monitor:
            await monitor.see(a_long())
            await other.see(a_pool(0.4, account="other"))
            await ha.until("USDT margin ratio", "40.0")
            await ha.until("BTCUSDT long margin ratio", "30.0")
        await ha.until("BTCUSDT long margin ratio", "unavailable")
        ratio = ha.home.by_name("USDT margin ratio")
        assert ratio.state == "40.0"
        assert ha.home.by_name("USDT silence").state == "OFF"


async def test_of_two_monitors_for_one_account_one_speaks(server: Mosquitto, clock: ManualClock) -> None:
    """The other says nothing and takes no orders until it takes over; its end leaves the first one online."""
    async with house(server) as ha, Monitor(server, clock) as first:
        async with Monitor(server, clock) as second:
            second.speaks = False
            await first.see(a_long(0.9))
            await second.see(a_pool(0.2))
            await ha.until("BTCUSDT long alerts", "ON")
            await ha.turn("BTCUSDT long silence", "on")
            await ha.until("BTCUSDT long silence", "ON")
            await second.see(a_pool(0.2))
            assert not second.engine.silences()
            assert ha.hear().names == {*OWN, *POOL_NAMES}
        status = ha.home.by_name("Monitor").config["state_topic"]
        await until(lambda: any(h.topic == status and h.payload == b"offline" for h in ha.listener.heard), "its end")
        await ha.until("Monitor", "online")


async def test_who_takes_over_announces_what_it_sees(server: Mosquitto, clock: ManualClock) -> None:
    """And takes away, after a while, what only the other had."""
    async with house(server) as ha, Monitor(server, clock) as second:
        second.speaks = False
        await second.see(a_pool(0.2))
        async with Monitor(server, clock) as first:
            await first.see(a_long(0.3), a_pool(0.2))
            await ha.until("BTCUSDT long margin ratio", "30.0")
        second.speaks = True
        await second.see(a_pool(0.25))
        await ha.until("USDT margin ratio", "25.0")
        assert "BTCUSDT long silence" in ha.home.names
        clock.advance(SETTLE_S)
        await second.see(a_pool(0.25))
        await ha.until_names(OWN, *(each.replace("BTCUSDT long", "USDT") for each in POOL_NAMES))


async def test_names_with_everything_in_them(server: Mosquitto, clock: ManualClock) -> None:
    """Wildcards, separators, spaces and other scripts reach Home Assistant whole."""
    scope = "1000币+#/ %:long"
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_pool(0.4, scope=scope))
        name = "1000币+#/ % long"
        await ha.until(f"{name} margin ratio", "40.0")
        await ha.turn(f"{name} silence", "on")
        await ha.until(f"{name} silence", "ON")
        assert monitor.engine.silences()[0].subject == f"binance/main/{scope}"


async def test_a_connection_that_breaks_makes_everything_unavailable(server: Mosquitto, clock: ManualClock) -> None:
    """By the will; and a new connection announces everything again."""
    async with house(server) as ha, Monitor(server, clock) as monitor:
        await monitor.see(a_long())
        await ha.until("BTCUSDT long silence", "OFF")
        link = monitor.sink._broker.link
        assert link is not None
        link.client._client.socket().close()
        await ha.until("Monitor", "offline")
        await ha.until("BTCUSDT long silence", "unavailable")


async def test_a_broker_that_has_forgotten_everything_is_told_again(server: Mosquitto, clock: ManualClock) -> None:
    """The next connection begins anew; what was gone before is not brought back."""
    async with Monitor(server, clock) as monitor:
        await monitor.see(a_long(), a_pool(0.2))
        server.kill()
        server.start()
        with pytest.raises(SinkError):
            await monitor.see(a_long())
        await monitor.sink.close()
        await monitor.sink.connect()
        async with house(server) as ha:
            await monitor.see(a_long())
            await monitor.see(a_long())
            await ha.until("BTCUSDT long margin ratio", "30.0")
            await ha.until_names(OWN, *POOL_NAMES)


async def test_accounts_that_come_later_are_taken_in(server: Mosquitto, clock: ManualClock) -> None:
    """After a reload of the configuration, for example."""
    async with house(server) as ha, Monitor(server, clock, []) as monitor:
        await monitor.see(a_long())
        await ha.until_names(OWN, *POOL_NAMES)
        await ha.turn("BTCUSDT long silence", "on")
        await ha.until("BTCUSDT long silence", "ON")


@pytest.mark.parametrize(
    "wrong",
    [{"discovery_prefix": "home/#"}, {"birth_topic": "+/status"}, {"silence_s": 0.5}, {"max_pools": 0}, {"prefix": ""}],
    ids=str,
)
def test_configurations_that_cannot_be(wrong: dict[str, Any]) -> None:
    """Topics with wildcards, silences without length, no entities at all."""
    with pytest.raises(ValidationError):
        HomeAssistantConfig(**wrong)
