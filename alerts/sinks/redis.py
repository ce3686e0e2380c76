"""Redis: a stream to read at leisure, a channel to hear at once, and the pools' latest state in hashes that expire."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from alerts.sink import SinkConfig, check_scheme, refuse_password_in_url
from monitor.credential import Secret

DEFAULT_PREFIX = "marginwatch"


class RedisConfig(SinkConfig):
    """``[sinks.redis]``. The URL may name user and database (``redis://user@host:6379/0``, ``rediss://`` for TLS)."""

    url: str = "redis://127.0.0.1:6379/0"
    password: Secret | None = None
    prefix: Annotated[str, Field(min_length=1)] = DEFAULT_PREFIX
    stream_max: Annotated[int, Field(ge=1)] = 10_000
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return refuse_password_in_url(check_scheme(url, "redis", "rediss", "unix"), "password")
