"""Comparing a float with a figure as a venue printed it."""

from decimal import Decimal


def agrees(value: float | None, printed: str) -> bool:
    """Whether `value` is the printed figure to its last digit, be that digit rounded or cut off."""
    if value is None:
        return False
    exact = Decimal(printed)
    unit = Decimal(1).scaleb(int(exact.as_tuple().exponent))
    return abs(Decimal(value) - exact) < unit
