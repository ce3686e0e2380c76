"""`marginwatch run` as a user (or systemd) runs it."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession
from psutil import Process

from tests.support.cli import configuration, credentials, marginwatch, read_until, started
from tests.support.venue_server import Venue, venue_in_process

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
            *_, line = await read_until(process.stderr, lambda line: "not reloaded" in line)
            assert json.loads(line)["errors"] == [
                f"{path}: alerts.margin_ratio.emergncy: unknown key; did you mean emergency?"
            ]
            path.write_text(good.replace("emergency = 0.95", "warning = 0.55"))
            process.send_signal(signal.SIGHUP)
            *_, line = await read_until(process.stdout, lambda line: '"margin_ratio:' in line)
            assert json.loads(line)["severity"] == "warning"


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
