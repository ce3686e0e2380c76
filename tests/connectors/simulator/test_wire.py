"""Numbers as the venue prints them, against numbers that it printed."""

from decimal import Decimal

import pytest

from connectors.simulator import wire
from connectors.simulator.contracts import DEFAULT_ASSETS


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        pytest.param(Decimal("-0.014") * (Decimal("71055.98470333") - Decimal("42901.1")), "-394.16838585", id="loss"),
        pytest.param(Decimal("-0.014") * Decimal("71055.98470333"), "-994.78378585", id="short notional"),
        pytest.param(Decimal("1992.46079250") * Decimal("0.006"), "11.95476475", id="maintenance, tie"),
        pytest.param(Decimal("11.978") * Decimal("0.006"), "0.07186800", id="maintenance, exact"),
        pytest.param(Decimal("7.02746920") * Decimal("0.015"), "0.10541203", id="maintenance, cut"),
        pytest.param(Decimal("1.92957370") * (1 - Decimal("0.1")), "1.73661633", id="bid rate"),
        pytest.param(Decimal("1.92957370") * (1 + Decimal("0.1")), "2.12253107", id="ask rate"),
        pytest.param(Decimal("1.92957370") * (1 - Decimal("0.05")), "1.83309501", id="auto-exchange rate"),
    ],
)
def test_amounts_agree_with_printed_ones(value: Decimal, printed: str) -> None:
    """Eight decimals, cut towards minus infinity."""
    assert wire.amount(value) == printed


def test_nothing_is_printed_without_a_sign() -> None:
    """Zero has no sign, in either of its two forms."""
    assert wire.amount(Decimal("-0")) == "0.00000000"
    assert wire.amount_or_zero(Decimal("-0.0")) == "0"
    assert wire.plain(Decimal("-0.00")) == "0"


def test_plain_has_no_exponent() -> None:
    """Small and large numbers are written out."""
    assert wire.plain(Decimal("1E-7")) == "0.0000001"
    assert wire.plain(Decimal("5000.00")) == "5000"


def test_bracket_numbers_are_json_numbers() -> None:
    """A whole number stays an integer."""
    assert wire.number(Decimal("300000")) == 300000
    assert isinstance(wire.number(Decimal("300000")), int)
    assert wire.number(Decimal("0.004")) == 0.004


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "", "12a", None, True])
def test_what_is_not_a_finite_number_is_refused(value: object) -> None:
    """Not-a-number, infinities, text and booleans are no decimals."""
    with pytest.raises(ValueError, match="is not a"):
        wire.decimal(value)


def test_every_asset_has_an_index() -> None:
    """An asset without a price could not be valued."""
    assert all(asset.index > 0 for asset in DEFAULT_ASSETS)
