"""What the demo shows: the pools as a table with bars, warnings as they fire, and at the end what happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.alert import Severity, State
from monitor.commands.show import SEVERITY_STYLES, clock_time, duration, warning_line
from monitor.views import percent

BAR_CELLS, BAR_CELLS_MIN = 24, 10
TABLE_WIDTH = 70
"""Of the table without its bars."""
RUNGS = {Severity.NOTICE: 0.50, Severity.WARNING: 0.70, Severity.CRITICAL: 0.85, Severity.EMERGENCY: 0.95}
"""The default rungs, on which the demo runs."""


@dataclass(frozen=True, slots=True)
class Line:
    """One alert as the daemon printed it, and when it was read from its output."""

    left_at: float
    message: dict[str, Any]

    @property
    def severity(self) -> Severity:
        """How bad."""
        return Severity[self.message["severity"].upper()]

    @property
    def state(self) -> State:
        """Whether it begins or ends."""
        return State(self.message["state"])

    def text(self) -> Text:
        """As one line."""
        return warning_line(clock_time(self.left_at), self.severity, self.state, self.message["text"])


@dataclass(frozen=True, slots=True)
class Verdict:
    """One liquidation by the exchange, and what had been said of its pool before: severity to the time it left."""

    pool: str
    at: float
    left_at: dict[Severity, float]

    @property
    def good(self) -> bool:
        """Every rung was said, and before."""
        return all(severity in self.left_at and self.left_at[severity] < self.at for severity in Severity)

    def table(self) -> RenderableType:
        """The rungs with their lead times."""
        table = Table("rung", "warning", "left at (UTC)", "before the liquidation", box=SIMPLE_HEAD)
        for severity in Severity:
            left = self.left_at.get(severity)
            before = "never" if left is None else duration(self.at - left) if left < self.at else "too late"
            name = Text(severity.label, SEVERITY_STYLES[severity])
            table.add_row(f"{RUNGS[severity]:.2f}", name, "" if left is None else clock_time(left), before)
        title = f"{self.pool}: liquidated by the exchange at {clock_time(self.at)}"
        return Group(Text(title, "bold"), table)


@dataclass(slots=True)
class Scene:
    """All that is known at a moment."""

    bar_cells: int = BAR_CELLS
    accounts: tuple[str, ...] = ()
    """Venue and account, ``binance/demo``, of each account in which the exchange is to liquidate something."""
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    peaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Each pool at its most dangerous."""
    gone: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    liquidations: dict[str, float] = field(default_factory=dict)
    """Pool to when the exchange liquidated it."""

    def see(self, present: Mapping[str, dict[str, Any]]) -> None:
        """Take the pools as they are now; those that were there before and are not any more are gone."""
        self.pools |= present
        for pool, document in present.items():
            before, ratio = self.peaks.get(pool), _number(document.get("margin_ratio"))
            if before is None or (ratio is not None and ratio >= (_number(before.get("margin_ratio")) or 0.0)):
                self.peaks[pool] = document
        for pool in sorted(set(self.pools) - set(present)):
            self.gone[pool] = "liquidated" if pool in self.liquidations else "closed"

    def verdicts(self) -> list[Verdict]:
        """What the warnings were worth."""
        verdicts = []
        for pool, at in self.liquidations.items():
            left: dict[Severity, float] = {}
            for line in self.lines:
                if (line.message["pool"], line.message["rule"], line.state) == (pool, "margin_ratio", State.FIRING):
                    left.setdefault(line.severity, line.left_at)
            verdicts.append(Verdict(pool, at, left))
        return verdicts

    def unharmed(self) -> list[str]:
        """The accounts in which nothing was liquidated."""
        return [name for name in self.accounts if not any(pool.startswith(f"{name}/") for pool in self.liquidations)]

    def good(self) -> bool:
        """Every account has lost something, and every rung of it was said before."""
        return bool(self.liquidations) and not self.unharmed() and all(verdict.good for verdict in self.verdicts())

    def worst(self, bar_cells: int | None = None) -> Table:
        """The pools, each at its own most dangerous moment."""
        return replace(self, pools=self.peaks, gone={}, bar_cells=bar_cells or self.bar_cells).table()

    def table(self) -> Table:
        """The pools, in the order they were first seen."""
        ratio = "margin ratio" if self.bar_cells >= len("margin ratio") else "ratio"
        columns = ("pool", ratio, "", "mark", "liquidation", "distance")
        table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in table.columns:
            column.no_wrap = True
        for column in table.columns[2:]:
            column.justify = "right"
        for pool, document in self.pools.items():
            table.add_row(*_row(pool, document, self.gone.get(pool), self.bar_cells))
        return table

    def summary(self) -> RenderableType:
        """What happened."""
        nothing = "The exchange liquidated nothing{}, so there is nothing to show for it."
        missing = [nothing.format(f" of {name}") for name in self.unharmed()]
        if not self.liquidations and not missing:
            missing = [nothing.format("")]
        shown = [part for verdict in self.verdicts() for part in (verdict.table(), Text())]
        return Group(*shown, *(Text(text, "bold red") for text in missing))


def bar(
    ratio: float | None, cells: int = BAR_CELLS, rungs: Mapping[Severity, float] = RUNGS, style: str | None = None
) -> Text:
    """A margin ratio as a bar from 0 to 1, in its own colour unless told one; the rungs stand in it as ticks."""
    if ratio is None:
        return Text("unknown".ljust(cells), "bold red")
    filled = round(min(max(ratio, 0.0), 1.0) * cells)
    style = style or ratio_style(ratio, rungs)
    ticks = {min(cells - 1, int(rung * cells)) for rung in rungs.values()}
    text = Text()
    for cell in range(cells):
        if cell < filled:
            text.append("█", style)
        else:
            text.append("┊" if cell in ticks else "·", "dim")
    return text


def _row(pool: str, document: dict[str, Any], gone: str | None, bar_cells: int) -> list[RenderableType]:
    name = Text(pool.split("/", 1)[1])
    if gone is not None:
        return [name, Text(gone, "bold"), "", "", "", ""]
    ratio = _number(document.get("margin_ratio"))
    legs = document.get("legs") or []
    near = min(legs, key=lambda leg: _or_far(leg["distance"]), default=None)
    cells: list[RenderableType] = [
        name,
        bar(ratio, bar_cells),
        Text("?" if ratio is None else f"{ratio:.3f}", ratio_style(ratio or 0)),
    ]
    if near is None:
        return [*cells, "", "", ""]
    distance = _number(near["distance"])
    return [
        *cells,
        _price(near["mark_price"]),
        _price(near["liquidation_price"]) or "none",
        "" if distance is None else percent(distance),
    ]


def ratio_style(ratio: float, rungs: Mapping[Severity, float] = RUNGS) -> str:
    """The colour of the highest rung that a margin ratio has reached."""
    reached = [severity for severity, rung in rungs.items() if ratio >= rung]
    return {None: "green", Severity.NOTICE: "cyan", Severity.WARNING: "yellow"}.get(max(reached, default=None), "red")


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _or_far(value: float | str | None) -> float:
    return float("inf") if value is None else float(value)


def _price(value: float | str | None) -> str:
    return "" if value is None else f"{float(value):,.2f}"


class Screen:
    """A live table on a terminal, plain lines elsewhere."""

    STATUS_EVERY_S = 5.0

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._printed = 0
        self._next_status = 0.0
        self._live = None
        if console.is_terminal:
            from rich.live import Live

            self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> "Screen":
        """Begin."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def refresh(self, now: float) -> None:
        """Show the present."""
        for line in self._scene.lines[self._printed :]:
            self._console.print(line.text(), soft_wrap=True)  # on a terminal, above the table
        self._printed = len(self._scene.lines)
        if self._live is not None:
            self._live.update(self._scene.table(), refresh=True)
            return
        if self._scene.pools and now >= self._next_status:
            self._next_status = now + self.STATUS_EVERY_S
            ratios = (
                f"{pool.split('/', 1)[1]} {_number(document.get('margin_ratio')) or 0.0:.3f}"
                for pool, document in self._scene.pools.items()
                if pool not in self._scene.gone
            )
            self._console.print(f"{clock_time(now)}  ratios     {', '.join(ratios)}", soft_wrap=True)
