"""What venues write, checked where it enters."""

from collections.abc import Callable
from typing import Any

import pytest

from connectors import wire
from connectors.wire import BadFrame, Defect


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (wire.number, "-1.5", -1.5),
        (wire.number, 2, 2.0),
        (wire.positive, "0.1", 0.1),
        (wire.not_negative, "0", 0.0),
        (wire.optional, "", None),
        (wire.optional, None, None),
        (wire.optional, "3", 3.0),
        *((wire.adl_rank, value, rank) for value, rank in (("0", 0), (0, 0), (2, 2), ("5", 5))),
        *((wire.adl_rank, value, None) for value in ("", None, "6", -1, 2.5, True, "high")),
        (wire.millis, "1790000000000", 1_790_000_000_000),
        (wire.millis, 0, 0),
        (wire.text, "BTC", "BTC"),
        (wire.mapping, {}, {}),
        (wire.rows, [], []),
    ],
)
def test_what_can_be_used(read: Callable[[Any], Any], value: Any, expected: Any) -> None:
    """As a value; an empty field is unknown, never zero."""
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value", "defect"),
    [
        (wire.document, b"{", Defect.JSON),
        *((wire.number, value, Defect.NUMBER) for value in ("", "nan", "inf", "1_0", "x", None, True, [])),
        (wire.positive, "0", Defect.NUMBER),
        (wire.not_negative, "-0.1", Defect.NUMBER),
        *((wire.millis, value, Defect.TIME) for value in ("", "-1", "1.5", 1.5, True, None, 10**14)),
        (wire.text, "", Defect.SHAPE),
        (wire.mapping, [], Defect.SHAPE),
        (wire.rows, {}, Defect.SHAPE),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(read: Callable[[Any], Any], value: Any, defect: Defect) -> None:
    """Under which it is counted."""
    with pytest.raises(BadFrame) as refused:
        read(value)
    assert refused.value.defect is defect


def test_a_row_that_cannot_be_used_costs_only_itself() -> None:
    """It is unknown, the others are not."""
    listed = [{"p": "1"}, {"p": ""}, "odd", {"p": "2"}]
    assert list(wire.usable(listed, lambda row: wire.number(row.get("p")))) == [1.0, 2.0]
