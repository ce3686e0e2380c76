"""Private frames and rows of positions and coins."""

from typing import Any

import pytest

from connectors.bybit.parse import (
    ForcedOrders,
    PositionUpdate,
    Reply,
    WalletUpdate,
    category_of,
    coin,
    position,
    private_frame,
)
from connectors.wire import BadFrame, Defect
from monitor.model.ids import Slot
from tests.connectors.bybit.stage import load


def row(name: str, **changes: Any) -> dict[str, Any]:
    """The one row of a frame, changed."""
    return {**load(name)["data"][0], **changes}


@pytest.mark.parametrize(
    ("name", "slot", "size", "entry", "liquidation"),
    [
        ("ws_position_long", Slot.BOTH, 0.2, 233.02, 176.89650029),
        ("ws_position_short", Slot.SHORT, -43.0, 0.37293023, None),
        ("ws_position_flat", Slot.BOTH, 0.0, 0.0, None),
        ("ws_position_inverse", Slot.BOTH, -300.0, 27464.50441675, None),
    ],
)
def test_positions(name: str, slot: Slot, size: float, entry: float, liquidation: float | None) -> None:
    """Long, short in hedge mode, flat, inverse."""
    update = private_frame(load(name))
    assert isinstance(update, PositionUpdate)
    (held,) = update.positions
    assert (held.slot, held.size, held.entry_price, held.liquidation_price) == (slot, size, entry, liquidation)


def test_rest_calls_the_entry_price_otherwise() -> None:
    """``avgPrice`` and not ``entryPrice``."""
    told = load("rest_position_list_hedge")["result"]["list"][1]
    assert "entryPrice" not in told
    assert position(told).entry_price == 0.37293023


def test_an_empty_field_is_unknown_and_not_zero() -> None:
    """Under portfolio margin a position has neither leverage nor margins."""
    held = position(row("ws_position_portfolio"))
    assert (held.leverage, held.initial_margin, held.maintenance_margin, held.liquidation_price) == (None,) * 4
    assert position(row("ws_position_long", markPrice="")).mark_price is None
    assert position(row("ws_position_long", adlRankIndicator="")).adl_rank is None
    assert position(row("ws_position_flat")).adl_rank is None


def test_the_side_of_a_hedge_row_is_its_slots() -> None:
    """A closing row has an empty side; only an open one-way position needs one."""
    assert position(row("ws_position_short", side="")).size == -43.0
    assert position(row("ws_position_flat")).size == 0.0
    with pytest.raises(BadFrame):
        position(row("ws_position_long", side=""))


@pytest.mark.parametrize(
    ("changes", "defect"),
    [
        ({"size": ""}, Defect.NUMBER),
        ({"size": "nan"}, Defect.NUMBER),
        ({"size": "-1"}, Defect.NUMBER),
        ({"entryPrice": ""}, Defect.NUMBER),
        ({"entryPrice": "0"}, Defect.NUMBER),
        ({"markPrice": "inf"}, Defect.NUMBER),
        ({"positionIdx": 3}, Defect.SHAPE),
        ({"positionIdx": None}, Defect.SHAPE),
        ({"updatedTime": ""}, Defect.TIME),
        ({"symbol": ""}, Defect.SHAPE),
    ],
)
def test_a_position_that_cannot_be_used(changes: dict[str, Any], defect: Defect) -> None:
    """It is counted by what is wrong with it."""
    with pytest.raises(BadFrame) as refused:
        position(row("ws_position_long", **changes))
    assert refused.value.defect is defect


def test_the_wallet() -> None:
    """Totals and coins; in isolated mode the account has no figures."""
    update = private_frame(load("ws_wallet"))
    assert isinstance(update, WalletUpdate)
    assert update.totals is not None
    assert (update.totals.margin_balance, update.totals.maintenance_rate) == (11.48691986, 0.0226)
    assert [(each.coin, each.balance, each.counts) for each in update.coins] == [("USDT", 11.49111986, True)]
    update = private_frame(load("ws_wallet_isolated"))
    assert isinstance(update, WalletUpdate)
    assert update.totals is not None
    assert update.totals.maintenance_margin is update.totals.maintenance_rate is None


def test_what_is_borrowed_is_owed() -> None:
    """Equity = wallet balance - spot borrow + unrealized PnL."""
    told = {"coin": "ETH", "walletBalance": "1", "spotBorrow": "3", "equity": "", "usdValue": ""}
    assert (coin(told).balance, coin(told).equity, coin(told).counts) == (-2.0, None, None)
    assert coin({**told, "marginCollateral": True, "collateralSwitch": False}).counts is False


@pytest.mark.parametrize(
    ("told", "owed"),
    [
        ({"spotBorrow": "0.5", "borrowAmount": "0"}, 0.5),
        ({"spotBorrow": "", "borrowAmount": "0.0"}, 0.0),
        ({"borrowAmount": "0"}, 0.0),
        ({"borrowAmount": "0.5"}, None),
        ({"spotBorrow": "", "borrowAmount": ""}, None),
        ({}, None),
    ],
)
def test_a_debt_that_is_left_out_is_unknown_unless_all_debts_are_zero(told: dict[str, str], owed: float | None) -> None:
    """What is borrowed in all includes it."""
    assert coin({"coin": "ETH", "walletBalance": "1", **told}).owed == owed


@pytest.mark.parametrize(
    ("name", "op", "good"),
    [
        ("ws_pong_public", "ping", True),
        ("ws_pong_private", "pong", True),
        ("ws_auth_good", "auth", True),
        ("ws_auth_bad", "auth", False),
        ("ws_subscribed", "subscribe", True),
        ("ws_subscription_rejected", "subscribe", False),
    ],
)
def test_answers_to_what_was_said(name: str, op: str, good: bool) -> None:
    """The reply to a ping says ping on public sockets and pong on private ones."""
    reply = private_frame(load(name))
    assert isinstance(reply, Reply)
    assert (reply.op, reply.good) == (op, good)


def test_one_liquidation_cancels_many_orders() -> None:
    """Equal notices of one frame are one."""
    forced = private_frame(load("ws_order_cancelled_for_liquidation"))
    assert isinstance(forced, ForcedOrders)
    assert [(order.kind, order.symbol) for order in forced.orders] == [("liquidation", "SOLUSDT")]


def test_frames_that_say_nothing_about_margin() -> None:
    """Known and passed over; unknown topics are named."""
    assert private_frame({"topic": "greeks", "creationTime": 1, "data": []}) is None
    with pytest.raises(BadFrame) as refused:
        private_frame({"topic": "novelty", "creationTime": 1, "data": []})
    assert refused.value.defect is Defect.UNKNOWN_EVENT


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("BTCUSDT", "linear"),
        ("BTCPERP", "linear"),
        ("BTC-25DEC26", "linear"),
        ("BTCUSDT-25DEC26", "linear"),
        ("BTCUSD", "inverse"),
        ("BTCUSDH27", "inverse"),
        ("index:BTCUSD", "spot"),
    ],
)
def test_the_category_of_an_instrument(name: str, category: str) -> None:
    """It is the socket that quotes it."""
    assert category_of(name) == category


@pytest.mark.parametrize("side", [[], {}, None, "", True, ["Buy"]])
def test_an_open_position_without_a_readable_side_is_refused(side: Any) -> None:
    """A size without a sign would be taken for a long."""
    with pytest.raises(BadFrame):
        position(row("ws_position_long", side=side))
