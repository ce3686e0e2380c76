"""Identifiers that outsiders see."""

from enum import StrEnum

MULTI_SCOPE = "multi"


class Side(StrEnum):
    """Direction of a position."""

    LONG = "long"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 for long, -1 for short."""
        return 1 if self is Side.LONG else -1


class Slot(StrEnum):
    """Which of an instrument's position slots: `BOTH` in one-way mode, `LONG` and `SHORT` in hedge mode.

    The isolated ones are for venues where an isolated position may stand beside a cross one in the same instrument.
    """

    BOTH = "both"
    LONG = "long"
    SHORT = "short"
    ISOLATED_BOTH = "isolated-both"
    ISOLATED_LONG = "isolated-long"
    ISOLATED_SHORT = "isolated-short"


def side_of(size: float) -> Side:
    """Side of a signed size; zero counts as long and is never shown."""
    return Side.SHORT if size < 0 else Side.LONG


def isolated_scope(instrument: str, side: Side) -> str:
    """Scope of an isolated position's pool, for example ``BTCUSDT:long``."""
    return f"{instrument}:{side}"


def pool_id(venue: str, account: str, scope: str) -> str:
    """``venue/account/scope``, the name of a pool everywhere outside the process."""
    return f"{venue}/{account}/{scope}"
