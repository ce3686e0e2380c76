"""The venue's liquidation prices against worked examples that the venue published."""

from decimal import Decimal

import pytest

from connectors.simulator import engine
from connectors.simulator.account import Account, Market, PositionSide
from connectors.simulator.contracts import BTC_BRACKETS
from tests.connectors.simulator.stage import account, context, flat_table, hold, market, table_with

ETH_TABLE = table_with("0.10", "135365", floor="2000000")
BTC_TABLE = table_with("0.025", "16300", floor="1000000")
WALLET = "1535443.01"


def liquidation_price(owner: Account, place: Market, symbol: str, side: PositionSide = PositionSide.BOTH) -> Decimal:
    """The price, which must exist."""
    price = engine.liquidation_price(owner, place, owner.holdings[(symbol, side)])
    assert price is not None
    return price


def two_positions() -> tuple[Account, Market]:
    """The FAQ's cross account: BTC and ETH longs on one wallet."""
    place = market({"BTCUSDT": "31967.27", "ETHUSDT": "1335.18"}, {"BTCUSDT": BTC_TABLE, "ETHUSDT": ETH_TABLE})
    owner = account(USDT=WALLET)
    hold(context(owner, place), "ETHUSDT", "3683.979", "1456.84")
    hold(context(owner, place), "BTCUSDT", "109.488", "32481.98")
    return owner, place


@pytest.mark.parametrize(
    ("symbol", "table", "size", "entry", "expected"),
    [
        pytest.param("ETHUSDT", ETH_TABLE, "3683.979", "1456.84", "1114.7849637", id="B-V1"),
        pytest.param("BTCUSDT", BTC_TABLE, "109.488", "32481.98", "18778.7259322", id="B-V2"),
    ],
)
def test_isolated_long(symbol: str, table: tuple, size: str, entry: str, expected: str) -> None:
    """An isolated long alone with its wallet."""
    place = market({symbol: entry}, {symbol: table})
    owner = account()
    hold(context(owner, place), symbol, size, entry, wallet=WALLET)
    assert liquidation_price(owner, place, symbol) == pytest.approx(Decimal(expected), abs=Decimal("5e-8"))


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [pytest.param("ETHUSDT", "1153.26", id="B-V3"), pytest.param("BTCUSDT", "26316.89", id="B-V4")],
)
def test_cross_with_another_position(symbol: str, expected: str) -> None:
    """The other position's maintenance and loss stand still."""
    owner, place = two_positions()
    assert liquidation_price(owner, place, symbol) == pytest.approx(Decimal(expected), abs=Decimal("0.005"))


def test_cross_pool_sums_maintenance_and_profit() -> None:
    """The amounts that the FAQ names on the way (B-V3, B-V4)."""
    owner, place = two_positions()
    btc, eth = owner.holdings[("BTCUSDT", PositionSide.BOTH)], owner.holdings[("ETHUSDT", PositionSide.BOTH)]
    assert place.maintenance(btc) == pytest.approx(Decimal("71200.81144"), abs=Decimal("1e-5"))
    assert place.pnl(btc) == pytest.approx(Decimal("-56354.57"), abs=Decimal("0.005"))
    assert place.maintenance(eth) == pytest.approx(Decimal("356512.508"), abs=Decimal("1e-3"))
    assert place.pnl(eth) == pytest.approx(Decimal("-448192.89"), abs=Decimal("0.005"))
    pool = engine.cross_pool(owner, place, "USDT")
    assert pool.maintenance == place.maintenance(btc) + place.maintenance(eth)
    assert pool.balance == Decimal(WALLET) + place.pnl(btc) + place.pnl(eth)


def test_hedge_pair_shares_one_price() -> None:
    """B-V19: long and short of one symbol in the cross pool."""
    place = market({"BTCUSDT": "50000"}, {"BTCUSDT": flat_table("0.004")})
    owner = account(hedge=True, USDT="5000")
    hold(context(owner, place), "BTCUSDT", "1", "50000", side="LONG")
    hold(context(owner, place), "BTCUSDT", "-0.4", "52000", side="SHORT")
    prices = {liquidation_price(owner, place, "BTCUSDT", side) for side in (PositionSide.LONG, PositionSide.SHORT)}
    assert len(prices) == 1
    assert prices.pop() == pytest.approx(Decimal("40713.3244"), abs=Decimal("5e-5"))


@pytest.mark.parametrize("size", ["40", "-40", "9", "-9"])
@pytest.mark.parametrize("wallet", ["20000", "300000", "1200000"])
def test_balance_meets_maintenance_at_the_price(size: str, wallet: str) -> None:
    """Whatever bracket the price lies in: there the margin balance equals the maintenance margin."""
    place = market({"BTCUSDT": "60000"}, {"BTCUSDT": BTC_BRACKETS})
    owner = account()
    hold(context(owner, place), "BTCUSDT", size, "60000", wallet=wallet)
    holding = owner.holdings[("BTCUSDT", PositionSide.BOTH)]
    price = engine.liquidation_price(owner, place, holding)
    if price is None:
        assert Decimal(size) > 0
        assert Decimal(wallet) >= Decimal(size) * 60000
        return
    there = market({"BTCUSDT": str(price)}, {"BTCUSDT": BTC_BRACKETS})
    pool = engine.isolated_pool(there, holding)
    assert pool.balance == pytest.approx(pool.maintenance, rel=Decimal("1e-20"))


def test_a_long_without_debt_has_no_price() -> None:
    """A wallet that pays the whole position cannot be used up."""
    place = market({"BTCUSDT": "60000"})
    owner = account(USDT="70000")
    hold(context(owner, place), "BTCUSDT", "1", "60000")
    assert engine.liquidation_price(owner, place, owner.holdings[("BTCUSDT", PositionSide.BOTH)]) is None


def test_a_balanced_pair_is_liquidated_upwards() -> None:
    """With equal sizes only the growing maintenance moves, so the price lies above."""
    place = market({"BTCUSDT": "60000"}, {"BTCUSDT": flat_table("0.01")})
    owner = account(hedge=True, USDT="3000")
    hold(context(owner, place), "BTCUSDT", "1", "60000", side="LONG")
    hold(context(owner, place), "BTCUSDT", "-1", "60000", side="SHORT")
    assert liquidation_price(owner, place, "BTCUSDT", PositionSide.LONG) == Decimal(3000) / Decimal("0.02")


def test_single_asset_pools_are_apart_and_isolated_ones_first() -> None:
    """One pool a margin asset, one an isolated position; what holds no position is no pool."""
    place = market()
    owner = account(USDT="10000", USDC="5000", BTC="1")
    hold(context(owner, place), "BTCUSDT", "0.1", "76000", wallet="800")
    hold(context(owner, place), "ETHUSDT", "-2", "3200")
    hold(context(owner, place), "BTCUSDC", "0.1", "76000")
    assert [pool.scope for pool in engine.pools(owner, place)] == ["BTCUSDT:long", "USDT", "USDC"]


def test_multi_assets_mode_counts_everything_in_dollars() -> None:
    """What is owned counts at the bid rate, what is owed at the ask rate, maintenance at the index."""
    place = market({"BTCUSDT": "60000", "BTCUSDC": "60000"}, {"BTCUSDC": flat_table("0.01")})
    owner = account(multi_assets=True, USDT="1000", USDC="-500", BTC="0.5")
    hold(context(owner, place), "BTCUSDC", "1", "60000")
    [pool] = engine.pools(owner, place)
    tiny, usdc = Decimal("0.0001"), Decimal("0.9998")
    assert pool.scope == "multi"
    assert pool.balance == 1000 * (1 - tiny) - 500 * usdc * (1 + tiny) + Decimal("0.5") * 60000 * Decimal("0.95")
    assert pool.maintenance == 600 * usdc
    price = liquidation_price(owner, place, "BTCUSDC")
    there = market({"BTCUSDT": "60000", "BTCUSDC": str(price)}, {"BTCUSDC": flat_table("0.01")})
    [at_price] = engine.pools(owner, there)
    # The weight of a debt is the ask rate at the present mark; here the sign does not change on the way.
    assert at_price.balance == pytest.approx(at_price.maintenance, rel=Decimal("1e-12"))


def test_nothing_left_is_an_infinite_ratio() -> None:
    """A margin balance of zero or less with risk open is the worst there is."""
    place = market({"BTCUSDT": "50000"})
    owner = account()
    hold(context(owner, place), "BTCUSDT", "1", "60000", wallet="5000")
    [pool] = engine.pools(owner, place)
    assert pool.ratio == Decimal("Infinity")
