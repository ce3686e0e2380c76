"""Sinks: one file each, one line in `SINKS`. Clients that are optional are imported in the factory that needs them."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from alerts.redis_link import RedisConfig
from alerts.sink import Sink, Surroundings
from alerts.sinks import alertmanager, console, homeassistant, mqtt, push, redis
from alerts.sinks.alertmanager import AlertmanagerConfig
from alerts.sinks.console import ConsoleConfig
from alerts.sinks.homeassistant import HomeAssistantConfig
from alerts.sinks.mqtt import MqttConfig
from alerts.sinks.push import PushConfig

SINKS: Mapping[str, Callable[[Any, Surroundings], Sink]] = {
    "console": console.build,
    "redis": redis.build,
    "mqtt": mqtt.build,
    "homeassistant": homeassistant.build,
    "push": push.build,
    "alertmanager": alertmanager.build,
}


class SinksConfig(BaseModel):
    """``[sinks]``: a section switches its sink on; only the console is on by itself. A field bears its sink's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    console: ConsoleConfig = ConsoleConfig()
    redis: RedisConfig | None = None
    mqtt: MqttConfig | None = None
    homeassistant: HomeAssistantConfig | None = None
    push: PushConfig | None = None
    alertmanager: AlertmanagerConfig | None = None


def sections(config: SinksConfig) -> Mapping[str, Any]:
    """The sections of the sinks that are on, by name."""
    found = {name: getattr(config, name) for name in SINKS}
    return {name: each for name, each in found.items() if each is not None and getattr(each, "enabled", True)}


def build(config: SinksConfig, surroundings: Surroundings) -> list[Sink]:
    """Make every sink that is on; nothing is connected yet. Raises SinkError when a client is not installed."""
    return [SINKS[name](section, surroundings) for name, section in sections(config).items()]
