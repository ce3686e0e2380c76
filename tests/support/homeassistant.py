"""Home Assistant as far as its documents say how it behaves: what it takes over MQTT, and what it shows.

The tables below are the checked part of
https://www.home-assistant.io/integrations/mqtt/ (discovery topic, device discovery payload, abbreviations, removing a
component) and of the pages sensor.mqtt, binary_sensor.mqtt, button.mqtt and switch.mqtt beside it, held against the
schemas of home-assistant/core, homeassistant/components/mqtt/schemas.py and the platforms' own files. Home Assistant
ignores keys that it does not know; here they are faults, for whoever sends one means something by it.
"""

import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import aiomqtt
import orjson
from jinja2 import Environment

from tests.support.mosquitto import Listener, Mosquitto
from tests.support.server_process import until

UNAVAILABLE = "unavailable"
UNKNOWN = "unknown"
DISCOVERY_TOPIC = re.compile(r"(?P<component>\w+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<object>[a-zA-Z0-9_-]+)/config")

_JINJA = Environment(autoescape=False)  # noqa: S701 - what it renders is no HTML


def text(value: Any) -> bool:
    """A string that says something."""
    return isinstance(value, str) and bool(value.strip())


def wire_topic(value: Any) -> bool:
    """A topic without wildcards and controls, as `valid_subscribe_topic` and `valid_publish_topic` ask for."""
    return text(value) and not re.search(r"[+#\x00-\x1f\x7f-\x9f]", value) and len(value.encode()) <= 65_535


def template(value: Any) -> bool:
    """A template that Jinja takes."""
    return text(value) and bool(_JINJA.from_string(value))


def positive(value: Any) -> bool:
    """A whole number, zero or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def icon(value: Any) -> bool:
    """``mdi:name``."""
    return text(value) and re.fullmatch(r"mdi:[a-z0-9-]+", value) is not None


def one_of(*allowed: Any) -> Callable[[Any], bool]:
    """One of these."""
    return lambda value: value in allowed


Checks = Mapping[str, Callable[[Any], bool]]

ABBREVIATIONS = {
    "avty_t": "availability_topic",
    "cmd_t": "command_topic",
    "cmps": "components",
    "dev": "device",
    "dev_cla": "device_class",
    "ent_cat": "entity_category",
    "exp_aft": "expire_after",
    "ic": "icon",
    "json_attr_t": "json_attributes_topic",
    "json_attr_tpl": "json_attributes_template",
    "o": "origin",
    "p": "platform",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "pl_prs": "payload_press",
    "stat_cla": "state_class",
    "stat_t": "state_topic",
    "sug_dsp_prc": "suggested_display_precision",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}
DEVICE_ABBREVIATIONS = {"ids": "identifiers", "mf": "manufacturer", "mdl": "model", "sw": "sw_version"}
ORIGIN_ABBREVIATIONS = {"sw": "sw_version"}

DEVICE: Checks = {
    "identifiers": lambda value: isinstance(value, list) and bool(value) and all(map(text, value)),
    "name": text,
    "manufacturer": text,
    "model": text,
    "sw_version": text,
}
ORIGIN: Checks = {"name": text, "sw_version": text}

ENTITY: Checks = {
    "platform": text,
    "unique_id": text,
    "name": text,
    "availability_topic": wire_topic,
    "entity_category": one_of("config", "diagnostic"),
    "icon": icon,
    "json_attributes_topic": wire_topic,
    "json_attributes_template": template,
}
READ: Checks = {"state_topic": wire_topic, "value_template": template}
PLATFORMS: Mapping[str, tuple[frozenset[str], Checks]] = {
    "sensor": (
        frozenset({"state_topic"}),
        {
            **READ,
            "expire_after": positive,
            "state_class": one_of("measurement", "total", "total_increasing"),
            "suggested_display_precision": positive,
            "unit_of_measurement": text,
        },
    ),
    "binary_sensor": (
        frozenset({"state_topic"}),
        {
            **READ,
            "device_class": one_of("problem", "connectivity"),
            "expire_after": positive,
            "payload_on": text,
            "payload_off": text,
        },
    ),
    "button": (frozenset({"command_topic"}), {"command_topic": wire_topic, "payload_press": text}),
    "switch": (
        frozenset({"command_topic"}),
        {**READ, "command_topic": wire_topic, "payload_on": text, "payload_off": text},
    ),
}
"""Platform to the keys that it must have, and all that it may have beside those of every entity."""


def expanded(document: Mapping[str, Any], abbreviations: Mapping[str, str]) -> dict[str, Any]:
    """The document with whole words for keys."""
    return {abbreviations.get(key, key): value for key, value in document.items()}


def check(document: Mapping[str, Any], checks: Checks, what: str) -> None:
    """Every key is known and its value fits."""
    for key, value in document.items():
        assert key in checks, f"{what}: nobody reads {key}"
        assert checks[key](value), f"{what}: {key} = {value!r}"


def check_discovery(topic: str, payload: bytes, prefix: str = "homeassistant") -> dict[str, dict[str, Any]]:
    """Check a device's document; returns its components, in whole words, by component id."""
    found = DISCOVERY_TOPIC.fullmatch(topic.removeprefix(f"{prefix}/"))
    assert found, topic
    assert (found["component"], found["node"]) == ("device", None)
    document = expanded(orjson.loads(payload), ABBREVIATIONS)
    assert set(document) == {"device", "origin", "components"}
    device, origin = (
        expanded(document["device"], DEVICE_ABBREVIATIONS),
        expanded(document["origin"], ORIGIN_ABBREVIATIONS),
    )
    check(device, DEVICE, "device")
    check(origin, ORIGIN, "origin")
    assert device["identifiers"]
    assert origin["name"]
    components = {key: expanded(each, ABBREVIATIONS) for key, each in document["components"].items()}
    for key, component in components.items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", key), key
        _check_component(key, component)
    names = [each["name"] for each in components.values() if "name" in each]
    assert len(names) == len(set(names)), "two entities of one name"
    identifiers = [each["unique_id"] for each in components.values() if "unique_id" in each]
    assert len(identifiers) == len(set(identifiers)), "two entities of one unique_id"
    return components


def _check_component(key: str, component: dict[str, Any]) -> None:
    assert component["platform"] in PLATFORMS, component
    if len(component) == 1:
        return  # to be removed
    required, own = PLATFORMS[component["platform"]]
    check(component, {**ENTITY, **own}, key)
    assert {"unique_id", "name", *required} <= set(component), key


@dataclass
class Entity:
    """One entity and what it has heard."""

    config: dict[str, Any]
    available: bool | None = None
    value: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What Home Assistant shows."""
        if "availability_topic" in self.config and not self.available:
            return UNAVAILABLE
        if self.value is None:
            return UNAVAILABLE if "expire_after" in self.config else UNKNOWN
        return UNKNOWN if self.value == "None" else self.value


class HomeAssistant:
    """Hears messages in their order, and keeps entities by unique id as documented."""

    def __init__(self, prefix: str = "homeassistant") -> None:
        self.prefix = prefix
        self.entities: dict[str, Entity] = {}
        self.removed: list[str] = []
        self._owned: dict[tuple[str, str], str] = {}
        self._retained: dict[str, bytes] = {}

    def hear(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Take one message. What was published with `retain` is heard again by entities that come later."""
        if retain:
            self._retained[topic] = payload
        if topic.startswith(f"{self.prefix}/device/"):
            self._discover(topic, payload)
        for entity in self.entities.values():
            self._update(entity, topic, payload)

    def by_name(self, name: str) -> Entity:
        """The entity of this name; fails when there is none or are several."""
        (found,) = [entity for entity in self.entities.values() if entity.config["name"] == name]
        return found

    @property
    def names(self) -> set[str]:
        """The names of all entities."""
        return {entity.config["name"] for entity in self.entities.values()}

    def _discover(self, topic: str, payload: bytes) -> None:
        for key, component in check_discovery(topic, payload, self.prefix).items():
            if len(component) == 1:
                identifier = self._owned.pop((topic, key), None)
                if identifier is not None:
                    self.removed.append(identifier)
                    del self.entities[identifier]
                continue
            identifier = component["unique_id"]
            before = self.entities.get(identifier)
            assert before is None or self._owned.get((topic, key)) == identifier, "a unique_id of somebody else"
            self._owned[topic, key] = identifier
            if before is None:
                self.entities[identifier] = Entity(component)
                for kept, value in self._retained.items():
                    self._update(self.entities[identifier], kept, value)
            else:
                before.config = component

    def _update(self, entity: Entity, topic: str, payload: bytes) -> None:
        config = entity.config
        if config.get("availability_topic") == topic:
            entity.available = {b"online": True, b"offline": False}[payload]
        if config.get("json_attributes_topic") == topic:
            found = orjson.loads(_render(config["json_attributes_template"], payload))
            assert isinstance(found, dict), found
            entity.attributes = found
        if config.get("state_topic") == topic:
            value = _render(config["value_template"], payload) if "value_template" in config else payload.decode()
            self._check_value(config, value)
            entity.value = value

    def _check_value(self, config: dict[str, Any], value: str) -> None:
        assert value, f"{config['name']} renders to nothing"
        if value == "None":
            return
        if "state_class" in config:
            assert isfinite(float(value)), config["name"]
        elif config["platform"] in {"binary_sensor", "switch"}:
            assert value in {config["payload_on"], config["payload_off"]}, config["name"]
        else:
            assert len(value) <= 255


def _render(source: str, payload: bytes) -> str:
    return _JINJA.from_string(source).render(value=payload.decode(), value_json=orjson.loads(payload)).strip()


class House:
    """A Home Assistant that listens to the broker and sends orders."""

    def __init__(self, server: Mosquitto, listener: Listener) -> None:
        self.home = HomeAssistant()
        self._server = server
        self.listener = listener
        self._next = 0

    def hear(self) -> HomeAssistant:
        """Take over what came since the last time."""
        for heard in self.listener.heard[self._next :]:
            self.home.hear(heard.topic, heard.payload, retain=heard.retain)
            self._next += 1
        return self.home

    async def until(self, name: str, state: str) -> Entity:
        """Wait until an entity shows a state."""

        def holds() -> bool:
            return name in self.hear().names and self.home.by_name(name).state == state

        await until(holds, f"{name} is {state}; heard: {self.listener.heard[-6:]}")
        return self.home.by_name(name)

    async def until_holds(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        await until(holds, f"{what}; heard: {self.listener.heard[-6:]}")

    async def until_names(self, some: Collection[str], *more: str) -> None:
        """Wait until there are exactly these entities."""
        await until(lambda: self.hear().names == {*some, *more}, f"entities {more}; there are {self.home.names}")

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish something."""
        async with aiomqtt.Client("127.0.0.1", self._server.port, timeout=5) as client:
            await client.publish(topic, payload, qos=1, retain=retain)

    async def press(self, name: str) -> None:
        """Press a button."""
        config = self.hear().by_name(name).config
        await self.send(config["command_topic"], config["payload_press"].encode())

    async def turn(self, name: str, which: str) -> None:
        """Turn a switch ``on`` or ``off``."""
        config = self.hear().by_name(name).config
        await self.send(config["command_topic"], config[f"payload_{which}"].encode())


@asynccontextmanager
async def house(server: Mosquitto) -> AsyncIterator[House]:
    """A Home Assistant beside the broker."""
    async with Listener(server, as_published=True) as listener:
        yield House(server, listener)
