"""Delivery to sinks that work, fail, hang, come back or are new."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from alerts import dispatch as module
from alerts import outbox as outbox_module
from alerts.alert import Alert
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.sink import Envelope, Sink, Trouble
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.errors import SinkError
from monitor.model.assessment import FeedHealth, PoolAssessment, PoolTable
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.recording_sink import RecordingSink
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file that does not exist yet."""
    return tmp_path / "state.sqlite"


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again in hundredths of a second, and the end is not waited for."""
    monkeypatch.setattr(module, "DRAIN_S", 0.2)
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.05)
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.02)
    monkeypatch.setattr(module, "BACKOFF_REFUSED_S", 0.02)


def ids(alerts: Sequence[Alert]) -> list[str]:
    """Their ids."""
    return [alert.id for alert in alerts]


async def test_every_sink_gets_every_alert_once_in_order(path: Path) -> None:
    """Two sinks, two hundred alerts, in bursts."""
    first, second = RecordingSink("first"), RecordingSink("second")
    async with run(path, first, second) as now:
        said = [alert for burst in range(20) for alert in now.fire(*(f"P{burst}-{n}" for n in range(10)))]
        await now.delivered()
        assert first.ids == second.ids == ids(said)
        assert now.telemetry.deliveries.get("first", "delivered") == 200
        assert now.telemetry.alerts.get("margin_ratio", "warning", "firing") == 200
        assert len(now.dispatcher.firing()) == 200


async def test_a_failing_sink_delays_nobody_and_gets_everything_when_it_is_back(path: Path) -> None:
    """In order, without holes; the loss is logged once and the recovery once."""
    good, bad = RecordingSink("good"), RecordingSink("bad")
    bad.failing = "connection refused"
    with capture_logs() as logs:
        async with run(path, good, bad) as now:
            said = now.fire("A", "B", "C")
            await now.delivered("good")
            await until(lambda: now.telemetry.deliveries.get("bad", "failed") >= 3, "some tries")
            (health,) = [health for health in now.dispatcher.health() if health.sink == "bad"]
            assert (health.pending, health.detail) == (3, "connection refused")
            assert health.failing_since is not None
            bad.failing = ""
            await now.delivered()
            assert bad.ids == ids(said)
            await until(lambda: all(health.failing_since is None for health in now.dispatcher.health()), "recovery")
    assert [entry["event"] for entry in logs if entry.get("sink") == "bad"] == ["sink lost", "sink works again"]


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


async def test_a_restart_repeats_nothing_that_was_delivered(path: Path) -> None:
    """And goes on numbering where it was."""
    async with run(path, RecordingSink()) as now:
        now.fire("A", "B")
        await now.delivered()
    sink = RecordingSink()
    async with run(path, sink) as now:
        said = now.fire("A", "B", "C")
        await now.delivered()
        await until(lambda: len(sink.got) > 0, "the new one")
    assert sink.ids == ids(said)
    assert [envelope.sequence for envelope in sink.got] == [3]


async def test_a_restart_delivers_what_was_missed(path: Path) -> None:
    """In order, to the sink that missed it only."""
    lost = RecordingSink("lost")
    lost.failing = "connection refused"
    async with run(path, RecordingSink("good"), lost) as now:
        said = now.fire("A", "B", "C")
        await now.delivered("good")
    good, back = RecordingSink("good"), RecordingSink("lost")
    async with run(path, good, back) as now:
        await now.delivered()
    assert (good.ids, back.ids) == ([], ids(said))


async def test_a_new_sink_is_told_what_fires_but_not_what_was(path: Path) -> None:
    """History is not news."""
    async with run(path, RecordingSink("old")) as now:
        said = now.fire("A", "B")
        now.dispatcher.submit(now.engine.on_pool_gone("binance/main/A", 1_790_000_000.0))
        await now.delivered()
    new = RecordingSink("new")
    async with run(path, new):
        await until(lambda: len(new.got) > 0, "told")
    assert new.ids == [said[1].id]


async def test_what_memory_does_not_hold_is_read_from_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tail is bounded; a sink that lags far behind misses nothing."""
    monkeypatch.setattr(module, "TAIL_MAX", 10)
    good, slow = RecordingSink("good"), RecordingSink("slow")
    slow.failing = "connection refused"
    async with run(path, good, slow) as now:
        said: list[Alert] = []
        for burst in range(10):
            said += now.fire(*(f"P{burst}-{n}" for n in range(30)))
            await until(lambda: now.dispatcher.health()[-1].pending == 0, "saved")
        assert len(now.dispatcher._tail) <= 40
        slow.failing = ""
        await now.delivered()
    assert slow.ids == good.ids == ids(said)


async def test_sending_goes_on_when_the_disk_does_not(path: Path) -> None:
    """The state file reports itself as a sink that fails."""
    sink = RecordingSink()
    async with run(path, sink) as now:
        now.outbox.append([])
        now.outbox._db.execute("PRAGMA query_only = ON")
        said = now.fire("A", "B")
        await now.delivered()
        await until(lambda: now.dispatcher.health()[-1].failing_since is not None, "the failure is told")
        health = now.dispatcher.health()[-1]
        assert (health.sink, health.pending) == ("state", 2)
        assert sink.ids == ids(said)
        assert now.telemetry.persist_failures >= 1
        now.outbox._db.execute("PRAGMA query_only = OFF")
        await until(lambda: now.dispatcher.health()[-1].failing_since is None, "it is written again")
        assert now.outbox.saved == 2


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
        history = await now.dispatcher.history(10)
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


async def test_the_order_to_the_disk_leaves_right_behind_the_send(path: Path) -> None:
    """In the same turn of the loop, whenever the other side answers."""

    class Silent(RecordingSink):
        async def deliver(self, batch: Sequence[Envelope]) -> None:
            await super().deliver(batch)
            await asyncio.Event().wait()

    sink = Silent()
    async with run(path, sink) as now:
        await until(lambda: sink.connections == 1, "connected")
        await asyncio.sleep(0)
        now.fire("A")
        told: list[int] = []
        append = now.outbox.append
        now.outbox.append = lambda envelopes: (told.append(len(sink.got)), append(envelopes))[1]  # type: ignore[method-assign]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told == [1]


async def test_messages_that_memory_cannot_keep_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sink away and a disk that refuses, the oldest are lost to that sink, and the count says so."""
    monkeypatch.setattr(module, "TAIL_MAX", 5)
    monkeypatch.setattr(module, "UNSAVED_TAIL_MAX", 5)
    good, lost = RecordingSink("good"), RecordingSink("lost")
    lost.failing = "connection refused"
    async with run(path, good, lost) as now:
        await until(lambda: now.outbox._db is not None, "open")
        now.outbox._db.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]
        for n in range(12):
            now.fire(f"P{n}")
            await now.delivered("good")
        await until(lambda: now.telemetry.deliveries.get("lost", "dropped") == 7, "counted")
        assert now.telemetry.deliveries.get("good", "dropped") == 0


async def test_stopping_hands_over_what_waits_and_says_goodbye(path: Path) -> None:
    """Alerts submitted just before the end still leave."""
    sink = RecordingSink()
    async with run(path, sink) as now:
        await until(lambda: sink.connections == 1, "connected")
        said = now.fire("A", "B", "C")
    assert sink.ids == ids(said)
    assert sink.closed == 1


async def test_stopping_does_not_wait_for_a_hung_sink(path: Path) -> None:
    """The stop is bounded, and the next run delivers."""
    sink = RecordingSink(timeout_s=60.0)
    started = asyncio.get_running_loop().time()
    async with run(path, sink) as now:
        await until(lambda: sink.connections == 1, "connected")
        sink.hanging = True
        said = now.fire("A")
    assert asyncio.get_running_loop().time() - started < module.DRAIN_S + module.CLOSE_S + 1.0
    again = RecordingSink()
    async with run(path, again) as now:
        await now.delivered()
    assert again.ids == ids(said)


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


async def test_a_fault_in_one_sink_is_logged_and_does_not_stop_the_others(path: Path) -> None:
    """Whatever it raises."""

    class Broken(RecordingSink):
        async def deliver(self, batch: Any) -> None:
            raise RuntimeError("a fault of ours")

        async def close(self) -> None:
            raise ZeroDivisionError

    good, broken = RecordingSink("good"), Broken("broken")
    with capture_logs() as logs:
        async with run(path, good, broken) as now:
            said = now.fire("A")
            await now.delivered("good")
            await until(lambda: now.telemetry.deliveries.get("broken", "failed") >= 2, "some tries")
    assert good.ids == ids(said)
    assert sum(entry["log_level"] == "error" for entry in logs) == 1


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (SinkError("HTTP 401: no such token: hunter2-of-a-sink"), "HTTP 401: no such token: ***"),
        (OSError("cannot reach http://host/hunter2-of-a-sink"), "cannot reach http://host/***"),
        (ValueError("part of hunter2"), "marginwatch itself is at fault (ValueError); its log says more"),
    ],
)
async def test_why_a_sink_failed_is_told_without_its_secret(path: Path, error: Exception, detail: str) -> None:
    """The words of a client, or of a server, are not ours to trust; a fault of ours has its words in the log alone."""
    Secret("hunter2-of-a-sink")

    class Talkative(RecordingSink):
        async def deliver(self, batch: Any) -> None:
            raise error

    with capture_logs():
        async with run(path, Talkative("talkative")) as now:
            now.fire("A")
            await until(lambda: now.dispatcher.health()[0].failing_since is not None, "failed")
            assert now.dispatcher.health()[0].detail == detail


async def test_history_is_newest_first(path: Path) -> None:
    """As Message v1."""
    async with run(path) as now:
        said = now.fire("A", "B")
        await until(lambda: now.outbox.saved == 2, "saved")
        history = await now.dispatcher.history(10)
    assert [alert.id.encode() in message for alert, message in zip(reversed(said), history, strict=True)] == [
        True,
        True,
    ]


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


async def test_a_destination_that_fails_is_reported_below_its_sink(path: Path) -> None:
    """While the sink as a whole works, and when it works again; its alert ends when it is not configured any more."""
    sink = RecordingSink("push")
    sink.trouble = [Trouble("phone", 5.0, "refused")]
    async with run(path, sink) as now:
        health = {each.sink: each for each in now.dispatcher.health()}
        assert (health["push.phone"].failing_since, health["push.phone"].detail) == (5.0, "refused")
        said = now.engine.on_sink("push.phone", 5.0, 0, "refused", 100.0)
        assert [alert.key for alert in said] == ["sink_failure:push.phone"]
        assert now.engine.retain((), ["push", "push.phone"], 101.0) == []
        sink.trouble = [Trouble("phone", None, "")]
        health = {each.sink: each for each in now.dispatcher.health()}
        assert health["push.phone"].failing_since is None
        assert [alert.state for alert in now.engine.retain((), ["push", "push.desk"], 102.0)] == ["resolved"]


async def test_what_may_not_leave_is_passed_over_and_counts_as_not_said(path: Path) -> None:
    """Judged right before it leaves; an end that was passed over leaves what ended as if it still fired."""
    sink = RecordingSink()
    async with run(path, sink) as now:
        now.dispatcher.speaks = lambda alert: alert.pool != "binance/main/B"
        said = now.fire("A", "B", "C")
        await now.delivered()
        assert [envelope.alert.pool for envelope in sink.got] == ["binance/main/A", "binance/main/C"]
        assert ids(now.dispatcher.last_words("binance", "main")) == ids([said[0], said[2]])
        now.dispatcher.speaks = lambda alert: False
        (over,) = now.engine.on_pool_gone("binance/main/A", 1_790_000_001.0)
        now.dispatcher.submit([over])
        await now.delivered()
        words = now.dispatcher.last_words("binance", "main")
        assert {word.pool for word in words if word.state == "firing"} == {"binance/main/A", "binance/main/C"}
        now.dispatcher.take_over("binance", "main", [said[1]])
        assert now.dispatcher.last_words("binance", "main") == [said[1]]
        assert len(sink.got) == 2


async def test_what_another_monitor_said_goes_to_the_sinks_that_lack_it(path: Path) -> None:
    """The others have heard it; what comes next goes to all, and all get past it."""
    near, far = RecordingSink("near"), RecordingSink("far")
    async with run(path, near, far):
        pass  # sinks that are new are told what fires
    async with run(path, near, far) as now:
        word, more = (alert for scope in "AB" for alert in now.engine.on_pool(a_pool(0.75, scope=scope), 0.0))
        now.dispatcher.take_over("binance", "main", [word])
        now.dispatcher.submit([word], only={"far"})
        now.dispatcher.submit([more])
        await now.delivered()
        assert [each.alert for each in far.got] == [word, more]
        assert [each.alert for each in near.got] == [more]
        assert now.dispatcher.reached() == {"near": 2, "far": 2}
        assert [each.sequence for each in now.dispatcher.last_said("binance", "main")] == [1, 2]
        now.dispatcher.take_over("binance", "main", [])
        assert now.dispatcher.last_said("binance", "main") == []


class Deaf(RecordingSink):
    """Loses the first cancellation of what it shows, as a client does that has its answer at the same moment."""

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """Wait, and go on when told to end."""
        if not self.shown:
            self.shown["waiting"] = a_pool(0.1)
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


async def test_a_cancellation_that_a_client_loses_does_not_hold_up_the_end(path: Path) -> None:
    """It is told again, until everything has ended."""
    sink = Deaf(timeout_s=60.0)
    ended = asyncio.create_task(_run_briefly(path, sink))
    await until(ended.done, "the end")
    assert sink.closed


async def _run_briefly(path: Path, sink: Deaf) -> None:
    async with run(path, sink, source=Pools()):
        await until(lambda: bool(sink.shown), "it shows")
