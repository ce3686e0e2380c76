"""Published and recomputed figures of venues that are read through ccxt: what our formulas say of them.

Of those whose rules are not ours a table at the end says why.
"""

from typing import Any

import pytest

from connectors.ccxt import translate
from connectors.ccxt.facts import facts
from monitor.assess import assess_account
from monitor.margin.tiers import cumulative_deductions, segment_at, segments_by_notional
from monitor.margin.venues import RULES
from monitor.model.account import Account, AccountMode, PositionMode, Wallet
from monitor.model.assessment import LegAssessment, PoolAssessment, margin_ratio
from monitor.model.instrument import Tier
from tests.connectors.ccxt.offline import catalogue, client, market
from tests.support.accounts import cross, flat_tier, linear, tiers

# -- dYdX v4: unit tests of its chain; BTC at 50,000 and ETH at 3,000, maintenance 10 % of notional, no tiers

PRICES = {"BTC": 50_000.0, "ETH": 3_000.0}
FLAT = RULES["binance"]  # any rules that take a notional times its tier's rate


def subaccount(quote: float, **sizes: float) -> PoolAssessment:
    """A subaccount, which is one pool: so much quote balance and positions, at the oracle's prices."""
    wallet = quote + sum(size * PRICES[coin] for coin, size in sizes.items())
    held = Account(
        "binance", "test", AccountMode.SINGLE_ASSET, PositionMode.ONE_WAY, (Wallet("USDC", wallet),),
        tuple(cross(coin, size, PRICES[coin]) for coin, size in sizes.items()),
        {coin: linear(coin, flat_tier(0.1), "USDC") for coin in sizes},
    )  # fmt: skip
    (pool,) = assess_account(held, PRICES, FLAT)
    return pool


def leg_of(pool: PoolAssessment, coin: str) -> LegAssessment:
    """The position in a coin."""
    return next(leg for leg in pool.legs if leg.instrument == coin)


@pytest.mark.parametrize(
    ("quote", "size", "closed", "received", "net", "required"),
    [
        pytest.param(-4501.0, 0.1, 0.1, 4501.0, 499.0, 500.0, id="long, all of it"),
        pytest.param(5499.0, -0.1, 0.1, -5499.0, 499.0, 500.0, id="short, all of it"),
        pytest.param(-5000.0, 0.1, 0.05, 2500.0, 0.0, 500.0, id="long, half of it, nothing left"),
        pytest.param(-5100.0, 0.1, 0.1, 5100.0, -100.0, 500.0, id="long, less than nothing left"),
    ],
)
def test_what_dydx_receives_at_the_bankruptcy_price(
    quote: float, size: float, closed: float, received: float, net: float, required: float
) -> None:
    """Net collateral, requirement, and what a closed position brings where the pool has nothing left."""
    pool = subaccount(quote, BTC=size)
    assert (pool.margin_balance, pool.maintenance_margin) == pytest.approx((net, required))
    assert pool.margin_ratio >= 1.0
    price = leg_of(pool, "BTC").bankruptcy_price
    assert price is not None
    assert closed * price * (1.0 if size > 0.0 else -1.0) == pytest.approx(received)


@pytest.mark.parametrize(
    ("quote", "sign", "received", "alone"), [(-490.0, 1, 294.0, 290.0), (510.0, -1, -306.0, -310.0)]
)
def test_what_dydxs_share_of_what_is_left_is_made_of(quote: float, sign: int, received: float, alone: float) -> None:
    """Net collateral 10, requirement 50, of which 30 for ETH: on dYdX closing it brings its worth less 10 * 30 / 50.

    Ours is another question (`ELSEWHERE`): the other position keeps its price, so that ETH alone loses all 10.
    """
    pool = subaccount(quote, BTC=sign * 0.004, ETH=sign * 0.1)
    eth = leg_of(pool, "ETH")
    assert (pool.margin_balance, pool.maintenance_margin, eth.maintenance_margin) == pytest.approx((10.0, 50.0, 30.0))
    share = eth.maintenance_margin / pool.maintenance_margin
    assert sign * eth.notional - pool.margin_balance * share == pytest.approx(received)
    assert eth.bankruptcy_price == pytest.approx(alone / (sign * 0.1))


@pytest.mark.parametrize(
    ("net", "required", "ratio"), [(75.0, 100.0, 4.0 / 3.0), (100.0, 100.0, 1.0), (50.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
)
def test_when_dydx_liquidates(net: float, required: float, ratio: float) -> None:
    """Where more is required than there is, and anything is. At equality, which dYdX lets pass, ours is 1 already."""
    assert margin_ratio(net, required) == pytest.approx(ratio)
    assert (margin_ratio(net, required) > 1.0) is (required > net and required > 0.0)


# -- Bitget and Gate: the rule of before and after 2025, of the same tiers


def bracketed(floors: list[float], rates: list[float]) -> tuple[Tier, ...]:
    """Tiers of which each rate holds for its own part."""
    return tiers(floors, rates)


def whole_position(floors: list[float], rates: list[float]) -> tuple[Tier, ...]:
    """Tiers of which one rate holds for all of a position."""
    caps = [*floors[1:], None]
    return tuple(Tier(floor, cap, rate, 0.0) for floor, cap, rate in zip(floors, caps, rates, strict=True))


def required(table: tuple[Tier, ...], notional: float, fee_rate: float = 0.0) -> float:
    """Maintenance by these tiers, with a fee counted in."""
    segment = segment_at(segments_by_notional(table, fee_rate), notional)
    return segment.alpha * notional + segment.beta


BITGET = ([0.0, 200_000.0], [0.004, 0.005])
GATE_OLD = ([0.0, 1e6], [0.004, 0.005])
GATE_NEW = ([0.0, 1e6], [0.004, 0.0045])


def test_bitgets_requirement() -> None:
    """3 BTC at 110,000 with a fee of 0.06 %: 1,848 where one rate holds for all, 920 + 728 = 1,648 in brackets."""
    notional, fee = 330_000.0, 0.0006
    assert cumulative_deductions(*BITGET) == pytest.approx([0.0, 200.0])
    assert required(whole_position(*BITGET), notional, fee) == pytest.approx(1848.0)
    assert required(bracketed(*BITGET), notional, fee) == pytest.approx(1648.0)
    assert required(bracketed(*BITGET), 200_000.0, fee) == pytest.approx(920.0)


def test_gates_requirement() -> None:
    """1,200,000 USDT: 6,000 by the tiers and the rule of before, 4,000 + 900 = 4,900 since."""
    notional = 1.2e6
    assert required(whole_position(*GATE_OLD), notional) == pytest.approx(6000.0)
    assert required(bracketed(*GATE_NEW), notional) == pytest.approx(4900.0)
    assert required(bracketed(*GATE_NEW), 1e6) == pytest.approx(4000.0)


def untold(exchange: str, name: str, contracts: float, mark: float, table: tuple[list[float], list[float]]) -> float:
    """What is taken to be required for a position of which the exchange tells no figure, by ccxt's tiers."""
    taker = {"bitget": 0.0006, "gate": 0.00075}[exchange]
    contract = market("BTC/USDT:USDT", name, 1.0, taker=taker)
    floors, rates = table
    rows: list[dict[str, Any]] = [
        {"minNotional": floor, "maxNotional": cap, "maintenanceMarginRate": rate}
        for floor, cap, rate in zip(floors, [*floors[1:], None], rates, strict=True)
    ]
    found = translate.instrument(contract, name, rows)
    position = {
        "symbol": "BTC/USDT:USDT", "side": "long", "contracts": contracts, "entryPrice": mark, "markPrice": mark,
        "marginMode": "isolated", "unrealizedPnl": 0.0,
    }  # fmt: skip
    held = translate.holding(position, catalogue(client(exchange, [contract])))
    assert held is not None
    assert found is not None
    assert facts(exchange).tiers_by_notional
    return translate.required(held, {name: found}, mark)


def test_a_requirement_that_is_not_told_is_never_too_little() -> None:
    """Whichever rule holds: the rate of the position's tier on all of it, and the fee to close."""
    bitget = untold("bitget", "BTCUSDT", 3.0, 110_000.0, BITGET)
    assert bitget == pytest.approx(1848.0)
    old, new = (untold("gate", "BTC_USDT", 12.0, 100_000.0, table) for table in (GATE_OLD, GATE_NEW))
    fee = 1.2e6 * 0.00075
    assert (old, new) == pytest.approx((6000.0 + fee, 5400.0 + fee))
    assert new >= 4900.0 + fee


# -- what our rules do not say

_LINEAR_IN_SIZE = (
    "Deribit's rate grows with the size itself (1 % + 0.005 % a BTC), so the requirement is quadratic and no tier of a "
    "notional says it. Through ccxt Deribit's own figure is held, and where it is not told the pool is unknown."
)
_SHARED = (
    "dYdX divides what is left among the positions by what each requires. Ours asks at which price of one instrument, "
    "the others held still, nothing is left: 290 and -310. What dYdX's is made of is tested."
)

ELSEWHERE = {
    "Deribit, 25 BTC at 100,000: IM 53,125, MM 28,125": _LINEAR_IN_SIZE,
    "Deribit, 350 BTC: IM 1,312,500": _LINEAR_IN_SIZE,
    "Deribit, 6,000 SOL at 200: IM 84,000": _LINEAR_IN_SIZE,
    "Deribit, 25 SOL at 200: MM 100.625": _LINEAR_IN_SIZE,
    "dYdX, 0.004 BTC and 0.1 ETH long at -490, ETH closed: 294": _SHARED,
    "dYdX, 0.004 BTC and 0.1 ETH short at 510, ETH closed: -306": _SHARED,
}
"""Figures marked certain that no formula of ours gives, and why."""


def test_deribits_rates_are_those_of_its_sizes() -> None:
    """At one size the rate is one, and the figures follow from it; only between sizes they do not."""
    for size, price, base, step, printed in (
        (25.0, 100_000.0, 0.01, 0.00005, 28_125.0),
        (25.0, 200.0, 0.02, 0.000005, 100.625),
    ):
        flat = flat_tier(base + step * size)
        assert required(flat, size * price) == pytest.approx(printed)
        assert required(flat, 2.0 * size * price) < (base + step * 2.0 * size) * 2.0 * size * price
