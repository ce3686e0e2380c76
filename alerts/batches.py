"""Many things, so many at a time. Pure."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in order, `size` of them at a time, the last time those that are left; none of nothing."""
    return [items[start : start + size] for start in range(0, len(items), size)]
