"""`marginwatch replay`: what would it have said, and how long before?"""

from contextlib import nullcontext
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alerts.config import AlertsConfig
    from monitor.replay import LeadTime, Liquidated, Outcome, Warned

Item = TypeVar("Item")

PROGRESS_EVERY_S = 0.1
"""Between two updates of the progress bar."""


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording, or a price path (CSV, may be gzipped).")],
    account: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The account that a price path is replayed against (TOML).")
    ] = None,
    alerts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the rungs from the [alerts.*] of this configuration.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Times real time; as fast as possible when left out.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")] = False,
) -> None:
    """Run a recording, or historical prices, through the live code and print warnings and lead times.

    A recording comes from `marginwatch record`. A price path has the columns ts_ms,symbol,open,high,low,close and needs
    an account. The prices of a bar are played open, adverse extreme, other extreme, close: adverse is the low under a
    net long position and the high under a net short one, and all instruments reach it together. Lead times count from
    the latest moment at which a warning can have left to the earliest at which the liquidation can have happened.

    Examples:

        marginwatch replay btcusdt-2021-05-19.csv.gz --account long.toml

        marginwatch replay monday.jsonl.gz --speed 60

        marginwatch replay btcusdt-2021-05-19.csv.gz --account long.toml --json | jq '.lead_times[]'
    """
    from alerts.config import AlertsConfig
    from monitor.accountfile import read_alerts
    from monitor.errors import DocumentError, Fault
    from monitor.pricepath import is_price_path

    rungs = None if alerts is None else read_alerts(alerts)
    screen = _Screen(machine=json)
    if is_price_path(file):
        if account is None:
            raise DocumentError(
                str(file), [Fault("", "a price path needs an account: --account FILE (README, Replay)")]
            )
        outcome = _replay_path(file, account, rungs, speed, screen)
    elif account is not None:
        problem = "a recording, which brings its own account; leave --account out"
        raise DocumentError(str(file), [Fault("", problem)])
    else:
        outcome = _replay_recording(file, rungs or AlertsConfig(), speed, screen)
    screen.end(outcome)


def _replay_path(
    file: Path, account_file: Path, alerts: "AlertsConfig | None", speed: float | None, screen: "_Screen"
) -> "Outcome":
    from monitor.accountfile import read_account_file
    from monitor.pricepath import read_bars, ticks
    from monitor.replay import Moment, PathReplay, Replay, net_sides

    described = read_account_file(account_file)
    bars = read_bars(file, {position.instrument for position in described.account.positions})
    account = described.opened({bar.symbol: bar.open for bar in reversed(bars)})
    first_ms, last_ms = bars[0].at_ms, bars[-1].at_ms
    run = Replay(alerts or described.alerts, first_ms / 1000, judge_marks=False, said=screen.say)
    path = PathReplay(run, account, Moment.known(first_ms / 1000))
    timed = ((tick.at_ms, tick) for tick in ticks(bars, net_sides(account)))
    for tick in _paced(screen.follow(timed, lambda at_ms: (at_ms - first_ms) / max(last_ms - first_ms, 1)), speed):
        path.tick(tick)
        if path.over:
            break
    return run.outcome


def _replay_recording(file: Path, alerts: "AlertsConfig", speed: float | None, screen: "_Screen") -> "Outcome":
    from connectors import recorder
    from monitor.errors import DocumentError, Fault
    from monitor.replay import Moment, Replay

    run: Replay | None = None
    known: set[str] = set()
    with recorder.Replay(file) as recording:
        told = ((int(at * 1000), (at, events)) for at, events in recording)
        for at, events in _paced(screen.follow(told, lambda _: recording.progress), speed):
            run = run or Replay(alerts, at, judge_marks=True, said=screen.say)
            for account in recording.accounts:
                if account.name not in known:
                    known.add(account.name)
                    run.pipeline.add_account(account.venue, account.name.partition("/")[2])
            run.feed(events, Moment.known(at))
    if recording.cut_off and (run is None or not run.outcome.ticks):
        raise DocumentError(str(file), [Fault("", "nothing to replay: it is cut off before the first price")])
    if run is None:
        raise DocumentError(str(file), [Fault("", "an empty recording")])
    run.outcome.cut_off = recording.cut_off
    return run.outcome


def _paced(timed: "Iterable[tuple[int, Item]]", speed: float | None) -> "Iterator[Item]":
    """Hand out each item at its time (milliseconds), `speed` times as fast as it happened."""
    began, first_ms = monotonic(), None
    for at_ms, item in timed:
        first_ms = at_ms if first_ms is None else first_ms
        if speed is not None:
            sleep(max(0.0, began + (at_ms - first_ms) / 1000 / speed - monotonic()))
        yield item


class _Screen:
    """Where a replay shows what it does: results on standard output, progress on standard error."""

    def __init__(self, *, machine: bool) -> None:
        from rich.console import Console

        self._machine = machine
        self._said = False
        self._out = Console(highlight=False, soft_wrap=True)
        self._progress_out = Console(stderr=True)
        if self._out.is_terminal and self._progress_out.is_terminal:
            self._out = self._progress_out  # one terminal: lines must go above the bar, not through it

    def follow(
        self, timed: "Iterator[tuple[int, Item]]", share: "Callable[[int], float]"
    ) -> "Iterator[tuple[int, Item]]":
        """Pass items on and show how far they have come; `share` tells that from an item's time (milliseconds)."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from monitor.commands.show import clock_time

        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
        progress = Progress(*columns, TimeRemainingColumn(), console=self._progress_out, transient=True)
        with progress if self._progress_out.is_terminal else nullcontext():
            task = progress.add_task("", total=1.0)
            shown_at = 0.0
            for at_ms, item in timed:
                if (now := monotonic()) - shown_at >= PROGRESS_EVERY_S:
                    shown_at = now
                    when = clock_time(at_ms / 1000, with_date=True)
                    progress.update(task, completed=share(at_ms), description=when)
                yield at_ms, item

    def say(self, what: "Warned | Liquidated") -> None:
        """Show an alert or a liquidation as it happens."""
        from rich.text import Text

        from alerts.alert import Step
        from monitor.commands.show import clock_time, warning_line, warning_row
        from monitor.replay import Warned

        if self._machine:
            return
        if not self._said:
            self._said = True
            self._out.print("times are in UTC", style="dim")
        when = clock_time(what.when.at, with_date=True)
        if isinstance(what, Warned):
            alert = what.alert
            still = " · said again" if alert.step is Step.REPEATED else ""
            show = warning_row if self._out.is_terminal else warning_line
            self._out.print(show(when, alert.severity, alert.state, f"{alert.text}{still}"))
        else:
            self._out.print(Text(f"{when}  LIQUIDATED {what.pool} ({_by(what)})", "bold"))

    def end(self, outcome: "Outcome") -> None:
        """Show what it all came to."""
        if outcome.cut_off:
            why = "its writer was killed, or the disk was full"
            typer.echo(f"the recording is cut off: {why}; what came later is not in it", err=True)
        if self._machine:
            import orjson

            typer.echo(orjson.dumps(_document(outcome), option=orjson.OPT_INDENT_2))
            return
        self._summary(outcome)

    def _summary(self, outcome: "Outcome") -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        from alerts.alert import Step
        from monitor.commands.show import RULE_WORDS, SEVERITY_STYLES, clock_time, counted, duration

        out = Console(highlight=False, soft_wrap=True)
        for liquidated in outcome.liquidations:
            title = f"{liquidated.pool} liquidated {clock_time(liquidated.when.at, with_date=True)} ({_by(liquidated)})"
            table = Table("severity", "of", "said without a break since", "before, at least", box=SIMPLE_HEAD)
            for lead in (lead for lead in outcome.lead_times if lead.liquidated is liquidated):
                left = clock_time(lead.warned.when.at, with_date=True)
                name = f"[{SEVERITY_STYLES[lead.severity]}]{lead.severity.label}[/]"
                table.add_row(name, RULE_WORDS[lead.rule], left, duration(lead.seconds) if lead.seconds else "none")
            out.print(f"\n[bold]{title}[/]")
            out.print(table)
        if not outcome.liquidations:
            until = f" until {clock_time(outcome.last_at or 0.0, with_date=True)}, where it is cut off"
            out.print(f"\nNothing was liquidated{until if outcome.cut_off else ''}.")
        for pool, (ratio, at) in outcome.peaks.items():
            out.print(f"highest margin ratio of {pool}: {ratio:.3f} at {clock_time(at, with_date=True)}")
        messages, repeats = len(outcome.warnings), sum(w.alert.step is Step.REPEATED for w in outcome.warnings)
        again = f", {repeats:,} of them said again" if repeats else ""
        out.print(f"{counted(outcome.ticks, 'frame')} of prices, {counted(messages, 'message')}{again}; times in UTC")


def _by(liquidated: "Liquidated") -> str:
    return "by the model" if liquidated.by == "model" else "the venue says so"


def _document(outcome: "Outcome") -> dict[str, Any]:
    """What `--json` prints."""
    import orjson

    from alerts.message import encode, number, rfc3339

    def time_of(seconds: float | None) -> str | None:
        return None if seconds is None else rfc3339(seconds)

    return {
        "from": time_of(outcome.first_at),
        "to": time_of(outcome.last_at),
        "ticks": outcome.ticks,
        "cut_off": outcome.cut_off,
        "warnings": [{"at": rfc3339(w.when.at), "message": orjson.loads(encode(w.alert))} for w in outcome.warnings],
        "liquidations": [
            {"pool": each.pool, "at": rfc3339(each.when.at), "by": each.by} for each in outcome.liquidations
        ],
        "lead_times": [_lead_json(lead, rfc3339) for lead in outcome.lead_times],
        "peaks": [
            {"pool": pool, "margin_ratio": number(ratio), "at": rfc3339(at)}
            for pool, (ratio, at) in outcome.peaks.items()
        ],
    }


def _lead_json(lead: "LeadTime", rfc3339: "Callable[[float], str]") -> dict[str, Any]:
    return {
        "pool": lead.pool,
        "rule": lead.rule,
        "severity": lead.severity.label,
        "warned_at": rfc3339(lead.warned.when.at),
        "liquidated_at": rfc3339(lead.liquidated.when.at),
        "lead_s": lead.seconds,
    }
