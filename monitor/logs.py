"""Logs: one line an event, on standard error; standard output belongs to results.

No secret is ever in a line. Tracebacks come without the values of variables. What libraries write is not repeated: they
name addresses and headers. And whatever a line says, known secrets in it are blanked.
"""

import logging
import sys
from enum import StrEnum
from typing import TextIO

import structlog
from pydantic import BaseModel, ConfigDict
from structlog.typing import EventDict, Processor

from monitor.credential import conceal
from monitor.legible import legible

_REPEATED = frozenset({"alerts", "asyncio", "concurrent", "connectors", "marginwatch", "monitor"})
"""Whose lines are written as they are, by the first part of the logger's name: ours, and the interpreter's own."""


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line looks; `AUTO` is coloured words on a terminal and `LOGFMT` elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    LOGFMT = "logfmt"
    JSON = "json"


class LogConfig(BaseModel):
    """``[log]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


def configure(config: LogConfig, stream: TextIO | None = None) -> None:
    """Send structlog's lines, and that a library warned, to `stream` (standard error by default)."""
    stream = stream or sys.stderr
    threshold = getattr(logging, config.level.value.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _legible,
    ]
    structlog.configure(
        processors=[*shared, *_rendering(config.format, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_unless_repeated, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(config.format, stream),
            ],
        )
    )
    # Below warning the client libraries print request lines and headers, and those carry keys.
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _legible(logger: object, method: str, event: EventDict) -> EventDict:
    """What people and venues wrote must not play with the terminal that shows the log; lines and tabs are ours."""
    return {name: legible(value, "\n\t") if isinstance(value, str) else value for name, value in event.items()}


def _unless_repeated(logger: object, method: str, event: EventDict) -> EventDict:
    """Of a library's line, who wrote it and where: how our own requests fail is told by us, in our words."""
    record = event["_record"]
    if record.name.partition(".")[0] in _REPEATED:
        return event
    said = {name: value for name, value in event.items() if name.startswith("_")}
    where = f"{record.module}:{record.lineno}"
    words = "a library complained; its words may hold addresses and keys, and are left out"
    return {**said, "event": words, "library": record.name, "where": where}


def _conceal(logger: object, method: str, line: str) -> str:
    return conceal(line)


def _rendering(wanted: LogFormat, stream: TextIO) -> list[Processor]:
    """How a line is written. Last of all it is looked through, so that no value of any kind escapes."""
    return [_renderer(wanted, stream), _conceal]  # type: ignore[list-item]


def _renderer(wanted: LogFormat, stream: TextIO) -> Processor:
    terminal = stream.isatty()
    if wanted is LogFormat.AUTO:
        wanted = LogFormat.CONSOLE if terminal else LogFormat.LOGFMT
    if wanted is LogFormat.CONSOLE:
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=terminal, timestamp_key="time", exception_formatter=plain)
    if wanted is LogFormat.JSON:
        return structlog.processors.JSONRenderer()
    return structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"], bool_as_flag=False)
