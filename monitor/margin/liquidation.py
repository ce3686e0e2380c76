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

from monitor.margin.pnl import price_value
from monitor.margin.risk import Leg
from monitor.margin.tiers import NO_MAINTENANCE, Segment


@dataclass(frozen=True, slots=True)
class Piece:
    """For prices between `low` and `high`, a part of the surplus: a + b*p + c/p."""

    low: float
    high: float
    a: float
    b: float
    c: float


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


def leg_pieces(leg: Leg, segments: Sequence[Segment], shift: float) -> list[Piece]:
    """A leg's profit minus its maintenance (`segments` and `shift`), piece after piece from price zero to infinity."""
    size = abs(leg.quantity)
    entry = -leg.quantity * price_value(leg.inverse, leg.entry_price) - shift
    if leg.inverse:  # notional = size / p falls with price: the last segment holds at the lowest prices
        return [
            Piece(
                size / s.cap,
                size / s.floor if s.floor > 0.0 else inf,
                entry - s.beta,
                0.0,
                -leg.quantity - s.alpha * size,
            )
            for s in reversed(segments)
        ]
    return [Piece(s.floor / size, s.cap / size, entry - s.beta, leg.quantity - s.alpha * size, 0.0) for s in segments]


def liquidation_crossings(
    legs: Iterable[Leg], rest: float, mark: float, *, full: bool = False, nearest_only: bool = False
) -> Crossings:
    """Where margin balance meets maintenance margin.

    `legs` are the pool's legs priced by the instrument; `rest` is the surplus of everything else in the pool (margin
    balance without these legs' profit, minus maintenance without theirs). `full` asks for the last stage instead of the
    first.
    """
    stages = ((leg, leg.maintenance) for leg in legs)
    curves = [leg_pieces(leg, m.full if full and m.full else m.first, m.shift) for leg, m in stages]
    return crossings(curves, rest, mark, nearest_only=nearest_only)


def bankruptcy_crossings(legs: Iterable[Leg], rest: float, mark: float) -> Crossings:
    """Where the margin balance meets zero. `rest` is the pool's margin balance without these legs' profit."""
    return crossings([leg_pieces(leg, NO_MAINTENANCE.first, 0.0) for leg in legs], rest, mark)


def crossings(curves: Sequence[Sequence[Piece]], rest: float, mark: float, *, nearest_only: bool = False) -> Crossings:
    """Walk from `mark` both ways through the sum of `curves` plus `rest` and return the first sign changes.

    Each curve covers all prices from zero to infinity, in ascending order and without gaps. The curves may jump at
    their edges (venues whose whole position takes its tier's rate); a jump through zero is a crossing at the edge. A
    surplus of exactly zero at the mark is a crossing at the mark. `nearest_only`: the farther of the two may be left
    out.
    """
    here, slope = rest, 0.0
    for curve in curves:
        piece = curve[_place(curve, mark, -1)]
        here += piece.a + piece.b * mark + piece.c / mark
        slope += piece.b - piece.c / (mark * mark)
    if here == 0.0:
        return Crossings(mark, mark, safe=False)
    # First the way on which the surplus shrinks: it ends soon, and then the other one need not be followed to its end.
    falling = slope * here >= 0.0
    first = _walk(curves, rest, mark, here, -1 if falling else 1, inf)
    reach = inf if first is None or not nearest_only else abs(first - mark)
    second = _walk(curves, rest, mark, here, 1 if falling else -1, reach)
    below, above = (first, second) if falling else (second, first)
    return Crossings(below, above, here > 0.0)


def lowest_surplus(curves: Sequence[Sequence[Piece]], rest: float, low: float, high: float) -> tuple[float, float]:
    """The smallest value of the sum of `curves` plus `rest` from price `low` to `high`, and a price that has it.

    Curves as in `crossings`. At a jump both values count. `low` may be zero: there an inverse contract's profit is
    without end.
    """
    ends = {piece.high for curve in curves for piece in curve if low < piece.high < high}
    found = (inf, low)
    for near, far in pairwise(sorted({low, high, *ends})):
        a, b, c = rest, 0.0, 0.0
        for curve in curves:
            piece = curve[_place(curve, (near + far) / 2.0, 1)]
            a += piece.a
            b += piece.b
            c += piece.c
        turn = sqrt(c / b) if b > 0.0 and c > 0.0 else near
        for price in (near, far, turn):
            if near <= price <= far:
                found = min(found, (a + b * price + _over(c, price), price))
    return found


def _over(c: float, price: float) -> float:
    """c / price, up to a price of zero."""
    if price > 0.0 or c == 0.0:
        return c / price if c != 0.0 else 0.0
    return copysign(inf, c)


def _walk(
    curves: Sequence[Sequence[Piece]], rest: float, mark: float, here: float, step: int, reach: float
) -> float | None:
    """The first sign change on the way from `mark` down (`step` -1) or up (1), None if there is none within `reach`."""
    places = [_place(curve, mark, step) for curve in curves]
    near, end = mark, 0.0 if step < 0 else inf
    while True:
        # Plain loops: this runs between a tick and its alert, up to two dozen times.
        a, b, c, far = rest, 0.0, 0.0, end
        for curve, place in zip(curves, places, strict=True):
            piece = curve[place]
            a += piece.a
            b += piece.b
            c += piece.c
            far = max(far, piece.low) if step < 0 else min(far, piece.high)
        if near != mark and (a + b * near + c / near) * here <= 0.0:
            return near
        low, high = (far, near) if step < 0 else (near, far)
        found = None
        for root in _roots(a, b, c):
            if low < root < high and (found is None or (root - found) * step < 0.0):
                found = root
        if found is not None or far == end or abs(far - mark) > reach:
            return found
        for k, curve in enumerate(curves):
            piece = curve[places[k]]
            if (piece.low if step < 0 else piece.high) == far:
                places[k] += step
        near = far


def _place(curve: Sequence[Piece], price: float, step: int) -> int:
    """The index of the piece that holds next to `price` in the direction of `step`."""
    for place, piece in enumerate(curve):
        if price < piece.high or (step < 0 and price == piece.high):
            return place
    return len(curve) - 1


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
