"""Delivery: every alert to every sink, in order, at least once; a slow or dead sink delays nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alerts.alert import Alert
from alerts.sink import Sink
from monitor.clock import Clock
from monitor.model.sources import PoolSource
from monitor.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does; feed it to `Engine.on_sink` about once a second. `state` is the name of the state file."""

    sink: str
    failing_since: float | None
    pending: int
    detail: str


class Dispatcher:
    """Takes alerts without ever waiting, and runs one task a sink."""

    def __init__(
        self,
        outbox: object,
        sinks: Sequence[Sink],
        clock: Clock,
        telemetry: Telemetry,
        source: PoolSource | None = None,
    ) -> None:
        raise NotImplementedError

    def submit(self, alerts: Sequence[Alert]) -> None:
        """Take alerts, in order. Never blocks: sinks are woken at once and the disk is written by a thread."""
        raise NotImplementedError

    def health(self) -> list[SinkHealth]:
        """Every sink, and the state file."""
        raise NotImplementedError

    def pending(self) -> Mapping[str, int]:
        """Alerts that a sink does not have yet, by sink."""
        raise NotImplementedError

    def firing(self) -> list[Alert]:
        """The last word about everything that fires."""
        raise NotImplementedError

    async def history(self, limit: int) -> list[bytes]:
        """The newest messages (Message v1), newest first."""
        raise NotImplementedError

    async def run(self) -> None:
        """Run every sink until cancelled; then deliver what waits and close, in bounded time."""
        raise NotImplementedError
