"""The account of the simulated OKX, by its published formulas."""

from math import inf

import pytest

from connectors.simulator.okx_account import Position, State
from connectors.simulator.okx_contracts import discounted
from connectors.simulator.venue import Risk

DEADLINE_S = 5.0


def account(*positions: Position, level: str = "2", **cash: float) -> State:
    """With these positions at BTC 75,000 and ETH 4,000."""
    return State(level=level, cash=cash, positions=list(positions))


def figures(risk: Risk) -> tuple[str, str, float, float]:
    """A risk without its legs."""
    return risk.scope, risk.unit, risk.balance, risk.maintenance


def test_an_isolated_position_stands_alone() -> None:
    """Margin and profit against notional at the tier's rate with the fee to close; one contract is 0.01 BTC."""
    (risk,) = account(Position(size=10, entry=76_000.0, margin=500.0), USDT=1.0).risks()
    want = ("BTC-USDT-SWAP:long", "USDT", 500.0 + 0.1 * (75_000 - 76_000), 0.1 * 75_000 * (0.004 + 0.0005))
    assert figures(risk) == pytest.approx(want)


def test_cross_positions_share_their_coin() -> None:
    """A short and a long of the same coin are one pool; the tier goes by the contracts of the instrument."""
    held = Position(size=2000, entry=75_000.0, mode="cross"), Position("ETH-USDT-SWAP", -10, 4_100.0, "cross")
    (risk,) = account(*held, USDT=50_000.0).risks()
    required = 20 * 75_000 * (0.0065 + 0.0005) + 1 * 4_000 * (0.004 + 0.0005)
    assert figures(risk) == pytest.approx(("USDT", "USDT", 50_000 + 1 * 100, required))


def test_in_multi_currency_mode_everything_is_one_pool_in_dollars() -> None:
    """Coins count at their price less the discount, the requirement at its own coin's price."""
    held = Position(size=100, entry=75_000.0, mode="cross")
    (risk,) = account(held, level="3", USDT=1_000.0, BTC=0.1).risks()
    want = ("multi", "USD", 1_000 * 1.0005 + 0.1 * 75_000 * 0.95, 75_000 * 0.0045 * 1.0005)
    assert figures(risk) == pytest.approx(want)


def test_a_discount_is_on_equity_in_tranches() -> None:
    """Cash and profit together, part by part; a debt counts in full."""
    steps = ((1.0, 1.0), (2.0, 0.9), (inf, 0.5))
    found = [discounted(equity, steps) for equity in (-3.0, 0.0, 0.5, 1.5, 4.0)]
    assert found == pytest.approx([-3.0, 0.0, 0.5, 1.45, 2.9])
    assert discounted(4.0, ()) == 4.0
    made = account(Position("BTC-USD-SWAP", -1500.0, 100_000.0, "cross"), level="3", BTC=1.0)
    made.discount = {"BTC": steps}
    (risk,) = made.risks()
    assert risk.balance == pytest.approx((1.0 + 0.9 * 0.5) * 75_000)  # a profit of half a Bitcoin


def test_every_scope_is_a_pool_of_its_own() -> None:
    """Isolated by instrument and side, cross by coin."""
    held = Position(), Position(size=-1), Position("BTC-USD-SWAP", 1, mode="cross"), Position(size=1, mode="cross")
    scopes = [risk.scope for risk in account(*held, USDT=9.0, BTC=1.0).risks()]
    assert scopes == ["BTC-USDT-SWAP:long", "BTC-USDT-SWAP:short", "BTC", "USDT"]


def test_taking_over_a_cross_pool_spares_what_is_isolated() -> None:
    """The coin's cash is gone, the margin of the isolated position is not."""
    made = account(Position(margin=100.0), Position(size=5, mode="cross"), USDT=50.0)
    cross = next(risk for risk in made.risks() if risk.scope == "USDT")
    assert [held.mode for held in made.take_over(cross.scope)] == ["cross"]
    assert made.cash == {"USDT": 0.0}
    assert [(held.mode, held.margin) for held in made.positions] == [("isolated", 100.0)]
