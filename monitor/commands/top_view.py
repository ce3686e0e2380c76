"""What `marginwatch top` shows: the state of a daemon, as ``/api/v1/board`` tells it, on so many columns and lines.

Beside it stands the last hour of each pool from ``/api/v1/history``, where the terminal has room for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import ceil, inf, isinf, isnan
from textwrap import wrap
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.alert import Severity, State
from alerts.danger import Cause, Danger
from alerts.sinks.console import zone_of
from monitor.commands.demo_screen import bar
from monitor.commands.show import SEVERITY_STYLES, counted, warning_line
from monitor.legible import legible_all
from monitor.views import percent, without_pools

OLD_S = 4.0
"""Without an answer for so long, what is shown is old."""
ALERTS_MAX, REASONS_MAX, FEEDS_MAX, SILENCES_MAX = 6, 4, 4, 4
POOLS_SHARE = 2 / 3
"""Of the lines that a terminal has, so many are for pools before anything else gets one, as far as there are pools."""
HEADED = 6
"""Lines from which there is room for the names of the columns."""
BY_CHARACTERS = 20
"""Of an author's name, where alerts stand on one line each."""
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
        head = self._head(state, age_s if old else None)
        plan = _planned(_sections(state, width), state, width, height)
        pools = state["pools"][: plan.pools]
        below = [Text(line) for line in (*_empty(state, width), *plan.left_out)]
        table = [self._table(pools, state, width, headed=plan.headed)] if pools else []
        shown = Group(*_fitting(plan.lines), *table, *below)
        return Group(*_fitting([head]), _Dimmed(shown) if old else shown)

    def _table(self, pools: list[dict[str, Any]], state: Mapping[str, Any], width: int, *, headed: bool) -> Table:
        heads = {"bar": "", "hour": _since(self._covered_s)}
        points = max(map(len, self.history.values()), default=0)
        rungs, distances = _rungs(state, "margin_ratio"), _rungs(state, "distance")
        names = [name for name, wanted in _WIDTHS.items() if width >= wanted]
        natural = max((len(pool["pool"]) for pool in pools), default=0) + _FIXED + sum(_CELLS[name] for name in names)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=headed)
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

    def _head(self, state: Mapping[str, Any], old_s: float | None) -> Text:
        local = datetime.fromisoformat(state["at"]).astimezone()
        at = f"{local:%H:%M:%S} {zone_of(local)}"
        line = Text()
        if old_s is None:
            line.append("● live ", "green").append(at)
        else:
            why = f" ({self.trouble})" if self.trouble else ""
            line.append(f" NO ANSWER, {old_s:.0f} s old ", "bold reverse red").append(f" as of {at}{why}", "bold red")
        line.append(f"  {counted(state['total'], 'pool')} · ")
        unread = len(state["ready"].get("unread", ()))
        line.append(f"{counted(unread, 'account')} not read yet · " if unread else "", "bold red")
        line.append(f"{counted(state['alerts_total'], 'alert')} · ")
        line.append(f"{counted(len(state['silences']), 'silence')} · " if state["silences"] else "")
        return line.append(self.url, "dim")


@dataclass(frozen=True, slots=True)
class _Section:
    """Lines of one kind, the most important first, of which at most `most` are shown; `total` of them there are."""

    what: str
    lines: list[Text]
    total: int
    most: int
    plural: str = ""

    def left_out(self, shown: int) -> str:
        """The others, counted; empty for none."""
        left = self.total - shown
        return "" if left <= 0 else f"{left:,} {self.plural}" if left > 1 and self.plural else counted(left, self.what)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What stands on a terminal between its first line and its last."""

    lines: list[Text]
    pools: int
    headed: bool
    left_out: list[str]


def _sections(state: Mapping[str, Any], width: int) -> list[_Section]:
    """What stands above the pools, in this order."""
    reasons = [] if state["ready"]["ready"] else state["ready"]["reasons"] or ["the daemon is not ready"]
    troubled = [feed for feed in state["feeds"] if feed["state"] != "live"]
    live = f"{len(state['feeds']) - len(troubled)} of {len(state['feeds'])} streams live"
    today = datetime.fromisoformat(state["at"]).astimezone().date()
    alerts = [_alert(message, width, today) for message in state["alerts"]]
    silences = [_silence(silence, today) for silence in state["silences"]]
    feeds = [_feed(feed) for feed in troubled]
    blind = [Text(f" BLIND  {reason} ", "bold white on red") for reason in reasons]
    return [
        _Section("reason for blindness", blind, len(blind), REASONS_MAX, "reasons for blindness"),
        _Section("alert", alerts, state["alerts_total"], ALERTS_MAX),
        _Section("silence", silences, len(silences), SILENCES_MAX),
        _Section("stream in trouble", feeds, len(feeds), FEEDS_MAX, "streams in trouble"),
        _Section("", [Text(live, "dim")], 0, 1),
    ]


_IN_NEED = ("reason for blindness", "alert", "stream in trouble", "silence", "")
"""Who has the lines that pools do not need, in this order."""


def _planned(sections: list[_Section], state: Mapping[str, Any], width: int, height: int | None) -> _Plan:
    """Share the lines of a terminal: pools by danger first, then the rest; what is left out is counted."""
    reserved = empty = len(_empty(state, width))
    while True:
        pools, shares, headed = _shares(sections, len(state["pools"]), height, reserved)
        with_less = _Section("pool with less risk", [], state["total"], 0, "pools with less risk")
        parts = [with_less.left_out(pools)]
        parts += [section.left_out(shares[section.what]) for section in sections]
        left_out = _not_shown([part for part in parts if part], width)
        if height is None or len(left_out) + empty <= reserved:
            lines = [line for section in sections for line in section.lines[: shares[section.what]]]
            return _Plan(lines, pools, headed, left_out)
        reserved = len(left_out) + empty


def _shares(
    sections: list[_Section], pools: int, height: int | None, reserved: int
) -> tuple[int, dict[str, int], bool]:
    """How many pools, and how many lines of each section, beside the head and `reserved` lines at the end."""
    most = {section.what: min(len(section.lines), section.most) for section in sections}
    if height is None:
        return pools, most, True
    headed = bool(pools) and height >= HEADED
    free = max(height - 1 - reserved - headed, 0)
    # That nothing is seen stands there before what is seen.
    shares = dict.fromkeys(most, 0) | {_IN_NEED[0]: min(most[_IN_NEED[0]], 1, free)}
    free -= shares[_IN_NEED[0]]
    first = min(pools, ceil(free * POOLS_SHARE))
    rest = free - first
    for what in _IN_NEED:
        more = min(most[what] - shares[what], rest)
        shares[what] += more
        rest -= more
    return min(pools, first + rest), shares, headed


def _empty(state: Mapping[str, Any], width: int) -> list[str]:
    """What stands in place of the pools where there are none."""
    ready = state["ready"]
    return [] if state["total"] else wrap(without_pools(ready["ready"], ready.get("unread", ())), width)


def _not_shown(parts: list[str], width: int) -> list[str]:
    """What is left out as a sentence, in as many lines as it takes."""
    if not parts:
        return []
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    one = len(parts) == 1 and parts[0].startswith("1 ")
    return wrap(f"{listed} {'is' if one else 'are'} not shown.", width)


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


def _alert(message: Mapping[str, Any], width: int, today: date) -> Text:
    """One alert. What people did about it stands before its text, which may be cut, and it shouts no more."""
    handled = [
        f"{what} by {_short(message[what]['by'], width)} · "
        for what in ("acknowledged", "silenced")
        if message.get(what)
    ]
    severity = Severity[message["severity"].upper()]
    # Its words are of the time it stands at, unless they were said again.
    said = f"said {_clock(message['said_at'], today)}: " if "said_at" in message else ""
    text = f"{''.join(handled)}{said}{message['text']}"
    line = warning_line(_clock(message["raised_at"], today), severity, State.FIRING, text)
    return Text(line.plain, "dim") if message.get("acknowledged") else line


def _silence(silence: Mapping[str, Any], today: date) -> Text:
    """What nobody is to hear of, until when, and who wants it so."""
    until = _clock(silence["until"], today)
    even = ", even emergencies" if silence["emergency"] else ""
    return Text(f"silent {silence['subject']} until {until}{even}, by {silence['by']}: {silence['reason']}", "yellow")


def _feed(feed: Mapping[str, Any]) -> Text:
    """A stream in trouble."""
    age = "no data yet" if feed["age_s"] is None else f"data {feed['age_s']:.1f} s old"
    name = "/".join(part for part in (feed["venue"], feed["account"], feed["stream"]) if part)
    return Text(f"stream {name}: {feed['state']}, {age} {feed['detail']}".rstrip(), "yellow")


def _clock(time: str, today: date) -> str:
    """A time on this machine's clock, whose zone the first line names; with the day where that is not today."""
    local = datetime.fromisoformat(time).astimezone()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def _short(name: str, width: int) -> str:
    """A name that leaves room for what it stands before."""
    return name if width >= UNCUT or len(name) <= BY_CHARACTERS else f"{name[: BY_CHARACTERS - 1]}…"


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
    yield Text("old figures", "reverse red") if pool["stale"] else _label(danger, why=width >= WHY)
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
