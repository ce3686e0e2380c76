"""Delivery: every alert to every sink, in order, at least once; a slow or dead sink delays nobody.

One task a sink: connect, hand over what it missed, say again what fires, then hand over whatever comes. What a sink
acknowledged is marked after it acknowledged, so a kill in between repeats it, under the same id.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from alerts.alert import STATE_FILE, Alert, Severity, State
from alerts.lane import Lane, SinkHealth
from alerts.message import encode
from alerts.outbox import Outbox
from alerts.refusals import PROBES_MAX
from alerts.sink import Envelope, Sink
from monitor.clock import Clock
from monitor.credential import conceal
from monitor.errors import SinkError
from monitor.model.sources import PoolSource
from monitor.telemetry import Telemetry

TAIL_MAX = 4_096
"""Messages kept in memory for sinks that lag; older ones are read from the state file again."""
UNSAVED_TAIL_MAX = 50_000
"""Messages kept in memory while the state file cannot be written; past it the oldest are lost to sinks that lag, but
what still fires is said to them again."""
BATCH_MAX = 64
GATHERED_MAX = 1_000
"""For a sink that says several alerts in one: it is to know what became of those that waited, and say only that."""
STATE_BATCH_MAX = 16
"""Pools published in one go: between two of them an alert gets its turn."""
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 5.0
BACKOFF_REFUSED_S = 30.0
"""Longest pause after a failure that only a person can mend, such as a wrong password."""
READ_S = 10.0
REFUSED_SHOWN_S = 60.0
"""How long a message that was given up is reported by `health`."""
DRAIN_S = 2.0
CLOSE_S = 1.0
CANCEL_S = 0.1
"""A task that goes on for so long is told once more to end."""

log = structlog.get_logger(__name__)

Item = TypeVar("Item")


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
        self._is_saving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._firing = {
            alert.key: Envelope(0, alert, encode(alert))
            for alert in outbox.restored.alerts
            if alert.state is State.FIRING
        }
        self.speaks: Callable[[Alert], bool] = lambda alert: True
        """Whether an alert may leave at this moment; asked again right before it does. What may not is passed over."""
        self.spoken = {alert.key: alert.serial for alert in outbox.restored.alerts}
        """The highest serial that this monitor ever said, by key."""
        self._passed_over: dict[str, Envelope] = {}
        self._only: dict[int, frozenset[str]] = {}
        """Sequence to the sinks that are to have it, where not all are; until all have passed it."""
        self.noted: Callable[[int, Alert], None] = lambda sequence, alert: None
        """Called with the number that each alert gets."""
        self._lanes = [
            Lane(sink, outbox.cursors[sink.name], knows_nothing=sink.name in outbox.new_sinks) for sink in sinks
        ]

    # For those who decide and those who show; never blocking

    def submit(self, alerts: Iterable[Alert], only: Collection[str] | None = None) -> None:
        """Take alerts, in order, from the event loop's thread. Sinks are woken first and the disk is told afterwards.

        `only` names the sinks that are to have them, where the others have heard them from another monitor.

        Never blocks and never refuses. Sinks that are connected write to their sockets in the next turn of the loop,
        and the order to the disk leaves in the same turn, right behind them. Until the disk has it, an alert lives in
        memory alone; a run that dies before comes to the same alert again, with the same id, if it still is the case.
        """
        for alert in alerts:
            self._sequence += 1
            if only is not None:
                self._only[self._sequence] = frozenset(only)
            envelope = Envelope(self._sequence, alert, encode(alert))
            self._tail.append(envelope)
            self._unsaved.append(envelope)
            if alert.state is State.FIRING:
                self._firing[alert.key] = envelope
            else:
                self._firing.pop(alert.key, None)
            self.spoken[alert.key] = max(alert.serial, self.spoken.get(alert.key, 0))
            self.noted(self._sequence, alert)
            self._telemetry.alerts.add(alert.rule, alert.severity.label, alert.state.value)
        if not self._unsaved:
            return
        for lane in self._lanes:
            lane.idle.clear()
            lane.wake.set()
        if self._loop is None:
            self._save()
        elif not self._is_saving:
            # Behind the sinks' own callbacks, so that waking the writing thread does not cost the send a switch of
            # threads.
            self._is_saving = True
            self._loop.call_soon(self._save)

    def health(self) -> list[SinkHealth]:
        """Every sink, and the state file."""
        pending, now = self.pending(), self._clock.now()
        found = [
            SinkHealth(
                lane.sink.name,
                lane.failing_since,
                pending[lane.sink.name],
                lane.detail,
                lane.loss if now < lane.lost_at + REFUSED_SHOWN_S else "",
            )
            for lane in self._lanes
        ]
        for lane in self._lanes:
            found += [
                SinkHealth(f"{lane.sink.name}.{each.destination}", each.since, 0, each.detail)
                for each in lane.sink.troubles()
            ]
        trouble = self._outbox.trouble(now)
        since, detail = trouble or (None, "")
        waiting, anew = self._sequence - self._outbox.saved, self._outbox.begun_anew(now)
        return [*found, SinkHealth(STATE_FILE, since, waiting, detail, anew)]

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

    def reached(self) -> dict[str, int]:
        """The sequence up to which each sink has everything, by sink."""
        return {lane.sink.name: lane.cursor for lane in self._lanes}

    def take_over(self, venue: str, account: str, words: Iterable[Alert]) -> None:
        """Go on from these last words about an account: nothing of them is said now."""
        everywhere = min(self.reached().values(), default=self._sequence)
        self._only = {sequence: sinks for sequence, sinks in self._only.items() if sequence > everywhere}
        for alert in [each.alert for each in (*self._firing.values(), *self._passed_over.values())]:
            if (alert.venue, alert.account) == (venue, account):
                self._firing.pop(alert.key, None)
                self._passed_over.pop(alert.key, None)
        firing = (alert for alert in words if alert.state is State.FIRING)
        self._firing |= {alert.key: Envelope(0, alert, encode(alert)) for alert in firing}

    def last_words(self, venue: str, account: str) -> list[Alert]:
        """What this monitor itself said last about an account, to go on from when nobody else spoke in between.

        What was passed over counts as not said; of an end that was passed over, as if what ended still fired.
        """
        said = [each.alert for each in self.last_said(venue, account)]
        ends = [each.alert for each in self._passed_over.values() if each.alert.state is State.RESOLVED]
        said += [replace(alert, state=State.FIRING) for alert in ends]
        return [alert for alert in said if (alert.venue, alert.account) == (venue, account)]

    def last_said(self, venue: str, account: str) -> list[Envelope]:
        """The last words about what fires for an account and was not passed over."""
        return [
            each
            for each in self._firing.values()
            if each.alert.key not in self._passed_over and (each.alert.venue, each.alert.account) == (venue, account)
        ]

    def _sift(self, lane: Lane, found: Sequence[Envelope]) -> list[Envelope]:
        """Those that this sink is to have and that may leave now.

        What may not leave is remembered by its key, of which there is one for each alert.
        """
        found = [each for each in found if lane.sink.name in self._only.get(each.sequence, (lane.sink.name,))]
        passed_over = [envelope for envelope in found if not self.speaks(envelope.alert)]
        if not passed_over:
            return list(found)
        self._passed_over |= {envelope.alert.key: envelope for envelope in passed_over}
        return [envelope for envelope in found if envelope not in passed_over]

    def _speakable(self) -> list[Envelope]:
        return [envelope for envelope in self._firing.values() if self.speaks(envelope.alert)]

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
            await _end(tasks, CLOSE_S + CANCEL_S)
            self._loop = None

    async def _drain(self) -> None:
        """Wait until the sinks that work have everything."""
        waiting = [asyncio.create_task(lane.idle.wait()) for lane in self._lanes if lane.failing_since is None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=DRAIN_S)
            for task in late:
                task.cancel()

    async def _keep(self, lane: Lane) -> None:
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
            await self._rest(lane)

    async def _rest(self, lane: Lane) -> None:
        """Wait before the next connection; a message that is refused does not keep the next one waiting."""
        lane.wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause(lane)):
                if lane.refusals and self._sequence - lane.cursor <= PROBES_MAX:
                    await lane.wake.wait()
                else:
                    await asyncio.Event().wait()

    async def _serve(self, lane: Lane) -> None:
        lane.proven.clear()
        async with asyncio.timeout(lane.sink.config.timeout_s):
            await lane.sink.connect()
        await _until_one_ends(self._deliver(lane), self._publish_states(lane))

    async def _deliver(self, lane: Lane) -> None:
        sent: set[str] | None = set()
        while True:
            found = self._next(lane)
            if found is None:
                found = await self._reread(lane)
            batch = self._sift(lane, found)
            if found and not batch:
                self._advance(lane, found[-1].sequence)
            elif batch:
                offered = lane.refusals.offer(batch)
                try:
                    if lane.sink.overtakes:
                        await self._hand_over_and_overtake(lane, offered)
                    else:
                        await self._hand_over(lane, offered, "delivered")
                except SinkError as error:
                    self._refused(lane, offered, error)
                    raise
                self._delivered(lane, batch, offered)
                if sent is not None:
                    sent.update(envelope.alert.id for envelope in offered)
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
                if lane.sink.config.gather_s:
                    await self._gather(lane)

    async def _gather(self, lane: Lane) -> None:
        """Let a few alerts come together, for a sink that says them in one; an emergency ends the wait.

        Those right behind it gather as well: of a crash that takes many pools one leaves at once, the others together.
        """
        now = asyncio.get_running_loop().time
        gather_s = lane.sink.config.gather_s
        with suppress(TimeoutError):
            async with asyncio.timeout(gather_s):
                while self._sequence - lane.cursor < BATCH_MAX:
                    if now() >= lane.rushed_until and self._urgent(lane, lane.cursor):
                        lane.rushed_until = now() + gather_s
                        return
                    lane.wake.clear()
                    await lane.wake.wait()

    def _urgent(self, lane: Lane, after: int) -> list[Envelope]:
        """The emergencies past a place that may leave now."""
        found = [each for each in self._next(lane) or () if each.sequence > after]
        firing = [each for each in found if each.alert.state is State.FIRING]
        return self._sift(lane, [each for each in firing if each.alert.severity is Severity.EMERGENCY])

    async def _hand_over_and_overtake(self, lane: Lane, batch: Sequence[Envelope]) -> None:
        """Hand a batch over; the emergencies that come meanwhile do not wait for its end, and come again after it."""
        now, after = asyncio.get_running_loop().time, batch[-1].sequence
        handing = asyncio.create_task(self._hand_over(lane, batch, "delivered"))
        try:
            while not handing.done():
                await _first_of(handing, lane.wake)
                await asyncio.wait({handing}, timeout=max(0.0, lane.rushed_until - now()))
                lane.wake.clear()
                if not handing.done() and (urgent := self._urgent(lane, after)):
                    after, lane.rushed_until = urgent[-1].sequence, now() + lane.sink.config.gather_s
                    with suppress(SinkError, TimeoutError):  # it is tried again in its turn
                        await self._hand_over(lane, urgent, "delivered")
            await handing
        finally:
            handing.cancel()
            await asyncio.gather(handing, return_exceptions=True)

    async def _reassert(self, lane: Lane, sent: set[str]) -> None:
        if lane.reassert:
            skipped = {*sent, *lane.refusals.given_up}
            firing = [each for each in self._speakable() if each.alert.id not in skipped]
            for batch in _cut(
                [each for each in firing if not lane.refusals.is_doubtful(each)], 1 if lane.refusals else BATCH_MAX
            ):
                try:
                    await self._hand_over(lane, batch, "reasserted")
                except SinkError as error:
                    self._refused(lane, batch, error)
                    raise
            for envelope in firing:
                # It was said before; the sink that will not hear it again is not asked for ever.
                if lane.refusals.is_doubtful(envelope):
                    self._give_up(lane, envelope, lane.detail)
        lane.reassert = True

    def _refused(self, lane: Lane, offered: Sequence[Envelope], error: SinkError) -> None:
        """Note a refusal that will last; other failures say nothing about the messages."""
        if not error.retry and (lost := lane.refusals.refused(offered)) is not None:
            self._give_up(lane, lost, conceal(str(error)))
            self._advance(lane, lost.sequence)

    def _delivered(self, lane: Lane, batch: Sequence[Envelope], offered: Sequence[Envelope]) -> None:
        reached = lane.refusals.taken(batch, offered)
        if reached is not None:
            self._advance(lane, reached)
        self._works(lane, "deliver")

    def _advance(self, lane: Lane, sequence: int) -> None:
        lane.cursor = max(lane.cursor, lane.refusals.past(sequence))
        self._outbox.advance(lane.sink.name, lane.cursor)

    def _give_up(self, lane: Lane, envelope: Envelope, why: str) -> None:
        """This sink does not get this message; it stays in the history, and the others have it."""
        alert = envelope.alert
        lane.refusals.give_up(envelope)
        lane.loss = f"{alert.key} {alert.severity.label} {alert.state.value} ({alert.id}): {why}"
        lane.lost_at = self._clock.now()
        self._telemetry.deliveries.add(lane.sink.name, "refused")
        log.error("sink refuses an alert for good", sink=lane.sink.name, alert=alert.id, key=alert.key, error=why)

    async def _hand_over(self, lane: Lane, batch: Sequence[Envelope], outcome: str) -> None:
        async with asyncio.timeout(lane.sink.config.timeout_s):
            await lane.sink.deliver(batch)
        self._telemetry.deliveries.add(lane.sink.name, outcome, amount=len(batch))
        self._telemetry.delivered_at[lane.sink.name] = self._clock.now()

    def _next(self, lane: Lane) -> list[Envelope] | None:
        """The next messages from memory, oldest first; None when they are older than what memory holds."""
        if lane.cursor >= self._sequence:
            return []
        if not self._tail or self._tail[0].sequence > lane.cursor + 1:
            return None
        missing: deque[Envelope] = deque(maxlen=_batch_max(lane))
        for envelope in reversed(self._tail):
            if envelope.sequence <= lane.cursor:
                break
            missing.appendleft(envelope)
        return list(missing)

    async def _reread(self, lane: Lane) -> list[Envelope]:
        """The next messages from the state file; when it has none left, memory takes over."""
        async with asyncio.timeout(READ_S):
            batch = await asyncio.wrap_future(self._outbox.read(lane.cursor, _batch_max(lane)))
        if not batch:
            lane.cursor = self._tail[0].sequence - 1 if self._tail else self._sequence
        return batch

    async def _publish_states(self, lane: Lane) -> None:
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
            async with asyncio.timeout(lane.sink.config.timeout_s):
                await lane.sink.tend(self._speakable())
            self._works(lane, "state")
            await asyncio.sleep(lane.sink.config.state_s)

    # Inside

    def _save(self) -> None:
        self._is_saving = False
        if self._unsaved:
            self._outbox.append(self._unsaved)
            self._unsaved = []
        while len(self._tail) > TAIL_MAX and (
            self._tail[0].sequence <= self._outbox.saved or len(self._tail) > UNSAVED_TAIL_MAX
        ):
            oldest = self._tail.popleft().sequence
            if oldest > self._outbox.saved:
                for lane in self._lanes:
                    if lane.cursor < oldest:
                        self._telemetry.deliveries.add(lane.sink.name, "dropped")

    def _failed(self, lane: Lane, error: Exception) -> None:
        lane.failures += 1
        lane.refused = isinstance(error, SinkError) and not error.retry
        lane.reassert = True
        lane.detail = _why(error, lane.sink.config.timeout_s)
        self._telemetry.deliveries.add(lane.sink.name, "failed")
        if lane.failing_since is None:
            lane.failing_since = self._clock.now()
            log.warning("sink lost", sink=lane.sink.name, error=lane.detail)

    def _works(self, lane: Lane, part: str) -> None:
        """Note that delivery or state went well; only both together prove that a sink works."""
        lane.proven.add(part)
        if len(lane.proven) < len(("deliver", "state")):
            return
        lane.failures = 0
        if lane.failing_since is not None:
            lane.failing_since = None
            lane.detail = ""
            log.info("sink works again", sink=lane.sink.name)

    def _pause(self, lane: Lane) -> float:
        """Full jitter: anything between nothing and a bound that doubles with every failure in a row."""
        if lane.refusals.is_open:
            return self._rng.uniform(0.0, BACKOFF_FIRST_S)  # soon, to find out which message it is
        longest = BACKOFF_REFUSED_S if lane.refused else BACKOFF_MAX_S
        return self._rng.uniform(0.0, min(longest, BACKOFF_FIRST_S * 2.0 ** min(lane.failures - 1, 16)))


def _why(error: Exception, timeout_s: float) -> str:
    """What people are told of a failure. They read it in other places than the log, so it must hold no secret."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, SinkError | OSError):
        return conceal(str(error))
    return f"marginwatch itself is at fault ({type(error).__name__}); its log says more"


def _batch_max(lane: Lane) -> int:
    return GATHERED_MAX if lane.sink.config.gather_s else BATCH_MAX


async def _close(sink: Sink) -> None:
    """Leave the sink, in bounded time, whatever it does."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await sink.close()
    except Exception as error:  # noqa: BLE001 - nothing that happens here may end the sink's task
        log.debug("sink was not left in good order", sink=sink.name, error=repr(error))


async def _first_of(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait until a task is done or an event is set."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run these together; when one ends, by failing, the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(tasks, CANCEL_S)


async def _end(tasks: Sequence[asyncio.Task[None]], again_s: float) -> None:
    """Cancel tasks until they have ended, those that go on every `again_s`.

    Once is not always enough: before Python 3.12 `asyncio.wait_for`, which the clients use, loses a cancellation that
    comes together with the result.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)


def _cut(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
