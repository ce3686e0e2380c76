"""What is advised is enough: fed back into the calculator, the pool is at the target."""

import re
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from alerts.rules import distance as distance_rule
from alerts.rules.distance import DistanceConfig
from alerts.rules.margin_ratio import MarginRatioConfig, describe, judge
from monitor.assess import assess_account, assess_pool
from monitor.margin.remedy import distance_remedy, remedy
from monitor.margin.risk import Leg, Pool, Risk
from monitor.margin.rules import account_pools
from monitor.margin.tiers import UNKNOWN, Maintenance, Segment, segments_by_notional
from monitor.margin.venues import RULES
from monitor.model.account import Account, MarginMode, Wallet
from monitor.model.assessment import Basis, PoolAssessment, Remedy
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


ONE_PERCENT = Maintenance(segments_by_notional(flat_tier(0.01)))
BELOW_95 = Maintenance(segments_by_notional(tiers((0.0, 95.0), (0.01, 0.05))))
ABOVE_105 = Maintenance(segments_by_notional(tiers((0.0, 105.0), (0.01, 0.05))))
STAGED = replace(ONE_PERCENT, full=(Segment(0.0, inf, 0.004, 0.0),))
AHEAD = replace(ONE_PERCENT, ahead=0.5)
JUMPING = Maintenance((Segment(0.0, 95.0, 0.05, 0.0), Segment(95.0, inf, 0.2, 0.0)))


def leg(quantity: float, entry: float, required: Maintenance = ONE_PERCENT, *, inverse: bool = False) -> Leg:
    """A position in A, at its mark of 100."""
    return Leg("A", abs(quantity), quantity, inverse, entry, required, MARKS["A"])


OTHER = replace(leg(10.0, 10.0), instrument="B", mark=MARKS["B"])


def holding(balance: float, *legs: Leg, isolated: bool = False) -> Pool:
    """A pool over these legs."""
    return Pool("binance", "test", "USDT", "USDT", Basis.COMPUTED, Risk(balance, 0.0), legs, isolated)


@pytest.mark.parametrize(
    ("pool", "add", "cut"),
    [
        pytest.param(holding(6.0, leg(1.0, 100.0)), 10.0 + 0.9 - 6.0, 1 - 6.0 / 10.9, id="a long, at 90"),
        pytest.param(holding(6.0, leg(-1.0, 100.0)), 10.0 + 1.1 - 6.0, 1 - 6.0 / 11.1, id="a short, at 110"),
        pytest.param(holding(6.0, leg(1.0, 105.0)), 15.0 + 0.9 - 6.0, 1 - 1.0 / 10.9, id="a long at a loss"),
        pytest.param(holding(6.0, leg(1.0, 100.0), isolated=True), 4.9, None, id="an isolated long: a cut is no help"),
        pytest.param(holding(0.5, leg(1.0, 100.0)), 10.4, 1 - 0.5 / 10.9, id="past liquidation"),
        pytest.param(holding(-0.5, leg(1.0, 100.0)), 11.4, None, id="nothing left: no cut is enough"),
        pytest.param(holding(6.0, leg(1.0, 100.0, BELOW_95)), 4.9, 1 - 6.0 / 10.9, id="the tier that holds at 90"),
        pytest.param(
            holding(6.0, leg(-1.0, 100.0, ABOVE_105)),
            10.0 + 1.05 + 0.05 * 5.0 - 6.0,
            1 - 6.0 / 11.1,
            id="the tier that holds at 110, and the one below it after a cut",
        ),
        pytest.param(
            holding(13.0, leg(1.0, 100.0, JUMPING)),
            5.0 + 0.2 * 95.0 - 13.0,
            None,
            id="a tier that begins with a jump asks for most on the way",
        ),
        pytest.param(holding(6.0, leg(1.0, 100.0, STAGED)), 4.9, 1 - 6.0 / 10.9, id="the first stage counts"),
        pytest.param(holding(6.0, leg(1.0, 100.0, AHEAD)), 10.5 + 0.895 - 6.0, 1 - 6.0 / 11.395, id="one tick ahead"),
        pytest.param(
            holding(6.0, leg(-1.0, 100.0, AHEAD)), 10.5 + 1.105 - 6.0, 1 - 6.0 / 11.605, id="one tick ahead, short"
        ),
        pytest.param(
            holding(0.05, leg(100.0, 100.0, inverse=True)),
            100 / 90 - 1.0 + 1 / 90 - 0.05,
            1 - 0.05 / (11 / 90),
            id="an inverse long",
        ),
        pytest.param(
            holding(0.05, leg(-100.0, 100.0, inverse=True)),
            1.0 - 100 / 110 + 1 / 110 - 0.05,
            1 - 0.05 / (11 / 110),
            id="an inverse short",
        ),
        pytest.param(
            holding(6.0, leg(2.0, 100.0), leg(-1.0, 100.0)),
            10.0 + 2.7 - 6.0,
            1 - 6.0 / 12.7,
            id="a hedge falls to its larger side",
        ),
        pytest.param(
            holding(6.0, leg(0.5, 100.0), OTHER), 10.0 + 0.9 + 0.5 - 6.0, 1 - 6.0 / 11.4, id="of two, what needs more"
        ),
        pytest.param(holding(0.0, leg(1.0, 100.0)), 10.9, None, id="nothing left at all"),
        pytest.param(holding(11.0, leg(1.0, 100.0)), None, None, id="far enough already"),
        pytest.param(holding(6.0, leg(1.0, 100.0, UNKNOWN)), None, None, id="unknown tiers"),
        pytest.param(holding(nan, leg(1.0, 100.0)), None, None, id="an unknown balance"),
        pytest.param(holding(6.0), None, None, id="no position"),
    ],
)
def test_what_to_add_to_be_a_tenth_away(pool: Pool, add: float | None, cut: float | None) -> None:
    """At the price a tenth away margin balance and maintenance meet."""
    advice = distance_remedy(pool, 0.1)
    if add is None:
        assert advice is None
        return
    assert advice is not None
    assert advice.add_collateral == pytest.approx(add, rel=1e-5)
    assert advice.cut_fraction == (None if cut is None else pytest.approx(cut, rel=1e-5))


def test_a_distance_past_a_price_of_zero() -> None:
    """A linear long can be paid in full; no amount pays for an inverse one."""
    advice = distance_remedy(holding(6.0, leg(1.0, 100.0)), 1.2)
    assert advice is not None
    assert advice.add_collateral == pytest.approx(94.0)
    assert distance_remedy(holding(6.0, leg(100.0, 100.0, inverse=True)), 1.2) is None


def is_beyond(pool: Pool, target: float) -> bool:
    """Whether the alert that stands at this distance would let go."""
    assessed = assess_pool(pool, RULE)
    return assessed.margin_ratio < 1.0 and (assessed.distance is None or assessed.distance > target)


def with_margin(pool: Pool, amount: float) -> Pool:
    """The pool after a deposit."""
    return replace(pool, base=pool.base + Risk(amount, 0.0))


def after_cut(pool: Pool, fraction: float) -> Pool:
    """The pool after a share of every leg was closed: profit is realised, or the share of the margin leaves with it."""
    keep = 1.0 - fraction
    realised = sum(leg.unrealized_pnl(leg.mark) for leg in pool.legs) * fraction
    legs = tuple(replace(leg, size=leg.size * keep, quantity=leg.quantity * keep) for leg in pool.legs)
    balance = pool.base.margin_balance
    return replace(pool, base=Risk(balance * keep if pool.cut_releases_margin else balance + realised, 0.0), legs=legs)


requirements = st.sampled_from([ONE_PERCENT, BELOW_95, ABOVE_105, STAGED, JUMPING])


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """An isolated position or a cross pool on two instruments, linear or inverse, before or past liquidation."""
    inverse, alone = draw(st.booleans()), draw(st.booleans())
    quantities = (sizes | sizes.map(lambda size: -size)).map(lambda q: q * (100.0 if inverse else 1.0))
    entries = st.floats(70.0, 140.0)
    legs = [leg(draw(quantities), draw(entries), draw(requirements), inverse=inverse)]
    if alone:
        legs = [replace(legs[0], maintenance=draw(st.sampled_from([AHEAD, legs[0].maintenance])))]
    else:
        legs += [leg(draw(quantities), draw(entries), draw(requirements), inverse=inverse)] * draw(st.integers(0, 1))
        legs += [replace(leg(draw(quantities), 9.0, draw(requirements)), instrument="B", mark=MARKS["B"])]
    notional = sum(each.notional(each.mark) for each in legs)
    profit = sum(each.unrealized_pnl(each.mark) for each in legs)
    return holding(draw(st.floats(-0.05, 0.4)) * notional - profit, *legs, isolated=alone and draw(st.booleans()))


@given(pools(), st.floats(0.01, 0.5))
def test_what_is_added_makes_the_distance_and_a_hundredth_less_does_not(pool: Pool, target: float) -> None:
    """Fed back into the calculator, with tiers, hedges, jumps and a tick ahead."""
    advice = distance_remedy(pool, target)
    if advice is None:
        assert is_beyond(pool, target)
        return
    assert advice.add_collateral > 0.0
    assert is_beyond(with_margin(pool, advice.add_collateral), target)
    # A millionth of the notional is what the aim just past the target may come to.
    if advice.add_collateral > 1e-4 * sum(each.notional(each.mark) for each in pool.legs):
        assert not is_beyond(with_margin(pool, advice.add_collateral * 0.99), target)


@given(pools(), st.floats(0.01, 0.5))
def test_what_is_cut_makes_the_distance_and_a_hundredth_less_does_not(pool: Pool, target: float) -> None:
    """A share is given only where it is enough, and is no larger than that where no tier begins with a jump."""
    advice = distance_remedy(pool, target)
    if advice is None or advice.cut_fraction is None:
        return
    assert 0.0 < advice.cut_fraction < 1.0
    assert is_beyond(after_cut(pool, advice.cut_fraction), target)
    if advice.cut_fraction > 1e-4 and all(each.maintenance is not JUMPING for each in pool.legs):
        assert not is_beyond(after_cut(pool, advice.cut_fraction * 0.99), target)


DISTANCES = DistanceConfig()


def judged(pool: Pool) -> PoolAssessment:
    """The assessment as the daemon makes it."""
    return assess_pool(pool, RULE, remedy_ratio=RELEASE, remedy_distance=DISTANCES.first_release)


@given(pools())
def test_the_printed_advice_ends_the_alert_on_the_distance(pool: Pool) -> None:
    """Whichever advice stands there: after either way nothing is demanded or held."""
    assessed = judged(pool)
    verdict = distance_rule.judge(assessed, DISTANCES)
    if verdict.holds is None:
        return
    advice = distance_rule.describe(assessed, verdict).advice
    more = re.search(r"at least ([\d,.]+) USDT", advice)
    assert more is not None
    followed = [with_margin(pool, float(more[1].replace(",", "")))]
    if (less := re.search(r"by ([\d.]+) %", advice)) and less[1] != "100.0":
        followed.append(after_cut(pool, float(less[1]) / 100.0))
    for after in followed:
        verdict = distance_rule.judge(judged(after), DISTANCES)
        assert (verdict.demands, verdict.holds) == (None, None), advice
