"""`marginwatch record`, and its recording replayed."""

import asyncio
import gzip
import json
import os
from pathlib import Path

import pytest

from tests.support.ccxt_server import ccxt_server
from tests.support.cli import COMMAND, configuration, credentials, marginwatch, started
from tests.support.venue_server import ROOT, venue_process

pytestmark = pytest.mark.integration


async def test_a_recorded_crash_is_warned_about_again(tmp_path: Path) -> None:
    """What `record` wrote, `replay` runs through the live code: warnings, liquidation, lead times; and no secrets."""
    out = tmp_path / "crash.jsonl.gz"
    async with venue_process("demo", speed=8.0) as venue:
        path = configuration(tmp_path, venue, account="demo")
        env = credentials(venue, "demo")
        recorded = await marginwatch("record", out, "--config", path, "--seconds", "7", env=env)
    assert recorded.code == 0
    assert recorded.out == ""
    assert f"{out}: " in recorded.err
    text = gzip.decompress(out.read_bytes()).decode()
    assert all(secret not in text for secret in env.values())
    assert out.stat().st_mode & 0o077 == 0
    replayed = await marginwatch("replay", out, "--json")
    outcome = json.loads(replayed.out)
    assert [each["pool"] for each in outcome["liquidations"]] == ["binance/demo/SOLUSDT:long"]
    severities = [lead["severity"] for lead in outcome["lead_times"] if lead["rule"] == "margin_ratio"]
    assert severities[-1] == "emergency"
    assert not outcome["cut_off"]
    await cut_off(tmp_path, out.read_bytes())


async def cut_off(directory: Path, whole: bytes) -> None:
    """One that ends too early says so; one without any price is unusable, since it does not show that all is well."""
    half, stub = directory / "half.jsonl.gz", directory / "stub.jsonl.gz"
    half.write_bytes(whole[: len(whole) // 2])
    stub.write_bytes(whole[:1500])
    replayed = await marginwatch("replay", half)
    assert replayed.code == 0
    assert "the recording is cut off: its writer was killed" in replayed.err
    assert json.loads((await marginwatch("replay", half, "--json")).out)["cut_off"]
    nothing = await marginwatch("replay", stub)
    assert nothing.code == 2
    assert "nothing to replay: it is cut off before the first price" in nothing.err


async def test_an_account_through_ccxt_is_recorded_and_replayed(tmp_path: Path) -> None:
    """The command writes what ccxt told, without keys, and `replay` warns from it."""
    out, path = tmp_path / "crash.jsonl.gz", tmp_path / "marginwatch.toml"
    async with ccxt_server("bitget") as server:
        server.dialect.alone = True
        env = {f"TEST_{name.upper()}": value for name, value in server.dialect.credentials.items()}
        keys = "".join(f'{name} = "env:TEST_{name.upper()}"\n' for name in server.dialect.credentials)
        path.write_text(
            f'[[account]]\nname = "main"\nvenue = "ccxt"\nexchange = "bitget"\nallow_dangerous_key = true\n{keys}'
            f'rest_url = "{server.rest_url}"\nstream_url = "{server.stream_url}"\n'
        )
        async with started("record", out, "--config", path, env=env) as process:
            async with asyncio.timeout(30):
                await server.carries("mark")
                for price in (79_000.0, 76_700.0, 76_500.0, 76_200.0):
                    await server.mark(price)
                    await asyncio.sleep(0.3)  # ccxt tells the newest of what comes at once
                process.terminate()
                _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    text = gzip.decompress(out.read_bytes()).decode()
    assert all(secret not in text for secret in env.values())
    outcome = json.loads((await marginwatch("replay", out, "--json")).out)
    warned = [each["message"] for each in outcome["warnings"] if each["message"]["rule"] == "margin_ratio"]
    assert {each["pool"] for each in warned} == {"bitget/main/BTCUSDT:long"}
    assert warned[-1]["severity"] == "emergency"


async def test_only_what_it_needs_must_be_at_hand(tmp_path: Path) -> None:
    """It warns nobody, so the secrets of those who would be warned may be missing."""
    path = tmp_path / "marginwatch.toml"
    path.write_text(
        '[[account]]\nname = "main"\nvenue = "binance"\napi_key = "env:K"\napi_secret = "env:K"\n'
        '[heartbeat]\nurl = "env:NOT_SET"\n[[sinks.push.route]]\nname = "phone"\nurl = "env:NOT_SET"\n'
        '[sinks.redis]\npassword = "env:NOT_SET"\n[pair]\nenabled = true\n[http]\ntoken = "env:NOT_SET"\n'
    )
    out = tmp_path / "nowhere" / "monday.jsonl"
    finished = await marginwatch("record", out, "--config", path, env={"K": "x"})
    assert finished.err == f"{out}: cannot be written: No such file or directory\n"


async def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """A recording is never lost to a second one."""
    out = tmp_path / "precious.jsonl"
    out.write_text("precious")
    path = tmp_path / "marginwatch.toml"
    path.write_text('[[account]]\nname = "main"\nvenue = "binance"\napi_key = "env:K"\napi_secret = "env:K"\n')
    finished = await marginwatch("record", out, "--config", path, env={"K": "x"})
    assert finished.code == 2
    assert finished.err == f"{out}: cannot be written: File exists\n"
    assert out.read_text() == "precious"


async def test_a_recording_of_nothing_is_not_a_success(tmp_path: Path) -> None:
    """An hour's recording in which no account was seen must not look good until it is needed."""
    out, path = tmp_path / "monday.jsonl", tmp_path / "marginwatch.toml"
    nobody = "".join(f'{name} = "http://127.0.0.1:1"\n' for name in ("rest_url", "permissions_url"))
    nobody += "".join(f'{name} = "ws://127.0.0.1:1"\n' for name in ("market_url", "private_url"))
    path.write_text(f'[[account]]\nname = "main"\nvenue = "binance"\napi_key = "env:K"\napi_secret = "env:K"\n{nobody}')
    finished = await marginwatch("record", out, "--config", path, "--seconds", "1", env={"K": "x"})
    assert finished.code == 1
    assert "0 snapshots, 0 frames of prices" in finished.err
    assert "no account was seen; try marginwatch check" in finished.err


async def test_a_full_disk_ends_the_recording_with_a_sentence(tmp_path: Path) -> None:
    """Nobody is left to believe that it goes on; what was written can be replayed."""
    out = tmp_path / "monday.jsonl"
    async with venue_process("demo", speed=8.0) as venue:
        path = configuration(tmp_path, venue, account="demo")
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *COMMAND, "record", str(out), "--config", str(path)),
            cwd=ROOT,
            env={**os.environ, **credentials(venue, "demo")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 1
    assert f"marginwatch: {out}: File too large; the recording ends there" in said.decode()
    assert b"Traceback" not in said
    assert out.stat().st_size > 0
    replayed = await marginwatch("replay", out)
    assert replayed.code == 0
    assert "the recording is cut off" in replayed.err
    assert ", where it is cut off." in replayed.out
