"""MQTT 5: alerts at QoS 1, the pools' state retained, and a status that the broker turns to offline by itself.

Retained state carries an expiry, so what a dead monitor left behind disappears. aiomqtt neither reconnects nor wakes
publications that wait when the connection is lost, and it swallows a broker's refusal: all three are done here.
"""

import asyncio
import logging
import re
import ssl
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import orjson
from pydantic import Field, field_validator

from alerts.alert import Alert
from alerts.message import state_fields
from alerts.sink import Envelope, SinkConfig, Surroundings, Untended, check_url, refuse_password_in_url
from monitor.clock import Clock
from monitor.credential import Secret
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment

if TYPE_CHECKING:
    import aiomqtt
    from paho.mqtt.properties import Properties

DEFAULT_PREFIX = "marginwatch"
DEFAULT_USER = "marginwatch"
KEEPALIVE_S = 10
ONLINE = b"online"
OFFLINE = b"offline"
GOODBYE_S = 0.5
PENDING_MAX = 1_000
"""Publications in flight from which the client complains in the log; a batch is far smaller."""
NO_SUBJECT = "-"
"""Stands for account and venue in the topic of an alert that belongs to none, such as a failing sink."""

_SILENT = logging.getLogger("alerts.sinks.mqtt.client")
"""The client's own log: it cries at every lost connection, which the dispatcher tells once."""
_SILENT.setLevel(logging.CRITICAL + 1)

_BREAKS_TOPIC = re.compile(r"[/+#%\x00-\x1f\x7f-\x9f]")


class MqttConfig(SinkConfig):
    """``[sinks.mqtt]``. The URL may name a user (``mqtt://user@host:1883``, ``mqtts://`` for TLS).

    A password without a user in the URL is that of the user ``marginwatch``. `client_id` is made up anew at every start
    when left out.
    """

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
        parts = urlsplit(check_url(refuse_password_in_url(url, "password"), "mqtt", "mqtts"))
        if not parts.hostname or parts.path.strip("/"):
            raise ValueError("must name a host and perhaps a port, and nothing behind them")
        return url

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if any(character in prefix for character in "+#\0") or prefix.startswith(("/", "$")) or prefix.endswith("/"):
            raise ValueError("must be a topic without + and #, not beginning with / or $ and not ending with /")
        return prefix


@dataclass(frozen=True, slots=True)
class _Link:
    """A connection that was accepted; `watch` ends when it is lost, and then ends the `waits` for acknowledgements."""

    client: "aiomqtt.Client"
    watch: asyncio.Task[None]
    waits: set[asyncio.Timeout]


class MqttSink(Untended):
    """One client a connection; the identifier stays the same, so that the broker ends a half-open predecessor."""

    name = "mqtt"

    def __init__(self, config: MqttConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._identifier = config.client_id or f"marginwatch-{uuid4().hex[:12]}"
        self._status_topic = f"{config.prefix}/status"
        self._opening: asyncio.Task[Any] | None = None
        self._link: _Link | None = None
        self._refusals: list[str] = []

    async def connect(self) -> None:
        """Connect and show the status as online."""
        if self._opening is not None and not self._opening.done():
            # aiomqtt connects in a thread that cannot be cancelled (say, with a resolver that hangs): one is enough.
            raise SinkError("mqtt: the last attempt to connect has not ended yet")
        self._refusals.clear()
        client = _make_client(self.config, self._identifier, self._status_topic, self._refusals)
        self._opening = asyncio.create_task(_enter(client))
        try:
            error = await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            # Our deadline came first. The attempt ends by itself, and nobody will use its connection.
            self._opening = asyncio.create_task(_abandon(self._opening, client))
            raise
        if error is not None:
            raise SinkError(f"mqtt: {error}", retry=not _is_refusal(error)) from error
        waits: set[asyncio.Timeout] = set()
        self._link = _Link(client, asyncio.create_task(_watch(client, waits)), waits)
        await self._publish(self._link, [client.publish(self._status_topic, ONLINE, qos=1, retain=True)])

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Publish every alert at QoS 1 and wait for the broker's acknowledgements."""
        link = self._linked()
        publish = link.client.publish
        await self._publish(link, [publish(self._topic(item.alert), item.payload, qos=1) for item in batch])

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Publish states retained, clear those of pools that are gone, and then the status, which is acknowledged.

        The status is said again and again because the will of a connection that died unseen may come late.
        """
        link, now, expiring = self._linked(), self._clock.now(), _expiring(self.config.state_ttl_s)
        publish = link.client.publish
        work = [publish(self._state_topic(pool), b"", qos=0, retain=True) for pool in gone]
        for pool in present:
            payload = orjson.dumps(state_fields(pool, now))
            work.append(publish(self._state_topic(pool), payload, qos=0, retain=True, properties=expiring))
        work.append(publish(self._status_topic, ONLINE, qos=1, retain=True))
        await self._publish(link, work)

    async def close(self) -> None:
        """Show the status as offline and disconnect, as far as the broker still answers."""
        link, self._link = self._link, None
        if link is None:
            return
        if not link.watch.done():
            with suppress(*_mqtt_errors(), TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await link.client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
        link.watch.cancel()
        await _leave(link.client)

    def _linked(self) -> _Link:
        if self._link is None:
            raise SinkError("mqtt is not connected")
        return self._link

    async def _publish(self, link: _Link, publications: list[Coroutine[Any, Any, None]]) -> None:
        """Publish these in order. Raises SinkError as soon as the connection is lost, or for a refusal."""
        wait = asyncio.timeout(0 if link.watch.done() else None)
        try:
            async with wait:
                link.waits.add(wait)
                if len(publications) == 1:
                    await publications[0]
                else:
                    await asyncio.gather(*publications)
        except TimeoutError:
            raise SinkError("mqtt: the connection was lost") from None
        except _mqtt_errors() as error:
            raise SinkError(f"mqtt: {error}") from error
        finally:
            link.waits.discard(wait)
        if self._refusals:
            raise SinkError(f"mqtt: the broker refused a message: {self._refusals[0]}", retry=False)

    def _topic(self, alert: Alert) -> str:
        account, venue = alert.account or NO_SUBJECT, alert.venue or NO_SUBJECT
        own = f"{alert.venue}/{alert.account}/"
        scope = alert.pool.removeprefix(own) if alert.pool is not None else alert.rule
        return topic(self.config.prefix, account, venue, scope, "alert")

    def _state_topic(self, pool: PoolAssessment) -> str:
        return topic(self.config.prefix, pool.account, pool.venue, pool.scope, "state")


def topic(prefix: str, *levels: str) -> str:
    """A topic below `prefix`; what would break it inside a level (``/ + # %``, controls) is percent-encoded."""
    return "/".join((prefix, *(_BREAKS_TOPIC.sub(_percent, level) or NO_SUBJECT for level in levels)))


def build(config: MqttConfig, surroundings: Surroundings) -> MqttSink:
    """Make the sink; nothing is connected yet. Raises SinkError when the client is not installed."""
    if find_spec("aiomqtt") is None:
        raise SinkError("the sink mqtt needs the package aiomqtt; install it with: pip install aiomqtt")
    return MqttSink(config, surroundings.clock)


def _make_client(config: MqttConfig, identifier: str, status_topic: str, refusals: list[str]) -> "aiomqtt.Client":
    import aiomqtt

    class Client(aiomqtt.Client):
        """Two of aiomqtt's callbacks improved. Should it rename them, only the improvements are gone."""

        # aiomqtt lets the event loop watch for the socket to be writable, which it nearly always is already; and it
        # does so later, when the socket may be closed.
        def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
            if threading.get_ident() == loop_thread:
                _write_now(loop, client, sock)
            else:
                loop.call_soon_threadsafe(_write_now, loop, client, sock)

        # aiomqtt takes any acknowledgement for success; MQTT 5 brokers refuse with one (no permission, quota).
        def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
            if reason_code.is_failure:
                refusals.append(str(reason_code))
            super()._on_publish(client, userdata, mid, reason_code, properties)

    loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()
    url = urlsplit(config.url)
    secure = url.scheme == "mqtts"
    client = Client(
        url.hostname or "",
        url.port or (8883 if secure else 1883),
        protocol=aiomqtt.ProtocolVersion.V5,
        username=unquote(url.username) if url.username else DEFAULT_USER if config.password else None,
        password=None if config.password is None else config.password.reveal(),
        identifier=identifier,
        will=aiomqtt.Will(status_topic, OFFLINE, qos=1, retain=True),
        timeout=config.timeout_s,
        keepalive=KEEPALIVE_S,
        tls_context=_tls_context(config) if secure else None,
        logger=_SILENT,
    )
    client.pending_calls_threshold = PENDING_MAX
    return client


async def _enter(client: "aiomqtt.Client") -> Exception | None:
    """Connect; returns the error, with the client's socket closed, instead of raising it into an empty room."""
    try:
        await client.__aenter__()
    except _mqtt_errors() as error:
        await _leave(client)
        return error
    return None


async def _abandon(opening: asyncio.Task[Any], client: "aiomqtt.Client") -> None:
    """Wait for a connection that came too late, and leave it."""
    await opening
    await _leave(client)


async def _leave(client: "aiomqtt.Client") -> None:
    """Disconnect and close the socket, whatever state the client is in."""
    client.timeout = GOODBYE_S
    with suppress(*_mqtt_errors()):
        await client.__aexit__(None, None, None)
    ended = getattr(client, "_disconnected", None)
    if isinstance(ended, asyncio.Future) and ended.done() and not ended.cancelled():
        ended.exception()  # looked at, so that asyncio does not complain that nobody did


def _write_now(loop: asyncio.AbstractEventLoop, client: Any, sock: Any) -> None:
    """Write what waits; let the loop write the rest when the socket takes more."""
    if sock.fileno() < 0:
        return
    client.loop_write()
    if client.want_write() and sock.fileno() >= 0:
        loop.add_writer(sock.fileno(), client.loop_write)


async def _watch(client: "aiomqtt.Client", waits: set[asyncio.Timeout]) -> None:
    """Return when the connection is lost, having ended the `waits`; nothing is subscribed, so no message comes."""
    with suppress(*_mqtt_errors()):
        async for _ in client.messages:
            pass
    for wait in waits:
        if not wait.expired():
            wait.reschedule(0)


def _mqtt_errors() -> tuple[type[Exception], ...]:
    from aiomqtt import MqttError

    return MqttError, OSError, ValueError


def _is_refusal(error: Exception) -> bool:
    """Whether the broker said no to us, rather than nothing at all."""
    from aiomqtt.exceptions import MqttConnectError

    return isinstance(error, MqttConnectError)


def _expiring(ttl_s: int) -> "Properties":
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = ttl_s
    return properties


def _tls_context(config: MqttConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except OSError as error:
        raise SinkError(f"mqtt: TLS files cannot be used: {error}", retry=False) from error
    return context


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())
