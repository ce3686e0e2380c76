"""Price paths: made from a seed, or read from a file."""

import csv
import gzip
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from connectors.simulator.wire import EIGHT_PLACES, decimal

Marks = dict[str, Decimal]
_COLUMNS = ("ts_ms", "symbol", "open", "high", "low", "close")


class PathFault(ValueError):  # noqa: N818 - says what is wrong with an input, see STYLE "a fault"
    """A price file that cannot be used; the text says where."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a made path: `move` is the whole relative move over it for a symbol of weight 1.

    `noise` is the size of one step's random part, relative, which fades over about ten steps so that the path keeps
    to its line.
    """

    duration_s: float
    move: float
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class MadePath:
    """A path from a seed. Each symbol moves by its weight times the segment's move, around its own noise.

    The noise is an autoregressive wobble around the line; it starts at nothing and is the same for the same seed,
    segments and symbols, whatever the machine.
    """

    segments: tuple[Segment, ...]
    weights: Mapping[str, float] = field(default_factory=dict)

    def duration_s(self) -> float:
        """Length of the whole path."""
        return sum(segment.duration_s for segment in self.segments)

    def steps(self, start: Mapping[str, Decimal], tick_s: float, seed: int) -> Iterator[Marks]:
        """Marks of all symbols of `start`, one mapping a step."""
        generators = {symbol: random.Random(f"{seed}/{symbol}") for symbol in sorted(start)}  # noqa: S311 - a price path, no secret
        lines = dict.fromkeys(start, 0.0)
        wobbles = dict.fromkeys(start, 0.0)
        for segment in self.segments:
            count = max(1, round(segment.duration_s / tick_s))
            drift = math.log1p(segment.move) / count
            for _ in range(count):
                marks: Marks = {}
                for symbol, price in start.items():
                    lines[symbol] += drift * self.weights.get(symbol, 1.0)
                    wobbles[symbol] = 0.9 * wobbles[symbol] + segment.noise * generators[symbol].gauss(0.0, 1.0)
                    factor = Decimal(repr(math.exp(lines[symbol] + wobbles[symbol])))
                    marks[symbol] = (price * factor).quantize(EIGHT_PLACES)
                yield marks


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path from a CSV file (plain or ``.gz``) with the columns ``ts_ms,symbol,open,high,low,close``.

    Each row becomes one step (its close), or with ``points = "ohlc"`` four: open, then low and high in the order that
    a rising (low first) or falling row suggests, then close. Rows of the same time form one step for all their symbols.
    """

    path: Path
    points: Literal["close", "ohlc"] = "ohlc"
    symbols: tuple[str, ...] = ()

    def steps(self) -> Iterator[Marks]:
        """Marks of the symbols that have a row at that time, one mapping a step."""
        for _, group in itertools.groupby(self._rows(), key=lambda row: row.ts_ms):
            rows = list(group)
            for point in range(4 if self.points == "ohlc" else 1):
                yield {row.symbol: row.prices[point if self.points == "ohlc" else 3] for row in rows}

    def _rows(self) -> Iterator["_Row"]:
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(self.path, "rt", encoding="utf-8", newline="") as lines:
                yield from self._parse(lines)
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise PathFault(f"{self.path}: cannot be read: {error}") from None

    def _parse(self, lines: Iterable[str]) -> Iterator["_Row"]:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ())[: len(_COLUMNS)] != _COLUMNS:
            raise PathFault(f"{self.path}: the first line must be {','.join(_COLUMNS)}")
        for row in reader:
            if self.symbols and row["symbol"] not in self.symbols:
                continue
            try:
                yield _row(row)
            except (ValueError, TypeError) as error:
                raise PathFault(f"{self.path}: line {reader.line_num}: {error}") from None


@dataclass(frozen=True, slots=True)
class _Row:
    ts_ms: int
    symbol: str
    prices: Sequence[Decimal]


def _row(row: Mapping[str, str]) -> _Row:
    opened, high, low, close = (decimal(row[name]) for name in ("open", "high", "low", "close"))
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        raise ValueError(f"open, high, low, close {opened}, {high}, {low}, {close} are not a price range")
    between = (low, high) if close >= opened else (high, low)
    return _Row(int(row["ts_ms"]), row["symbol"], (opened, *between, close))
