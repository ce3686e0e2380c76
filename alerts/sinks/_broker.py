"""One connection to an MQTT 5 broker at a time, with deadlines of ours; for the sinks that speak MQTT.

aiomqtt neither reconnects nor wakes publications that wait when the connection is lost, and it swallows a broker's
refusal: all three are done here.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pydantic import Field, field_validator

from alerts.sink import TlsConfig, check_url, refuse_password_in_url
from monitor.credential import Secret
from monitor.errors import SinkError, words_of

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
INCOMING_MAX = 1_000
"""Messages heard and not yet looked at; past it the client drops them. They are looked at as they come."""
NO_SUBJECT = "-"
"""Stands for a level of a topic that would be empty."""

_SILENT = logging.getLogger("alerts.sinks.broker.client")
"""The client's own log: it cries at every lost connection, which the dispatcher tells once."""
_SILENT.setLevel(logging.CRITICAL + 1)

_BREAKS_TOPIC = re.compile(r"[/+#%\x00-\x1f\x7f-\x9f]")


def check_topic(topic: str) -> str:
    """Check that `topic` can be published to, or be the beginning of such topics."""
    if any(character in topic for character in "+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
        raise ValueError("must be a topic without + and #, not beginning with / or $ and not ending with /")
    return topic


class BrokerConfig(TlsConfig):
    """Where the broker is. The URL may name a user (``mqtt://user@host:1883``, ``mqtts://`` for TLS).

    A password without a user in the URL is that of the user ``marginwatch``. `client_id` is made up anew at every start
    when left out.
    """

    url: str = "mqtt://127.0.0.1:1883"
    password: Secret | None = None
    prefix: Annotated[str, Field(min_length=1)] = DEFAULT_PREFIX
    client_id: Annotated[str, Field(min_length=1)] | None = None

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
        return check_topic(prefix)


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish. What is retained with `expiry_s` disappears when it is not said again."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic, perhaps with wildcards, to hear. `retained` asks for what the broker keeps there, too."""

    topic: str
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """One message that came; `retained` also when somebody else published it just now, to be kept."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A connection that was accepted; `watch` ends when it is lost, and then ends the `waits` for acknowledgements."""

    client: "aiomqtt.Client"
    watch: asyncio.Task[None]
    waits: set[asyncio.Timeout]


class Broker:
    """One client a connection; the identifier stays the same, so that the broker ends a half-open predecessor.

    The broker turns `status_topic` to offline when the connection is gone. `hear` is called, from the event loop, with
    what comes on the subscriptions, and must not raise.
    """

    def __init__(
        self, name: str, config: BrokerConfig, status_topic: str, hear: Callable[[Heard], None] | None = None
    ) -> None:
        self._name = name
        self._config = config
        self._identifier = config.client_id or f"marginwatch-{uuid4().hex[:12]}"
        self._status_topic = status_topic
        self._hear = hear
        self._refusals: list[str] = []
        self.opening: asyncio.Task[Any] | None = None
        self.link: Link | None = None

    async def connect(self) -> None:
        """Connect. Raises SinkError."""
        if self.opening is not None and not self.opening.done():
            # aiomqtt connects in a thread that cannot be cancelled (say, with a resolver that hangs): one is enough.
            raise SinkError(f"{self._name}: the last attempt to connect has not ended yet")
        self._refusals.clear()
        client = _make_client(self._name, self._config, self._identifier, self._status_topic, self._refusals)
        self.opening = asyncio.create_task(_enter(client))
        try:
            error = await asyncio.shield(self.opening)
        except asyncio.CancelledError:
            # Our deadline came first. The attempt ends by itself, and nobody will use its connection.
            self.opening = asyncio.create_task(_abandon(self.opening, client))
            raise
        if error is not None:
            raise SinkError(f"{self._name}: {self._said(error)}", retry=not _is_refusal(error)) from error
        waits: set[asyncio.Timeout] = set()
        self.link = Link(client, asyncio.create_task(_watch(client, waits, self._hear)), waits)

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish these in order. Raises SinkError as soon as the connection is lost, or for a refusal."""
        link = self._linked()
        await self._finish(link, [_publish(link.client, each) for each in publications])
        if self._refusals:
            raise SinkError(f"{self._name}: the broker refused a message: {self._refusals[0]}", retry=False)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Hear these from now on. Raises SinkError as `publish` does."""
        link, refused = self._linked(), list[str]()
        await self._finish(link, [_subscribe(link.client, each, refused) for each in subscriptions])
        if refused:
            raise SinkError(f"{self._name}: the broker does not let us subscribe to {refused[0]}", retry=False)

    def status(self, status: bytes = ONLINE) -> Publication:
        """The status, to be published. It is said again and again: the will of a dead connection may come late."""
        return Publication(self._status_topic, status, qos=1, retain=True)

    async def close(self) -> None:
        """Show the status as offline and disconnect, as far as the broker still answers."""
        link, self.link = self.link, None
        if link is None:
            return
        if not link.watch.done():
            with suppress(*_mqtt_errors(), TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await _publish(link.client, self.status(OFFLINE))
        link.watch.cancel()
        await _leave(link.client)

    def _linked(self) -> Link:
        if self.link is None:
            raise SinkError(f"{self._name} is not connected")
        return self.link

    def _said(self, error: Exception) -> str:
        words = words_of(error)
        return f"{words} ({urlsplit(self._config.url).netloc.rpartition('@')[2]})" if words else str(error)

    async def _finish(self, link: Link, calls: list[Coroutine[Any, Any, None]]) -> None:
        """Make these calls in order and wait for all answers, as long as there is a connection."""
        wait = asyncio.timeout(0 if link.watch.done() else None)
        try:
            async with wait:
                link.waits.add(wait)
                if len(calls) == 1:
                    await calls[0]
                else:
                    await asyncio.gather(*calls)
        except TimeoutError:
            raise SinkError(f"{self._name}: the connection was lost") from None
        except _mqtt_errors() as error:
            raise SinkError(f"{self._name}: {self._said(error)}") from error
        finally:
            link.waits.discard(wait)


def topic(prefix: str, *levels: str) -> str:
    """A topic below `prefix`; what would break it inside a level (``/ + # %``, controls) is percent-encoded."""
    return "/".join((prefix, *(_BREAKS_TOPIC.sub(_percent, level) or NO_SUBJECT for level in levels)))


def require_client(name: str) -> None:
    """Raise SinkError when the client library is not installed."""
    if find_spec("aiomqtt") is None:
        raise SinkError(f"the sink {name} needs the package aiomqtt; install it with: pip install aiomqtt")


async def _publish(client: "aiomqtt.Client", each: Publication) -> None:
    properties = None if each.expiry_s is None else _expiring(each.expiry_s)
    await client.publish(each.topic, each.payload, qos=each.qos, retain=each.retain, properties=properties)


async def _subscribe(client: "aiomqtt.Client", each: Subscription, refused: list[str]) -> None:
    from paho.mqtt.subscribeoptions import SubscribeOptions

    kept = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if each.retained else SubscribeOptions.RETAIN_DO_NOT_SEND
    options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=kept)
    codes = await client.subscribe(each.topic, options=options)
    if any(getattr(code, "is_failure", False) for code in codes):
        refused.append(each.topic)


def _make_client(
    name: str, config: BrokerConfig, identifier: str, status_topic: str, refusals: list[str]
) -> "aiomqtt.Client":
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
        max_queued_incoming_messages=INCOMING_MAX,
        tls_context=config.tls_context(name) if secure else None,
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


async def _watch(client: "aiomqtt.Client", waits: set[asyncio.Timeout], hear: Callable[[Heard], None] | None) -> None:
    """Pass on what comes, and return when the connection is lost, having ended the `waits`."""
    with suppress(*_mqtt_errors()):
        async for message in client.messages:
            if hear is not None and isinstance(message.payload, bytes):
                hear(Heard(str(message.topic), message.payload, message.retain))
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


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())
