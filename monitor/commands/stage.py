"""The stage of the demo: simulated exchanges and the real daemon, two processes that are gone afterwards."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from monitor.errors import MarginwatchError

START_S = 30.0
"""How long a process may take to come up; the first run compiles the kernel."""
STOP_S = 8.0
"""From asking a process to end until it is killed. A little more than what the leash gives it."""
LINE_BYTES_MAX = 1_000_000
TAIL_LINES = 15

SECRET_KEYS = ("api_key", "api_secret", "passphrase")

CONFIGURATION = """\
[sinks.console]
format = "json"

[http]
listen = "127.0.0.1:{port}"

[state]
path = "{state}"
"""


class StageError(MarginwatchError):
    """A process of the demo did not do its part."""


@dataclass(slots=True)
class Actor:
    """One process. Its standard output is read by the demo, its standard error goes to the file `log`."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def line(self) -> bytes:
        """The next line it prints, empty at the end."""
        stdout = self.process.stdout
        if stdout is None:  # pragma: no cover - always a pipe
            raise StageError(f"{self.name} has no output")
        return await stdout.readline()

    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
        return ""

    def failed(self, what: str) -> StageError:
        """An error that shows what the process had to say."""
        words = self.last_words()
        return StageError(f"{self.name} {what}" + (f"; it said:\n{words}" if words else ""))


@dataclass(frozen=True, slots=True)
class Stage:
    """Both processes, and where they are. `tables` are the daemon's ``[[account]]`` tables."""

    exchange: Actor
    daemon: Actor
    control_url: str
    tables: tuple[dict[str, str], ...]
    http_url: str


@contextlib.asynccontextmanager
async def stage(directory: Path, simulator_arguments: list[str]) -> AsyncIterator[Stage]:
    """Start the exchange, and what follows it, then the daemon. Whatever happens inside, nothing is left running."""
    async with _actor("the simulated exchange", directory, "connectors.simulator", simulator_arguments, {}) as exchange:
        ready = await _ready(exchange)
        port = _free_port()
        tables, secrets = _accounts(ready["tables"])
        path = directory / "marginwatch.toml"
        rest = CONFIGURATION.format(port=port, state=directory / "marginwatch.sqlite")
        path.write_text("\n".join([*map(_toml, tables), rest]), encoding="utf-8")
        async with _actor("the daemon", directory, "monitor", ["run", "--config", str(path)], secrets) as daemon:
            yield Stage(exchange, daemon, ready["control_url"], tuple(tables), f"http://127.0.0.1:{port}")


def _accounts(given: list[dict[str, str]]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Tables whose secrets stand in the environment, and that environment."""
    secrets: dict[str, str] = {}
    tables = []
    for number, table in enumerate(given, start=1):
        names = {key: f"MARGINWATCH_DEMO_{number}_{key.upper()}" for key in SECRET_KEYS if key in table}
        secrets |= {name: table[key] for key, name in names.items()}
        tables.append(table | {key: f"env:{name}" for key, name in names.items()})
    return tables, secrets


def _toml(table: dict[str, str]) -> str:
    """One ``[[account]]``; a JSON string is a TOML string."""
    return "\n".join(["[[account]]", *(f"{key} = {orjson.dumps(value).decode()}" for key, value in table.items()), ""])


@contextlib.asynccontextmanager
async def _actor(
    name: str, directory: Path, module: str, arguments: list[str], secrets: dict[str, str]
) -> AsyncIterator[Actor]:
    """Run a module on a leash: it ends when the block does, and also when this process is killed."""
    log = directory / f"{module}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "monitor.leash",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **secrets},
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends them in order
        )
    try:
        yield Actor(name, process, log)
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Slip the leash, and insist when that is not enough."""
    if process.stdin is not None:
        process.stdin.close()
    reading = asyncio.ensure_future(process.communicate()) if process.returncode is None else None
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _ready(exchange: Actor) -> dict[str, Any]:
    """What the exchange prints once it listens."""
    try:
        async with asyncio.timeout(START_S):
            line = await exchange.line()
    except TimeoutError:
        raise exchange.failed(f"did not come up within {START_S:.0f} s") from None
    if not line:
        raise exchange.failed("did not come up")
    ready: dict[str, Any] = orjson.loads(line)
    return ready


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
