"""The arithmetic of a tick, over flat buffers: one source, run as it is or compiled.

A tick costs what it moves. For each priced instrument, each of its legs gets a new profit and maintenance, its pool's
totals change by the difference, and once all instruments of the frame are in, each touched pool is held against its two
thresholds. No venue, no object, no allocation: rows of `LEG_WIDTH` and `POOL_WIDTH` float64 in row-major order, so a
leg is one cache line.

`plain_kernel` runs on memoryviews (faster to index from Python than arrays); `compiled_kernel`, with Numba, on arrays.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from monitor.margin.pnl import unrealized_pnl
from monitor.margin.risk import maintenance_margin

# Columns of a leg's row. LOW and HIGH bound the notional for which ALPHA and BETA hold.
QUANTITY, ENTRY_VALUE, ALPHA, BETA, LOW, HIGH, PNL, MAINTENANCE = range(8)
LEG_WIDTH = 8
# Columns of a pool's row. Bases hold what no mark moves; UP and DOWN are margin ratios, nan where there is none.
BASE_BALANCE, LEGS_PNL, BASE_MAINTENANCE, LEGS_MAINTENANCE, UP, DOWN = range(6)
POOL_WIDTH = 6
# Counters that a tick leaves behind.
TOUCHED, LEFT, CROSSED = range(3)


def check(pools: Any, touched: Any, crossed: Any, counts: Any) -> None:
    """Put into `crossed` each touched pool whose ratio has reached UP or fallen below DOWN.

    Maintenance is compared with threshold * balance rather than the quotient with the threshold: nothing is divided, a
    balance of zero or less is past every UP, and a threshold of nan is never met.
    """
    n = 0
    for k in range(counts[TOUCHED]):
        w = touched[k] * POOL_WIDTH
        balance = pools[w + BASE_BALANCE] + pools[w + LEGS_PNL]
        maintenance = pools[w + BASE_MAINTENANCE] + pools[w + LEGS_MAINTENANCE]
        reached = maintenance >= pools[w + UP] * balance and (maintenance > 0.0 or balance < 0.0)
        if reached or maintenance < pools[w + DOWN] * balance:
            crossed[n] = touched[k]
            n += 1
    counts[CROSSED] = n


def tick(
    legs: Any,
    leg_instrument: Any,
    leg_pool: Any,
    pools: Any,
    pool_turn: Any,
    turn: int,
    values: Any,
    slots: Any,
    starts: Any,
    lengths: Any,
    lists: Any,
    n: int,
    touched: Any,
    left: Any,
    crossed: Any,
    counts: Any,
) -> None:
    """Move the legs in `n` of the lists to the new `values` of v(p) of their instruments, and check their pools.

    A list is a stretch of `slots` from its start over its length. A leg whose value is nan (no mark yet) stays as it
    is. Legs whose notional left [LOW, HIGH] are put into `left`, computed with the old ALPHA and BETA, and nothing is
    checked: the caller mends them and calls `check`. `pool_turn` remembers the last `turn` that touched a pool, so that
    each is listed once.
    """
    n_touched = 0
    n_left = 0
    for k in range(n):
        start = starts[lists[k]]
        for j in range(start, start + lengths[lists[k]]):
            leg = slots[j]
            value = values[leg_instrument[leg]]
            if value != value:
                continue
            row = leg * LEG_WIDTH
            quantity = legs[row]
            pnl = unrealized_pnl(quantity, value, legs[row + ENTRY_VALUE])
            notional = quantity * value
            if notional < 0.0:
                notional = -notional
            if notional < legs[row + LOW] or notional > legs[row + HIGH]:
                left[n_left] = leg
                n_left += 1
            maintenance = maintenance_margin(legs[row + ALPHA], notional, legs[row + BETA])
            pool = leg_pool[leg]
            w = pool * POOL_WIDTH
            pools[w + LEGS_PNL] += pnl - legs[row + PNL]
            pools[w + LEGS_MAINTENANCE] += maintenance - legs[row + MAINTENANCE]
            legs[row + PNL] = pnl
            legs[row + MAINTENANCE] = maintenance
            if pool_turn[pool] != turn:
                pool_turn[pool] = turn
                touched[n_touched] = pool
                n_touched += 1
    counts[TOUCHED] = n_touched
    counts[LEFT] = n_left
    counts[CROSSED] = 0
    if n_left == 0:
        check(pools, touched, crossed, counts)


@dataclass(frozen=True, slots=True)
class Kernel:
    """The two entry points and how to hand them an array: `wrap` gives what they index."""

    name: str
    tick: Callable[..., None]
    check: Callable[..., None]
    wrap: Callable[[Any], Any]


def plain_kernel() -> Kernel:
    """The functions above, on memoryviews."""
    return Kernel("plain", tick, check, memoryview)


@cache
def compiled_kernel() -> Kernel:
    """The same functions compiled, with the same scalar formulas. Raises ImportError without Numba (extra `fast`)."""
    import numba

    def jit(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, error_model="numpy")(function)
        except RuntimeError:  # nowhere to keep the compiled code, as on a read-only root
            return numba.njit(error_model="numpy")(function)

    scalars = {f.__name__: jit(f) for f in (unrealized_pnl, maintenance_margin)}
    compiled_check = jit(_with_globals(check, scalars))
    compiled_tick = jit(_with_globals(tick, {**scalars, "check": compiled_check}))
    return Kernel("compiled", compiled_tick, compiled_check, lambda array: array)


def best_kernel() -> Kernel:
    """The compiled kernel where Numba is installed, the plain one elsewhere."""
    try:
        return compiled_kernel()
    except ImportError:
        return plain_kernel()


def _with_globals(function: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    """The same code with some global names bound to their compiled counterparts."""
    assert isinstance(function, types.FunctionType)  # noqa: S101
    twin = types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    twin.__module__ = function.__module__
    twin.__qualname__ = function.__qualname__
    return twin
