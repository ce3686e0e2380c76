"""Frames of the streams as values."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.binance_common.parse import (
    AccountUpdate,
    AssetModeChanged,
    ForcedKind,
    ForcedOrder,
    KeyExpired,
    LeverageChanged,
    MarginCall,
    Mark,
    UserEvent,
    margin_mode,
    mark,
    user_event,
)
from connectors.wire import BadFrame, Defect, number
from monitor.model.account import MarginMode
from monitor.model.ids import Slot
from tests.connectors.binance.stage import load
from tests.support.stage import START_MS


def test_an_account_update_tells_long_short_and_flat() -> None:
    """Sizes are signed, the closed row is there, and the mark follows from the unrealized PnL."""
    update = user_event(load("ws_account_update_order"))
    assert isinstance(update, AccountUpdate)
    assert (update.at_ms, update.reason) == (START_MS + 1000, "ORDER")
    assert update.balances == (("USDT", 4900.25),)
    long, short, flat = update.positions
    assert (long.symbol, long.slot, long.size, long.entry_price) == ("BTCUSDT", Slot.LONG, 0.15, 70500.0)
    assert (long.margin_mode, long.isolated_wallet) == (MarginMode.ISOLATED, 1050.0)
    assert long.mark_price == pytest.approx(70500.0 + 225.0 / 0.15)
    assert (short.size, short.margin_mode, short.isolated_wallet) == (-6.0, MarginMode.CROSS, 0.0)
    assert short.mark_price == pytest.approx(3010.5 + 537.0 / 6.0)
    assert (flat.size, flat.mark_price) == (0.0, None)


def test_funding_of_a_cross_position_has_balances_only() -> None:
    """Reason FUNDING_FEE without positions."""
    update = user_event(load("ws_account_update_funding_cross"))
    assert isinstance(update, AccountUpdate)
    assert (update.balances, update.positions) == ((("USDT", 4998.0),), ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ws_account_config_leverage", LeverageChanged(START_MS + 1500, "BTCUSDT", 25.0)),
        ("ws_account_config_multi", AssetModeChanged(START_MS + 1500, multi_asset=True)),
        ("ws_listen_key_expired", KeyExpired(START_MS + 1800, "listen-key-0001")),
        ("ws_order_ordinary", None),
        ("ws_trade_lite", None),
        ("ws_algo_update", None),
        ("ws_strategy_update", None),
    ],
)
def test_other_events_are_known(name: str, expected: object) -> None:
    """Events are told apart, and those without margin in them are passed over."""
    assert user_event(load(name)) == expected


@pytest.mark.parametrize(
    ("name", "kind", "symbol"),
    [
        ("ws_order_liquidation", ForcedKind.LIQUIDATION, "BTCUSDT"),
        ("ws_order_liquidation_filled", ForcedKind.LIQUIDATION, "BTCUSDT"),
        ("ws_order_adl", ForcedKind.ADL, "ETHUSDT"),
        ("ws_order_settlement", ForcedKind.SETTLEMENT, "SOLUSDC"),
    ],
)
def test_forced_orders_are_known_by_their_client_id(name: str, kind: ForcedKind, symbol: str) -> None:
    """The status says nothing: a liquidation order arrives as NEW."""
    order = user_event(load(name))
    assert isinstance(order, ForcedOrder)
    assert (order.kind, order.symbol) == (kind, symbol)


def test_a_liquidation_is_known_by_the_order_type_too() -> None:
    """Type LIQUIDATION counts whatever the client id is."""
    frame = load("ws_order_ordinary")
    frame["o"]["ot"] = "LIQUIDATION"
    assert isinstance(user_event(frame), ForcedOrder)


def test_a_margin_call_names_positions_and_their_maintenance() -> None:
    """The sentence has what a person needs: the side in words, whatever the position mode, and the unit."""
    frame = load("ws_margin_call")
    call = user_event(frame)
    assert isinstance(call, MarginCall)
    short = ("ETHUSDT", "short 4 at mark 3,160.25, maintenance margin 63.205 USDT")
    assert call.sentences(lambda symbol: "USDT") == [short]
    frame["p"][0]["ps"] = "BOTH"
    call = user_event(frame)
    assert isinstance(call, MarginCall)
    assert call.sentences(lambda symbol: "USDT") == [short]
    assert call.sentences(lambda symbol: "")[0][1].endswith("maintenance margin 63.205")


def test_both_sides_of_a_hedge_are_called_in_one_sentence() -> None:
    """A second one with the same name would take the place of the first."""
    frame = load("ws_margin_call")
    long = frame["p"][0] | {"ps": "LONG", "pa": "6"}
    frame["p"] = [long, *frame["p"], frame["p"][0] | {"s": "BTCUSDT"}]
    call = user_event(frame)
    assert isinstance(call, MarginCall)
    hedge, other = call.sentences(lambda symbol: "USDT")
    assert hedge == (
        "ETHUSDT",
        "long 6 at mark 3,160.25, maintenance margin 63.205 USDT; "
        "short 4 at mark 3,160.25, maintenance margin 63.205 USDT",
    )
    assert other[0] == "BTCUSDT"


@pytest.mark.parametrize("text", ["isolated", "ISOLATED"])
def test_isolated_is_written_in_two_ways(text: str) -> None:
    """Lower case in ACCOUNT_UPDATE, upper case elsewhere."""
    assert margin_mode(text) is MarginMode.ISOLATED


@pytest.mark.parametrize("text", ["cross", "crossed", "CROSSED"])
def test_cross_is_written_in_three_ways(text: str) -> None:
    """cross, crossed, CROSSED."""
    assert margin_mode(text) is MarginMode.CROSS


@pytest.mark.parametrize("value", ["", "nan", "NaN", "inf", "-Infinity", "1e999", "x", None, True, [], {}])
def test_what_is_not_a_finite_number_is_refused(value: object) -> None:
    """Not a number, not finite, or not there."""
    with pytest.raises(BadFrame) as refused:
        number(value)
    assert refused.value.defect is Defect.NUMBER


@pytest.mark.parametrize(
    ("path", "value", "defect"),
    [
        (("T",), None, Defect.TIME),
        (("T",), "1790000000000", Defect.TIME),
        (("T",), -1, Defect.TIME),
        (("a",), [], Defect.SHAPE),
        (("a", "m"), "", Defect.SHAPE),
        (("a", "B"), {}, Defect.SHAPE),
        (("a", "B", 0, "cw"), "", Defect.NUMBER),
        (("a", "P", 0, "pa"), "nan", Defect.NUMBER),
        (("a", "P", 0, "ep"), "-1", Defect.NUMBER),
        (("a", "P", 0, "ep"), "0", Defect.NUMBER),
        (("a", "P", 0, "iw"), "", Defect.NUMBER),
        (("a", "P", 0, "mt"), "portfolio", Defect.SHAPE),
        (("a", "P", 0, "ps"), "NET", Defect.SHAPE),
        (("a", "P", 0, "s"), "", Defect.SHAPE),
        (("a", "P", 0), 7, Defect.SHAPE),
        (("e",), "SOMETHING_NEW", Defect.UNKNOWN_EVENT),
        (("e",), 5, Defect.SHAPE),
    ],
)
def test_a_spoiled_account_update_is_refused_with_its_reason(
    path: tuple[Any, ...], value: object, defect: Defect
) -> None:
    """One wrong field spoils the event: it is never half applied."""
    frame = load("ws_account_update_order")
    where = frame
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = value
    with pytest.raises(BadFrame) as refused:
        user_event(frame)
    assert refused.value.defect is defect


def test_an_unrealized_pnl_that_makes_no_sense_gives_no_mark() -> None:
    """The position counts all the same."""
    frame = load("ws_account_update_order")
    frame["a"]["P"][0]["up"] = ""
    frame["a"]["P"][1]["up"] = "99999999"
    update = user_event(frame)
    assert isinstance(update, AccountUpdate)
    assert [row.mark_price for row in update.positions] == [None, None, None]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (load("ws_mark_price"), Mark("BTCUSDT", 72010.5, START_MS + 1000)),
        (load("ws_mark_price_delivery"), Mark("BTCUSDT_260327", 73120.0, START_MS + 1000)),
        (load("ws_mark_price_array")[3], None),
        (load("ws_asset_index_array")[0], Mark("index:BTCUSD", 72000.0, START_MS + 1000)),
    ],
)
def test_marks_and_indexes_are_rows_of_one_kind(row: object, expected: Mark | None) -> None:
    """Delivery contracts have no funding rate, COIN-M rows are left out, indexes get their own name."""
    assert mark(row, 2) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_nothing_but_bad_frame_comes_out_of_any_json(value: object) -> None:
    """Any JSON at all is an event, is passed over, or is refused with what is wrong with it."""
    assert isinstance(_outcome(user_event, value), UserEvent | Defect | None)
    assert isinstance(_outcome(lambda frame: mark(frame, 2), value), Mark | Defect | None)


@given(st.sampled_from(["ws_account_update_order", "ws_order_liquidation", "ws_margin_call"]), st.data())
def test_nothing_but_bad_frame_comes_out_of_a_real_event_with_a_field_replaced(name: str, data: st.DataObject) -> None:
    """A known event with anything anywhere."""
    frame = load(name)
    paths = list(_paths(frame))
    path = data.draw(st.sampled_from(paths))
    where = frame
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = data.draw(json_values)
    assert isinstance(_outcome(user_event, frame), UserEvent | Defect | None)


def _outcome(function: Callable[[object], object], frame: object) -> object:
    """What a function makes of a frame, or why it refuses it."""
    try:
        return function(frame)
    except BadFrame as refusal:
        return refusal.defect


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))
