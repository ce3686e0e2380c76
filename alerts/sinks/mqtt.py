"""MQTT 5: alerts at QoS 1, the pools' state retained, and a status that the broker turns to offline by itself.

Retained state carries an expiry, so what a dead monitor left behind disappears.
"""

from collections.abc import Sequence

import orjson

from alerts.alert import Alert
from alerts.message import state_fields
from alerts.silences import silence_over
from alerts.sink import Envelope, Surroundings, Untended
from alerts.sinks._broker import NO_SUBJECT, Broker, BrokerConfig, Publication, require_client, topic
from monitor.model.assessment import PoolAssessment


class MqttConfig(BrokerConfig):
    """``[sinks.mqtt]``."""


class MqttSink(Untended):
    """What is said is what is published."""

    name = "mqtt"

    def __init__(self, config: MqttConfig, surroundings: Surroundings) -> None:
        self.config = config
        self._clock = surroundings.clock
        self._handling = surroundings.handling
        self._broker = Broker(self.name, config, f"{config.prefix}/status")

    async def connect(self) -> None:
        """Connect and show the status as online."""
        await self._broker.connect()
        await self._broker.publish([self._broker.status()])

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
        await self._broker.publish([*work, self._broker.status()])

    async def close(self) -> None:
        """Show the status as offline and disconnect, as far as the broker still answers."""
        await self._broker.close()

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
