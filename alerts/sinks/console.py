"""Console: one line an alert, on standard output, in local time under a line that names day and zone."""

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime
from enum import StrEnum
from queue import SimpleQueue
from threading import Thread
from typing import TextIO

from rich.console import Console
from rich.text import Text

from alerts.alert import Alert, Severity, State, Step
from alerts.sink import Envelope, SinkConfig, Surroundings, Untended
from monitor.errors import SinkError
from monitor.legible import legible
from monitor.model.assessment import PoolAssessment

_STYLES = {
    Severity.NOTICE: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "bold red",
    Severity.EMERGENCY: "bold white on red",
}


class ConsoleFormat(StrEnum):
    """What a line is: words for a person, or the message as JSON for a program."""

    TEXT = "text"
    JSON = "json"


class ConsoleConfig(SinkConfig):
    """``[sinks.console]``: on unless `enabled` is false."""

    enabled: bool = True
    format: ConsoleFormat = ConsoleFormat.TEXT


class ConsoleSink(Untended):
    """Writes in a thread of its own: a terminal that is stopped, or a pipe that nobody reads, blocks only that."""

    name = "console"

    def __init__(self, config: ConsoleConfig, stream: TextIO) -> None:
        self.config = config
        self._stream = stream
        self._console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._work: SimpleQueue[tuple[str, Future[None]]] = SimpleQueue()
        self._thread: Thread | None = None
        self._writing: Future[None] | None = None
        self._heading = ""
        """The day and zone under which lines stand at the moment."""

    async def connect(self) -> None:
        """Begin; fails while an earlier line is still stuck."""
        if self._writing is not None and not self._writing.done():
            raise SinkError("console: an earlier line is still not written")
        if self._thread is None:
            self._thread = Thread(target=self._run, name="console", daemon=True)
            self._thread.start()

    async def deliver(self, batch: Sequence[Envelope]) -> None:
        """Write one line an alert."""
        # At most one piece of work waits: the dispatcher hands over the next batch after this one.
        self._writing = Future()
        self._work.put((self._rendered(batch), self._writing))
        try:
            await asyncio.shield(asyncio.wrap_future(self._writing))
        except (OSError, ValueError) as error:
            raise SinkError(f"console: {error}") from error

    def _rendered(self, batch: Sequence[Envelope]) -> str:
        if self.config.format is ConsoleFormat.JSON:
            return "".join(f"{envelope.payload.decode()}\n" for envelope in batch)
        lines: list[Text] = []
        for envelope in batch:
            if (above := heading(envelope.alert.at)) != self._heading:
                self._heading = above
                lines.append(Text(above, "dim"))
            lines.append(line(envelope.alert))
        with self._console.capture() as rendered:
            self._console.print(Text("\n").join(lines))
        return rendered.get()

    async def publish_state(self, present: Sequence[PoolAssessment], gone: Sequence[PoolAssessment]) -> None:
        """The console shows alerts only."""

    async def close(self) -> None:
        """Nothing to close."""

    def _run(self) -> None:
        while True:
            text, done = self._work.get()
            try:
                # Not written by rich: it ends the program when the reader is gone.
                self._stream.write(text)
                self._stream.flush()
                done.set_result(None)
            except (OSError, ValueError) as error:
                done.set_exception(error)


def heading(seconds: float) -> str:
    """What stands above the lines of a day, and again when the day or the clock's offset changes."""
    local = datetime.fromtimestamp(seconds).astimezone()
    return f"# {local:%Y-%m-%d}, times in {zone_of(local)}"


def zone_of(local: datetime) -> str:
    """``EST (UTC-05:00)``, or ``UTC`` where that is all."""
    offset = f"UTC{local:%z}"[:6] + ":" + f"{local:%z}"[3:5]
    name = local.tzname() or ""
    return "UTC" if name in ("UTC", "GMT") else f"{name} ({offset})" if name.isalpha() else offset


def line(alert: Alert) -> Text:
    """Local time, severity, text and advice on one line."""
    resolved = alert.state is State.RESOLVED
    label, style = ("resolved", "green") if resolved else (alert.severity.label, _STYLES[alert.severity])
    at = datetime.fromtimestamp(alert.at).astimezone()
    parts = [(f"{at:%H:%M:%S} ", "dim"), (f"{label:<9} ", style), (legible(alert.text), "")]
    if alert.step is Step.REPEATED:
        parts.append((" · said again", "dim"))
    if alert.acknowledged is not None and not resolved:
        parts.append((f" · acknowledged by {legible(alert.acknowledged.by)}", "dim"))
    if alert.silenced is not None:
        until = datetime.fromtimestamp(alert.silenced.until).astimezone()
        day = "" if until.date() == at.date() else f"{until:%Y-%m-%d} "
        parts.append((f" · silenced until {day}{until:%H:%M}", "dim"))
    if alert.advice:
        parts.append((f" · {legible(alert.advice)}", "dim"))
    return Text.assemble(*parts)


def build(config: ConsoleConfig, surroundings: Surroundings) -> ConsoleSink:
    """Make the sink for standard output."""
    return ConsoleSink(config, sys.stdout)
