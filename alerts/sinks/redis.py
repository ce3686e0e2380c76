"""Redis: a stream to read at leisure, a channel to hear at once, and the pools' latest state in hashes that expire.

Two connections of redis-py, used without its client and pool: those reconnect and try again on their own, so a server
that was restarted and forgot everything would go unnoticed, and what fires would not be said to it again.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import Field, field_validator

from alerts.message import state_fields
from alerts.sink import Envelope, SinkConfig, Surroundings, Untended, check_url, refuse_password_in_url
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment

if TYPE_CHECKING:
    from redis.asyncio import Connection

DEFAULT_PREFIX = "marginwatch"
CLIENT_NAME = "marginwatch"

Command = tuple[str | bytes | int, ...]


class RedisConfig(SinkConfig):
    """``[sinks.redis]``. The URL may name user and database (``redis://user@host:6379/0``, ``rediss://`` for TLS).

    `stream_max` is about how many alerts the stream keeps.
    """

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
        return check_url(refuse_password_in_url(url, "password"), "redis", "rediss", "unix")


class RedisSink(Untended):
    """One connection for alerts and one for state, so that an alert never waits behind a page of states."""

    name = "redis"

    def __init__(self, config: RedisConfig, clock: Clock, make: Callable[[], "Connection"]) -> None:
        self.config = config
        self._clock = clock
        self._make = make
        self._alerts: Connection | None = None
        self._states: Connection | None = None
        self._topic = f"{config.prefix}:alerts"

    async def connect(self) -> None:
        """Open both connections and have each answer a PING."""
        self._alerts, self._states = self._make(), self._make()
        await self._ask(self._alerts, [("PING",)])
        await self._ask(self._states, [("PING",)])

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """XADD and PUBLISH every alert, in one write."""
        commands: list[Command] = []
        for envelope in batch:
            alert, topic = envelope.alert, self._topic
            fields = (
                "id", alert.id, "key", alert.key, "severity", alert.severity.label, "state", alert.state.value,
                "json", envelope.payload,
            )  # fmt: skip
            commands.append(("XADD", topic, "MAXLEN", "~", self.config.stream_max, "*", *fields))
            commands.append(("PUBLISH", topic, envelope.payload))
        await self._ask(self._alerts, commands)

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Write every pool's hash with its time to live, and delete those of pools that are gone."""
        now = self._clock.now()
        commands: list[Command] = [("DEL", self._key(pool)) for pool in gone]
        for pool in present:
            fields = (part for name, value in state_fields(pool, now).items() for part in (name, _text(value)))
            commands.append(("HSET", self._key(pool), *fields))
            commands.append(("EXPIRE", self._key(pool), self.config.state_ttl_s))
        await self._ask(self._states, commands or [("PING",)])

    async def close(self) -> None:
        """Drop both connections."""
        connections, self._alerts, self._states = (self._alerts, self._states), None, None
        for connection in connections:
            if connection is not None:
                await connection.disconnect(nowait=True)

    def _key(self, pool: PoolAssessment) -> str:
        return f"{self.config.prefix}:pool:{pool.pool}"

    async def _ask(self, connection: "Connection | None", commands: Sequence[Command]) -> None:
        """Send all commands in one write and read every answer; the first refusal is raised."""
        from hiredis import pack_command
        from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

        if connection is None:
            raise SinkError("redis is not connected")
        try:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
            await connection.send_packed_command(packed, check_health=False)
            for _ in commands:
                await connection.read_response()
        except (RedisError, OSError) as error:
            lasting = (AuthenticationError, NoPermissionError, ssl.SSLCertVerificationError)
            refused = any(isinstance(cause, lasting) for cause in _causes(error))
            raise SinkError(f"redis: {error}", retry=not refused) from error


def build(config: RedisConfig, surroundings: Surroundings) -> RedisSink:
    """Make the sink; nothing is connected yet. Raises SinkError when the client is not installed."""
    try:
        import hiredis  # noqa: F401 - packs the commands
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise SinkError(
            "the sink redis needs the package redis; install it with: pip install 'redis[hiredis]'"
        ) from error
    options: dict[str, Any] = {
        # The dispatcher bounds every call as a whole; a bound of the client's own costs a task for each write.
        "socket_timeout": None,
        "socket_connect_timeout": config.timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        "client_name": CLIENT_NAME,
    }
    if config.password is not None:
        options["password"] = config.password.reveal()
    if config.url.startswith("rediss:"):
        options |= _tls(config)
    pool = ConnectionPool.from_url(config.url, **options)
    return RedisSink(config, surroundings.clock, pool.make_connection)


def _tls(config: RedisConfig) -> Mapping[str, str]:
    names = {"ssl_ca_certs": config.ca_file, "ssl_certfile": config.cert_file, "ssl_keyfile": config.key_file}
    return {name: str(path) for name, path in names.items() if path is not None}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, or while handling: redis-py wraps the TLS error that says why."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _text(value: object) -> str | bytes:
    """A hash field: numbers as JSON writes them, nothing for what is unknown or does not apply, lists as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value)
