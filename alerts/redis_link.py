"""One connection to Redis, with deadlines and errors of ours.

redis-py without its client and pool: those reconnect and try again on their own, so a server that was restarted and
forgot everything would go unnoticed.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from alerts.sink import TlsConfig, check_url, refuse_password_in_url
from monitor.credential import Secret
from monitor.errors import SinkError, words_of

if TYPE_CHECKING:
    from redis.asyncio import Connection

DEFAULT_PREFIX = "marginwatch"
CLIENT_NAME = "marginwatch"

Command = tuple[str | bytes | int, ...]


class RedisConfig(TlsConfig):
    """``[sinks.redis]``. The URL may name user and database (``redis://user@host:6379/0``, ``rediss://`` for TLS).

    `stream_max` is about how many alerts the stream keeps.
    """

    url: str = "redis://127.0.0.1:6379/0"
    password: Secret | None = None
    prefix: Annotated[str, Field(min_length=1)] = DEFAULT_PREFIX
    stream_max: Annotated[int, Field(ge=1)] = 10_000

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_url(refuse_password_in_url(url, "password"), "redis", "rediss", "unix")


class RedisLink:
    """A connection that is opened when it is first asked. The caller bounds every call in time."""

    def __init__(self, make: Callable[[], "Connection"]) -> None:
        self._make = make
        self._connection: Connection | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one write and read every answer. Raises SinkError; the first refusal counts.

        After any failure, or when the caller gave up waiting, `close` before asking again.
        """
        from hiredis import pack_command
        from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

        if self._connection is None:
            self._connection = self._make()
        try:
            if not self._connection.is_connected:
                await self._connection.connect()  # type: ignore[no-untyped-call]
            packed = b"".join([pack_command(command) for command in commands])  # type: ignore[arg-type]
            await self._connection.send_packed_command(packed, check_health=False)
            return [await self._connection.read_response() for _ in commands]
        except (RedisError, OSError) as error:
            lasting = (AuthenticationError, NoPermissionError, ssl.SSLCertVerificationError)
            refused = any(isinstance(cause, lasting) for cause in _causes(error))
            words = words_of(error)
            said = f"{words} ({_where(self._connection)})" if words else error
            raise SinkError(f"redis: {said}", retry=not refused) from error

    async def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def serves_nobody(error: BaseException) -> bool:
    """Whether no server is there, or one that still reads what it had: then nobody else is served by it, either."""
    from redis.exceptions import BusyLoadingError

    return any(isinstance(cause, ConnectionRefusedError | BusyLoadingError) for cause in _causes(error))


def connector(config: RedisConfig) -> Callable[[], "Connection"]:
    """What makes connections to the configured server. Raises SinkError when the client is not installed."""
    try:
        import hiredis  # noqa: F401 - packs the commands
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise SinkError("redis needs the package redis; install it with: pip install 'redis[hiredis]'") from error
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
    return pool.make_connection


def _tls(config: RedisConfig) -> Mapping[str, str]:
    names = {"ssl_ca_certs": config.ca_file, "ssl_certfile": config.cert_file, "ssl_keyfile": config.key_file}
    return {name: str(path) for name, path in names.items() if path is not None}


def _where(connection: "Connection | None") -> str:
    """Host and port, or the path of the socket."""
    path = getattr(connection, "path", None)
    return path or f"{getattr(connection, 'host', '')}:{getattr(connection, 'port', '')}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, or while handling: redis-py wraps the TLS error that says why."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
