"""What one sink is handed, and when: what it refuses, what comes together, what overtakes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from alerts.sink import Envelope
from monitor.errors import SinkError
from tests.alerts.stage import Pools, hurry, ids, run
from tests.support.pools import a_pool
from tests.support.recording_sink import RecordingSink
from tests.support.server_process import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file that does not exist yet."""
    return tmp_path / "state.sqlite"


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def test_a_hung_sink_is_noticed_by_our_deadline(path: Path) -> None:
    """A server that accepts and never answers fails like one that refuses, and says for how long it was waited."""
    sink = RecordingSink(timeout_s=0.05)
    async with run(path, sink) as now:
        await until(lambda: sink.connections == 1, "connected")
        sink.hanging = True
        said = now.fire("A")
        await until(lambda: now.dispatcher.health()[0].failing_since is not None, "noticed")
        assert now.dispatcher.health()[0].detail == "no answer within 0.05 s"
        sink.hanging = False
        await now.delivered()
        assert set(sink.ids) == set(ids(said))


async def test_after_a_failure_everything_that_fires_is_said_again(path: Path) -> None:
    """A server that lost its memory learns what holds, under the same ids, and not what is over."""
    sink = RecordingSink()
    async with run(path, sink) as now:
        said = now.fire("A", "B", "C")
        over = now.engine.on_pool_gone("binance/main/B", 1_790_000_000.0)
        now.dispatcher.submit(over)
        await now.delivered()
        sink.got.clear()
        sink.failing = "connection reset"
        await until(lambda: now.dispatcher.health()[0].failing_since is not None, "noticed without any alert")
        sink.failing = ""
        await until(lambda: len(sink.got) == 2, "said again")
        assert sink.ids == [said[0].id, said[2].id]
        assert now.telemetry.deliveries.get("recording", "reasserted") == 2


class Picky(RecordingSink):
    """Refuses for good alerts whose keys end in one of `refused`, as a broker does that finds them too large."""

    refused: tuple[str, ...] = ()

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Take what is before the first that is refused."""
        for envelope in batch:
            if envelope.alert.key.endswith(self.refused):
                raise SinkError("packet too large", retry=False)
            await super().deliver([envelope])


async def test_a_message_that_is_refused_for_good_does_not_block_the_sink(path: Path) -> None:
    """It is counted, told with its name, kept in the history, and not asked about again; the others arrive."""
    good, picky = RecordingSink("good"), Picky("picky")
    picky.refused = ("/P2", "/P3")
    async with run(path, good, picky) as now:
        said = now.fire(*(f"P{n}" for n in range(6)))
        await now.delivered()
        wanted = [alert.id for n, alert in enumerate(said) if n not in (2, 3)]
        assert list(dict.fromkeys(picky.ids)) == wanted
        assert now.telemetry.deliveries.get("picky", "refused") == 2
        health = now.dispatcher.health()[1]
        assert health.refused == f"{said[3].key} warning firing ({said[3].id}): packet too large"
        (told,) = now.engine.on_sink(health.sink, None, 0, health.detail, 1_790_000_000.0, health.refused)
        assert told.text == f"1 alert refused for good · sink picky · {health.refused}"
        await until(lambda: now.dispatcher.health()[1].failing_since is None, "works again")
        history = await asyncio.wrap_future(now.outbox.history(10))
        assert len(history) == 6
        assert len(good.ids) == 6
    async with run(path, RecordingSink("good"), again := Picky("picky")) as now:
        await now.delivered()
    assert again.ids == []


async def test_a_message_that_is_refused_when_said_again_does_not_block_either(path: Path) -> None:
    """A broker that got a smaller limit and lost the connection is told the rest of what fires, and the news."""
    sink = Picky()
    async with run(path, sink) as now:
        now.fire("P1", "P2", "P3")
        await now.delivered()
        sink.refused = ("/P1",)
        sink.failing = "connection reset"
        await until(lambda: now.dispatcher.health()[0].failing_since is not None, "noticed")
        sink.got.clear()
        sink.failing = ""
        await until(lambda: now.telemetry.deliveries.get("recording", "refused") == 1, "given up")
        (news,) = now.fire("P4")
        await now.delivered()
        assert news.id in sink.ids


async def test_a_sink_that_refuses_everything_loses_nothing(path: Path) -> None:
    """No permission at all is not the messages' fault: all of them arrive once a person has mended it."""
    sink = Picky()
    sink.refused = ("",)
    async with run(path, sink) as now:
        said = now.fire("A", "B", "C")
        await until(lambda: now.telemetry.deliveries.get("recording", "failed") > 20, "many refusals")
        assert now.dispatcher.pending() == {"recording": 3}
        assert now.dispatcher.health()[0].failing_since is not None
        said += now.fire(*(f"D{n}" for n in range(20)))
        await until(lambda: now.telemetry.deliveries.get("recording", "failed") > 40, "many more")
        assert now.telemetry.deliveries.get("recording", "refused") == 0
        sink.refused = ()
        await now.delivered()
    latest = {identifier: place for place, identifier in enumerate(sink.ids)}
    assert sorted(latest, key=latest.__getitem__) == ids(said)


async def test_state_is_published_and_cleared(path: Path) -> None:
    """Pools that are gone are named once; pools that come back are shown again."""
    sink, pools = RecordingSink(), Pools()
    pools.present = {f"p{n}": a_pool(0.1, pool=f"p{n}") for n in range(40)}
    async with run(path, sink, source=pools):
        await until(lambda: len(sink.shown) == 40, "shown")
        del pools.present["p7"]
        await until(lambda: bool(sink.gone), "cleared")
        await until(lambda: len(sink.shown) == 40, "still shown")
    assert sink.gone == ["p7"]


class Batches(RecordingSink):
    """Notes the pools of every batch of alerts on margin ratios as it begins, and may hold it up."""

    def __init__(self, **config: float) -> None:
        super().__init__(**config)
        self.batches: list[list[str]] = []
        self.gate: asyncio.Event | None = None
        self.waiting = 0

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Wait at the gate, if there is one."""
        ratios = [each.alert.pool or "" for each in batch if each.alert.rule == "margin_ratio"]
        self.batches.append([pool.rpartition("/")[2] for pool in ratios])
        if self.gate is not None:
            self.waiting += 1
            await self.gate.wait()
        await super().deliver(batch)


async def test_alerts_come_together_for_a_sink_that_gathers_them(path: Path) -> None:
    """What is said within the time leaves in one delivery; an emergency ends the wait for all of them."""
    patient = Batches(gather_s=60.0)
    async with run(path, patient) as now:
        await until(lambda: now.dispatcher.health()[0].pending == 0 and patient.connections == 1, "connected")
        now.fire("A")
        await asyncio.sleep(0)
        now.fire("B")
        await asyncio.sleep(0)
        assert patient.batches == []
        now.fire("C", ratio=0.97)
        await now.delivered()
    assert patient.batches[0] == ["A", "B", "C"]


async def test_emergencies_right_after_one_come_together(path: Path) -> None:
    """The first leaves at once; of those behind it nobody gets one message each."""
    patient = Batches(gather_s=0.2)
    async with run(path, patient) as now:
        await until(lambda: now.dispatcher.health()[0].pending == 0 and patient.connections == 1, "connected")
        for number in range(8):
            now.fire(f"P{number}", ratio=0.97)
            await asyncio.sleep(0)
        await now.delivered()
    assert 1 <= len(patient.batches) <= 3
    assert {pool for batch in patient.batches for pool in batch} == {f"P{number}" for number in range(8)}


async def test_an_emergency_does_not_wait_for_a_delivery_that_lasts(path: Path) -> None:
    """It overtakes, where a sink allows that; everything still arrives, and what overtook may come again."""
    slow = Batches(gather_s=0.01, timeout_s=30.0)
    slow.overtakes = True
    slow.gate = asyncio.Event()
    async with run(path, slow) as now:
        await until(lambda: now.dispatcher.health()[0].pending == 0 and slow.connections == 1, "connected")
        now.fire("A", "B")
        await until(lambda: slow.waiting == 1, "under way")
        now.fire("C")
        now.fire("D", ratio=0.97)
        await until(lambda: slow.waiting == 2, "the emergency is under way, too")
        slow.gate.set()
        await now.delivered()
    assert slow.batches[1] == ["D"]
    assert {pool for batch in slow.batches for pool in batch} == {"A", "B", "C", "D"}


async def test_sinks_are_told_what_fires_as_time_goes(path: Path) -> None:
    """Also while nothing happens, and no more of what is over."""
    sink = RecordingSink()
    async with run(path, sink) as now:
        said = now.fire("A", "B")
        await until(lambda: {each.alert.id for each in sink.tended} == set(ids(said)), "both")
        now.dispatcher.submit(now.engine.on_pool_gone("binance/main/A", 1_790_000_001.0))
        await until(lambda: {each.alert.pool for each in sink.tended} == {"binance/main/B"}, "the one left")
