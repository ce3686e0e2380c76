"""What most of these tests begin with: a venue whose prices stand still, and a daemon that watches one long there."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.simulator.scenario import AccountSpec, Scenario, VenueSpec
from tests.support.daemon import QUICK, Daemon, daemon
from tests.support.venue_server import Venue, venue_process


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """A venue with one account and nothing in it but USDT; it repeats its marks four times a second."""
    account = AccountSpec(name="main", wallets={"USDT": Decimal(100_000)})
    scenario = Scenario(name="still", accounts=(account,), venue=VenueSpec(republish_s=0.25))
    async with venue_process(scenario, max_seconds=110) as running:
        yield running


@pytest.fixture
async def watching(venue: Venue, tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon that watches an isolated long of one BTC, and asks for a snapshot every five seconds."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1", entry_price="76888.1", isolated_wallet="8000")
    async with daemon(venue, tmp_path / "daemon", QUICK, reconcile_s=5.0) as process:
        await process.start()
        yield process
