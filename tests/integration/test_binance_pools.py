"""Binance's pools tick by tick: what the book makes of the streams alone is what the simulated exchange counts itself.

No snapshot helps between the ticks: the connector reads one at the start, and from then on marks, asset indexes and
events must do.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from math import inf
from typing import Any

import pytest

from connectors.simulator import coin_answers
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario
from monitor.book import Book
from monitor.margin.venues import RULES
from monitor.model.assessment import PoolAssessment
from monitor.model.events import AccountSnapshot
from tests.connectors.compliance import BinanceUnderTest, CoinMUnderTest, QuickClock, Watch, watching
from tests.support.booked import apply
from tests.support.venue_server import Venue, venue_in_process


class Both:
    """A simulated exchange and a book that is fed by the connector alone."""

    def __init__(self, venue: Venue, watch: Watch, name: str) -> None:
        self.venue = venue
        self.watch = watch
        self.name = name
        self.book = Book()
        self.book.add_account(name, "main", RULES[name])
        self._seen = 0

    def _read(self) -> None:
        for event in self.watch.events[self._seen :]:
            apply(self.book, event)
        self._seen = len(self.watch.events)

    def ours(self) -> dict[str, PoolAssessment]:
        """Every pool as the book has it, by scope."""
        self._read()
        account = self.book.account(self.name, "main")
        return {scope: self.book.assess(row) for scope, row in account.pools.items()}

    async def theirs(self) -> dict[str, Any]:
        """Every pool as the exchange has it, by scope."""
        view = await self.venue.account("main")
        return {pool["scope"]: pool for pool in view["pools"]}

    async def tick(self, **marks: str) -> None:
        """Set marks until the book has heard them and agrees with the exchange on every pool's figures.

        More than once, because at the start the subscription may still be on its way.
        """

        async def agree() -> bool:
            await self.venue.marks(**marks)
            theirs, ours = await self.theirs(), self.ours()
            return theirs.keys() == ours.keys() and all(_same(ours[scope], pool) for scope, pool in theirs.items())

        try:
            await self.venue.until(agree)
        except TimeoutError:
            raise AssertionError(f"{await self.theirs()}\n{self.ours()}") from None


def _same(ours: PoolAssessment, theirs: dict[str, Any]) -> bool:
    balance, maintenance = float(theirs["margin_balance"]), float(theirs["maintenance_margin"])
    ratio = maintenance / balance if balance > 0.0 else inf
    # Profit in a stablecoin counts at its index here and at its rate there, one part in ten thousand apart.
    spread = 1e-4 * sum(abs(leg.unrealized_pnl) for leg in ours.legs) if ours.unit == "USD" else 0.0
    return (
        ours.margin_balance == pytest.approx(balance, rel=1e-6, abs=1e-7 + 2.0 * spread)
        and ours.maintenance_margin == pytest.approx(maintenance, rel=2e-4)
        and ours.margin_ratio == pytest.approx(ratio, rel=0.01)
    )


def position(symbol: str, size: str, **more: Any) -> PositionSpec:
    """A position at the mark."""
    return PositionSpec(symbol=symbol, size=Decimal(size), **more)


@asynccontextmanager
async def pools(product: str, *positions: PositionSpec, **wallets: str) -> AsyncIterator[Both]:
    """An account of ``multi`` (USD-M in multi-assets mode) or ``coin``, in sync, with no snapshot to come."""
    coin = product == "coin"
    spec = AccountSpec(
        name="main",
        venue="binance-coinm" if coin else "binance",
        multi_assets=not coin,
        wallets={name: Decimal(balance) for name, balance in wallets.items()},
        positions=positions,
    )
    clock = QuickClock()
    async with venue_in_process(Scenario(accounts=(spec,), start="manual"), clock=clock) as venue:
        adapter = CoinMUnderTest(venue) if coin else BinanceUnderTest(venue)
        async with watching(adapter, clock, ticking=False, reconcile_s=3600.0) as watch:
            await watch.until(lambda: watch.of(AccountSnapshot), "a snapshot")
            yield Both(venue, watch, adapter.name)
            assert len(watch.of(AccountSnapshot)) == 1, "a snapshot helped"


BITCOIN = ["74000", "70000", "66000", "62000", "58000", "80000", "90000"]


async def test_multi_assets_wallets_are_valued_anew_at_every_tick() -> None:
    """A BTC wallet behind a BTC long loses with it, by the index less its buffer, and no snapshot is needed for it."""
    legs = position("BTCUSDT", "0.5"), position("ETHUSDT", "-3")
    async with pools("multi", *legs, USDT="2000", BTC="0.4", USDC="500", BNB="1") as both:
        await both.tick(BTCUSDT="76888.1")
        start = both.ours()["multi"]
        assert (start.unit, len(start.legs)) == ("USD", 2)
        for mark in BITCOIN:
            await both.tick(BTCUSDT=mark)
            moved = float(mark) - 76888.1
            now = both.ours()["multi"]
            # 0.5 of the long, and 0.4 * 95 % of the wallet.
            assert now.margin_balance - start.margin_balance == pytest.approx((0.5 + 0.4 * 0.95) * moved, rel=1e-3)


async def test_multi_assets_mode_is_followed_to_the_brink() -> None:
    """Wallet and position fall together; both sides see it coming alike."""
    async with pools("multi", position("BTCUSDT", "1"), USDT="500", BTC="0.3") as both:
        mark, worst = 76_000.0, 0.0
        while True:
            await both.tick(BTCUSDT=str(mark))
            ratio = both.ours()["multi"].margin_ratio
            assert ratio >= worst
            worst = ratio
            if ratio > 0.7:  # at 0.8 the exchange calls for margin, and the connector would ask for a snapshot
                break
            mark -= 500.0 if ratio < 0.1 else 10.0
        assert ratio < 0.8


async def test_coin_pools_tick_by_tick() -> None:
    """A cross pool for every coin and an isolated one, in coins, through the brackets."""
    legs = (
        position("BTCUSD_PERP", "2000"),
        position("ETHUSD_PERP", "-4000", isolated_wallet=Decimal("1.5")),
    )
    async with pools("coin", *legs, BTC="0.9", ETH="1") as both:
        for mark in BITCOIN:
            await both.tick(BTCUSD_PERP=mark)
        for mark in ("3300", "3400", "3100", "2800"):
            await both.tick(ETHUSD_PERP=mark)
        ours = both.ours()
        assert {scope: pool.unit for scope, pool in ours.items()} == {"BTC": "BTC", "ETHUSD_PERP:short": "ETH"}
        assert both.venue.simulator is not None
        exchange = both.venue.simulator.exchange
        rows = coin_answers.position_risk(exchange.account("main"), exchange.market)
        printed = {row["symbol"]: float(row["liquidationPrice"]) for row in rows}
        for pool in ours.values():
            (leg,) = pool.legs
            assert leg.liquidation_price == pytest.approx(printed[leg.instrument], rel=1e-4)


async def test_coin_positions_by_events_alone() -> None:
    """Fills, funding, more margin: what follows is told by events, and the figures go on agreeing."""
    async with pools("coin", position("BTCUSD_PERP", "1000"), BTC="0.5", ETH="5") as both:
        await both.tick(BTCUSD_PERP="75000")
        act = both.venue.act
        await act("main", "fill", symbol="BTCUSD_PERP", side="BUY", quantity="500", price="70000")
        await both.tick(BTCUSD_PERP="74000")
        await act("main", "fill", symbol="ETHUSD_PERP", side="SELL", quantity="300")
        await act("main", "funding", symbol="BTCUSD_PERP", rate="0.001")
        await both.tick(ETHUSD_PERP="3150")
        await act("main", "fill", symbol="BTCUSD_PERP", side="SELL", quantity="1500", price="74100")
        await both.tick(ETHUSD_PERP="3140")
        assert both.ours().keys() == {"ETH"}
