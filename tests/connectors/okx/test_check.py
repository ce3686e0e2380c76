"""One look at an account, against OKX on loopback."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connectors import CheckLine
from connectors.okx import AccountConfig, check
from connectors.simulator.okx import API_KEY, API_SECRET, PASSPHRASE, OkxServer
from connectors.simulator.okx_account import Position
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.model.events import AccountSnapshot, InstrumentsLoaded


@pytest.fixture
async def server() -> AsyncIterator[OkxServer]:
    """An account with an isolated and a cross position."""
    async with OkxServer(SystemClock()) as running:
        running.state.positions.append(Position("ETH-USDT-SWAP", -20.0, 4000.0, "cross"))
        yield running


async def look(server: OkxServer, **changes: Any) -> dict[str, CheckLine]:
    """The lines by subject."""
    values = {
        "name": "main",
        "api_key": Secret(API_KEY),
        "api_secret": Secret(API_SECRET),
        "passphrase": Secret(PASSPHRASE),
        "rest_url": server.rest_url,
    }
    return {line.subject: line for line in await check(AccountConfig.model_validate(values | changes), SystemClock())}


async def test_a_good_account_has_good_lines_only(server: OkxServer) -> None:
    """Clock, permissions, tiers, snapshot, and every pool as the venue reports it."""
    lines = await look(server)
    assert list(lines) == ["clock", "permissions", "tiers", "snapshot", "pool BTC-USDT-SWAP:long", "pool USDT"]
    assert all(line.ok for line in lines.values())
    assert "2 open contracts, one-way, single-asset" in lines["snapshot"].text
    assert "OKX shows" in lines["pool USDT"].text


async def test_the_snapshot_comes_with_its_events(server: OkxServer) -> None:
    """So that the caller can hold the model against the venue's reports."""
    loaded, snapshot = (await look(server))["snapshot"].events
    assert isinstance(loaded, InstrumentsLoaded)
    assert isinstance(snapshot, AccountSnapshot)
    tables = [(it.symbol, it.taker_fee_rate, len(it.tiers), len(it.isolated_tiers or ())) for it in loaded.instruments]
    assert tables == [("BTC-USDT-SWAP", 0.0005, 0, 4), ("ETH-USDT-SWAP", 0.0005, 4, 0)]


async def test_a_key_that_may_trade_is_named_with_the_way_to_a_better_one(server: OkxServer) -> None:
    """Unless it is allowed to."""
    server.state.permissions = "read_only,trade"
    line = (await look(server))["permissions"]
    assert line.ok is False
    assert 'make a key with only the permission "Read"' in line.text
    assert (await look(server, allow_dangerous_key=True))["permissions"].ok
    server.state.permissions = ""
    assert (await look(server))["permissions"].ok is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passphrase": Secret("wrong")}, "passphrase"),
        ({"api_secret": Secret("wrong")}, "api_secret"),
        ({"api_key": Secret("wrong")}, "region and demo"),
    ],
)
async def test_wrong_credentials_say_which(server: OkxServer, changes: dict[str, Any], words: str) -> None:
    """And nothing of them is shown."""
    lines = await look(server, **changes)
    assert lines["permissions"].ok is lines["snapshot"].ok is False
    assert words in lines["snapshot"].text
    assert 'wrong"' not in str(lines)


async def test_what_is_missing_is_said(server: OkxServer) -> None:
    """Tiers, fees, OKX's own warnings, and positions that are no contracts."""
    server.state.gear = "0"
    server.state.positions.append(Position("ETH-USDT-SWAP", 1.0, 4000.0, "cross", changes={"instType": "MARGIN"}))
    for path in ("/api/v5/public/position-tiers", "/api/v5/account/trade-fee"):
        server.faults.append((path, lambda: server.envelope(50001)))
    lines = await look(server)
    assert (lines["warnings"].ok, lines["tiers"].ok) == (None, False)
    assert lines["tiers"].text == "no maintenance tiers for ETH-USDT-SWAP"  # the cross table; the isolated one was told
    assert "MARGIN positions beside them are not watched" in lines["snapshot"].text
    server.faults.append(("/api/v5/account/trade-fee", lambda: server.envelope(50001)))
    assert "0.05 %" in (await look(server))["tiers"].text


async def test_what_expires_is_compared_as_it_is_held(server: OkxServer) -> None:
    """A future's pool is shown as OKX reports it, and needs no tiers; where OKX tells nothing, that is said."""
    server.state.positions = [Position("BTC-USDT-261225", 10.0, 75_000.0, "cross")]
    server.state.marks["BTC-USDT-261225"] = 75_000.0
    lines = await look(server)
    assert (lines["tiers"].ok, lines["pool USDT"].ok) == (True, True)
    (snapshot,) = (event for event in lines["snapshot"].events if isinstance(event, AccountSnapshot))
    assert snapshot.reported == {"USDT"}
    server.state.empty = {"USDT": ("mgnRatio", "mmr")}
    line = (await look(server))["pool USDT"]
    assert (line.ok, line.text) == (None, "OKX does not tell what it requires")


async def test_an_address_that_is_not_there(server: OkxServer) -> None:
    """One line, and no more questions."""
    lines = await look(server, rest_url="http://127.0.0.1:1")
    assert [line.ok for line in lines.values()] == [False]
