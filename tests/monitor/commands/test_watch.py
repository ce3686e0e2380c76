"""`marginwatch watch` as a user runs it: an address and nothing else, against a venue on loopback."""

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from connectors.simulator.hyperliquid import Address, Held, HyperliquidServer
from monitor.clock import SystemClock
from monitor.commands.greeting import line
from monitor.commands.watch import _short
from tests.support.cli import marginwatch, read_until, started
from tests.support.pools import a_pool

pytestmark = pytest.mark.integration

ADDRESS = "0x" + "aB" * 20
OTHER = "0x" + "cd" * 20
SHORT, OTHER_SHORT = "0xabab..abab", "0xcdcd..cdcd"
STOP_S = 10.0


def at(server: HyperliquidServer) -> list[str]:
    """Options for a venue on loopback."""
    return ["--rest-url", server.rest_url, "--ws-url", server.stream_url()]


def long_btc(name: str, cash: float, abstraction: str | None = "disabled") -> Address:
    """An account with a long of 1 BTC at 75,000, which requires 937.50."""
    return Address(name.lower(), abstraction, cash={"": cash}, positions={"BTC": Held("BTC", 1.0, 75_000.0)})


async def test_needs_nothing_but_an_address() -> None:
    """It shows where it is and every pool, warns when the mark moves, and ends on Ctrl-C."""
    async with HyperliquidServer(SystemClock()) as server:
        server.add(long_btc(ADDRESS, 4_000.0))
        server.add(long_btc(OTHER, 75_000.0, "unifiedAccount"))
        ticking = asyncio.create_task(tick(server))
        async with started("watch", "hyperliquid", ADDRESS, OTHER, *at(server)) as process:
            lines = await read_until(process.stdout, lambda line: OTHER_SHORT in line and "margin ratio" in line)
            assert lines[:2] == [f"{SHORT} is {ADDRESS.lower()}\n", f"{OTHER_SHORT} is {OTHER}\n"]
            assert lines[2:4] == [f"watching hyperliquid/{name}\n" for name in (SHORT, OTHER_SHORT)]
            shown = "".join(lines)
            assert f"hyperliquid/{SHORT}/USDC: margin ratio 23.44 % (computed)" in shown
            assert "BTC long 1" in shown
            assert shown.count(ADDRESS.lower()) == 1, "an address is told whole once"
            url = shown.split("board ")[1].split("/  ")[0]
            async with ClientSession(url) as http, http.get("/api/v1/pools") as answer:
                pools = {pool["pool"]: pool for pool in json.loads(await answer.text())["pools"]}
            assert pools[f"hyperliquid/{OTHER_SHORT}/USDC"]["margin_ratio"] == pytest.approx(0.0125 / 0.95)
            server.mark(BTC=72_000.0)
            said = await read_until(process.stdout, lambda line: "margin ratio" in line or "%" in line)
            assert SHORT in said[-1]
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(STOP_S):
                out, err = await process.communicate()
        ticking.cancel()
    assert process.returncode == 0
    assert out.decode().endswith("stopped\n")
    assert "Traceback" not in err.decode()


def test_addresses_that_look_alike_are_called_by_the_whole() -> None:
    """Nobody is to take one for the other."""
    twin = f"{ADDRESS[:20]}{'0' * 18}{ADDRESS[38:]}"
    assert _short(ADDRESS, [ADDRESS, OTHER, ADDRESS.lower()]) == SHORT
    assert _short(ADDRESS, [ADDRESS, twin]) == ADDRESS.lower()


async def tick(server: HyperliquidServer) -> None:
    """The marks as they are, every now and then."""
    while True:
        server.mark(**server.marks)
        await asyncio.sleep(0.5)


def test_next_to_nothing_does_not_look_like_nothing() -> None:
    """Liquidation 0.05 % away is not liquidation 0.0 % away."""
    shown = line(replace(a_pool(0.0004), distance=0.000_5))
    assert shown.startswith("binance/main/USDT: margin ratio 0.040 % (computed), liquidation 0.050 % away: ")


async def test_an_empty_account_is_an_account() -> None:
    """It holds nothing, and is said to."""
    async with HyperliquidServer(SystemClock()) as server:
        server.add(Address(OTHER))
        async with started("watch", "hyperliquid", OTHER, *at(server)) as process:
            await read_until(process.stdout, lambda line: line == "no open positions\n")


async def test_an_address_that_nobody_has_does_not_hide_the_others() -> None:
    """Their pools are shown; that it has no positions is said of nothing that is not seen."""
    async with HyperliquidServer(SystemClock()) as server:
        server.add(long_btc(ADDRESS, 4_000.0))
        ticking = asyncio.create_task(tick(server))
        async with started("watch", "hyperliquid", ADDRESS, OTHER, *at(server)) as process:
            lines = await read_until(process.stdout, lambda line: f"{SHORT}/USDC: margin ratio 23.44 %" in line)
        ticking.cancel()
    assert "no open positions\n" not in lines


async def test_an_address_that_nobody_has_is_refused() -> None:
    """It looks like an empty account, but is a typo."""
    async with HyperliquidServer(SystemClock()) as server:
        finished = await marginwatch("watch", "hyperliquid", ADDRESS, *at(server))
    assert finished.code == 2
    assert f"address: Hyperliquid knows no account {ADDRESS.lower()}; check every digit" in finished.err


async def test_an_api_wallet_is_refused() -> None:
    """With the account that it belongs to."""
    async with HyperliquidServer(SystemClock()) as server:
        server.add(Address(OTHER, role={"role": "agent", "data": {"user": ADDRESS}}))
        finished = await marginwatch("watch", "hyperliquid", OTHER, *at(server))
    assert finished.code == 2
    assert f"is an API wallet, which holds nothing; give the address of its account, {ADDRESS}" in finished.err


async def test_what_cannot_be_used_is_a_sentence() -> None:
    """Address, addresses of the venue, and where to listen: all at once; and a venue that has no public accounts."""
    finished = await marginwatch(
        *("watch", "hyperliquid", "0x12", "--rest-url", "http://example.com", "--listen", "nowhere")
    )
    assert finished.code == 2
    assert 'address: found "0x12"; an address is 0x and 40 hexadecimal digits' in finished.err
    assert "--rest-url: " in finished.err
    assert "--listen: " in finished.err
    finished = await marginwatch("watch", "binance", ADDRESS)
    assert finished.code == 2
    assert "hyperliquid" in finished.err


async def test_alerts_are_remembered_where_told(tmp_path: Path) -> None:
    """A state file of one's own outlives the command."""
    path = tmp_path / "state.sqlite"
    async with HyperliquidServer(SystemClock()) as server:
        server.add(Address(OTHER))
        async with started("watch", "hyperliquid", OTHER, *at(server), "--state", path) as process:
            await read_until(process.stdout, lambda line: line == "no open positions\n")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_S):
                await process.communicate()
    assert process.returncode == 0
    assert path.exists()
