"""How the commands show warnings, durations and times on a terminal."""

from datetime import UTC, datetime

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.alert import Severity, State

SEVERITY_STYLES = {
    Severity.NOTICE: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold red",
    Severity.EMERGENCY: "bold white on red",
}
RULE_WORDS = {"margin_ratio": "margin ratio", "distance": "distance"}


class PipedConsole(Console):
    """A console that says so when nobody reads it any more; rich's own would end the process on the spot."""

    def on_broken_pipe(self) -> None:
        """Let the caller end what it has started first."""
        raise BrokenPipeError


def warning_line(when: str, severity: Severity, state: State, text: str) -> Text:
    """One alert as one line: when, how bad, what."""
    line = Text(f"{when}  ")
    if state is State.RESOLVED:
        line.append(f"{'resolved':<9}", "green")
    else:
        line.append(f"{severity.label:<9}", SEVERITY_STYLES[severity])
    return line.append(f"  {text}")


def warning_row(when: str, severity: Severity, state: State, text: str, advice: str = "") -> RenderableType:
    """The same as wide as the console: what does not fit goes on below its beginning, and no word is broken."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    label, style = ("resolved", "green") if state is State.RESOLVED else (severity.label, SEVERITY_STYLES[severity])
    grid.add_row(when, Text(f"{label:<9}", style), Text(text))
    if advice:
        grid.add_row("", "", Text(advice, "dim"))
    return grid


def clock_time(seconds: float, *, with_date: bool = False) -> str:
    """A time in UTC to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f" if with_date else "%H:%M:%S.%f")[:-3]


def local_time(seconds: float, now: float) -> str:
    """A time of this machine's clock, to the minute and with its zone; with the day when that is not today."""
    local, today = (datetime.fromtimestamp(each).astimezone() for each in (seconds, now))
    day = "" if local.date() == today.date() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M} {local:%Z}"


def counted(count: int, what: str) -> str:
    """``1 frame``, ``1,234 frames``."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def duration(seconds: float) -> str:
    """``1.25 s``, ``4 min 10 s``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
