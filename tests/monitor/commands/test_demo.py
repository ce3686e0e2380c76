"""`marginwatch demo`: it shows what it promises, it can fail, and it leaves nothing behind."""

import asyncio
import io
import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console, RenderableType

from alerts.alert import Severity
from monitor.commands.demo_screen import WIDTHS, Line, Scene, Verdict, bar
from tests.support.cli import marginwatch, read_until, started
from tests.support.server_process import until
from tests.support.venue_server import ROOT

GOOD = {Severity.NOTICE: 1.0, Severity.WARNING: 2.0, Severity.CRITICAL: 3.0, Severity.EMERGENCY: 4.0}

ALL_LOST = (
    "binance/binance/SOLUSDT:long",
    "binance-coinm/coinm/BTCUSD_PERP:long",
    "okx/okx/SOL-USDT-SWAP:long",
    "bybit/bybit/multi",
    "hyperliquid/hyperliquid/ETH:long",
)
"""What each venue of ``--all-venues`` liquidates."""


def marked(name: str) -> str:
    """The name within this test run: another run on the same machine has processes of its own."""
    return f"{os.getpid()}-{name}"


def left_over(name: str) -> list[str]:
    """Processes of the demo that this test run started under this name."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["environ"] or {}).get("DEMO_TEST") == marked(name)
    ]


@pytest.mark.integration
async def test_every_rung_leaves_before_the_exchange_liquidates(tmp_path: Path) -> None:
    """Exit code 0; addresses, warnings and the four lead times are printed, and a picture is drawn; nothing stays."""
    picture = tmp_path / "demo.svg"
    finished = await marginwatch("demo", "--seconds", "20", "--picture", picture, env={"DEMO_TEST": marked("whole")})
    assert finished.code == 0, finished.out + finished.err
    for text in ("/metrics", "notice     0.5", "emergency  0.95", "liquidated by the exchange at"):
        assert text in finished.out
    assert "Every rung of the margin ratio left before the liquidation." in finished.out
    assert " distance 1.0 % " in finished.out
    assert re.search(r"emergency .* · Add at least [\d,.]+ USDT of margin", finished.out)
    assert f"\n  {Path(sys.executable).parent}/marginwatch watch hyperliquid 0x...\n" in finished.out.replace(
        " .venv/", f" {ROOT}/.venv/"
    )
    assert "SOLUSDT:long" in picture.read_text()
    assert left_over("whole") == []


@pytest.mark.integration
async def test_at_all_venues_every_rung_leaves_before_the_exchange_liquidates() -> None:
    """One daemon with accounts at five venues; each loses one pool, after four warnings of it; nothing stays."""
    env = {"DEMO_TEST": marked("venues")}
    finished = await marginwatch("demo", "--all-venues", "--seconds", "20", env=env)
    assert finished.code == 0, finished.out + finished.err
    for pool in ALL_LOST:
        assert f"{pool}: liquidated by the exchange at" in finished.out
        fired = [line for line in finished.out.splitlines() if pool in line and " margin ratio · " in line]
        assert [line.split()[1] for line in fired] == [severity.label for severity in Severity], fired
    tables = finished.out.split("liquidated by the exchange at")[1:]
    assert len(tables) == len(ALL_LOST)
    for table in tables:
        ladder = [line for line in table.splitlines() if " margin ratio 0." in line]
        assert [line.split()[0] for line in ladder] == [severity.label for severity in Severity]
        assert not any("never" in line or "too late" in line for line in ladder)
    assert "Every rung of the margin ratio left before the liquidation." in finished.out
    assert left_over("venues") == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("number", "code", "more"),
    [
        (signal.SIGINT, 130, ()),
        (signal.SIGINT, 130, ("--all-venues",)),
        (signal.SIGTERM, 130, ()),
        (signal.SIGHUP, 130, ()),
        (signal.SIGKILL, -9, ()),
    ],
)
async def test_nothing_stays_however_it_ends(number: signal.Signals, code: int, more: tuple[str, ...]) -> None:
    """Interrupted or killed in the middle, both processes are gone within seconds."""
    name = f"end-{number.name}{len(more)}"
    async with started("demo", *more, env={"DEMO_TEST": marked(name)}) as process:
        await read_until(process.stdout, lambda line: "ratios" in line)
        assert len(left_over(name)) == 3
        process.send_signal(number)
        async with asyncio.timeout(15):
            out, err = await process.communicate()
        assert process.returncode == code
        assert b"Traceback" not in err
        assert (b"Interrupted. Nothing was left running." in out) is (code == 130)
        await until(lambda: left_over(name) == [], "all processes of the demo are gone", 15)


@pytest.mark.integration
async def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """`marginwatch demo | head`: no complaint, and nothing stays."""
    async with started("demo", "--seconds", "10", env={"DEMO_TEST": marked("head")}) as process:
        await read_until(process.stdout, lambda line: "metrics" in line)
        process._transport.get_pipe_transport(1).close()  # asyncio has no other way to stop reading
        async with asyncio.timeout(40):
            err = await process.stderr.read()
            assert await process.wait() == 1
    assert err == b""
    assert left_over("head") == []


def test_a_missed_rung_is_a_failure() -> None:
    """Good is only a verdict in which every rung was said, and before."""
    assert Verdict("pool", 5.0, GOOD).good
    assert not Verdict("pool", 3.5, GOOD).good
    assert not Verdict("pool", 5.0, {**GOOD, Severity.EMERGENCY: 5.0}).good
    assert not Verdict("pool", 5.0, {Severity.NOTICE: 1.0}).good


def line(at: float, severity: str, state: str = "firing", rule: str = "margin_ratio", pool: str = "v/a/p") -> Line:
    """One alert of the daemon."""
    return Line(at, {"pool": pool, "rule": rule, "severity": severity, "state": state, "text": "text"})


def test_a_verdict_takes_the_first_of_each_severity() -> None:
    """Repeats, other rules, other pools and what resolved do not count."""
    scene = Scene(liquidations={"v/a/p": 9.0})
    scene.lines = [
        line(1.0, "notice"),
        line(2.0, "notice"),
        line(3.0, "warning", rule="distance"),
        line(4.0, "warning", pool="v/a/q"),
        line(5.0, "critical", state="resolved"),
        line(6.0, "emergency"),
    ]
    (verdict,) = scene.verdicts()
    assert verdict.left_at == {Severity.NOTICE: 1.0, Severity.EMERGENCY: 6.0}
    assert verdict.near_at == {Severity.WARNING: 3.0}


def test_a_verdict_lists_both_ladders_by_time() -> None:
    """When each warning left; a rung that a worse one passed over is not missed, one that nobody heard of is."""
    shown = printed(
        Verdict("pool", 5.0, {Severity.NOTICE: 2.0}, {Severity.WARNING: 1.0, Severity.CRITICAL: 6.0}).table()
    )
    rows = [line.split() for line in shown.splitlines()[4:] if line.strip()]
    assert [" ".join(row) for row in rows] == [
        "warning distance 5.0 % 00:00:01.000 4.00 s",
        "notice margin ratio 0.50 00:00:02.000 3.00 s",
        "critical distance 2.5 % 00:00:06.000 too late",
        "warning margin ratio 0.70 never",
        "critical margin ratio 0.85 never",
        "emergency margin ratio 0.95 never",
        "notice distance 10.0 % passed over",
        "emergency distance 1.0 % never",
    ]


def printed(what: RenderableType, width: int = 80) -> str:
    """As on a terminal of this width."""
    console = Console(record=True, file=io.StringIO(), width=width)
    console.print(what)
    return console.export_text()


LONGEST = "binance-coinm/coinm/BTCUSD_PERP:long"


@pytest.mark.parametrize("width", [50, 60, 80, 100, 132])
def test_nothing_is_cut_where_it_is_narrow(width: int) -> None:
    """Columns are left out, digits never; the pools stand in the order of the board, by the names of the warnings."""
    near = {"mark_price": 73_357.321, "liquidation_price": 35_261.449, "distance": 0.519}
    scene = Scene(width=width)
    scene.see(
        {"okx/okx/SOL:long": {"margin_ratio": 0.9, "legs": [near]}, LONGEST: {"margin_ratio": 0.6, "legs": [near]}}
    )
    shown = printed(scene.table(), width)
    assert "…" not in shown
    assert [line.split()[0] for line in shown.splitlines()[2:]] == ["okx/okx/SOL:long", LONGEST]
    assert ("73,357.32" in shown, "51.9 %" in shown) == (width >= 80, width >= 60)


@pytest.mark.parametrize("width", range(30, 130, 3))
@pytest.mark.parametrize("gone", [{}, {"okx/okx/SOL:long": "liquidated"}])
def test_figures_of_any_size_are_whole(width: int, gone: dict[str, str]) -> None:
    """A column is left out rather than cut, however many digits it has; where names do not fit, those are cut."""
    wide = {"mark_price": 171_398.123, "liquidation_price": 1_035_261.449, "distance": 1e-7}
    past = {"mark_price": 191.8, "liquidation_price": 191.8, "distance": 0.0}
    scene = Scene(width=width, gone=gone)
    scene.pools = {
        "okx/okx/SOL:long": {"margin_ratio": 0.996, "legs": [past]},
        LONGEST: {"margin_ratio": "Infinity", "legs": [wide]},
    }
    shown = printed(scene.table(), width)
    assert max(map(len, shown.splitlines())) <= width
    whole = {"liquidated", "0.996", "191.80", "reached", "infinite", "171,398.12", "1,035,261.45", "1e-05", "%"}
    for row in shown.splitlines()[2:]:
        figures = {figure for figure in row.split()[1:] if not set(figure) <= set("█┊·")}
        assert figures
        assert figures <= whole
    assert not set(shown.splitlines()[0].split()) - {"pool", "margin", *WIDTHS}


def test_a_distance_of_zero_is_said_in_words() -> None:
    """OKX's liquidation price is met a tick before its ratio is 1; beside a ratio of 0.996 zero would look wrong."""
    near = {"mark_price": 191.8, "liquidation_price": 191.8, "distance": 0.0}
    scene = Scene(width=100)
    scene.see({"okx/okx/SOL:long": {"margin_ratio": 0.996, "legs": [near]}})
    shown = printed(scene.table(), 100)
    assert "reached" in shown
    assert "0 %" not in shown


def test_a_warning_is_wrapped_between_words() -> None:
    """Below its own beginning; the last rung comes with what to do."""
    said = line(1.0, "emergency", pool=LONGEST)
    said.message["text"] = f"0.951 margin ratio · {LONGEST} · BTCUSD_PERP long at 2,972.123, liquidation at 2,954.49"
    said.message["advice"] = "Add at least 35,576.16 USDT of margin, or cut the position by 68.1 %"
    shown = printed(said.wrapped()).splitlines()
    assert max(map(len, shown)) <= 80
    words = f"{said.message['text']} {said.message['advice']}".split()
    assert " ".join(shown).split()[2:] == words
    assert all(each.startswith(" " * 25) for each in shown[1:])
    assert line(1.0, "critical").advice == ""


def test_the_worst_moments_stand_in_the_order_of_the_board() -> None:
    """By severity, then by ratio."""
    scene = Scene(width=100)
    mild = {"margin_ratio": 0.9, "severity": "notice", "legs": []}
    scene.see({"v/a/mild": mild, "v/a/bad": {"margin_ratio": 0.2, "severity": "emergency", "legs": []}})
    assert [line.split()[0] for line in printed(scene.worst(), 100).splitlines()[2:]] == ["v/a/bad", "v/a/mild"]


def test_each_pool_is_kept_at_its_own_worst() -> None:
    """The highest ratio that was seen of each, also after it was liquidated; an unknown one takes nothing away."""

    def pool(ratio: float | str | None) -> dict[str, object]:
        return {"margin_ratio": ratio, "legs": []}

    scene = Scene(liquidations={"v/a/p": 9.0})
    for p, q in ((0.2, 0.3), (0.9, None), (None, 0.6), (0.8, 0.5)):
        scene.see({"v/a/p": pool(p), "v/a/q": pool(q)})
    scene.see({"v/a/q": pool("Infinity")})
    assert [document["margin_ratio"] for document in scene.peaks.values()] == [0.9, "Infinity"]
    assert scene.gone == {"v/a/p": "liquidated"}
    console = Console(record=True, file=io.StringIO(), width=120)
    console.print(scene.worst())
    assert "0.900" in console.export_text()


def test_a_bar_shows_rungs_and_never_overflows() -> None:
    """From zero to beyond one, and unknown in words."""
    assert bar(0.0).plain == "············┊···┊···┊·┊·"
    assert bar(0.5).plain.startswith("█" * 12)
    assert bar(7.0).plain == "█" * 24
    assert bar(None).plain.strip() == "unknown"
    assert {len(bar(ratio / 10, 10).plain) for ratio in range(12)} == {10}


def test_nothing_liquidated_is_said() -> None:
    """A demo in which nothing happened does not look like a success."""
    console = Console(record=True, file=io.StringIO())
    console.print(Scene().summary())
    assert "liquidated nothing" in console.export_text()


def test_a_demo_is_good_when_every_account_lost_something_and_was_warned() -> None:
    """An account that was to lose something and did not is a failure, and is named."""
    scene = Scene(accounts=("v/a", "w/b"), liquidations={"v/a/p": 9.0})
    scene.lines = [line(1.0 + severity, severity.label) for severity in Severity]
    assert scene.unharmed() == ["w/b"]
    assert not scene.good()
    console = Console(record=True, file=io.StringIO(), width=120)
    console.print(scene.summary())
    assert "liquidated nothing of w/b" in console.export_text()
    scene.accounts = ("v/a",)
    assert scene.good()
    scene.lines.pop()
    assert not scene.good()
    assert not Scene().good()
