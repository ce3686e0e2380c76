"""What the demo shows: the pools as a table with bars, warnings as they fire, and at the end what happened."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.alert import Severity, State
from alerts.rules import _words
from monitor.commands.show import SEVERITY_STYLES, clock_time, duration, warning_line, warning_row

BAR_CELLS, BAR_CELLS_MIN = 24, 10
GAP = 2
"""Between two columns."""
WIDTHS = {"ratio": 5, "mark": 10, "liquidation": 11, "distance": 8}
"""At least, of the columns beside the pool's name and its bar; of these the last to go stand first."""
RUNGS = {Severity.NOTICE: 0.50, Severity.WARNING: 0.70, Severity.CRITICAL: 0.85, Severity.EMERGENCY: 0.95}
DISTANCE_RUNGS = {Severity.NOTICE: 0.10, Severity.WARNING: 0.05, Severity.CRITICAL: 0.025, Severity.EMERGENCY: 0.01}
"""The default rungs, on which the demo runs."""
LADDERS = {"margin_ratio": RUNGS, "distance": DISTANCE_RUNGS}


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

    @property
    def advice(self) -> str:
        """What to do about it, with the warnings of the last rung: with each it would bury what happens."""
        shown = self.severity is Severity.EMERGENCY and self.state is State.FIRING
        return str(self.message.get("advice", "")) if shown else ""

    def text(self) -> Text:
        """As one line, however long."""
        text = " · ".join(part for part in (self.message["text"], self.advice) if part)
        return warning_line(clock_time(self.left_at), self.severity, self.state, text)

    def wrapped(self) -> RenderableType:
        """As many lines as it takes, none of which breaks a word."""
        return warning_row(clock_time(self.left_at), self.severity, self.state, self.message["text"], self.advice)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One liquidation by the exchange, and what had been said of its pool before: severity to the time it left.

    `left_at` is of the ladder on the margin ratio, `near_at` of the one on the distance.
    """

    pool: str
    at: float
    left_at: dict[Severity, float]
    near_at: dict[Severity, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Every rung of the margin ratio was said, and before."""
        return all(severity in self.left_at and self.left_at[severity] < self.at for severity in Severity)

    def table(self) -> RenderableType:
        """The rungs of both ladders in the order in which they were reached, with their lead times."""
        table = Table("warning", "rung", "left at (UTC)", "before the liquidation", box=SIMPLE_HEAD)
        rows = [(f"margin ratio {rung:.2f}", severity, self.left_at) for severity, rung in RUNGS.items()]
        far = DISTANCE_RUNGS.items()
        rows += [(f"distance {_words.percent(rung)}", severity, self.near_at) for severity, rung in far]
        for rung, severity, said in sorted(rows, key=lambda row: row[2].get(row[1], inf)):
            left, name = said.get(severity), Text(severity.label, SEVERITY_STYLES[severity])
            when = "" if left is None else clock_time(left)
            table.add_row(name, rung, when, self._before(severity, said))
        title = f"{self.pool}: liquidated by the exchange at {clock_time(self.at)}"
        return Group(Text(title, "bold"), table)

    def _before(self, severity: Severity, said: Mapping[Severity, float]) -> str:
        left = said.get(severity)
        if left is not None:
            return duration(self.at - left) if left < self.at else "too late"
        # A price that passes several rungs in one step is told of once, at the worst of them.
        return "passed over" if any(worse > severity for worse in said) else "never"


@dataclass(slots=True)
class Scene:
    """All that is known at a moment."""

    width: int = 80
    """Of what it is shown on, in characters."""
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
        gone = {pool: document for pool, document in self.pools.items() if pool not in present}
        self.pools = {**present, **gone}
        for pool, document in present.items():
            before, ratio = self.peaks.get(pool), _number(document.get("margin_ratio"))
            if before is None or (ratio is not None and ratio >= (_number(before.get("margin_ratio")) or 0.0)):
                self.peaks[pool] = document
        for pool in sorted(gone):
            self.gone[pool] = "liquidated" if pool in self.liquidations else "closed"

    def verdicts(self) -> list[Verdict]:
        """What the warnings were worth."""
        verdicts = []
        for pool, at in self.liquidations.items():
            left: dict[str, dict[Severity, float]] = {rule: {} for rule in LADDERS}
            for line in self.lines:
                rule = line.message["rule"]
                if rule in left and (line.message["pool"], line.state) == (pool, State.FIRING):
                    left[rule].setdefault(line.severity, line.left_at)
            verdicts.append(Verdict(pool, at, left["margin_ratio"], left["distance"]))
        return verdicts

    def unharmed(self) -> list[str]:
        """The accounts in which nothing was liquidated."""
        return [name for name in self.accounts if not any(pool.startswith(f"{name}/") for pool in self.liquidations)]

    def good(self) -> bool:
        """Every account has lost something, and every rung of it was said before."""
        return bool(self.liquidations) and not self.unharmed() and all(verdict.good for verdict in self.verdicts())

    def worst(self, width: int | None = None) -> Table:
        """The pools, each at its own most dangerous moment, the worst first."""
        worst = dict(sorted(self.peaks.items(), key=lambda item: _danger(item[1]), reverse=True))
        return replace(self, pools=worst, gone={}, width=width or self.width).table()

    def table(self) -> Table:
        """The pools in the order of the board, the most dangerous first, and at the end those that are gone.

        Where there is not room for all, columns are left out rather than cut.
        """
        rows = {pool: self._figures(pool, document) for pool, document in self.pools.items()}
        names = max((cell_len(pool) for pool in rows), default=0)
        widths = _widths(rows.values())
        shown = list(WIDTHS)
        while len(shown) > 1 and names + _taken(widths, shown) > self.width:
            shown.remove("mark" if "mark" in shown else "liquidation" if "liquidation" in shown else shown[-1])
        room = self.width - names - _taken(widths, shown) - GAP
        cells = min(BAR_CELLS, room) if room >= BAR_CELLS_MIN else 0
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        # Where even names do not fit, it is those that are cut: half a figure is another figure.
        name_width = max(1, min(names, self.width - _taken(widths, shown)))
        table.add_column("pool", no_wrap=True, overflow="ellipsis", width=name_width)
        headed = cells >= len("margin ratio")
        if cells:
            table.add_column("margin ratio" if headed else "", no_wrap=True, width=cells)
        for name in shown:
            head = "" if name == "ratio" and headed else name
            table.add_column(head, justify="right", no_wrap=True, width=widths[name])
        for pool, figures in rows.items():
            gone = self.gone.get(pool)
            ratio = _number(self.pools[pool].get("margin_ratio"))
            drawn = [Text(gone, "bold") if gone is not None else bar(ratio, cells)] if cells else []
            stands = {} if gone is not None and cells else figures
            table.add_row(pool, *drawn, *(stands.get(name, "") for name in shown))
        return table

    def _figures(self, pool: str, document: Mapping[str, Any]) -> dict[str, Text]:
        """What stands in a pool's row, by column."""
        gone = self.gone.get(pool)
        return _figures(document) if gone is None else {"ratio": Text(gone, "bold")}

    def summary(self) -> RenderableType:
        """What happened."""
        nothing = "The exchange liquidated nothing{}, so there is nothing to show for it."
        missing = [nothing.format(f" of {name}") for name in self.unharmed()]
        if not self.liquidations and not missing:
            missing = [nothing.format("")]
        shown = [part for verdict in self.verdicts() for part in (verdict.table(), Text())]
        return Group(*shown, *(Text(text, "bold red") for text in missing))


def _widths(rows: Collection[Mapping[str, Text]]) -> dict[str, int]:
    """Of each column, so that everything in it is whole."""
    return {
        name: max([least, *(cell_len(row[name].plain) for row in rows if name in row)])
        for name, least in WIDTHS.items()
    }


def _taken(widths: Mapping[str, int], shown: Iterable[str]) -> int:
    """The characters that columns take, each with the gap before it."""
    return sum(GAP + widths[name] for name in shown)


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


def _figures(document: Mapping[str, Any]) -> dict[str, Text]:
    """What stands in a pool's row, by column: its ratio, and the leg that is nearest to liquidation."""
    ratio = _number(document.get("margin_ratio"))
    figures = {"ratio": Text("?" if ratio is None else _words.ratio(ratio), ratio_style(ratio or 0))}
    near = min(document.get("legs") or [], key=lambda leg: _or_far(leg["distance"]), default=None)
    if near is None:
        return figures
    return figures | {
        "mark": Text(_price(near["mark_price"])),
        "liquidation": Text(_price(near["liquidation_price"]) or "none"),
        "distance": Text(_away(_number(near["distance"]))),
    }


def _away(distance: float | None) -> str:
    """How far liquidation is; in words where the mark has met its price: at OKX that is a tick before a ratio of 1."""
    if distance is None:
        return ""
    return _words.percent(distance) if distance > 0.0 else "reached"


def _danger(document: Mapping[str, Any]) -> tuple[int, float]:
    """The board's order: by severity, then by ratio; what is unknown is not safe."""
    label, ratio = document.get("severity"), _number(document.get("margin_ratio"))
    severity = 0 if label is None else Severity[str(label).upper()].value
    return severity, inf if ratio is None else ratio


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
            if self._live is not None:
                self._console.print(line.wrapped())  # above the table
            else:
                self._console.print(line.text(), soft_wrap=True)
        self._printed = len(self._scene.lines)
        if self._live is not None:
            self._live.update(self._scene.table(), refresh=True)
            return
        if self._scene.pools and now >= self._next_status:
            self._next_status = now + self.STATUS_EVERY_S
            ratios = (
                f"{pool} {_number(document.get('margin_ratio')) or 0.0:.3f}"
                for pool, document in self._scene.pools.items()
                if pool not in self._scene.gone
            )
            self._console.print(f"{clock_time(now)}  ratios     {', '.join(ratios)}", soft_wrap=True)
