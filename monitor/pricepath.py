"""A price path: bars from a CSV file, played as ticks in the order that credits a warning with the least time.

A bar does not tell when inside it each price was traded, nor whether the high or the low came first. So

- the four prices are played open, adverse extreme, other extreme, close; adverse is the low under a net long position
  and the high under a net short one. All instruments reach their adverse extreme at the same moment, as in a crash;
- a tick carries the whole interval in which its price may have been traded: an instant for open and close, the whole
  bar for the extremes. Lead times are counted from the latest moment of a warning to the earliest of a liquidation.
"""

import csv
import gzip
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from monitor.errors import DocumentError, Fault
from monitor.model.ids import Side

COLUMNS = ("ts_ms", "symbol", "open", "high", "low", "close")
FAULTS_SHOWN_MAX = 10
FOUND_CHARACTERS_MAX = 80
SECONDS, MICROSECONDS = range(10**8, 10**11), range(10**14, 10**20)
"""Times that would be those of 1970 or of long after us, but are of our days in another unit."""
BAR_MS_DEFAULT = 60_000
"""Length of a bar where the file has only one for a symbol."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the file: prices from `at_ms` (milliseconds since the epoch) until the next bar."""

    at_ms: int
    symbol: str
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Prices of one moment `at_ms`, somewhere between `earliest_ms` and `latest_ms`."""

    at_ms: int
    earliest_ms: int
    latest_ms: int
    instruments: tuple[str, ...]
    prices: tuple[float, ...]


def is_price_path(path: Path) -> bool:
    """Whether the file at `path` is one, well or badly made; a recording is lines of JSON.

    Raises DocumentError when it cannot be read.
    """
    with opened(path) as lines:
        return not next(lines, "").lstrip().startswith("{")


def read_bars(path: Path, symbols: Iterable[str]) -> list[Bar]:
    """The bars of `symbols` in order of time. Raises DocumentError with the lines that are wrong."""
    wanted = set(symbols)
    bars: list[Bar] = []
    faults: list[Fault] = []
    others: set[str] = set()
    with opened(path) as lines:
        reader = csv.reader(lines)
        header = tuple(next(reader, ()))
        if header != COLUMNS:
            found = f"found {','.join(header)[:FOUND_CHARACTERS_MAX]}" if header else "found nothing"
            raise DocumentError(str(path), [Fault("line 1", f"{found}; must be the header {','.join(COLUMNS)}")])
        for row in reader:
            bar = _bar(row, f"line {reader.line_num}", faults)
            if bar is not None and bar.symbol in wanted:
                bars.append(bar)
            elif bar is not None:
                others.add(bar.symbol)
    absent = wanted - {bar.symbol for bar in bars}
    if absent and not faults:
        has = ", ".join(sorted(others | wanted - absent)) or "none"
        problem = f"the account holds it but the file has no prices for it; it has: {has}"
        faults = [Fault(symbol, problem) for symbol in sorted(absent)]
    if faults:
        raise DocumentError(str(path), _shortened(faults))
    return sorted(bars, key=attrgetter("at_ms"))


def ticks(bars: Sequence[Bar], sides: Mapping[str, Side]) -> Iterator[Tick]:
    """Play `bars` (in order of time) as this module's docstring says; `sides` is each instrument's net direction."""
    length_ms = _bar_length_ms(bars)
    for at_ms, together in groupby(bars, key=attrgetter("at_ms")):
        row = tuple(together)
        symbols = tuple(bar.symbol for bar in row)
        end_ms = at_ms + length_ms
        adverse = tuple(bar.high if sides.get(bar.symbol) is Side.SHORT else bar.low for bar in row)
        other = tuple(bar.low if sides.get(bar.symbol) is Side.SHORT else bar.high for bar in row)
        yield Tick(at_ms, at_ms, at_ms, symbols, tuple(bar.open for bar in row))
        yield Tick(at_ms + length_ms // 3, at_ms, end_ms, symbols, adverse)
        yield Tick(at_ms + 2 * length_ms // 3, at_ms, end_ms, symbols, other)
        yield Tick(end_ms - 1, end_ms - 1, end_ms, symbols, tuple(bar.close for bar in row))


class opened:  # noqa: N801 - reads as a verb where it is used
    """The lines of a text file, plain or gzip. A file that cannot be read is a DocumentError, also in the middle."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Iterator[str]:
        """Open the file."""
        try:
            with self._path.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            self._file = gzip.open(self._path, "rt", encoding="utf-8") if packed else self._path.open(encoding="utf-8")
        except OSError as error:
            raise self._unreadable(error) from None
        return self._lines()

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self._file.close()

    def _lines(self) -> Iterator[str]:
        try:
            yield from self._file
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> DocumentError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged, or not a text file"
        return DocumentError(str(self._path), [Fault("", f"cannot be read: {reason}")])


def _bar(row: Sequence[str], where: str, faults: list[Fault]) -> Bar | None:
    if not row:
        return None
    if len(row) != len(COLUMNS):
        faults.append(Fault(where, f"found {len(row)} columns; must be {len(COLUMNS)}"))
        return None
    try:
        at_ms = int(row[0])
    except ValueError:
        faults.append(Fault(where, f'ts_ms: found "{row[0][:40]}"; must be whole milliseconds since 1970'))
        return None
    for unit, times, cure in (("seconds", SECONDS, "multiply"), ("microseconds", MICROSECONDS, "divide")):
        if at_ms in times:
            faults.append(Fault(where, f"ts_ms: found {at_ms}, which looks like {unit}; {cure} by 1000"))
            return None
    prices = [_price(text) for text in row[2:]]
    for name, text, price in zip(COLUMNS[2:], row[2:], prices, strict=True):
        if price is None:
            faults.append(Fault(where, f'{name}: found "{text[:40]}"; must be a price above zero'))
            return None
    bar = Bar(at_ms, row[1], *(price for price in prices if price is not None))
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        faults.append(Fault(where, "low must not be above, nor high below, any of the others"))
        return None
    return bar


def _price(text: str) -> float | None:
    try:
        price = float(text)
    except ValueError:
        return None
    return price if math.isfinite(price) and price > 0.0 else None


def _bar_length_ms(bars: Sequence[Bar]) -> int:
    """The shortest step between two bars of one symbol: steps are longer only where bars are missing."""
    last: dict[str, int] = {}
    steps: defaultdict[str, int] = defaultdict(int)
    for bar in bars:
        step = bar.at_ms - last.get(bar.symbol, bar.at_ms)
        if step > 0 and (steps[bar.symbol] == 0 or step < steps[bar.symbol]):
            steps[bar.symbol] = step
        last[bar.symbol] = bar.at_ms
    return min((step for step in steps.values() if step > 0), default=BAR_MS_DEFAULT)


def _shortened(faults: Sequence[Fault]) -> Sequence[Fault]:
    if len(faults) <= FAULTS_SHOWN_MAX:
        return faults
    return [*faults[:FAULTS_SHOWN_MAX], Fault("", f"and {len(faults) - FAULTS_SHOWN_MAX} more like these")]
