"""A real server as a process of the test: started, stopped, killed and suspended at will, on loopback."""

import asyncio
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import pytest

DEADLINE_S = 20.0
_claims: list[IO[str]] = []
"""Of the ports that were given away: locks that end with the process."""
_ADMIN_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def require(program: str, package: str) -> str:
    """The program's path; skips the test, saying why, when it is not installed."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_ADMIN_PATHS))
    found = shutil.which(program, path=path)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian and Ubuntu: apt-get install {package})")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other test is given while this process lives.

    Below those that the kernel hands out, so that no connection of anybody takes it before its server does.
    """
    directory = Path(tempfile.gettempdir()) / f"marginwatch-test-ports-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    while True:
        port = random.randrange(10_000, 32_000)
        claim = (directory / str(port)).open("w")
        with suppress(OSError), socket.socket() as probe:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()


async def until(holds: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `holds` does; fails the test, saying `what` did not come about, when it does not in time."""
    ends = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.005)


async def until_answer(ask: Callable[[], Awaitable[bool]], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Like `until`, for a question that itself takes time."""
    ends = time.monotonic() + deadline_s
    while not await ask():
        assert time.monotonic() < ends, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(0.002)


class ServerProcess:
    """One server, again and again on the same port and directory. ``with`` ends it, also when it is suspended."""

    def __init__(self, command: Sequence[str], port: int, directory: Path) -> None:
        self.command = list(command)
        self.port = port
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.directory)
        ends = time.monotonic() + DEADLINE_S
        while not self._accepts():
            assert self._process.poll() is None, (self.directory / "server.log").read_text(errors="replace")
            assert time.monotonic() < ends, f"{self.command[0]} does not accept connections"
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop as an administrator would, so that it can save what it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a warning, if it runs."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        # The signal is on its way; until every thread has stopped one of them may still answer.
        ends = time.monotonic() + DEADLINE_S
        while not self._is_stopped():
            assert time.monotonic() < ends, "the server does not stop"
            time.sleep(0.001)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _is_stopped(self) -> bool:
        assert self._process is not None, "the server does not run"
        stats = Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] in "tTZ" for stat in stats)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        self._process.send_signal(number)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
