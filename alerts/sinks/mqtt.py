"""MQTT 5: alerts at QoS 1, the pools' state retained, and a status that the broker turns to offline by itself.

Retained state carries an expiry, so what a dead monitor left behind disappears.
"""

from collections import deque
from collections.abc import Sequence

import orjson
import structlog

from alerts.alert import Alert
from alerts.message import state_fields
from alerts.orders import carry_out
from alerts.silences import silence_over
from alerts.sink import Envelope, Surroundings, Untended
from alerts.sinks._broker import (
    NO_SUBJECT,
    Broker,
    BrokerConfig,
    Heard,
    Publication,
    Subscription,
    require_client,
    topic,
)
from monitor.errors import RefusedError
from monitor.model.assessment import PoolAssessment

ORDERS = ("acknowledge", "silence", "unsilence")
ANSWERS_MAX = 16
"""Answers kept until the next states are published; of a flood of orders the last ones are answered."""

log = structlog.get_logger(__name__)


class MqttConfig(BrokerConfig):
    """``[sinks.mqtt]``. With `orders`, whoever may publish below ``<prefix>/order/`` may acknowledge and silence."""

    orders: bool = False


class MqttSink(Untended):
    """What is said is what is published."""

    name = "mqtt"

    def __init__(self, config: MqttConfig, surroundings: Surroundings) -> None:
        self.config = config
        self._clock = surroundings.clock
        self._handling = surroundings.handling
        self._leads = surroundings.leads
        self._answers: deque[bytes] = deque(maxlen=ANSWERS_MAX)
        self._broker = Broker(self.name, config, f"{config.prefix}/status", self._heard)

    async def connect(self) -> None:
        """Connect and show the status as online."""
        await self._broker.connect()
        await self._broker.publish([self._broker.status()])
        if self.config.orders:
            await self._broker.subscribe([Subscription(topic(self.config.prefix, "order", name)) for name in ORDERS])

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Publish every alert at QoS 1 and wait for the broker's acknowledgements."""
        await self._broker.publish([Publication(self._topic(item.alert), item.payload, qos=1) for item in batch])

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Publish states retained, clear those of pools that are gone, and then the status, which is acknowledged."""
        now, ttl_s = self._clock.now(), self.config.state_ttl_s
        silences = () if self._handling is None else self._handling.silences()
        work = [Publication(self._state_topic(pool), b"", retain=True) for pool in gone]
        for pool in present:
            payload = orjson.dumps(state_fields(pool, now, silence_over(pool.pool, silences, now)))
            work.append(Publication(self._state_topic(pool), payload, retain=True, expiry_s=ttl_s))
        answers = [Publication(topic(self.config.prefix, "order", "answer"), answer) for answer in self._answers]
        self._answers.clear()
        await self._broker.publish([*work, *answers, self._broker.status()])

    async def close(self) -> None:
        """Show the status as offline and disconnect, as far as the broker still answers."""
        await self._broker.close()

    def _heard(self, message: Heard) -> None:
        """Carry an order out; what became of it is published with the next states."""
        if self._handling is None or not self._leads():
            return  # of two monitors the other one has heard it, too
        action = message.topic.rpartition("/")[2]
        refused = "an order that is kept would be carried out again at every start" if message.retained else ""
        done = ""
        if not refused:
            try:
                done = carry_out(self._handling, action, message.payload)
            except RefusedError as error:
                refused = str(error)
        answer: dict[str, object] = {"ok": False, "error": refused} if refused else {"ok": True, "done": done}
        if refused:
            log.warning("order refused", action=action, reason=refused)
        self._answers.append(orjson.dumps({"order": action, **answer}))

    def _topic(self, alert: Alert) -> str:
        account, venue = alert.account or NO_SUBJECT, alert.venue or NO_SUBJECT
        own = f"{alert.venue}/{alert.account}/"
        scope = alert.pool.removeprefix(own) if alert.pool is not None else alert.rule
        return topic(self.config.prefix, account, venue, scope, "alert")

    def _state_topic(self, pool: PoolAssessment) -> str:
        return topic(self.config.prefix, pool.account, pool.venue, pool.scope, "state")


def build(config: MqttConfig, surroundings: Surroundings) -> MqttSink:
    """Make the sink; nothing is connected yet. Raises SinkError when the client is not installed."""
    require_client(MqttSink.name)
    return MqttSink(config, surroundings)
