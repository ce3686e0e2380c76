"""`marginwatch ack`, `silence`, `silences` and `unsilence` against a running daemon."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alerts.alert import Silence
from monitor.commands.handle import AskError, answer_of, seconds_of
from monitor.errors import UserError
from tests.support.board import TOKEN, served
from tests.support.cli import marginwatch
from tests.support.daemon import Daemon, daemon
from tests.support.desk import NOW, Desk
from tests.support.venue_server import venue_in_process

POOL = "binance/main/BTCUSDT:long"
KEY = f"margin_ratio:{POOL}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("1h30m", 5_400), ("1.5 h", 5_400)],
)
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "two hours", "-2h", "2h!", "1..5h"])
def test_what_is_no_duration(text: str) -> None:
    """Is refused with examples."""
    with pytest.raises((UserError, ValueError), match=r"2h|could not"):
        seconds_of(text)


@pytest.mark.parametrize(
    "token", ["to\nken", "to\r\nX-Evil: 1", "t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken \N{EURO SIGN}"]
)
async def test_a_token_that_no_header_bears_is_a_sentence(token: str) -> None:
    """Exit code 2, naming the variable and not the token; one with a line end behind it is as good as without."""
    async with served(Desk()) as url:
        found = await marginwatch("ack", KEY, "--url", url, env={"MARGINWATCH_TOKEN": token})
        assert (found.code, found.err.startswith("MARGINWATCH_TOKEN: a token is one line")) == (2, True)
        assert token not in found.err
        found = await marginwatch("ack", KEY, "--url", url, env={"MARGINWATCH_TOKEN": f"{TOKEN}\n"})
        assert (found.code, found.out) == (0, f"acknowledged: {KEY}\n")


async def test_old_silences_do_not_play_with_the_terminal() -> None:
    """Those that were made before such were refused are shown, with question marks."""
    desk = Desk()
    desk.silent = [Silence("s0", POOL, NOW + 60, "\x1b[31mann", "\x1b[2J\x9b0m", True, NOW)]
    async with served(desk) as url:
        found = await marginwatch("silences", "--url", url)
    assert f"{POOL}  ?[2J?0m (?[31mann) · even emergencies" in found.out
    assert not set(found.out) & set("\x1b\x9b")


@pytest.mark.parametrize("answer", [b"\x1b[2J no HTTP\r\n", b""])
async def test_what_answers_is_no_server(answer: bytes) -> None:
    """A sentence, without what was answered playing with the terminal, and exit code 1."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for command in (("silences",), ("unsilence", "x"), ("top", "--once")):
            found = await marginwatch(*command, "--url", url)
            assert (found.code, found.out) == (1, "")
            assert f"{url} does not answer" in found.err
            assert "\x1b" not in found.err


COMMANDS = (
    ("ack", KEY),
    ("silence", POOL, "--for", "2h", "--reason", "x"),
    ("silences",),
    ("unsilence", "1f0c2b7a"),
    ("top", "--once"),
)
ALERTMANAGER = b'{"status": "success", "data": [{"id": "1f0c", "matchers": []}]}'


@asynccontextmanager
async def another_program(status: int, body: bytes) -> AsyncIterator[str]:
    """The address of a server that answers everything alike."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json")

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(other) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, ALERTMANAGER),
        (200, b'{"acknowledged": "another", "silence": {"id": 5}, "silences": [{}], "ended": "another"}'),
        (404, b"404 page not found"),
    ],
)
async def test_what_answers_is_another_program(status: int, body: bytes) -> None:
    """Each command says in one sentence that it is no marginwatch, claims nothing, and ends with exit code 1."""
    async with another_program(status, body) as url:
        for command in COMMANDS:
            end = await marginwatch(*command, "--url", url)
            assert (end.code, end.out) == (1, "")
            assert end.err.startswith(f"marginwatch: {url} is not a marginwatch")
            assert len(end.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, b"<html>It works!</html>", "is not a marginwatch"),
        (200, b"\xff\xfe", "is not a marginwatch"),
        (200, b"[" * 100_000, "is not a marginwatch"),
        (404, b'{"error": {"code": 404}}', r"is not a marginwatch \(it answered 404\)"),
        (400, b'{"status": "error", "error": "bad matcher"}', r"is not a marginwatch \(it answered 400\)"),
        (502, b"\x1b[2J", r"does not answer \(it answered 502\); is marginwatch running there\?"),
        (503, b'{"error": "too many requests at once"}', "^http://[^ ]+: too many requests at once$"),
    ],
)
async def test_whose_answer_it_is(status: int, body: bytes, sentence: str) -> None:
    """A refusal is believed only in the daemon's own form; what stands before a daemon that is gone speaks for it."""
    async with another_program(status, body) as url:
        with pytest.raises(AskError, match=sentence):
            await asyncio.to_thread(answer_of, url, "/x")


async def test_what_the_daemon_refuses_is_for_a_person_to_mend() -> None:
    """With its own reason."""
    async with another_program(401, b'{"error": "this is not the token"}') as url:
        with pytest.raises(UserError, match="this is not the token"):
            await asyncio.to_thread(answer_of, url, "/x")


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port", "http://a b/"])
async def test_an_address_that_makes_no_sense(url: str) -> None:
    """A sentence, whatever is asked of it."""
    for command in (("silences",), ("top", "--once")):
        found = await marginwatch(*command, "--url", url)
        assert (found.code, "does not answer" in found.err) == (1, True)


@pytest.mark.integration
async def test_orders_to_a_running_daemon(tmp_path: Path) -> None:
    """The token is found beside the state file; the account's keys are not needed; what is wrong is exit code 2."""
    async with venue_in_process() as venue:
        await venue.marks(BTCUSDT="70000")
        await venue.act(
            "main", "set_position", symbol="BTCUSDT", size="1", entry_price="70000", isolated_wallet="311.11"
        )
        async with daemon(venue, tmp_path) as running:
            await running.start(ready=False)
            await running.until(lambda: _fires(running), "the alert")
            config = ("--config", running.path)

            done = await marginwatch("ack", KEY, "--by", "ann", *config)
            assert (done.code, done.out) == (0, f"acknowledged: {KEY}\n")
            (alert,) = [each for each in (await running.get("/api/v1/alerts"))["alerts"] if each["key"] == KEY]
            assert alert["acknowledged"]["by"] == "ann"

            done = await marginwatch("ack", "margin_ratio:nothing", *config)
            assert done.code == 2
            assert KEY in done.err

            made = await marginwatch("silence", POOL, "--for", "2h", "--reason", "adding margin", *config)
            assert made.code == 0, made.err
            identifier = re.search(r"id (\w+)", made.out).group(1)  # type: ignore[union-attr]
            listed = await marginwatch("silences", *config)
            assert f"{POOL}  adding margin" in listed.out
            assert (await marginwatch("unsilence", identifier, *config)).code == 0
            assert (await marginwatch("silences", *config)).out == "no silence is in force\n"
            assert (await marginwatch("silence", POOL, "--for", "ever", "--reason", "x", *config)).code == 2

            token = (tmp_path / "state.sqlite.token").read_text().strip()
            url = ("--url", f"http://127.0.0.1:{running.port}")
            assert (await marginwatch("ack", KEY, *url, env={"MARGINWATCH_TOKEN": token})).code == 0
            # Nobody listens at the proxy: asked directly, the token goes to the daemon alone.
            past = {"MARGINWATCH_TOKEN": token, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
            assert (await marginwatch("ack", KEY, *url, env=past)).code == 0
            refused = await marginwatch("ack", KEY, *url, env={"MARGINWATCH_TOKEN": "guessed"})
            assert (refused.code, "token" in refused.err) == (2, True)
            assert token not in (tmp_path / "err").read_text()
            await running.stop()
        gone = await marginwatch("ack", KEY, *config)
        assert (gone.code, "is marginwatch running there?" in gone.err) == (1, True)


async def _fires(running: Daemon) -> bool:
    answer = await running.get("/api/v1/alerts") or {"alerts": []}
    return any(alert["key"] == KEY for alert in answer["alerts"])
