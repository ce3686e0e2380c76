"""What happens to an account, and what its user stream says about it."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator import actions
from connectors.simulator.account import Account, PositionSide, Refusal
from connectors.simulator.actions import Context
from connectors.simulator.events import Frame
from tests.connectors.simulator.stage import NOW_MS, account, context, hold, market

D = Decimal


def fresh(**more: Any) -> Context:
    """An account with 10,000 USDT beside BTC at 60,000."""
    wallets = {"USDT": "10000"}
    return context(account(**more, **wallets), market({"BTCUSDT": "60000", "ETHUSDT": "3000"}))


def names(frames: list[Frame]) -> list[str]:
    """Event names in order."""
    return [frame["e"] for frame in frames]


def only(frames: list[Frame]) -> dict[str, Any]:
    """The body of the one ACCOUNT_UPDATE among the frames."""
    [body] = [frame["a"] for frame in frames if frame["e"] == "ACCOUNT_UPDATE"]
    return body


def btc(ctx: Context, side: PositionSide = PositionSide.BOTH) -> Any:
    """The account's BTC position."""
    return ctx.account.holdings[("BTCUSDT", side)]


def test_a_deposit_and_a_withdrawal() -> None:
    """Balances only, with what they changed by."""
    ctx = fresh()
    assert only(actions.transfer(ctx, asset="USDT", amount=D(500))) == {
        "m": "DEPOSIT",
        "B": [{"a": "USDT", "wb": "10500.00000000", "cw": "10500.00000000", "bc": "500"}],
        "P": [],
    }
    taken = only(actions.transfer(ctx, asset="USDT", amount=D("-0.5")))
    assert (taken["m"], taken["B"][0]["bc"]) == ("WITHDRAW", "-0.5")


def test_a_fill_opens_a_cross_position() -> None:
    """NEW, the fast fill, the account, the trade; the fee leaves the wallet."""
    ctx = fresh()
    frames = actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.5"))
    assert names(frames) == ["ORDER_TRADE_UPDATE", "TRADE_LITE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert only(frames)["P"] == [
        {
            "s": "BTCUSDT",
            "pa": "0.5",
            "ep": "60000",
            "cr": "0",
            "up": "0.00000000",
            "mt": "cross",
            "iw": "0",
            "ps": "BOTH",
            "ma": "USDT",
            "bep": "60000",
        }
    ]
    assert only(frames)["B"][0]["wb"] == "9985.00000000"  # 10,000 - 0.5 * 60,000 * 0.05 %
    assert (frames[-1]["o"]["x"], frames[-1]["o"]["X"], frames[-1]["o"]["n"]) == ("TRADE", "FILLED", "15")


def test_an_isolated_position_grows_shrinks_and_closes() -> None:
    """Margin goes in with what opens and comes back with what closes; the closing row is sent."""
    ctx = fresh()
    actions.margin_type(ctx, symbol="BTCUSDT", margin_type="ISOLATED")
    actions.leverage(ctx, symbol="BTCUSDT", leverage=10)
    actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.2"))
    actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.2"), price=D(50000))
    assert (btc(ctx).entry_price, btc(ctx).isolated_wallet) == (D(55000), D(2200))
    half = actions.fill(ctx, symbol="BTCUSDT", side="SELL", quantity=D("0.2"), price=D(60000))
    assert half[-1]["o"]["rp"] == "1000.00000000"
    assert (btc(ctx).entry_price, btc(ctx).isolated_wallet) == (D(55000), D(1100))
    closing = only(actions.fill(ctx, symbol="BTCUSDT", side="SELL", quantity=D("0.2"), price=D(60000)))
    assert (closing["P"][0]["pa"], closing["P"][0]["iw"], closing["P"][0]["cr"]) == ("0", "0", "2000")
    fees = (D("0.2") * 60000 * 3 + D("0.2") * 50000) * D("0.0005")
    assert ctx.account.cross_wallets["USDT"] == 10000 + 2000 - fees


def test_a_one_way_position_turns() -> None:
    """What is sold beyond the long opens a short at the new price."""
    ctx = fresh()
    actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.1"), price=D(60000))
    actions.fill(ctx, symbol="BTCUSDT", side="SELL", quantity=D("0.3"), price=D(61000))
    assert (btc(ctx).amount, btc(ctx).entry_price, btc(ctx).realized_pnl) == (D("-0.2"), D(61000), D(100))


def test_hedge_mode_holds_both_sides() -> None:
    """Two rows of one symbol, told apart by the position side."""
    ctx = fresh(hedge=True)
    actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.2"), position_side="LONG")
    short = only(actions.fill(ctx, symbol="BTCUSDT", side="SELL", quantity=D("0.1"), position_side="SHORT"))
    assert [(row["ps"], row["pa"]) for row in short["P"]] == [("SHORT", "-0.1")]
    assert btc(ctx, PositionSide.LONG).amount == D("0.2")


def test_leverage_has_an_event_of_its_own() -> None:
    """ACCOUNT_CONFIG_UPDATE with symbol and leverage, an integer."""
    [frame] = actions.leverage(fresh(), symbol="BTCUSDT", leverage=33)
    assert frame == {"e": "ACCOUNT_CONFIG_UPDATE", "E": NOW_MS, "T": NOW_MS, "ac": {"s": "BTCUSDT", "l": 33}}


def test_margin_type_is_an_account_update() -> None:
    """With the reason MARGIN_TYPE_CHANGE and the symbol's empty rows."""
    body = only(actions.margin_type(fresh(), symbol="BTCUSDT", margin_type="ISOLATED"))
    assert body["m"] == "MARGIN_TYPE_CHANGE"
    assert [(row["s"], row["mt"], row["pa"]) for row in body["P"]] == [("BTCUSDT", "isolated", "0")]


def test_position_mode_has_no_event() -> None:
    """The venue is silent about a switch to hedge mode."""
    ctx = fresh()
    assert actions.position_mode(ctx, hedge=True) == []
    assert ctx.account.hedge


def test_multi_assets_mode_sends_the_flag_only() -> None:
    """A boolean, and nothing of what follows from it."""
    [frame] = actions.multi_assets(fresh(), enabled=True)
    assert frame == {"e": "ACCOUNT_CONFIG_UPDATE", "E": NOW_MS, "T": NOW_MS, "ai": {"j": True}}


def test_isolated_margin_moves_from_the_cross_wallet() -> None:
    """The whole wallet stays, the cross wallet and the position's change; back likewise."""
    ctx = fresh()
    hold(ctx, "BTCUSDT", "0.1", "60000", wallet="600")
    body = only(actions.isolated_margin(ctx, symbol="BTCUSDT", amount=D(100)))
    assert body["m"] == "MARGIN_TRANSFER"
    assert body["B"] == [{"a": "USDT", "wb": "10600.00000000", "cw": "9900.00000000", "bc": "0"}]
    assert body["P"][0]["iw"] == "700.00000000"
    actions.isolated_margin(ctx, symbol="BTCUSDT", amount=D(-300))
    assert btc(ctx).isolated_wallet == D(400)


def test_funding_of_a_cross_position_lists_the_balance_only() -> None:
    """A long pays a positive rate; no position row."""
    ctx = fresh()
    hold(ctx, "BTCUSDT", "0.1", "60000")
    body = only(actions.funding(ctx, symbol="BTCUSDT", rate=D("0.0001")))
    assert (body["m"], body["S"], body["P"]) == ("FUNDING_FEE", "BTCUSDT", [])
    assert body["B"] == [{"a": "USDT", "wb": "9999.40000000", "cw": "9999.40000000", "bc": "-0.6"}]


def test_funding_of_an_isolated_position_lists_it() -> None:
    """A short is paid, into its own wallet."""
    ctx = fresh()
    hold(ctx, "BTCUSDT", "-0.1", "60000", wallet="600")
    body = only(actions.funding(ctx, symbol="BTCUSDT", rate=D("0.0001")))
    assert [row["iw"] for row in body["P"]] == ["600.60000000"]
    assert body["B"][0]["cw"] == "10000.00000000"


def test_deleveraging_closes_a_part_without_a_fee() -> None:
    """Told by the client id alone; at the mark."""
    ctx = fresh()
    hold(ctx, "BTCUSDT", "-0.4", "61000")
    frames = actions.deleverage(ctx, symbol="BTCUSDT", quantity=D("0.1"))
    assert names(frames) == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert (frames[0]["o"]["c"], frames[0]["o"]["S"], frames[2]["o"]["rp"]) == ("adl_autoclose", "BUY", "100.00000000")
    assert btc(ctx).amount == D("-0.3")
    assert ctx.account.cross_wallets["USDT"] == 10100
    actions.deleverage(ctx, symbol="BTCUSDT")
    with pytest.raises(Refusal, match="-2022"):
        actions.deleverage(ctx, symbol="BTCUSDT")


def test_orders_that_rest_move_no_balance() -> None:
    """NEW and CANCELED on the order event, no account update."""
    ctx = fresh()
    placed = actions.place_order(ctx, symbol="BTCUSDT", side="BUY", quantity=D("0.1"), price=D(59000))
    cancelled = actions.cancel_orders(ctx, symbol="BTCUSDT")
    assert names(placed + cancelled) == ["ORDER_TRADE_UPDATE"] * 2
    assert [frame["o"]["X"] for frame in placed + cancelled] == ["NEW", "CANCELED"]
    assert ctx.account.orders == {}


def test_a_position_can_be_put_and_taken() -> None:
    """Without trade and fee; zero size closes it."""
    ctx = fresh()
    hold(ctx, "BTCUSDT", "0.1", "59000", wallet="600", leverage=7)
    assert (ctx.account.setting("BTCUSDT").leverage, btc(ctx).isolated) == (7, True)
    body = only(actions.set_position(ctx, symbol="BTCUSDT", size=D(0)))
    assert (body["P"][0]["pa"], body["P"][0]["ep"], body["P"][0]["iw"]) == ("0", "0", "0")
    assert ctx.account.cross_wallets["USDT"] == 10000


def _isolated(ctx: Context) -> None:
    hold(ctx, "BTCUSDT", "0.1", "60000", wallet="600")


def _cross(ctx: Context) -> None:
    hold(ctx, "BTCUSDT", "0.1", "60000")


def _nothing(ctx: Context) -> None:
    pass


def _order(ctx: Context) -> None:
    actions.place_order(ctx, symbol="BTCUSDT", side="BUY", quantity=D(1), price=D(1))


def _multi(ctx: Context) -> None:
    ctx.account.multi_assets = True


@pytest.mark.parametrize(
    ("before", "action", "arguments", "code"),
    [
        (_cross, actions.margin_type, {"symbol": "BTCUSDT", "margin_type": "ISOLATED"}, -4048),
        (_order, actions.margin_type, {"symbol": "BTCUSDT", "margin_type": "ISOLATED"}, -4047),
        (_nothing, actions.margin_type, {"symbol": "BTCUSDT", "margin_type": "CROSSED"}, -4046),
        (_multi, actions.margin_type, {"symbol": "BTCUSDT", "margin_type": "ISOLATED"}, -4168),
        (_multi, actions.set_position, {"symbol": "BTCUSDT", "size": D(1), "isolated_wallet": D(1)}, -4168),
        (_cross, actions.position_mode, {"hedge": True}, -4068),
        (_order, actions.position_mode, {"hedge": True}, -4067),
        (_nothing, actions.position_mode, {"hedge": False}, -4059),
        (_isolated, actions.multi_assets, {"enabled": True}, -4170),
        (_nothing, actions.multi_assets, {"enabled": False}, -4171),
        (_isolated, actions.leverage, {"symbol": "BTCUSDT", "leverage": 5}, -4161),
        (_nothing, actions.leverage, {"symbol": "BTCUSDT", "leverage": 151}, -4028),
        (_cross, actions.isolated_margin, {"symbol": "BTCUSDT", "amount": D(1)}, -4053),
        (_isolated, actions.isolated_margin, {"symbol": "BTCUSDT", "amount": D(10001)}, -4050),
        (_isolated, actions.isolated_margin, {"symbol": "BTCUSDT", "amount": D(-600)}, -4051),
        (_isolated, actions.fill, {"symbol": "BTCUSDT", "side": "BUY", "quantity": D(4)}, -2019),
        (_nothing, actions.fill, {"symbol": "BTCUSDT", "side": "BUY", "quantity": D(0)}, -4003),
        (
            _nothing,
            actions.fill,
            {"symbol": "BTCUSDT", "side": "BUY", "quantity": D(1), "position_side": "LONG"},
            -4061,
        ),
        (_nothing, actions.fill, {"symbol": "NOUSDT", "side": "BUY", "quantity": D(1)}, -1121),
        (_nothing, actions.fill, {"symbol": "BTCUSD_PERP", "side": "BUY", "quantity": D(1)}, -1121),
        (_nothing, actions.transfer, {"asset": "DOGE", "amount": D(1)}, -1102),
        (_nothing, actions.transfer, {"asset": "USDT", "amount": D(-10001)}, -4051),
    ],
)
def test_what_the_venue_refuses(
    before: Callable[[Context], None], action: Callable[..., list[Frame]], arguments: dict[str, Any], code: int
) -> None:
    """The venue's code, and an account that is as it was."""
    ctx = fresh()
    before(ctx)
    wallets = dict(ctx.account.cross_wallets)
    with pytest.raises(Refusal) as refused:
        action(ctx, **arguments)
    assert refused.value.code == code
    assert ctx.account.cross_wallets == wallets


def test_hedge_positions_do_not_turn() -> None:
    """Selling more of a LONG than there is is refused; a LONG of negative size cannot be put."""
    ctx = fresh(hedge=True)
    hold(ctx, "BTCUSDT", "0.1", "60000", side="LONG")
    with pytest.raises(Refusal, match="-2022"):
        actions.fill(ctx, symbol="BTCUSDT", side="SELL", quantity=D("0.2"), position_side="LONG")
    with pytest.raises(Refusal, match="-1102"):
        hold(ctx, "BTCUSDT", "-0.1", "60000", side="LONG")


def test_an_empty_account_is_empty() -> None:
    """Nothing is open in a new account."""
    assert Account("a", "k", "s").open_holdings() == []
