"""What is shown of the alerting side: sinks that work and sinks that do not, silences, the configured rungs."""

import asyncio
from contextlib import suppress
from pathlib import Path

from alerts.alert import Silence
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.rules.distance import DistanceConfig
from alerts.view import AlertView
from monitor.clock import SystemClock
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.recording_sink import RecordingSink
from tests.support.server_process import until


async def test_the_view(tmp_path: Path) -> None:
    """One sink fails and one works; the state file takes part; a rung that is off is absent."""
    good, bad = RecordingSink("good"), RecordingSink("bad")
    bad.failing = "no"
    clock, telemetry = SystemClock(), Telemetry()
    config = AlertsConfig(distance=DistanceConfig(critical=0.02))
    engine = Engine(config, "box")
    with Outbox.open(tmp_path / "state.sqlite", ["good", "bad"], clock, telemetry) as outbox:
        dispatcher = Dispatcher(outbox, [good, bad], clock, telemetry)
        view = AlertView(dispatcher, engine, config)
        task = asyncio.create_task(dispatcher.run())
        dispatcher.submit(engine.on_pool(a_pool(0.75), clock.now()))
        await until(lambda: not view.working()["bad"] and not view.pending()["good"], "one took it, one did not")
        assert view.working() == {"good": True, "bad": False, "state": True}
        assert view.pending() == {"good": 0, "bad": 1}
        assert set(telemetry.delivered_at) == {"good"}
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    silence = Silence("s1", "binance/main", clock.now() + 60, "anna", "known", emergency=False, at=clock.now())
    engine.silence(silence, clock.now())
    assert list(view.silences()) == [silence]
    assert [alert.silenced for alert in view.firing()] == [silence]
    assert view.voices() == {}
    distance = {severity: rung for (rule, severity), rung in view.rungs().items() if rule == "distance"}
    assert distance == {"critical": 0.02}
    assert view.rungs()["model_error", "warning"] == config.model_error.tolerance
