"""The whole daemon beside a simulated venue: what it says when the venue falls silent, lies or changes under it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario, VenueSpec
from tests.support.daemon import QUICK, Daemon, daemon
from tests.support.venue_server import Venue, venue_process

pytestmark = pytest.mark.integration


def told(process: Daemon, rule: str, state: str = "firing") -> list[dict[str, Any]]:
    """What left about a rule."""
    return [m for m in process.said() if m["rule"] == rule and m["state"] == state]


async def mark_of(process: Daemon, pool: str) -> float | None:
    """The mark that the daemon shows for a pool's first leg."""
    found = (await process.pools()).get(pool)
    return found["legs"][0]["mark_price"] if found and found.get("legs") else None


async def test_a_silent_market_stream_is_an_alert_and_is_replaced(venue: Venue, watching: Daemon) -> None:
    """The socket stays open and says nothing: blindness is said with the risk behind it, a new connection ends it."""
    before = {connection["number"] for connection in await venue.connections("market")}
    await venue.stream_fault("market", "silent")
    await watching.until(lambda: told(watching, "stale_feed"), "blindness said")
    (first, *_) = told(watching, "stale_feed")
    assert first["account"] == "main"
    assert "BTCUSDT" in first["text"]
    assert first["severity"] in {"warning", "critical", "emergency"}
    await watching.until(lambda: told(watching, "stale_feed", "resolved"), "sight restored", 40.0)
    after = {connection["number"] for connection in await venue.connections("market")}
    assert not before & after
    assert await watching.is_ready()


async def test_a_venue_that_is_gone_is_an_alert_until_it_is_back(venue: Venue, watching: Daemon) -> None:
    """Connections cut and refused, requests failing: blind, said once, and everything recovers by itself."""
    for route in ("market", "private"):
        await venue.stream_fault(route, "refuse", future=True, times=6)
        await venue.stream_fault(route, "drop")
    await venue.rest_fault("/fapi", "status", status=503, code=-1000, msg="away", times=4)
    await watching.until(lambda: told(watching, "stale_feed"), "blindness said")
    await watching.until(watching.is_ready, "everything seen again", 60.0)
    await venue.marks(BTCUSDT="75000")
    await watching.until(lambda: mark_is(watching, 75_000.0), "marks arrive again")


async def mark_is(process: Daemon, price: float) -> bool:
    """Whether the daemon shows this mark."""
    return await mark_of(process, "binance/main/BTCUSDT:long") == price


async def test_what_changes_at_the_venue_changes_here(venue: Venue, watching: Daemon) -> None:
    """Added margin, a new position, and a close that no event told are picked up."""
    pool = "binance/main/BTCUSDT:long"
    await venue.act("main", "isolated_margin", symbol="BTCUSDT", amount="2000")
    before = (await watching.pools())[pool]["margin_balance"]
    await watching.until(lambda: balance_is_above(watching, pool, 9_900.0), f"margin added (was {before})")
    await venue.act("main", "set_position", symbol="ETHUSDT", size="-2", entry_price="3215.4", isolated_wallet="700")
    await watching.until(lambda: has(watching, "binance/main/ETHUSDT:short"), "a new short")
    await venue.act("main", "set_position", symbol="ETHUSDT", size="0", silent=True)
    await watching.until(lambda: has(watching, "binance/main/ETHUSDT:short", there=False), "what no event told", 30.0)
    metrics = await watching.get("/metrics")
    assert 'marginwatch_reconciliations_total{account="main",outcome="corrected",venue="binance"} 1.0' in metrics


async def has(process: Daemon, pool: str, *, there: bool = True) -> bool:
    """Whether the daemon shows a pool."""
    return (pool in await process.pools()) is there


async def balance_is_above(process: Daemon, pool: str, amount: float) -> bool:
    """Whether a pool's margin balance is above an amount."""
    return (await process.pools())[pool]["margin_balance"] > amount


async def test_every_rung_leaves_before_the_liquidation(venue: Venue, watching: Daemon) -> None:
    """A fall tick by tick: each rung is said in its order before the venue acts, and the end is said too."""
    price = 76_888.1
    while not await venue.liquidations():
        price -= 200.0 if price > 70_000.0 else 4.0
        await venue.marks(BTCUSDT=f"{price:.1f}")
        await asyncio.sleep(0.02)
    (liquidation,) = await venue.liquidations()
    await watching.until(lambda: told(watching, "venue_notice"), "the liquidation said")
    ladder = [m for m in told(watching, "margin_ratio") if m["pool"] == "binance/main/BTCUSDT:long"]
    assert [m["severity"] for m in ladder] == ["notice", "warning", "critical", "emergency"]
    assert all(m["raised_at"] < timestamp(liquidation["at"]) for m in ladder)
    assert all(m["advice"] for m in ladder)
    await watching.until(lambda: told(watching, "margin_ratio", "resolved"), "the pool's end")


def timestamp(seconds: float) -> str:
    """RFC 3339, as messages write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_a_restart_neither_repeats_nor_forgets(venue: Venue, watching: Daemon) -> None:
    """What was delivered is not said again after a restart; what still holds is still firing, under the same id."""
    await venue.marks(BTCUSDT="69500")  # 69,500 * 0.4 % over 8,000 - 7,388.1: 0.45; a little further:
    await venue.marks(BTCUSDT="69300")
    await watching.until(lambda: told(watching, "margin_ratio"), "the first rung")
    said = [m["id"] for m in told(watching, "margin_ratio")]
    assert await watching.stop() == 0
    await watching.start()
    firing = await watching.get("/api/v1/alerts")
    assert said[-1] in {alert["id"] for alert in firing["alerts"]}
    assert [m["id"] for m in told(watching, "margin_ratio")] == said


async def test_a_damaged_state_file_keeps_nobody_from_being_warned(venue: Venue, watching: Daemon) -> None:
    """It is set aside and said to be; what fires is said anew, and goes on being said by the next run."""
    await venue.marks(BTCUSDT="69300")
    await watching.until(lambda: told(watching, "margin_ratio"), "the first rung")
    assert await watching.stop() == 0
    state, before = watching.directory / "state.sqlite", len(watching.said())
    state.write_bytes(state.read_bytes()[:4096] + bytes(state.stat().st_size - 4096))
    await watching.start()

    def said_now(rule: str) -> list[str]:
        return [m["reason"] for m in watching.said()[before:] if (m["rule"], m["state"]) == (rule, "firing")]

    await watching.until(lambda: said_now("sink_failure") and said_now("margin_ratio"), "said")
    assert said_now("sink_failure") == ["state_begun_anew"]
    assert len(list(watching.directory.glob("state.sqlite.damaged-*"))) == 1
    assert await watching.stop() == 0
    before = len(watching.said())
    await watching.start()
    firing = {alert["key"] for alert in (await watching.get("/api/v1/alerts"))["alerts"]}
    assert {"sink_failure:state", "margin_ratio:binance/main/BTCUSDT:long"} <= firing
    assert not watching.said()[before:]


async def test_a_reload_keeps_alerts_and_takes_new_rungs(venue: Venue, watching: Daemon) -> None:
    """SIGHUP: a rung set lower fires at once; a wrong file changes nothing and is logged."""
    assert not told(watching, "margin_ratio")
    good = watching.path.read_text()
    watching.path.write_text(good + "[alerts.margin_ratio]\nnotice = 0.01\nwarning = 0.9\n")
    watching.send(signal.SIGHUP)
    await watching.until(lambda: told(watching, "margin_ratio"), "the lower rung")
    watching.path.write_text(good + "[alerts.margin_ratio]\nnotise = 0.01\n")
    watching.send(signal.SIGHUP)
    await watching.until(lambda: "notise" in watching.log(), "the fault in the log")
    assert await watching.is_ready()
    assert not told(watching, "margin_ratio", "resolved")


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Venue, Daemon]]:
    """A venue with two accounts, each with a position, and a daemon that is to watch both."""
    position = PositionSpec(symbol="BTCUSDT", size=Decimal(1), isolated_wallet=Decimal(8000))
    accounts = tuple(
        AccountSpec(name=name, wallets={"USDT": Decimal(100_000)}, positions=(position,))
        for name in ("first", "second")
    )
    scenario = Scenario(name="two", accounts=accounts, venue=VenueSpec(republish_s=0.25))
    async with venue_process(scenario, max_seconds=110) as venue, daemon(venue, tmp_path / "daemon", QUICK) as process:
        yield venue, process


async def test_a_refused_account_takes_no_other_with_it(two: tuple[Venue, Daemon]) -> None:
    """One key may trade: its account is an alert, the other account is watched."""
    venue, process = two
    await venue.permissions("second", enableFutures=True)
    await process.start(ready=False)
    await process.until(lambda: has(process, "binance/first/BTCUSDT:long"), "the other account watched")
    await process.until(lambda: told(process, "stale_feed"), "the refusal said", 30.0)
    (alert,) = told(process, "stale_feed")
    assert alert["account"] == "second"
    assert not await process.is_ready()


async def test_reloads_in_a_row_leave_one_of_everything(two: tuple[Venue, Daemon]) -> None:
    """Six SIGHUPs while the accounts change each time: one market stream and one private stream an account."""
    venue, process = two
    await process.start()
    text = process.path.read_text()
    for k in range(6):
        process.path.write_text(text.replace("reconcile_s = 60.0", f"reconcile_s = {50 + k}.0"))
        process.send(signal.SIGHUP)
        await asyncio.sleep(0.05)

    async def settled() -> bool:
        routes = sorted(each["route"] for each in await venue.connections())
        return routes == ["market", "private", "private"] and await process.is_ready()

    await process.until(settled, "one of everything", 30.0)


async def test_a_refusal_after_a_restart_is_an_alert(venue: Venue, watching: Daemon) -> None:
    """A daemon that has watched before does not end when its key is refused: nobody would hear of it."""
    await venue.marks(BTCUSDT="69300")
    await watching.until(lambda: told(watching, "margin_ratio"), "the first rung")
    await watching.stop()
    await venue.rest_fault(
        "/sapi", "status", status=401, code=-2015, msg="Invalid API-key, IP, or permissions", times=99
    )
    await venue.rest_fault(
        "/fapi", "status", status=401, code=-2015, msg="Invalid API-key, IP, or permissions", times=99
    )
    await watching.start(ready=False)
    await watching.until(lambda: told(watching, "stale_feed"), "the refusal said", 30.0)
    assert not told(watching, "margin_ratio", "resolved")
