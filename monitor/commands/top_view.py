"""What `marginwatch top` shows: the state of a daemon, as ``/api/v1/board`` tells it, on so many columns and lines.

Beside it stands the last hour of each pool from ``/api/v1/history``, where the terminal has room for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf, isinf, isnan
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.alert import Severity, State
from alerts.danger import Cause, Danger
from monitor.commands.demo_screen import bar
from monitor.commands.show import SEVERITY_STYLES, warning_line
from monitor.legible import legible_all
from monitor.views import percent

OLD_S = 4.0
"""Without an answer for so long, what is shown is old."""
ALERTS_MAX, REASONS_MAX, FEEDS_MAX, SILENCES_MAX = 6, 4, 4, 4
BAR_CELLS, BAR_CELLS_WIDE, HOUR_CELLS = 14, 20, 16
WIDE = 166
"""Columns from which there is room for whole names and long bars."""
WHY = 84
"""Columns from which there is room to say what a severity comes from."""
UNCUT = 10_000
"""A width at which nothing is cut, for what is no terminal."""
SECTIONS: dict[str, type] = {
    "at": str,
    "total": int,
    "pools": list,
    "ready": dict,
    "rungs": dict,
    "feeds": list,
    "alerts": list,
    "alerts_total": int,
    "silences": list,
}
"""What a state consists of."""

# What stands beside the pool's name in any case: the ratio, and how bad it is.
_FIXED = 41
_COLOURS = {
    None: "green",
    Severity.NOTICE: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "red",
    Severity.EMERGENCY: "red",
}
_CELLS = {
    "distance": 11,
    "bar": BAR_CELLS_WIDE + 2,
    "hour": HOUR_CELLS + 2,
    "mark": 14,
    "liquidation": 14,
    "pnl": 20,
    "basis": 10,
}
# A column stands where the terminal is at least so wide.
_WIDTHS = {"distance": 60, "bar": 78, "hour": 142, "mark": 106, "liquidation": 106, "pnl": 124, "basis": WIDE}
_LEVELS = "▁▂▃▄▅▆▇█"
HISTORY_S_MIN, HISTORY_POOL_S, HISTORY_AGAIN_S = 5.0, 0.05, 60.0
"""The history is asked for so seldom, more seldom with many pools in it; and so long after an answer that was none."""


@dataclass(slots=True)
class Look:
    """What is known of one daemon. Times `now` are steady seconds of this machine."""

    url: str
    state: dict[str, Any] | None = None
    answered_at: float | None = None
    trouble: str = ""
    history: dict[str, list[float | None]] = field(default_factory=dict)
    """Margin ratios of each pool, the latest last; None is unknown."""
    history_due_at: float = 0.0
    _covered_s: float = 0.0

    def take(self, document: dict[str, Any], now: float) -> None:
        """A new state. Raises KeyError, TypeError, ValueError or AttributeError for what is none."""
        document = legible_all(document)  # who wrote its texts is not known here
        # Another program's answer is refused here, not while it is shown.
        missing = SECTIONS.keys() - document.keys()
        if missing:
            raise KeyError(*sorted(missing))
        if wrong := sorted(name for name, kind in SECTIONS.items() if not isinstance(document[name], kind)):
            raise TypeError(*wrong)
        datetime.fromisoformat(document["at"])
        for pool in document["pools"]:
            _danger(pool)
        self.state, self.answered_at = document, now

    def wants_history(self, width: int, now: float) -> bool:
        """Whether the history should be asked for: there is room for it, and what is known has grown old."""
        return width >= _WIDTHS["hour"] and now >= self.history_due_at

    def remember(self, document: dict[str, Any], now: float) -> None:
        """A new history. Raises KeyError, ValueError, TypeError or AttributeError for what is none."""
        pools = legible_all(document["pools"]).items()
        history = {pool: [_figure(ratio) for ratio in points] for pool, points in pools}
        if any(ratio is not None and isnan(ratio) for points in history.values() for ratio in points):
            raise ValueError("what is unknown is null")
        step_s = float(document["step_s"])
        self._covered_s = (max(map(len, history.values()), default=1) - 1) * step_s
        self.history, self.history_due_at = history, now + max(step_s, HISTORY_S_MIN + HISTORY_POOL_S * len(history))

    def screen(self, width: int, height: int | None, now: float) -> RenderableType:
        """Everything for a terminal of this size; without a height as long as it is."""
        state = self.state
        if state is None or self.answered_at is None:
            return Group(Text(self.url, "bold"), Text(f"NO ANSWER: {self.trouble or 'asking'}", "bold red"))
        age_s = now - self.answered_at
        old = bool(self.trouble) or age_s > OLD_S
        lines = [*self._head(state, age_s if old else None), *_banner(state), *_alerts(state)]
        lines += [*_silences(state), *_feeds(state)]
        room = None if height is None else max(height - len(lines) - 4, 1)
        pools = state["pools"][:room]
        table = self._table(pools, state, width)
        below = [Text(f"{state['total'] - len(pools)} pools with less risk are not shown.", "dim")]
        if not state["total"]:
            below = [Text("No pool has risk open.")]
        elif state["total"] == len(pools):
            below = []
        shown = Group(*_fitting(lines[1:]), table, *below) if pools else Group(*_fitting(lines[1:]), *below)
        return Group(*_fitting(lines[:1]), _Dimmed(shown) if old else shown)

    def _table(self, pools: list[dict[str, Any]], state: Mapping[str, Any], width: int) -> Table:
        heads = {"bar": "", "hour": _since(self._covered_s)}
        points = max(map(len, self.history.values()), default=0)
        rungs, distances = _rungs(state, "margin_ratio"), _rungs(state, "distance")
        names = [name for name, wanted in _WIDTHS.items() if width >= wanted]
        natural = max((len(pool["pool"]) for pool in pools), default=0) + _FIXED + sum(_CELLS[name] for name in names)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.width = None if width >= UNCUT else min(width, natural)
        table.add_column("pool", no_wrap=True, overflow="ellipsis", ratio=1, min_width=9)
        table.add_column("ratio", no_wrap=True, justify="right")
        table.add_column("", no_wrap=True)
        for name in names:
            right = name in ("distance", "mark", "liquidation", "pnl")
            table.add_column(heads.get(name, name), no_wrap=True, justify="right" if right else "left")
        for pool in pools:
            hour = spark(self.history.get(pool["pool"], ()), points)
            table.add_row(*_row(pool, hour, rungs, distances, names, width))
        return table

    def _head(self, state: Mapping[str, Any], old_s: float | None) -> Iterator[Text]:
        at = datetime.fromisoformat(state["at"]).strftime("%H:%M:%S")
        line = Text()
        if old_s is None:
            line.append("● live ", "green").append(f"{at} UTC")
        else:
            why = f" ({self.trouble})" if self.trouble else ""
            line.append(f" NO ANSWER, {old_s:.0f} s old ", "bold reverse red").append(
                f" as of {at} UTC{why}", "bold red"
            )
        alerts = state["alerts_total"]
        line.append(f"  {state['total']} pools · {alerts} alert{'' if alerts == 1 else 's'} · ")
        count = len(state["silences"])
        line.append(f"{count} silence{'' if count == 1 else 's'}  " if state["silences"] else "").append(
            self.url, "dim"
        )
        yield line


@dataclass(slots=True)
class _Dimmed:
    """Whatever it holds, without its colours: old figures never look live."""

    inside: RenderableType
    style: str = field(default="grey50")

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.segment import Segment
        from rich.style import Style

        style = Style.parse(self.style)
        for line in console.render_lines(self.inside, options, pad=False):
            yield from (Segment(segment.text, style) for segment in line)
            yield Segment.line()


def _fitting(lines: list[Text]) -> Iterator[Text]:
    """Each on one line, cut where the terminal ends."""
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line


def _banner(state: Mapping[str, Any]) -> Iterator[Text]:
    """What is not seen."""
    if not state["ready"]["ready"]:
        reasons = state["ready"]["reasons"] or ["the daemon is not ready"]
        for reason in reasons[:REASONS_MAX]:
            yield Text(f" BLIND  {reason} ", "bold white on red")
        if len(reasons) > REASONS_MAX:
            yield Text(f" BLIND  and {len(reasons) - REASONS_MAX} more reasons ", "bold white on red")


def _alerts(state: Mapping[str, Any]) -> Iterator[Text]:
    for message in state["alerts"][:ALERTS_MAX]:
        when = datetime.fromisoformat(message["raised_at"]).strftime("%H:%M:%S")
        severity = Severity[message["severity"].upper()]
        line = warning_line(when, severity, State.FIRING, f"when raised: {message['text']}")
        if message.get("acknowledged"):
            line.append(f"  acknowledged by {message['acknowledged']['by']}", "dim")
        if message.get("silenced"):
            line.append(f"  silenced by {message['silenced']['by']}", "dim")
        yield line
    if state["alerts_total"] > ALERTS_MAX:
        yield Text(f"and {state['alerts_total'] - ALERTS_MAX} more alerts", "dim")


def _silences(state: Mapping[str, Any]) -> Iterator[Text]:
    """What nobody is to hear of, until when, and who wants it so."""
    for silence in state["silences"][:SILENCES_MAX]:
        until = datetime.fromisoformat(silence["until"]).strftime("%d %b %H:%M:%S")
        even = ", even emergencies" if silence["emergency"] else ""
        yield Text(
            f"silent {silence['subject']} until {until}{even}, by {silence['by']}: {silence['reason']}", "yellow"
        )
    if len(state["silences"]) > SILENCES_MAX:
        yield Text(f"and {len(state['silences']) - SILENCES_MAX} more silences", "dim")


def _feeds(state: Mapping[str, Any]) -> Iterator[Text]:
    """Those in trouble one by one, the others counted."""
    troubled = [feed for feed in state["feeds"] if feed["state"] != "live"]
    for feed in troubled[:FEEDS_MAX]:
        age = "no data yet" if feed["age_s"] is None else f"data {feed['age_s']:.1f} s old"
        name = "/".join(part for part in (feed["venue"], feed["account"], feed["stream"]) if part)
        yield Text(f"stream {name}: {feed['state']}, {age} {feed['detail']}".rstrip(), "yellow")
    if len(troubled) > FEEDS_MAX:
        yield Text(f"and {len(troubled) - FEEDS_MAX} more streams in trouble", "yellow")
    yield Text(f"{len(state['feeds']) - len(troubled)} of {len(state['feeds'])} streams live", "dim")


def spark(ratios: Sequence[float | None], points: int, cells: int = HOUR_CELLS) -> str:
    """The last `points` moments as a line from 0 to 1: each cell the highest ratio of its share, a gap where unknown.

    A pool with fewer ratios than there are moments begins later: one under the other, cells mean the same time.
    """
    moments = [None] * (points - len(ratios)) + list(ratios)
    line = ""
    for cell in range(cells):
        first = cell * points // cells
        known = [ratio for ratio in moments[first : max(first + 1, (cell + 1) * points // cells)] if ratio is not None]
        level = min(max(max(known), 0.0), 1.0) * len(_LEVELS) if known else None
        line += " " if level is None else _LEVELS[min(int(level), len(_LEVELS) - 1)]
    return line


def _since(covered_s: float) -> str:
    """What the history covers; at first not an hour yet."""
    if covered_s > 3_400 or covered_s < 1:
        return "last hour"
    return f"last {covered_s:.0f} s" if covered_s < 120 else f"last {covered_s / 60:.0f} min"


def _row(
    pool: Mapping[str, Any],
    hour: str,
    rungs: Mapping[Severity, float],
    distances: Mapping[Severity, float],
    names: list[str],
    width: int,
) -> Iterator[RenderableType]:
    ratio = _figure(pool["margin_ratio"])
    danger = _danger(pool)
    wide = width >= WIDE
    style = "bold red" if ratio is None else _COLOURS[danger.severity]
    # Where a name is cut, what tells two pools apart stands in front.
    short = Text(pool["scope"]).append(f"  {pool['account']} {pool['venue']}", "dim")
    yield Text(pool["pool"]) if wide else short
    yield Text("unknown" if ratio is None else percent(ratio), style)
    yield Text("marks are old", "reverse red") if pool["stale"] else _label(danger, why=width >= WHY)
    legs = pool["legs"] or []
    near = min(legs, key=lambda leg: inf if leg["distance"] is None else float(leg["distance"]), default=None)
    pnl = [_figure(leg["unrealized_pnl"]) for leg in legs]
    for name in names:
        match name:
            case "bar":
                cells = BAR_CELLS_WIDE if wide else BAR_CELLS
                yield Text("░" * cells, "bold red") if ratio is None else bar(ratio, cells, rungs, style)
            case "hour":
                yield Text(hour, style)
            case "distance":
                yield _distance(pool, near, distances)
            case "mark":
                yield "" if near is None else _price(near["mark_price"], "unknown")
            case "liquidation":
                absent = "unknown" if pool["unknown"] else "none"
                yield "" if near is None else _price(near["liquidation_price"], absent)
            case "pnl":
                known = legs and None not in pnl
                yield f"{sum(each for each in pnl if each is not None):+,.2f} {pool['unit']}" if known else ""
            case _:
                yield pool["basis"] or ""


def _danger(pool: Mapping[str, Any]) -> Danger:
    """What the daemon says of a pool. Raises KeyError or ValueError where it does not."""
    name = pool["severity"]
    return Danger(None if name is None else Severity[name.upper()], tuple(map(Cause, pool["severity_by"])))


def _label(danger: Danger, *, why: bool) -> Text:
    """How bad, and why unless the ratio, which stands beside it, says so itself."""
    if danger.severity is None:
        return Text()
    label = Text(danger.severity.label, SEVERITY_STYLES[danger.severity])
    if why and Cause.MARGIN_RATIO not in danger.by:
        return Text.assemble(label, (str(danger).removeprefix(danger.severity.label), "default"))
    return label


def _distance(
    pool: Mapping[str, Any], near: Mapping[str, Any] | None, rungs: Mapping[Severity, float]
) -> RenderableType:
    if near is None:
        return ""
    if near["distance"] is None:
        return "unknown" if pool["unknown"] else "none"
    distance = float(near["distance"])
    reached = [severity for severity, rung in rungs.items() if distance <= rung]
    level = Severity.EMERGENCY if distance <= 0 else max(reached, default=None)
    return Text(percent(distance), _COLOURS[level] if level else "")


def _rungs(state: Mapping[str, Any], rule: str) -> dict[Severity, float]:
    return {Severity[name.upper()]: float(rung) for name, rung in state["rungs"].get(rule, {}).items()}


def _figure(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _price(value: float | str | None, absent: str) -> str:
    figure = _figure(value)
    if figure is None or isinf(figure):
        return absent
    return f"{figure:,.2f}" if abs(figure) >= 100 else f"{figure:.6g}"
