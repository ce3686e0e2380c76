"""Redis: a stream to read at leisure, a channel to hear at once, and the pools' latest state in hashes that expire.

Two connections (`alerts.redis_link`), so that an alert never waits behind a page of states.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import orjson

from alerts.message import state_fields
from alerts.redis_link import Command, RedisConfig, RedisLink, connector
from alerts.silences import silence_over
from alerts.sink import Envelope, Surroundings, Untended
from monitor.model.assessment import PoolAssessment

if TYPE_CHECKING:
    from redis.asyncio import Connection

_FENCED = """
local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] and (lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2]) then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 4))
redis.call('PUBLISH', KEYS[2], ARGV[#ARGV])
return 1
"""
"""An alert of an account whose lease went to another monitor in the meantime is not written. Where Redis has forgotten
the lease it went to nobody."""


class RedisSink(Untended):
    """One connection for alerts and one for state, so that an alert never waits behind a page of states."""

    name = "redis"

    def __init__(self, config: RedisConfig, surroundings: Surroundings, make: Callable[[], "Connection"]) -> None:
        self.config = config
        self._clock = surroundings.clock
        self._fence = surroundings.fence
        self._handling = surroundings.handling
        self._alerts = RedisLink(make)
        self._states = RedisLink(make)
        self._topic = f"{config.prefix}:alerts"

    async def connect(self) -> None:
        """Open both connections and have each answer a PING."""
        await self._alerts.ask([("PING",)])
        await self._states.ask([("PING",)])

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """XADD and PUBLISH every alert, in one write."""
        commands: list[Command] = []
        for envelope in batch:
            alert, topic = envelope.alert, self._topic
            fields = (
                "id", alert.id, "key", alert.key, "severity", alert.severity.label, "state", alert.state.value,
                "json", envelope.payload,
            )  # fmt: skip
            stamp = None if self._fence is None else self._fence(alert)
            if stamp is None:
                commands.append(("XADD", topic, "MAXLEN", "~", self.config.stream_max, "*", *fields))
                commands.append(("PUBLISH", topic, envelope.payload))
            else:
                commands.append(
                    ("EVAL", _FENCED, 2, stamp.key, topic, stamp.holder, stamp.token, self.config.stream_max, *fields)
                )
        await self._alerts.ask(commands)

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Write every pool's hash with its time to live, and delete those of pools that are gone."""
        now, silences = self._clock.now(), () if self._handling is None else self._handling.silences()
        commands: list[Command] = [("DEL", self._key(pool)) for pool in gone]
        for pool in present:
            state = state_fields(pool, now, silence_over(pool.pool, silences, now))
            fields = (part for name, value in state.items() for part in (name, _text(value)))
            commands.append(("HSET", self._key(pool), *fields))
            commands.append(("EXPIRE", self._key(pool), self.config.state_ttl_s))
        await self._states.ask(commands or [("PING",)])

    async def close(self) -> None:
        """Drop both connections."""
        await self._alerts.close()
        await self._states.close()

    def _key(self, pool: PoolAssessment) -> str:
        return f"{self.config.prefix}:pool:{pool.pool}"


def build(config: RedisConfig, surroundings: Surroundings) -> RedisSink:
    """Make the sink; nothing is connected yet. Raises SinkError when the client is not installed."""
    return RedisSink(config, surroundings, connector(config))


def _text(value: object) -> str | bytes:
    """A hash field: numbers, lists and objects as JSON writes them, nothing for what is unknown or does not apply."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value)
