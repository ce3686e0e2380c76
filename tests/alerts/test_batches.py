"""Many things, so many at a time."""

from alerts.batches import batches


def test_everything_comes_once_in_order() -> None:
    """The last batch has what is left, and of nothing there is none."""
    assert batches("abcde", 2) == ["ab", "cd", "e"]
    assert batches((1, 2), 2) == [(1, 2)]
    assert batches([], 2) == []
