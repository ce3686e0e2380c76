"""Delivery: every alert to every sink, in order, at least once; a slow or dead sink delays nobody.

One task a sink: connect, hand over what it missed, say again what fires, then hand over whatever comes. What a sink
acknowledged is marked after it acknowledged, so a kill in between repeats it, under the same id.
"""

import asyncio
import random
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from alerts.alert import Alert, State
from alerts.message import encode
from alerts.outbox import Outbox
from alerts.rules.sink_failure import STATE_FILE
from alerts.sink import Envelope, Sink
from monitor.clock import Clock
from monitor.errors import SinkError
from monitor.model.assessment import PoolAssessment
from monitor.model.sources import PoolSource
from monitor.telemetry import Telemetry

TAIL_MAX = 4_096
"""Messages kept in memory for sinks that lag; older ones are read from the state file again."""
UNSAVED_TAIL_MAX = 50_000
"""Messages kept in memory while the state file cannot be written; past it the oldest are lost to sinks that lag, but
what still fires is said to them again."""
BATCH_MAX = 64
STATE_BATCH_MAX = 16
"""Pools published in one go: between two of them an alert gets its turn."""
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0
BACKOFF_REFUSED_S = 30.0
"""Longest pause after a failure that only a person can mend, such as a wrong password."""
READ_S = 10.0
SAVE_AFTER_S = 0.001
DRAIN_S = 2.0
CLOSE_S = 1.0

log = structlog.get_logger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does; feed it to `Engine.on_sink` about once a second. The state file takes part as a sink."""

    sink: str
    failing_since: float | None
    pending: int
    detail: str


class _Lane:
    """One sink and how far it is."""

    def __init__(self, sink: Sink, cursor: int, *, knows_nothing: bool) -> None:
        self.sink = sink
        self.cursor = cursor
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        # Said again on every connection but the first of a run: a restart does not repeat what was delivered.
        self.reassert = knows_nothing
        self.shown: dict[str, PoolAssessment] = {}
        self.proven: set[str] = set()
        self.failures = 0
        self.refused = False
        self.failing_since: float | None = None
        self.detail = ""


class Dispatcher:
    """Takes alerts without ever waiting, and runs one task a sink.

    The caller keeps the outbox open until `run` has ended, and closes it then.
    """

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        clock: Clock,
        telemetry: Telemetry,
        source: PoolSource | None = None,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._telemetry = telemetry
        self._source = source
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._sequence = outbox.sequence
        self._tail: deque[Envelope] = deque()
        self._unsaved: list[Envelope] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._firing = {
            alert.key: Envelope(0, alert, encode(alert))
            for alert in outbox.restored.alerts
            if alert.state is State.FIRING
        }
        self._lanes = [
            _Lane(sink, outbox.cursors[sink.name], knows_nothing=sink.name in outbox.new_sinks) for sink in sinks
        ]

    # For those who decide and those who show; never blocking

    def submit(self, alerts: Iterable[Alert]) -> None:
        """Take alerts, in order, from the event loop's thread. Sinks are woken first and the disk is told afterwards.

        Never blocks and never refuses. Until the disk has it, an alert lives in memory alone; a run that dies before
        comes to the same alert again, with the same id, from what is the case.
        """
        for alert in alerts:
            self._sequence += 1
            envelope = Envelope(self._sequence, alert, encode(alert))
            self._tail.append(envelope)
            self._unsaved.append(envelope)
            if alert.state is State.FIRING:
                self._firing[alert.key] = envelope
            else:
                self._firing.pop(alert.key, None)
            self._telemetry.alerts.add(alert.rule, alert.severity.label, alert.state.value)
        if not self._unsaved:
            return
        for lane in self._lanes:
            lane.idle.clear()
            lane.wake.set()
        if self._loop is None:
            self._save()
        else:
            # A moment later, so that waking the writing thread does not cost the send a switch of threads.
            self._loop.call_later(SAVE_AFTER_S, self._save)

    def health(self) -> list[SinkHealth]:
        """Every sink, and the state file."""
        pending = self.pending()
        found = [
            SinkHealth(lane.sink.name, lane.failing_since, pending[lane.sink.name], lane.detail) for lane in self._lanes
        ]
        trouble = self._outbox.trouble(self._clock.now())
        since, detail = trouble or (None, "")
        return [*found, SinkHealth(STATE_FILE, since, self._sequence - self._outbox.saved, detail)]

    def pending(self) -> Mapping[str, int]:
        """Messages that a sink does not have yet, by sink."""
        return {lane.sink.name: self._sequence - lane.cursor for lane in self._lanes}

    def firing(self) -> list[Alert]:
        """The last word about everything that fires."""
        return [envelope.alert for envelope in self._firing.values()]

    async def history(self, limit: int) -> list[bytes]:
        """The newest messages that are not repeats, newest first, as Message v1. Raises TimeoutError."""
        async with asyncio.timeout(READ_S):
            return await asyncio.wrap_future(self._outbox.history(limit))

    # The sinks' tasks

    async def run(self) -> None:
        """Run every sink until cancelled; then hand over what waits and say goodbye, in `DRAIN_S` + `CLOSE_S`."""
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._keep(lane), name=f"sink {lane.sink.name}") for lane in self._lanes]
        try:
            await asyncio.Event().wait()
        finally:
            self._save()
            await self._drain()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop = None

    async def _drain(self) -> None:
        """Wait until the sinks that work have everything."""
        waiting = [asyncio.create_task(lane.idle.wait()) for lane in self._lanes if lane.failing_since is None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=DRAIN_S)
            for task in late:
                task.cancel()

    async def _keep(self, lane: _Lane) -> None:
        """Connect, serve, and after any failure begin again, for ever."""
        while True:
            try:
                await self._serve(lane)
            except (SinkError, TimeoutError, OSError) as error:
                self._failed(lane, error)
            except Exception as error:
                # A fault in one sink must not silence the others.
                if lane.failing_since is None:
                    log.exception("sink failed in a way it should not", sink=lane.sink.name)
                self._failed(lane, error)
            finally:
                lane.idle.clear()
                await _close(lane.sink)
            await asyncio.sleep(self._pause(lane))

    async def _serve(self, lane: _Lane) -> None:
        lane.proven.clear()
        async with asyncio.timeout(lane.sink.config.timeout_s):
            await lane.sink.connect()
        await _until_one_ends(self._deliver(lane), self._publish_states(lane))

    async def _deliver(self, lane: _Lane) -> None:
        sent: set[str] | None = set()
        while True:
            batch = self._next(lane)
            if batch is None:
                batch = await self._reread(lane)
            if batch:
                await self._hand_over(lane, batch, "delivered")
                lane.cursor = batch[-1].sequence
                self._save()  # a quick answer comes before the disk was told; the file must hear both in this order
                self._outbox.advance(lane.sink.name, lane.cursor)
                self._works(lane, "deliver")
                if sent is not None:
                    sent.update(envelope.alert.id for envelope in batch)
            elif lane.cursor < self._sequence:
                continue
            elif sent is not None:
                # Nothing is missing any more: now what fired before this connection is said again.
                await self._reassert(lane, sent)
                sent = None
            else:
                self._works(lane, "deliver")
                lane.idle.set()
                lane.wake.clear()
                await lane.wake.wait()

    async def _reassert(self, lane: _Lane, sent: set[str]) -> None:
        if lane.reassert:
            firing = [envelope for envelope in self._firing.values() if envelope.alert.id not in sent]
            for batch in _cut(firing, BATCH_MAX):
                await self._hand_over(lane, batch, "reasserted")
        lane.reassert = True

    async def _hand_over(self, lane: _Lane, batch: Sequence[Envelope], outcome: str) -> None:
        async with asyncio.timeout(lane.sink.config.timeout_s):
            await lane.sink.deliver(batch)
        self._telemetry.deliveries.add(lane.sink.name, outcome, amount=len(batch))

    def _next(self, lane: _Lane) -> list[Envelope] | None:
        """The next messages from memory, oldest first; None when they are older than what memory holds."""
        if lane.cursor >= self._sequence:
            return []
        if not self._tail or self._tail[0].sequence > lane.cursor + 1:
            return None
        missing: deque[Envelope] = deque(maxlen=BATCH_MAX)
        for envelope in reversed(self._tail):
            if envelope.sequence <= lane.cursor:
                break
            missing.appendleft(envelope)
        return list(missing)

    async def _reread(self, lane: _Lane) -> list[Envelope]:
        """The next messages from the state file; when it has none left, memory takes over."""
        async with asyncio.timeout(READ_S):
            batch = await asyncio.wrap_future(self._outbox.read(lane.cursor, BATCH_MAX))
        if not batch:
            lane.cursor = self._tail[0].sequence - 1 if self._tail else self._sequence
        return batch

    async def _publish_states(self, lane: _Lane) -> None:
        while True:
            present = dict(self._source.assessments()) if self._source is not None else {}
            gone = [pool for name, pool in lane.shown.items() if name not in present]
            # At least one call, even of nothing: it is the round trip that notices a dead connection.
            for index, batch in enumerate(_cut(list(present.values()), STATE_BATCH_MAX) or [[]]):
                async with asyncio.timeout(lane.sink.config.timeout_s):
                    await lane.sink.publish_state(batch, () if index else gone)
                lane.shown.update((pool.pool, pool) for pool in batch)
            for pool in gone:
                del lane.shown[pool.pool]
            self._works(lane, "state")
            await asyncio.sleep(lane.sink.config.state_s)

    # Inside

    def _save(self) -> None:
        if self._unsaved:
            self._outbox.append(self._unsaved)
            self._unsaved = []
        while len(self._tail) > TAIL_MAX and (
            self._tail[0].sequence <= self._outbox.saved or len(self._tail) > UNSAVED_TAIL_MAX
        ):
            self._tail.popleft()

    def _failed(self, lane: _Lane, error: Exception) -> None:
        lane.failures += 1
        lane.refused = isinstance(error, SinkError) and not error.retry
        lane.reassert = True
        timed_out = isinstance(error, TimeoutError) and not str(error)
        lane.detail = f"no answer within {lane.sink.config.timeout_s:g} s" if timed_out else str(error)
        self._telemetry.deliveries.add(lane.sink.name, "failed")
        if lane.failing_since is None:
            lane.failing_since = self._clock.now()
            log.warning("sink lost", sink=lane.sink.name, error=lane.detail)

    def _works(self, lane: _Lane, part: str) -> None:
        """Note that delivery or state went well; only both together prove that a sink works."""
        lane.proven.add(part)
        if len(lane.proven) < len(("deliver", "state")):
            return
        lane.failures = 0
        if lane.failing_since is not None:
            lane.failing_since = None
            lane.detail = ""
            log.info("sink works again", sink=lane.sink.name)

    def _pause(self, lane: _Lane) -> float:
        """Full jitter: anything between nothing and a bound that doubles with every failure in a row."""
        longest = BACKOFF_REFUSED_S if lane.refused else BACKOFF_MAX_S
        return self._rng.uniform(0.0, min(longest, BACKOFF_FIRST_S * 2.0 ** min(lane.failures - 1, 16)))


async def _close(sink: Sink) -> None:
    """Leave the sink, in bounded time, whatever it does."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await sink.close()
    except Exception as error:  # noqa: BLE001 - nothing that happens here may end the sink's task
        log.debug("sink was not left in good order", sink=sink.name, error=repr(error))


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run these together; when one ends, by failing, the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cut(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
