"""Two calculations that differ in the rules alone, and what is said of the difference."""

from dataclasses import replace
from math import nan

import pytest

from monitor.assess import assess_account, assess_pool
from monitor.margin.risk import Pool
from monitor.margin.rulechange import rules_changed
from monitor.margin.rules import account_pools
from monitor.margin.venues import RULES
from monitor.model.account import Position, Wallet
from monitor.model.ids import Slot
from monitor.model.instrument import Instrument
from monitor.model.rulechange import RuleChange, RuleInput, RulesChanged
from tests.support.accounts import account, cross, flat_tier, isolated, linear, tiers

RULE = RULES["binance"]
MARKS = {"BTCUSDT": 100.0, "ETHUSDT": 10.0}
BTC = linear("BTCUSDT", flat_tier(0.01))
ETH = linear("ETHUSDT", flat_tier(0.02))
LONG = isolated("BTCUSDT", 1.0, 100.0, 10.0, Slot.LONG)


def pool_of(positions: tuple[Position, ...], instruments: tuple[Instrument, ...], wallet: float = 50.0) -> Pool:
    """The one pool of an account."""
    (pool,) = account_pools(account(positions, instruments, (Wallet("USDT", wallet),)), MARKS, RULE)
    return pool


def compare(
    old: tuple[Instrument, ...], new: tuple[Instrument, ...], *positions: Position, tick: float = 0.0
) -> RulesChanged | None:
    """Both calculations of the one pool of some positions."""
    before, after = (pool_of(positions or (LONG,), each) for each in (old, new))
    return rules_changed(
        (before, assess_pool(before, RULE)),
        (after, assess_pool(after, RULE)),
        {a.symbol: (a, b) for a, b in zip(old, new, strict=True) if a != b},
        {},
        {} if not tick else {"BTCUSDT": tick},
    )


def test_both_prices_and_the_rate_are_told() -> None:
    """A long of 1 at 100 with 10: (100 - 10) / (1 - rate)."""
    found = compare((BTC,), (replace(BTC, tiers=flat_tier(0.02)),))
    assert found is not None
    (moved,) = found.moved
    assert (moved.before, moved.after) == (pytest.approx(90 / 0.99), pytest.approx(90 / 0.98))
    assert moved.worse
    assert found.changes == (RuleChange("BTCUSDT", RuleInput.MAINTENANCE_RATE, 0.01, 0.02),)


@pytest.mark.parametrize(
    ("new", "tick", "moves"),
    [
        pytest.param(BTC, 0.0, False, id="the same definition"),
        pytest.param(replace(BTC, tiers=flat_tier(0.01 + 1e-13)), 0.0, False, id="a difference of rounding"),
        pytest.param(replace(BTC, tiers=flat_tier(0.011)), 1.0, False, id="less than a tick"),
        pytest.param(replace(BTC, tiers=flat_tier(0.011)), 0.05, True, id="more than a tick"),
        pytest.param(replace(BTC, taker_fee_rate=0.1), 0.0, False, id="a fee that this venue does not count"),
        pytest.param(
            replace(BTC, tiers=tiers((0.0, 1000.0), (0.01, 0.5))), 0.0, False, id="a tier that the position is far from"
        ),
        pytest.param(replace(BTC, tiers=()), 0.0, False, id="a table that is not known any more"),
    ],
)
def test_only_what_moves_a_price_is_told(new: Instrument, tick: float, moves: bool) -> None:
    """A definition may change without consequence for what is held."""
    assert (compare((BTC,), (new,), tick=tick) is not None) is moves


def test_nothing_is_said_where_the_former_price_was_not_known() -> None:
    """Tiers that come for the first time are not a change of them."""
    assert compare((replace(BTC, tiers=()),), (BTC,)) is None


def test_from_no_price_to_some_and_back_is_a_move() -> None:
    """A long with more margin than its value has a liquidation price only where something is required at price zero."""
    rich = isolated("BTCUSDT", 1.0, 100.0, 101.0, Slot.LONG)
    strict = replace(BTC, tiers=flat_tier(0.01, deduction=-5.0))
    appeared, vanished = compare((BTC,), (strict,), rich), compare((strict,), (BTC,), rich)
    assert appeared is not None
    assert vanished is not None
    assert (appeared.moved[0].before, appeared.moved[0].worse) == (None, True)
    assert (vanished.moved[0].after, vanished.moved[0].worse) == (None, False)


def test_a_table_whose_rate_is_the_same_at_the_price_is_told_as_a_table() -> None:
    """Only the deduction is another: no single number says what changed."""
    found = compare((BTC,), (replace(BTC, tiers=flat_tier(0.01, deduction=0.5)),))
    assert found is not None
    assert found.changes == (RuleChange("BTCUSDT", RuleInput.TIERS, None, None),)
    assert not found.moved[0].worse


def test_a_table_of_isolated_positions_is_told_as_theirs() -> None:
    """Where the venue has one for each margin mode; the other one moves nothing here."""
    own = RULES["okx"]
    held = replace(BTC, tiers=flat_tier(0.05), isolated_tiers=flat_tier(0.01), taker_fee_rate=0.0)
    for changes, moved in (({"isolated_tiers": flat_tier(0.02)}, True), ({"tiers": flat_tier(0.06)}, False)):
        new = replace(held, **changes)
        before, after = (account_pools(account((LONG,), (each,), ()), MARKS, own)[0] for each in (held, new))
        found = rules_changed(
            (before, assess_pool(before, own)), (after, assess_pool(after, own)), {"BTCUSDT": (held, new)}, {}, {}
        )
        assert (found is not None) is moved
        if found is not None:
            assert found.changes == (RuleChange("BTCUSDT", RuleInput.MAINTENANCE_RATE, 0.01, 0.02),)


def test_every_position_of_the_pool_that_moved_is_named_the_worst_first() -> None:
    """A stricter table of one contract brings the other's price nearer too, and the one that is nearest leads."""
    positions = (cross("BTCUSDT", 1.0, 100.0, Slot.LONG), cross("ETHUSDT", 20.0, 10.0, Slot.LONG))
    found = compare((BTC, ETH), (replace(BTC, tiers=flat_tier(0.05)), ETH), *positions)
    assert found is not None
    assert [leg.instrument for leg in found.moved] == ["ETHUSDT", "BTCUSDT"]
    distances = [leg.distance or 0.0 for leg in found.moved]
    assert distances == sorted(distances)
    assert [change.of for change in found.changes] == ["BTCUSDT"]


def test_an_unknown_mark_says_nothing() -> None:
    """Without a mark neither price is known."""
    before = pool_of((LONG,), (BTC,))
    blind = replace(before, legs=(replace(before.legs[0], mark=nan),))
    seen = assess_pool(blind, RULE)
    assert rules_changed((blind, seen), (blind, seen), {}, {}, {}) is None


def test_prices_are_those_of_the_calculator() -> None:
    """What is told as the new price is what the calculator says of the same account."""
    new = replace(BTC, tiers=flat_tier(0.02))
    found = compare((BTC,), (new,))
    (pool,) = assess_account(account((LONG,), (new,)), MARKS, RULE)
    assert found is not None
    assert found.moved[0].after == pool.legs[0].liquidation_price
