"""How bad a pool is, by all that says so, and which pools are worst. Pure.

Wherever not all pools can be shown, these are the ones that are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from alerts.alert import Alert, Severity
from monitor.model.assessment import PoolAssessment, PoolTable


class Cause(StrEnum):
    """What a pool's severity comes from."""

    MARGIN_RATIO = "margin_ratio"
    DISTANCE = "distance"
    ALERT = "alert"
    """An alert that fires for the pool, where no present figure asks for as much."""


CAUSE_WORDS = {Cause.MARGIN_RATIO: "ratio", Cause.DISTANCE: "distance", Cause.ALERT: "alert"}


@dataclass(frozen=True, slots=True)
class Danger:
    """How bad a pool is, None for no rung reached and no alert, and what says so."""

    severity: Severity | None = None
    by: tuple[Cause, ...] = ()

    def __str__(self) -> str:
        """For example ``emergency · by distance``."""
        if self.severity is None:
            return ""
        return f"{self.severity.label} · by {' and '.join(CAUSE_WORDS[cause] for cause in self.by)}"


CALM = Danger()


class Scale:
    """What pools are measured by: the rungs, as (rule, severity) to threshold, and the alerts that fire."""

    def __init__(self, rungs: Mapping[tuple[str, str], float], firing: Iterable[Alert]) -> None:
        self._ratios = [(s, rungs["margin_ratio", s.label]) for s in Severity if ("margin_ratio", s.label) in rungs]
        self._distances = [(s, rungs["distance", s.label]) for s in Severity if ("distance", s.label) in rungs]
        self._farthest = max((rung for _, rung in self._distances), default=0.0)
        self._firing: dict[str, Severity] = {}
        for alert in firing:
            if alert.pool is not None:
                self._firing[alert.pool] = max(alert.severity, self._firing.get(alert.pool, alert.severity))

    def danger(self, pool: str, ratio: float, distance: float | None) -> Danger:
        """The worst of the rungs reached and of the alerts; liquidation itself is an emergency without any rung.

        An unknown figure (nan) reaches none: that it is unknown is shown beside.
        """
        by_ratio = [severity for severity, rung in self._ratios if ratio >= rung]
        found = {
            Cause.MARGIN_RATIO: Severity.EMERGENCY if ratio >= 1 else max(by_ratio, default=None),
            Cause.DISTANCE: self._near(distance),
            Cause.ALERT: self._firing.get(pool),
        }
        worst = max((severity for severity in found.values() if severity is not None), default=None)
        if worst is None:
            return CALM
        by = tuple(cause for cause, severity in found.items() if severity is worst)
        return Danger(worst, tuple(cause for cause in by if cause is not Cause.ALERT) or by)

    def _near(self, distance: float | None) -> Severity | None:
        if distance is None or not distance <= self._farthest:
            return None
        reached = [severity for severity, rung in self._distances if distance <= rung]
        return Severity.EMERGENCY if distance <= 0 else max(reached, default=None)

    def worst(self, table: PoolTable, assessments: Mapping[str, PoolAssessment], most: int) -> NDArray[np.intp]:
        """Indices of the `most` endangered pools: by severity, then by ratio, then as they stand in the table.

        An unknown ratio ranks as 1.0: behind the pools known to be past liquidation, so that many unknown ones cannot
        hide a lost one, and ahead of all others.
        """
        ratio = np.where(np.isnan(table.margin_ratio), 1.0, table.margin_ratio)
        level = np.zeros(len(ratio), dtype=np.int8)
        for severity, rung in self._ratios:
            level[ratio >= rung] = severity
        level[ratio >= 1.0] = Severity.EMERGENCY
        # Few pools are worse than their ratio says; what is done for each pool stays in the columns.
        worse = dict(self._firing)
        for pool, assessment in assessments.items():
            if (near := self._near(assessment.distance)) is not None:
                worse[pool] = max(near, worse.get(pool, near))
        if worse:
            for index, pool in enumerate(table.pools):
                if pool in worse:
                    level[index] = max(int(level[index]), worse[pool])
        kept = np.arange(len(ratio))
        if len(ratio) > most:
            # Within a level by the ratio, brought below 1; no ratio at all is only at the highest level.
            rank = level + 1.0 - 1.0 / (1.0 + np.maximum(ratio, 0.0))
            kept = np.sort(np.argpartition(rank, len(rank) - most)[-most:])
        return kept[np.lexsort((-ratio[kept], -level[kept]))]
