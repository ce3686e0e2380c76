"""The columns with their arithmetic: instruments, legs and pools as rows, and what a frame of marks does to them.

Knows no account and no venue: `monitor.book` decides which rows there are and what stands in them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.columns import NONE, InstrumentLists, LegTable, PoolRows
from monitor.kernel import (
    ALPHA,
    BASE_BALANCE,
    BASE_MAINTENANCE,
    CROSSED,
    DOWN,
    ENTRY_VALUE,
    HIGH,
    LEFT,
    LEG_WIDTH,
    LEGS_MAINTENANCE,
    LEGS_PNL,
    LOW,
    MAINTENANCE,
    PNL,
    POOL_WIDTH,
    QUANTITY,
    UP,
    Kernel,
)
from monitor.margin.pnl import notional, price_value, unrealized_pnl
from monitor.margin.risk import Risk, maintenance_margin
from monitor.margin.tiers import UNKNOWN, Maintenance
from monitor.model.events import FundingTold, Marks
from monitor.model.instrument import Funding

LEND_AFTER_MS = 5_000
SWEEP_INSTRUMENTS_MIN = 16
"""Frames of fewer instruments never go through the whole book."""


@dataclass(slots=True)
class Instruments:
    """Instruments of all feeds by index: newest mark, when the venue made it and when we saw it."""

    index: dict[str, dict[str, int]] = field(default_factory=dict)
    """Feed to symbol to index."""
    symbols: list[str] = field(default_factory=list)
    inverse: list[bool] = field(default_factory=list)
    mark: list[float] = field(default_factory=list)
    """nan while unknown."""
    mark_ms: list[int] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    """nan until the stream itself brought a mark."""
    turn: list[int] = field(default_factory=list)
    """The last frame that moved it."""
    pause_s: list[float] = field(default_factory=list)
    """How long the venue may say nothing of a mark that does not change."""
    funding: list[Funding | None] = field(default_factory=list)


class Ledger:
    """Rows and the kernel that runs over them. Not thread-safe: one event loop owns it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.legs = LegTable()
        self.pools = PoolRows()
        self.lists = InstrumentLists()
        self.instruments = Instruments()
        self.maintenance: list[Maintenance] = []
        """For each leg row its maintenance by notional, in the pool's unit.

        `pools.missing` counts, for each pool, legs without a mark plus legs without tiers: with any of either the
        pool's figures are unknown, and a leg without tiers adds nothing to maintenance.
        """
        self._watched: dict[int, float] = {}
        """Instruments with legs, since when `stale_instruments` knows of them."""
        self._versions = (-1, -1, -1, -1)
        self._turn = 0
        self._counts = np.zeros(3, np.int64)

    # -- marks: the fast path -------------------------------------------------------------------

    def apply_marks(self, marks: Marks, now: float) -> Sequence[int]:
        """Apply a frame and return the rows of the pools that crossed one of their thresholds.

        Marks not newer than what is known, and marks of instruments nobody asked for, are dropped.
        `now` is when the frame was received, for the age of the data.
        """
        known = self.instruments
        index = known.index.get(marks.feed)
        if index is None:
            return ()
        if self._versions != (self.legs.version, self.pools.version, self.lists.version, len(known.mark)):
            self._refresh_views()
        n, turn = 0, self._turn + 1
        for symbol, price, at_ms in zip(marks.instruments, marks.prices, marks.times_ms, strict=True):
            i = index.get(symbol)
            if i is None or at_ms <= known.mark_ms[i]:
                continue
            known.mark_ms[i] = at_ms
            known.seen[i] = now
            old = known.mark[i]
            known.mark[i] = price
            if old != old:
                self._first_mark(i)
            self._values[i] = -1.0 / price if known.inverse[i] else price
            if known.turn[i] != turn:  # a frame may name an instrument twice
                known.turn[i] = turn
                self._moved[n] = i
                n += 1
        if n == 0:
            return ()
        self._turn = turn
        self.kernel.tick(*self._leg_views, self._turn, *self._lists_of(n), *self._out_views)
        counts = self._counts
        if counts[LEFT]:
            for leg in self._left[: counts[LEFT]].tolist():
                self.choose_segment(leg)
                self.revalue(leg)
            self.kernel.check(*self._check_views)
        return self._crossed[: counts[CROSSED]].tolist() if counts[CROSSED] else ()

    def _lists_of(self, n: int) -> tuple[Any, ...]:
        """What the kernel is to walk for the `n` instruments that moved.

        Most of a big book at once goes through the rows from first to last instead: reading them in the order of memory
        is several times as fast as jumping about in it, and a leg that did not move changes nothing.
        """
        if n > SWEEP_INSTRUMENTS_MIN:
            rows = self.legs.rows.used
            if int(self.lists.lengths[self._moved_array[:n]].sum()) * 2 > rows:
                self._all_lengths[0] = rows
                return (*self._sweep_views, 1)
        return (*self._list_views, n)

    def _refresh_views(self) -> None:
        """Take new views after a table has grown; scratch buffers follow the tables."""
        wrap = self.kernel.wrap
        known, legs, pools, lists = self.instruments, self.legs, self.pools, self.lists
        self._moved_array = np.zeros(len(known.mark), np.int64)
        self._moved = wrap(self._moved_array)
        marks = np.array(known.mark)
        self._values = wrap(np.where(np.array(known.inverse, np.bool_), -1.0 / marks, marks))
        self._left = np.zeros(legs.rows.capacity, np.int32)
        self._crossed = np.zeros(pools.rows.capacity, np.int32)
        touched, counts = wrap(np.zeros(pools.rows.capacity, np.int32)), wrap(self._counts)
        table, crossed = wrap(pools.table), wrap(self._crossed)
        self._leg_views = (wrap(legs.table), wrap(legs.instrument), wrap(legs.pool), table, wrap(pools.turn))
        self._list_views = (self._values, wrap(lists.slots), wrap(lists.starts), wrap(lists.lengths), self._moved)
        self._all_lengths = np.zeros(1, np.int64)
        zero = wrap(np.zeros(1, np.int64))
        every = wrap(np.arange(legs.rows.capacity, dtype=np.int32))
        self._sweep_views = (self._values, every, zero, wrap(self._all_lengths), zero)
        self._out_views = (touched, wrap(self._left), crossed, counts)
        self._check_views = (table, touched, crossed, counts)
        self._versions = (legs.version, pools.version, lists.version, len(known.mark))

    def _first_mark(self, instrument: int) -> None:
        """Legs opened before their instrument's first mark are no longer unknown."""
        for leg in self.lists.legs(instrument).tolist():
            self.pools.missing[self.legs.pool[leg]] -= 1

    # -- instruments ----------------------------------------------------------------------------

    def instrument(self, feed: str, symbol: str, *, inverse: bool) -> int:
        """The index of an instrument, new if need be."""
        known = self.instruments
        index = known.index.setdefault(feed, {})
        i = index.get(symbol)
        if i is None:
            i = index[symbol] = self.lists.new()
            known.symbols.append(symbol)
            known.inverse.append(inverse)
            known.mark.append(nan)
            known.mark_ms.append(0)
            known.seen.append(nan)
            known.turn.append(0)
            known.pause_s.append(0.0)
            known.funding.append(None)
        elif known.inverse[i] is not inverse:  # first heard of before the venue had described it
            known.inverse[i] = inverse
            self._versions = (-1, -1, -1, -1)
        return i

    def has_mark(self, instrument: int) -> bool:
        """Whether any mark is known."""
        return self.instruments.mark[instrument] == self.instruments.mark[instrument]

    def lend_mark(self, instrument: int, price: float, at_ms: int) -> None:
        """Use a mark from elsewhere, of `at_ms`, while the stream brings none; it does not count as seen.

        A mark of the stream is left alone unless it is older by `LEND_AFTER_MS`: then it is of a former life of the
        position, or the stream is silent.
        """
        known = self.instruments
        if self.has_mark(instrument) and at_ms < known.mark_ms[instrument] + LEND_AFTER_MS:
            return
        first = not self.has_mark(instrument)
        known.mark[instrument] = price
        self._versions = (-1, -1, -1, -1)  # the kernel's values are made from the marks
        if first:
            self._first_mark(instrument)
        for leg in self.lists.legs(instrument).tolist():
            self.choose_segment(leg)
            self.revalue(leg)

    def take_funding(self, told: FundingTold) -> None:
        """Keep what was told of instruments that anybody has asked for."""
        index = self.instruments.index.get(told.feed, {})
        for symbol, funding in told.rates:
            if symbol in index:
                self.instruments.funding[index[symbol]] = funding

    def stale_instruments(self, now: float, limit_s: float) -> dict[int, float | None]:
        """Instruments with legs whose newest mark from the stream is older than `limit_s`, to its age.

        Where the venue pauses for longer than that between marks that do not change, its pause is the limit. The age is
        None where the stream never brought one. An instrument gets its limit from the first call that finds a leg in
        it, so call this regularly.
        """
        ages: dict[int, float | None] = {}
        lengths: NDArray[np.int64] = self.lists.lengths[: self.lists.count]
        self._watched = {i: self._watched.get(i, now) for i in np.flatnonzero(lengths).tolist()}
        for i, since in self._watched.items():
            seen, allowed_s = self.instruments.seen[i], max(limit_s, self.instruments.pause_s[i])
            if now - since > allowed_s and not now - seen <= allowed_s:
                ages[i] = None if seen != seen else now - seen
        return ages

    def pools_of(self, instruments: Iterable[int]) -> set[int]:
        """The pools with a leg in any of these instruments."""
        return {pool for i in instruments for pool in self.legs.pool[self.lists.legs(i)].tolist()}

    def unseen(self) -> list[str]:
        """Instruments with legs of which the stream never brought a mark."""
        known = self.instruments
        held = np.flatnonzero(self.lists.lengths[: self.lists.count]).tolist()
        return [known.symbols[i] for i in held if known.seen[i] != known.seen[i]]

    # -- legs -----------------------------------------------------------------------------------

    def add_leg(self, instrument: int, pool: int) -> int:
        """A new leg of size zero."""
        legs = self.legs
        leg = legs.new()
        while len(self.maintenance) < legs.rows.capacity:
            self.maintenance.append(UNKNOWN)
        self.maintenance[leg] = UNKNOWN
        legs.instrument[leg] = instrument
        legs.pool[leg] = pool
        legs.size[leg] = 0.0
        legs.updated_ms[leg] = 0
        legs.position[leg] = self.lists.add(instrument, leg)
        legs.next_in_pool[leg] = self.pools.first_leg[pool]
        self.pools.first_leg[pool] = leg
        self.pools.missing[pool] += 1 + (not self.has_mark(instrument))
        return leg

    def remove_leg(self, leg: int) -> None:
        """Take a leg out of its pool's totals and of all lists."""
        legs, pools = self.legs, self.pools
        pool, instrument = int(legs.pool[leg]), int(legs.instrument[leg])
        row, w = leg * LEG_WIDTH, pool * POOL_WIDTH
        pools.table[w + LEGS_PNL] -= legs.table[row + PNL]
        pools.table[w + LEGS_MAINTENANCE] -= legs.table[row + MAINTENANCE]
        pools.missing[pool] -= (not self.maintenance[leg].first) + (not self.has_mark(instrument))
        moved = self.lists.remove(instrument, int(legs.position[leg]))
        if moved is not None:
            legs.position[moved] = legs.position[leg]
        if pools.first_leg[pool] == leg:
            pools.first_leg[pool] = legs.next_in_pool[leg]
        else:
            before = next(other for other in self.chain(pool) if legs.next_in_pool[other] == leg)
            legs.next_in_pool[before] = legs.next_in_pool[leg]
        legs.table[row : row + LEG_WIDTH] = 0.0
        self.maintenance[leg] = UNKNOWN
        legs.rows.give_back(leg)

    def write_leg(self, leg: int, quantity: float, entry_value: float, maintenance: Maintenance) -> None:
        """Set what a leg is. Totals follow."""
        row = leg * LEG_WIDTH
        table = self.legs.table
        table[row + QUANTITY], table[row + ENTRY_VALUE] = quantity, entry_value
        self.pools.missing[self.legs.pool[leg]] += (not maintenance.first) - (not self.maintenance[leg].first)
        self.maintenance[leg] = maintenance
        self.choose_segment(leg)
        self.revalue(leg)

    def choose_segment(self, leg: int) -> None:
        """Choose alpha and beta for the leg's notional at its mark."""
        maintenance, row = self.maintenance[leg], leg * LEG_WIDTH
        if not maintenance.first:
            self.legs.table[row + ALPHA : row + HIGH + 1] = (0.0, 0.0, 0.0, np.inf)
        else:
            s = maintenance.at(self.notional(leg))
            self.legs.table[row + ALPHA : row + HIGH + 1] = (s.alpha, s.beta + maintenance.shift, s.floor, s.cap)

    def revalue(self, leg: int) -> None:
        """Recompute one leg and move its pool's totals by the difference."""
        row, w = leg * LEG_WIDTH, int(self.legs.pool[leg]) * POOL_WIDTH
        table, pools = self.legs.table, self.pools.table
        quantity, entry_value, alpha, beta = table[row : row + LOW].tolist()
        pnl = unrealized_pnl(quantity, self.value(leg), entry_value)
        maintenance = maintenance_margin(alpha, self.notional(leg), beta)
        pools[w + LEGS_PNL] += pnl - table[row + PNL]
        pools[w + LEGS_MAINTENANCE] += maintenance - table[row + MAINTENANCE]
        table[row + PNL], table[row + MAINTENANCE] = pnl, maintenance

    def value(self, leg: int) -> float:
        """v(p) of the leg's mark; of its entry while no mark is known, so that it counts neither profit nor loss."""
        i = int(self.legs.instrument[leg])
        mark = self.instruments.mark[i]
        if mark != mark:
            return float(self.legs.table[leg * LEG_WIDTH + ENTRY_VALUE])
        return price_value(self.instruments.inverse[i], mark)

    def notional(self, leg: int) -> float:
        """The leg's notional at `value`, in its pool's unit."""
        return notional(float(self.legs.table[leg * LEG_WIDTH + QUANTITY]), self.value(leg))

    # -- pools ----------------------------------------------------------------------------------

    def free_pool(self, pool: int) -> None:
        """Give a pool without legs back."""
        row = pool * POOL_WIDTH
        self.pools.table[row : row + POOL_WIDTH] = 0.0
        self.set_thresholds(pool, nan, nan)
        self.pools.rows.give_back(pool)

    def chain(self, pool: int) -> Iterator[int]:
        """The legs of a pool, newest first."""
        leg = int(self.pools.first_leg[pool])
        while leg != NONE:
            yield leg
            leg = int(self.legs.next_in_pool[leg])

    def base(self, pool: int) -> Risk:
        """What no mark moves."""
        row = pool * POOL_WIDTH
        return Risk(float(self.pools.table[row + BASE_BALANCE]), float(self.pools.table[row + BASE_MAINTENANCE]))

    def set_base(self, pool: int, base: Risk) -> None:
        """Set what no mark moves."""
        row = pool * POOL_WIDTH
        self.pools.table[row + BASE_BALANCE] = base.margin_balance
        self.pools.table[row + BASE_MAINTENANCE] = base.maintenance_margin

    def risk(self, pool: int) -> Risk:
        """A pool's risk as the columns have it now, legs without a mark counted at their entry."""
        v = self.pools.table[pool * POOL_WIDTH : (pool + 1) * POOL_WIDTH].tolist()
        return Risk(v[BASE_BALANCE] + v[LEGS_PNL], v[BASE_MAINTENANCE] + v[LEGS_MAINTENANCE])

    def set_thresholds(self, pool: int, down: float, up: float) -> None:
        """Margin ratios below / at or above which `apply_marks` reports the pool; nan for none."""
        row = pool * POOL_WIDTH
        self.pools.table[row + UP] = up
        self.pools.table[row + DOWN] = down

    def is_crossed(self, pool: int) -> bool:
        """What the kernel checks, for one pool."""
        row, risk = pool * POOL_WIDTH, self.risk(pool)
        up, down = self.pools.table[row + UP], self.pools.table[row + DOWN]
        balance, maintenance = risk.margin_balance, risk.maintenance_margin
        reached = maintenance >= up * balance and (maintenance > 0.0 or balance < 0.0)
        return bool(reached or maintenance < down * balance)

    def risks(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margin balance and maintenance margin of many pools; nan where a mark is missing."""
        view = self.pools.table.reshape(-1, POOL_WIDTH)[rows]
        balance = view[:, BASE_BALANCE] + view[:, LEGS_PNL]
        maintenance = view[:, BASE_MAINTENANCE] + view[:, LEGS_MAINTENANCE]
        unknown = self.pools.missing[rows] > 0
        balance[unknown] = maintenance[unknown] = nan
        return balance, maintenance

    def leg_counts(self) -> NDArray[np.int64]:
        """How many legs each pool row has."""
        used = self.legs.table.reshape(-1, LEG_WIDTH)[: self.legs.rows.used, QUANTITY] != 0.0
        return np.bincount(self.legs.pool[: len(used)][used], minlength=self.pools.rows.capacity)

    def cushions(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Surplus / gross notional of pools, inf where flat: about the smallest relative move that liquidates.

        A lower bound of the distance of every leg, up to the maintenance rate; cheap for very many pools.
        """
        table = self.legs.table.reshape(-1, LEG_WIDTH)[: self.legs.rows.used]
        instrument = self.legs.instrument[: self.legs.rows.used]
        marks = np.array([*self.instruments.mark, nan])
        inverse = np.array([*self.instruments.inverse, False])
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(inverse, 1.0 / marks, marks)
            gross = np.abs(table[:, QUANTITY]) * values[instrument]
            gross[table[:, ENTRY_VALUE] == 0.0] = 0.0  # collateral and rows not in use
            total = np.bincount(self.legs.pool[: len(table)], np.nan_to_num(gross), self.pools.rows.capacity)[rows]
            balance, maintenance = self.risks(rows)
            return np.where(total > 0.0, (balance - maintenance) / total, np.inf)

    def rebuild(self, pools: Iterable[int]) -> float:
        """Recompute the totals of `pools` from their legs; returns the largest relative difference found."""
        rows = np.fromiter(pools, np.int64)
        if not len(rows):
            return 0.0
        legs = self.legs
        if len(rows) * 4 < legs.rows.used:
            mine = np.fromiter((leg for pool in rows.tolist() for leg in self.chain(pool)), np.int64)
        else:
            mine = np.arange(legs.rows.used)  # rows that are not in use are zero
        view = self.pools.table.reshape(-1, POOL_WIDTH)
        drift = 0.0
        for column, total in ((PNL, LEGS_PNL), (MAINTENANCE, LEGS_MAINTENANCE)):
            weights = legs.table.reshape(-1, LEG_WIDTH)[mine, column]
            exact = np.bincount(legs.pool[mine], weights, len(view))[rows]
            gross = np.bincount(legs.pool[mine], np.abs(weights), len(view))[rows]
            difference = np.abs(view[rows, total] - exact) / np.maximum(gross, 1.0)
            drift = max(drift, float(difference.max()))
            view[rows, total] = exact
        return drift
