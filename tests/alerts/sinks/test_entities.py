"""What Home Assistant is told, against what its documents say it takes."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Acknowledgement, Alert, Silence
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.sinks._entities import (
    ALERTS_MAX,
    PERCENT_MAX,
    Home,
    Subject,
    account_state,
    choose,
    components,
    concerning,
    device_id,
    discovery,
    discovery_topic,
    identifier,
    order_topic,
    orders_filter,
    platforms,
    pool_state,
    remembered,
    state_topic,
    subject_of,
)
from monitor.model.assessment import PoolAssessment
from tests.support.homeassistant import HomeAssistant, check_discovery
from tests.support.pools import a_leg, a_pool

NOW = 1_790_000_000.0
HOME = Home("marginwatch", "homeassistant", "marginwatch/homeassistant/status/ab", 30, "1.2.3")
MAIN = Subject("binance", "main")
POOL = Subject("binance", "main", "BTCUSDT:long")
FIGURES = ("margin ratio", "distance to liquidation", "liquidation price")


def firing(*pools: PoolAssessment) -> list[Alert]:
    """What an engine says about these pools."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for pool in pools for alert in engine.on_pool(pool, NOW)]


def silence(subject: str, until: float = NOW + 60.0, by: str = "eva") -> Silence:
    """A silence that began a moment ago."""
    return Silence("id", subject, until, by, "known", emergency=False, at=NOW)


def shown(pool: PoolAssessment, said: list[Alert] = [], quiet: Silence | None = None) -> HomeAssistant:  # noqa: B006
    """What Home Assistant shows of one pool."""
    home = HomeAssistant()
    subject = subject_of(pool)
    document = discovery(HOME, subject.owner, [subject], {}, {})
    home.hear(discovery_topic(HOME, subject.owner), orjson.dumps(document))
    home.hear(HOME.status_topic, b"online")
    home.hear(state_topic(HOME, subject), orjson.dumps(pool_state(pool, said, quiet)))
    return home


def test_an_account_is_a_device_and_a_pool_six_entities() -> None:
    """With a monitor, alerts, a button and the last order for the account; all as the documents ask for."""
    document = discovery(HOME, MAIN, [POOL], {}, {})
    found = check_discovery(discovery_topic(HOME, MAIN), orjson.dumps(document))
    assert {each["name"]: each["platform"] for each in found.values()} == {
        "Monitor": "binary_sensor",
        "Account alerts": "binary_sensor",
        "Acknowledge account alerts": "button",
        "Last order": "sensor",
        "BTCUSDT long margin ratio": "sensor",
        "BTCUSDT long distance to liquidation": "sensor",
        "BTCUSDT long liquidation price": "sensor",
        "BTCUSDT long alerts": "binary_sensor",
        "BTCUSDT long acknowledge": "button",
        "BTCUSDT long silence": "switch",
    }
    classes = {each["name"]: each.get("device_class") for each in found.values()}
    assert classes["Monitor"] == "connectivity"
    assert classes["BTCUSDT long alerts"] == "problem"
    assert document["dev"]["ids"] == ["marginwatch__binance__main"]
    assert document["o"]["name"] == "marginwatch"


def test_unique_ids_never_change() -> None:
    """They are what Home Assistant keeps a person's names and history by: written down here, for ever."""
    found = components(HOME, MAIN, [POOL])
    own = [each["uniq_id"].removeprefix("marginwatch__binance__main__") for each in found.values()]
    assert own == [
        "monitor",
        "alerts",
        "acknowledge",
        "last_order",
        "BTCUSDT_3along__margin_ratio",
        "BTCUSDT_3along__distance",
        "BTCUSDT_3along__liquidation_price",
        "BTCUSDT_3along__alerts",
        "BTCUSDT_3along__acknowledge",
        "BTCUSDT_3along__silence",
    ]


def test_without_anybody_to_carry_out_orders_there_is_nothing_to_press() -> None:
    """No button, no switch, no last order."""
    found = components(replace(HOME, takes_orders=False), MAIN, [POOL])
    assert set(platforms(found).values()) == {"sensor", "binary_sensor"}
    assert "last_order" not in found


def test_every_entity_goes_with_the_monitor_but_the_one_that_says_so() -> None:
    """Availability is the status that the broker turns; figures and problems also expire."""
    found = components(HOME, MAIN, [POOL])
    assert {key for key, each in found.items() if each.get("avty_t") != HOME.status_topic} == {"monitor"}
    assert found["monitor"]["stat_t"] == HOME.status_topic
    reading = {"sensor", "binary_sensor"}
    assert all(each.get("exp_aft") == 30 for key, each in found.items() if each["p"] in reading and key != "monitor")


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_identifiers_are_safe_and_tell_apart(one: list[str], other: list[str]) -> None:
    """Of allowed characters only, and the same only for the same parts."""
    assert set(identifier(*one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert (identifier(*one) == identifier(*other)) == (one == other)


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_makes_a_valid_device(account: str, scope: str) -> None:
    """Whatever an instrument is called."""
    owner = Subject("binance", account)
    document = discovery(HOME, owner, [Subject("binance", account, f"S{scope}")], {}, {})
    check_discovery(discovery_topic(HOME, owner), orjson.dumps(document))


def test_no_two_subjects_share_a_topic() -> None:
    """Not even an account and a pool with the name of an action."""
    subjects = [
        MAIN,
        POOL,
        Subject("binance", "main", "acknowledge"),
        Subject("binance", "a/b"),
        Subject("b", "a", "b"),
    ]
    topics = {order_topic(HOME, each, "acknowledge") for each in subjects} | {state_topic(HOME, s) for s in subjects}
    assert len(topics) == 2 * len(subjects)
    assert order_topic(HOME, POOL, "silence") == "marginwatch/homeassistant/order/main/binance/BTCUSDT:long/silence"
    assert orders_filter(HOME, MAIN) == "marginwatch/homeassistant/order/main/binance/#"
    assert device_id(HOME, MAIN) != device_id(replace(HOME, prefix="other"), MAIN)


def test_figures_are_shown_in_per_cent() -> None:
    """Ratio, distance, and the price of the leg that comes first."""
    legs = (a_leg("ETHUSDT", distance=0.2, liquidation_price=2_000.0), a_leg(distance=0.02))
    home = shown(a_pool(0.75, legs=legs, distance=0.02))
    assert [home.by_name(f"USDT {each}").state for each in FIGURES] == ["75.0", "2.0", "57820.0"]
    assert home.by_name("USDT liquidation price").attributes == {"instrument": "BTCUSDT", "side": "long"}
    assert home.by_name("USDT margin ratio").attributes["basis"] == "computed"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"margin_ratio": nan, "distance": nan, "unknown": ("no mark",)}, ["unknown", "unknown", "unknown"]),
        ({"stale": True, "distance": 0.02, "legs": (a_leg(),)}, ["unknown", "unknown", "unknown"]),
        ({"distance": None}, ["75.0", "unknown", "unknown"]),
        ({"margin_ratio": inf}, [str(PERCENT_MAX), "unknown", "unknown"]),
        ({"margin_ratio": 1e9}, [str(PERCENT_MAX), "unknown", "unknown"]),
        ({"distance": -0.5, "legs": (a_leg(distance=-0.5),)}, ["75.0", "-50.0", "57820.0"]),
    ],
    ids=["cannot be computed", "marks are old", "no liquidation price", "endless", "beyond all", "past it"],
)
def test_what_is_unknown_is_never_zero(changes: dict[str, Any], expected: list[str]) -> None:
    """Nor does an endless ratio hide as unknown."""
    home = shown(a_pool(0.75, **changes))
    assert [home.by_name(f"USDT {each}").state for each in FIGURES] == expected


def test_old_marks_are_named() -> None:
    """The reason why a figure is unknown stands beside it."""
    assert shown(a_pool(0.75, stale=True)).by_name("USDT margin ratio").attributes["unknown"] == ["the figures are old"]


def test_a_problem_is_on_while_an_alert_fires_and_says_the_worst_first() -> None:
    """With its words, and whether somebody has seen it."""
    pool = a_pool(0.96, distance=0.04, legs=(a_leg(distance=0.04),))
    said = firing(pool)
    problem = shown(pool, said).by_name("USDT alerts")
    assert problem.state == "ON"
    assert problem.attributes["severity"] == "emergency"
    assert problem.attributes["text"] == said[0].text
    assert [each["key"] for each in problem.attributes["alerts"]] == [
        "margin_ratio:binance/main/USDT",
        "distance:binance/main/USDT",
    ]
    assert problem.attributes["acknowledged"] is False
    seen = [replace(alert, acknowledged=Acknowledgement("eva", NOW)) for alert in said]
    assert shown(pool, seen).by_name("USDT alerts").attributes["acknowledged"] is True
    calm = shown(pool).by_name("USDT alerts")
    assert (calm.state, calm.attributes["severity"], calm.attributes["acknowledged"]) == ("OFF", None, False)


def test_very_many_alerts_are_counted_and_some_are_spelt_out() -> None:
    """Attributes stay small."""
    said = firing(*(a_pool(0.75, scope=f"P{n}") for n in range(ALERTS_MAX + 5)))
    attributes = account_state(said, "x" * 1_000)["alerts"]
    assert (attributes["count"], len(attributes["alerts"])) == (ALERTS_MAX + 5, ALERTS_MAX)
    assert len(account_state(said, "x" * 1_000)["last_order"]) == 255


def test_the_switch_is_on_while_the_pool_is_silent() -> None:
    """Whoever made it so, and it says who."""
    switch = shown(a_pool(0.75), [], silence("binance/main")).by_name("USDT silence")
    assert switch.state == "ON"
    assert switch.attributes["by"] == "eva"
    assert switch.attributes["subject"] == "binance/main"
    assert shown(a_pool(0.75)).by_name("USDT silence").state == "OFF"


def test_every_alert_is_shown_somewhere() -> None:
    """Those of a pool with entities there, all others with the account; what has no account with every one."""
    engine = Engine(AlertsConfig(), "box")
    said = [*engine.on_pool(a_pool(0.75), NOW), *engine.on_pool(a_pool(0.75, scope="OTHER"), NOW)]
    said += engine.on_sink("redis", 0.0, 1, "refused", 60.0)
    usdt, other, sink = said
    pool, hedge = Subject("binance", "main", "USDT"), Subject("binance", "hedge")
    assert concerning([MAIN, pool, hedge], said, frozenset({pool.pool})) == {
        MAIN: [other, sink],
        pool: [usdt],
        hedge: [sink],
    }


def test_the_riskiest_have_entities() -> None:
    """An unknown ratio counts as 1.0; there is no more room than configured."""
    pools = {p.pool: p for p in (a_pool(r, scope=s) for r, s in ((0.1, "A"), (nan, "B"), (1.5, "C"), (0.5, "D")))}
    assert choose([], pools, 2) == ["binance/main/C", "binance/main/B"]
    assert len(choose([], pools, 10)) == 4


def test_pools_about_as_risky_do_not_change_places() -> None:
    """Only one that is clearly worse takes the place of another, which then does not come back at once."""
    held, near, far = "binance/main/A", "binance/main/B", "binance/main/C"
    pools = {held: a_pool(0.50, scope="A"), near: a_pool(0.60, scope="B")}
    assert choose([held], pools, 1) == [held]
    pools[far] = a_pool(0.70, scope="C")
    assert choose([held], pools, 1) == [far]
    assert choose([far], pools, 1) == [far]
    del pools[far]
    assert choose([far], pools, 1) == [near]


@given(st.dictionaries(st.sampled_from("ABCDEF"), st.floats(0, 2), max_size=6), st.lists(st.sampled_from("ABCDEF")))
def test_as_many_have_entities_as_may(ratios: dict[str, float], before: list[str]) -> None:
    """Each once, only pools that there are, and no room is left over."""
    pools = {name: a_pool(ratio, scope=name) for name, ratio in ratios.items()}
    chosen = choose(list(dict.fromkeys(before)), pools, 3)
    assert len(chosen) == len(set(chosen)) == min(3, len(pools))
    assert set(chosen) <= set(pools)


def test_what_goes_is_named_first_and_with_its_platform_only() -> None:
    """And taken away by Home Assistant, while the rest stays."""
    home, where = HomeAssistant(), discovery_topic(HOME, MAIN)
    home.hear(where, orjson.dumps(discovery(HOME, MAIN, [POOL], {}, {})))
    gone = {k: p for k, p in platforms(components(HOME, MAIN, [POOL])).items() if k not in components(HOME, MAIN, [])}
    document = discovery(HOME, MAIN, [], {}, gone)
    assert list(document["cmps"])[:6] == list(gone)
    home.hear(where, orjson.dumps(document))
    assert home.names == {"Monitor", "Account alerts", "Acknowledge account alerts", "Last order"}


def test_what_was_announced_is_read_back() -> None:
    """What an earlier run left at the broker."""
    document = discovery(HOME, MAIN, [POOL], {}, {})
    assert remembered(orjson.dumps(document)) == document["cmps"]


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b'{"cmps": []}', b'{"cmps": {"a": 1}}', b'{"cmps": {"a": {"p": 2}}}', b"\xff"],
)
def test_anything_else_at_the_broker_is_nothing(payload: bytes) -> None:
    """Whoever put it there."""
    assert remembered(payload) == {}
