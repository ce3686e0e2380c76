"""Frames in OKX's documented shapes: long, short and flat, both margin modes, and what is left empty."""

from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.okx.parse import (
    AccountRow,
    Changed,
    Mark,
    Other,
    PositionRow,
    Positions,
    Reply,
    Warned,
    index,
    index_of,
    mark,
    private_frame,
)
from connectors.wire import BadFrame, Defect
from monitor.model.account import MarginMode
from monitor.model.ids import Slot

FRAMES = Path(__file__).parent / "frames"


def load(name: str) -> Any:
    """A fixture."""
    return orjson.loads((FRAMES / f"{name}.json").read_bytes())


def parsed(name: str) -> Any:
    """A fixture as a value."""
    return private_frame(load(name))


def row(**changes: Any) -> PositionRow:
    """The first position of the fixture, changed."""
    frame = load("ws_positions")
    frame["data"] = [frame["data"][0] | changes]
    told = private_frame(frame)
    assert isinstance(told, Positions)
    return told.rows[0]


def test_positions_long_short_cross_and_inverse() -> None:
    """A hedge-mode side is a slot, its size is signed by it, and isolated ones have slots of their own."""
    told = parsed("ws_positions")
    assert isinstance(told, Positions)
    assert (told.whole, told.last, told.at_ms, told.others) == (True, True, 1_790_000_001_000, frozenset())
    assert [(r.instrument, r.slot, r.size, r.coin) for r in told.rows] == [
        ("BTC-USDT-SWAP", Slot.ISOLATED_LONG, 1.0, "USDT"),
        ("BTC-USDT-SWAP", Slot.ISOLATED_SHORT, -2.0, "USDT"),
        ("ETH-USDT-SWAP", Slot.SHORT, -3.0, "USDT"),
        ("BTC-USD-SWAP", Slot.LONG, 50.0, "BTC"),
    ]


def test_empty_fields_are_none_and_never_zero() -> None:
    """``margin`` of a cross position, ``mgnRatio`` of none."""
    _, _, cross, _ = parsed("ws_positions").rows
    assert (cross.margin, cross.maintenance_margin, cross.leverage) == (None, 7.8, 10.0)
    bare = row(mgnRatio="", mmr="", upl="", markPx="", lever="")
    assert (bare.venue_ratio, bare.maintenance_margin, bare.unrealized_pnl, bare.mark_price, bare.leverage) == (
        None,
    ) * 5
    assert (row(adl="").adl_rank, row(adl="0").adl_rank, row(adl="5").adl_rank) == (None, 0, 5)


def test_a_flat_row_closes_one_side() -> None:
    """It comes as an event, with hardly a figure."""
    told = parsed("ws_positions_flat")
    assert not told.whole
    assert [(r.slot, r.size, r.entry_price, r.margin) for r in told.rows] == [(Slot.ISOLATED_LONG, 0.0, 0.0, None)]


@pytest.mark.parametrize(
    ("side", "pos", "mode", "slot", "size"),
    [
        ("net", "-5", "cross", Slot.BOTH, -5.0),
        ("net", "5", "isolated", Slot.ISOLATED_BOTH, 5.0),
        ("short", "5", "cross", Slot.SHORT, -5.0),
        ("short", "-5", "cross", Slot.SHORT, -5.0),
        ("long", "5", "isolated", Slot.ISOLATED_LONG, 5.0),
    ],
)
def test_sides_and_signs(side: str, pos: str, mode: str, slot: Slot, size: float) -> None:
    """In net mode the sign counts, in hedge mode the side."""
    found = row(posSide=side, pos=pos, mgnMode=mode)
    assert (found.slot, found.size, found.margin_mode) == (slot, size, MarginMode(mode))


def test_pushes_are_ordered_by_the_time_they_were_made() -> None:
    """Two can share one uTime; a REST answer has no other."""
    assert row(pTime="1790000001234", uTime="1").at_ms == 1_790_000_001_234
    assert row(pTime="", uTime="1790000000900").at_ms == 1_790_000_000_900


@pytest.mark.parametrize(
    ("changes", "defect"),
    [
        ({"pos": ""}, Defect.NUMBER),
        ({"pos": "nan"}, Defect.NUMBER),
        ({"pos": True}, Defect.NUMBER),
        ({"mgnMode": "both"}, Defect.SHAPE),
        ({"posSide": ""}, Defect.SHAPE),
        ({"instId": ""}, Defect.SHAPE),
        ({"pTime": "soon"}, Defect.TIME),
    ],
)
def test_what_cannot_be_used_says_why(changes: dict[str, Any], defect: Defect) -> None:
    """A position without contract, side, size or time can be laid over nothing."""
    with pytest.raises(BadFrame) as bad:
        row(**changes)
    assert bad.value.defect is defect


@pytest.mark.parametrize(
    "changes", [{"avgPx": ""}, {"avgPx": "inf"}, {"avgPx": "0"}, {"margin": ""}, {"margin": "much"}]
)
def test_a_position_without_what_its_figures_rest_on_is_there_and_not_known(changes: dict[str, Any]) -> None:
    """An open one needs its entry and in isolated mode its margin; a closed one and a cross one need neither."""
    found = row(**changes)
    assert (found.instrument, found.size) == ("BTC-USDT-SWAP", 1.0)
    assert isnan(found.entry_price) or isnan(found.margin or 0.0)
    closed, cross = row(**changes, pos="0"), row(mgnMode="cross", margin="")
    assert not isnan(closed.entry_price)
    assert closed.size == 0.0
    assert (cross.margin, cross.entry_price) == (None, found.entry_price if "margin" in changes else cross.entry_price)


def test_a_figure_that_is_none_costs_nothing_else() -> None:
    """What is only shown or compared may be missing, whatever stands in its place."""
    odd = row(upl="nan", mmr="x", mgnRatio={}, markPx="-1", lever="inf", usdPx="?")
    assert (odd.unrealized_pnl, odd.maintenance_margin, odd.venue_ratio, odd.mark_price, odd.leverage) == (None,) * 5
    assert (odd.coin_price_usd, odd.size, odd.entry_price) == (None, 1.0, row().entry_price)


def test_every_contract_is_a_position_and_what_else_is_held_is_named() -> None:
    """Futures and options stand among the rows; borrowed coins beside them; a closed one of those is not there."""
    frame = load("ws_positions")
    frame["data"][1] |= {"instType": "OPTION", "lever": ""}
    frame["data"][2] |= {"instType": "MARGIN", "avgPx": ""}
    frame["data"][3] |= {"instType": "MARGIN", "pos": "0"}
    told = private_frame(frame)
    assert isinstance(told, Positions)
    assert (len(told.rows), told.others) == (2, {Other("MARGIN", "USDT", MarginMode.CROSS)})
    frame["data"][2]["mgnMode"] = "cash"
    told = private_frame(frame)
    assert isinstance(told, Positions)
    assert told.others == {Other("MARGIN", "USDT", None)}


@pytest.mark.parametrize("kind", ["EVENTS", "", None])
def test_a_kind_that_is_not_known_is_taken_for_a_contract(kind: str | None) -> None:
    """Which is unknown until it is described: what is left out would be shown as safe."""
    assert row(instType=kind) == row()


def test_the_account_in_futures_mode() -> None:
    """Ratio and requirement stand with the currency, and nothing over all of them."""
    told = parsed("ws_account_futures")
    assert isinstance(told, AccountRow)
    assert (told.adjusted_equity, told.maintenance_margin, told.venue_ratio) == (None, None, None)
    usdt = told.coins[0]
    assert (usdt.cash, usdt.equity, usdt.isolated_equity, usdt.venue_ratio) == (1000.0, 1275.0, 245.0, 142.857)


def test_the_account_in_multi_currency_mode() -> None:
    """And there the other way round."""
    told = parsed("ws_account_multi")
    assert isinstance(told, AccountRow)
    assert (told.adjusted_equity, told.maintenance_margin, told.venue_ratio) == (8626.15, 7.8, 901.5)
    assert [(coin.coin, coin.venue_ratio, coin.discounted_usd) for coin in told.coins] == [
        ("USDT", None, 1030.515),
        ("BTC", None, 7125.0),
        ("OKB", None, None),
        ("ETH", None, -400.0),
    ]
    assert [coin.profit for coin in told.coins] == [30.0, 0.0, 0.0, 0.0]
    assert (told.whole, told.page) == (False, 1)


def test_pages_of_the_account() -> None:
    """Like those of positions: only a set is whole, and only its last page ends it."""
    frame = load("ws_account_multi") | {"eventType": "snapshot", "curPage": 2, "lastPage": False}
    told = private_frame(frame)
    assert isinstance(told, AccountRow)
    assert (told.whole, told.page, told.last) == (True, 2, False)
    with pytest.raises(BadFrame):
        private_frame(frame | {"curPage": "2"})


def test_a_currency_that_cannot_be_read_is_not_known_and_the_others_are() -> None:
    """Its balance is nan, never zero."""
    frame = load("ws_account_multi")
    frame["data"][0]["details"][1] |= {"cashBal": "", "eq": "x", "disEq": {}, "upl": "nan"}
    told = private_frame(frame)
    assert isinstance(told, AccountRow)
    assert [isnan(coin.cash) for coin in told.coins] == [False, True, False, False]
    assert (told.coins[1].equity, told.coins[1].discounted_usd, told.coins[1].profit) == (None, None, None)


def test_warnings_and_liquidations() -> None:
    """In words for a person."""
    warned, changed = parsed("ws_liquidation_warning"), parsed("ws_balance_and_position")
    assert isinstance(warned, Warned)
    assert warned.rows == (
        ("BTC-USDT-SWAP", "isolated long 1 contracts at mark 67500, OKX's margin ratio 261.00% (100% is liquidation)"),
    )
    assert changed == Changed("liquidation", ("BTC-USDT-SWAP",), 1_790_000_004_000)


def test_marks() -> None:
    """Every number is a string."""
    assert mark(load("ws_mark_price")["data"][0]) == Mark("BTC-USDT-SWAP", 75000.1, 1_790_000_000_123)


def test_indexes() -> None:
    """The index of a coin in USD prices it as collateral; it is told apart from the same coin's in USDT."""
    row = load("ws_index_tickers")["data"][0]
    assert index(row) == Mark("index:BTCUSD", 75010.2, 1_790_000_000_150)
    assert index(row | {"instId": "BTC-USDT"}).instrument == "index:BTCUSDT"
    assert [index_of(name) for name in ("index:BTCUSD", "index:USDTUSD", "BTC-USD-SWAP")] == [
        "BTC-USD",
        "USDT-USD",
        None,
    ]
    with pytest.raises(BadFrame):
        index(row | {"idxPx": ""})


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        ({"event": "login", "code": "0", "msg": ""}, Reply("login", "", "0", "")),
        ({"event": "subscribe", "arg": {"channel": "account"}}, Reply("subscribe", "account", "", "")),
        ({"event": "error", "code": "60009", "msg": "Login failed."}, Reply("error", "", "60009", "Login failed.")),
        ({"event": "notice", "code": "64008", "msg": "soon"}, Reply("notice", "", "64008", "soon")),
        (
            {"event": "channel-conn-count-error", "channel": "positions", "connCount": "30"},
            Reply("channel-conn-count-error", "positions", "", ""),
        ),
    ],
)
def test_messages_about_the_connection(frame: dict[str, Any], reply: Reply) -> None:
    """Refusals are not good, and neither is the end of a subscription that was acknowledged."""
    found = private_frame(frame)
    assert found == reply
    assert isinstance(found, Reply)
    assert found.good is (reply.event in ("login", "subscribe", "notice"))


@pytest.mark.parametrize(
    ("spoil", "defect"),
    [
        (lambda frame: frame["arg"].update(channel="orders"), Defect.UNKNOWN_EVENT),
        (lambda frame: frame.update(arg={}), Defect.SHAPE),
        (lambda frame: frame.update(data=None), Defect.SHAPE),
        (lambda frame: frame.update(data=[]), Defect.SHAPE),
        (lambda frame: frame["data"][0].update(details=[{"ccy": "", "cashBal": "1", "uTime": "1"}]), Defect.SHAPE),
    ],
)
def test_frames_that_cannot_be_used(spoil: Callable[[Any], object], defect: Defect) -> None:
    """With the reason that is counted."""
    frame = load("ws_account_futures")
    spoil(frame)
    with pytest.raises(BadFrame) as bad:
        private_frame(frame)
    assert bad.value.defect is defect
