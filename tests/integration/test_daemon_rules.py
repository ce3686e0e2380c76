"""The whole daemon beside a venue that changes its rules: the definitions are read again, and both prices are told."""

from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.venue_server import Venue

pytestmark = pytest.mark.integration

POOL = "binance/main/BTCUSDT:long"


def told(process: Daemon) -> list[dict[str, Any]]:
    """What left about rules."""
    return [message for message in process.said() if message["rule"] == "rules_changed"]


async def price_of(process: Daemon) -> float:
    """The liquidation price that the daemon shows."""
    return (await process.pools())[POOL]["legs"][0]["liquidation_price"]


async def read_again(venue: Venue, symbol: str) -> None:
    """Let the daemon read all definitions now: a contract that it does not know is held."""
    await venue.marks(**{symbol: "2.5"})
    await venue.act("main", "set_position", symbol=symbol, size="10", entry_price="2.5", isolated_wallet="20")


async def test_brackets_that_change_under_a_position_are_told(venue: Venue, watching: Daemon) -> None:
    """The price before is the one that was shown; a table that is read again and is the same says nothing."""
    entry, wallet = 76_888.1, 8_000.0
    before = await price_of(watching)
    assert before == pytest.approx((entry - wallet) / (1 - 0.004))
    await venue.brackets("BTCUSDT", [("0", "0.02", 50), ("1000000", "0.05", 10)], "5000000")
    await read_again(venue, "NEWUSDT")
    await watching.until(lambda: told(watching), "the change told")
    (message,) = told(watching)
    assert (message["value"], message["threshold"]) == (pytest.approx((entry - wallet) / 0.98), pytest.approx(before))
    assert (message["key"], message["severity"]) == (f"rules_changed:{POOL}", "warning")
    assert (message["pool"], message["legs"][0]["liquidation_price"]) == (POOL, message["value"])
    assert message["text"].startswith("70,293.98 liquidation price, was 69,164.76 · BTCUSDT long")
    assert message["text"].endswith("maintenance rate 0.4 % -> 2 %")
    assert await price_of(watching) == pytest.approx(message["value"])
    await read_again(venue, "ALSOUSDT")
    await watching.until(lambda: knows(watching, "ALSOUSDT"), "the definitions read again")
    assert told(watching) == [message]


async def knows(process: Daemon, symbol: str) -> bool:
    """Whether a contract's tiers have been read, so that its position's figures are known."""
    pool = (await process.pools()).get(f"binance/main/{symbol}:long")
    return pool is not None and pool["margin_ratio"] is not None
