"""Sinks: one file each, one line in `SINKS`. Clients that are optional are imported in the factory that needs them."""

from pydantic import BaseModel, ConfigDict

from alerts.sinks.console import ConsoleConfig
from alerts.sinks.mqtt import MqttConfig
from alerts.sinks.redis import RedisConfig


class SinksConfig(BaseModel):
    """``[sinks]``: a section switches its sink on; only the console is on by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    console: ConsoleConfig = ConsoleConfig()
    redis: RedisConfig | None = None
    mqtt: MqttConfig | None = None
