"""Numbers as people read them on a phone, and the sentences that several rules use."""

from math import ceil, floor, isfinite, isinf, isnan, log10

from monitor.model.assessment import DistanceRemedy, LegAssessment, PoolAssessment, Remedy


def ratio(value: float) -> str:
    """A margin ratio: ``0.874``, ``infinite`` or ``unknown``."""
    if isnan(value):
        return "unknown"
    if isinf(value):
        return "infinite"
    return f"{value:.3f}"


def percent(share: float) -> str:
    """A share with one decimal, and with two or two significant digits below one per cent: ``12.3 %``, ``0.42 %``."""
    if isnan(share):
        return "unknown"
    figure = share * 100
    # By what is shown: 0.996 is rounded to 1.0, and 1 beside 0.99 and 2.0 would look like another kind of number.
    if abs(figure) >= 0.995:
        return f"{figure:.1f} %"
    return f"{figure:.2f} %" if abs(figure) >= 0.0995 else f"{figure:.2g} %"


def amount(value: float) -> str:
    """Money or a price with at least six significant digits and no useless zeros."""
    if not isfinite(value):
        return "unknown" if isnan(value) else "infinite"
    if 1e-4 <= abs(value) < 1000:
        return f"{value:,.6g}"
    decimals = 2 if abs(value) >= 1000 else max(0, 5 - _magnitude(value))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount_at_least(value: float) -> str:
    """Like `amount`, rounded up: following the advice to the digit must be enough."""
    decimals = 2 if abs(value) >= 1000 else max(0, 5 - _magnitude(value))
    return amount(ceil(value * 10**decimals) / 10**decimals)


def seconds(value: float) -> str:
    """A duration: ``12 s``, ``4 min``, ``3 h``."""
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h"


def listing(names: tuple[str, ...], most: int = 4) -> str:
    """A list that fits on a phone: ``BTCUSDT, ETHUSDT and 3 more``."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def nearest_leg(pool: PoolAssessment) -> LegAssessment | None:
    """The leg whose liquidation price is nearest, None where none has one."""
    near = [leg for leg in pool.legs if leg.distance is not None and not isnan(leg.distance)]
    return min(near, key=lambda leg: leg.distance or 0.0, default=None)


def whereabouts(leg: LegAssessment) -> str:
    """Mark against liquidation price of one leg."""
    place = f"{leg.instrument} {leg.side.value} at {amount(leg.mark_price)}"
    if leg.liquidation_price is None or leg.distance is None:
        return place
    return f"{place}, liquidation at {amount(leg.liquidation_price)} ({percent(leg.distance)} away)"


LOOK_YOURSELF = "Look at the venue itself: the last figure that could be seen was in danger."
"""The advice where figures are not of now: what was worked out from them would not be either."""


def when(pool: PoolAssessment) -> str:
    """What follows a figure at once, where it is not of now."""
    return " when last seen" if pool.stale else ""


def unseen(pool: PoolAssessment) -> str:
    """Why a pool's figures are not of now, or not of all of it; empty where they are."""
    lacks = f": {listing(pool.unknown)}" if pool.unknown else ""
    partly = f" · not all of it can be seen{lacks}" if lacks or isnan(pool.margin_ratio) else ""
    return f"{partly}{' · its marks are old' if pool.stale else ''}"


def remedy(pool: PoolAssessment, *, ends_here: bool = False) -> str:
    """What would bring the margin ratio under the target; following it to the digit is enough.

    `ends_here`: the alert that says so is the one that ends there.
    """
    cure = pool.remedy
    if cure is None:
        return ""
    return _ways(pool, cure, f"brings the margin ratio below {_level(cure.target_ratio)}", ends_here=ends_here)


def distance_remedy(pool: PoolAssessment) -> str:
    """What would bring liquidation so far away that the alert on the distance ends; to the digit is enough."""
    cure = pool.distance_remedy
    if cure is None:
        return ""
    # Rounded down: what is farther away than the level is farther away than the figure shown.
    digits = 1000 if cure.target_distance >= 0.01 else 10_000
    level = percent(floor(cure.target_distance * digits + 1e-6) / digits)
    return _ways(pool, cure, f"brings liquidation more than {level} away", ends_here=True)


def _ways(pool: PoolAssessment, cure: Remedy | DistanceRemedy, effect: str, *, ends_here: bool) -> str:
    ways = []
    if cure.add_collateral > 0 and isfinite(cure.add_collateral):
        ways.append(f"add at least {amount_at_least(cure.add_collateral)} {pool.unit} of margin")
    if cure.cut_fraction is not None and cure.cut_fraction > 0:
        ways.append(_cut(pool, cure))
    if not ways:
        return ""
    text = f"{', or '.join(ways)}: {effect}"
    return f"{text[0].upper()}{text[1:]}{', where this alert ends' if ends_here else ''}"


def _cut(pool: PoolAssessment, cure: Remedy | DistanceRemedy) -> str:
    whole = "the position" if len(pool.legs) == 1 else "every position of the pool"
    share = min(100.0, ceil((cure.cut_fraction or 0.0) * 1000) / 10)
    return f"cut {whole} by {share:.1f} %"


def _level(value: float) -> str:
    """A level as it is configured, ``0.45``; what is below the figure shown is below the level."""
    return f"{floor(value * 10_000 + 1e-6) / 10_000:g}"


def _magnitude(value: float) -> int:
    return floor(log10(abs(value))) if value else 0
