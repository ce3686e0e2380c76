"""Logs: one line an event, in the form that was asked for."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from monitor import credential
from monitor.credential import Secret
from monitor.logs import LogConfig, LogFormat, LogLevel, configure

TOKEN = "hunter2-hunter2"


class Terminal(io.StringIO):
    """A terminal, as far as it is asked."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is global, and so is what is secret: leave it as it was."""
    monkeypatch.setattr(credential, "_known", credential.Known())
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_json_lines_carry_the_same_keys_from_everywhere() -> None:
    """Our own lines and the libraries' are both one JSON object with time, level and event."""
    stream = io.StringIO()
    configure(LogConfig(format=LogFormat.JSON), stream)
    structlog.get_logger().info("ours", account="main")
    logging.getLogger("asyncio").warning("theirs %d", 1)
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
    logging.getLogger("asyncio").warning("they said %s", "\x1b]0;own\x07")
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


def fail(token: str) -> None:
    """Fail with it in a variable and in the words."""
    login = f"Bearer {token}"
    raise RuntimeError(f"no header can hold {login!r}")


@pytest.mark.parametrize("wanted", list(LogFormat))
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_traceback_shows_no_variables_and_no_secret(wanted: LogFormat, stream: type[io.StringIO]) -> None:
    """In no format, on no stream, from nobody; where it happened, and what, is still there."""
    out = stream()
    configure(LogConfig(format=wanted), out)
    Secret(TOKEN)
    for log in (structlog.get_logger(), logging.getLogger("asyncio")):
        try:
            fail(TOKEN)
        except RuntimeError:
            log.exception("failed")
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count("in fail") == 2
    assert out.getvalue().count("no header can hold 'Bearer ***'") == 2


@pytest.mark.parametrize("wanted", list(LogFormat))
def test_a_secret_in_any_value_is_blanked(wanted: LogFormat) -> None:
    """Whoever wrote the line, and however deep it is."""
    out = io.StringIO()
    configure(LogConfig(format=wanted), out)
    Secret(TOKEN)
    structlog.get_logger().warning("asked", url=f"http://host/{TOKEN}", parts=[{"key": TOKEN}], error=ValueError(TOKEN))
    logging.getLogger("asyncio").warning("they asked %s", f"http://host/{TOKEN}")
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count("***") == 4


@pytest.mark.parametrize("name", ["urllib3.connection", "aiohttp.client", "mqtt", "push_response", "not_thought_of"])
def test_a_library_is_named_but_not_repeated(name: str) -> None:
    """What it writes may hold an address that nobody registered as a secret; that it warned is told, and from where."""
    out = io.StringIO()
    configure(LogConfig(format=LogFormat.JSON), out)
    try:
        fail("unknown-token")
    except RuntimeError:
        logging.getLogger(name).exception("Failed to parse headers (url=%s)", "http://host/unknown-token")
    assert "unknown-token" not in out.getvalue()
    line = json.loads(out.getvalue())
    assert (line["level"], line["library"], line["where"].partition(":")[0]) == ("error", name, "test_logs")
