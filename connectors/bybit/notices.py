"""What Bybit says that a person should hear: liquidation, deleveraging, lowered limits, trouble of the platform.

Everything is said once for as long as it lasts, however many frames repeat it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from connectors.bybit.answers import Incident
from connectors.bybit.parse import Forced, PositionRow
from connectors.bybit.state import Key
from connectors.wire import ADL_RANK_MAX

FORCED_AGAIN_MS = 60_000
"""Orders of one liquidation come in many frames; later than this it is another."""

_STATUS = {
    "Liq": ("liquidation", "the position is being liquidated"),
    "Adl": ("adl", "the position is being deleveraged"),
}


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to tell; fields as in `monitor.model.events.VenueNotice`."""

    kind: str
    instrument: str
    detail: str


@dataclass(slots=True)
class Notices:
    """Remembers what was said."""

    _positions: dict[Key, frozenset[Said]] = field(default_factory=dict)
    _incidents: frozenset[str] = frozenset()
    _forced_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def of_positions(self, rows: Iterable[PositionRow]) -> list[Said]:
        """What is new about these positions."""
        said = []
        for row in rows:
            key, now = (row.symbol, row.slot), frozenset(_about(row))
            said += sorted(now - self._positions.get(key, frozenset()), key=lambda one: one.kind)
            self._positions[key] = now
        return said

    def of_incidents(self, incidents: Iterable[Incident]) -> list[Said]:
        """What is new among everything that is going on at the platform."""
        going_on = {one.id: one for one in incidents}
        said = [
            Said("system_status", "", f"{one.title or 'maintenance'} is going on at Bybit")
            for name, one in going_on.items()
            if name not in self._incidents
        ]
        self._incidents = frozenset(going_on)
        return said

    def of_forced(self, orders: Iterable[Forced]) -> list[Said]:
        """The first order of each liquidation or deleveraging."""
        said = []
        for order in orders:
            key = (order.symbol, order.kind)
            if order.at_ms - self._forced_ms.get(key, -FORCED_AGAIN_MS) >= FORCED_AGAIN_MS:
                said.append(Said(order.kind, order.symbol, order.detail))
            self._forced_ms[key] = order.at_ms
        return said


def _about(row: PositionRow) -> Iterable[Said]:
    if row.size == 0.0:
        return
    if row.status in _STATUS:
        kind, detail = _STATUS[row.status]
        yield Said(kind, row.symbol, detail)
    if row.adl_rank == ADL_RANK_MAX:
        yield Said("adl_rank", row.symbol, f"ADL rank {row.adl_rank} of {ADL_RANK_MAX}: first in line")
    if row.limit_lowered:
        yield Said("risk_limit", row.symbol, "Bybit lowers the risk limit: maintenance rises, or only reducing is left")
