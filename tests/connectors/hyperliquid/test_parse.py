"""Hyperliquid's frames and answers as values: documented shapes, and what is wrong with others."""

from math import isnan
from typing import Any

import orjson
import pytest

from connectors.hyperliquid import answers
from connectors.hyperliquid.answers import Abstraction, Asset, Role, assets
from connectors.hyperliquid.parse import (
    Answered,
    Fills,
    Pong,
    Refused,
    Spot,
    States,
    dex_state,
    dex_states,
    mark,
    spot_state,
    user_frame,
)
from connectors.wire import BadFrame, Defect
from monitor.model.account import MarginMode
from tests.connectors.hyperliquid.stage import ADDRESS, held, load, raw
from tests.support.stage import START_MS


def test_a_state_has_long_short_cross_and_isolated() -> None:
    """Size bears the direction; the mark follows from the value; an isolated margin is equity, profit included."""
    state = dex_state(load("rest_clearinghouse_state"))
    btc, eth, hype = state.holdings
    assert (btc.coin, btc.size, btc.margin_mode, btc.mark_price) == ("BTC", 0.1, MarginMode.CROSS, 75_000.0)
    assert (eth.size, eth.mark_price, eth.entry_price) == (-2.0, 4_000.0, 4_100.0)
    assert (hype.margin_mode, hype.margin, hype.max_leverage) == (MarginMode.ISOLATED, 106.720442, 10.0)
    assert hype.liquidation_price == 97.3120915556
    assert (state.total_value, state.cross_value, state.cross_maintenance) == (2106.720442, 2000.0, 253.75)
    assert state.at_ms == START_MS


def test_a_flat_dex_has_no_positions() -> None:
    """Nor has a row of size zero, which some answers keep, however its zero is written."""
    assert dex_state(load("rest_clearinghouse_state_flat")).holdings == ()
    closed = held(load("rest_clearinghouse_state"), "BTC", szi="0.0", positionValue="0.0")
    assert [holding.coin for holding in dex_state(closed).holdings] == ["ETH", "HYPE"]


def test_the_entry_price_is_that_of_the_cost() -> None:
    """What the venue prints is rounded: value and profit are not."""
    state = dex_state(held(load("rest_clearinghouse_state"), "HYPE", entryPx="92.9"))
    assert state.holdings[2].entry_price == pytest.approx((1425.945 - 32.616) / 15.0)


@pytest.mark.parametrize(
    ("coin", "fields", "odd"),
    [
        ("BTC", {"szi": ""}, ("szi",)),
        ("BTC", {"szi": "nan"}, ("szi",)),
        ("BTC", {"positionValue": None}, ("positionValue",)),
        ("BTC", {"positionValue": "-1"}, ("positionValue",)),
        ("BTC", {"unrealizedPnl": "NaN"}, ("unrealizedPnl",)),
        ("BTC", {"unrealizedPnl": "7600.0"}, ("unrealizedPnl",)),
        ("BTC", {"leverage": {"type": "portfolio", "value": 3}}, ("leverage.type",)),
        ("BTC", {"leverage": "cross"}, ("leverage.type",)),
        ("BTC", {"maxLeverage": 0}, ("maxLeverage",)),
        ("HYPE", {"marginUsed": ""}, ("marginUsed",)),
        ("HYPE", {"marginUsed": "NaN", "maxLeverage": "NaN"}, ("marginUsed", "maxLeverage")),
        ("BTC", {"marginUsed": "NaN"}, ()),
        ("BTC", {"leverage": {"type": "cross", "value": None}}, ()),
        ("HYPE", {"liquidationPx": "NaN"}, ()),
    ],
)
def test_what_is_wrong_with_a_position_is_its_own(coin: str, fields: dict[str, Any], odd: tuple[str, ...]) -> None:
    """It stays in the state, with what counts and cannot be read by name; the other positions are as they were."""
    state = dex_state(held(load("rest_clearinghouse_state"), coin, **fields))
    assert {holding.coin: holding.odd for holding in state.holdings} == dict.fromkeys(("BTC", "ETH", "HYPE"), ()) | {
        coin: odd
    }
    (one,) = (holding for holding in state.holdings if holding.coin == coin)
    assert isnan(one.entry_price) is bool(odd)


@pytest.mark.parametrize("row", [{"coin": ""}, {"coin": None}])
def test_a_position_without_a_name_is_wrong_with_the_state(row: dict[str, Any]) -> None:
    """A state that lacks a position would look safer than it is."""
    with pytest.raises(BadFrame) as refused:
        dex_state(held(load("rest_clearinghouse_state"), "BTC", **row))
    assert refused.value.defect is Defect.SHAPE


def test_an_account_value_that_cannot_be_read_is_unknown() -> None:
    """Not zero, and not a fault of the rest."""
    answer = load("rest_clearinghouse_state") | {"crossMaintenanceMarginUsed": "NaN"}
    answer["marginSummary"]["accountValue"] = answer["crossMarginSummary"]["accountValue"] = "NaN"
    state = dex_state(answer)
    assert isnan(state.total_value)
    assert isnan(state.cross_value)
    assert state.cross_maintenance is None
    assert len(state.holdings) == 3


@pytest.mark.parametrize("key", ["time", "crossMarginSummary", "marginSummary", "assetPositions"])
def test_a_key_that_is_missing_is_a_fault_and_one_that_is_new_is_not(key: str) -> None:
    """The venue adds keys without notice."""
    state = load("rest_clearinghouse_state") | {"lastTradeAt": 1}
    dex_state(state)
    del state[key]
    with pytest.raises(BadFrame):
        dex_state(state)


def test_states_of_all_dexes_come_as_pairs_or_as_an_object() -> None:
    """Both have been seen."""
    flat = load("rest_clearinghouse_state_flat")
    assert dex_states([["", flat], ["xyz", flat]]) == dex_states({"": flat, "xyz": flat})
    for wrong in ([["", flat, 1]], [[None, flat]], "text", None):
        with pytest.raises(BadFrame):
            dex_states(wrong)


def test_frames_of_an_account() -> None:
    """Each with the address that it is about, in lower case."""
    flat = load("rest_clearinghouse_state_flat")
    data = {"user": ADDRESS.upper().replace("X", "x"), "clearinghouseStates": [["", flat]]}
    told = user_frame({"channel": "allDexsClearinghouseState", "data": data})
    assert told == States(ADDRESS, {"": dex_state(flat)})
    one = user_frame(load("ws_clearinghouse_state"))
    assert isinstance(one, States)
    assert list(one.states) == [""]
    spot = user_frame(load("ws_spot_state"))
    assert isinstance(spot, Spot)
    assert spot.state.totals == {"USDC": 25.5}
    assert user_frame(load("ws_pong")) == Pong()
    assert user_frame(load("ws_subscribed")) == Answered(ended=False, subscription="activeAssetCtx")
    assert user_frame(load("ws_unsubscribed")) == Answered(ended=True, subscription="allDexsClearinghouseState")


def test_a_refused_message_is_one() -> None:
    """With the venue's words for people, cut where they are long; nothing depends on them."""
    told = user_frame(load("ws_error"))
    assert told == Refused('Invalid subscription {"type":"allDexsClearinghouseState"}')
    assert user_frame({"channel": "error", "data": "x" * 1000}) == Refused("x" * 200)
    assert user_frame({"channel": "error"}) == Refused("")
    with pytest.raises(BadFrame) as refused:
        mark(load("ws_error"))
    assert refused.value.defect is Defect.REJECTED


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ws_user_fills_liquidation", ["liquidation"]),
        ("ws_user_fills_counterparty", []),
        ("ws_user_fills_adl", ["adl"]),
        ("ws_user_fills_ordinary", []),
    ],
)
def test_forced_fills(name: str, kinds: list[str]) -> None:
    """The one who was liquidated, not the one who took over; whoever was deleveraged."""
    told = user_frame(load(name))
    assert isinstance(told, Fills)
    assert [fill.kind for fill in told.forced] == kinds
    assert told.past is (name == "ws_user_fills_ordinary")
    for fill in told.forced:
        assert (fill.coin, fill.at_ms, fill.key) == ("ETH", 1790000005000, (90542681, 118906512037719))


def test_spot_balances_are_known_by_their_token() -> None:
    """An outcome's shares and a coin of another name are no dollars."""
    state = spot_state(load("rest_spot_clearinghouse_state"))
    assert state.totals == {"USDC": 25.5, "token150": 1.0, "token100000010": 3.0}
    assert not state.empty
    assert spot_state({"balances": []}).empty
    portfolio = spot_state(load("rest_spot_clearinghouse_state_portfolio"))
    assert portfolio.portfolio_ratio == pytest.approx(316.25 / 2500.0)


def test_an_odd_balance_is_its_own() -> None:
    """Whatever stands in the row of another coin; one whose coin cannot be read is no balance."""
    answer = load("rest_spot_clearinghouse_state")
    answer["balances"] += [{"token": 360, "total": "NaN", "hold": ""}, {"coin": "?", "total": "1.0", "hold": "0.0"}]
    state = spot_state(answer | {"portfolioMarginRatio": "NaN"})
    assert state.totals["USDC"] == 25.5
    assert isnan(state.totals["USDH"])
    assert isnan(state.held["USDH"])
    assert len(state.totals) == 4
    assert state.portfolio_ratio is None
    assert not spot_state({"balances": answer["balances"][-2:]}).empty


def test_a_mark_is_the_mark_and_not_the_middle() -> None:
    """Of the many prices in a context."""
    assert mark(load("ws_active_asset_ctx")) == ("BTC", 75000.5)
    assert mark(load("ws_subscribed")) is None
    assert mark(load("ws_pong")) is None
    with pytest.raises(BadFrame) as mids:
        mark({"channel": "allMids", "data": {"mids": {"BTC": "75003.0"}}})
    assert mids.value.defect is Defect.UNKNOWN_EVENT


# --- answers


def test_dexes() -> None:
    """The main one is null in the list."""
    assert answers.dexes(raw("rest_perp_dexs")) == ("", "xyz")
    with pytest.raises(BadFrame):
        answers.dexes(b"{}")


def test_perpetuals_of_all_dexes() -> None:
    """By their full names, with their margin tables; a delisted one keeps its place, one without a table is unknown."""
    found = answers.assets(raw("rest_all_perp_metas"))
    assert list(found) == ["BTC", "ETH", "HYPE", "kPEPE", "GONE", "BARE", "xyz:AAPL", "xyz:TSLA"]
    btc = found["BTC"]
    assert [(tier.floor, tier.cap, tier.rate, tier.deduction) for tier in btc.tiers] == [
        (0.0, 150e6, 0.0125, 0.0),
        (150e6, None, 0.025, 1_875_000.0),
    ]
    assert found["HYPE"].leverages == (10.0,)  # an id below 50 is a table of its own
    assert found["BARE"].tiers == ()
    assert (found["xyz:AAPL"].dex, found["xyz:AAPL"].token) == ("xyz", "USDC")


def test_other_collateral_has_its_name_or_its_number() -> None:
    """And one perpetual that cannot be used does not cost the others."""
    meta = load("rest_all_perp_metas")[1] | {"collateralToken": 360}
    meta["universe"].append({"name": "xyz:BAD"})
    found = answers.assets(orjson.dumps([meta]))
    assert {asset.token for asset in found.values()} == {"USDH"}
    assert "xyz:BAD" not in found
    assert answers.assets(orjson.dumps([meta | {"collateralToken": 999}]))["xyz:AAPL"].token == "token999"


@pytest.mark.parametrize(("notional", "expected"), [(100e6, 1.25e6), (150e6, 1.875e6), (200e6, 3.125e6)])
def test_maintenance_of_a_table(notional: float, expected: float) -> None:
    """HL-13; on a bound both tiers give the same."""
    assert answers.required(answers.margin_tiers([(0.0, 40.0), (150e6, 20.0)]), notional) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"unifiedAccount"', Abstraction.UNIFIED),
        (b'"portfolioMargin"', Abstraction.PORTFOLIO),
        (b'"disabled"', Abstraction.STANDARD),
        (b'"dexAbstraction"', Abstraction.STANDARD),
        (b'"default"', Abstraction.UNSTATED),
        (b"null", Abstraction.UNSTATED),
        (b'"quantumMargin"', Abstraction.STRANGE),
    ],
)
def test_modes(body: bytes, expected: Abstraction) -> None:
    """A bare string, or null."""
    assert answers.abstraction(body) is expected


def test_roles() -> None:
    """With the account behind an API wallet."""
    assert answers.role(raw("rest_user_role")) == Role("user", "")
    assert answers.role(raw("rest_user_role_agent")) == Role("agent", "0x" + "cd" * 20)
    assert answers.role(b'{"role":"missing"}') == Role("missing", "")
    with pytest.raises(BadFrame):
        answers.role(b"null")


def odd_builder(**changes: Any) -> dict[str, Asset]:
    """What is read of all metas when that of the builder's dex is odd in this."""
    metas = load("rest_all_perp_metas")
    metas[1] = {key: value for key, value in (metas[1] | changes).items() if value is not None or key != "universe"}
    return assets(orjson.dumps([*metas, None, 7]))


@pytest.mark.parametrize("changes", [{"collateralToken": None}, {"universe": None}, {"marginTables": 7}])
def test_an_odd_dex_is_left_out_alone(changes: dict[str, Any]) -> None:
    """What is held there is unknown, and the others are not."""
    whole = assets(raw("rest_all_perp_metas"))
    assert odd_builder(**changes) == {coin: asset for coin, asset in whole.items() if asset.dex != "xyz"}


def test_an_odd_margin_table_costs_the_perpetuals_that_refer_to_it() -> None:
    """They have no tiers, which is unknown."""
    whole, tables = assets(raw("rest_all_perp_metas")), load("rest_all_perp_metas")[1]["marginTables"]
    odd = [99, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 0}]}]
    assert odd_builder(marginTables=[*tables, odd, 5, [6]]) == whole
    changed = odd_builder(marginTables=[[number_of_table, odd[1]] for number_of_table, _ in tables])
    assert {coin for coin, asset in changed.items() if asset != whole[coin]} <= {
        coin for coin, asset in whole.items() if asset.dex == "xyz"
    }
