"""OKX figures: real answers, documented samples and worked cases, to the last digit that OKX printed.

Vectors bear the numbers of the reference they come from: OKX's API documentation, its help centre, and payloads that
users published. OKX prints doubles with all their digits, so the last ones carry its own rounding: agreement is to the
last digit or to `ULPS` units of a double's last place, whichever is coarser.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import inf, isnan, nan, ulp
from pathlib import Path
from typing import Any

import orjson
import pytest

from monitor.assess import assess_account, assess_pool
from monitor.document import read_document
from monitor.errors import DocumentError
from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.rules import Held, account_pools
from monitor.margin.tiers import Maintenance, Segment
from monitor.margin.venues import RULES
from monitor.margin.venues.okx import DEFAULT_TAKER_FEE_RATE, tier_index
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import Basis, LegAssessment, PoolAssessment
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier
from tests.support.accounts import cross, flat_tier, isolated
from tests.support.digits import agrees
from tests.support.inexact import INEXACT, excused
from tests.support.shared_data import ROOT, cases, needs_shared_data

RULE = RULES["okx"]
ULPS = 2
FEE = 0.0005


def prints(value: float | None, printed: str) -> bool:
    """Whether a value is what OKX printed."""
    return value is not None and (agrees(value, printed) or abs(value - float(printed)) <= ULPS * ulp(value))


def contract(
    symbol: str,
    multiplier: float,
    tiers: tuple[Tier, ...],
    *,
    coin: str = "USDT",
    fee: float | None = FEE,
    tick: float | None = None,
) -> Instrument:
    """A contract; inverse when it is not margined in USDT."""
    kind = ContractKind.LINEAR if coin == "USDT" else ContractKind.INVERSE
    return Instrument(symbol, kind, coin, multiplier, tiers, tick, fee)


def account(
    position: Position | list[Position],
    instrument: Instrument | list[Instrument],
    *wallets: Wallet,
    mode: AccountMode = AccountMode.SINGLE_ASSET,
) -> Account:
    """An OKX account."""
    positions = position if isinstance(position, list) else [position]
    instruments = instrument if isinstance(instrument, list) else [instrument]
    known = {instrument.symbol: instrument for instrument in instruments}
    return Account("okx", "test", mode, PositionMode.HEDGE, wallets, tuple(positions), known)


def only(held: Account, **marks: float) -> tuple[PoolAssessment, LegAssessment]:
    """The one pool and its one leg."""
    (pool,) = assess_account(held, marks, RULE)
    (leg,) = pool.legs
    return pool, leg


# --- the reference's vectors


OKX_1 = account(
    isolated("ETH", 1.0, 2566.31, 0.0003896645377994),
    contract("ETH", 10.0, flat_tier(0.008), coin="ETH", tick=0.01),
)
OKX_1_MARK = 1.0 / (1.0 / 2566.31 + 0.0000009932766034 / 10.0)
"""Behind the sample's profit; the mark that it prints contradicts its other figures."""


def test_isolated_inverse_sample() -> None:
    """OKX-1: profit, maintenance and ratio of the documented inverse position."""
    pool, leg = only(OKX_1, ETH=OKX_1_MARK)
    assert pool.unit == "ETH"
    assert agrees(leg.unrealized_pnl, "-0.0000009932766034")
    assert agrees(leg.maintenance_margin - FEE * leg.notional, "0.0000311811092368")
    assert pool.venue_margin_ratio == pytest.approx(11.731726509588816, rel=1e-9)


def test_isolated_inverse_liquidation_price() -> None:
    """OKX-2: OKX answers one tick nearer to the mark than where its ratio is 100 %."""
    _, leg = only(OKX_1, ETH=OKX_1_MARK)
    assert leg.liquidation_price == pytest.approx(2352.8496681818233, rel=1e-15)
    assert leg.distance == pytest.approx(1.0 - 2352.8496681818233 / OKX_1_MARK)
    plain = replace(OKX_1, instruments={s: replace(i, tick_size=None) for s, i in OKX_1.instruments.items()})
    _, leg = only(plain, ETH=OKX_1_MARK)
    assert leg.liquidation_price == pytest.approx(2352.8396681818218, rel=1e-15)
    pool, _ = only(plain, ETH=leg.liquidation_price or 0.0)
    assert pool.venue_margin_ratio == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(
    ("equity", "notional", "printed"),
    [
        pytest.param(55415.624719833286, 85.7068529, "143682.59776662575", id="OKX-3"),
        pytest.param(55444.12216906034, 85.737166146, "143705.65988369548", id="OKX-4"),
    ],
)
def test_multi_currency_ratio(equity: float, notional: float, printed: str) -> None:
    """OKX-3 and 4: adjusted equity / (maintenance + fee), over all currencies in USD."""
    instrument = contract("X", 1.0, flat_tier(0.004))
    held = account(cross("X", 1.0, notional), instrument, Wallet("USDT", equity), mode=AccountMode.MULTI_ASSET)
    pool, leg = only(held, X=notional)
    assert (pool.scope, pool.unit) == ("multi", "USD")
    assert pool.venue_margin_ratio == pytest.approx(float(printed), rel=1e-15)
    assert leg.maintenance_margin - FEE * leg.notional == pytest.approx(0.004 * notional)


# entry, mark, multiplier, rate, mmr, ratio, liquidation price
OKX_5 = (0.52668, 0.52692, 100.0, 0.005, "0.26346", 69.00363001456147, 0.3287514731020614)
OKX_6 = (
    34132.186083589574,
    34132.186083589574,
    0.01,
    0.004,
    "1.3652874433435829",
    140.49930117599155,
    12608.95908387744,
)


@pytest.mark.parametrize("sample", [pytest.param(OKX_5, id="OKX-5"), pytest.param(OKX_6, id="OKX-6")])
def test_cross_linear(sample: tuple[float, float, float, float, str, float, float]) -> None:
    """OKX-5 and 6: the price of a cross position has no tick in it, and agrees to all its digits.

    The samples have no equity: it follows from their ratio.
    """
    entry, mark, multiplier, rate, mmr, ratio, price = sample
    equity = ratio * multiplier * mark * (rate + FEE)
    wallet = Wallet("USDT", equity - multiplier * (mark - entry))
    pool, leg = only(
        account(cross("X", 1.0, entry), contract("X", multiplier, flat_tier(rate), tick=0.1), wallet), X=mark
    )
    assert pool.scope == "USDT"
    assert prints(leg.maintenance_margin - FEE * leg.notional, mmr)
    assert pool.venue_margin_ratio == pytest.approx(ratio, rel=1e-14)
    assert leg.liquidation_price == pytest.approx(price, rel=1e-14)


@pytest.mark.parametrize(
    ("size", "multiplier", "mark", "mmr"),
    [
        pytest.param(3.0, 100.0, 0.5452, "0.8178", id="OKX-7"),
        pytest.param(1.0, 0.001, 70.01, "0.00035005", id="OKX-8"),
    ],
)
def test_positions_without_a_liquidation_price(size: float, multiplier: float, mark: float, mmr: str) -> None:
    """OKX-7 and 8: where OKX answers with an empty string there is none."""
    held = account(cross("X", size, mark), contract("X", multiplier, flat_tier(0.005)), Wallet("USDT", 10_000.0))
    _, leg = only(held, X=mark)
    assert prints(leg.maintenance_margin - FEE * leg.notional, mmr)
    assert leg.liquidation_price is None


@pytest.mark.parametrize(("side", "expected"), [(1.0, 6.738090425173506), (-1.0, 13.193482419684678)])
def test_isolated_linear_liquidation_price(side: float, expected: float) -> None:
    """OKX-10: both sides of an isolated linear position, at a fee of its own."""
    held = account(isolated("X", side, 10.0, 10.0 / 3.0), contract("X", 1.0, flat_tier(0.01), fee=0.0006))
    _, leg = only(held, X=10.0)
    assert leg.liquidation_price == pytest.approx(expected, rel=1e-14)
    assert leg.bankruptcy_price == pytest.approx(10.0 - side * 10.0 / 3.0)
    ticked = contract("X", 1.0, flat_tier(0.01), fee=0.0006, tick=0.01)
    assert only(account(held.positions[0], ticked), X=10.0)[1].liquidation_price == pytest.approx(
        expected + side * 0.01
    )


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_cross_inverse(side: float) -> None:
    """A cross inverse position is liquidated where its ratio is 100 %, by the derived formula, long and short."""
    instrument = contract("BTC", 100.0, flat_tier(0.004), coin="BTC", tick=0.1)
    held = account(cross("BTC", 500.0 * side, 60_000.0), instrument, Wallet("BTC", 0.2))
    pool, leg = only(held, BTC=62_000.0)
    equity, coins = pool.margin_balance, 50_000.0 / 62_000.0
    expected = 50_000.0 * (1.0 + side * (0.004 + FEE)) / (coins + side * equity)
    assert leg.liquidation_price == pytest.approx(expected, rel=1e-12)
    assert only(held, BTC=expected)[0].venue_margin_ratio == pytest.approx(1.0)


# --- tiers and stages


CAPS = tuple(2000.0 + 10_000.0 * i for i in range(5))
T2020 = tuple(
    Tier(floor, cap, 0.005 * tier, 0.0)
    for tier, (floor, cap) in enumerate(zip((0.0, *CAPS), CAPS, strict=False), start=1)
)
"""BTC in September 2020 (OKX-14): 2,000 contracts at 0.5 %, then 10,000 more for each 0.5 %."""


@pytest.mark.parametrize(
    ("contracts", "tier"), [(1, 1), (2000, 1), (2000.5, 2), (2001, 2), (12_000, 2), (12_001, 3), (22_000, 3), (1e9, 5)]
)
def test_the_tier_goes_by_contracts(contracts: float, tier: int) -> None:
    """An edge belongs to the lower tier; past the table the last one holds. Tier 3 requires 1.5 %."""
    assert tier_index(T2020, contracts) == tier - 1
    assert T2020[tier - 1].rate == pytest.approx(0.005 * tier)


def btc_long(contracts: float, equity: float) -> Account:
    """A cross long of inverse contracts of 100 USD with so much equity, in USD, at its entry price of 10,000."""
    instrument = contract("BTC", 100.0, T2020, coin="BTC", tick=0.1)
    return account(cross("BTC", contracts, 10_000.0), instrument, Wallet("BTC", equity / 10_000.0))


def test_case_a_is_liquidated_in_part() -> None:
    """OKX-20: 15,000 contracts of tier 3 at 1.40 %: OKX's ratio is 0.9032, past the first stage, short of the last."""
    held = btc_long(15_000, 21_000.0)
    pool, leg = only(held, BTC=10_000.0)
    assert pool.margin_balance / leg.notional == pytest.approx(0.014)
    assert pool.maintenance_margin * 10_000.0 == pytest.approx(23_250.0)
    assert agrees(pool.venue_margin_ratio, "0.9032")
    assert leg.liquidation_price is not None
    assert leg.full_liquidation_price is not None
    assert leg.full_liquidation_price < 10_000.0 < leg.liquidation_price
    there, leg = only(held, BTC=leg.full_liquidation_price)
    assert there.margin_balance / leg.notional == pytest.approx(0.0055)


def test_case_a_stops_two_tiers_lower() -> None:
    """OKX-13: 13,000 contracts go, and their fee; what is left has 10.175 %, OKX's ratio 18.5, and one stage.

    What goes is what stands above the end of the tier two below the position's own.
    """
    end = T2020[tier_index(T2020, 15_000) - 2].cap
    assert end is not None
    closed = 15_000 - end
    assert closed == 13_000
    assert (tier_index(T2020, end), tier_index(T2020, end + 1)) == (0, 1)
    equity = 21_000.0 - closed * 100.0 * FEE
    assert equity == pytest.approx(20_350.0)
    pool, leg = only(btc_long(2_000, equity), BTC=10_000.0)
    assert pool.margin_balance / leg.notional == pytest.approx(0.10175)
    assert agrees(pool.venue_margin_ratio, "18.5")
    assert leg.full_liquidation_price == leg.liquidation_price


@pytest.mark.parametrize(("contracts", "tier"), [(12_001, 3), (30_000, 4), (40_000, 5), (1_000_000, 5)])
def test_the_last_stage_is_that_of_the_first_tier(contracts: int, tier: int) -> None:
    """However high the tier: OKX closes all at 0.55 %, and begins at the rate of the position's own tier."""
    held = btc_long(contracts, contracts * 100.0 * 0.03)
    _, leg = only(held, BTC=10_000.0)
    assert leg.liquidation_price is not None
    assert leg.full_liquidation_price is not None
    for price, rate in ((leg.liquidation_price, 0.005 * tier + FEE), (leg.full_liquidation_price, 0.0055)):
        pool, there = only(held, BTC=price)
        assert pool.margin_balance / there.notional == pytest.approx(rate)


def test_isolated_positions_have_a_table_of_their_own() -> None:
    """Where there is one; an empty one is not known, and the other is not taken in its place."""
    both = replace(contract("X", 1.0, flat_tier(0.004)), isolated_tiers=flat_tier(0.008))
    alone, shared = isolated("X", 1.0, 100.0, 20.0), cross("X", 1.0, 100.0)
    pools = assess_account(account([alone, shared], both, Wallet("USDT", 50.0)), {"X": 100.0}, RULE)
    assert [pool.maintenance_margin for pool in pools] == pytest.approx([0.85, 0.45])
    for bare in (replace(both, isolated_tiers=()), replace(both, tiers=())):
        pools = assess_account(account([alone, shared], bare, Wallet("USDT", 50.0)), {"X": 100.0}, RULE)
        assert [bool(pool.unknown) for pool in pools] == [not bare.isolated_tiers, not bare.tiers]


def test_case_b_is_liquidated_in_full() -> None:
    """0.533 % on 15,000 contracts is past the last stage (8,250 USD) as well."""
    pool, leg = only(btc_long(15_000, 8_000.0), BTC=10_000.0)
    assert agrees(pool.margin_balance / leg.notional, "0.00533")
    assert leg.full_liquidation_price is not None
    assert leg.liquidation_price is not None
    assert leg.liquidation_price > leg.full_liquidation_price > 10_000.0
    _, edge = only(btc_long(15_000, 8_250.01), BTC=10_000.0)
    assert edge.full_liquidation_price == pytest.approx(10_000.0, rel=1e-7)


def test_case_c_is_liquidated_in_full_at_once() -> None:
    """10,000 contracts of tier 2 at 1.04 %: one stage only, at 1.05 %, and it is met."""
    pool, leg = only(btc_long(10_000, 10_400.0), BTC=10_000.0)
    assert pool.maintenance_margin * 10_000.0 == pytest.approx(10_500.0)
    assert pool.margin_ratio > 1.0
    assert leg.full_liquidation_price == leg.liquidation_price


def test_both_sides_of_a_hedge_are_counted_together() -> None:
    """In a cross pool 1,500 long and 1,000 short are 2,500 contracts: tier 2 for both. Isolated, each counts alone."""
    instrument = contract("BTC", 100.0, T2020, coin="BTC")
    pair = [cross("BTC", 1500.0, 1e4, Slot.LONG), cross("BTC", -1000.0, 1e4, Slot.SHORT)]
    (pool,) = assess_account(account(pair, instrument, Wallet("BTC", 10.0)), {"BTC": 1e4}, RULE)
    assert [leg.maintenance_margin for leg in pool.legs] == pytest.approx([15.0 * 0.0105, 10.0 * 0.0105])
    _, alone = only(account(isolated("BTC", 1500.0, 1e4, 1.0), instrument), BTC=1e4)
    assert alone.maintenance_margin == pytest.approx(15.0 * 0.0055)


@needs_shared_data
def test_a_real_table_jumps_at_its_edges() -> None:
    """0G-USDT: the whole position takes its tier's rate, so one contract more costs a percent of everything."""
    lines = (ROOT / "tiers" / "okx_tiers_0g-usdt_2025-12-29.csv").read_text().split()[1:]
    caps = [float(line.split(",")[3]) for line in lines]
    rates = [float(line.split(",")[4]) for line in lines]
    table = tuple(Tier(f, c, r, 0.0) for f, c, r in zip([0.0, *caps], caps, rates, strict=False))

    def required(size: float) -> float:
        held = account(cross("X", size, 1.0), contract("X", 1.0, table), Wallet("USDT", 1e6))
        return only(held, X=1.0)[1].maintenance_margin

    assert [required(size) for size in (20_000.0, 20_001.0, 42_000.0, 42_001.0)] == pytest.approx(
        [20_000 * 0.0205, 20_001 * 0.0305, 42_000 * 0.0305, 42_001 * 0.0405]
    )


# --- what no figure here is made of


def test_borrowed_coins_by_the_general_formula() -> None:
    """OKX-9: a spot-margin long is liquidated where its coins are worth its debt, 2 % of it, and the fee of 0.1 %.

    Such positions are not watched; the calculator finds the price, given that what is required follows the debt.
    """
    debt, coins = 99.9998177776581948, 0.00190433573
    required = Maintenance((Segment(0.0, inf, 0.0, debt * (1.02 * 1.001 - 1.0)),))
    leg = Leg("BTC-USDT", coins, coins, False, debt / coins, required, 60_000.0)
    pool = Pool("okx", "test", "BTC-USDT:long", "USDT", Basis.COMPUTED, Risk(0.0, 0.0), (leg,))
    assert assess_pool(pool, RULE).legs[0].liquidation_price == pytest.approx(53615.448336593756, rel=1e-14)


@pytest.mark.parametrize(("tier", "leverage"), [(1, 100), (2, 200 / 3), (3, 50), (5, 100 / 3)])
def test_initial_margin_at_a_tiers_highest_leverage(tier: int, leverage: float) -> None:
    """OKX-14: 1 % and 0.5 % more for each tier is what a position has to begin with at the most that its tier allows.

    Initial margin enters no figure; it is what an isolated position is opened with, and more than what it must keep.
    """
    contracts = CAPS[tier - 1]
    instrument = contract("BTC", 100.0, T2020, coin="BTC")
    held = account(isolated("BTC", contracts, 1e4, contracts * 100.0 / 1e4 / leverage), instrument)
    pool, leg = only(held, BTC=1e4)
    assert pool.margin_balance / leg.notional == pytest.approx(0.01 + 0.005 * (tier - 1))
    assert pool.maintenance_margin / leg.notional == pytest.approx(0.005 * tier + FEE)
    assert pool.margin_ratio < 1.0


NOT_COMPUTED = {
    15: "the level of OKX's fund at which it deleverages: the fund is not read",
    16: "a risk unit's stress components under portfolio margin: only OKX can run them, and their sum is reported",
    17: "an account's components under portfolio margin: likewise; the ratio that follows is a test of the connector",
    18: "realised profit with its fees: what is past enters no margin, and is not read",
}
"""Vectors of the reference for which there is nothing here to compute them with, and why."""

ELSEWHERE = {11, 12, 19}
"""Vectors about what OKX tells of a currency: tests of the connector (``tests/connectors/okx``)."""


def test_every_vector_is_a_test_or_is_said_not_to_be() -> None:
    """Of the twenty, each is named by a test, or by the reason why there is none."""
    source = Path(__file__).read_text(encoding="utf-8")
    named = {int(n) for found in re.findall(r"OKX-(\d+)(?: and (\d+))?", source) for n in found if n}
    assert named | ELSEWHERE | NOT_COMPUTED.keys() == set(range(1, 21))
    assert not named & NOT_COMPUTED.keys()


# --- modes and figures


def test_modes_and_pools() -> None:
    """A pool per currency in futures mode; one in USD in the others, where a coin's price must be stated."""
    single = AccountMode.SINGLE_ASSET
    assert RULE.default_account_mode is single
    assert (RULE.cross_scope(single, "BTC"), RULE.unit(single, "BTC")) == ("BTC", "BTC")
    assert RULE.default_price(single, "BTC") == 1.0
    for mode in (AccountMode.MULTI_ASSET, AccountMode.PORTFOLIO):
        assert (RULE.cross_scope(mode, "BTC"), RULE.unit(mode, "BTC")) == ("multi", "USD")
        assert (RULE.default_price(mode, "BTC"), RULE.default_price(mode, "USDT")) == (None, 1.0)


def test_portfolio_margin_is_not_computed() -> None:
    """What is cross is held as reported, and unknown without a report; an isolated position is computed as ever."""
    instruments = [contract("X", 1.0, flat_tier(0.004)), contract("Y", 1.0, flat_tier(0.004))]
    positions = [cross("X", 1.0, 100.0), isolated("Y", 1.0, 100.0, 10.0)]
    held = account(positions, instruments, Wallet("USDT", 50.0), mode=AccountMode.PORTFOLIO)
    shared, alone = assess_account(held, {"X": 100.0, "Y": 100.0}, RULE)
    assert (shared.basis, alone.basis) == (Basis.REPORTED, Basis.COMPUTED)
    assert isnan(shared.margin_ratio)
    assert shared.unknown == ("the venue's report of the pool",)
    assert alone.maintenance_margin == pytest.approx(0.45)


@pytest.mark.parametrize(("fee", "counted"), [(None, DEFAULT_TAKER_FEE_RATE), (0.0, 0.0), (0.0003, 0.0003)])
def test_fees(fee: float | None, counted: float) -> None:
    """The account's own rate; where it is not known, the regular user's. A fee of nothing is nothing."""
    held = Held(contract("X", 1.0, flat_tier(0.01), fee=fee), 1.0, 1.0, 100.0, None, MarginMode.CROSS)
    assert RULE.maintenance(held).first == (Segment(0.0, inf, 0.01 + counted, 0.0),)


def test_unknown_tiers() -> None:
    """No tiers, no figures: unknown is not safe."""
    pool, _ = only(account(cross("X", 1.0, 100.0), contract("X", 1.0, ()), Wallet("USDT", 50.0)), X=100.0)
    assert pool.unknown == ("maintenance tiers of X",)
    assert isnan(pool.margin_ratio)


def test_the_venues_ratio_falls_towards_danger() -> None:
    """1 is liquidation on both scales."""
    assert RULE.venue_margin_ratio(1.0) == 1.0
    assert RULE.venue_margin_ratio(0.25) == 4.0
    assert RULE.venue_margin_ratio(0.0) is None
    assert RULE.venue_margin_ratio(inf) == 0.0
    assert isnan(RULE.venue_margin_ratio(nan) or 0.0)


def test_a_cut_frees_isolated_margin() -> None:
    """And the pool says so."""
    held = account(isolated("X", 1.0, 100.0, 10.0), contract("X", 1.0, flat_tier(0.01)))
    assert account_pools(held, {"X": 100.0}, RULE)[0].cut_releases_margin


# --- real answers


def document(case: Mapping[str, Any]) -> bytes:
    """A case as a document for `assess`."""
    given = case["inputs"]
    symbol, inverse = case["symbol"], case["contract_type"] == "inverse"
    coin = symbol.split("-")[0 if inverse else 1]
    alone = case["margin_mode"] == "isolated"
    tier = {"floor": "0", "cap": None, "rate": given["mmr"], "deduction": "0"}
    instrument = {
        "kind": case["contract_type"],
        "margin_coin": coin,
        "multiplier": given["contract_multiplier"],
        "tiers": [tier],
        **{key: given[key] for key in ("tick_size", "taker_fee_rate") if key in given},
    }
    position = {
        "instrument": symbol,
        "side": "short" if given["side"] == "short" else "long",
        "size": given["size"],
        "entry_price": given["entry_price"] or given["mark_price"],
        "margin_mode": case["margin_mode"],
        "leverage": given["leverage"],
        **({"isolated_margin": given["isolated_margin"]} if alone else {}),
    }
    return orjson.dumps(
        {
            "venue": "okx",
            "position_mode": case["position_mode"].replace("_", "-"),
            "collateral": [] if alone else [{"coin": coin, "balance": given.get("balance", "1000000")}],
            "instruments": {symbol: instrument},
            "positions": [position],
            "marks": {symbol: given["mark_price"] or given["mark_price_implied_by_upl"]},
        }
    )


def calculate(case: Mapping[str, Any]) -> dict[str, float | None]:
    """What the calculator makes of a case, under the names of its expected figures.

    OKX states maintenance without the fee, the calculator with it.
    """
    held, marks, rules = read_document(document(case), case["id"])
    (pool,) = assess_account(held, marks, rules)
    (leg,) = pool.legs
    free = replace(held, instruments={s: replace(i, taker_fee_rate=0.0) for s, i in held.instruments.items()})
    return {
        "liquidation_price": leg.liquidation_price,
        "maintenance_margin": assess_account(free, marks, rules)[0].maintenance_margin,
        "initial_margin": leg.notional / float(case["inputs"]["leverage"]),
        "margin_ratio": pool.venue_margin_ratio,
    }


@needs_shared_data
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in cases("okx")])
def test_real_positions(case: dict[str, Any]) -> None:
    """Every figure of a real answer that its inputs suffice for, through the document that `assess` takes."""
    derivable = [name for name, sufficient in case["derivable"].items() if sufficient is True]
    found = calculate(case)
    for name in derivable:
        expected = case["expected"][name]
        inexact = INEXACT.get((case["id"], name))
        if inexact is None:
            assert prints(found[name], expected), (name, found[name], expected)
        else:
            assert excused(case["id"], name, found[name], expected), inexact.reason


@needs_shared_data
@pytest.mark.parametrize("name", ["okx-cross-doge-short-20230412", "okx-cross-grid-btc-long-20220526"])
def test_equity_solved_from_the_ratio(name: str) -> None:
    """A cross answer has no equity: solved from its ratio, the liquidation price follows, without a tick.

    Profit and maintenance are those of the mark behind the profit, which is not always the printed one.
    """
    (case,) = (c for c in cases("okx") if c["id"] == name)
    given, expected = case["inputs"], {key: case["expected"][key] for key in case["derivable"]}
    ratio, profit = float(expected["margin_ratio"]), float(case["expected"]["unrealized_pnl"])
    coins = float(given["size"]) * float(given["contract_multiplier"])
    side = -1.0 if given["side"] == "short" else 1.0
    mark = float(given["entry_price"]) + side * profit / coins
    balance = ratio * coins * mark * (float(given["mmr"]) + FEE) - profit
    found = calculate(case | {"inputs": given | {"balance": str(balance), "mark_price": str(mark)}})
    assert found["margin_ratio"] == pytest.approx(ratio, rel=1e-13)
    assert found["maintenance_margin"] == pytest.approx(float(expected["maintenance_margin"]), rel=1e-12)
    assert excused(name, "liquidation_price", found["liquidation_price"], expected["liquidation_price"])
    at_printed = {
        "maintenance_margin": calculate(case)["maintenance_margin"],
        "unrealized_pnl": side * coins * (float(given["mark_price"]) - float(given["entry_price"])),
    }
    for figure, ours in at_printed.items():
        if (name, figure) in INEXACT:
            assert excused(name, figure, ours, case["expected"][figure])


def test_a_document_of_portfolio_margin_is_refused() -> None:
    """Nobody but the venue can compute it."""
    empty: dict[str, Any] = {"collateral": [], "instruments": {}, "positions": [], "marks": {}}
    with pytest.raises(DocumentError, match="only the venue can compute"):
        read_document(orjson.dumps({"venue": "okx", "account_mode": "portfolio", **empty}), "test")
