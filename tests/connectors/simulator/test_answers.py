"""Bodies of REST answers, against numbers that the venue printed."""

from decimal import Decimal

from connectors.simulator import actions, answers
from connectors.simulator.account import PositionSide
from tests.connectors.simulator.stage import account, context, flat_table, hold, market


def test_a_real_short_is_printed_as_the_venue_printed_it() -> None:
    """B-V12: profit and notional, cut downwards."""
    place, owner = market({"BTCUSDT": "71055.98470333"}), account(USDT="1000")
    hold(context(owner, place), "BTCUSDT", "-0.014", "42901.1")
    row = answers.position_risk_v3(owner, place, owner.holdings[("BTCUSDT", PositionSide.BOTH)])
    assert (row["unRealizedProfit"], row["notional"]) == ("-394.16838585", "-994.78378585")
    assert (row["positionAmt"], row["entryPrice"], row["markPrice"]) == ("-0.014", "42901.1", "71055.98470333")


def test_maintenance_is_cut() -> None:
    """B-V10: 1992.46079250 at 0.6 %."""
    place, owner = market({"ETHUSDT": "2.3468324999"}, {"ETHUSDT": flat_table("0.006")}), account(USDT="1000")
    place.marks["ETHUSDT"] = Decimal("1992.46079250") / 849
    hold(context(owner, place), "ETHUSDT", "-849", "2.4")
    row = answers.position_risk_v3(owner, place, owner.holdings[("ETHUSDT", PositionSide.BOTH)])
    assert row["maintMargin"] == "11.95476475"


def test_resting_orders_raise_initial_margin_only() -> None:
    """Maintenance does not know them; the symbol is listed though it is flat."""
    place, owner = market(), account(USDT="1000")
    ctx = context(owner, place)
    actions.place_order(ctx, symbol="BTCUSDT", side="BUY", quantity=Decimal("0.1"), price=Decimal(70000))
    body = answers.account_v3(owner, place)
    assert (body["totalOpenOrderInitialMargin"], body["totalMaintMargin"]) == ("350.00000000", "0.00000000")
    assert body["availableBalance"] == "650.00000000"
    assert [row["symbol"] for row in body["positions"]] == ["BTCUSDT"]


def test_the_highest_notional_follows_from_leverage() -> None:
    """The cap of the last bracket that still allows it."""
    place, owner = market(), account()
    actions.leverage(context(owner, place), symbol="BTCUSDT", leverage=50)
    assert answers.symbol_config(owner, place.contracts["BTCUSDT"])["maxNotionalValue"] == "12000000"
