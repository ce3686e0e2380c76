"""Frames in OKX's documented shapes: long, short and flat, both margin modes, and what is left empty."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.okx.parse import AccountRow, Changed, Mark, PositionRow, Positions, Reply, Warned, mark, private_frame
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
        ({"avgPx": ""}, Defect.NUMBER),
        ({"avgPx": "inf"}, Defect.NUMBER),
        ({"margin": ""}, Defect.NUMBER),
        ({"mgnMode": "both"}, Defect.SHAPE),
        ({"posSide": ""}, Defect.SHAPE),
        ({"instId": ""}, Defect.SHAPE),
        ({"pTime": "soon"}, Defect.TIME),
    ],
)
def test_what_cannot_be_used_says_why(changes: dict[str, Any], defect: Defect) -> None:
    """An open position needs its size, its entry, and in isolated mode its margin."""
    with pytest.raises(BadFrame) as bad:
        row(**changes)
    assert bad.value.defect is defect


def test_other_contracts_are_named_and_left_out() -> None:
    """Options and the like are not computed; closed ones are not there."""
    frame = load("ws_positions")
    frame["data"][1] |= {"instType": "OPTION", "avgPx": "", "lever": ""}
    frame["data"][2] |= {"instType": "FUTURES", "pos": "0"}
    told = private_frame(frame)
    assert isinstance(told, Positions)
    assert (len(told.rows), told.others) == (2, {"OPTION"})


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
        (lambda frame: frame["data"][0].update(details=[{"ccy": "USDT", "cashBal": "", "uTime": "1"}]), Defect.NUMBER),
    ],
)
def test_frames_that_cannot_be_used(spoil: Callable[[Any], object], defect: Defect) -> None:
    """With the reason that is counted."""
    frame = load("ws_account_futures")
    spoil(frame)
    with pytest.raises(BadFrame) as bad:
        private_frame(frame)
    assert bad.value.defect is defect
