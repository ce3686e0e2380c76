"""Price paths: what a file may hold, and the order in which its bars are played."""

import gzip
from pathlib import Path

import pytest

from monitor.errors import DocumentError
from monitor.model.ids import Side
from monitor.pricepath import Bar, Tick, is_price_path, read_bars, ticks

HEADER = "ts_ms,symbol,open,high,low,close\n"
MINUTE_MS = 60_000


def write(path: Path, rows: str) -> Path:
    """A price path at `path`, packed when its name says so."""
    text = HEADER + rows
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["path.csv", "path.csv.gz"])
def test_reads_plain_and_packed(tmp_path: Path, name: str) -> None:
    """The rows of the wanted symbols come back in order of time, from either kind of file."""
    path = write(tmp_path / name, "60000,A,2,3,1,2\n0,A,1,2,1,2\n0,B,9,9,9,9\n")
    assert is_price_path(path)
    assert read_bars(path, ["A"]) == [Bar(0, "A", 1, 2, 1, 2), Bar(60_000, "A", 2, 3, 1, 2)]


@pytest.mark.parametrize(
    ("side", "prices"), [(Side.LONG, [10, 7, 12, 11]), (Side.SHORT, [10, 12, 7, 11])], ids=["long", "short"]
)
def test_the_adverse_extreme_comes_first(side: Side, prices: list[float]) -> None:
    """A long meets the low before the high, a short the high before the low."""
    played = list(ticks([Bar(0, "A", 10, 12, 7, 11)], {"A": side}))
    assert [tick.prices[0] for tick in played] == prices


def test_extremes_may_be_anywhere_in_their_bar() -> None:
    """Open and close are instants; an extreme may have been traded from the bar's first to its last moment."""
    bars = [Bar(0, "A", 10, 12, 7, 11), Bar(MINUTE_MS, "A", 11, 12, 8, 9)]
    opened, low, high, closed = list(ticks(bars, {"A": Side.LONG}))[:4]
    assert (opened.earliest_ms, opened.latest_ms) == (0, 0)
    assert (low.earliest_ms, low.latest_ms) == (high.earliest_ms, high.latest_ms) == (0, MINUTE_MS)
    assert (closed.earliest_ms, closed.latest_ms) == (MINUTE_MS - 1, MINUTE_MS)


def test_instruments_move_together() -> None:
    """All instruments of one moment are one tick, each at its own adverse extreme."""
    bars = [Bar(0, "A", 10, 12, 7, 11), Bar(0, "B", 5, 6, 4, 5)]
    adverse = list(ticks(bars, {"A": Side.LONG, "B": Side.SHORT}))[1]
    assert adverse == Tick(adverse.at_ms, 0, MINUTE_MS, ("A", "B"), (7, 6))


def test_times_never_run_backwards_over_missing_bars() -> None:
    """A bar is as long as the shortest step of its symbol, and gaps do not stretch it."""
    bars = [Bar(at, "A", 1, 1, 1, 1) for at in (0, 1000, 5000, 6000)]
    times = [tick.at_ms for tick in ticks(bars, {})]
    assert times == sorted(set(times))
    assert times[:4] == [0, 333, 666, 999]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,A,1,2,1\n", "line 2: found 5 columns; must be 6"),
        ("x,A,1,2,1,2\n", 'line 2: ts_ms: found "x"; must be whole milliseconds since 1970'),
        ("0,A,1,nan,1,2\n", 'line 2: high: found "nan"; must be a price above zero'),
        ("0,A,1,inf,1,2\n", 'line 2: high: found "inf"; must be a price above zero'),
        ("0,A,0,2,1,2\n", 'line 2: open: found "0"; must be a price above zero'),
        ("0,A,1,2,1.5,2\n", "line 2: low must not be above, nor high below, any of the others"),
        ("0,B,1,2,1,2\n", "A: the account holds it but the file has no prices for it; it has: B"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: str, message: str) -> None:
    """Every fault says its line, what was found and what is allowed."""
    path = write(tmp_path / "path.csv", rows)
    with pytest.raises(DocumentError) as caught:
        read_bars(path, ["A"])
    assert str(caught.value) == f"{path}: {message}"


def test_many_bad_rows_are_summed_up(tmp_path: Path) -> None:
    """A file that is wrong throughout does not fill the screen."""
    path = write(tmp_path / "path.csv", "0,A,1\n" * 100)
    with pytest.raises(DocumentError, match="and 90 more like these"):
        read_bars(path, ["A"])


@pytest.mark.parametrize(
    "content", [gzip.compress(HEADER.encode() * 1000)[:-20], b"\xff\xfe\x00", b"\x1f\x8b\x08garbage"]
)
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    """Truncated archives and binary files are the user's, and so is the message."""
    path = tmp_path / "path.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match="cannot be read: damaged, or not a text file"):
        read_bars(path, ["A"])


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    with pytest.raises(DocumentError, match="cannot be read: No such file or directory"):
        is_price_path(tmp_path / "absent.csv")
