"""Home Assistant over MQTT discovery: every account a device, every pool a few entities, and people's orders back.

This is the shell: what is said stands in `_entities`, how MQTT is spoken in `_broker`. All state is said anew every
`state_s`, so nothing of it is retained; retained are only the announcements (with them Home Assistant knows after its
own restart that the monitor is gone) and the status. What an earlier run announced is read back from the broker, so
that entities whose pool closed while nobody watched go, too.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import orjson
import structlog
from pydantic import Field, field_validator

from alerts.alert import Alert, State
from alerts.silences import silence_over
from alerts.sink import Envelope, Handling, PositiveSeconds, Surroundings, Untended
from alerts.sinks import _entities as entities
from alerts.sinks._broker import (
    ONLINE,
    Broker,
    BrokerConfig,
    Heard,
    Publication,
    Subscription,
    check_topic,
    require_client,
    topic,
)
from alerts.sinks._entities import Home, Json, Subject, subject_of
from monitor.errors import RefusedError, SinkError
from monitor.model.assessment import PoolAssessment

BY = "Home Assistant"
SETTLE_S = 60.0
"""How long what an earlier run announced may be absent before it is taken away: after a start the accounts are not
known at once, and what Home Assistant is told to remove it forgets, with the names that people gave it."""
ORDERS_MAX = 20
ORDERS_S = 60.0
"""More than `ORDERS_MAX` orders within this time are not people's; they are refused."""

TURN = 20
"""So many subjects are looked at in one go: in between, others have their turn."""

log = structlog.get_logger(__name__)


class HomeAssistantConfig(BrokerConfig):
    """``[sinks.homeassistant]``.

    `silence_s` is how long the switch silences a pool. With more than `max_pools` pools, over all accounts, the
    riskiest have entities; what fires for the others is shown by the account's own.
    """

    discovery_prefix: Annotated[str, Field(min_length=1)] = "homeassistant"
    birth_topic: Annotated[str, Field(min_length=1)] = "homeassistant/status"
    silence_s: Annotated[PositiveSeconds, Field(ge=1, le=30 * 86_400)] = 3_600.0
    max_pools: Annotated[int, Field(ge=1, le=200)] = 50

    @field_validator("discovery_prefix", "birth_topic")
    @classmethod
    def _check_topics(cls, name: str) -> str:
        return check_topic(name)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a topic is for."""

    subject: Subject
    action: str


class _Device:
    """One account: what Home Assistant was told about it, and the last order that came for it."""

    __slots__ = ("announced", "earlier", "heard_at", "known", "order", "pools", "subscribed")

    def __init__(self) -> None:
        self.announced = b""
        """The document that was said last on this connection."""
        self.pools: list[Subject] = []
        """The pools that it announced."""
        self.known: dict[str, str] = {}
        """Its components with their platforms, also over connections."""
        self.earlier: dict[str, Json] = {}
        """Components that the broker remembers from an earlier run."""
        self.heard_at = 0.0
        self.subscribed = False
        self.order: str | None = None


class HomeAssistantSink(Untended):
    """Says what `_entities` composes when it has changed, and carries out orders."""

    name = "homeassistant"

    def __init__(self, config: HomeAssistantConfig, surroundings: Surroundings) -> None:
        self.config = config
        self._clock = surroundings.clock
        self._handling = surroundings.handling
        self._speaks_for = surroundings.speaks
        accounts = sorted(surroundings.accounts)
        # The will has one topic, so a monitor has one status for all its accounts, named after them: it is the same at
        # every start, that of a second monitor for the same accounts, and not that of any other.
        name = blake2b(repr(accounts).encode(), digest_size=4).hexdigest()
        self._home = Home(
            prefix=config.prefix,
            discovery_prefix=config.discovery_prefix,
            status_topic=topic(config.prefix, "homeassistant", "status", name),
            expire_after_s=config.state_ttl_s,
            version=_version(),
            takes_orders=self._handling is not None,
        )
        self._broker = Broker(self.name, config, self._home.status_topic, self._heard)
        self._devices = {Subject(venue, account): _Device() for venue, account in accounts}
        self._pools: dict[str, PoolAssessment] = {}
        self._shown: list[str] = []
        self._firing: dict[str, Alert] = {}
        self._said: dict[str, bytes] = {}
        self._orders: dict[str, _Order] = {}
        """The topics on which there is something to ask for at the moment."""
        self._ordered: deque[float] = deque(maxlen=ORDERS_MAX)
        self._is_doubted = False
        """Whether somebody turned the status offline while we are here."""
        self._changed = asyncio.Event()
        self._answering: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect, and hear Home Assistant's birth, what was announced before, and orders."""
        await self._broker.connect()
        self._forget_said()
        for device in self._devices.values():
            device.subscribed = False
        await self._broker.subscribe([Subscription(self.config.birth_topic), Subscription(self._home.status_topic)])
        await self._subscribe()
        self._answering = asyncio.create_task(self._answer())

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Turn the problem sensors that these alerts change."""
        for envelope in batch:
            if envelope.alert.state is State.FIRING:
                self._firing[envelope.alert.key] = envelope.alert
            else:
                self._firing.pop(envelope.alert.key, None)
        pools = {envelope.alert.pool for envelope in batch}
        await self._say([each for each in self._subjects() if not each.scope or each.pool in pools], qos=1)

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Say the figures of these pools, those that have entities, and then the status, which is acknowledged."""
        for pool in gone:
            self._pools.pop(pool.pool, None)
        self._pools.update((pool.pool, pool) for pool in present)
        told = {pool.pool for pool in present}
        await self._publish(self._compose(each for each in self._subjects() if each.pool in told))
        await self._broker.publish([self._broker.status()])

    async def tend(self, firing: Sequence[Envelope]) -> None:
        """Announce what is new, take away what is gone, and say what people are to know now."""
        self._firing = {envelope.alert.key: envelope.alert for envelope in firing}
        self._shown = entities.choose(self._shown, self._pools, self.config.max_pools)
        for owner in self._owners():
            if owner not in self._devices:
                self._devices[owner] = _Device()
        await self._subscribe()
        for owner, device in list(self._devices.items()):
            if self._speaks(owner):
                await self._announce(owner, device)
        self._orders = {
            entities.order_topic(self._home, subject, action): _Order(subject, action)
            for subject in self._subjects()
            for action in (entities.ORDERS if subject.scope else (entities.ACKNOWLEDGE,))
        }
        await self._publish(self._compose(each for each in self._subjects() if not each.scope))
        subjects = self._subjects()
        topics = {entities.state_topic(self._home, each) for each in subjects}
        self._said = {each: payload for each, payload in self._said.items() if each in topics}
        for start in range(0, len(subjects), TURN):
            await self._say(subjects[start : start + TURN])
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Show the status as offline and disconnect, as far as the broker still answers."""
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        await self._broker.close()

    # What is said

    async def _subscribe(self) -> None:
        """Hear about accounts that are new on this connection: their orders, and what was announced about them."""
        for owner, device in list(self._devices.items()):
            if device.subscribed:
                continue
            topics = [Subscription(entities.discovery_topic(self._home, owner), retained=True)]
            if self._home.takes_orders:
                topics.append(Subscription(entities.orders_filter(self._home, owner)))
            await self._broker.subscribe(topics)
            device.subscribed = True

    async def _announce(self, owner: Subject, device: _Device) -> None:
        """Say which entities an account has, when that has changed. What went is first named as gone, as documented."""
        pools = sorted(each for each in self._subjects() if each.scope and each.owner == owner)
        if device.announced and pools == device.pools and not device.earlier:
            return
        earlier, wanted = device.earlier, entities.components(self._home, owner, pools)
        settled = self._clock.now() >= device.heard_at + SETTLE_S
        kept = {} if settled else {key: each for key, each in earlier.items() if key not in wanted}
        now = entities.platforms(kept) | entities.platforms(wanted)
        before = entities.platforms(earlier) | device.known
        removed = {key: platform for key, platform in before.items() if key not in now}
        document = orjson.dumps(entities.discovery(self._home, owner, pools, kept, {}))
        if document == device.announced and not removed:
            return
        work = []
        if removed:
            work.append(orjson.dumps(entities.discovery(self._home, owner, pools, kept, removed)))
        device.announced = document  # before it is: what is heard meanwhile may call for it again
        where = entities.discovery_topic(self._home, owner)
        await self._broker.publish([Publication(where, each, qos=1, retain=True) for each in (*work, document)])
        device.pools, device.known = pools, now
        if device.earlier is earlier:
            device.earlier = kept
        for pool in pools:
            self._said.pop(entities.state_topic(self._home, pool), None)

    async def _say(self, subjects: Iterable[Subject], qos: int = 0) -> None:
        """Say the values of these, where they are not what was said last."""
        await self._publish(
            [each for each in self._compose(subjects, qos) if self._said.get(each.topic) != each.payload]
        )

    async def _publish(self, work: Sequence[Publication]) -> None:
        if work:
            await self._broker.publish(work)
            self._said.update((each.topic, each.payload) for each in work)

    def _compose(self, subjects: Iterable[Subject], qos: int = 0) -> list[Publication]:
        """The values of these subjects as they are now."""
        silences, now = () if self._handling is None else self._handling.silences(), self._clock.now()
        work = []
        for subject, own in entities.concerning(subjects, self._firing.values(), frozenset(self._shown)).items():
            pool = self._pools.get(subject.pool)
            if not subject.scope:
                device = self._devices.get(subject)
                state = entities.account_state(own, None if device is None else device.order)
            elif pool is not None:
                state = entities.pool_state(pool, own, silence_over(subject.pool, silences, now))
            else:
                continue
            work.append(Publication(entities.state_topic(self._home, subject), orjson.dumps(state), qos=qos))
        return work

    def _subjects(self) -> list[Subject]:
        """All that has entities and about which this monitor speaks."""
        pools = (self._pools.get(name) for name in self._shown)
        found = (*self._devices, *(subject_of(pool) for pool in pools if pool is not None))
        return [each for each in found if self._speaks(each)]

    def _speaks(self, subject: Subject) -> bool:
        """Whether it is this monitor that speaks about a subject, where two share accounts."""
        return self._speaks_for is None or self._speaks_for((subject.venue, subject.account))

    def _owners(self) -> set[Subject]:
        """Every account that has a pool or for which something fires, also one that was not configured at the start."""
        found = {(pool.venue, pool.account) for pool in self._pools.values()}
        alerts = self._firing.values()
        found |= {(each.venue, each.account) for each in alerts if each.venue is not None and each.account is not None}
        return {Subject(*account) for account in found}

    def _forget_said(self) -> None:
        """Whoever listens knows nothing: say everything again."""
        self._said.clear()
        for device in self._devices.values():
            device.announced = b""

    # What is heard

    def _heard(self, message: Heard) -> None:
        """Sort what came. Nothing that a stranger sends may do more than be refused."""
        if message.topic == self.config.birth_topic:
            if message.payload == ONLINE:
                self._forget_said()
        elif message.topic == self._home.status_topic:
            # The late will of our own last connection, or the end of a second monitor.
            self._is_doubted = message.payload != ONLINE
            self._changed.set()
        elif message.topic in self._orders:
            self._heard_order(self._orders[message.topic], message)
        else:
            for owner, device in self._devices.items():
                if message.topic == entities.discovery_topic(self._home, owner) and message.payload != device.announced:
                    self._heard_announcement(owner, device, message)
                base = entities.orders_filter(self._home, owner).removesuffix("#")
                if message.topic.startswith(base) and self._speaks(owner):
                    # A pool that has closed, or one that is not known yet, a moment after a start.
                    device.order = f"refused: nothing is watched under {message.topic.removeprefix(base)}"
                    self._changed.set()

    def _heard_announcement(self, owner: Subject, device: _Device, message: Heard) -> None:
        """Note what an earlier run left, or what a second monitor says that speaks at the moment."""
        earlier = entities.remembered(message.payload)
        if not self._speaks(owner):
            device.known = {}
        device.earlier = {key: each for key, each in earlier.items() if key not in device.known}
        device.heard_at = self._clock.now()
        device.announced = b""

    def _heard_order(self, order: _Order, message: Heard) -> None:
        """Carry an order out, or say why not."""
        device = self._devices[order.subject.owner]
        if not self._speaks(order.subject):
            return  # the monitor that speaks has heard it, too
        refusal = self._refusal(order, message)
        if refusal is None:
            try:
                device.order = self._obey(order, message.payload)
            except RefusedError as error:
                refusal = str(error)
        if refusal is not None:
            said = f"refused for {order.subject.pool}: {refusal}"
            # Logged once: a flood of orders shall not become one of lines.
            if device.order != said:
                log.warning("order refused", action=order.action, subject=order.subject.pool, reason=refusal)
            device.order = said
        self._changed.set()

    def _refusal(self, order: _Order, message: Heard) -> str | None:
        """Why an order is not even tried; None when it is, and counts."""
        now = self._clock.now()
        if message.retained:
            return "the order was retained, and would be carried out again at every start"
        if message.payload not in entities.ORDERS[order.action]:
            return f"{order.action} does not know this payload"
        if len(self._ordered) == ORDERS_MAX and now < self._ordered[0] + ORDERS_S:
            return f"more than {ORDERS_MAX} orders within a minute"
        self._ordered.append(now)
        return None

    def _obey(self, order: _Order, payload: bytes) -> str:
        """Do it; returns what was done. Raises RefusedError."""
        if self._handling is None:
            raise RefusedError("", "nobody takes orders here")
        if order.action == entities.ACKNOWLEDGE:
            return self._acknowledge(order.subject, self._handling)
        return self._silence(order.subject, payload, self._handling)

    def _silence(self, subject: Subject, payload: bytes, handling: Handling) -> str:
        own = [each for each in handling.silences() if each.subject == subject.pool]
        if payload == entities.ON:
            handling.silence(subject.pool, self.config.silence_s, BY, "switched on in Home Assistant")
            own = [each for each in own if each.by == BY]  # prolonged; what others made stays
        for each in own:
            handling.end_silence(each.id, BY)
        if payload == entities.ON:
            return f"silenced {subject.pool} for {self.config.silence_s:g} s"
        left = silence_over(subject.pool, handling.silences(), self._clock.now())
        still = "" if left is None else f"; it is still silenced through {left.subject}, by {left.by}"
        return f"ended the silence of {subject.pool}{still}"

    def _acknowledge(self, subject: Subject, handling: Handling) -> str:
        firing = entities.concerning([subject], self._firing.values(), frozenset(self._shown))
        waiting = [alert.key for alert in firing[subject] if alert.acknowledged is None]
        for key in waiting:
            with suppress(RefusedError):  # what has resolved in this moment needs no acknowledgement
                handling.acknowledge(key, BY)
        return f"acknowledged for {subject.pool}: {', '.join(waiting) or 'nothing fires that is not'}"

    async def _answer(self) -> None:
        """Say what orders changed, at once: a switch whose state comes late jumps back under the finger.

        A failure here is that of the connection, which the next round of state meets, too.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(SinkError):
                if self._is_doubted:
                    self._is_doubted = False
                    await self._broker.publish([self._broker.status()])
                await self._say(self._subjects(), qos=1)


def build(config: HomeAssistantConfig, surroundings: Surroundings) -> HomeAssistantSink:
    """Make the sink; nothing is connected yet. Raises SinkError when the client is not installed."""
    require_client(HomeAssistantSink.name)
    return HomeAssistantSink(config, surroundings)


def _version() -> str:
    try:
        return version("marginwatch")
    except PackageNotFoundError:
        return "unknown"
