"""What follows from the states of an address: modes, wallets, positions, reports."""

from math import inf, isnan
from typing import Any

import pytest

from connectors.hyperliquid.answers import Abstraction, assets
from connectors.hyperliquid.parse import dex_state, spot_state
from connectors.hyperliquid.state import LIQUIDATION_RATIO, AccountState
from monitor.book import Book
from monitor.margin.venues import RULES
from monitor.margin.venues.hyperliquid import SHARED_LIQUIDATION_RATIO
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.assessment import Basis, PoolAssessment
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, SnapshotReason
from monitor.model.instrument import Tier
from tests.connectors.hyperliquid.stage import held, load, raw
from tests.support.stage import START_MS

MAIN, BUILDER = "rest_clearinghouse_state", "rest_clearinghouse_state_builder"
SPOT, UNIFIED, PORTFOLIO = (f"rest_spot_clearinghouse_state{mode}" for mode in ("", "_unified", "_portfolio"))


def state_of(
    mode: Abstraction, main: Any = MAIN, builder: Any = BUILDER, spot: Any = SPOT, at_ms: int = START_MS
) -> AccountState:
    """A whole reading of an address with positions on two dexes."""
    state = AccountState()
    state.load(assets(raw("rest_all_perp_metas")))
    take(state, main, builder, at_ms)
    state.spot = spot_state(load(spot) if isinstance(spot, str) else spot)
    state.abstraction = mode
    state.decide_mode()
    state.refresh(whole=True)
    return state


def take(state: AccountState, main: Any = MAIN, builder: Any = BUILDER, at_ms: int = START_MS) -> None:
    """New states of both dexes."""
    found = {"": main, "xyz": builder}
    whole = {dex: load(each) if isinstance(each, str) else each for dex, each in found.items()}
    state.accept({dex: dex_state(each | {"time": at_ms}) for dex, each in whole.items()})


def pools(state: AccountState) -> dict[str, PoolAssessment]:
    """What the book makes of it, by scope."""
    book = Book()
    book.add_account("hyperliquid", "main", RULES["hyperliquid"])
    book.load_instruments(InstrumentsLoaded("hyperliquid", "main", tuple(state.instruments().values()), 1))
    modes = (SnapshotReason.START, state.mode, PositionMode.ONE_WAY)
    wallets, positions = tuple(state.wallets.values()), tuple(state.positions.values())
    at_ms = START_MS
    book.apply_snapshot(AccountSnapshot("hyperliquid", "main", "f", at_ms, *modes, wallets, positions, state.reports()))
    return {pool.scope: pool for pool in (book.assess(row) for row in book.rows())}


# --- standard mode


def test_in_standard_mode_each_dex_stands_alone() -> None:
    """With the equity of its cross positions as its own state tells it; spot backs nothing."""
    found = pools(state_of(Abstraction.STANDARD))
    assert {scope: (p.margin_balance, p.maintenance_margin) for scope, p in found.items()} == {
        "USDC": (pytest.approx(2000.0), pytest.approx(253.75)),
        "xyz:USDC": (pytest.approx(500.0), pytest.approx(62.5)),
        "HYPE:short": (pytest.approx(106.720442), pytest.approx(71.29725)),
    }
    assert {leg.instrument: leg.liquidation_price for leg in found["USDC"].legs} == {
        "BTC": pytest.approx(57316.4556962025),
        "ETH": pytest.approx(4856.0049019608),
    }
    assert found["HYPE:short"].legs[0].liquidation_price == pytest.approx(97.3120915556)
    assert all(pool.model_error is not None and pool.model_error < 1e-9 for pool in found.values())


def test_an_isolated_wallet_is_the_margin_without_its_profit() -> None:
    """The venue's ``marginUsed`` contains it; counting it twice would double every move."""
    position = state_of(Abstraction.STANDARD).positions["HYPE"]
    assert position.margin_mode is MarginMode.ISOLATED
    assert position.isolated_wallet == pytest.approx(106.720442 + 32.616)


def test_a_dex_without_anything_has_no_wallet() -> None:
    """There may be a hundred of them."""
    state = state_of(Abstraction.STANDARD, builder="rest_clearinghouse_state_flat")
    assert list(state.wallets) == ["USDC"]
    assert not state.empty
    flat = "rest_clearinghouse_state_flat"
    assert state_of(Abstraction.STANDARD, flat, flat, {"balances": []}).empty
    assert not state_of(Abstraction.STANDARD, flat, flat).empty


# --- unified mode


def test_in_unified_mode_a_token_backs_all_dexes() -> None:
    """Spot total less isolated equity; what a dex calls its account value is only what is reserved for it."""
    found = pools(state_of(Abstraction.UNIFIED, spot=UNIFIED))
    shared = found["USDC"]
    assert (shared.margin_balance, shared.maintenance_margin) == (pytest.approx(2500.0), pytest.approx(316.25 / 0.95))
    assert shared.venue_margin_ratio == pytest.approx(316.25 / 2500.0)
    assert shared.model_error == pytest.approx(0.0, abs=1e-12)
    assert {leg.instrument for leg in shared.legs} == {"BTC", "ETH", "xyz:TSLA"}
    assert found.keys() == {"USDC", "HYPE:short"}


def test_recorded_unified_account() -> None:
    """HL-3 and HL-4: MEGA 75,000 long, isolated, in an account of 2,296.36 USDC."""
    position = {
        "type": "oneWay",
        "position": {
            "coin": "BTC", "szi": "75000", "leverage": {"type": "isolated", "value": 1, "rawUsd": "-1305.264414"},
            "entryPx": "0.04", "positionValue": "3428.625", "unrealizedPnl": "428.625", "maxLeverage": 3,
            "liquidationPx": "0.0208842306", "marginUsed": "2123.360586",
        },
    }  # fmt: skip
    main = load("rest_clearinghouse_state_flat") | {
        "assetPositions": [position],
        "marginSummary": {"accountValue": "2193.808086"},
        "crossMarginSummary": {"accountValue": "70.4475"},
    }
    spot = {"balances": [{"coin": "USDC", "token": 0, "total": "2296.35783828", "hold": "2193.808086"}]}
    state = state_of(Abstraction.UNSTATED, main, "rest_clearinghouse_state_flat", spot)
    assert state.stands_for is Abstraction.UNIFIED
    assert state.wallets["USDC"].balance == pytest.approx(172.99725228)
    (report,) = state.reports()
    assert report.margin_balance == pytest.approx(2123.360586)
    assert report.maintenance_margin == pytest.approx(3428.625 / 6.0, rel=1e-8)


def test_what_a_recorded_unified_account_has_beside_its_isolated_position() -> None:
    """HL-5 and HL-6: HYPE 15 short, isolated; of 289.17 USDC 106.81 are held for it, its margin at that moment."""
    position = {
        "type": "oneWay",
        "position": {
            "coin": "HYPE", "szi": "-15.0", "leverage": {"type": "isolated", "value": 10, "rawUsd": "1532.665442"},
            "entryPx": "92.8886", "positionValue": "1425.8565", "unrealizedPnl": "-32.5275", "maxLeverage": 10,
            "liquidationPx": "97.3120915556", "marginUsed": "106.808942",
        },
    }  # fmt: skip
    main = load("rest_clearinghouse_state_flat") | {
        "assetPositions": [position],
        "marginSummary": {"accountValue": "106.808942"},
        "crossMarginSummary": {"accountValue": "0.0"},
    }
    spot = {"balances": [{"coin": "USDC", "token": 0, "total": "289.1707113", "hold": "106.808942"}]}
    state = state_of(Abstraction.UNSTATED, main, "rest_clearinghouse_state_flat", spot)
    assert state.stands_for is Abstraction.UNIFIED
    assert state.wallets["USDC"].balance == pytest.approx(182.3617693, abs=1e-9)


def test_a_token_that_spot_does_not_list_is_unknown_where_positions_draw_on_it() -> None:
    """Not zero, and not safe."""
    found = pools(state_of(Abstraction.UNIFIED, spot={"balances": []}))
    assert found["USDC"].margin_ratio != found["USDC"].margin_ratio
    assert found["USDC"].unknown == ("collateral value",)
    assert found["HYPE:short"].margin_ratio == pytest.approx(71.29725 / 106.720442)


def test_a_trade_moves_equity_from_profit_to_wallet() -> None:
    """Between two readings of spot the sum stays as it was, at the marks of now."""
    state = state_of(Abstraction.UNIFIED, spot=UNIFIED)
    before = state.wallets["USDC"].balance
    half = held(load(MAIN), "BTC", szi="0.05", positionValue="3800.0", unrealizedPnl="100.0")
    take(state, half, at_ms=START_MS + 1000)
    wallets, positions = state.refresh(whole=False)
    # At 76,000 the old position had won 200, the new one 100.
    assert [(wallet.coin, wallet.balance) for wallet in wallets] == [("USDC", pytest.approx(before + 100.0))]
    assert [position.size for position in positions] == [0.05]


def test_a_transfer_into_an_isolated_position_leaves_the_wallet() -> None:
    """Likewise."""
    state = state_of(Abstraction.UNIFIED, spot=UNIFIED)
    before = state.wallets["USDC"].balance
    take(state, held(load(MAIN), "HYPE", marginUsed="206.720442"), at_ms=START_MS + 1000)
    wallets, (position,) = state.refresh(whole=False)
    assert wallets[0].balance == pytest.approx(before - 100.0)
    assert position.isolated_wallet == pytest.approx(106.720442 + 32.616 + 100.0)


def test_marks_between_the_frames_are_no_payment() -> None:
    """A deposit is."""
    state = state_of(Abstraction.UNIFIED, spot=UNIFIED)
    told = load(UNIFIED)
    told["balances"][0]["total"] = str(2606.720442 + 10.0)
    state.spot = spot_state(told)
    assert not state.seems_paid()
    told["balances"][0]["total"] = str(2606.720442 + 100.0)
    state.spot = spot_state(told)
    assert state.seems_paid()


# --- portfolio margin


def test_portfolio_margin_is_held_as_reported() -> None:
    """Maintenance of all dexes, and the equity that the venue's ratio implies; collateral of other coins is in it."""
    state = state_of(Abstraction.PORTFOLIO, spot=PORTFOLIO)
    found = pools(state)
    pool = found["multi"]
    assert state.mode is AccountMode.PORTFOLIO
    assert (pool.basis, pool.unit) == (Basis.REPORTED, "USD")
    assert (pool.margin_balance, pool.maintenance_margin) == (pytest.approx(2500.0), pytest.approx(316.25 / 0.95))
    assert pool.venue_margin_ratio == pytest.approx(316.25 / 2500.0)
    assert pool.model_error == pytest.approx(0.0, abs=1e-12)
    assert found["HYPE:short"].basis is Basis.COMPUTED


def test_the_ratio_at_which_the_venue_may_liquidate_is_ours_of_one() -> None:
    """Which of 95 % and 100 % it goes by is not certain: the emergency is said before either."""
    assert LIQUIDATION_RATIO == SHARED_LIQUIDATION_RATIO
    spot = load(PORTFOLIO) | {"portfolioMarginRatio": "0.95"}
    pool = pools(state_of(Abstraction.PORTFOLIO, spot=spot))["multi"]
    assert (pool.margin_ratio, pool.venue_margin_ratio) == pytest.approx((1.0, 0.95))
    long = next(leg for leg in pool.legs if leg.instrument == "BTC")
    assert long.liquidation_price == pytest.approx(75_000.0)
    shared = load(UNIFIED)
    # What the token's 316.25 / 0.95 of cross equity are with the isolated equity beside it.
    shared["balances"][0]["total"] = str(316.25 / 0.95 + 106.720442)
    found = pools(state_of(Abstraction.UNIFIED, spot=shared))
    assert found["USDC"].margin_ratio == pytest.approx(1.0)
    assert found["HYPE:short"].margin_ratio == pytest.approx(71.29725 / 106.720442)


@pytest.mark.parametrize("ratio", [None, "0.0"])
def test_portfolio_margin_without_a_ratio_is_unknown(ratio: str | None) -> None:
    """Also with one of zero, which open positions contradict."""
    spot = load(PORTFOLIO)
    spot["portfolioMarginRatio"] = ratio
    pool = pools(state_of(Abstraction.PORTFOLIO, spot=spot))["multi"]
    assert pool.margin_ratio != pool.margin_ratio
    assert pool.unknown


def test_a_recorded_portfolio_ratio() -> None:
    """HL-8: what requires 1,022,248.37 at a ratio of 0.133131833 is worth 7,678,466.90."""
    main = held(load(MAIN), "HYPE") | {"crossMaintenanceMarginUsed": "1022248.3734753598"}
    spot = load(PORTFOLIO) | {"portfolioMarginRatio": "0.1331318329908"}
    state = state_of(Abstraction.PORTFOLIO, main, "rest_clearinghouse_state_flat", spot)
    (report,) = state.reports()
    assert report.margin_balance == pytest.approx(7678466.9041772699, rel=1e-9)
    assert report.venue_margin_ratio == 0.1331318329908


# --- what the mode is when nobody says


@pytest.mark.parametrize(
    ("spot", "expected"),
    [(SPOT, Abstraction.STANDARD), (UNIFIED, Abstraction.UNIFIED), ({"balances": []}, Abstraction.STANDARD)],
)
def test_an_unstated_mode_is_told_by_what_spot_holds(spot: Any, expected: Abstraction) -> None:
    """In unified mode spot holds what the dexes have reserved."""
    assert state_of(Abstraction.UNSTATED, spot=spot).stands_for is expected


def test_a_wild_moment_does_not_change_an_unstated_mode() -> None:
    """Spot and dexes are read a moment apart; what agreed once may differ more."""
    state = state_of(Abstraction.UNSTATED, spot=UNIFIED)
    told = load(UNIFIED)
    told["balances"][0]["hold"] = str(2606.720442 * 1.05)
    state.spot = spot_state(told)
    state.decide_mode()
    assert state.stands_for is Abstraction.UNIFIED
    assert state_of(Abstraction.UNSTATED, spot=told).stands_for is Abstraction.STANDARD


def test_a_stated_mode_is_believed() -> None:
    """Whatever the balances look like."""
    assert state_of(Abstraction.STANDARD, spot=UNIFIED).stands_for is Abstraction.STANDARD


def test_in_a_mode_of_tomorrow_cross_positions_are_unknown() -> None:
    """What protects them is not known; isolated ones stand for themselves."""
    found = pools(state_of(Abstraction.STRANGE))
    assert found["USDC"].margin_ratio != found["USDC"].margin_ratio
    assert found["HYPE:short"].margin_ratio == pytest.approx(71.29725 / 106.720442)


# --- maximum leverage


def test_a_position_is_ruled_by_its_own_maximum_leverage() -> None:
    """Before its table; the deviation is named, and the venue's report decides whether it is right."""
    main = held(load(MAIN), "BTC", maxLeverage=50) | {"crossMaintenanceMarginUsed": str(7500 / 100 + 160)}
    state = state_of(Abstraction.STANDARD, main)
    assert state.instruments()["BTC"].tiers == (Tier(0.0, None, 0.01, 0.0),)
    assert state.deviations() == {"BTC": (50.0, 40.0)}
    assert pools(state)["USDC"].model_error == pytest.approx(0.0, abs=1e-9)
    wrong = held(load(MAIN), "BTC", maxLeverage=50)
    error = pools(state_of(Abstraction.STANDARD, wrong))["USDC"].model_error
    assert error == pytest.approx(18.75 / 253.75)


def test_the_leverage_of_any_fitting_tier_is_no_deviation() -> None:
    """Of the first, or of the one at the position's notional: which one large positions are told is not documented."""
    large = {"szi": "2000.0", "positionValue": "150000000.0", "unrealizedPnl": "0.0"}
    for leverage, deviates in ((40, False), (20, False), (10, True)):
        state = state_of(Abstraction.STANDARD, held(load(MAIN), "BTC", maxLeverage=leverage, **large))
        assert bool(state.deviations()) is deviates
    state = state_of(Abstraction.STANDARD, held(load(MAIN), "BTC", maxLeverage=20))
    assert state.deviations() == {"BTC": (20.0, 40.0)}


def test_an_isolated_liquidation_price_of_the_venues_is_held_against_the_table() -> None:
    """It is where equity meets maintenance: a table that is wrong shows as a model error."""
    wrong = held(load(MAIN), "HYPE", maxLeverage=10, liquidationPx="95.5")
    pool = pools(state_of(Abstraction.STANDARD, wrong))["HYPE:short"]
    there = 1532.665442 - 15.0 * 95.5
    assert pool.maintenance_margin == pytest.approx(71.29725 + there - 15.0 * 95.5 * 0.05)
    assert pool.model_error is not None
    assert pool.model_error > 0.2


def test_a_perpetual_without_a_table_is_unknown() -> None:
    """Its pool is not compared with anything."""
    state = state_of(Abstraction.STANDARD)
    state.assets = {coin: asset for coin, asset in state.assets.items() if coin != "HYPE"}
    assert "HYPE:short" not in {report.scope for report in state.reports()}


# --- what cannot be read


@pytest.mark.parametrize(
    ("coin", "fields", "unknown"),
    [
        ("BTC", {"positionValue": "NaN"}, {"USDC"}),
        ("BTC", {"maxLeverage": "NaN"}, {"USDC"}),
        ("HYPE", {"marginUsed": "NaN"}, {"HYPE:short"}),
        ("HYPE", {"szi": ""}, {"HYPE:short"}),
        ("HYPE", {"leverage": None}, {"HYPE:short"}),
    ],
)
def test_an_odd_position_makes_its_pool_unknown_and_no_other(
    coin: str, fields: dict[str, Any], unknown: set[str]
) -> None:
    """Also one whose size or kind cannot be read any more: it stands where it stood, and its pool bears its name."""
    state = state_of(Abstraction.STANDARD)
    take(state, held(load(MAIN), coin, **fields), at_ms=START_MS + 1000)
    state.refresh(whole=True)
    found = pools(state)
    assert found.keys() == {"USDC", "xyz:USDC", "HYPE:short"}
    assert {scope for scope, pool in found.items() if isnan(pool.margin_ratio)} == unknown
    assert all(pool.unknown for scope, pool in found.items() if scope in unknown)
    assert state.odd() == {coin: ("leverage.type" if "leverage" in fields else next(iter(fields)),)}


def test_an_odd_position_that_nobody_knew_is_unknown_too() -> None:
    """Of a kind that cannot be read it is taken to draw on what the others share."""
    for fields in ({"szi": "NaN"}, {"leverage": "cross"}):
        found = pools(state_of(Abstraction.STANDARD, held(load(MAIN), "BTC", **fields)))
        assert isnan(found["USDC"].margin_ratio)
        assert {leg.instrument for leg in found["USDC"].legs} == {"BTC", "ETH"}
        assert found["HYPE:short"].margin_ratio == pytest.approx(71.29725 / 106.720442)


def test_isolated_equity_that_cannot_be_read_leaves_the_unified_balance_unknown() -> None:
    """It is what the token's total is less by."""
    found = pools(state_of(Abstraction.UNIFIED, held(load(MAIN), "HYPE", marginUsed=""), spot=UNIFIED))
    assert {scope for scope, pool in found.items() if isnan(pool.margin_ratio)} == {"USDC", "HYPE:short"}


def test_an_odd_position_is_told_once() -> None:
    """Not with every state."""
    state = state_of(Abstraction.STANDARD)
    odd = held(load(MAIN), "BTC", unrealizedPnl="NaN")
    take(state, odd, at_ms=START_MS + 1000)
    assert [position.instrument for position in state.refresh(whole=False)[1]] == ["BTC"]
    take(state, odd, at_ms=START_MS + 2000)
    assert state.refresh(whole=False) == ((), ())
    take(state, at_ms=START_MS + 3000)
    wallets, positions = state.refresh(whole=False)
    assert [position.entry_price for position in positions] == [pytest.approx(74_000.0)]
    assert [wallet.balance for wallet in wallets] == [pytest.approx(1700.0)]


def test_reserves_that_cannot_be_read_change_no_mode() -> None:
    """An unstated mode is what it was taken for."""
    state = state_of(Abstraction.UNSTATED, spot=UNIFIED)
    told = load(UNIFIED)
    told["balances"][0]["hold"] = "NaN"
    state.spot = spot_state(told)
    state.decide_mode()
    assert state.stands_for is Abstraction.UNIFIED


# --- newer and older


def test_the_newer_state_stands() -> None:
    """From whichever way it came; an older one and a repeated one are told apart."""
    state = state_of(Abstraction.STANDARD)
    flat = dex_state(load("rest_clearinghouse_state_flat") | {"time": START_MS - 1})
    assert state.accept({"": flat}) == ([], [""])
    assert state.accept({"": state.dexes[""]}) == ([""], [])
    newer = dex_state(load("rest_clearinghouse_state_flat") | {"time": START_MS + 1})
    assert state.accept({"": newer}) == ([], [])
    _, positions = state.refresh(whole=False)
    assert {position.instrument: position.size for position in positions} == {"BTC": 0.0, "ETH": 0.0, "HYPE": 0.0}
    assert {position.updated_ms for position in positions} == {START_MS + 1}


def test_a_move_of_the_marks_changes_nothing_but_the_marks() -> None:
    """Values and profits move in every state; wallets, sizes and entries stand still to rounding."""
    state = state_of(Abstraction.STANDARD)
    moved = held(load(MAIN), "BTC", positionValue="7600.000001", unrealizedPnl="200.000001")
    moved["crossMarginSummary"]["accountValue"] = "2100.000001"
    take(state, moved, at_ms=START_MS + 1000)
    assert state.refresh(whole=False) == ((), ())
    assert state.positions["BTC"].mark_price == pytest.approx(76_000.00001)


def test_funding_moves_the_balance_it_comes_from() -> None:
    """Every hour: out of the cross balance, or out of the isolated position's own, whose liquidation price drifts."""
    state = state_of(Abstraction.STANDARD)
    before = pools(state)["HYPE:short"].legs[0].liquidation_price
    paid = held(load(MAIN), "HYPE", marginUsed="105.720442", liquidationPx="97.2486")
    paid["crossMarginSummary"]["accountValue"] = "1999.0"
    take(state, paid, at_ms=START_MS + 3_600_000)
    wallets, positions = state.refresh(whole=False)
    assert [(wallet.coin, wallet.balance) for wallet in wallets] == [("USDC", pytest.approx(1699.0))]
    assert [(p.instrument, p.isolated_wallet) for p in positions] == [("HYPE", pytest.approx(138.336442))]
    after = pools(state)["HYPE:short"].legs[0].liquidation_price
    assert before is not None
    assert after == pytest.approx(before - 1.0 / 15.0 / 1.05)


def test_in_unified_mode_funding_is_paid_out_of_spot() -> None:
    """For cross positions out of the token's balance, for isolated ones out of their own, which is part of it."""
    state = state_of(Abstraction.UNIFIED, spot=UNIFIED)
    before = pools(state)
    take(state, held(load(MAIN), "HYPE", marginUsed="105.720442"), at_ms=START_MS + 3_600_000)
    spot = load(UNIFIED)
    spot["balances"][0]["total"] = str(2606.720442 - 1.0 - 3.0)
    state.spot = spot_state(spot)
    state.refresh(whole=True)
    after = pools(state)
    assert after["USDC"].margin_balance == pytest.approx(before["USDC"].margin_balance - 3.0)
    assert after["HYPE:short"].margin_balance == pytest.approx(before["HYPE:short"].margin_balance - 1.0)


@pytest.mark.parametrize("total", ["0.0", "0", "-25.0"])
def test_a_token_of_which_nothing_is_left_backs_its_positions_with_nothing(total: str) -> None:
    """The total counts every profit: without it, the profit would be taken for a balance."""
    spot = load(UNIFIED)
    spot["balances"][0]["total"] = total
    state = state_of(Abstraction.UNIFIED, spot=spot)
    isolated, profit, _ = state._sums("USDC")
    assert state.wallets["USDC"].balance == pytest.approx(float(total) - isolated - profit)
    pool = pools(state)["USDC"]
    assert pool.margin_balance == pytest.approx(float(total) - isolated)
    assert pool.margin_ratio == inf
    assert "USDC" in {report.scope for report in state.reports()}


def unread(state: AccountState, *, held: str) -> AccountState:
    """The account once more, when its builder's dex could not be read and spot has this reserved."""
    state.unread = frozenset({"xyz"})
    state.spot = spot_state({"balances": [{"coin": "USDC", "token": 0, "hold": held, "total": "5000.0"}]})
    state.decide_mode()
    return state


def test_a_mode_that_a_dex_out_of_sight_would_decide_stays_what_it_was() -> None:
    """What spot holds beyond the dexes in sight may be reserved for that one; what it lacks shows that none is."""
    unified = state_of(Abstraction.UNSTATED, spot=UNIFIED)
    assert unified.stands_for is Abstraction.UNIFIED
    assert unread(unified, held="2700.0").stands_for is Abstraction.UNIFIED
    assert unread(unified, held="12.0").stands_for is Abstraction.STANDARD
    standard = state_of(Abstraction.UNSTATED, spot=reserving("3.0"))
    assert unread(standard, held="9000.0").stands_for is Abstraction.STANDARD
    never = AccountState()
    never.load(assets(raw("rest_all_perp_metas")))
    take(never)
    never.abstraction = Abstraction.UNSTATED
    assert unread(never, held="9000.0").stands_for is Abstraction.STRANGE


def reserving(hold: str) -> dict[str, Any]:
    """Spot balances of which so much is reserved."""
    return {"balances": [{"coin": "USDC", "token": 0, "hold": hold, "total": "5000.0"}]}
