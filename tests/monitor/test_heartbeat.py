"""The sign of life, asked for by a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from pydantic import ValidationError
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.heartbeat import Heartbeat, HeartbeatConfig, reach
from monitor.telemetry import Telemetry
from tests.support.server_process import free_port, until


@dataclass
class Switch:
    """A dead-man's switch that counts, and answers as it is told."""

    status: int = 200
    beats: int = 0
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """With the secret part of it."""
        return f"http://127.0.0.1:{self.port}/ping/d1e2-secret"

    async def answer(self, request: web.Request) -> web.Response:
        """Count."""
        self.beats += 1
        return web.Response(status=self.status)


@asynccontextmanager
async def listening(switch: Switch) -> AsyncIterator[None]:
    """Serve it."""
    app = web.Application()
    app.router.add_get("/ping/{key}", switch.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", switch.port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def beating(switch: Switch, is_well: Callable[[], bool], telemetry: Telemetry) -> AsyncIterator[Heartbeat]:
    """Beat quickly."""
    config = HeartbeatConfig(url=Secret(switch.url), every_s=0.01, timeout_s=1.0)
    heartbeat = Heartbeat(config, Secret(switch.url), is_well, SystemClock(), telemetry)
    task = asyncio.create_task(heartbeat.run())
    try:
        yield heartbeat
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_beats_while_all_is_well_and_is_silent_otherwise() -> None:
    """Withheld beats are counted; the switch then calls somebody by itself."""
    switch, telemetry, well = Switch(), Telemetry(), [True]
    async with listening(switch), beating(switch, lambda: well[0], telemetry) as heartbeat:
        await until(lambda: switch.beats >= 3, "three beats")
        well[0] = False
        await until(lambda: telemetry.heartbeats.get("withheld") >= 3, "withheld")
        before = switch.beats
        await until(lambda: telemetry.heartbeats.get("withheld") >= 6, "withheld on")
        assert switch.beats == before
        assert heartbeat.failing_since is None
        well[0] = True
        await until(lambda: switch.beats > before, "beating again")


async def test_a_sign_that_did_not_arrive_is_given_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the hour that lies between two signs."""
    monkeypatch.setattr("monitor.heartbeat.RETRY_S", 0.05)
    switch, telemetry = Switch(status=503), Telemetry()
    config = HeartbeatConfig(url=Secret(switch.url), every_s=3600.0)
    heartbeat = Heartbeat(config, Secret(switch.url), lambda: True, SystemClock(), telemetry)
    async with listening(switch):
        task = asyncio.create_task(heartbeat.run())
        await until(lambda: heartbeat.failing_since is not None, "refused")
        switch.status = 200
        await until(lambda: heartbeat.failing_since is None, "again")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert switch.beats >= 2


async def test_a_sign_that_was_withheld_is_given_soon_after_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after the hour that lies between two signs: after a start the switch has waited already."""
    monkeypatch.setattr("monitor.heartbeat.RETRY_S", 0.05)
    switch, telemetry, well = Switch(), Telemetry(), [False]
    config = HeartbeatConfig(url=Secret(switch.url), every_s=3600.0)
    heartbeat = Heartbeat(config, Secret(switch.url), lambda: well[0], SystemClock(), telemetry)
    async with listening(switch):
        task = asyncio.create_task(heartbeat.run())
        await until(lambda: telemetry.heartbeats.get("withheld") >= 1, "withheld")
        well[0] = True
        await until(lambda: switch.beats == 1, "a sign")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_switch_can_be_reached_without_a_sign() -> None:
    """Its host answers, and it has heard nothing."""
    switch = Switch()
    async with listening(switch):
        assert await reach(Secret(switch.url), 5.0) == ""
    assert switch.beats == 0
    assert await reach(Secret(switch.url), 5.0) == "cannot be reached: connection refused"


@pytest.mark.parametrize("url", ["hc-ping.com/d1e2-secret", "ftp://hc-ping.com/d1e2-secret", "https:///d1e2-secret"])
def test_what_is_no_url_is_refused_without_being_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the configuration is read, not at the first sign that does not arrive."""
    monkeypatch.setenv("BEAT", url)
    with pytest.raises(ValidationError) as caught:
        HeartbeatConfig.model_validate({"url": "env:BEAT"})
    assert "must begin with http:// or https:// and name a host" in str(caught.value)
    assert "d1e2" not in str(caught.value)


async def test_a_switch_that_fails_or_is_gone_is_reported_without_its_address() -> None:
    """Once when it is lost and once when it is back; the key in the URL is written nowhere."""
    switch, telemetry = Switch(status=500), Telemetry()
    with capture_logs() as logs:
        async with beating(switch, lambda: True, telemetry) as heartbeat:
            await until(lambda: heartbeat.failing_since is not None, "nobody listens")
            assert heartbeat.detail == "cannot be reached: connection refused"
            async with listening(switch):
                await until(lambda: "answered 500" in heartbeat.detail, "refused")
                switch.status = 200
                await until(lambda: heartbeat.failing_since is None, "back")
    assert [entry["event"] for entry in logs] == ["heartbeat fails", "heartbeat goes through again"]
    assert "secret" not in str(logs)
