"""`marginwatch check` as a user runs it, against a simulated venue and real servers."""

import os
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiohttp import web

from connectors.config import BaseAccountConfig
from connectors.simulator.scenario import BUILT_IN
from monitor.commands.check import compare_pools
from monitor.model.account import AccountMode, PositionMode
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, PoolReport, SnapshotReason
from monitor.model.ids import Slot
from tests.support.accounts import flat_tier, isolated, linear
from tests.support.cli import Finished, configuration, credentials, marginwatch
from tests.support.daemon import daemon
from tests.support.mosquitto import Mosquitto
from tests.support.push_server import Fault, PushServer
from tests.support.redis_server import RedisServer
from tests.support.server_process import free_port
from tests.support.venue_server import Venue, venue_in_process

pytestmark = pytest.mark.integration


async def check(directory: Path, venue: Venue, more: str = "", lines: str = "", *options: str, **env: str) -> Finished:
    """Check a configuration for the venue's first account."""
    account = venue.key.name
    path = configuration(directory, venue, more, account=account, lines=lines)
    return await marginwatch(
        "check", "--config", path, "--timeout", "10", *options, env=credentials(venue, account) | env
    )


async def test_everything_is_tried(tmp_path: Path) -> None:
    """File, state, address, clock, key, account, pools and both sinks: a line each, exit code 0."""
    with RedisServer(tmp_path) as redis, Mosquitto(tmp_path) as mosquitto:
        more = f'[sinks.redis]\nurl = "{redis.url}"\n[sinks.mqtt]\nurl = "{mosquitto.url}"\n'
        async with venue_in_process(BUILT_IN["demo"]) as venue:
            finished = await check(tmp_path, venue, more)
        async with redis.client() as client:
            assert await client.keys("*") == []
    assert finished.code == 0, finished.out
    assert finished.err == ""
    for subject in (
        "configuration: ",
        "state: ",
        "http: ",
        "demo: clock: ",
        "demo: permissions: the key can only read",
        "binance/demo/SOLUSDT:long: margin ratio 0.19",
        "binance/demo/USDT: margin ratio 0.39",
        "sink redis: connected, and took a value",
        "sink mqtt: connected, and took a value",
    ):
        assert f"ok      {subject}" in finished.out
    assert "as Binance reports" not in finished.out, "each pool is a line, and one only"
    for pool in ("binance/demo/SOLUSDT:long", "binance/demo/USDT"):
        (line,) = (line for line in finished.out.splitlines() if f" {pool}: " in line)
        assert re.search(r" of a margin balance of ([\d.,]+) USDT at the snapshot's marks; "
                         r"at its own marks the venue's report differs by 0\.00 % "
                         r"\(margin balance \1 USDT computed, \1 USDT reported\)", line)  # fmt: skip
    assert "failed" not in finished.out


async def test_a_sink_that_is_not_there_failed(tmp_path: Path) -> None:
    """Each dead sink is a line, the others are tried all the same, exit code 1."""
    dead = free_port()
    more = f'[sinks.redis]\nurl = "redis://127.0.0.1:{dead}"\n[sinks.mqtt]\nurl = "mqtt://127.0.0.1:{dead}"\n'
    async with venue_in_process() as venue:
        finished = await check(tmp_path, venue, more)
    assert finished.code == 1
    assert "failed  sink redis: " in finished.out
    assert "failed  sink mqtt: " in finished.out
    assert "ok      main: permissions: " in finished.out


async def test_push_routes_are_tried_when_asked_to(tmp_path: Path) -> None:
    """Without --push nobody is disturbed; with it every route gets one message; one that fails, or asks for
    what there is not, has a line that says so."""
    more = (
        "[sinks.push]\n"
        + "".join(f'[[sinks.push.route]]\nname = "{name}"\nurl = "env:{name.upper()}"\n' for name in ("phone", "desk"))
        + 'accounts = ["main", "mian*"]\n'
    )
    async with PushServer() as server, venue_in_process() as venue:
        server.faults["hush-desk"] = Fault(401)
        urls = {"PHONE": server.ntfy("hush-phone"), "DESK": server.ntfy("hush-desk")}
        plain = await check(tmp_path, venue, more, **urls)
        assert server.asked == []
        pushed = await check(tmp_path, venue, more, "", "--push", **urls)
        assert [each.title for each in server.to("hush-phone")] == ["marginwatch · test"]
    assert plain.code == 0
    for finished in (plain, pushed):
        assert 'careful sink push.desk: "mian*" fits nothing; it must be, or fit with *, one of: main' in finished.out
        assert "careful sink push.phone: " not in finished.out
    for name in ("phone", "desk"):
        assert f"unknown sink push.{name}: not tried; use --push to send a test message" in plain.out
    assert pushed.code == 1
    assert "ok      sink push.phone: took a test message; did it arrive?" in pushed.out
    assert "failed  sink push.desk: HTTP 401 Unauthorized" in pushed.out
    assert "hush" not in plain.out + plain.err + pushed.out + pushed.err


async def test_a_key_that_can_trade_failed(tmp_path: Path) -> None:
    """The line says what the key can do and how to make one that cannot; allowed in so many words it is ok."""
    async with venue_in_process() as venue:
        await venue.permissions("main", enableFutures=True, enableWithdrawals=True)
        refused = await check(tmp_path, venue)
        allowed = await check(tmp_path, venue, lines="allow_dangerous_key = true")
    assert refused.code == 1
    assert "failed  main: permissions: the key can do more than read" in refused.out
    assert "Enable Reading" in refused.out
    assert allowed.code == 0


async def test_permissions_that_nobody_tells_failed_as_run_would_refuse(tmp_path: Path) -> None:
    """With what to do about it."""
    async with venue_in_process() as venue:
        await venue.rest_fault("/sapi", status=404, code=-5000)
        finished = await check(tmp_path, venue)
    assert finished.code == 1
    assert "failed  main: permissions: " in finished.out
    assert "set permissions_url to an address that tells, or allow_dangerous_key = true" in finished.out


async def test_a_wrong_key_shows_no_secret(tmp_path: Path) -> None:
    """A key that the venue does not know is a failed line without the key or the secret."""
    async with venue_in_process() as venue:
        finished = await check(tmp_path, venue, TEST_KEY="wrong-key-7531", TEST_SECRET="wrong-secret-8642")
    assert finished.code == 1
    assert "failed  main: " in finished.out
    assert "wrong-key-7531" not in finished.out + finished.err
    assert "wrong-secret-8642" not in finished.out + finished.err


async def test_a_venue_that_is_not_there_failed(tmp_path: Path) -> None:
    """No answer is a failed line, not an error of the command."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue)
        env = credentials(venue)
    finished = await marginwatch("check", "--config", path, "--timeout", "10", env=env)
    assert finished.code == 1
    assert "failed  main" in finished.out


async def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    """A state file in a directory that is not there failed, and an address that another program has."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue)
        port = venue.rest_url.rpartition(":")[2]
        text = path.read_text().replace(f"{tmp_path}/state.sqlite", "/nowhere/state.sqlite")
        path.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        finished = await marginwatch("check", "--config", path, env=credentials(venue) | {"HOME": os.environ["HOME"]})
    assert finished.code == 1
    assert "failed  state: there is no directory /nowhere; make it, or change state.path" in finished.out
    assert f"failed  http: 127.0.0.1:{port} is in use by another program; change http.listen" in finished.out


async def test_what_run_would_refuse_failed(tmp_path: Path) -> None:
    """A state file that is something else, or of a newer version. It is left as it is, as is one that is damaged."""
    async with venue_in_process() as venue:
        path, state = configuration(tmp_path, venue), tmp_path / "state.sqlite"
        env = credentials(venue)
        state.write_text("[[account]]\n")
        other = await marginwatch("check", "--config", path, env=env)
        assert state.read_text() == "[[account]]\n"
        state.unlink()
        with sqlite3.connect(state) as database:
            database.execute("PRAGMA user_version = 99")
        newer = await marginwatch("check", "--config", path, env=env)
        state.write_bytes(bytes(4096))
        damaged = await marginwatch("check", "--config", path, env=env)
        assert state.read_bytes() == bytes(4096)
    assert (other.code, newer.code, damaged.code) == (1, 1, 0)
    assert f"careful state: {state} is damaged; it will be set aside and begun anew" in damaged.out
    assert f"failed  state: {state} is another kind of file; name another path in state.path" in other.out
    assert f"failed  state: {state} was written by a newer marginwatch; name another path" in newer.out


async def test_a_daemon_that_runs_already_is_as_it_should_be(tmp_path: Path) -> None:
    """It holds the address and the state file, and goes on undisturbed."""
    async with venue_in_process() as venue, daemon(venue, tmp_path) as running:
        await running.start()
        finished = await marginwatch("check", "--config", running.path, env=running.secrets)
        assert await running.is_ready()
    assert finished.code == 0, finished.out
    ours = f"127.0.0.1:{running.port}: this configuration's marginwatch is running there already"
    assert f"ok      http: {ours}" in finished.out


async def test_the_daemon_of_another_configuration_is_what_run_refuses(tmp_path: Path) -> None:
    """A port is taken, whoever has it: by another's state file, or by another's although our daemon runs elsewhere."""
    async with venue_in_process() as venue, daemon(venue, tmp_path) as running:
        await running.start()
        whole = running.path.read_text()
        second = tmp_path / "second.toml"
        second.write_text(whole.replace("state.sqlite", "second.sqlite"))
        refused = await marginwatch("check", "--config", second, env=running.secrets)
        async with daemon(venue, tmp_path / "third") as other:
            await other.start()
            moved = other.path.read_text().replace(f":{other.port}", f":{running.port}")
            other.path.write_text(moved)
            elsewhere = await marginwatch("check", "--config", other.path, env=other.secrets)
    text = f"127.0.0.1:{running.port} is in use by a marginwatch with another configuration; change http.listen"
    for finished in (refused, elsewhere):
        assert (finished.code, f"failed  http: {text}" in finished.out) == (1, True), finished.out


async def test_what_a_person_should_look_at_is_marked(tmp_path: Path) -> None:
    """Secrets that others can read or guess, and a key that is not held to reading; the exit code stays 0."""
    with TemporaryDirectory() as directory:
        secret = Path(directory) / "secret"
        async with venue_in_process() as venue:
            secret.write_text(venue.key.api_secret)
            secret.chmod(0o644)
            path = configuration(tmp_path, venue, lines="allow_dangerous_key = true")
            text = path.read_text().replace("env:TEST_SECRET", f"file:{secret}")
            path.write_text(text.replace("[http]", '[http]\ntoken = "env:TOKEN"'))
            env = credentials(venue) | {"TOKEN": "secret"}
            closed = await marginwatch("check", "--config", path, env=env)
            secret.parent.chmod(0o755)
            opened = await marginwatch("check", "--config", path, env=env)
    assert (opened.code, closed.code) == (0, 0)
    assert f"careful secrets: {secret} can be read by every user of this machine; chmod 600 {secret}" in opened.out
    assert "careful secrets: " not in closed.out
    assert "careful http.token: shorter than 16 characters, so it can be guessed" in opened.out
    assert "careful main: allow_dangerous_key is set" in opened.out


async def test_the_dead_mans_switch_is_asked_once_when_all_is_well(tmp_path: Path) -> None:
    """When something has failed it is connected to and hears nothing: it is not to be told that all is well."""
    asked: list[str] = []

    async def ping(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404 if "wrong" in request.path else 200)

    app = web.Application()
    app.router.add_get("/{key}", ping)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    more = '[heartbeat]\nurl = "env:BEAT"\n'
    broken = f'{more}[sinks.redis]\nurl = "redis://127.0.0.1:{free_port()}"\n'
    async with venue_in_process() as venue:
        good = await check(tmp_path, venue, more, BEAT=f"http://127.0.0.1:{port}/d1e2")
        assert asked == ["/d1e2"]
        failed = await check(tmp_path, venue, broken, BEAT=f"http://127.0.0.1:{port}/d1e2")
        assert asked == ["/d1e2"]
        wrong = await check(tmp_path, venue, more, BEAT=f"http://127.0.0.1:{port}/wrong-d1e2")
        await runner.cleanup()
        gone = await check(tmp_path, venue, more, BEAT=f"http://127.0.0.1:{port}/d1e2")
    assert "ok      heartbeat: took a sign of life" in good.out
    assert "ok      heartbeat: connected, and gave no sign of life, since something has failed" in failed.out
    assert "failed  heartbeat: it answered 404; is the address whole, and does the switch still exist?" in wrong.out
    assert "failed  heartbeat: cannot be reached: connection refused" in gone.out
    assert (good.code, failed.code, wrong.code, gone.code) == (0, 1, 1, 1)
    assert all("d1e2" not in each.out + each.err for each in (good, failed, wrong, gone))


def test_a_pool_that_the_venue_sees_otherwise_failed_with_both_numbers() -> None:
    """As computed and as reported; the ratio beside them already follows the venue's report."""
    position = replace(isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG), mark_price=100.0)
    report = PoolReport("BTCUSDT:long", 10.0, 2.0, None, (("BTCUSDT", 100.0),))
    modes = AccountMode.SINGLE_ASSET, PositionMode.HEDGE
    events = (
        InstrumentsLoaded("binance", "main", (linear("BTCUSDT", flat_tier(0.01)),), 1),
        AccountSnapshot("binance", "main", "binance", 1, SnapshotReason.START, *modes, (), (position,), (report,)),
    )
    account = BaseAccountConfig(name="main", venue="binance")
    assert [line.ok for line in compare_pools(account, events, tolerance=0.6)] == [True]
    (line,) = compare_pools(account, events, tolerance=0.02)
    assert (line.ok, line.subject) == (False, "binance/main/BTCUSDT:long")
    assert line.text.endswith(
        "; at its own marks the venue's report differs by 50.00 % (maintenance margin 1 USDT computed, 2 USDT reported)"
    )


def test_a_price_that_moved_within_a_snapshot_gives_no_second_balance_without_its_moment() -> None:
    """The pool is as it is at the snapshot's marks, the comparison at those of the report; both say so."""
    position = replace(isolated("BTCUSDT", 1.0, 100.0, 50.0, Slot.LONG), mark_price=120.0)
    report = PoolReport("BTCUSDT:long", 50.0, 1.0, None, (("BTCUSDT", 100.0),))
    modes = AccountMode.SINGLE_ASSET, PositionMode.HEDGE
    events = (
        InstrumentsLoaded("binance", "main", (linear("BTCUSDT", flat_tier(0.01)),), 1),
        AccountSnapshot("binance", "main", "binance", 1, SnapshotReason.START, *modes, (), (position,), (report,)),
    )
    (line,) = compare_pools(BaseAccountConfig(name="main", venue="binance"), events, tolerance=0.02)
    assert " of a margin balance of 70 USDT at the snapshot's marks; at its own marks " in line.text
    assert line.text.endswith("(margin balance 50 USDT computed, 50 USDT reported)")
