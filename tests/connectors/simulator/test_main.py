"""The command: a process that says where it is, plays its scenario and ends."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import connect

from connectors.simulator.__main__ import main
from tests.support.venue_server import ROOT, venue_process


def run(*arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    """The command to its end."""
    command = [sys.executable, "-m", "connectors.simulator", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


def test_it_ends_with_its_scenario(tmp_path: Path) -> None:
    """A short price file is played to its end; the ready line is one line of JSON in a file of its owner's."""
    (tmp_path / "p.csv").write_text("ts_ms,symbol,open,high,low,close\n1,BTCUSDT,10,12,9,11\n", encoding="utf-8")
    (tmp_path / "s.toml").write_text(
        f'tick_s = 0.01\nlinger_s = 0\n[path]\nfile = "{tmp_path / "p.csv"}"\n[[accounts]]\nname = "a"\n',
        encoding="utf-8",
    )
    ready = tmp_path / "ready.json"
    done = run("--scenario", str(tmp_path / "s.toml"), "--ready-file", str(ready))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    line = json.loads(ready.read_text(encoding="utf-8"))
    assert line["rest_url"].startswith("http://127.0.0.1:")
    assert line["accounts"][0].keys() == {"name", "api_key", "api_secret"}
    assert stat.S_IMODE(ready.stat().st_mode) == 0o600


def test_it_ends_at_the_latest_after_the_given_time() -> None:
    """Also when its scenario never ends."""
    assert run("--scenario", "idle", "--max-seconds", "0.2").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--scenario", "nothing"], "neither a built-in scenario"),
        (["--tick", "0"], "invalid"),
        (["--max-seconds", "nan"], "invalid"),
        (["--seed", "x"], "invalid"),
    ],
)
def test_unusable_input_is_said(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence, no traceback."""
    try:
        code: object = main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert problem in capsys.readouterr().err


def test_a_price_file_that_breaks_off_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the start when the first row is wrong, on the way when a later one is."""
    for number, rows in enumerate(("1,BTCUSDT,0,0,0,0\n", "1,BTCUSDT,1,1,1,1\nx\n", "1,BTCEUR,1,1,1,1\n")):
        (tmp_path / "p.csv").write_text(f"ts_ms,symbol,open,high,low,close\n{rows}", encoding="utf-8")
        scenario = tmp_path / f"{number}.toml"
        scenario.write_text(f'tick_s = 0.001\n[path]\nfile = "{tmp_path / "p.csv"}"\n', encoding="utf-8")
        ready = tmp_path / "ready.json"
        assert main(["--scenario", str(scenario), "--ready-file", str(ready), "--max-seconds", "20"]) == 2
        assert "Traceback" not in (said := capsys.readouterr().err)
        assert "line" in said or "BTCEUR" in said


@pytest.mark.integration
async def test_it_is_alone_on_loopback_and_stops_when_told() -> None:
    """One listening socket on 127.0.0.1, in a process of its own; SIGTERM and the control interface end it."""
    async with venue_process("idle") as venue:
        assert venue.pid != os.getpid()
        listening = [c.laddr for c in psutil.Process(venue.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert [address.ip for address in listening] == ["127.0.0.1"]
        os.kill(venue.pid, signal.SIGTERM)
        await venue.until(lambda: _ended(venue.pid))
    async with venue_process("idle") as venue:
        await venue.stop()
        await venue.until(lambda: _ended(venue.pid))


async def _ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.integration
async def test_the_demo_waits_for_its_audience() -> None:
    """Prices stand still, but are told, until marks and a user stream are listened to; then the crash runs."""
    async with venue_process("demo", seed=7, speed=50) as venue:
        key = await venue.listen_key()
        market, private = f"{venue.market_url}/market/ws/solusdt@markPrice@1s", f"{venue.private_url}/private/ws/{key}"
        async with connect(market, close_timeout=0.1, max_queue=None) as feed:
            await asyncio.wait_for(feed.recv(), 5)
            assert (await venue.state())["step"] == 0
            async with connect(private, close_timeout=0.1, max_queue=None):
                await venue.until(venue.liquidations)
        account = await venue.account("demo")
        assert len(account["peaks"]["SOLUSDT:long"]["rungs"]) == 4
