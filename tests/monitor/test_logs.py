"""Logs: one line an event, in the form that was asked for."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from monitor.logs import LogConfig, LogFormat, LogLevel, configure


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging is global: leave it as it was."""
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_json_lines_carry_the_same_keys_from_everywhere() -> None:
    """Our own lines and the libraries' are both one JSON object with time, level and event."""
    stream = io.StringIO()
    configure(LogConfig(format=LogFormat.JSON), stream)
    structlog.get_logger().info("ours", account="main")
    logging.getLogger("library").warning("theirs %d", 1)
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert (ours["level"], ours["event"], ours["account"]) == ("info", "ours", "main")
    assert (theirs["level"], theirs["event"]) == ("warning", "theirs 1")
    assert ours["time"].endswith("Z")


def test_lines_are_logfmt_where_nobody_watches() -> None:
    """`auto` on something that is not a terminal writes key=value."""
    stream = io.StringIO()
    configure(LogConfig(), stream)
    structlog.get_logger().info("two words", ok=True)
    assert 'level=info event="two words" ok=true' in stream.getvalue()


@pytest.mark.parametrize("wanted", [LogFormat.CONSOLE, LogFormat.LOGFMT, LogFormat.JSON])
def test_what_others_wrote_does_not_play_with_the_terminal(wanted: LogFormat) -> None:
    """An author or a venue's answer may hold escape sequences; a traceback keeps its lines."""
    stream = io.StringIO()
    configure(LogConfig(format=wanted), stream)
    structlog.get_logger().info("silence begins", by="\x1b[2J\x9b31mann")
    logging.getLogger("library").warning("they said %s", "\x1b]0;own\x07")
    assert "?[2J?31mann" in stream.getvalue()
    assert "?]0;own?" in stream.getvalue()
    try:
        int("no number")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert not set(stream.getvalue()) & set("\x1b\x9b\x07")
    assert "ValueError: invalid literal" in stream.getvalue()


def test_quieter_lines_are_left_out() -> None:
    """Nothing below the level is written."""
    stream = io.StringIO()
    configure(LogConfig(level=LogLevel.WARNING), stream)
    structlog.get_logger().info("quiet")
    assert stream.getvalue() == ""


def test_libraries_never_print_their_requests() -> None:
    """Even at debug the client libraries stay at warning: below that they print headers, and those carry keys."""
    stream = io.StringIO()
    configure(LogConfig(level=LogLevel.DEBUG), stream)
    logging.getLogger("websockets.client").debug("> X-MBX-APIKEY: key")
    assert stream.getvalue() == ""
