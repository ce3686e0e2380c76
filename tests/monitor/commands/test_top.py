"""`marginwatch top` as people run it: in a terminal, in a pipe, with and without a daemon."""

import asyncio
import codecs
import os
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from monitor.commands.top_view import HOUR_CELLS
from tests.support.board import served
from tests.support.cli import COMMAND, marginwatch
from tests.support.desk import Desk, bad_day
from tests.support.server_process import free_port, until
from tests.support.venue_server import ROOT

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")


async def test_once() -> None:
    """One table for scripts, with whole names; exit code 0."""
    async with served(Desk()) as url:
        found = await marginwatch("top", "--once", "--url", url, env={"COLUMNS": "180"})
        assert found.code == 0
        assert found.err == ""
        assert found.out.splitlines()[-5].startswith("binance/main/DOGEUSDT:short ")


async def test_in_a_pipe_it_prints_once(tmp_path: Path) -> None:
    """Where there is no terminal there is nothing to keep fresh; the address comes from the configuration."""
    async with served(Desk()) as url:
        config = tmp_path / "marginwatch.toml"
        config.write_text(f'[http]\nlisten = "{url.removeprefix("http://")}"\n')
        found = await marginwatch("top", "--config", config)
        assert (found.code, found.err) == (0, "")
        assert "86.76 %  emergency · by distance" in found.out


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
async def test_a_pipe_gets_everything_uncut(environment: dict[str, str]) -> None:
    """Also where the environment makes rich take the pipe for a terminal; COLUMNS bounds it."""
    desk = Desk(bad_day("an-account-with-a-very-long-name-of-its-own-" * 3))
    desk.reasons = ("words " * 50 + "end",)
    async with served(desk) as url:
        found = await marginwatch("top", "--url", url, env={"COLUMNS": "", **environment})
        assert (found.code, found.err) == (0, "")
        assert "…" not in found.out
        assert all(pool.pool in found.out for pool in desk.pools)
        bounded = await marginwatch("top", "--once", "--url", url, env={"COLUMNS": "90"})
        assert "…" in bounded.out
        assert max(map(len, bounded.out.splitlines())) <= 90


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
async def test_an_output_that_holds_ascii_only(environment: dict[str, str]) -> None:
    """Everything is there, with signs that look alike."""
    async with served(Desk()) as url:
        found = await marginwatch("top", "--once", "--url", url, env={"COLUMNS": "180", **environment})
    assert (found.code, found.err) == (0, "")
    assert found.out.isascii()
    assert "86.76 %  emergency . by distance  " in found.out
    assert "############" in found.out


async def test_nobody_there() -> None:
    """A sentence and exit code 1."""
    url = f"http://127.0.0.1:{free_port()}"
    found = await marginwatch("top", "--once", "--url", url)
    assert (found.code, found.out) == (1, "")
    assert f"{url} does not answer" in found.err


async def test_an_address_that_is_none() -> None:
    """A sentence that names the option, and exit code 2."""
    found = await marginwatch("top", "--once", "--url", "desk:9464")
    assert found.code == 2
    assert "--url: must begin with http://" in found.err


async def test_a_picture(tmp_path: Path) -> None:
    """An SVG that asks no other host for anything."""
    async with served(Desk()) as url:
        found = await marginwatch("top", "--url", url, "--picture", tmp_path / "top.svg")
        assert found.code == 0
        drawn = (tmp_path / "top.svg").read_text()
        assert "BTCUSDT" in drawn
        assert "@font-face" not in drawn


class Terminal:
    """A terminal with a program in it."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self._master = master
        self.written = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end within a character
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # the program has ended, and the terminal with it
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._master)
        self.written += self._decoder.decode(piece)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    async def shows(self, words: str) -> None:
        """Wait until something is written from now on."""
        self.written = ""
        await until(lambda: words in self.written, f"{words} on the terminal")


@asynccontextmanager
async def terminal(*arguments: str, columns: int = 90, lines: int = 24) -> AsyncIterator[Terminal]:
    """`marginwatch` in a terminal of this size, killed at the end if it still runs."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=ROOT,
        env={**environment, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        asyncio.get_running_loop().remove_reader(master)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(master)


async def test_the_last_hour_in_a_wide_terminal() -> None:
    """The line of a pool whose ratio has been 86.76 % for as long as anybody has looked."""
    async with served(Desk()) as url, terminal("top", "--url", url, "--every", "0.3", columns=170) as screen:
        await screen.shows("▇" * HOUR_CELLS)
        screen.press("q")
        async with asyncio.timeout(10):
            assert await screen.process.wait() == 0
        assert "Traceback" not in screen.written


async def test_a_daemon_without_a_history() -> None:
    """Everything else is shown."""
    async with served(Desk()) as url, aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/board") as board:
        state = await board.read()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=state, content_type="application/json")

    older = web.Application()
    older.router.add_get("/api/v1/board", answer)
    async with TestServer(older) as server:
        found = await marginwatch("top", "--once", "--url", str(server.make_url("")), env={"COLUMNS": "180"})
    assert (found.code, "86.76 %" in found.out, "last hour" in found.out) == (0, True, True)


async def test_in_a_terminal() -> None:
    """It stays fresh, says so when the daemon is gone, lives again when it is back, and ends on q."""
    desk, listen = Desk(), f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(desk, listen))
        async with terminal("top", "--url", url, "--every", "0.3") as screen:
            await screen.shows("86.76 %")
            desk.pools = desk.pools[3:]
            await screen.shows("2 pools")
            await stack.aclose()
            await screen.shows("NO ANSWER")
            await stack.enter_async_context(served(desk, listen))
            await screen.shows("live")
            screen.press("q")
            async with asyncio.timeout(10):
                assert await screen.process.wait() == 0
            assert "Traceback" not in screen.written
