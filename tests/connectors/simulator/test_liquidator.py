"""Margin calls and liquidations, event by event."""

from decimal import Decimal

import pytest

from connectors.simulator import actions, engine, liquidator
from connectors.simulator.account import Account, Market, PositionSide
from connectors.simulator.liquidator import Outcome, Peak
from tests.connectors.simulator.stage import account, context, flat_table, hold, market

TABLE = {"BTCUSDT": flat_table("0.01"), "ETHUSDT": flat_table("0.01"), "SOLUSDT": flat_table("0.01")}


def look(owner: Account, place: Market, **marks: str) -> Outcome:
    """Move the marks and let the engine look."""
    place.marks.update({symbol: Decimal(mark) for symbol, mark in marks.items()})
    return liquidator.check(context(owner, place), engine.pools(owner, place), 1_790_000_000.5, 7)


def isolated_long() -> tuple[Account, Market]:
    """One BTC at 60,000 with a wallet of 6,000: called below 54,683, liquidated below 54,546."""
    place = market({"BTCUSDT": "60000"}, TABLE)
    owner = account(USDT="1000")
    hold(context(owner, place), "BTCUSDT", "1", "60000", wallet="6000")
    return owner, place


def kinds(outcome: Outcome) -> list[str]:
    """The frames in short."""
    short = []
    for frame in outcome.frames:
        match frame["e"]:
            case "ORDER_TRADE_UPDATE":
                short.append(f"order {frame['o']['x']} {frame['o']['X']}")
            case "ACCOUNT_UPDATE":
                short.append(f"account {frame['a']['m']}")
            case other:
                short.append(other)
    return short


def test_a_call_goes_out_once_at_four_fifths() -> None:
    """At 80 %, again only after the danger was over."""
    owner, place = isolated_long()
    assert kinds(look(owner, place, BTCUSDT="54690")) == []  # 546.9 / 690 = 79.3 %
    assert kinds(look(owner, place, BTCUSDT="54680")) == ["MARGIN_CALL"]  # 546.8 / 680 = 80.4 %
    assert kinds(look(owner, place, BTCUSDT="54670")) == []
    assert kinds(look(owner, place, BTCUSDT="56000")) == []
    assert kinds(look(owner, place, BTCUSDT="54680")) == ["MARGIN_CALL"]


def test_a_call_tells_the_position() -> None:
    """The documented keys, in upper case where the venue writes it so; no cross wallet for an isolated position."""
    owner, place = isolated_long()
    [call] = look(owner, place, BTCUSDT="54680").frames
    assert "cw" not in call
    assert call["p"] == [
        {
            "s": "BTCUSDT",
            "ps": "BOTH",
            "pa": "1",
            "mt": "ISOLATED",
            "iw": "6000.00000000",
            "mp": "54680.00000000",
            "up": "-5320.00000000",
            "mm": "546.80000000",
        }
    ]


def test_an_isolated_long_is_liquidated_alone() -> None:
    """Its orders expire, an autoclose order closes it where nothing is left, the other wallet stays."""
    owner, place = isolated_long()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        actions.place_order(context(owner, place), symbol=symbol, side="BUY", quantity=Decimal(1), price=Decimal(10))
    outcome = look(owner, place, BTCUSDT="54545")  # 545.45 / 545
    assert kinds(outcome) == ["order EXPIRED EXPIRED", "order NEW NEW", "account ORDER", "order CALCULATED FILLED"]
    expired, opened, update, calculated = outcome.frames
    assert expired["o"]["er"] == "5"
    assert opened["o"]["c"].startswith("autoclose-")
    assert (opened["o"]["o"], opened["o"]["S"], opened["o"]["q"]) == ("LIQUIDATION", "SELL", "1")
    assert calculated["o"]["ap"] == "54000"
    assert calculated["o"]["rp"] == "-6000.00000000"
    assert update["a"]["P"][0]["pa"] == "0"
    assert update["a"]["B"] == [{"a": "USDT", "wb": "1000.00000000", "cw": "1000.00000000", "bc": "0"}]
    assert [order.symbol for order in owner.orders.values()] == ["ETHUSDT"]
    assert owner.open_holdings() == []
    [liquidation] = outcome.liquidations
    assert (liquidation.at, liquidation.step, liquidation.scope) == (1_790_000_000.5, 7, "BTCUSDT:long")
    assert (liquidation.balance, liquidation.maintenance) == (Decimal(545), Decimal("545.45"))
    assert liquidation.legs[0].mark == Decimal(54545)


def test_exactly_one_hundred_percent_is_liquidated() -> None:
    """The threshold belongs to the liquidation."""
    place = market({"BTCUSDT": "60000"}, TABLE)
    owner = account()
    hold(context(owner, place), "BTCUSDT", "1", "60000", wallet="600.01")
    assert look(owner, place).liquidations == []
    hold(context(owner, place), "BTCUSDT", "1", "60000", wallet="600")
    assert len(look(owner, place).liquidations) == 1


def test_a_short_is_bought_back() -> None:
    """The same upwards."""
    place = market({"BTCUSDT": "60000"}, TABLE)
    owner = account()
    hold(context(owner, place), "BTCUSDT", "-1", "60000", wallet="6000")
    outcome = look(owner, place, BTCUSDT="65500")
    assert outcome.frames[0]["o"]["S"] == "BUY"
    assert outcome.liquidations[0].legs[0].price == pytest.approx(Decimal(66000), abs=Decimal("1e-20"))


def test_a_cross_pool_goes_as_one() -> None:
    """All its positions close, all orders of the account expire, and its wallet ends at nothing, to the last digit."""
    place = market({"BTCUSDT": "60000", "ETHUSDT": "3000", "SOLUSDT": "200", "BTCUSDC": "60000"}, TABLE)
    owner = account(USDT="9000", USDC="500")
    hold(context(owner, place), "BTCUSDT", "1", "60000")
    hold(context(owner, place), "ETHUSDT", "-7", "3100")
    hold(context(owner, place), "SOLUSDT", "33.3", "201")
    hold(context(owner, place), "BTCUSDC", "0.001", "60000")
    actions.place_order(context(owner, place), symbol="BTCUSDC", side="BUY", quantity=Decimal(1), price=Decimal(10))
    [call] = look(owner, place, BTCUSDT="51300").frames
    assert (call["e"], call["cw"], len(call["p"])) == ("MARGIN_CALL", "9000.00000000", 3)
    outcome = look(owner, place, BTCUSDT="51000")
    assert kinds(outcome) == ["order EXPIRED EXPIRED"] + 3 * [
        "order NEW NEW",
        "account ORDER",
        "order CALCULATED FILLED",
    ]
    assert owner.cross_wallets == {"USDT": 0, "USDC": 500}
    assert outcome.frames[-2]["a"]["B"] == [{"a": "USDT", "wb": "0.00000000", "cw": "0.00000000", "bc": "0"}]
    assert [holding.symbol for holding in owner.open_holdings()] == ["BTCUSDC"]


@pytest.mark.parametrize("entry", ["60000", "59999.7", "61234.567"])
@pytest.mark.parametrize("size", ["1", "0.3", "-0.7"])
def test_no_digit_is_left_of_an_isolated_wallet(size: str, entry: str) -> None:
    """Whatever the division gave, the other wallet is told as it was."""
    place = market({"BTCUSDT": entry}, TABLE)
    owner = account(USDT="1000")
    hold(context(owner, place), "BTCUSDT", size, entry, wallet="777.77")
    outcome = look(owner, place, BTCUSDT="50000" if float(size) > 0 else "70000.3")
    assert outcome.frames[1]["a"]["B"][0]["wb"] == "1000.00000000"


def test_a_gap_below_bankruptcy_still_ends_at_nothing() -> None:
    """The insurance fund takes the position over where the wallet is used up, not where the mark is."""
    owner, place = isolated_long()
    outcome = look(owner, place, BTCUSDT="40000")
    assert outcome.liquidations[0].legs[0].price == Decimal(54000)
    assert owner.cross_wallets["USDT"] == 1000


def test_a_pair_in_hedge_mode_goes_together() -> None:
    """Long and short of one symbol in the cross pool close by the same shift, each against itself."""
    place = market({"BTCUSDT": "60000"}, TABLE)
    owner = account(hedge=True, USDT="5000")
    hold(context(owner, place), "BTCUSDT", "1", "60000", side="LONG")
    hold(context(owner, place), "BTCUSDT", "-0.4", "61000", side="SHORT")
    outcome = look(owner, place, BTCUSDT="52000")
    long, short = outcome.liquidations[0].legs
    assert long.price + short.price == pytest.approx(Decimal(2) * 52000, rel=Decimal("1e-12"))
    assert (long.position_side, short.position_side) == ("LONG", "SHORT")
    assert owner.cross_wallets["USDT"] == 0
    assert owner.holdings[("BTCUSDT", PositionSide.LONG)].amount == 0


def test_the_end_of_a_multi_assets_pool_takes_every_asset() -> None:
    """What the positions owe is paid by exchanging what there is; nothing stays."""
    place = market({"BTCUSDT": "60000"}, TABLE)
    owner = account(multi_assets=True, USDT="0", BTC="0.1")
    hold(context(owner, place), "BTCUSDT", "1", "60000")
    outcome = look(owner, place, BTCUSDT="55000")
    assert kinds(outcome)[-1] == "account AUTO_EXCHANGE"
    changes = {row["a"]: row["bc"] for row in outcome.frames[-1]["a"]["B"]}
    assert changes["BTC"] == "-0.1"
    assert float(changes["USDT"]) == pytest.approx(0.1 * 55000 * 0.95, rel=2e-4)
    assert set(owner.cross_wallets.values()) == {0}


def test_peaks_keep_the_first_time_of_each_rung() -> None:
    """A rung that is passed twice keeps its first time; a jump passes several at once."""
    peak = Peak()
    for step, ratio in enumerate(("0.2", "0.5", "0.4", "0.9", "0.6")):
        peak.see(Decimal(ratio), 100.0 + step, step)
    assert peak.ratio == Decimal("0.9")
    assert {rung: seen["step"] for rung, seen in peak.rungs.items()} == {"0.50": 1, "0.70": 3, "0.85": 3}
