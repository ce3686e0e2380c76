"""systemd's watchdog and the dead-man's switch hear from a daemon that decides prices, not from one that runs."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.daemon import daemon
from tests.support.server_process import free_port, until
from tests.support.venue_server import Venue, venue_in_process

pytestmark = pytest.mark.integration


async def _keep_marking(venue: Venue, going: asyncio.Event) -> None:
    """Prices, ten times a second, while they are wanted."""
    while True:
        await going.wait()
        await venue.marks(BTCUSDT="70000")
        await asyncio.sleep(0.1)


async def test_a_daemon_that_decides_nothing_gives_no_sign_of_life(tmp_path: Path) -> None:
    """The loop turns and HTTP answers all the while; with the prices the signs come back."""
    beats: list[str] = []

    async def ping(request: web.Request) -> web.Response:
        beats.append("beat")
        return web.Response()

    app = web.Application()
    app.router.add_get("/ping", ping)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    signs: list[bytes] = []

    def heard() -> int:
        with contextlib.suppress(BlockingIOError):
            while True:
                signs.append(listener.recv(4096))
        return sum(sign == b"WATCHDOG=1" for sign in signs)

    more = '[heartbeat]\nurl = "env:BEAT"\nevery_s = 0.1\npatience_s = 1\nrestart_s = 2\n'
    env = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "300000",
        "BEAT": f"http://127.0.0.1:{port}/ping",
    }
    going = asyncio.Event()
    async with venue_in_process() as venue:
        await venue.act("main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="9000")
        marking = asyncio.create_task(_keep_marking(venue, going))
        try:
            async with daemon(venue, tmp_path / "daemon", more) as running:
                going.set()
                await running.start(env=env)
                await until(lambda: heard() >= 3 and len(beats) >= 3, "signs of life")
                going.clear()
                await _falls_silent(heard)
                await _falls_silent(lambda: len(beats))
                assert (await running.get("/healthz"))["status"] == "ok"
                watchdog, switch = heard(), len(beats)
                going.set()
                await until(lambda: heard() > watchdog and len(beats) > switch, "signs again")
        finally:
            marking.cancel()
            await asyncio.gather(marking, return_exceptions=True)
            listener.close()
            await runner.cleanup()


async def test_a_daemon_that_never_saw_anything_gives_no_sign(tmp_path: Path) -> None:
    """However often it is started: neither its switch nor Alertmanager hears from it, and systemd leaves it time."""
    beats: list[str] = []

    async def ping(request: web.Request) -> web.Response:
        beats.append("beat")
        return web.Response()

    async def take(request: web.Request) -> web.Response:
        beats.extend(post["labels"]["alertname"] for post in await request.json())
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/ping", ping), web.post("/api/v2/alerts", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    signs: list[bytes] = []

    def is_fed() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                signs.append(listener.recv(4096))
        return signs.count(b"WATCHDOG=1") >= 3

    more = (
        '[heartbeat]\nurl = "env:BEAT"\nevery_s = 0.1\n'
        f'[sinks.alertmanager]\nurl = "http://127.0.0.1:{port}"\nwatchdog = true\nstate_s = 0.1\n'
    )
    env = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "300000",
        "BEAT": f"http://127.0.0.1:{port}/ping",
    }
    async with venue_in_process() as venue:
        pass  # nothing of it answers any more
    try:
        async with daemon(venue, tmp_path / "daemon", more) as running:
            for _ in range(2):
                signs.clear()
                await running.start(ready=False, env=env)

                async def is_withheld() -> bool:
                    metrics = await running.get("/metrics") or ""
                    return 'marginwatch_heartbeats_total{outcome="withheld"}' in metrics

                await running.until(is_withheld, "the sign is withheld")
                await running.until(is_fed, "the watchdog is fed")
                await running.kill()
    finally:
        listener.close()
        await runner.cleanup()
    assert not {"beat", "MarginwatchWatchdog"} & set(beats)


async def _falls_silent(count: Callable[[], int], quiet_s: float = 1.0, deadline_s: float = 30.0) -> None:
    """Wait until `count` has not grown for `quiet_s`, many times the interval of a sign."""
    loop = asyncio.get_running_loop()
    ends, last, since = loop.time() + deadline_s, count(), loop.time()
    while loop.time() < since + quiet_s:
        assert loop.time() < ends, "signs of life went on"
        await asyncio.sleep(0.05)
        if (now := count()) != last:
            last, since = now, loop.time()


async def test_a_switch_that_hears_nothing_is_an_alert(tmp_path: Path) -> None:
    """The sinks say so, and say when it hears again; its address is in none of it."""
    port = free_port()

    async def ping(request: web.Request) -> web.Response:
        return web.Response()

    more = '[heartbeat]\nurl = "env:BEAT"\nevery_s = 0.1\n[alerts.sink_failure]\nafter_s = 0.3\ncalm_s = 0\n'
    async with venue_in_process() as venue, daemon(venue, tmp_path / "daemon", more) as running:
        await running.start(env={"BEAT": f"http://127.0.0.1:{port}/d1e2-secret"})

        def told(state: str) -> list[str]:
            return [m["text"] for m in running.said() if (m["key"], m["state"]) == ("sink_failure:heartbeat", state)]

        await running.until(lambda: told("firing"), "the failure said")
        assert "s failing · dead-man's switch · cannot be reached: connection refused" in told("firing")[0]
        app = web.Application()
        app.router.add_get("/d1e2-secret", ping)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await running.until(lambda: told("resolved"), "the end said")
        await runner.cleanup()
        assert "secret" not in running.log() + str(running.said())


async def test_a_daemon_that_nobody_would_hear_withholds_its_sign(tmp_path: Path) -> None:
    """Everything is seen, but no sink takes a warning: then somebody must be called another way."""
    port = free_port()
    more = (
        f'[sinks.redis]\nurl = "redis://127.0.0.1:{port}/0"\ntimeout_s = 0.5\n'
        '[heartbeat]\nurl = "env:BEAT"\nevery_s = 0.05\n'
    )
    going = asyncio.Event()
    going.set()
    async with venue_in_process() as venue:
        marking = asyncio.create_task(_keep_marking(venue, going))
        try:
            async with daemon(venue, tmp_path / "daemon", more) as running:
                await running.start(env={"BEAT": f"http://127.0.0.1:{free_port()}/ping"})

                async def withheld() -> bool:
                    metrics = await running.get("/metrics") or ""
                    return 'marginwatch_heartbeats_total{outcome="withheld"}' in metrics

                await running.until(withheld, "the sign is withheld")
        finally:
            marking.cancel()
            await asyncio.gather(marking, return_exceptions=True)
