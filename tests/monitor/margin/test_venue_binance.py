"""Binance USD-M figures: published examples and real answers, to the last digit the venue printed.

Vectors bear the numbers of the reference they come from: Binance's FAQ b3c689c1 (liquidation price), its documented
samples, and payloads that users published.
"""

from typing import Any

import pytest

from monitor.assess import assess_account
from monitor.margin.rules import account_pools, wallet_value
from monitor.margin.tiers import cumulative_deductions, segment_at, segments_by_notional
from monitor.margin.venues import RULES
from monitor.model.account import Account, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import LegAssessment, PoolAssessment
from monitor.model.ids import Slot
from monitor.model.instrument import Tier
from tests.support.accounts import BTC_FLOORS, BTC_RATES, account, cross, flat_tier, isolated, linear, tiers
from tests.support.digits import agrees
from tests.support.shared_data import cases, needs_shared_data, tier_rows

RULE = RULES["binance"]

# The FAQ's account: both positions share one cross wallet of 1,535,443.01 USDT.
FAQ_WALLET = 1_535_443.01
FAQ_ETH = ("ETHUSDT", 3683.979, 1456.84, flat_tier(0.10, 135_365.0), 1335.18)
FAQ_BTC = ("BTCUSDT", 109.488, 32_481.98, flat_tier(0.025, 16_300.0), 31_967.27)


def assess(held: Account, marks: dict[str, float]) -> list[PoolAssessment]:
    """All pools of an account."""
    return assess_account(held, marks, RULE)


def only_leg(held: Account, marks: dict[str, float]) -> LegAssessment:
    """The one leg of an account's one pool."""
    (pool,) = assess(held, marks)
    (leg,) = pool.legs
    return leg


@pytest.mark.parametrize(
    ("position", "expected", "exact"),
    [
        pytest.param(FAQ_ETH, "1114.78", 1114.7849637, id="B-V1 an isolated ETH long of the FAQ"),
        pytest.param(FAQ_BTC, "18778.73", 18778.7259322, id="B-V2 an isolated BTC long of the FAQ"),
    ],
)
def test_liquidation_price_of_one_isolated_position(position: Any, expected: str, exact: float) -> None:
    """An isolated position's liquidation price is the FAQ's, and margin balance meets maintenance there."""
    symbol, size, entry, table, mark = position
    held = account([isolated(symbol, size, entry, FAQ_WALLET)], [linear(symbol, table)])
    price = only_leg(held, {symbol: mark}).liquidation_price
    assert agrees(price, expected)
    assert price == pytest.approx(exact, abs=1e-7)
    (there,) = assess(held, {symbol: price or 0.0})
    assert there.margin_balance == pytest.approx(there.maintenance_margin, abs=1e-6)


@pytest.mark.parametrize(
    ("index", "expected", "exact"),
    [
        pytest.param(0, "1153.26", 1153.2564647, id="B-V3 the ETH leg while BTC stands still"),
        pytest.param(1, "26316.89", 26316.8933, id="B-V4 the BTC leg while ETH stands still"),
    ],
)
def test_liquidation_price_of_cross_positions(index: int, expected: str, exact: float) -> None:
    """Two cross positions share the wallet; each leg's price moves alone."""
    legs = (FAQ_ETH, FAQ_BTC)
    held = account(
        [cross(symbol, size, entry) for symbol, size, entry, _, _ in legs],
        [linear(symbol, table) for symbol, _, _, table, _ in legs],
        [Wallet("USDT", FAQ_WALLET)],
    )
    marks = {symbol: mark for symbol, _, _, _, mark in legs}
    (pool,) = assess(held, marks)
    assert pool.scope == "USDT"
    price = pool.legs[index].liquidation_price
    assert agrees(price, expected)
    assert price == pytest.approx(exact, abs=1e-4)
    (there,) = assess(held, marks | {legs[index][0]: price or 0.0})
    assert there.margin_ratio == pytest.approx(1.0, abs=1e-12)


def test_the_faq_names_the_other_positions_part() -> None:
    """B-V3: maintenance and profit of the BTC leg are 71,200.81144 and -56,354.57 (B-V4: 356,512.508, -448,192.89)."""
    legs = (FAQ_ETH, FAQ_BTC)
    held = account(
        [cross(symbol, size, entry) for symbol, size, entry, _, _ in legs],
        [linear(symbol, table) for symbol, _, _, table, _ in legs],
        [Wallet("USDT", FAQ_WALLET)],
    )
    (pool,) = assess(held, {symbol: mark for symbol, _, _, _, mark in legs})
    eth, btc = pool.legs
    assert agrees(btc.maintenance_margin, "71200.81144")
    assert agrees(btc.unrealized_pnl, "-56354.57")
    assert agrees(eth.maintenance_margin, "356512.508")
    assert agrees(eth.unrealized_pnl, "-448192.89")


@pytest.mark.parametrize(
    ("floors", "rates", "expected"),
    [
        pytest.param(
            (0, 100e3, 500e3, 1e6, 2e6, 5e6),
            (0.025, 0.05, 0.10, 0.15, 0.25, 0.50),
            (0, 2500, 27_500, 77_500, 277_500, 1_527_500),
            id="B-V6 ADA/BUSD",
        ),
        pytest.param(
            (0, 50e3, 150e3, 250e3, 500e3),
            (0.01, 0.025, 0.05, 0.10, 0.125),
            (0, 750, 4500, 17_000, 29_500),
            id="B-V7 ZEC/USDT",
        ),
        pytest.param(
            (0, 50e3, 250e3, 1e6, 10e6, 20e6, 50e6, 100e6, 200e6, 300e6),
            (0.004, 0.005, 0.01, 0.025, 0.05, 0.10, 0.125, 0.15, 0.25, 0.50),
            (0, 50, 1300, 16_300, 266_300, 1_266_300, 2_516_300, 5_016_300, 25_016_300, 100_016_300),
            id="B-V17 BTC as it was in 2020",
        ),
        pytest.param(
            BTC_FLOORS,
            BTC_RATES,
            (0, 300, 1500, 12e3, 132e3, 482e3, 2_982e3, 14_482e3, 26_482e3, 41_482e3, 121_482e3, 421_482e3),
            id="B-V18 BTC in September 2026",
        ),
    ],
)
def test_cumulative_amounts(floors: Any, rates: Any, expected: Any) -> None:
    """Maintenance amounts follow from floors and rates, and are the ones the venue lists."""
    assert cumulative_deductions(floors, rates) == pytest.approx(expected, abs=1e-6)


def test_margin_call_sample() -> None:
    """B-V8: the documented MARGIN_CALL sample: maintenance 1.614445, margin ratio 80.64 %."""
    # The sample prints profit and mark, so the entry follows: 187.17127 + 1.166074 / 1.327.
    entry = 187.17127 + 1.166074 / 1.327
    held = account(
        [cross("ETHUSDT", 1.327, entry, Slot.LONG)],
        [linear("ETHUSDT", flat_tier(0.0065))],
        [Wallet("USDT", 3.16812045)],
        PositionMode.HEDGE,
    )
    (pool,) = assess(held, {"ETHUSDT": 187.17127})
    assert agrees(pool.legs[0].notional, "248.37628")
    assert agrees(pool.maintenance_margin, "1.614445")
    assert agrees(pool.margin_ratio, "0.8064")


@pytest.mark.parametrize(
    ("notional", "rate", "expected"),
    [
        pytest.param("1992.46079250", 0.006, "11.95476475", id="B-V10 the WLD short"),
        pytest.param("11.978", 0.006, "0.07186800", id="B-V10 the WLD long"),
        pytest.param("7.02746920", 0.015, "0.10541203", id="B-V11 the 1000SATS long"),
    ],
)
def test_maintenance_margin_of_real_positions(notional: str, rate: float, expected: str) -> None:
    """Maintenance of a position in its first tier is notional times rate."""
    held = account([cross("X", 1.0, float(notional))], [linear("X", flat_tier(rate))], [Wallet("USDT", 1.0)])
    assert agrees(only_leg(held, {"X": float(notional)}).maintenance_margin, expected)


def test_profit_of_a_real_short() -> None:
    """B-V12: profit and notional of a short as the API printed them (it cuts off the last digit)."""
    held = account([isolated("BTCUSDT", -0.014, 42_901.1, 500.0)], [linear("BTCUSDT", flat_tier(0.004))])
    leg = only_leg(held, {"BTCUSDT": 71_055.98470333})
    assert agrees(leg.unrealized_pnl, "-394.16838585")
    assert agrees(leg.notional, "994.78378585")


def test_hedge_pair_has_one_liquidation_price() -> None:
    """B-V19: a cross long and short of one symbol are liquidated at one price, 40,713.3244."""
    held = account(
        [cross("BTCUSDT", 1.0, 50_000.0, Slot.LONG), cross("BTCUSDT", -0.4, 52_000.0, Slot.SHORT)],
        [linear("BTCUSDT", flat_tier(0.004))],
        [Wallet("USDT", 5000.0)],
        PositionMode.HEDGE,
    )
    (pool,) = assess(held, {"BTCUSDT": 50_500.0})
    long, short = pool.legs
    assert agrees(long.liquidation_price, "40713.3244")
    assert short.liquidation_price == long.liquidation_price
    (there,) = assess(held, {"BTCUSDT": long.liquidation_price or 0.0})
    assert there.margin_balance == pytest.approx(there.maintenance_margin, abs=1e-8)


def test_margin_coins_do_not_share_in_single_asset_mode() -> None:
    """USDT and USDC positions are liquidated apart, each with its own wallet."""
    held = account(
        [cross("BTCUSDT", 1.0, 50_000.0), cross("BTCUSDC", 1.0, 50_000.0)],
        [linear("BTCUSDT", flat_tier(0.004)), linear("BTCUSDC", flat_tier(0.004), "USDC")],
        [Wallet("USDT", 5000.0), Wallet("USDC", 50_000.0)],
    )
    pools = {pool.scope: pool for pool in assess(held, {"BTCUSDT": 46_000.0, "BTCUSDC": 46_000.0})}
    assert pools["USDT"].margin_ratio == pytest.approx(184.0 / 1000.0)
    assert pools["USDC"].margin_ratio == pytest.approx(184.0 / 46_000.0)


@needs_shared_data
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in cases("binance-usdm")])
def test_real_positions(case: dict[str, Any]) -> None:
    """Every figure of a real answer that its inputs suffice for agrees to the last printed digit."""
    derivable = [name for name, sufficient in case["derivable"].items() if sufficient is True]
    if not derivable:
        pytest.fail(f"nothing to check in {case['id']}")
    given = case["inputs"]
    size = float(given["size"]) * (-1.0 if given["side"] == "short" else 1.0)
    entry = float(given["entry_price"])
    mark = float(given["mark_price"] or float(given.get("notional") or entry * abs(size)) / abs(size))
    wallet = float(given.get("isolated_wallet", "0"))
    mode = MarginMode(case["margin_mode"])
    position = Position(case["symbol"], Slot.BOTH, size, entry, mode, wallet if mode is MarginMode.ISOLATED else 0.0)
    tier = flat_tier(float(given["mmr"]), float(given["mm_deduction"]))
    held = account([position], [linear(case["symbol"], tier)], [Wallet("USDT", 0.0)])
    leg = only_leg(held, {case["symbol"]: mark})
    for name in derivable:
        assert agrees(getattr(leg, name), case["expected"][name]), (name, getattr(leg, name), case["expected"][name])


@needs_shared_data
@pytest.mark.parametrize(
    ("symbol", "size", "entry", "wallet", "expected"),
    [
        ("ENA/USDT:USDT", 65457, 0.4281605481461, 11962.99576933, "0.24836096"),
        ("ETH/USDT:USDT", 5.737, 2614.8, 5722.76987864, "1623.77551366"),
        ("SAND/USDT:USDT", 88176, 0.2861057884231, 10891.46267895, "0.16367522"),
    ],
)
def test_the_tier_at_the_liquidation_price_counts(
    symbol: str, size: float, entry: float, wallet: float, expected: str
) -> None:
    """With the whole table of that day the solver itself finds the tier in which the venue liquidates."""
    rows = [row for row in tier_rows("binance_um_tiers_2024-10-24.csv.gz") if row["symbol"] == symbol]
    table = tuple(
        Tier(*(float(row[name]) for name in ("notional_floor", "notional_cap", "mmr", "maint_amount"))) for row in rows
    )
    held = account([isolated(symbol, size, entry, wallet)], [linear(symbol, table)])
    assert agrees(only_leg(held, {symbol: entry}).liquidation_price, expected)


@needs_shared_data
def test_listed_amounts_follow_from_rates() -> None:
    """Every amount in the venue's tables is what continuity of maintenance demands."""
    tables: dict[str, list[dict[str, str]]] = {}
    for row in tier_rows("binance_um_tiers_2026-09.csv.gz"):
        tables.setdefault(row["symbol"], []).append(row)
    assert len(tables) > 500
    for symbol, rows in tables.items():
        floors = [float(row["notional_floor"]) for row in rows]
        amounts = cumulative_deductions(floors, [float(row["mmr"]) for row in rows])
        assert amounts == pytest.approx([float(row["maint_amount"]) for row in rows], rel=1e-6, abs=0.02), symbol


@pytest.mark.parametrize(
    ("size", "entry", "mark", "expected"),
    [
        pytest.param(-0.05, 52_000.0, 40_000.0, 600.0, id="the perpetual short"),
        pytest.param(0.04, 52_350.0, 42_000.0, -414.0, id="the quarterly long"),
    ],
)
def test_profit_of_the_portfolio_margin_page(size: float, entry: float, mark: float, expected: float) -> None:
    """B-V15: +600 and -414 USDT."""
    held = account([cross("X", size, entry)], [linear("X", flat_tier(0.005))], [Wallet("USDT", 5000.0)])
    assert only_leg(held, {"X": mark}).unrealized_pnl == pytest.approx(expected)


def test_a_debt_takes_more_of_a_coin_than_its_price() -> None:
    """B-V14: 5,000 USDC owed take BTC worth 5,128.20 USDC at 2.5 % off; BNB worth 1,000 counts 950 at 5 % off."""
    worth = Wallet("BTC", 5_128.205 / 60_000.0, price=60_000.0, haircut=0.025)
    assert wallet_value(worth) == pytest.approx(5_000.0, abs=1e-3)
    assert agrees(5_000.0 / (1.0 - worth.haircut), "5128.20")
    assert wallet_value(Wallet("BNB", 2.0, price=500.0, haircut=0.05)) == pytest.approx(950.0)


def test_the_adl_score_follows_from_our_figures() -> None:
    """B-V16: profit 40.2 on a wallet of 4.27 at a margin ratio of 13.42 % scores 1.263."""
    size, entry = 1.0, 1000.0
    table = flat_tier(0.1342 * (4.27 + 40.2) / (entry + 40.2))
    held = account([cross("X", size, entry)], [linear("X", table)], [Wallet("USDT", 4.27)])
    (pool,) = assess(held, {"X": entry + 40.2})
    share = pool.legs[0].unrealized_pnl / 4.27
    assert agrees(share, "9.414")
    assert agrees(share * pool.margin_ratio, "1.263")


@needs_shared_data
def test_a_real_position_under_portfolio_margin() -> None:
    """Its maintenance is the tier's; its liquidation price needs a wallet that was not told."""
    (case,) = cases("binance-portfolio-margin")
    assert [name for name, sufficient in case["derivable"].items() if sufficient is True] == ["maintenance_margin"]
    given = case["inputs"]
    mark = float(given["notional"]) / float(given["size"])
    held = account(
        [cross(case["symbol"], float(given["size"]), float(given["entry_price"]), Slot.LONG)],
        [linear(case["symbol"], flat_tier(float(given["mmr"])))],
        [Wallet("USDT", 1.0)],
        PositionMode.HEDGE,
    )
    leg = only_leg(held, {case["symbol"]: mark})
    assert agrees(leg.maintenance_margin, case["expected"]["maintenance_margin"])
    assert agrees(leg.unrealized_pnl, case["expected"]["unrealized_pnl"])


def test_an_edge_of_a_tier_belongs_to_both() -> None:
    """Maintenance is the same from both sides of an edge, and rises past the last cap at the last rate."""
    segments = segments_by_notional(tiers(BTC_FLOORS, BTC_RATES, 1.8e9))
    below, above = segment_at(segments, 300e3), segment_at(segments, 300e3 + 1e-6)
    assert (below.alpha, above.alpha) == (0.004, 0.005)
    assert below.alpha * 300e3 + below.beta == pytest.approx(above.alpha * 300e3 + above.beta)
    assert segment_at(segments, 9e9).alpha == 0.5


def test_isolated_margin_leaves_with_the_size() -> None:
    """A cut frees isolated margin in proportion on this venue, and the pool says so."""
    held = account([isolated("X", 1.0, 100.0, 10.0)], [linear("X", flat_tier(0.01))])
    assert account_pools(held, {"X": 100.0}, RULE)[0].cut_releases_margin
