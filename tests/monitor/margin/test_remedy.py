"""What is advised is enough: fed back into the calculator, the pool is at the target."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alerts.rules.margin_ratio import MarginRatioConfig, describe, judge
from monitor.assess import assess_account, assess_pool
from monitor.margin.remedy import remedy
from monitor.margin.rules import account_pools
from monitor.margin.venues import RULES
from monitor.model.account import Account, MarginMode, Wallet
from monitor.model.assessment import Remedy
from monitor.model.ids import Slot
from tests.support.accounts import account, cross, flat_tier, isolated, linear, tiers

RULE = RULES["binance"]
MARKS = {"A": 100.0, "B": 10.0}


def advise(held: Account, target: float) -> Remedy | None:
    """The remedy of an account's one pool."""
    (pool,) = account_pools(held, MARKS, RULE)
    return remedy(pool, target)


def ratio(held: Account) -> float:
    """The margin ratio of an account's one pool."""
    (pool,) = assess_account(held, MARKS, RULE)
    return pool.margin_ratio


def with_more(held: Account, amount: float) -> Account:
    """The account after a deposit, into the wallet that its one pool draws on."""
    if held.positions[0].margin_mode is MarginMode.ISOLATED:
        (position,) = held.positions
        return replace(held, positions=(replace(position, isolated_wallet=position.isolated_wallet + amount),))
    (wallet,) = held.wallets
    return replace(held, wallets=(replace(wallet, balance=wallet.balance + amount),))


def with_less_size(held: Account, fraction: float) -> Account:
    """The account after closing a share of every position at the marks: profit is realised into the wallet.

    This venue takes the same share out of an isolated wallet, profit included.
    """
    keep = 1.0 - fraction
    realised = sum(p.size * (MARKS[p.instrument] - p.entry_price) for p in held.positions) * fraction
    positions = tuple(replace(p, size=p.size * keep, isolated_wallet=p.isolated_wallet * keep) for p in held.positions)
    wallets = tuple(replace(w, balance=w.balance + realised) for w in held.wallets)
    return replace(held, positions=positions, wallets=wallets)


def test_a_safe_pool_needs_nothing() -> None:
    """Below the target there is no advice; at it, where an alert still holds, there is a little."""
    held = account([cross("A", 1.0, 100.0)], [linear("A", flat_tier(0.01))], [Wallet("USDT", 2.0)])
    assert ratio(held) == 0.5
    assert advise(held, 0.5) == Remedy(0.5, pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert advise(held, 0.5 * (1 + 1e-9)) is None


def test_what_to_add_and_what_to_cut() -> None:
    """Maintenance 1 over a balance of 1.25: add 0.75, or close 37.5 %, to be just under 50 %."""
    held = account([cross("A", 1.0, 100.0)], [linear("A", flat_tier(0.01))], [Wallet("USDT", 1.25)])
    assert advise(held, 0.5) == Remedy(0.5, pytest.approx(0.75), pytest.approx(0.375))


def test_cutting_an_isolated_position_does_not_help_where_margin_leaves_with_it() -> None:
    """In the first tier the ratio of an isolated position does not depend on its size."""
    held = account([isolated("A", 1.0, 100.0, 1.25)], [linear("A", flat_tier(0.01))])
    assert advise(held, 0.5) == Remedy(0.5, pytest.approx(0.75), None)


def test_no_cut_mends_a_negative_balance() -> None:
    """With nothing left only collateral helps."""
    held = account([cross("A", 1.0, 110.0)], [linear("A", flat_tier(0.01))], [Wallet("USDT", 5.0)])
    assert advise(held, 0.5) == Remedy(0.5, pytest.approx(7.0), None)


sizes = st.floats(0.01, 1000.0)
tables = st.sampled_from(
    [flat_tier(0.01), tiers((0.0, 1000.0, 20_000.0), (0.004, 0.02, 0.1)), tiers((0.0, 50.0, 900.0), (0.01, 0.03, 0.3))]
)


@st.composite
def endangered(draw: st.DrawFn, *, only_isolated: bool = False) -> Account:
    """A cross account with two positions, or an isolated one, at some ratio between 5 % and 500 %."""
    table = draw(tables)
    contracts = [linear("A", table), linear("B", table)]
    sign = draw(st.sampled_from([1.0, -1.0]))
    if only_isolated or draw(st.booleans()):
        held = account([isolated("A", sign * draw(sizes), 100.0, 0.0)], contracts)
    else:
        legs = [cross("A", sign * draw(sizes), draw(st.floats(90, 110))), cross("B", draw(sizes), 10.0, Slot.BOTH)]
        held = account(legs, contracts, [Wallet("USDT", 0.0)])
    (pool,) = account_pools(held, MARKS, RULE)
    risk = pool.risk()
    return with_more(held, risk.maintenance_margin / draw(st.floats(0.05, 5.0)) - risk.margin_balance)


@given(endangered(), st.floats(0.1, 0.9))
def test_advice_fed_back_into_the_calculator(held: Account, target: float) -> None:
    """Either way the ratio comes under the target, and not needlessly far."""
    advice = advise(held, target)
    if advice is None:
        assert ratio(held) < target
        return
    assert advice.add_collateral > 0.0
    assert target * (1 - 1e-6) < ratio(with_more(held, advice.add_collateral)) < target
    if advice.cut_fraction is not None:
        assert 0.0 < advice.cut_fraction < 1.0
        assert target * (1 - 1e-6) < ratio(with_less_size(held, advice.cut_fraction)) < target


LADDER = MarginRatioConfig()
RELEASE = LADDER.release(LADDER.rungs()[0][1])


@given(endangered())
def test_the_printed_advice_ends_the_alert(held: Account) -> None:
    """The figures as a person reads them, fed back into the calculator and the rule: nothing is demanded or held."""
    (pool,) = account_pools(held, MARKS, RULE)
    assessed = assess_pool(pool, RULE, remedy_ratio=RELEASE)
    advice = describe(assessed, judge(assessed, LADDER)).advice
    assert bool(advice) is (assessed.margin_ratio >= RELEASE)
    followed = []
    if more := re.search(r"at least ([\d,.]+) USDT", advice):
        followed.append(with_more(held, float(more[1].replace(",", ""))))
    if (less := re.search(r"by ([\d.]+) %", advice)) and less[1] != "100.0":
        followed.append(with_less_size(held, float(less[1]) / 100.0))
    for after in followed:
        (pool_after,) = assess_account(after, MARKS, RULE)
        verdict = judge(pool_after, LADDER)
        assert (verdict.demands, verdict.holds) == (None, None), advice


@given(endangered(only_isolated=True), st.floats(0.01, 0.9), st.floats(0.001, 0.999))
def test_no_cut_is_withheld(held: Account, target: float, fraction: float) -> None:
    """Where no cut is advised, none helps."""
    advice = advise(held, target)
    assume(advice is not None and advice.cut_fraction is None)
    assert ratio(with_less_size(held, fraction)) >= target * (1 - 1e-9)
