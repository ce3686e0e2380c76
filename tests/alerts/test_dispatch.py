"""Delivery to sinks that work, fail, come back or are new."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from alerts import backlog, dispatch
from alerts.alert import Alert
from alerts.delivery import CLOSE_S
from alerts.sink import Envelope, Trouble
from monitor.model.assessment import PoolAssessment
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


async def test_every_sink_gets_every_alert_once_in_order(path: Path) -> None:
    """Two sinks, two hundred alerts, in bursts."""
    first, second = RecordingSink("first"), RecordingSink("second")
    async with run(path, first, second) as now:
        said = [alert for burst in range(20) for alert in now.fire(*(f"P{burst}-{n}" for n in range(10)))]
        await now.delivered()
        assert first.ids == second.ids == ids(said)
        assert now.telemetry.deliveries.get("first", "delivered") == 200
        assert now.telemetry.alerts.get("margin_ratio", "warning", "firing") == 200
        assert len(now.dispatcher.spoken.speakable()) == 200


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
    monkeypatch.setattr(backlog, "TAIL_MAX", 10)
    good, slow = RecordingSink("good"), RecordingSink("slow")
    slow.failing = "connection refused"
    async with run(path, good, slow) as now:
        said: list[Alert] = []
        for burst in range(10):
            said += now.fire(*(f"P{burst}-{n}" for n in range(30)))
            await until(lambda: now.dispatcher.health()[-1].pending == 0, "saved")
        assert now.dispatcher._backlog.sequence - now.dispatcher._backlog.oldest < 40
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
    monkeypatch.setattr(backlog, "TAIL_MAX", 5)
    monkeypatch.setattr(backlog, "UNSAVED_TAIL_MAX", 5)
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
    assert asyncio.get_running_loop().time() - started < dispatch.DRAIN_S + CLOSE_S + 1.0
    again = RecordingSink()
    async with run(path, again) as now:
        await now.delivered()
    assert again.ids == ids(said)


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


async def test_history_is_newest_first(path: Path) -> None:
    """As Message v1."""
    async with run(path) as now:
        said = now.fire("A", "B")
        await until(lambda: now.outbox.saved == 2, "saved")
        history = await asyncio.wrap_future(now.outbox.history(10))
    assert [alert.id.encode() in message for alert, message in zip(reversed(said), history, strict=True)] == [
        True,
        True,
    ]


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
        now.dispatcher.spoken.speaks = lambda alert: alert.pool != "binance/main/B"
        said = now.fire("A", "B", "C")
        await now.delivered()
        assert [envelope.alert.pool for envelope in sink.got] == ["binance/main/A", "binance/main/C"]
        assert ids(now.dispatcher.spoken.last_words("binance", "main")) == ids([said[0], said[2]])
        now.dispatcher.spoken.speaks = lambda alert: False
        (over,) = now.engine.on_pool_gone("binance/main/A", 1_790_000_001.0)
        now.dispatcher.submit([over])
        await now.delivered()
        words = now.dispatcher.spoken.last_words("binance", "main")
        assert {word.pool for word in words if word.state == "firing"} == {"binance/main/A", "binance/main/C"}
        now.dispatcher.take_over("binance", "main", [said[1]])
        assert now.dispatcher.spoken.last_words("binance", "main") == [said[1]]
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
        assert [each.sequence for each in now.dispatcher.spoken.last_said("binance", "main")] == [1, 2]
        now.dispatcher.take_over("binance", "main", [])
        assert now.dispatcher.spoken.last_said("binance", "main") == []


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
