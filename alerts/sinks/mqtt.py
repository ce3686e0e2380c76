"""MQTT 5: alerts at QoS 1, the pools' state retained, and a status that the broker turns to offline by itself."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from alerts.sink import SinkConfig, check_scheme, refuse_password_in_url
from monitor.credential import Secret

DEFAULT_PREFIX = "marginwatch"


class MqttConfig(SinkConfig):
    """``[sinks.mqtt]``. The URL may name a user (``mqtt://user@host:1883``, ``mqtts://`` for TLS)."""

    url: str = "mqtt://127.0.0.1:1883"
    password: Secret | None = None
    prefix: Annotated[str, Field(min_length=1)] = DEFAULT_PREFIX
    client_id: Annotated[str, Field(min_length=1)] | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return refuse_password_in_url(check_scheme(url, "mqtt", "mqtts"), "password")

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if any(character in prefix for character in "+#\0") or prefix.startswith(("/", "$")) or prefix.endswith("/"):
            raise ValueError("must be a topic without + and #, not beginning with / or $ and not ending with /")
        return prefix
