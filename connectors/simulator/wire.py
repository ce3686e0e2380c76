"""Numbers as the venue prints them."""

from decimal import ROUND_FLOOR, Decimal, InvalidOperation

ZERO = Decimal(0)
ONE = Decimal(1)
EIGHT_PLACES = Decimal("0.00000001")


def amount(value: Decimal) -> str:
    """`value` with eight decimals, rounded down.

    Down means towards minus infinity: real answers print 0.105412038 as ``0.10541203`` and -994.78378584662 as
    ``-994.78378585``.
    """
    if value == ZERO:
        return "0.00000000"
    return format(value.quantize(EIGHT_PLACES, rounding=ROUND_FLOOR), "f")


def amount_or_zero(value: Decimal) -> str:
    """Like `amount`, but a bare ``0`` for nothing, as the version 3 endpoints print it."""
    return "0" if value == ZERO else amount(value)


def plain(value: Decimal) -> str:
    """`value` without exponent and without trailing zeros."""
    return "0" if value == ZERO else format(value.normalize(), "f")


def number(value: Decimal) -> int | float:
    """`value` as a JSON number, for the bracket tables, the only decimals that the venue does not send as strings."""
    return int(value) if value == value.to_integral_value() else float(value)


def decimal(value: object) -> Decimal:
    """A finite decimal from JSON or TOML; raises ValueError with what was found."""
    try:
        parsed = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None
    if isinstance(value, bool) or not parsed.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return parsed
