"""Hyperliquid figures: real answers and documented examples, to the last digit the venue printed.

Vectors bear the numbers of the reference they come from: samples of Hyperliquid's documentation, recorded answers of
its API, and positions that users published. Names with a colon belong to builder-deployed dexes.
"""

from typing import Any

import orjson
import pytest

from monitor.assess import assess_account, assess_pool
from monitor.document import read_document, write_pools
from monitor.margin.risk import Pool, Risk
from monitor.margin.rules import Held, account_pools, make_leg
from monitor.margin.tiers import cumulative_deductions
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import Basis, LegAssessment, PoolAssessment
from monitor.model.instrument import Instrument, Tier
from tests.support.accounts import cross, flat_tier, isolated, linear, tiers
from tests.support.digits import agrees
from tests.support.inexact import INEXACT, excused
from tests.support.shared_data import cases, needs_shared_data

RULE = RULES["hyperliquid"]

OLD_RULE = "with the rule of 2023"
"""Answers of March 2023 lack today's division by 1 - side * rate; everything before it is the same."""


def rate(max_leverage: float) -> tuple[Tier, ...]:
    """A margin table of one tier."""
    return flat_tier(1.0 / (2.0 * max_leverage))


def margin_table(floors: list[float], leverages: list[float]) -> tuple[Tier, ...]:
    """A margin table as `meta` states it: lower bounds and maximum leverages."""
    return tiers(floors, [1.0 / (2.0 * leverage) for leverage in leverages])


def account(
    positions: list[Position],
    instruments: list[Instrument],
    wallets: list[Wallet] | None = None,
    mode: AccountMode = AccountMode.SINGLE_ASSET,
) -> Account:
    """A Hyperliquid account."""
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    held = tuple(positions)
    return Account("hyperliquid", "test", mode, PositionMode.ONE_WAY, tuple(wallets or ()), held, by_symbol)


def only_leg(held: Account, mark: float) -> tuple[PoolAssessment, LegAssessment]:
    """The one pool of an account of one position, and its leg."""
    (pool,) = assess_account(held, {held.positions[0].instrument: mark}, RULE)
    (leg,) = pool.legs
    return pool, leg


def alone(coin: str, size: float, entry: float, wallet: float, max_leverage: float) -> Account:
    """One isolated position with its wallet (without profit)."""
    return account([isolated(coin, size, entry, wallet)], [linear(coin, rate(max_leverage), "USDC")])


def within(
    symbol: str,
    size: float,
    entry: float,
    mark: float,
    max_leverage: float,
    total: Risk,
    mode: AccountMode = AccountMode.SINGLE_ASSET,
) -> PoolAssessment:
    """One cross position of a pool whose margin balance and maintenance in total are known."""
    instrument = linear(symbol, rate(max_leverage), "USDC")
    held = Held(instrument, size, abs(size), entry, None, MarginMode.CROSS, mode)
    leg = make_leg(held, RULE.maintenance(held), mark)
    base = total + leg.risk(mark).negative()
    return assess_pool(Pool("hyperliquid", "test", "USDC", "USDC", Basis.COMPUTED, base, (leg,)), RULE)


# --- isolated positions


@pytest.mark.parametrize(
    ("coin", "size", "raw_usd", "value", "max_leverage", "margin", "price", "tolerance"),
    [
        pytest.param(
            "ETH", 0.0335, -95.059824, 100.02765, 50, "4.967826", "2866.26936529", 6e-9, id="HL-1 documented long"
        ),
        pytest.param(
            "ETH", 0.2259, -475.23904, 500.12001, 50, "24.88097", "2125.00856238", 1e-9, id="HL-2 published long"
        ),
        pytest.param(
            "MEGA", 75000.0, -1305.264414, 3428.625, 3, "2123.360586", "0.0208842306", 0.0, id="HL-3 unified, long"
        ),
        pytest.param(
            "HYPE", -15.0, 1532.665442, 1425.945, 10, "106.720442", "97.3120915556", 0.0, id="HL-5 recorded short"
        ),
    ],
)
def test_isolated_positions_by_their_own_balance(
    coin: str, size: float, raw_usd: float, value: float, max_leverage: float, margin: str, price: str, tolerance: float
) -> None:
    """Equity of the position and its liquidation price follow from its signed balance in USD."""
    mark = value / abs(size)
    pool, leg = only_leg(alone(coin, size, mark, raw_usd + size * mark, max_leverage), mark)
    assert agrees(round(pool.margin_balance, 10), margin)
    assert leg.liquidation_price is not None
    if tolerance:
        assert leg.liquidation_price == pytest.approx(float(price), rel=tolerance)
    else:
        assert agrees(leg.liquidation_price, price)


@pytest.mark.parametrize(
    ("coin", "side", "entry", "size", "collateral", "max_leverage", "expected", "ours"),
    [
        ("SOL", 1, 145.83, 0.33, 24.045107, 20, 74.83696193, 74.83696348),
        ("BTC", -1, 68595, 0.00069, 23.64871, 50, 101849.99354283, 101849.99282537),
        ("ETH", 1, 2459.5, 0.0199, 24.454895, 50, 1243.0411908, 1243.0412162),
        ("BTC", 1, 66930, 0.0015, 20.043862, 50, 54108.51043771, 54108.51043771),
        ("SOL", -1, 163.11, 0.48, 15.650731, 20, 190.94213618, 190.94213618),
        ("DOGE", -1, 0.14333, 351, 25.136807, 20, 0.20970228, 0.20970228),
        ("xyz:AAPL", 1, 250, 0.5, 25, 10, 210.5263157895, 210.5263157895),
        ("xyz:GOOGL", -1, 190, 0.5, 9.5, 10, 199.0476190476, 199.0476190476),
        ("xyz:TSLA", 1, 350, 1, 50, 10, 315.7894736842, 315.7894736842),
    ],
)
def test_isolated_positions_at_their_entry(
    coin: str,
    side: int,
    entry: float,
    size: float,
    collateral: float,
    max_leverage: float,
    expected: float,
    ours: float,
) -> None:
    """HL-17: real positions, to what the rounding of their collateral allows; ours to the digit."""
    _, leg = only_leg(alone(coin, side * size, entry, collateral, max_leverage), entry)
    assert leg.liquidation_price == pytest.approx(expected, rel=1e-4)
    assert leg.liquidation_price == pytest.approx(ours, abs=1e-8 * max(1.0, ours / 100.0))


def test_a_hundred_at_five_percent() -> None:
    """HL-14: long 1 at a mark of 100 with an equity of 20."""
    _, leg = only_leg(alone("X", 1.0, 100.0, 20.0, 10), 100.0)
    assert agrees(leg.liquidation_price, "84.2105263158")


# --- stages


def test_the_backstop_stands_at_two_thirds_of_maintenance() -> None:
    """HL-15: maintenance of 200 at 10x is 10; the last stage is where equity is 6.6667."""
    _, leg = only_leg(alone("X", 2.0, 100.0, 40.0, 10), 100.0)
    assert leg.maintenance_margin == pytest.approx(10.0)
    assert leg.full_liquidation_price is not None
    assert leg.liquidation_price is not None
    assert leg.bankruptcy_price == pytest.approx(80.0)
    assert leg.bankruptcy_price < leg.full_liquidation_price < leg.liquidation_price
    (there,) = assess_account(alone("X", 2.0, 100.0, 40.0, 10), {"X": leg.full_liquidation_price}, RULE)
    assert there.margin_balance == pytest.approx(there.maintenance_margin * 2.0 / 3.0)


def test_a_recorded_backstop_was_past_the_last_stage() -> None:
    """HL-12: ETH 0.1037 long, equity 0.756264 of a maintenance of 4.8185; the fill was at the bankruptcy price."""
    pool, leg = only_leg(alone("ETH", 0.1037, 2323.3, 0.756264, 25), 2323.3)
    assert agrees(leg.maintenance_margin, "4.8185")
    assert pool.margin_ratio > 1.5
    assert (leg.full_liquidation_price or 0.0) > 2323.3
    assert agrees(leg.bankruptcy_price, "2316.00719")


def test_the_backstop_of_a_cross_pool_counts_every_position_at_two_thirds() -> None:
    """The last stage is one of the pool: equity = 2/3 of all maintenance, whichever position moves."""
    held = account(
        [cross("BTC", 1.0, 100_000.0), cross("ETH", -10.0, 4000.0)],
        [linear("BTC", rate(40), "USDC"), linear("ETH", rate(25), "USDC")],
        [Wallet("USDC", 20_000.0)],
    )
    marks = {"BTC": 100_000.0, "ETH": 4000.0}
    (pool,) = assess_account(held, marks, RULE)
    for leg in pool.legs:
        assert leg.full_liquidation_price is not None
        (there,) = assess_account(held, marks | {leg.instrument: leg.full_liquidation_price}, RULE)
        assert there.margin_balance == pytest.approx(there.maintenance_margin * 2.0 / 3.0, abs=1e-6)
        assert there.margin_ratio == pytest.approx(1.5)


# --- margin tables


def test_a_margin_table_has_deductions() -> None:
    """HL-13: BTC of 200 million at 40x up to 150 million and 20x above requires 3,125,000."""
    table = margin_table([0.0, 150e6], [40, 20])
    assert table[1].deduction == pytest.approx(1_875_000.0)
    held = account([cross("BTC", 2000.0, 100_000.0)], [linear("BTC", table, "USDC")], [Wallet("USDC", 10e6)])
    _, leg = only_leg(held, 100_000.0)
    assert leg.maintenance_margin == pytest.approx(3_125_000.0)


def test_the_edge_of_a_tier_is_continuous() -> None:
    """A notional exactly on a bound belongs to the higher tier there; the amount is the same."""
    floors, leverages = [0.0, 10e3, 50e3, 100e3, 300e3], [40, 25, 10, 5, 3]
    rates = [1.0 / (2 * leverage) for leverage in leverages]
    deductions = cumulative_deductions(floors, rates)
    for floor, below, above in zip(floors[1:], range(4), range(1, 5), strict=True):
        low = floor * rates[below] - deductions[below]
        assert floor * rates[above] - deductions[above] == pytest.approx(low)
        held = account([cross("BTC", 1.0, floor)], [linear("BTC", margin_table(floors, leverages), "USDC")])
        assert only_leg(held, floor)[1].maintenance_margin == pytest.approx(low)


def test_the_tier_at_the_liquidation_price_counts() -> None:
    """A short that grows into the next tier on its way is liquidated with that tier's rate and deduction."""
    table = margin_table([0.0, 150e6], [40, 20])
    held = account([cross("BTC", -1400.0, 100_000.0)], [linear("BTC", table, "USDC")], [Wallet("USDC", 20e6)])
    _, leg = only_leg(held, 100_000.0)
    assert leg.liquidation_price is not None
    notional = 1400.0 * leg.liquidation_price
    assert notional > 150e6
    assert 20e6 + 140e6 - notional == pytest.approx(notional * 0.025 - 1_875_000.0)


# --- cross pools


def test_cross_maintenance_of_a_recorded_account() -> None:
    """HL-7: four positions of a portfolio account."""
    legs = [
        ("ETH", 34316250.0, 25),
        ("NEAR", 4299078.5136, 10),
        ("PENGU", 500925.821004, 5),
        ("XPL", 1415576.334282, 10),
    ]
    held = account(
        [cross(coin, 1.0, value) for coin, value, _ in legs],
        [linear(coin, rate(leverage), "USDC") for coin, _, leverage in legs],
        [Wallet("USDC", 7678466.9)],
    )
    (pool,) = assess_account(held, {coin: value for coin, value, _ in legs}, RULE)
    assert agrees(round(pool.maintenance_margin, 9), "1022150.324494")
    assert agrees(round(sum(leg.notional for leg in pool.legs), 9), "40531830.668886")


def test_the_spot_balance_backs_a_unified_position_and_not_the_dex() -> None:
    """HL-9: ETH short of balance; 2,202.45 with what spot holds, 2,493.9 with the dex's account value.

    It fits a liquidation at 100 %; the 95 % that we warn by are nearer to the mark.
    """
    total = Risk(7_678_466.9041772699, 1_022_248.3734753598)
    (leg,) = within("ETH", 12_500.0, 2745.3, 2745.3, 25, total).legs
    assert leg.liquidation_price == pytest.approx(2202.4488521418, rel=5e-4)
    (wrong,) = within("ETH", 12_500.0, 2745.3, 2745.3, 25, Risk(4_102_000.0, 1_022_248.37)).legs
    assert wrong.liquidation_price == pytest.approx(2493.9, abs=1.0)
    nearer = Risk(total.margin_balance, total.maintenance_margin / 0.95)
    (warned,) = within("ETH", 12_500.0, 2745.3, 2745.3, 25, nearer, AccountMode.MULTI_ASSET).legs
    assert warned.liquidation_price == pytest.approx(2205.8, abs=0.1)


def test_a_position_is_ruled_by_its_own_maximum_leverage() -> None:
    """HL-10, a vault's short: with 50 of the position the price is the venue's; with 5 of `meta` it would be 26.919."""
    size, value, balance, maintenance = -100480.9, 12141.107147, 3001412.122254, 38312.328233
    mark = value / abs(size)
    (leg,) = within("DYDX", size, mark, mark, 50, Risk(balance, maintenance)).legs
    assert agrees(leg.liquidation_price, "29.3180423289")
    more = maintenance + value * (0.1 - 0.01)
    (wrong,) = within("DYDX", size, mark, mark, 5, Risk(balance, more)).legs
    assert wrong.liquidation_price == pytest.approx(26.919, abs=0.001)


def test_an_absurd_price_of_a_hedged_book() -> None:
    """HL-11: a small BTC short in a large hedged account would have to rise to 16.9 million."""
    mark = 135.7382 / 0.0017
    available = 28848.583139
    (leg,) = within("BTC", -0.0017, mark, mark, 50, Risk(available + 1.357382, 1.357382)).legs
    assert leg.liquidation_price == pytest.approx(16881583.4135119393, rel=1e-9)


def unified(total: float) -> Account:
    """An account in unified mode that has so much of a token, 1.5 of it in an isolated position."""
    return account(
        [cross("BTC", 1.0, 400.0), isolated("ETH", 1.0, 10.0, 1.5)],
        [linear("BTC", rate(40), "USDC"), linear("ETH", rate(25), "USDC")],
        [Wallet("USDC", total - 1.5)],
        AccountMode.MULTI_ASSET,
    )


def test_the_unified_ratio() -> None:
    """HL-16: maintenance 5 of a token's 11.5 less 1.5 in isolated positions is 0.5 as the venue shows it."""
    shared, alone = assess_account(unified(11.5), {"BTC": 400.0, "ETH": 10.0}, RULE)
    assert (shared.scope, shared.venue_margin_ratio) == ("USDC", pytest.approx(0.5, rel=1e-15))
    assert (shared.maintenance_margin, shared.margin_ratio) == pytest.approx((5.0 / 0.95, 0.5 / 0.95), rel=1e-15)
    assert alone.margin_ratio == alone.venue_margin_ratio == pytest.approx(0.2 / 1.5)


def test_in_unified_mode_the_first_stage_stands_at_the_ratio_that_the_venue_may_liquidate_at() -> None:
    """95 % of its own, not certain and the nearer of two: prices too; the backstop stays at two thirds."""
    marks = {"BTC": 400.0, "ETH": 10.0}
    shared, alone = assess_account(unified(11.5), marks, RULE)
    (leg,) = shared.legs
    assert leg.liquidation_price is not None
    assert leg.full_liquidation_price is not None
    there, _ = assess_account(unified(11.5), marks | {"BTC": leg.liquidation_price}, RULE)
    assert (there.margin_ratio, there.venue_margin_ratio) == pytest.approx((1.0, 0.95))
    assert there.margin_balance == pytest.approx(leg.liquidation_price / 80.0 / 0.95)
    last, _ = assess_account(unified(11.5), marks | {"BTC": leg.full_liquidation_price}, RULE)
    assert last.margin_balance == pytest.approx(leg.full_liquidation_price / 80.0 * 2.0 / 3.0)
    own = assess_account(unified(11.5), marks | {"ETH": alone.legs[0].liquidation_price or 0.0}, RULE)[1]
    assert own.margin_balance == pytest.approx((alone.legs[0].liquidation_price or 0.0) / 50.0)


def test_the_portfolio_ratio_is_the_same_quotient() -> None:
    """HL-8: maintenance 1,022,248.37 of 7,678,466.90 USDC is a ratio of 0.133131833; ours is 1 where that is 0.95."""
    total = Risk(7678466.9041772699, 7678466.9041772699 - 6656218.5307019101)
    assert agrees(total.maintenance_margin, "1022248.3734753598"[:-3])
    held = Risk(total.margin_balance, total.maintenance_margin / 0.95)
    assert agrees(RULE.venue_margin_ratio(held.margin_ratio, AccountMode.PORTFOLIO), "0.133131833")
    assert RULE.venue_margin_ratio(1.0, AccountMode.PORTFOLIO) == 0.95
    assert RULE.venue_margin_ratio(1.0, AccountMode.PORTFOLIO, MarginMode.ISOLATED) == 1.0


def test_account_value_is_the_balance_in_usd_and_what_the_positions_are_worth() -> None:
    """HL-18: -22,358.938225 with longs of 24,094.9691 is 1,736.030875."""
    held = account(
        [cross("X", 1.0, 24094.9691)], [linear("X", rate(20), "USDC")], [Wallet("USDC", -22358.938225 + 24094.9691)]
    )
    assert agrees(round(only_leg(held, 24094.9691)[0].margin_balance, 9), "1736.030875")


# --- what shares collateral


def two_dexes(mode: AccountMode) -> list[PoolAssessment]:
    """A cross position on the first dex and one on a builder's, both paid in USDC."""
    own = mode is AccountMode.SINGLE_ASSET
    held = account(
        [cross("BTC", 1.0, 1000.0), cross("xyz:AAPL", 1.0, 1000.0)],
        [linear("BTC", rate(40), "USDC"), linear("xyz:AAPL", rate(10), "xyz:USDC" if own else "USDC")],
        [Wallet("USDC", 100.0), Wallet("xyz:USDC", 200.0)] if own else [Wallet("USDC", 300.0)],
        mode,
    )
    return assess_account(held, {"BTC": 1000.0, "xyz:AAPL": 1000.0}, RULE)


def test_dexes_do_not_share_in_standard_mode() -> None:
    """A pool for each dex."""
    assert [
        (pool.scope, pool.margin_balance, pool.maintenance_margin) for pool in two_dexes(AccountMode.SINGLE_ASSET)
    ] == [
        ("USDC", 100.0, 12.5),
        ("xyz:USDC", 200.0, 50.0),
    ]


def test_dexes_share_a_token_in_unified_mode() -> None:
    """One pool for each token."""
    (pool,) = two_dexes(AccountMode.MULTI_ASSET)
    assert (pool.scope, pool.unit, pool.margin_balance) == ("USDC", "USDC", 300.0)
    assert pool.maintenance_margin == pytest.approx(62.5 / 0.95)


def test_portfolio_margin_is_not_guessed() -> None:
    """One pool whose requirement is unknown here and says so; an isolated position stays computed."""
    (pool,) = two_dexes(AccountMode.PORTFOLIO)
    assert (pool.scope, pool.unit, pool.basis, pool.margin_balance) == ("multi", "USD", Basis.REPORTED, 300.0)
    assert pool.maintenance_margin != pool.maintenance_margin
    assert pool.unknown
    assert RULE.basis(AccountMode.PORTFOLIO, MarginMode.ISOLATED) is Basis.COMPUTED


def test_isolated_margin_leaves_with_the_size() -> None:
    """Reducing an isolated position frees its margin in proportion, and the pool says so."""
    assert account_pools(alone("X", 1.0, 100.0, 10.0, 10), {"X": 100.0}, RULE)[0].cut_releases_margin


def test_a_position_past_the_table_is_not_free() -> None:
    """Without a table nothing is known; past the last bound the last rate goes on."""
    unknown = account([isolated("X", 1.0, 100.0, 10.0)], [linear("X", (), "USDC")])
    assert only_leg(unknown, 100.0)[0].unknown == ("maintenance tiers of X",)


# --- the calculator


def test_a_document_for_the_calculator() -> None:
    """HL-5 as `marginwatch assess` takes it, and the same answer."""
    document = {
        "venue": "hyperliquid",
        "collateral": [{"coin": "USDC", "balance": "182.3617693"}],
        "instruments": {
            "HYPE": {
                "kind": "linear",
                "margin_coin": "USDC",
                "multiplier": "1",
                "tiers": [{"floor": "0", "cap": None, "rate": "0.05", "deduction": "0"}],
            }
        },
        "positions": [
            {
                "instrument": "HYPE",
                "side": "short",
                "size": "15",
                "entry_price": "92.8886",
                "margin_mode": "isolated",
                "isolated_margin": str(1532.665442 - 15 * 92.8886),
                "leverage": "10",
            }
        ],
        "marks": {"HYPE": str(1425.945 / 15)},
    }
    held, marks, rules = read_document(orjson.dumps(document), "-")
    (pool,) = orjson.loads(write_pools(assess_account(held, marks, rules)))["pools"]
    assert pool["pool"] == "hyperliquid/document/HYPE:short"
    assert agrees(pool["margin_balance"], "106.720442")
    assert agrees(pool["legs"][0]["liquidation_price"], "97.3120915556")
    assert pool["legs"][0]["full_liquidation_price"] > pool["legs"][0]["liquidation_price"]


# --- real positions


def _number(text: str) -> float:
    """The number that a figure of a case begins with; some are followed by a remark."""
    return float(text.split(" ")[0])


def _assessed(given: dict[str, Any], mode: str) -> PoolAssessment:
    """A case's position in its pool, at its mark (its entry, where the mark is not known)."""
    size = float(given["size"]) * (-1.0 if given["side"] == "short" else 1.0)
    entry = float(given["entry_price"])
    mark = float(given["position_value"]) / abs(size) if "position_value" in given else entry
    leverage = float(given["max_leverage"])
    if mode == "cross":
        total = Risk(_number(given["cross_account_value"]), _number(given["cross_maintenance_margin"]))
        return within("X", size, entry, mark, leverage, total)
    wallet = float(given["raw_usd"]) + size * entry if "raw_usd" in given else float(given["margin_used"])
    return only_leg(alone("X", size, entry, wallet, leverage), mark)[0]


@needs_shared_data
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in cases("hyperliquid")])
def test_real_positions(case: dict[str, Any]) -> None:
    """Every figure of a real answer agrees to the last printed digit, but for those in the table of inexact ones."""
    given, expected, derivable = case["inputs"], case["expected"]["liquidation_price"], case["derivable"]
    pool = _assessed(given, case["margin_mode"])
    (leg,) = pool.legs
    if "margin_used" in derivable:
        assert agrees(round(pool.margin_balance, 9), given["margin_used"])
    price = leg.liquidation_price
    if derivable["liquidation_price"] == OLD_RULE:
        assert agrees(price, case["check"]["liquidation_price_rule_of_today"]["calc"])
        side = leg.side.sign
        price = leg.mark_price - side * (pool.margin_balance - pool.maintenance_margin) / leg.size
    if expected.startswith("null"):
        assert price is None
    elif (inexact := INEXACT.get((case["id"], "liquidation_price"))) is not None:
        assert excused(case["id"], "liquidation_price", price, expected), inexact.reason
    else:
        assert agrees(price, expected)
