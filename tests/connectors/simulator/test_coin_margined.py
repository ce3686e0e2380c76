"""COIN-M in the simulated exchange: inverse contracts and coin wallets."""

from decimal import Decimal

import pytest

from connectors.simulator import actions, coin_answers, engine, liquidator
from connectors.simulator.account import Account, Market, PositionSide, Refusal
from connectors.simulator.contracts import COIN_M
from tests.connectors.simulator.stage import context, flat_table, hold, market

PERPETUAL = "BTCUSD_PERP"


def coin_account(*, hedge: bool = False, **wallets: str) -> Account:
    """An account of COIN-M."""
    cross = {asset: Decimal(quantity) for asset, quantity in wallets.items()}
    return Account("main", "key", "secret", COIN_M, hedge=hedge, cross_wallets=cross)


def place_at(mark: str) -> Market:
    """The catalogue with one flat bracket."""
    return market({PERPETUAL: mark}, {PERPETUAL: flat_table("0.004")})


def test_a_real_isolated_long() -> None:
    """B-V5: profit, notional and liquidation price as the venue printed them."""
    place, owner = place_at("38103.05510455"), coin_account()
    hold(context(owner, place), PERPETUAL, "2", "37643.10000021", wallet="0.00268058")
    (row,) = (r for r in coin_answers.position_risk(owner, place) if r["symbol"] == PERPETUAL)
    assert row["notionalValue"] == "0.00524892"
    assert row["unRealizedProfit"] == "0.00006413"
    assert row["isolatedMargin"] == "0.00274471"
    assert Decimal(row["liquidationPrice"]) == pytest.approx(Decimal("25119.97445760"), abs=Decimal("1e-7"))


def test_a_short_covered_by_its_coin_has_no_liquidation_price() -> None:
    """The venue prints 0."""
    place, owner = place_at("61765.5"), coin_account(BTC="0.00684259")
    hold(context(owner, place), PERPETUAL, "-4", "61765.49999957")
    (row,) = (r for r in coin_answers.position_risk(owner, place) if r["symbol"] == PERPETUAL)
    assert row["liquidationPrice"] == "0"


def test_the_entry_price_of_two_fills_is_the_one_that_keeps_their_profit() -> None:
    """100 contracts at 50,000 and 100 at 60,000 average to 54,545.45."""
    place, owner = place_at("55000"), coin_account(BTC="10")
    for price in (50_000, 60_000):
        actions.fill(context(owner, place), symbol=PERPETUAL, side="BUY", quantity=Decimal(100), price=Decimal(price))
    held = owner.holding(PERPETUAL, PositionSide.BOTH)
    assert held.entry_price == pytest.approx(Decimal(2) / (Decimal(1) / 50_000 + Decimal(1) / 60_000))
    fees = Decimal("0.0005") * (Decimal(10_000) / 50_000 + Decimal(10_000) / 60_000)
    assert owner.cross_wallets["BTC"] == pytest.approx(10 - fees)


def test_a_liquidation_leaves_nothing_in_the_coins_wallet() -> None:
    """Closed where the balance is used up."""
    place, owner = place_at("70000"), coin_account(BTC="0.02", ETH="1")
    hold(context(owner, place), PERPETUAL, "200", "70000")
    place.marks[PERPETUAL] = Decimal(65_600)
    (pool,) = engine.pools(owner, place)
    assert (pool.scope, pool.unit) == ("BTC", "BTC")
    assert pool.ratio >= 1
    outcome = liquidator.check(context(owner, place), [pool], 0.0, 0)
    (liquidation,) = outcome.liquidations
    (leg,) = liquidation.legs
    assert place.contracts[PERPETUAL].pnl(Decimal(200), Decimal(70_000), leg.price) == pytest.approx(Decimal("-0.02"))
    assert owner.cross_wallets == {"BTC": 0, "ETH": 1}


def test_hedge_accounts_get_three_rows_for_every_symbol() -> None:
    """And one-way accounts one."""
    place = place_at("70000")
    sides = {row["positionSide"] for row in coin_answers.position_risk(coin_account(hedge=True), place)}
    assert sides == {"BOTH", "LONG", "SHORT"}
    assert {row["positionSide"] for row in coin_answers.position_risk(coin_account(), place)} == {"BOTH"}


def test_products_do_not_mix() -> None:
    """A coin account holds no linear contract and no dollars."""
    ctx = context(coin_account(), place_at("70000"))
    with pytest.raises(Refusal):
        actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=Decimal(1))
    with pytest.raises(Refusal):
        actions.transfer(ctx, asset="USDT", amount=Decimal(1))
