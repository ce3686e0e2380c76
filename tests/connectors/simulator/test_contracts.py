"""Bracket tables against the venue's amounts."""

from decimal import Decimal
from itertools import pairwise

import pytest

from connectors.simulator.contracts import (
    BTC_BRACKETS,
    DEFAULT_CONTRACTS,
    Contract,
    bracket_table,
    thin_contract,
)


def cums(rows: list[tuple[str, str]]) -> list[Decimal]:
    """The `cum` column of a table given by floors and rates."""
    return [row.cum for row in bracket_table([(floor, rate, 1) for floor, rate in rows], "1e12")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(
            [("0", "0.025"), ("100000", "0.05"), ("500000", "0.1"), ("1e6", "0.15"), ("2e6", "0.25"), ("5e6", "0.5")],
            [0, 2500, 27500, 77500, 277500, 1527500],
            id="ADA/BUSD",
        ),
        pytest.param(
            [("0", "0.01"), ("50000", "0.025"), ("150000", "0.05"), ("250000", "0.1"), ("500000", "0.125")],
            [0, 750, 4500, 17000, 29500],
            id="ZEC/USDT",
        ),
        pytest.param(
            [
                ("0", "0.004"),
                ("50e3", "0.005"),
                ("250e3", "0.01"),
                ("1e6", "0.025"),
                ("10e6", "0.05"),
                ("20e6", "0.1"),
                ("50e6", "0.125"),
                ("100e6", "0.15"),
                ("200e6", "0.25"),
                ("300e6", "0.5"),
            ],
            [0, 50, 1300, 16300, 266300, 1266300, 2516300, 5016300, 25016300, 100016300],
            id="BTC of old",
        ),
    ],
)
def test_cum_follows_from_floors_and_rates(rows: list[tuple[str, str]], expected: list[int]) -> None:
    """Each level's amount is the one before plus floor times the step in rate."""
    assert cums(rows) == expected


def test_btc_table_has_the_present_amounts() -> None:
    """The whole current table, and its last cap."""
    assert [row.cum for row in BTC_BRACKETS] == [
        *(0, 300, 1500, 12000, 132000, 482000),
        *(2982000, 14482000, 26482000, 41482000, 121482000, 421482000),
    ]
    assert BTC_BRACKETS[-1].cap == Decimal("1.8e9")


@pytest.mark.parametrize("contract", [c for c in DEFAULT_CONTRACTS if c.brackets], ids=lambda c: c.symbol)
def test_maintenance_is_continuous_and_rises(contract: Contract) -> None:
    """At each floor both brackets ask for the same, and rates and caps only rise."""
    for below, above in pairwise(contract.brackets):
        assert above.floor == below.cap < above.cap
        assert above.floor * below.rate - below.cum == above.floor * above.rate - above.cum
        assert above.rate > below.rate
        assert above.max_leverage < below.max_leverage


def test_a_notional_at_a_cap_belongs_to_the_lower_bracket() -> None:
    """``floor < notional <= cap``; above the last cap the last bracket serves."""
    contract = DEFAULT_CONTRACTS[0]
    assert contract.bracket(Decimal(300000)).level == 1
    assert contract.bracket(Decimal("300000.01")).level == 2
    assert contract.bracket(Decimal("1e10")).level == 12
    assert contract.maintenance(Decimal(0)) == 0


def test_unknown_symbols_get_a_thin_market() -> None:
    """A price file may name any USDT or USDC contract, and nothing else."""
    assert thin_contract("DOGEUSDC").margin_asset == "USDC"
    with pytest.raises(ValueError, match="BTCUSD_PERP"):
        thin_contract("BTCUSD_PERP")
    with pytest.raises(ValueError, match="USDT"):
        thin_contract("USDT")
