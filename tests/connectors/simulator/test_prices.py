"""Price paths from a seed and from files."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.simulator.prices import FilePath, MadePath, PathFault, Segment

START = {"BTCUSDT": Decimal(60000), "ETHUSDT": Decimal(3000)}
PATH = MadePath((Segment(2.0, 0.01, 0.0005), Segment(4.0, -0.10, 0.0005)), {"ETHUSDT": 2.0})
HEADER = "ts_ms,symbol,open,high,low,close\n"


def test_the_same_seed_gives_the_same_path() -> None:
    """Twice the same, another seed another one."""
    once, again, other = (list(PATH.steps(START, 0.1, seed)) for seed in (7, 7, 8))
    assert once == again
    assert once != other
    assert len(once) == 60


def test_a_symbol_does_not_depend_on_its_neighbours() -> None:
    """Each symbol has a generator of its own."""
    alone = list(PATH.steps({"BTCUSDT": START["BTCUSDT"]}, 0.1, 7))
    assert [step["BTCUSDT"] for step in alone] == [step["BTCUSDT"] for step in PATH.steps(START, 0.1, 7)]


def test_a_path_keeps_to_its_line() -> None:
    """Without noise the end is the product of the moves, to the power of the weight."""
    quiet = MadePath((Segment(1.0, 0.01), Segment(1.0, -0.10)), {"ETHUSDT": 2.0})
    *_, last = quiet.steps(START, 0.1, 1)
    assert float(last["BTCUSDT"]) == pytest.approx(60000 * 1.01 * 0.90)
    assert float(last["ETHUSDT"]) == pytest.approx(3000 * (1.01 * 0.90) ** 2)
    assert quiet.duration_s() == 2.0


def write(folder: Path, text: str, name: str = "path.csv") -> Path:
    """A price file."""
    path = folder / name
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["path.csv", "path.csv.gz"])
def test_a_file_becomes_four_steps_a_row(tmp_path: Path, name: str) -> None:
    """Open, then the nearer extreme first, then close; rows of one time step together."""
    rows = "1000,A,10,12,9,11\n1000,B,5,6,4,4.5\n2000,A,11,11,8,8\n"
    steps = list(FilePath(write(tmp_path, HEADER + rows, name)).steps())
    assert [step["A"] for step in steps] == [10, 9, 12, 11, 11, 11, 8, 8]
    assert [step["B"] for step in steps[:4]] == [5, 6, 4, Decimal("4.5")]
    assert all(set(step) == {"A"} for step in steps[4:])


def test_a_file_can_be_played_by_its_closes(tmp_path: Path) -> None:
    """One step a row, of the symbols asked for."""
    path = write(tmp_path, HEADER + "1000,A,10,12,9,11\n1000,B,5,6,4,4.5\n2000,A,11,11,8,8\n")
    assert list(FilePath(path, "close", ("A",)).steps()) == [{"A": 11}, {"A": 8}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a,b\n1,2\n", "the first line must be ts_ms,symbol,open,high,low,close", id="header"),
        pytest.param(HEADER + "1000,A,10,12,9,nan\n", "line 2: .*not a finite number", id="nan"),
        pytest.param(HEADER + "1000,A,10,12,9,11\n2000,A,10,9,12,11\n", "line 3: .*not a price range", id="range"),
        pytest.param(HEADER + "x,A,10,12,9,11\n", "line 2: ", id="time"),
        pytest.param(HEADER + "1000,A,10\n", "line 2: ", id="short row"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, problem: str) -> None:
    """File, line and what is wrong there."""
    path = write(tmp_path, text)
    with pytest.raises(PathFault, match=problem) as fault:
        list(FilePath(path).steps())
    assert str(path) in str(fault.value)


def test_a_missing_or_broken_file_is_said(tmp_path: Path) -> None:
    """No file, and a file that only claims to be compressed."""
    (tmp_path / "broken.csv.gz").write_text("plain", encoding="utf-8")
    for name in ("none.csv", "broken.csv.gz"):
        with pytest.raises(PathFault, match="cannot be read"):
            list(FilePath(tmp_path / name).steps())
