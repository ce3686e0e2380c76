"""`marginwatch run` as a user (or systemd) runs it."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from psutil import Process

from tests.support.cli import COMMAND, configuration, credentials, marginwatch, read_until, started
from tests.support.server_process import until
from tests.support.venue_server import ROOT, Venue, venue_in_process

pytestmark = pytest.mark.integration

STOP_S = 10.0
JSON_CONSOLE = '[sinks.console]\nformat = "json"\n[log]\nformat = "json"\n'


def contents(directory: Path) -> list[str]:
    """Every file of a directory, whatever is in it."""
    return [file.read_bytes().decode(errors="replace") for file in directory.iterdir()]


async def in_danger(venue: Venue) -> None:
    """A long whose margin ratio is 0.6 at the mark of 70,000: 0.004 * 70,000 = 280 of a balance of 466.67."""
    await venue.marks(BTCUSDT="70000")
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="466.67")


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """What a command still printed until its end, which must come in bounded time."""
    async with asyncio.timeout(STOP_S):
        out, err = await process.communicate()
    return out.decode(), err.decode()


async def test_warns_on_standard_output_and_stops_on_sigterm(tmp_path: Path) -> None:
    """An alert is a line on standard output, logs go to standard error, SIGTERM ends it with exit code 0."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        path = configuration(tmp_path, venue, JSON_CONSOLE)
        async with started("run", "--config", path, env=credentials(venue)) as process:
            *_, line = await read_until(process.stdout, lambda line: '"margin_ratio:' in line)
            message = json.loads(line)
            assert (message["severity"], message["pool"]) == ("notice", "binance/main/BTCUSDT:long")
            process.send_signal(signal.SIGTERM)
            _, err = await ended(process)
    assert process.returncode == 0
    assert all(json.loads(line)["event"] for line in err.splitlines())


async def test_an_output_that_holds_ascii_only_gets_every_warning(tmp_path: Path) -> None:
    """With signs that look alike."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        env = credentials(venue) | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        async with started("run", "--config", configuration(tmp_path, venue), env=env) as process:
            *_, line = await read_until(process.stdout, lambda line: "margin ratio" in line)
    assert "notice    0.600 margin ratio . binance/main/BTCUSDT:long . BTCUSDT long at 70,000" in line


async def on_a_terminal(path: Path, env: dict[str, str], found: str) -> str:
    """What `run` shows on a terminal until `found` was shown, and from then until Ctrl-C has ended it."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "run", "--config", str(path)),
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other side has ended
            while part := os.read(ours, 4096):
                shown.extend(part)

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        await until(lambda: found in shown.decode(errors="replace"), found)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            await process.wait()
            await reading
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    return shown.decode(errors="replace").replace("\r\n", "\n")


async def test_a_person_at_a_terminal_is_told_how_it_stands(tmp_path: Path) -> None:
    """Accounts, board, sinks, how to end it, each pool, and after a restart what went on firing; else nothing of it."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        marking = asyncio.create_task(keep_marking(venue))
        path = configuration(tmp_path, venue, '[log]\nformat = "json"\n')
        shown = await on_a_terminal(path, credentials(venue), "margin ratio 60.00 % (computed)")
        again = await on_a_terminal(path, credentials(venue), "fires since an earlier run")
        async with started("run", "--config", path, env=credentials(venue)) as process:
            await read_until(process.stderr, lambda line: "account stream live" in line)
            process.send_signal(signal.SIGINT)
            _, quiet = await ended(process)
        marking.cancel()
        await asyncio.gather(marking, return_exceptions=True)
    for line in (
        "watching binance/main\n",
        "/  metrics http://127.0.0.1:",
        "warnings go to this terminal\n",
        "Ctrl-C ends it\n",
        "binance/main/BTCUSDT:long: margin ratio 60.00 % (computed), liquidation 0.27 % away: BTCUSDT long 1\n",
    ):
        assert line in shown
    assert "fires since an earlier run" not in shown
    assert "fires since an earlier run: notice 0.600 margin ratio · binance/main/BTCUSDT:long" in again
    assert shown.endswith("stopped\n")
    assert "watching" not in quiet
    assert "stopped" not in quiet


IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
if sys.argv[2] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Makes a terminal this session's own, as a shell's is, and runs a program in it."""


@contextlib.asynccontextmanager
async def in_a_terminal(
    path: Path, env: dict[str, str], how: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`run` as the leader of a terminal, logging to a file beside its configuration; killed at the end."""
    ours, theirs = pty.openpty()
    with path.with_name("err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", IN_A_TERMINAL, str(theirs), how, *COMMAND, "run", "--config", str(path)),
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=theirs,
            stdout=theirs if how == "plain" else err,
            stderr=err,
            pass_fds=[theirs],
            start_new_session=True,
        )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_terminal_that_is_closed_ends_what_runs_in_it(tmp_path: Path) -> None:
    """In order; while it is there, SIGHUP is an order to read the configuration again."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        path = configuration(tmp_path, venue)
        log = path.with_name("err")
        async with in_a_terminal(path, credentials(venue), "plain") as (process, terminal):
            await until(lambda: "account stream live" in log.read_text(), "it runs")
            process.send_signal(signal.SIGHUP)
            await until(lambda: "configuration reloaded" in log.read_text(), "it has reloaded")
            assert process.returncode is None
            os.close(terminal)
            async with asyncio.timeout(STOP_S):
                assert await process.wait() == 0
    assert "the terminal is gone; ending" in log.read_text()
    assert "Traceback" not in log.read_text()


async def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    """And goes on to read the configuration again when told to."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue)
        log = path.with_name("err")
        async with in_a_terminal(path, credentials(venue), "nohup") as (process, terminal):
            await until(lambda: "account stream live" in log.read_text(), "it runs")
            os.close(terminal)
            process.send_signal(signal.SIGHUP)
            await until(lambda: "configuration reloaded" in log.read_text(), "it has reloaded")
            assert process.returncode is None


async def keep_marking(venue: Venue) -> None:
    """The same price, ten times a second."""
    while True:
        await venue.marks(BTCUSDT="70000")
        await asyncio.sleep(0.1)


async def test_ctrl_c_is_an_orderly_end(tmp_path: Path) -> None:
    """SIGINT stops it as SIGTERM does."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue, JSON_CONSOLE)
        async with started("run", "--config", path, env=credentials(venue)) as process:
            await read_until(process.stderr, lambda line: "http listens" in line)
            process.send_signal(signal.SIGINT)
            _, err = await ended(process)
    assert process.returncode == 0
    assert "Traceback" not in err


async def test_no_secret_leaves(tmp_path: Path) -> None:
    """Key and secret are in no log, no alert, no metric, no page, no command line and not in the state file."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        path = configuration(tmp_path, venue, JSON_CONSOLE.replace("[log]", '[log]\nlevel = "debug"'))
        async with started("run", "--config", path, env=credentials(venue)) as process:
            (*_, listens) = errors = await read_until(process.stderr, lambda line: "http listens" in line)
            (url,) = json.loads(listens)["urls"]
            shown = await read_until(process.stdout, lambda line: '"margin_ratio:' in line)
            async with ClientSession(url) as http:
                for page in ("/", "/metrics", "/readyz", "/api/v1/pools", "/api/v1/alerts"):
                    async with http.get(page) as answer:
                        shown.append(await answer.text())
            shown.append(" ".join(Process(process.pid).cmdline()))
            await venue.stream_fault("private", "drop")
            await venue.rest_fault(
                "/fapi", status=401, code=-2015, msg="Invalid API-key, IP, or permissions for action."
            )
            process.send_signal(signal.SIGTERM)
            shown += [*await ended(process), *errors]
    shown += contents(tmp_path)
    assert len(shown) > 8
    for secret in credentials(venue).values():
        assert all(secret not in text for text in shown)


async def test_a_changed_configuration_is_taken_over_on_sighup(tmp_path: Path) -> None:
    """A wrong one is refused with its faults and changes nothing; a good one counts from then on."""
    async with venue_in_process() as venue:
        await in_danger(venue)
        quiet = JSON_CONSOLE + "[alerts.margin_ratio]\nemergency = 0.95\n[alerts.distance]\nemergency = 0.0001\n"
        path = configuration(tmp_path, venue, quiet)
        good = path.read_text()
        async with started("run", "--config", path, env=credentials(venue)) as process:
            await read_until(process.stderr, lambda line: "http listens" in line)
            path.write_text(good.replace("emergency = 0.95", "emergncy = 0.95"))
            process.send_signal(signal.SIGHUP)
            *_, line = await read_until(process.stderr, lambda line: "was refused and nothing has changed" in line)
            assert json.loads(line)["problem"] == (
                f"{path}: alerts.margin_ratio.emergncy: unknown key; did you mean emergency?"
            )
            path.write_text(good.replace("emergency = 0.95", "warning = 0.55"))
            process.send_signal(signal.SIGHUP)
            *_, line = await read_until(process.stdout, lambda line: '"margin_ratio:' in line)
            assert json.loads(line)["severity"] == "warning"


async def test_a_reload_tells_what_only_the_next_start_takes_over(tmp_path: Path) -> None:
    """By what it runs with, so that a change that was taken back is none; also to the service manager."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    heard: list[str] = []

    def said(words: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(listener.recv(4096).decode())
        return any(words in each for each in heard)

    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue, JSON_CONSOLE)
        good = path.read_text()
        env = credentials(venue) | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with started("run", "--config", path, env=env) as process:
            await until(lambda: said("READY=1\nSTATUS=watching 1 account"), "it is ready")

            async def reload(text: str) -> str:
                heard.clear()
                path.write_text(text)
                process.send_signal(signal.SIGHUP)
                await until(lambda: said("READY=1"), "it has reloaded")
                return heard[-1].partition("STATUS=")[2]

            changed = await reload(good + "[heartbeat]\nevery_s = 30\n[metrics]\nmax_pools = 7\n")
            reverted = await reload(good)
            refused = await reload(good.replace("[http]", "[htpt]") + "[stat]\n")
            process.send_signal(signal.SIGTERM)
            await ended(process)
    listener.close()
    later = "these sections changed and take effect at the next start: [heartbeat], [metrics]"
    assert changed == f"watching 1 account; {later}"
    assert reverted == "watching 1 account"
    assert refused.startswith("watching 1 account; the changed configuration was refused and nothing has changed: ")


async def test_a_dangerous_key_is_refused(tmp_path: Path) -> None:
    """Exit code 2 and a sentence that says how to make a read-only key."""
    async with venue_in_process() as venue:
        await venue.permissions("main", enableWithdrawals=True)
        finished = await marginwatch("run", "--config", configuration(tmp_path, venue), env=credentials(venue))
    assert finished.code == 2
    assert "the key can do more than read (enableWithdrawals)" in finished.err
    assert "Enable Reading" in finished.err


async def test_an_address_in_use_is_a_sentence(tmp_path: Path) -> None:
    """It names the key; exit code 1, with which systemd tries again: the address may be free then."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue)
        port = venue.rest_url.rpartition(":")[2]
        path.write_text(path.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'))
        finished = await marginwatch("run", "--config", path, env=credentials(venue))
    assert finished.code == 1
    assert f"{path}: http.listen: 127.0.0.1:{port} is in use by another program" in finished.err


async def test_a_state_file_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """The daemon does not start without a place to remember alerts."""
    async with venue_in_process() as venue:
        path = configuration(tmp_path, venue)
        path.write_text(path.read_text().replace(f"{tmp_path}/state.sqlite", "/nowhere/state.sqlite"))
        finished = await marginwatch("run", "--config", path, env=credentials(venue))
    assert finished.code == 2
    assert "/nowhere" in finished.err
