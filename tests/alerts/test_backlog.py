"""What memory holds of what was said, and when it looks to the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts import backlog as module
from alerts.alert import Alert
from alerts.backlog import Backlog
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.outbox import Outbox
from monitor.clock import SystemClock
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.server_process import until


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Of one sink."""
    with Outbox.open(tmp_path / "state.sqlite", ["redis"], SystemClock(), Telemetry()) as outbox:
        yield outbox


def alerts(count: int) -> list[Alert]:
    """So many."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for n in range(count) for alert in engine.on_pool(a_pool(0.75, scope=f"P{n}"), 1_790_000_000.0)]


async def test_what_follows_comes_oldest_first_and_so_many_at_a_time(outbox: Outbox) -> None:
    """Nothing when nothing follows."""
    subject = Backlog(outbox)
    assert subject.after(0, 10) == []
    said = [subject.add(alert) for alert in alerts(5)]
    assert [each.sequence for each in said] == [1, 2, 3, 4, 5]
    assert subject.after(1, 2) == said[1:3]
    assert subject.after(3, 10) == said[3:]
    assert subject.after(5, 10) == []


async def test_memory_lets_go_only_of_what_the_disk_has(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lags behind what memory holds is sent to the disk, which has the same."""
    monkeypatch.setattr(module, "TAIL_MAX", 2)
    subject = Backlog(outbox)
    said = [subject.add(alert) for alert in alerts(5)]
    assert subject.is_untold
    assert (subject.unsaved, subject.save(), subject.oldest) == (5, [], 1)
    assert not subject.is_untold
    await until(lambda: subject.unsaved == 0, "saved")
    assert (subject.save(), subject.oldest) == ([], 4)
    assert subject.after(1, 10) is None
    assert subject.after(3, 10) == said[3:]
    assert [each.payload for each in await subject.read(1, 2)] == [each.payload for each in said[1:3]]
    assert await subject.read(5, 2) == []


async def test_past_its_bound_memory_forgets_what_nobody_has_and_says_which(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk cannot be written."""
    monkeypatch.setattr(module, "TAIL_MAX", 2)
    monkeypatch.setattr(module, "UNSAVED_TAIL_MAX", 3)
    outbox.append([])
    await until(lambda: outbox._db is not None, "open")
    outbox._db.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]
    subject = Backlog(outbox)
    for alert in alerts(5):
        subject.add(alert)
    assert subject.save() == [1, 2]
    assert subject.oldest == 3
