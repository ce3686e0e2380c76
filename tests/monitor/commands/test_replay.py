"""`marginwatch replay` as a user runs it."""

import gzip
import json
import re
import time
from pathlib import Path

import pytest

from tests.support.cli import marginwatch
from tests.support.replayed import LONG, account_file, price_path
from tests.support.shared_data import ROOT as SHARED
from tests.support.shared_data import needs_shared_data

CRASH = [
    (38_000, 38_000, 38_000, 38_000),
    (38_000, 38_000, 30_640, 30_640),
    (30_640, 30_640, 30_640, 30_640),
    (30_640, 30_640, 30_000, 30_000),
]


# Its margin ratio is 0.004 * mark / (mark - 69,000): 0.70, the warning rung, at 69,396.6.
LONG_NEAR = """
venue = "binance"

[instruments.BTCUSDT]
kind = "linear"
margin_coin = "USDT"
multiplier = 1
tiers = [{ floor = 0, rate = 0.004, deduction = 0 }]

[[positions]]
instrument = "BTCUSDT"
side = "long"
size = 1
entry_price = 70000
margin_mode = "isolated"
isolated_margin = 1000
"""


async def test_prints_warnings_and_lead_times(tmp_path: Path) -> None:
    """Warnings, the liquidation and a table with the time between, all on standard output."""
    path, account = price_path(tmp_path, *CRASH), account_file(tmp_path)
    finished = await marginwatch("replay", path, "--account", account)
    assert finished.code == 0
    assert finished.err == ""
    lines = finished.out.splitlines()
    assert lines[0] == "times are in UTC"
    assert any("  notice     0.5" in line and "margin ratio · binance/replay/BTCUSDT:long" in line for line in lines)
    assert any("LIQUIDATED binance/replay/BTCUSDT:long (by the model)" in line for line in lines)
    assert any("notice" in line and "margin ratio" in line and "1 min 0 s" in line for line in lines)


async def test_json_is_one_document(tmp_path: Path) -> None:
    """`--json` prints one JSON document with the same figures and nothing else."""
    path, account = price_path(tmp_path, *CRASH), account_file(tmp_path)
    finished = await marginwatch("replay", path, "--account", account, "--json")
    outcome = json.loads(finished.out)
    assert outcome["ticks"] == 14
    assert [each["pool"] for each in outcome["liquidations"]] == ["binance/replay/BTCUSDT:long"]
    leads = {lead["severity"]: lead["lead_s"] for lead in outcome["lead_times"] if lead["rule"] == "margin_ratio"}
    assert leads["notice"] == 60.0
    assert outcome["warnings"][0]["message"]["v"] == 1
    assert outcome["peaks"][0]["margin_ratio"] == "Infinity"


async def test_a_price_that_swings_around_a_rung_for_an_hour_says_little(tmp_path: Path) -> None:
    """3,600 prices go over the warning rung and back 600 times; the ladder says notice and warning, and no more."""
    swing = [0, 9, 9, 0, -9, -9]
    prices = [69_396.6 + swing[second % len(swing)] for second in range(3_600)]
    path = tmp_path / "hour.csv"
    rows = (f"{1_700_000_000_000 + n * 1000},BTCUSDT,{p},{p},{p},{p}\n" for n, p in enumerate(prices))
    path.write_text("ts_ms,symbol,open,high,low,close\n" + "".join(rows))
    account = tmp_path / "long.toml"
    account.write_text(LONG_NEAR)
    outcome = json.loads((await marginwatch("replay", path, "--account", account, "--json")).out)
    ladder = [each["message"] for each in outcome["warnings"] if each["message"]["rule"] == "margin_ratio"]
    assert outcome["ticks"] >= 3_600
    assert [(each["severity"], each["state"]) for each in ladder] == [("notice", "firing"), ("warning", "firing")]


async def test_what_is_only_said_again_is_marked(tmp_path: Path) -> None:
    """A price that stays past a rung brings repeats, which are no new warnings."""
    path, account = tmp_path / "still.csv", tmp_path / "long.toml"
    rows = (f"{1_700_000_000_000 + n * 60_000},BTCUSDT,69390,69390,69390,69390\n" for n in range(130))
    path.write_text("ts_ms,symbol,open,high,low,close\n" + "".join(rows))
    account.write_text(LONG_NEAR)
    finished = await marginwatch("replay", path, "--account", account)
    ladder = [line for line in finished.out.splitlines() if "warning    0.712 margin ratio" in line]
    assert [line.endswith(" · said again") for line in ladder] == [False, True, True]
    assert re.search(r"\d+ messages, [1-9]\d* of them said again; times in UTC", finished.out)


async def test_speed_keeps_the_pace(tmp_path: Path) -> None:
    """The 200 seconds to the liquidation take two at `--speed 100`."""
    path, account = price_path(tmp_path, *CRASH), account_file(tmp_path)
    began = time.monotonic()
    finished = await marginwatch("replay", path, "--account", account, "--speed", "100")
    assert "LIQUIDATED" in finished.out
    assert time.monotonic() - began >= 2.0


async def test_rungs_come_from_a_configuration(tmp_path: Path) -> None:
    """`--alerts` overrides what the account file says."""
    rungs = tmp_path / "marginwatch.toml"
    rungs.write_text("[alerts.margin_ratio]\nnotice = 0.01\n[alerts.distance]\nnotice = 0.0001\n")
    path, account = price_path(tmp_path, CRASH[0], CRASH[0]), account_file(tmp_path)
    finished = await marginwatch("replay", path, "--account", account, "--alerts", rungs, "--json")
    assert {each["message"]["rule"] for each in json.loads(finished.out)["warnings"]} == {"margin_ratio"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"ts_ms,symbol,open,high,low,close\n", (), "a price path needs an account: --account FILE (README, Replay)"),
        (b"ts_ms,symbol,open,high,low,close\n", ("--account", "A"), "BTCUSDT: the account holds it but the file has"),
        (
            b"time,sym,open\n0,A,1\n",
            ("--account", "A"),
            "line 1: found time,sym,open; must be the header ts_ms,symbol,open,high,low,close",
        ),
        (b"", ("--account", "A"), "line 1: found nothing; must be the header ts_ms,symbol,open,"),
        (
            b"ts_ms,symbol,open,high,low,close\n1621382400,BTCUSDT,1,1,1,1\n",
            ("--account", "A"),
            "line 2: ts_ms: found 1621382400, which looks like seconds; multiply by 1000",
        ),
        (
            b"ts_ms,symbol,open,high,low,close\n1735689600000000,BTCUSDT,1,1,1,1\n",
            ("--account", "A"),
            "line 2: ts_ms: found 1735689600000000, which looks like microseconds; divide by 1000",
        ),
        (b"hello\n", (), "a price path needs an account: --account FILE (README, Replay)"),
        (b"{hello}\n", (), "line 1: not a line of a recording"),
        (b'{"t": 1, "k": "pl', (), "nothing to replay: it is cut off before the first price"),
        (b'{"t": 1, "k": "plan", "v": 1, "venue": "nyse"}\n', (), "venue nyse is not known here"),
        (b"{}\n", ("--account", "A"), "a recording, which brings its own account; leave --account out"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-12], (), "cannot be read: damaged, or not a text file"),
    ],
)
async def test_an_unusable_file_is_a_sentence(
    tmp_path: Path, content: bytes, options: tuple[str, ...], message: str
) -> None:
    """Exit code 2, the file's name and what is wrong with it."""
    file = tmp_path / "input"
    file.write_bytes(content)
    account = account_file(tmp_path)
    finished = await marginwatch("replay", file, *(account if option == "A" else option for option in options))
    assert finished.code == 2
    assert finished.err.startswith(f"{file}: ")
    assert message in finished.err


@needs_shared_data
@pytest.mark.parametrize(
    ("prices", "text", "pools"),
    [
        ("binance_um_last_1m_btcusdt_2021-05-19.csv.gz", LONG, ["binance/replay/BTCUSDT:long"]),
        (
            "binance_cm_last_1s_alts_2025-10-10_2045-2215.csv.gz",
            LONG.replace("BTCUSDT", "AVAXUSD_PERP").replace("size = 1", "size = 1000").replace("7600", "8000"),
            ["binance/replay/AVAXUSD_PERP:long"],
        ),
    ],
    ids=["2021-05-19", "2025-10-10"],
)
async def test_real_crashes_are_warned_about(tmp_path: Path, prices: str, text: str, pools: list[str]) -> None:
    """On days that liquidated many, warnings of the distance left a while before."""
    account = account_file(tmp_path, text)
    finished = await marginwatch("replay", SHARED / "prices" / prices, "--account", account, "--json")
    outcome = json.loads(finished.out)
    assert [each["pool"] for each in outcome["liquidations"]] == pools
    assert max(lead["lead_s"] for lead in outcome["lead_times"]) >= 30
