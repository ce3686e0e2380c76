"""One sink's way: connect, hand over what it missed, say again what fires, then hand over whatever comes.

What a sink acknowledged is marked after it acknowledged, so a kill in between repeats it, under the same id.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import structlog

from alerts.alert import Severity, State
from alerts.backlog import Backlog
from alerts.batches import batches
from alerts.condition import DELIVERY, STATE, Condition, SinkHealth
from alerts.refusals import PROBES_MAX, Refusals
from alerts.showing import Showing
from alerts.sink import Envelope, Sink
from alerts.spoken import Spoken
from monitor.clock import Clock
from monitor.errors import SinkError
from monitor.model.sources import PoolSource
from monitor.tasks import first_of, until_one_ends
from monitor.telemetry import Telemetry

BATCH_MAX = 64
GATHERED_MAX = 1_000
"""For a sink that says several alerts in one: it is to know what became of those that waited, and say only that."""
CLOSE_S = 1.0

log = structlog.get_logger(__name__)


class Delivery:
    """One sink, how far it is, and the task that takes it further.

    `cursor` is the number up to which it has everything; a sink that `knows_nothing` is told what fires.
    """

    def __init__(
        self,
        sink: Sink,
        cursor: int,
        backlog: Backlog,
        spoken: Spoken,
        source: PoolSource | None,
        clock: Clock,
        telemetry: Telemetry,
        rng: random.Random,
        *,
        knows_nothing: bool,
    ) -> None:
        self.cursor = cursor
        self.condition = Condition()
        self.idle = asyncio.Event()
        """Set while nothing waits for the sink."""
        self._sink = sink
        self._backlog = backlog
        self._spoken = spoken
        self._clock = clock
        self._telemetry = telemetry
        self._rng = rng
        self._showing = Showing(sink, source)
        self._wake = asyncio.Event()
        # Said again on every connection but the first of a run: a restart does not repeat what was delivered.
        self._says_again = knows_nothing
        self._refusals = Refusals()
        self._rushed_until = 0.0
        """An emergency has just left without waiting for others; until this time of the loop others wait."""
        self._batch_max = GATHERED_MAX if sink.config.gather_s else BATCH_MAX

    @property
    def name(self) -> str:
        """The sink's."""
        return self._sink.name

    @property
    def pending(self) -> int:
        """How many messages the sink does not have yet."""
        return self._backlog.sequence - self.cursor

    def wake(self) -> None:
        """There is something to hand over."""
        self.idle.clear()
        self._wake.set()

    def health(self, now: float) -> SinkHealth:
        """How the sink does."""
        return self.condition.health(self.name, self.pending, now)

    def destinations(self) -> list[SinkHealth]:
        """How each of the destinations behind it does."""
        troubles = self._sink.troubles()
        return [SinkHealth(f"{self.name}.{each.destination}", each.since, 0, each.detail) for each in troubles]

    async def run(self) -> None:
        """Connect, serve, and after any failure begin again, for ever."""
        while True:
            try:
                await self._serve()
            except (SinkError, TimeoutError, OSError) as error:
                self._failed(error)
            except Exception as error:
                # A fault in one sink must not silence the others.
                if self.condition.failing_since is None:
                    log.exception("sink failed in a way it should not", sink=self.name)
                self._failed(error)
            finally:
                self.idle.clear()
                await _close(self._sink)
            await self._rest()

    async def _rest(self) -> None:
        """Wait before the next connection; a message that is refused does not keep the next one waiting."""
        self._wake.clear()
        # Soon, while it is to be found out which message it is.
        longest_s = self.condition.longest_pause_s(soon=self._refusals.is_open)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(0.0, longest_s)):
                if self._refusals and self.pending <= PROBES_MAX:
                    await self._wake.wait()
                else:
                    await asyncio.Event().wait()

    async def _serve(self) -> None:
        self.condition.begin()
        async with asyncio.timeout(self._sink.config.timeout_s):
            await self._sink.connect()
        await until_one_ends(self._deliver(), self._show())

    async def _deliver(self) -> None:
        sent: set[str] | None = set()
        while True:
            found = self._backlog.after(self.cursor, self._batch_max)
            if found is None:
                found = await self._backlog.read(self.cursor, self._batch_max)
                if not found:  # the disk has none left: memory takes over
                    self.cursor = self._backlog.oldest - 1
            batch = self._spoken.sift(self.name, found)
            if found and not batch:
                self._advance(found[-1].sequence)
            elif batch:
                offered = self._refusals.offer(batch)
                try:
                    if self._sink.overtakes:
                        await self._hand_over_and_overtake(offered)
                    else:
                        await self._hand_over(offered, "delivered")
                except SinkError as error:
                    self._refused(offered, error)
                    raise
                self._delivered(batch, offered)
                if sent is not None:
                    sent.update(envelope.alert.id for envelope in offered)
            elif self.pending:
                continue
            elif sent is not None:
                # Nothing is missing any more: now what fired before this connection is said again.
                await self._reassert(sent)
                sent = None
            else:
                self._works(DELIVERY)
                self.idle.set()
                self._wake.clear()
                await self._wake.wait()
                if self._sink.config.gather_s:
                    await self._gather()

    async def _gather(self) -> None:
        """Let a few alerts come together, for a sink that says them in one; an emergency ends the wait.

        Those right behind it gather as well: of a crash that takes many pools one leaves at once, the others together.
        """
        now = asyncio.get_running_loop().time
        gather_s = self._sink.config.gather_s
        with suppress(TimeoutError):
            async with asyncio.timeout(gather_s):
                while self.pending < BATCH_MAX:
                    if now() >= self._rushed_until and self._urgent(self.cursor):
                        self._rushed_until = now() + gather_s
                        return
                    self._wake.clear()
                    await self._wake.wait()

    def _urgent(self, after: int) -> list[Envelope]:
        """The emergencies past a place that may leave now."""
        found = [each for each in self._backlog.after(self.cursor, self._batch_max) or () if each.sequence > after]
        firing = [each for each in found if each.alert.state is State.FIRING]
        return self._spoken.sift(self.name, [each for each in firing if each.alert.severity is Severity.EMERGENCY])

    async def _hand_over_and_overtake(self, batch: Sequence[Envelope]) -> None:
        """Hand a batch over; the emergencies that come meanwhile do not wait for its end, and come again after it."""
        now, after = asyncio.get_running_loop().time, batch[-1].sequence
        handing = asyncio.create_task(self._hand_over(batch, "delivered"))
        try:
            while not handing.done():
                await first_of(handing, self._wake)
                await asyncio.wait({handing}, timeout=max(0.0, self._rushed_until - now()))
                self._wake.clear()
                if not handing.done() and (urgent := self._urgent(after)):
                    after, self._rushed_until = urgent[-1].sequence, now() + self._sink.config.gather_s
                    with suppress(SinkError, TimeoutError):  # it is tried again in its turn
                        await self._hand_over(urgent, "delivered")
            await handing
        finally:
            handing.cancel()
            await asyncio.gather(handing, return_exceptions=True)

    async def _reassert(self, sent: set[str]) -> None:
        if self._says_again:
            skipped = {*sent, *self._refusals.given_up}
            firing = [each for each in self._spoken.speakable() if each.alert.id not in skipped]
            for batch in batches(
                [each for each in firing if not self._refusals.is_doubtful(each)], 1 if self._refusals else BATCH_MAX
            ):
                try:
                    await self._hand_over(batch, "reasserted")
                except SinkError as error:
                    self._refused(batch, error)
                    raise
            for envelope in firing:
                # It was said before; the sink that will not hear it again is not asked for ever.
                if self._refusals.is_doubtful(envelope):
                    self._give_up(envelope, self.condition.detail)
        self._says_again = True

    def _refused(self, offered: Sequence[Envelope], error: SinkError) -> None:
        """Note a refusal that will last; other failures say nothing about the messages."""
        if not error.retry and (lost := self._refusals.refused(offered)) is not None:
            self._give_up(lost, str(error))
            self._advance(lost.sequence)

    def _delivered(self, batch: Sequence[Envelope], offered: Sequence[Envelope]) -> None:
        reached = self._refusals.taken(batch, offered)
        if reached is not None:
            self._advance(reached)
        self._works(DELIVERY)

    def _advance(self, sequence: int) -> None:
        self.cursor = max(self.cursor, self._refusals.past(sequence))
        self._backlog.advance(self.name, self.cursor)

    async def _hand_over(self, batch: Sequence[Envelope], outcome: str) -> None:
        async with asyncio.timeout(self._sink.config.timeout_s):
            await self._sink.deliver(batch)
        self._telemetry.deliveries.add(self.name, outcome, amount=len(batch))
        self._telemetry.delivered_at[self.name] = self._clock.now()

    def _give_up(self, envelope: Envelope, why: str) -> None:
        """This sink does not get this message; it stays in the history, and the others have it."""
        alert = envelope.alert
        self._refusals.give_up(envelope)
        loss = f"{alert.key} {alert.severity.label} {alert.state.value} ({alert.id}): {why}"
        self.condition.lost(loss, self._clock.now())
        self._telemetry.deliveries.add(self.name, "refused")
        log.error("sink refuses an alert for good", sink=self.name, alert=alert.id, key=alert.key, error=why)

    async def _show(self) -> None:
        while True:
            await self._showing.round()
            async with asyncio.timeout(self._sink.config.timeout_s):
                await self._sink.tend(self._spoken.speakable())
            self._works(STATE)
            await asyncio.sleep(self._sink.config.state_s)

    def _failed(self, error: Exception) -> None:
        self._says_again = True
        self._telemetry.deliveries.add(self.name, "failed")
        if self.condition.failed(error, self._sink.config.timeout_s, self._clock.now()):
            log.warning("sink lost", sink=self.name, error=self.condition.detail)

    def _works(self, part: str) -> None:
        if self.condition.works(part):
            log.info("sink works again", sink=self.name)


async def _close(sink: Sink) -> None:
    """Leave the sink, in bounded time, whatever it does."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await sink.close()
    except Exception as error:  # noqa: BLE001 - nothing that happens here may end the sink's task
        log.debug("sink was not left in good order", sink=sink.name, error=repr(error))
