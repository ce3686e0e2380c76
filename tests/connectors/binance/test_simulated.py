"""Binance's connector against the simulated exchange: what only Binance has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.events import AccountDelta, AccountSnapshot, Marks, SnapshotReason
from tests.connectors.compliance import BinanceUnderTest, QuickClock, Watch, watching
from tests.support.venue_server import Venue, venue_in_process


@asynccontextmanager
async def account(
    *positions: PositionSpec, multi_assets: bool = False, **wallets: str
) -> AsyncIterator[tuple[Venue, Watch]]:
    """A watched account that is in sync."""
    clock = QuickClock()
    held = {coin: Decimal(balance) for coin, balance in wallets.items()}
    spec = AccountSpec(name="main", multi_assets=multi_assets, wallets=held, positions=positions)
    async with (
        venue_in_process(Scenario(accounts=(spec,), start="manual"), clock=clock) as venue,
        watching(BinanceUnderTest(venue), clock, ticking=False) as watch,
    ):
        await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
        yield venue, watch


async def marks_of(venue: Venue, watch: Watch, instrument: str) -> None:
    """Wait for marks of an instrument, while there are some to send."""

    async def arrived() -> bool:
        await venue.marks(BTCUSDT=str(75_000 + len(watch.events)))
        return any(instrument in event.instruments for event in watch.of(Marks))

    await venue.until(arrived)


def cross(symbol: str, size: str) -> PositionSpec:
    """A cross position."""
    return PositionSpec(symbol=symbol, size=Decimal(size))


async def test_in_multi_assets_mode_the_wallets_are_worth_what_the_venue_says() -> None:
    """Index less buffer for every coin, plus the positions' PnL, is the venue's margin balance to its last digit."""
    coins = {"USDT": "5000", "BTC": "0.5", "USDC": "100"}
    async with account(cross("BTCUSDT", "0.1"), cross("ETHUSDT", "-0.2"), multi_assets=True, **coins) as (venue, watch):
        snapshot = watch.of(AccountSnapshot)[0]
        assert snapshot.account_mode is AccountMode.MULTI_ASSET
        (report,) = snapshot.reports
        collateral = sum(each.balance * each.price * (1 - each.haircut) for each in snapshot.wallets)
        pnl = sum(each.size * (each.mark_price - each.entry_price) for each in snapshot.positions)
        assert collateral + pnl == pytest.approx(report.margin_balance, abs=1e-7)
        await marks_of(venue, watch, "index:BTCUSD")
        assert dict(report.marks).keys() >= {"BTCUSDT", "ETHUSDT", "index:BTCUSD", "index:USDTUSD"}


async def test_a_switch_to_multi_assets_mode_is_picked_up_and_read_with_its_indexes() -> None:
    """By its event."""
    async with account(cross("BTCUSDT", "0.1"), USDT="5000") as (venue, watch):
        await venue.act("main", "multi_assets", enabled=True)
        await watch.until(lambda: watch.of(AccountSnapshot)[-1].account_mode is AccountMode.MULTI_ASSET, "the new mode")
        await marks_of(venue, watch, "index:USDTUSD")


async def test_a_switch_to_hedge_mode_is_picked_up() -> None:
    """There is no event; the next snapshot has it."""
    async with account(USDT="5000") as (venue, watch):
        await venue.act("main", "position_mode", hedge=True)
        await watch.until(lambda: watch.of(AccountSnapshot)[-1].position_mode is PositionMode.HEDGE, "the new mode")


async def test_a_new_leverage_is_picked_up() -> None:
    """By its event."""
    async with account(cross("BTCUSDT", "0.1"), USDT="5000") as (venue, watch):
        await venue.act("main", "leverage", symbol="BTCUSDT", leverage=7)
        await watch.until(lambda: watch.of(AccountDelta), "a delta")
        assert watch.of(AccountDelta)[-1].positions[0].leverage == 7.0


async def test_a_new_margin_type_is_picked_up() -> None:
    """By its event, and confirmed by a snapshot that says why it was taken."""
    async with account(USDT="5000") as (venue, watch):
        await venue.act("main", "margin_type", symbol="ETHUSDT", margin_type="ISOLATED")
        await watch.until(
            lambda: watch.of(AccountSnapshot)[-1].reason is SnapshotReason.CONFIGURATION, "a snapshot because of it"
        )
        await venue.act("main", "fill", symbol="ETHUSDT", side="BUY", quantity="0.1")
        await watch.until(lambda: watch.of(AccountDelta) and watch.of(AccountDelta)[-1].positions, "a position")
        assert watch.of(AccountDelta)[-1].positions[0].margin_mode is MarginMode.ISOLATED
