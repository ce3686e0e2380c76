"""One look at a COIN-M account of the simulated exchange."""

from decimal import Decimal

from connectors.binance_coinm import AccountConfig, check
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.model.events import AccountSnapshot
from tests.support.venue_server import venue_in_process


async def test_a_good_account_is_good_in_every_line() -> None:
    """Clock, permissions, brackets, snapshot, and a line for each pool in its coin."""
    held = PositionSpec(symbol="BTCUSD_PERP", size=Decimal(100))
    spec = AccountSpec(name="main", venue="binance-coinm", wallets={"BTC": Decimal(1)}, positions=(held,))
    async with venue_in_process(Scenario(accounts=(spec,), start="manual")) as venue:
        key, streams = venue.key, venue.info["coin_stream_url"]
        account = AccountConfig(
            name="main",
            api_key=Secret(key.api_key),
            api_secret=Secret(key.api_secret),
            rest_url=venue.rest_url,
            market_url=streams,
            private_url=streams,
        )
        lines = await check(account, SystemClock())
    assert [(line.subject, line.ok) for line in lines] == [
        (subject, True) for subject in ("clock", "permissions", "brackets", "snapshot", "pool BTC")
    ]
    assert lines[2].text == "maintenance tiers of 2 symbols"
    (snapshot,) = (event for line in lines for event in line.events if isinstance(event, AccountSnapshot))
    assert snapshot.venue == "binance-coinm"
