"""One run of delivery over a state file."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from alerts import condition, dispatch
from alerts import outbox as outbox_module
from alerts.alert import Alert
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.sink import Sink
from monitor.clock import SystemClock
from monitor.model.assessment import AccountSight, FeedHealth, PoolAssessment, PoolTable
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.server_process import until


@dataclass
class Pools:
    """A `PoolSource` that has only assessments."""

    present: dict[str, PoolAssessment] = field(default_factory=dict)

    def assessments(self) -> Mapping[str, PoolAssessment]:
        """What is present."""
        return self.present

    def table(self) -> PoolTable:
        """Not asked here."""
        raise AssertionError("the dispatcher does not look at the table")

    def accounts(self) -> Sequence[AccountSight]:
        """Not asked here."""
        return ()

    def health(self) -> Sequence[FeedHealth]:
        """Not asked here."""
        return ()

    def ready(self) -> tuple[bool, tuple[str, ...]]:
        """Not asked here."""
        return True, ()


@dataclass
class Run:
    """One run of engine, outbox and dispatcher over a state file."""

    engine: Engine
    outbox: Outbox
    dispatcher: Dispatcher
    telemetry: Telemetry

    def fire(self, *scopes: str, ratio: float = 0.75) -> list[Alert]:
        """Let these pools fire, and submit what is said."""
        said = [alert for scope in scopes for alert in self.engine.on_pool(a_pool(ratio, scope=scope), 1_790_000_000.0)]
        self.dispatcher.submit(said)
        return said

    async def delivered(self, *sinks: str) -> None:
        """Wait until these sinks (all, if none is named) have everything."""
        pending = self.dispatcher.pending
        await until(
            lambda: not any(left for name, left in pending().items() if not sinks or name in sinks), "delivered"
        )


@asynccontextmanager
async def run(path: Path, *sinks: Sink, source: Pools | None = None) -> AsyncIterator[Run]:
    """Run until the block ends, then stop as the daemon does."""
    clock, telemetry = SystemClock(), Telemetry()
    with Outbox.open(path, [sink.name for sink in sinks], clock, telemetry) as outbox:
        engine = Engine(AlertsConfig(), "box")
        engine.restore(outbox.restored, clock.now())
        dispatcher = Dispatcher(outbox, sinks, clock, telemetry, source)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield Run(engine, outbox, dispatcher, telemetry)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def ids(alerts: Sequence[Alert]) -> list[str]:
    """Their ids."""
    return [alert.id for alert in alerts]


def hurry(monkeypatch: pytest.MonkeyPatch, longest_s: float = 0.02) -> None:
    """Failures are tried again in hundredths of a second, and the end is not waited for."""
    monkeypatch.setattr(dispatch, "DRAIN_S", 0.2)
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.05)
    monkeypatch.setattr(condition, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(condition, "BACKOFF_MAX_S", longest_s)
    monkeypatch.setattr(condition, "BACKOFF_REFUSED_S", longest_s)
