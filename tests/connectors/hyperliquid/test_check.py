"""`check` against a venue on loopback."""

from math import nan

import pytest

from connectors import CheckLine
from connectors.hyperliquid import check
from connectors.hyperliquid.check import reported
from connectors.hyperliquid.config import AccountConfig
from connectors.simulator.hyperliquid import Address, Held, HyperliquidServer
from monitor.clock import SystemClock
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, PoolReport

ADDRESS = "0x" + "ab" * 20


async def lines(server: HyperliquidServer) -> dict[str, CheckLine]:
    """Findings by subject."""
    account = AccountConfig.model_validate({"name": "hl", "address": ADDRESS, "rest_url": server.rest_url})
    return {line.subject: line for line in await check(account, SystemClock())}


async def test_a_good_account() -> None:
    """Address, tables, snapshot with its events, and each pool as the venue reports it."""
    async with HyperliquidServer(SystemClock()) as server:
        address = server.add(Address(ADDRESS, cash={"": 4_000.0, "xyz": 100.0}))
        address.positions = {
            "BTC": Held("BTC", 1.0, 75_000.0, max_leverage=50),
            "HYPE": Held("HYPE", -15.0, 40.0, raw_usd=700.0),
            "xyz:AAPL": Held("xyz:AAPL", 1.0, 250.0),
        }
        found = await lines(server)
    assert {subject: line.ok for subject, line in found.items()} == {
        "address": True,
        "margin tables": True,
        "snapshot": True,
        "BTC": None,
        "pool USDC": True,
        "pool xyz:USDC": True,
        "pool HYPE:short": True,
    }
    assert "no key is needed" in found["address"].text
    assert found["snapshot"].text == "3 open positions on 2 dexes, standard mode"
    assert "maximum leverage of 50, its table says 40" in found["BTC"].text
    assert [type(event) for event in found["snapshot"].events] == [InstrumentsLoaded, AccountSnapshot]
    assert "margin ratio 0.1875" in found["pool USDC"].text


async def test_an_unstated_mode_says_what_it_is_taken_for() -> None:
    """Because a person may know better."""
    async with HyperliquidServer(SystemClock()) as server:
        address = server.add(Address(ADDRESS, None, cash={"": 4_000.0}))
        address.positions["BTC"] = Held("BTC", 1.0, 75_000.0)
        found = await lines(server)
    assert found["snapshot"].text == "1 open position on 2 dexes, unified mode (the venue says it is unstated)"
    assert "maintenance margin 986.842, margin ratio 0.2467 (Hyperliquid's own 0.2344)" in found["pool USDC"].text


def test_a_pool_of_which_nothing_is_told_is_said_to_be_unknown() -> None:
    """No figures are printed that are none."""
    found = reported(PoolReport("multi", nan, nan, None, ()))
    assert (found.ok, found.text) == (None, "Hyperliquid does not tell what it requires; it is unknown")


@pytest.mark.parametrize(
    ("role", "words"),
    [({"role": "missing"}, "check every digit"), ({"role": "agent", "data": {"user": "0xcd"}}, "account, 0xcd")],
)
async def test_what_is_no_account_fails(role: dict[str, object], words: str) -> None:
    """Although it looks like an empty one."""
    async with HyperliquidServer(SystemClock()) as server:
        server.add(Address(ADDRESS, role=role))
        found = await lines(server)
    assert found["address"].ok is False
    assert words in found["address"].text


async def test_a_venue_that_does_not_answer_is_a_sentence() -> None:
    """No traceback."""
    async with HyperliquidServer(SystemClock()) as server:
        url = server
    found = await lines(url)
    assert found["snapshot"].ok is False
