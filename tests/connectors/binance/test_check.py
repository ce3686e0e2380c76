"""One look at an account, against the simulated exchange."""

from collections.abc import AsyncIterator
from decimal import Decimal
from math import nan
from typing import Any

import pytest

from connectors import CheckLine
from connectors.binance import AccountConfig, check
from connectors.binance_common.check import pool_line
from connectors.config import BaseAccountConfig
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, PoolReport
from tests.support.venue_server import Venue, venue_in_process


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """An account with an isolated and a cross position."""
    held = (
        PositionSpec(symbol="BTCUSDT", size=Decimal(1), isolated_wallet=Decimal(10_000)),
        PositionSpec(symbol="ETHUSDT", size=Decimal(-2)),
    )
    account = AccountSpec(name="main", wallets={"USDT": Decimal(50_000)}, positions=held)
    async with venue_in_process(Scenario(accounts=(account,), start="manual")) as server:
        yield server


async def look(venue: Venue, **changes: Any) -> dict[str, CheckLine]:
    """The lines by subject."""
    values = {
        "name": "main",
        "api_key": Secret(venue.key.api_key),
        "api_secret": Secret(venue.key.api_secret),
        "rest_url": venue.rest_url,
        "permissions_url": venue.permissions_url,
    }
    return {line.subject: line for line in await check(AccountConfig.model_validate(values | changes), SystemClock())}


async def test_a_good_account_has_good_lines_only(venue: Venue) -> None:
    """Clock, permissions, brackets, snapshot, and every pool as the venue reports it."""
    lines = await look(venue)
    assert all(line.ok for line in lines.values())
    assert list(lines) == ["clock", "permissions", "brackets", "snapshot", "pool BTCUSDT:long", "pool USDT"]
    assert "2 open positions, one-way, single-asset" in lines["snapshot"].text
    assert "margin balance" in lines["pool USDT"].text


def test_a_pool_whose_figures_are_not_told_is_not_called_good() -> None:
    """Under portfolio margin a figure may be left empty."""
    line = pool_line(PoolReport("multi", nan, 10_500.0, None, ()))
    assert (line.ok, line.subject) == (False, "pool multi")
    assert "does not tell" in line.text


async def test_the_snapshot_comes_with_its_events(venue: Venue) -> None:
    """So that the caller can hold the model against the venue's reports."""
    loaded, snapshot = (await look(venue))["snapshot"].events
    assert isinstance(loaded, InstrumentsLoaded)
    assert isinstance(snapshot, AccountSnapshot)
    assert [report.scope for report in snapshot.reports] == ["BTCUSDT:long", "USDT"]


async def test_a_key_that_may_trade_is_named_with_the_way_to_a_better_one(venue: Venue) -> None:
    """Good only where it is allowed."""
    await venue.permissions("main", enableFutures=True)
    line = (await look(venue))["permissions"]
    assert not line.ok
    assert "enableFutures" in line.text
    assert "Enable Reading" in line.text
    assert (await look(venue, allow_dangerous_key=True))["permissions"].ok


async def test_a_key_that_may_not_read_is_bad(venue: Venue) -> None:
    """With what to tick."""
    await venue.permissions("main", enableReading=False)
    assert not (await look(venue))["permissions"].ok


@pytest.mark.parametrize("status", [403, 404])
async def test_permissions_that_are_not_told_are_bad_as_they_are_for_run(venue: Venue, status: int) -> None:
    """As on test networks; with what to do, and good once it is done."""
    await venue.rest_fault("/sapi", status=status, code=-5000, times=2)
    line = (await look(venue))["permissions"]
    assert line.ok is False
    assert "does not tell" in line.text
    assert "allow_dangerous_key = true" in line.text
    assert (await look(venue, allow_dangerous_key=True))["permissions"].ok


async def test_permissions_in_a_shape_not_known_are_bad(venue: Venue) -> None:
    """`run` would ask for ever."""
    await venue.rest_fault("/sapi", "garbage")
    assert (await look(venue))["permissions"].ok is False


async def test_a_refused_key_is_told_with_what_to_do(venue: Venue) -> None:
    """Every line that needs it is bad, and the secret is in none."""
    wrong = "w" * 64
    lines = await look(venue, api_secret=Secret(wrong))
    assert lines["clock"].ok
    assert not lines["permissions"].ok
    assert not lines["snapshot"].ok
    assert "check that api_secret belongs to api_key" in lines["snapshot"].text
    assert wrong not in repr(lines)


async def test_a_clock_that_is_off_is_told_and_does_no_harm(venue: Venue) -> None:
    """Requests are corrected for it."""
    await venue.clock_offset(90_000)
    lines = await look(venue)
    assert "behind" in lines["clock"].text
    assert "should be set" in lines["clock"].text
    assert lines["snapshot"].ok


async def test_a_venue_that_cannot_be_reached_is_one_bad_line() -> None:
    """Nothing else can be looked at."""
    keys = {"api_key": Secret("k"), "api_secret": Secret("s")}
    account = AccountConfig(name="main", rest_url="http://127.0.0.1:1", **keys)
    (line,) = await check(account, SystemClock())
    assert (line.ok, line.subject) == (False, "clock")


@pytest.mark.parametrize("kind", ["garbage", "empty_numbers"])
async def test_an_answer_that_cannot_be_used_is_a_bad_line(venue: Venue, kind: str) -> None:
    """Not a traceback."""
    await venue.rest_fault("/fapi/v3/account", kind)
    assert not (await look(venue))["snapshot"].ok


async def test_an_account_of_another_venue_is_refused() -> None:
    """Not a traceback either."""
    (line,) = await check(BaseAccountConfig(name="x", venue="elsewhere"), SystemClock())
    assert not line.ok
