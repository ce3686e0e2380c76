"""Binance COIN-M figures: published examples and real answers, to the last digit the venue printed.

Vectors bear the numbers of the reference they come from: Binance's FAQ ceccfcfb (maintenance and liquidation price of
COIN-M), its page on portfolio margin, and payloads that users published.
"""

from typing import Any

import orjson
import pytest

from monitor.assess import assess_account
from monitor.document import read_document, write_pools
from monitor.margin.rules import account_pools
from monitor.margin.tiers import cumulative_deductions, segment_at, segments_by_notional
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import PoolAssessment
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier
from tests.support.accounts import cross, flat_tier, isolated, tiers
from tests.support.digits import agrees
from tests.support.shared_data import cases, needs_shared_data

RULE = RULES["binance-coinm"]

# FAQ ceccfcfb names 0.56 BTC as the amount of the level before 50 BTC; these floors below it are ours and give it.
BTC_FLOORS = (0.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0)
BTC_RATES = (0.004, 0.005, 0.01, 0.025, 0.05, 0.10, 0.125)


def inverse(symbol: str, tier_table: tuple[Tier, ...], coin: str = "BTC", contract_size: float = 100.0) -> Instrument:
    """A COIN-M contract."""
    return Instrument(symbol, ContractKind.INVERSE, coin, contract_size, tier_table)


def assess(
    positions: list[Position],
    instruments: list[Instrument],
    marks: dict[str, float],
    *wallets: Wallet,
    hedge: bool = False,
) -> list[PoolAssessment]:
    """All pools of a COIN-M account."""
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    mode = PositionMode.HEDGE if hedge else PositionMode.ONE_WAY
    modes = AccountMode.SINGLE_ASSET, mode
    return assess_account(Account("binance-coinm", "test", *modes, wallets, tuple(positions), by_symbol), marks, RULE)


def test_a_real_isolated_long() -> None:
    """B-V5: notional, profit, isolated margin and liquidation price of a payload, to the last digit."""
    perpetual = inverse("BTCUSD_PERP", flat_tier(0.004))
    (pool,) = assess(
        [isolated("BTCUSD_PERP", 2.0, 37_643.10000021, 0.00268058)], [perpetual], {"BTCUSD_PERP": 38_103.05510455}
    )
    (leg,) = pool.legs
    assert (pool.scope, pool.unit, pool.pool) == ("BTCUSD_PERP:long", "BTC", "binance-coinm/test/BTCUSD_PERP:long")
    assert agrees(leg.notional, "0.00524892")
    assert agrees(leg.unrealized_pnl, "0.00006413")
    assert agrees(pool.margin_balance, "0.00274471")
    assert agrees(leg.liquidation_price, "25119.97445760")
    assert pool.venue_margin_ratio == pool.margin_ratio == pytest.approx(0.00524892 * 0.004 / 0.00274471, rel=1e-5)


def test_maintenance_amounts_in_the_coin() -> None:
    """B-V9: at 50 BTC the amount is 0.56 + 50 * (5 % - 2.5 %) = 1.81 BTC; 300 BTC count 12.5 % less 11.81 BTC."""
    amounts = cumulative_deductions(BTC_FLOORS, BTC_RATES)
    assert amounts[3] == pytest.approx(0.56)
    assert amounts[4] == pytest.approx(1.81)
    held = segment_at(segments_by_notional(tiers(BTC_FLOORS, BTC_RATES)), 300.0)
    assert (held.alpha, held.beta) == (0.125, pytest.approx(-11.81))


def test_the_notional_in_the_coin_chooses_the_tier() -> None:
    """It grows as the price falls: a long of 49 BTC is one of 60 BTC further down, at twice the rate."""
    perpetual = inverse("BTCUSD_PERP", tiers(BTC_FLOORS, BTC_RATES))
    contracts = 49.0 * 60_000.0 / 100.0
    for mark, maintenance in ((60_000.0, 49.0 * 0.025 - 0.56), (49_000.0, 60.0 * 0.05 - 1.81)):
        (pool,) = assess([isolated("BTCUSD_PERP", contracts, 60_000.0, 20.0)], [perpetual], {"BTCUSD_PERP": mark})
        assert pool.maintenance_margin == pytest.approx(maintenance)


def test_the_liquidation_price_lies_in_the_tier_that_holds_there() -> None:
    """And margin balance meets maintenance at it."""
    perpetual = inverse("BTCUSD_PERP", tiers(BTC_FLOORS, BTC_RATES))
    position = isolated("BTCUSD_PERP", 49.0 * 600.0, 60_000.0, 20.0)
    (pool,) = assess([position], [perpetual], {"BTCUSD_PERP": 60_000.0})
    price = pool.legs[0].liquidation_price
    assert price is not None
    # The FAQ's formula with the rate and amount of 50 to 100 BTC: size*(rate + 1) / (wallet + amount + size/entry).
    size = 49.0 * 60_000.0
    assert price == pytest.approx(size * 1.05 / (20.0 + 1.81 + size / 60_000.0))
    (there,) = assess([position], [perpetual], {"BTCUSD_PERP": price})
    assert there.margin_ratio == pytest.approx(1.0, abs=1e-9)


def test_a_coin_is_one_pool_and_coins_do_not_help_each_other() -> None:
    """Perpetual and quarterly of one coin share its wallet."""
    table = flat_tier(0.004)
    pools = assess(
        [cross("BTCUSD_PERP", 100.0, 50_000.0), cross("BTCUSD_261225", -40.0, 51_000.0), cross("ETHUSD_PERP", 10, 2e3)],
        [inverse("BTCUSD_PERP", table), inverse("BTCUSD_261225", table), inverse("ETHUSD_PERP", table, "ETH", 10.0)],
        {"BTCUSD_PERP": 48_000.0, "BTCUSD_261225": 48_500.0, "ETHUSD_PERP": 2_000.0},
        Wallet("BTC", 0.1),
        Wallet("ETH", 1.0),
    )
    assert [(pool.scope, pool.unit, len(pool.legs)) for pool in pools] == [("BTC", "BTC", 2), ("ETH", "ETH", 1)]
    pnl = 10_000 * (1 / 50_000 - 1 / 48_000) - 4_000 * (1 / 51_000 - 1 / 48_500)
    assert pools[0].margin_balance == pytest.approx(0.1 + pnl)
    assert pools[0].maintenance_margin == pytest.approx(0.004 * (10_000 / 48_000 + 4_000 / 48_500))


def test_a_hedged_pair_shares_a_wallet_and_a_liquidation_price() -> None:
    """Both sides of one symbol in cross mode, as on USD-M."""
    (pool,) = assess(
        [cross("BTCUSD_PERP", 100.0, 50_000.0, Slot.LONG), cross("BTCUSD_PERP", -30.0, 52_000.0, Slot.SHORT)],
        [inverse("BTCUSD_PERP", flat_tier(0.004))],
        {"BTCUSD_PERP": 50_000.0},
        Wallet("BTC", 0.02),
        hedge=True,
    )
    long, short = pool.legs
    assert long.liquidation_price == short.liquidation_price
    assert long.liquidation_price == pytest.approx(
        (10_000 * 1.004 + 3_000 * (0.004 - 1.0)) / (0.02 + 10_000 / 50_000 - 3_000 / 52_000)
    )


def test_a_short_covered_by_its_coin_has_no_liquidation_price() -> None:
    """Its loss is paid in a coin whose amount can never exceed the notional."""
    (pool,) = assess(
        [cross("BTCUSD_PERP", -4.0, 61_765.5)],
        [inverse("BTCUSD_PERP", flat_tier(0.004))],
        {"BTCUSD_PERP": 61_765.5},
        Wallet("BTC", 0.00684259),
    )
    assert pool.legs[0].liquidation_price is None
    assert pool.distance is None


def test_profit_in_the_coin() -> None:
    """B-V15: 10,000 USD long from 50,000 to 40,000 lose 0.05 BTC (the page on portfolio margin, derived)."""
    (pool,) = assess(
        [cross("BTCUSD_PERP", 100.0, 50_000.0)],
        [inverse("BTCUSD_PERP", flat_tier(0.005))],
        {"BTCUSD_PERP": 40_000.0},
        Wallet("BTC", 0.1),
    )
    assert pool.legs[0].unrealized_pnl == pytest.approx(-0.05)
    assert pool.maintenance_margin == pytest.approx(0.25 * 0.005)


def test_isolated_margin_leaves_with_the_size() -> None:
    """As on USD-M."""
    held = Account(
        "binance-coinm",
        "test",
        AccountMode.SINGLE_ASSET,
        PositionMode.ONE_WAY,
        (),
        (isolated("X", 1.0, 100.0, 10.0),),
        {"X": inverse("X", flat_tier(0.01))},
    )
    assert account_pools(held, {"X": 100.0}, RULE)[0].cut_releases_margin


@needs_shared_data
@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in cases("binance-coinm")])
def test_real_positions(case: dict[str, Any]) -> None:
    """Every figure of a real answer agrees to the last printed digit.

    The liquidation price of the one is circular (it needs the wallet it would tell), so the wallet that follows from
    it is put under the other, which the venue says can never be liquidated.
    """
    (told,) = (c for c in cases("binance-coinm") if c["id"] == "bn-cm-cross-btc-short5-20211031")
    price = float(told["expected"]["liquidation_price"])
    size, entry = 500.0, float(told["inputs"]["entry_price"])
    wallet = size * (float(told["inputs"]["mmr"]) - 1.0) / price + size / entry
    given = case["inputs"]
    (pool,) = assess(
        [cross(case["symbol"], -float(given["size"]), float(given["entry_price"]))],
        [inverse(case["symbol"], flat_tier(float(given["mmr"])), contract_size=float(given["contract_multiplier"]))],
        {case["symbol"]: float(given["mark_price"])},
        Wallet("BTC", wallet),
    )
    (leg,) = pool.legs
    for name, sufficient in case["derivable"].items():
        if sufficient is True:
            assert agrees(getattr(leg, name), case["expected"][name]), name
    if case["expected"]["liquidation_price"].startswith("0 "):
        assert leg.liquidation_price is None
    else:
        assert agrees(leg.liquidation_price, case["expected"]["liquidation_price"])


def document(**changes: Any) -> bytes:
    """B-V5 as an assess document."""
    return orjson.dumps(
        {
            "venue": "binance-coinm",
            "collateral": [],
            "instruments": {
                "BTCUSD_PERP": {
                    "kind": "inverse",
                    "margin_coin": "BTC",
                    "multiplier": "100",
                    "tiers": [{"floor": "0", "cap": None, "rate": "0.004", "deduction": "0"}],
                }
            },
            "positions": [
                {
                    "instrument": "BTCUSD_PERP",
                    "side": "long",
                    "size": "2",
                    "entry_price": "37643.10000021",
                    "margin_mode": "isolated",
                    "isolated_margin": "0.00268058",
                }
            ],
            "marks": {"BTCUSD_PERP": "38103.05510455"},
        }
        | changes
    )


@pytest.mark.parametrize("mode", ["isolated", "cross"])
def test_the_assess_document_takes_coin_m(mode: str) -> None:
    """An isolated position and the same one on its coin's wallet have the same liquidation price."""
    changes: dict[str, Any] = {}
    if mode == MarginMode.CROSS:
        changes["collateral"] = [{"coin": "BTC", "balance": "0.00268058"}]
        position = orjson.loads(document())["positions"][0]
        changes["positions"] = [position | {"margin_mode": "cross", "isolated_margin": None}]
    account, marks, rules = read_document(document(**changes), "test")
    (pool,) = orjson.loads(write_pools(assess_account(account, marks, rules)))["pools"]
    assert pool["pool"] == f"binance-coinm/document/{'BTC' if mode == 'cross' else 'BTCUSD_PERP:long'}"
    assert agrees(pool["legs"][0]["liquidation_price"], "25119.97445760")
