"""One URL of apprise: its priorities, and why a push was refused."""

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest
import structlog
from requests import Response, Session

from alerts.alert import Severity
from alerts.sinks import _apprise as module
from monitor import logs
from monitor.credential import Secret

SEVERITIES = (None, *Severity)


@pytest.mark.parametrize(
    ("url", "attribute", "values"),
    [
        pytest.param("ntfy://127.0.0.1/topic", "priority", ["default", "low", "default", "high", "max"], id="ntfy"),
        pytest.param(f"pover://{'u' * 30}@{'a' * 30}", "priority", [0, -2, 0, 1, 2], id="Pushover"),
        pytest.param("gotify://127.0.0.1/token", "priority", [5, 0, 5, 8, 10], id="Gotify"),
        pytest.param(f"prowl://{'a' * 40}", "priority", [0, -2, 0, 1, 2], id="Prowl"),
        pytest.param("opsgenie://00000000-0000-0000-0000-000000000000", "priority", [3, 1, 3, 4, 5], id="Opsgenie"),
    ],
)
def test_severity_becomes_the_service_s_priority(url: str, attribute: str, values: list[object]) -> None:
    """In the words or numbers of each; the end of an alert is ordinary."""
    found = [getattr(next(iter(module._service(url, severity, 1.0))), attribute) for severity in SEVERITIES]
    assert found == values


def test_a_service_without_priorities_is_left_as_it_is() -> None:
    """Telegram has none."""
    url = "tgram://123456789:abcdefghijklmnopqrstuvwxyz_ABCDEFGH/42"
    assert len(module._service(url, Severity.EMERGENCY, 1.0)) == 1


@pytest.mark.parametrize(
    ("url", "usable"),
    [("ntfys://ntfy.sh/topic", True), ("nonsense://x", False), ("just words", False), ("tgram://wrong", False)],
)
def test_what_apprise_cannot_use(url: str, usable: bool) -> None:
    """A scheme that it does not know, or a URL that the service would not accept."""
    assert module.is_usable(Secret(url)) is usable


def answered(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Response:
    """What a server said."""
    response = Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = body
    return response


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        pytest.param(answered(429, {"Retry-After": "7"}), 7.0, id="seconds"),
        pytest.param(answered(503, {"Retry-After": "0"}), 0.0, id="at once"),
        pytest.param(answered(429, {"Retry-After": "-3"}), 0.0, id="in the past"),
        pytest.param(answered(429, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}), 0.0, id="a date in the past"),
        pytest.param(answered(429, {}, b'{"parameters": {"retry_after": 5}}'), 5.0, id="in Telegram's words"),
        pytest.param(answered(429, {"Retry-After": "soon"}), None, id="neither"),
        pytest.param(answered(429, {"Retry-After": "inf"}), None, id="for ever"),
        pytest.param(answered(429, {"Retry-After": "nan"}), None, id="no number"),
        pytest.param(answered(429), None, id="no wish"),
        pytest.param(answered(429, {}, b"[1]"), None, id="a body of another shape"),
        pytest.param(answered(500, {"Retry-After": "7"}), None, id="an error that asks for nothing"),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(response: Response, seconds: float | None) -> None:
    """Whatever the header and the body are, reading them never fails."""
    assert module._retry_after_s(response) == seconds


@pytest.mark.parametrize(
    ("heard", "detail", "retry"),
    [
        pytest.param([], "apprise could not push, and does not say why", True, id="no HTTP at all"),
        pytest.param([module._Overheard(200)], "apprise could not push, and does not say why", True, id="all well"),
        pytest.param([module._Overheard(None, "ConnectTimeout")], "cannot be reached: ConnectTimeout", True, id="dead"),
        pytest.param([module._Overheard(200), module._Overheard(401)], "HTTP 401 Unauthorized", False, id="refused"),
        pytest.param([module._Overheard(500)], "HTTP 500 Internal Server Error", True, id="broken"),
        pytest.param([module._Overheard(599)], "HTTP 599", True, id="a status of its own"),
    ],
)
def test_why_it_was_refused(heard: list[module._Overheard], detail: str, retry: bool) -> None:
    """The last exchange that went wrong, and whether the same may succeed later."""
    answer = module._refusal(heard)
    assert (answer.ok, answer.detail, answer.retry) == (False, detail, retry)


def test_listening_twice_is_listening_once() -> None:
    """However many sinks are made, requests is wrapped once."""
    module._overhear()
    once = Session.send
    module._overhear()
    assert Session.send is once


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    """Logging is global: leave it as it was."""
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.usefixtures("_logging_restored")
async def test_what_the_clients_below_complain_of_names_no_address() -> None:
    """A server whose answer is no good HTTP has urllib3 write down the whole URL, which is the secret."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nthis line is no header\r\nX: y\r\n\r\nok")
        await writer.drain()
        writer.close()

    out = io.StringIO()
    logs.configure(logs.LogConfig(), out)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        channel = module.Channel(Secret(f"json://127.0.0.1:{port}/hook/TOPSECRETTOKEN"))
        assert (await channel.push("title", "body", Severity.CRITICAL, 5.0, lambda: None)).ok
    assert "urllib3" in out.getvalue()
    assert "TOPSECRETTOKEN" not in out.getvalue()
    assert "hook" not in out.getvalue()
