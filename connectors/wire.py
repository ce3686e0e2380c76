"""What venues write, as numbers, times, names: checked where it enters, whatever the venue.

Every function raises `BadFrame` for what it cannot use, with the reason that is counted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from math import isfinite
from typing import Any, TypeVar

import orjson

T = TypeVar("T")

ADL_RANK_MAX = 5
"""First in line to be deleveraged, on the venues that tell a rank."""


class Defect(StrEnum):
    """What is wrong with a frame or an answer; the label under which it is counted."""

    JSON = "json"
    SHAPE = "shape"
    NUMBER = "number"
    TIME = "time"
    UNKNOWN_EVENT = "unknown_event"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    REJECTED = "rejected"


class BadFrame(ValueError):  # noqa: N818 - it names what arrived
    """A frame or an answer that cannot be used."""

    def __init__(self, defect: Defect, text: str) -> None:
        super().__init__(text)
        self.defect = defect


def document(body: bytes | str) -> object:
    """The JSON of a body."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadFrame(Defect.JSON, "the answer is not JSON") from None


def number(value: object) -> float:
    """A finite number from a decimal string (or a JSON number). ``""``, ``"nan"`` and booleans are refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadFrame(Defect.NUMBER, "a number is missing")
    if isinstance(value, str) and "_" in value:  # Python's own notation, which float() would take
        raise BadFrame(Defect.NUMBER, f"{value!r:.40} is not a number")
    try:
        parsed = float(value)
    except ValueError:
        raise BadFrame(Defect.NUMBER, f"{value!r:.40} is not a number") from None
    if not isfinite(parsed):
        raise BadFrame(Defect.NUMBER, f"{value!r:.40} is not a finite number")
    return parsed


def positive(value: object) -> float:
    """A finite number above zero: prices, and tier rates."""
    parsed = number(value)
    if parsed <= 0.0:
        raise BadFrame(Defect.NUMBER, f"{value!r:.40} is not above zero")
    return parsed


def not_negative(value: object) -> float:
    """A finite number of zero or more."""
    parsed = number(value)
    if parsed < 0.0:
        raise BadFrame(Defect.NUMBER, f"{value!r:.40} is below zero")
    return parsed


def optional(value: object) -> float | None:
    """A finite number, or None where the venue left the field empty or out: an empty field is never zero."""
    return None if value is None or value == "" else number(value)


def adl_rank(value: object) -> int | None:
    """Place in the queue for auto-deleveraging, 0 to 5 (first in line); None for an empty field and any other value.

    It moves no figure, so one that is odd is unknown, and does not keep the rest of its row from being used.
    """
    try:
        rank = optional(value)
    except BadFrame:
        return None
    return int(rank) if rank is not None and rank in range(ADL_RANK_MAX + 1) else None


def millis(value: object) -> int:
    """A time in milliseconds since the epoch, written as a number or as digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**14:
        raise BadFrame(Defect.TIME, "a time in milliseconds is missing")
    return value


def text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise BadFrame(Defect.SHAPE, "a name is missing")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise BadFrame(Defect.SHAPE, "an object is missing")
    return value


def rows(value: object) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise BadFrame(Defect.SHAPE, "an array is missing")
    return value


def usable(listed: Iterable[Any], parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    """Rows of a table about all symbols. One that cannot be used is left out: it is unknown, the others are not."""
    for row in listed:
        try:
            yield parse(mapping(row))
        except BadFrame:
            continue
