"""Bybit figures: the help centre's examples and real answers, to the last digit the venue printed.

Vectors bear the numbers of the reference they come from (Y-V1 ...): Bybit's help centre, its documented samples, and
payloads that users published. Until 2025-09-02 Bybit took maintenance at entry and not at the mark: figures from before
are compared with the mark at the entry price, and prices of liquidation with a maintenance that stands still.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from monitor.assess import assess_account
from monitor.document import read_document, write_pools
from monitor.margin.rules import Held, account_pools
from monitor.margin.tiers import UNKNOWN, cumulative_deductions
from monitor.margin.venues import RULES
from monitor.margin.venues.bybit import fee_to_close
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import LegAssessment, PoolAssessment, margin_ratio
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier
from tests.support.accounts import flat_tier, tiers
from tests.support.digits import agrees
from tests.support.inexact import INEXACT, excused
from tests.support.shared_data import cases, needs_shared_data, tier_rows

RULE = RULES["bybit"]
FEE = 0.00055

# Y-V4: the ladder of BTCUSDT in August 2026.
BTC_LIMITS = (2.0e6, 2.6e6, 3.2e6, 3.8e6, 4.4e6, 5.0e6, 5.6e6, 8.5e6, 10e6, 14e6)
BTC_RATES = (0.005, 0.0056, 0.0063, 0.0067, 0.0071, 0.0077, 0.0091, 0.01, 0.013, 0.015)
BTC_TIERS = tiers((0.0, *BTC_LIMITS[:-1]), BTC_RATES, BTC_LIMITS[-1])


def contract(rate: float = 0.005, fee: float | None = FEE, *, inverse: bool = False, **changes: Any) -> Instrument:
    """BTCUSDT or BTCUSD in its first tier."""
    kind, symbol, coin = (
        (ContractKind.INVERSE, "BTCUSD", "BTC") if inverse else (ContractKind.LINEAR, "BTCUSDT", "USDT")
    )
    return replace(Instrument(symbol, kind, coin, 1.0, flat_tier(rate), taker_fee_rate=fee), **changes)


def standing_still(maintenance: float) -> tuple[Tier, ...]:
    """Tiers that require the same at every mark, as the rules before 2025-09-02 did."""
    return flat_tier(0.0, -maintenance)


def alone(instrument: Instrument, size: float, entry: float, leverage: float, added: float = 0.0) -> Account:
    """An account with one isolated position.

    Its margin is value / leverage + fee to close + what was added later, from which the fee for closing it with the
    position is kept.
    """
    sign = 1.0 if size > 0.0 else -1.0
    held = Held(instrument, size, abs(size), entry, leverage, MarginMode.ISOLATED)
    inverse = instrument.kind is ContractKind.INVERSE
    value = abs(size) / entry if inverse else abs(size) * entry
    fee = instrument.taker_fee_rate or 0.0
    wallet = value / leverage + fee_to_close(held) + added / (1.0 - sign * fee * (-1.0 if inverse else 1.0))
    position = Position(instrument.symbol, Slot.BOTH, size, entry, MarginMode.ISOLATED, wallet, leverage)
    return account([position], [instrument])


def account(
    positions: list[Position],
    instruments: list[Instrument],
    wallets: tuple[Wallet, ...] = (),
    position_mode: PositionMode = PositionMode.ONE_WAY,
) -> Account:
    """A unified account."""
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    return Account("bybit", "test", AccountMode.MULTI_ASSET, position_mode, wallets, tuple(positions), by_symbol)


def cross(size: float, entry: float, leverage: float, slot: Slot = Slot.BOTH, symbol: str = "BTCUSDT") -> Position:
    """A cross position."""
    return Position(symbol, slot, size, entry, MarginMode.CROSS, leverage=leverage)


def only(held: Account, mark: float) -> tuple[PoolAssessment, LegAssessment]:
    """The one pool and its one leg, at a mark."""
    (pool,) = assess_account(held, dict.fromkeys(held.instruments, mark), RULE)
    (leg,) = pool.legs
    return pool, leg


@pytest.mark.parametrize(
    ("size", "added", "expected", "exact"),
    [
        pytest.param(1.0, 3000.0, "36380.25", 36380.2503437, id="Y-V1 the help centre's long with margin added"),
        pytest.param(1.0, 0.0, "39396.985", 39396.98492, id="Y-V18 without"),
        pytest.param(-1.0, 3000.0, "43580.4487", 43580.4487, id="Y-V18 mirrored"),
        pytest.param(-1.0, 0.0, "40597.015", 40597.01493, id="Y-V18 mirrored, without"),
    ],
)
def test_liquidation_price_of_an_isolated_linear_position(
    size: float, added: float, expected: str, exact: float
) -> None:
    """Margin balance meets maintenance at the help centre's price."""
    held = alone(contract(), size, 40_000.0, 50.0, added)
    _, leg = only(held, 40_000.0)
    assert agrees(leg.liquidation_price, expected)
    assert leg.liquidation_price == pytest.approx(exact, abs=1e-4)
    there, _ = only(held, leg.liquidation_price or 0.0)
    assert there.margin_ratio == pytest.approx(1.0, abs=1e-9)


def test_margin_of_the_help_centres_long() -> None:
    """Y-V1: fee to close 21.56, margin 821.56, maintenance 221.56 at entry and 203.4613 at the liquidation price."""
    pool, leg = only(alone(contract(), 1.0, 40_000.0, 50.0), 40_000.0)
    assert agrees(leg.maintenance_margin, "221.56")
    assert agrees(pool.margin_balance, "821.56")
    assert agrees(leg.maintenance_margin - 40_000 * 0.005, "21.56")
    there, _ = only(alone(contract(), 1.0, 40_000.0, 50.0, 3000.0), 36_380.2503437)
    assert agrees(there.maintenance_margin, "203.4613")
    assert agrees(there.margin_balance, "203.4613")


def test_margin_of_the_help_centres_inverse_short() -> None:
    """Y-V2: fee 0.0002475, margin 0.0502475, maintenance 0.0027475, liquidated at 66,333.33."""
    pool, leg = only(alone(contract(inverse=True), -30_000.0, 60_000.0, 10.0), 60_000.0)
    assert pool.unit == "BTC"
    assert agrees(pool.margin_balance, "0.0502475")
    assert agrees(leg.maintenance_margin, "0.0027475")
    assert agrees(leg.maintenance_margin - 0.5 * 0.005, "0.0002475")
    assert agrees(leg.liquidation_price, "66333.33")


@pytest.mark.parametrize("added", [0.0, 0.01])
@pytest.mark.parametrize("size", [30_000.0, -30_000.0])
def test_liquidation_price_of_an_isolated_inverse_position(size: float, added: float) -> None:
    """Section 5.4: q (1 +- m) / (q/E +- q/(E l) +- A/(1 +- c)), upper signs for a long."""
    _, leg = only(alone(contract(inverse=True), size, 60_000.0, 10.0, added), 60_000.0)
    sign = 1.0 if size > 0.0 else -1.0
    value = 30_000 / 60_000
    expected = 30_000 * (1 + sign * 0.005) / (value + sign * value / 10 + sign * added / (1 + sign * FEE))
    assert leg.liquidation_price == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("instrument", "entry", "leverage", "expected"),
    [
        pytest.param(contract(fee=0.0), 60_000.0, 50.0, "58800", id="linear"),
        pytest.param(contract(fee=0.0, inverse=True), 7890.08, 50.0, "7735.3725", id="inverse 50x"),
        pytest.param(contract(fee=0.0, inverse=True), 11_383.50, 10.0, "10348.64", id="inverse 10x"),
    ],
)
def test_bankruptcy_price(instrument: Instrument, entry: float, leverage: float, expected: str) -> None:
    """Y-V6: where the margin that leverage asks for is lost."""
    _, leg = only(alone(instrument, 1.0, entry, leverage), entry)
    assert agrees(leg.bankruptcy_price, expected)


def test_maintenance_of_the_help_centres_tiers() -> None:
    """Y-V3: 100 contracts at 35 in tiers of 1,000: 3,500 * 3.5 % - 30 = 92.5."""
    ladder = tiers((0, 1000, 2000, 3000, 4000), (0.02, 0.025, 0.03, 0.035, 0.04), 5000)
    _, leg = only(alone(contract(fee=0.0, tiers=ladder), 100.0, 35.0, 10.0), 35.0)
    assert ladder[3].deduction == pytest.approx(30.0)
    assert agrees(leg.maintenance_margin, "92.5")


@pytest.mark.parametrize(
    ("limits", "rates", "expected"),
    [
        pytest.param(
            BTC_LIMITS, BTC_RATES, (0, 1200, 3020, 4300, 5820, 8460, 15_460, 20_500, 46_000, 66_000), id="Y-V4 BTCUSDT"
        ),
        pytest.param(
            (200e3, 300e3, 500e3, 900e3, 1.3e6), (0.0075, 0.01, 0.015, 0.02, 0.025), (0, 500, 2000, 4500, 9000),
            id="Y-V5 ADAUSDT",
        ),
    ],
)  # fmt: skip
def test_deductions(limits: Any, rates: Any, expected: Any) -> None:
    """``mmDeduction`` is what continuity of maintenance demands."""
    assert cumulative_deductions((0.0, *limits[:-1]), rates) == pytest.approx(expected, abs=1e-6)


def test_a_value_on_a_limit_belongs_to_the_tier_below() -> None:
    """Y-V4: 2.6 million require 13,360, whichever of the two tiers is taken."""
    _, leg = only(alone(contract(fee=0.0, tiers=BTC_TIERS), 100.0, 26_000.0, 10.0), 26_000.0)
    assert agrees(leg.maintenance_margin, "13360")


@pytest.mark.parametrize(
    ("size", "entry", "mark", "leverage", "rate", "fee", "expected"),
    [
        pytest.param(0.001, 66_473.5, 66_472.02, 10, 0.004, 0.001, "0.32571423", id="Y-V9 a BTCPERP long"),
        pytest.param(0.2, 233.02, 233.029, 10, 0.005, 0.000649, "0.26025039", id="Y-V10 a SOL long"),
        pytest.param(0.2, 233.02, 233.02, 10, 0.005, 0.000649, "0.2602414", id="Y-V10 by the rules before"),
        pytest.param(100.0, 0.3615, 0.3615, 10, 0.01, 0.0006, "0.381021", id="Y-V14 an XRP long by the rules before"),
        pytest.param(0.5, 1073.85, 1073.85, 10, 0.005, 0.0006, "2.9745645", id="Y-V14 an ETH long by the rules before"),
    ],
)
def test_maintenance_of_real_positions(
    size: float, entry: float, mark: float, leverage: float, rate: float, fee: float, expected: str
) -> None:
    """Value at the mark at the tier's rate, and the fee to close."""
    _, leg = only(account([cross(size, entry, leverage)], [contract(rate, fee)], (Wallet("USDT", 100.0),)), mark)
    assert agrees(leg.maintenance_margin, expected)


def test_maintenance_of_a_real_hedge_leg() -> None:
    """Y-V8: 0.12809175 printed; the mark behind it has more digits than the four that were printed."""
    _, leg = only(account([cross(43.0, 0.37293023, 75.0)], [contract(0.0075)], (Wallet("USDT", 9.0),)), 0.3702)
    assert leg.maintenance_margin == pytest.approx(0.12809175, abs=43 * 0.0075 * 0.00005)
    assert agrees(leg.maintenance_margin, "0.1280917")
    assert agrees(leg.unrealized_pnl, "-0.1174")


@pytest.mark.parametrize(
    ("balance", "maintenance", "expected"),
    [
        pytest.param(11.48691986, 0.26041992, "0.0226", id="Y-V11"),
        pytest.param(59.14951406, 1.18454802, "0.0200", id="Y-V11b"),
    ],
)
def test_account_rate(balance: float, maintenance: float, expected: str) -> None:
    """``accountMMRate`` is the margin ratio, cut off after four digits."""
    assert agrees(RULE.venue_margin_ratio(margin_ratio(balance, maintenance)), expected)


def test_the_venues_estimate_of_a_cross_liquidation_price_lets_maintenance_stand_still() -> None:
    """Y-V11: 176.89650029 = mark - (margin balance - maintenance) / size; by the rules it is a little higher."""
    balance, maintenance, mark = 11.48691986, 0.26041992, 233.029
    wallets = (Wallet("USDT", balance - 0.2 * (mark - 233.02)),)
    still = contract(fee=0.0, tiers=standing_still(maintenance))
    _, estimate = only(account([cross(0.2, 233.02, 10.0)], [still], wallets), mark)
    assert agrees(estimate.liquidation_price, "176.89650029")
    _, leg = only(account([cross(0.2, 233.02, 10.0)], [contract(fee=0.000649)], wallets), mark)
    assert leg.liquidation_price == pytest.approx(176.61, abs=0.01)


def test_liquidation_prices_before_2025_09_02() -> None:
    """Y-V12: 919.10 with maintenance at entry; by the rules in force 917.69 (913.105 / 0.995)."""
    old = contract(fee=0.0, tiers=standing_still(0.1 * 1198.45 * 0.005))
    _, leg = only(alone(old, 0.1, 1198.45, 4.2), 1198.45)
    assert agrees(leg.liquidation_price, "919.10")
    _, leg = only(alone(contract(fee=0.0), 0.1, 1198.45, 4.2), 1198.45)
    assert agrees(leg.liquidation_price, "917.69")


@pytest.mark.parametrize(("leverage", "exact"), [(10.0, 10395.89), (25.0, 10998.55)])
def test_inverse_liquidation_prices_before_2025_09_02(leverage: float, exact: float) -> None:
    """Y-V13: printed as 10,396.00 and about 10,999."""
    old = contract(fee=0.0, inverse=True, tiers=standing_still(1 / 11_383.50 * 0.005))
    _, leg = only(alone(old, 1.0, 11_383.50, leverage), 11_383.50)
    assert leg.liquidation_price == pytest.approx(exact, abs=0.005)


def test_profit_of_the_documented_inverse_short() -> None:
    """Y-V15: 300 contracts are worth 0.01092319 BTC at entry and have lost 0.00029413."""
    held = account([cross(-300.0, 27_464.50441675, 10.0, symbol="BTCUSD")], [contract(inverse=True)])
    _, leg = only(replace(held, wallets=(Wallet("BTC", 1.0, 1.0),)), 28_224.50)
    assert agrees(leg.unrealized_pnl, "-0.00029413")
    _, at_entry = only(replace(held, wallets=(Wallet("BTC", 1.0, 1.0),)), 27_464.50441675)
    assert agrees(at_entry.notional, "0.01092319")


def test_the_account_is_one_pool_in_dollars() -> None:
    """A USDT, a USDC and an inverse position draw on all coins; a coin's amounts count at its price."""
    positions = [
        cross(1.0, 50_000.0, 10.0),
        cross(1.0, 50_000.0, 10.0, symbol="BTCPERP"),
        cross(-50_000.0, 50_000.0, 10.0, symbol="BTCUSD"),
    ]
    contracts = [
        contract(fee=0.0),
        contract(fee=0.0, symbol="BTCPERP", margin_coin="USDC"),
        contract(fee=0.0, inverse=True),
    ]
    wallets = (Wallet("USDT", 10_000.0, 0.999), Wallet("USDC", -500.0, 1.0), Wallet("BTC", 0.5, 50_000.0, 0.05))
    marks = dict.fromkeys(("BTCUSDT", "BTCPERP", "BTCUSD"), 50_000.0)
    (pool,) = assess_account(account(positions, contracts, wallets), marks, RULE)
    assert (pool.scope, pool.unit) == ("multi", "USD")
    assert pool.margin_balance == pytest.approx(9990.0 - 500.0 + 23_750.0)
    assert pool.maintenance_margin == pytest.approx(250.0 * 0.999 + 250.0 + 250.0)


def test_both_sides_of_a_hedge_are_counted() -> None:
    """Each leg with its own maintenance and fee; the same price liquidates both."""
    positions = [cross(1.0, 50_000.0, 10.0, Slot.LONG), cross(-0.4, 52_000.0, 10.0, Slot.SHORT)]
    held = account(positions, [contract()], (Wallet("USDT", 5000.0),), PositionMode.HEDGE)
    (pool,) = assess_account(held, {"BTCUSDT": 50_500.0}, RULE)
    fees = 50_000 * 0.9 * FEE, 0.4 * 52_000 * 1.1 * FEE
    assert [leg.maintenance_margin for leg in pool.legs] == pytest.approx(
        [50_500 * 0.005 + fees[0], 0.4 * 50_500 * 0.005 + fees[1]]
    )
    assert pool.legs[0].liquidation_price == pool.legs[1].liquidation_price


@pytest.mark.parametrize(
    ("filled", "expected"), [pytest.param(64_980.0, "980", id="a gain"), pytest.param(63_950.0, "-50", id="a loss")]
)
def test_what_a_takeover_leaves_to_the_insurance_fund(filled: float, expected: str) -> None:
    """Y-V7: 1 BTC with bankruptcy at 64,000 and liquidation at 65,000; what is left at the fill is the fund's."""
    entry, leverage = 80_000.0, 5.0
    held = alone(contract(fee=0.0, tiers=standing_still(1000.0)), 1.0, entry, leverage)
    pool, leg = only(held, filled)
    assert agrees(leg.bankruptcy_price, "64000")
    assert agrees(leg.liquidation_price, "65000")
    assert agrees(pool.margin_balance, expected)


def test_a_liquidation_goes_by_the_mark_price() -> None:
    """Y-V17: the mark is the middle of three prices; 36,380 is below Y-V1's 36,380.25, the last price of 36,500 is not.

    Which of the three is the middle one is Bybit's to say: its stream tells the mark.
    """
    index, last = 36_350.0, 36_500.0
    by_funding, by_basis = index * (1 + 0.0001 * 4 / 8), index + 30.0
    assert agrees(by_funding, "36351.8175")
    mark = sorted((by_funding, by_basis, last))[1]
    assert agrees(mark, "36380")
    held = alone(contract(), 1.0, 40_000.0, 50.0, 3000.0)
    assert only(held, mark)[0].margin_ratio > 1.0
    assert only(held, last)[0].margin_ratio < 1.0


def test_defaults() -> None:
    """Without a fee rate Bybit's base rate is taken, without leverage the one a contract starts with."""
    unknown = Held(contract(fee=None), 1.0, 1.0, 40_000.0, None, MarginMode.CROSS)
    assert fee_to_close(unknown) == pytest.approx(40_000 * (1 - 1 / 10) * 0.00055)
    assert RULE.maintenance(replace(unknown, instrument=contract(tiers=()))) == UNKNOWN
    assert RULE.default_price(AccountMode.MULTI_ASSET, "USDC") == 1.0
    assert RULE.default_price(AccountMode.MULTI_ASSET, "BTC") is None


def test_isolated_margin_leaves_with_the_size() -> None:
    """A cut frees isolated margin in proportion on this venue, and the pool says so."""
    (pool,) = account_pools(alone(contract(), 1.0, 40_000.0, 50.0), {"BTCUSDT": 40_000.0}, RULE)
    assert (pool.scope, pool.cut_releases_margin) == ("BTCUSDT:long", True)


def test_the_calculator_takes_a_document() -> None:
    """Y-V1 as a document of version 1."""
    document = {
        "venue": "bybit",
        "collateral": [],
        "instruments": {
            "BTCUSDT": {
                "kind": "linear", "margin_coin": "USDT", "multiplier": "1", "taker_fee_rate": "0.00055",
                "tiers": [{"floor": "0", "cap": "2000000", "rate": "0.005", "deduction": "0"}],
            }
        },
        "positions": [
            {
                "instrument": "BTCUSDT", "side": "long", "size": "1", "entry_price": "40000", "leverage": "50",
                "margin_mode": "isolated", "isolated_margin": str(821.56 + 3000 / (1 - 0.00055)),
            }
        ],
        "marks": {"BTCUSDT": "40000"},
    }  # fmt: skip
    (pool,) = orjson.loads(write_pools(assess_account(*read_document(orjson.dumps(document), "it"))))["pools"]
    assert pool["pool"] == "bybit/document/BTCUSDT:long"
    assert agrees(pool["legs"][0]["liquidation_price"], "36380.25")
    assert agrees(pool["maintenance_margin"], "221.56")


# --- the collection of real venue data

CASES = [case for case in cases("bybit") if case["symbol"] != "(account)" and case["margin_mode"] != "isolated"]


@needs_shared_data
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_real_cross_positions(case: dict[str, Any]) -> None:
    """Every figure of a real answer that its inputs suffice for agrees to the last printed digit.

    All of these are from before 2025-09-02: maintenance is compared with the mark at the entry price.
    """
    given = case["inputs"]
    size = float(given["size"]) * (-1.0 if given["side"] == "short" else 1.0)
    entry = float(given["entry_price"])
    # The smaller leg of a hedge is told without a share of its value ("0 for this leg (...)").
    tier = flat_tier(float(given["mmr"].split()[0]), float(given.get("mm_deduction", "0")))
    instrument = contract(fee=float(given["taker_fee_rate"]), symbol=case["symbol"], tiers=tier)
    position = cross(size, entry, float(given["leverage"]), symbol=case["symbol"])
    held = account([position], [instrument], (Wallet("USDT", 1000.0),))
    _, at_mark = only(held, float(given["mark_price"]))
    _, at_entry = only(held, entry)
    found = {"maintenance_margin": at_entry.maintenance_margin, "unrealized_pnl": at_mark.unrealized_pnl}
    for name in (name for name, sufficient in case["derivable"].items() if sufficient is True):
        expected, inexact = case["expected"][name], INEXACT.get((case["id"], name))
        if inexact is None:
            assert agrees(found[name], expected), (name, found[name], expected)
        else:
            assert excused(case["id"], name, found[name], expected), inexact.reason


def test_every_case_is_looked_at() -> None:
    """Those below by name, all others above."""
    named = {"bybit-account-docs-20221230", "bybit-iso-help-long-50x", "bybit-iso-inverse-docs-ethusd-long"}
    assert not {case["id"] for case in cases("bybit")} - {case["id"] for case in CASES} - named


@needs_shared_data
def test_the_documented_account() -> None:
    """Its rate is cut off after three digits."""
    (case,) = (case for case in cases("bybit") if case["id"] == "bybit-account-docs-20221230")
    given = case["inputs"]
    ratio = margin_ratio(float(given["totalMarginBalance"]), float(given["totalMaintenanceMargin"]))
    assert agrees(ratio, case["expected"]["margin_ratio"])


@needs_shared_data
def test_the_old_help_pages_isolated_long() -> None:
    """A classic account: maintenance at entry, no fee in it."""
    (case,) = (case for case in cases("bybit") if case["id"] == "bybit-iso-help-long-50x")
    given, expected = case["inputs"], case["expected"]
    size, entry, leverage = (float(given[name]) for name in ("size", "entry_price", "leverage"))
    held = alone(contract(float(given["mmr"]), fee=0.0), size, entry, leverage)
    pool, leg = only(held, entry)
    assert agrees(leg.maintenance_margin, expected["maintenance_margin"])
    assert agrees(pool.margin_balance, expected["initial_margin"])
    old = contract(fee=0.0, tiers=standing_still(float(expected["maintenance_margin"])))
    _, leg = only(alone(old, size, entry, leverage), entry)
    assert agrees(leg.liquidation_price, expected["liquidation_price"])


@needs_shared_data
def test_the_documented_inverse_long() -> None:
    """A classic account, told to the tick of 0.05 above; margin was added, and the fee to close reckoned with it."""
    (case,) = (case for case in cases("bybit") if case["id"] == "bybit-iso-inverse-docs-ethusd-long")
    given, expected = case["inputs"], case["expected"]
    size, entry = float(given["size"]), float(given["entry_price"])
    margin, value = float(given["initial_margin_with_close_fee"]), float(given["position_value"])
    plain = contract(float(given["mmr"]), float(given["taker_fee_rate"]), inverse=True)
    fee = fee_to_close(Held(plain, size, size, entry, value / margin, MarginMode.ISOLATED))
    old = replace(plain, tiers=standing_still(value * float(given["mmr"])))
    for wallet, name in ((margin, "liquidation_price"), (margin - fee, "bankruptcy_price")):
        position = Position("BTCUSD", Slot.BOTH, size, entry, MarginMode.ISOLATED, wallet, value / margin)
        _, leg = only(account([position], [old]), float(given["mark_price"]))
        assert 0.0 <= float(expected[name]) - getattr(leg, name) < float(given["tick_size"])
        assert excused(case["id"], name, getattr(leg, name), expected[name])


@needs_shared_data
def test_listed_deductions_follow_from_rates() -> None:
    """Every deduction of a real risk-limit table is what continuity demands."""
    rows = tier_rows("bybit_tiers_btcperp_2025-12-29.csv")
    amounts = cumulative_deductions([float(row["notional_floor"]) for row in rows], [float(row["mmr"]) for row in rows])
    assert len(rows) == 30
    assert amounts == pytest.approx([float(row["maint_amount"]) for row in rows], rel=1e-9, abs=1e-6)


# --- the reference's vectors

VECTORS = {f"Y-V{number}" for number in range(1, 19)} | {"Y-V11b"}
NOT_COMPUTED = {
    "Y-V16": "when an insurance fund's balance sets off auto-deleveraging is not computed; the position's rank is shown"
}
"""Those without a test, and why."""


def test_every_vector_is_looked_at() -> None:
    """By a test that names it, or with the reason why there is none."""
    named = set(re.findall(r"Y-V\d+b?", Path(__file__).read_text(encoding="utf-8").partition("VECTORS = ")[0]))
    assert named | NOT_COMPUTED.keys() == VECTORS
    assert not named & NOT_COMPUTED.keys()
