"""The price of one instrument at which a pool meets a threshold, all other marks held still.

The pool's surplus (margin balance minus maintenance margin) as a function of that one price p is, between two prices,
of the form a + b*p + c/p: a holds what stands still, b linear contracts (and collateral priced by p), c inverse ones.
Tiers only change the coefficients from one stretch of prices to the next, so the crossing nearest to the mark is found
exactly by walking the stretches outwards, each with the tier that holds *there*, not the one at the mark (Binance FAQ
b3c689c1f50a44cabb3a84e663b81d93, note on brackets).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import copysign, inf, sqrt
from typing import Protocol

from monitor.margin.pnl import price_value
from monitor.margin.risk import Leg
from monitor.margin.tiers import NO_MAINTENANCE, Segment

Piece = tuple[float, float, float, float, float]
"""low, high, a, b, c: for prices between `low` and `high`, a part of the surplus: a + b*p + c/p."""


class Curve(Protocol):
    """Pieces from price zero to infinity, in ascending order and without gaps."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> Piece: ...


@dataclass(frozen=True, slots=True)
class Crossings:
    """The nearest prices below and above the mark at which the surplus changes sign, None where it never does.

    `safe` says whether the surplus is positive at the mark.
    """

    below: float | None
    above: float | None
    safe: bool

    def moved(self, by: float, mark: float) -> "Crossings":
        """Every price moved `by` so much, but never from one side of the mark to the other, nor to zero or below."""
        if by == 0.0:
            return self
        below = None if self.below is None else min(self.below + by, mark)
        above = None if self.above is None else max(self.above + by, mark)
        return Crossings(below if below is None or below > 0.0 else None, above, self.safe)

    def nearest(self, mark: float) -> float | None:
        """The crossing with the smaller relative distance from `mark`."""
        if self.below is None or self.above is None:
            return self.below if self.above is None else self.above
        return self.below if mark - self.below <= self.above - mark else self.above

    def distance(self, mark: float) -> float | None:
        """Relative move of the mark to the nearest crossing, negative once it is passed, None without one."""
        price = self.nearest(mark)
        if price is None:
            return None
        return abs(price - mark) / mark if self.safe else -abs(price - mark) / mark


class LegCurve:
    """A leg's profit minus its maintenance (`segments` and `shift`) as a curve.

    Its pieces are made when they are asked for: a walk looks at two or three of the dozen that a table of tiers has.
    """

    __slots__ = ("_entry", "_inverse", "_quantity", "_segments", "_size")

    def __init__(self, leg: Leg, segments: Sequence[Segment], shift: float) -> None:
        self._segments = segments
        self._inverse = leg.inverse
        self._quantity = leg.quantity
        self._size = abs(leg.quantity)
        self._entry = -leg.quantity * price_value(leg.inverse, leg.entry_price) - shift

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, place: int, /) -> Piece:
        size = self._size
        if not self._inverse:
            s = self._segments[place]
            return s.floor / size, s.cap / size, self._entry - s.beta, self._quantity - s.alpha * size, 0.0
        # notional = size / p falls with price: the last segment holds at the lowest prices
        s = self._segments[-1 - place]
        high = size / s.floor if s.floor > 0.0 else inf
        return size / s.cap, high, self._entry - s.beta, 0.0, -self._quantity - s.alpha * size


def liquidation_crossings(
    legs: Iterable[Leg], rest: float, mark: float, *, full: bool = False, nearest_only: bool = False
) -> Crossings:
    """Where margin balance meets maintenance margin.

    `legs` are the pool's legs priced by the instrument; `rest` is the surplus of everything else in the pool (margin
    balance without these legs' profit, minus maintenance without theirs). `full` asks for the last stage instead of the
    first.
    """
    stages = ((leg, leg.maintenance) for leg in legs)
    curves = [LegCurve(leg, m.full if full and m.full else m.first, m.shift) for leg, m in stages]
    return crossings(curves, rest, mark, nearest_only=nearest_only)


def bankruptcy_crossings(legs: Iterable[Leg], rest: float, mark: float) -> Crossings:
    """Where the margin balance meets zero; the farther of two prices may be left out.

    `rest` is the pool's margin balance without these legs' profit.
    """
    return crossings([LegCurve(leg, NO_MAINTENANCE.first, 0.0) for leg in legs], rest, mark, nearest_only=True)


def crossings(curves: Sequence[Curve], rest: float, mark: float, *, nearest_only: bool = False) -> Crossings:
    """Walk from `mark` both ways through the sum of `curves` plus `rest` and return the first sign changes.

    The curves may jump at their edges (venues whose whole position takes its tier's rate); a jump through zero is a
    crossing at the edge. A surplus of exactly zero at the mark is a crossing at the mark. `nearest_only`: the farther
    of the two may be left out.
    """
    here, slope = rest, 0.0
    places, pieces = [], []
    for curve in curves:
        place = _place(curve, mark)
        piece = curve[place]
        places.append(place)
        pieces.append(piece)
        _, _, a, b, c = piece
        here += a + b * mark + c / mark
        slope += b - c / (mark * mark)
    if here == 0.0:
        return Crossings(mark, mark, safe=False)
    # First the way on which the surplus shrinks: it ends soon, and then the other one need not be followed to its end.
    step = -1 if slope * here >= 0.0 else 1
    first = _walk(curves, places[:], pieces[:], rest, mark, here, step, inf)
    reach = inf if first is None or not nearest_only else abs(first - mark)
    second = _walk(curves, places, pieces, rest, mark, here, -step, reach)
    below, above = (first, second) if step < 0 else (second, first)
    return Crossings(below, above, here > 0.0)


def lowest_surplus(curves: Sequence[Curve], rest: float, low: float, high: float) -> tuple[float, float]:
    """The smallest value of the sum of `curves` plus `rest` from price `low` to `high`, and a price that has it.

    At a jump both values count. `low` may be zero: there an inverse contract's profit is without end.
    """
    edges = {curve[place][1] for curve in curves for place in range(len(curve))}
    found = (inf, low)
    for near, far in pairwise(sorted({low, high, *(edge for edge in edges if low < edge < high)})):
        total_a, total_b, total_c = rest, 0.0, 0.0
        for curve in curves:
            _, _, a, b, c = curve[_place(curve, (near + far) / 2.0)]
            total_a += a
            total_b += b
            total_c += c
        turn = sqrt(total_c / total_b) if total_b > 0.0 and total_c > 0.0 else near
        for price in (near, far, turn):
            if near <= price <= far:
                found = min(found, (total_a + total_b * price + _over(total_c, price), price))
    return found


def _over(c: float, price: float) -> float:
    """c / price, up to a price of zero."""
    if price > 0.0 or c == 0.0:
        return c / price if c != 0.0 else 0.0
    return copysign(inf, c)


def _walk(
    curves: Sequence[Curve],
    places: list[int],
    pieces: list[Piece],
    rest: float,
    mark: float,
    here: float,
    step: int,
    reach: float,
) -> float | None:
    """The first sign change on the way from `mark` down (`step` -1) or up (1), None if there is none within `reach`.

    `pieces`, at `places` of the curves, are those that hold at the mark; both are moved along.
    """
    near, end = mark, 0.0 if step < 0 else inf
    while True:
        # Plain loops: this runs between a tick and its alert, up to two dozen times.
        total_a, total_b, total_c, far = rest, 0.0, 0.0, end
        for low, high, a, b, c in pieces:
            total_a += a
            total_b += b
            total_c += c
            far = max(far, low) if step < 0 else min(far, high)
        if far != mark:  # on the way up, a piece that ends at the mark is behind us
            if near != mark and (total_a + total_b * near + total_c / near) * here <= 0.0:
                return near
            low, high = (far, near) if step < 0 else (near, far)
            found = None
            for root in _roots(total_a, total_b, total_c):
                if low < root < high and (found is None or (root - found) * step < 0.0):
                    found = root
            if found is not None or far == end or abs(far - mark) > reach:
                return found
        for k, (low, high, *_) in enumerate(pieces):
            if (low if step < 0 else high) == far:
                places[k] += step
                pieces[k] = curves[k][places[k]]
        near = far


def _place(curve: Curve, price: float) -> int:
    """The place of the piece that holds at `price`, at an edge the lower one."""
    last = len(curve) - 1
    for place in range(last):
        if price <= curve[place][1]:
            return place
    return last


def _roots(a: float, b: float, c: float) -> tuple[float, ...]:
    """Solutions of a + b*p + c/p = 0."""
    if b == 0.0 or c == 0.0:
        if (b == 0.0 and c == 0.0) or a == 0.0:
            return ()
        return (-c / a,) if b == 0.0 else (-a / b,)
    square = a * a - 4.0 * b * c
    if square < 0.0:
        return ()
    # The textbook form loses digits when a*a is much larger than 4*b*c; this one does not.
    q = -(a + (sqrt(square) if a >= 0.0 else -sqrt(square))) / 2.0
    return (q / b, c / q) if q != 0.0 else (0.0,)
