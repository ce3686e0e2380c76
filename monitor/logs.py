"""Logs: one line an event, on standard error; standard output belongs to results."""

import logging
import sys
from enum import StrEnum
from typing import TextIO

import structlog
from pydantic import BaseModel, ConfigDict
from structlog.typing import EventDict, Processor

from monitor.legible import legible


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
    """Send structlog's lines, and the libraries' warnings, to `stream` (standard error by default)."""
    stream = stream or sys.stderr
    threshold = getattr(logging, config.level.value.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
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
            foreign_pre_chain=shared,
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


def _rendering(wanted: LogFormat, stream: TextIO) -> list[Processor]:
    terminal = stream.isatty()
    if wanted is LogFormat.AUTO:
        wanted = LogFormat.CONSOLE if terminal else LogFormat.LOGFMT
    if wanted is LogFormat.CONSOLE:
        return [structlog.dev.ConsoleRenderer(colors=terminal, timestamp_key="time")]
    if wanted is LogFormat.JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"], bool_as_flag=False),
    ]
