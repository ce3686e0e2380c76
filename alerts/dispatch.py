"""Delivery: every alert to every sink, in order, at least once; a slow or dead sink delays nobody.

One task a sink, see `Delivery`; what they have in common is what was said (`Backlog`) and by whom (`Spoken`).
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from alerts.alert import STATE_FILE, Alert
from alerts.backlog import Backlog
from alerts.condition import SinkHealth
from alerts.delivery import CLOSE_S, Delivery
from alerts.outbox import Outbox
from alerts.sink import Sink
from alerts.spoken import Spoken
from monitor.clock import Clock
from monitor.model.sources import PoolSource
from monitor.tasks import CANCEL_S, end
from monitor.telemetry import Telemetry

DRAIN_S = 2.0


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
        self._backlog = Backlog(outbox)
        self._is_saving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.spoken = Spoken(outbox.restored.alerts)
        self.noted: Callable[[int, Alert], None] = lambda sequence, alert: None
        """Called with the number that each alert gets."""
        rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._deliveries = [
            Delivery(
                sink,
                outbox.cursors[sink.name],
                self._backlog,
                self.spoken,
                source,
                clock,
                telemetry,
                rng,
                knows_nothing=sink.name in outbox.new_sinks,
            )
            for sink in sinks
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
            envelope = self._backlog.add(alert)
            self.spoken.add(envelope, only)
            self.noted(envelope.sequence, alert)
            self._telemetry.alerts.add(alert.rule, alert.severity.label, alert.state.value)
        if not self._backlog.is_untold:
            return
        for delivery in self._deliveries:
            delivery.wake()
        if self._loop is None:
            self._save()
        elif not self._is_saving:
            # Behind the sinks' own callbacks, so that waking the writing thread does not cost the send a switch of
            # threads.
            self._is_saving = True
            self._loop.call_soon(self._save)

    def health(self) -> list[SinkHealth]:
        """Every sink, the destinations behind it, and the state file."""
        now = self._clock.now()
        sinks = [delivery.health(now) for delivery in self._deliveries]
        destinations = [each for delivery in self._deliveries for each in delivery.destinations()]
        since, detail = self._outbox.trouble(now) or (None, "")
        return [*sinks, *destinations, SinkHealth(STATE_FILE, since, self._backlog.unsaved, detail)]

    def pending(self) -> Mapping[str, int]:
        """Messages that a sink does not have yet, by sink."""
        return {delivery.name: delivery.pending for delivery in self._deliveries}

    def reached(self) -> dict[str, int]:
        """The sequence up to which each sink has everything, by sink."""
        return {delivery.name: delivery.cursor for delivery in self._deliveries}

    def take_over(self, venue: str, account: str, words: Sequence[Alert]) -> None:
        """Go on from these last words about an account: nothing of them is said now."""
        everywhere = min(self.reached().values(), default=self._backlog.sequence)
        self.spoken.take_over(venue, account, words, everywhere)

    # The sinks' tasks

    async def run(self) -> None:
        """Run every sink until cancelled; then hand over what waits and say goodbye, in `DRAIN_S` + `CLOSE_S`."""
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(each.run(), name=f"sink {each.name}") for each in self._deliveries]
        try:
            await asyncio.Event().wait()
        finally:
            self._save()
            await self._drain()
            await end(tasks, CLOSE_S + CANCEL_S)
            self._loop = None

    async def _drain(self) -> None:
        """Wait until the sinks that work have everything."""
        working = [delivery for delivery in self._deliveries if delivery.condition.failing_since is None]
        waiting = [asyncio.create_task(delivery.idle.wait()) for delivery in working]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=DRAIN_S)
            for task in late:
                task.cancel()

    def _save(self) -> None:
        self._is_saving = False
        for sequence in self._backlog.save():
            for delivery in self._deliveries:
                if delivery.cursor < sequence:
                    self._telemetry.deliveries.add(delivery.name, "dropped")
