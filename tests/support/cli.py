"""`marginwatch` as a user runs it: a process of its own, judged by its exit code and what it prints."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.venue_server import ROOT, Venue

COMMAND = (sys.executable, "-m", "monitor")
DEADLINE_S = 60.0
_PLAIN = {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


async def marginwatch(
    *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: bytes = b"", deadline_s: float = DEADLINE_S
) -> Finished:
    """Run a command to its end. No command ever shows a traceback."""
    async with started(*arguments, env=env) as process:
        async with asyncio.timeout(deadline_s):
            out, err = await process.communicate(stdin)
    finished = Finished(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in finished.out + finished.err, finished.err
    return finished


@asynccontextmanager
async def started(
    *arguments: str | Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that runs; killed at the end of the block when it still does."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        cwd=ROOT,
        env={**os.environ, **_PLAIN, **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def read_until(stream: asyncio.StreamReader | None, found: Callable[[str], bool]) -> list[str]:
    """Lines of `stream` up to the first for which `found` holds."""
    assert stream is not None
    lines: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while line := (await stream.readline()).decode():
            lines.append(line)
            if found(line):
                return lines
    raise AssertionError(f"the process ended before it printed that: {''.join(lines)}")


def credentials(venue: Venue, account: str = "main") -> dict[str, str]:
    """The environment in which `configuration` finds the account's key."""
    key = venue.keys[account]
    return {"TEST_KEY": key.api_key, "TEST_SECRET": key.api_secret}


def configuration(directory: Path, venue: Venue, more: str = "", *, account: str = "main", lines: str = "") -> Path:
    """A configuration for an account at `venue`; `lines` join its table, `more` are further tables."""
    path = directory / "marginwatch.toml"
    path.write_text(
        f"""
[[account]]
name = "{account}"
venue = "binance"
api_key = "env:TEST_KEY"
api_secret = "env:TEST_SECRET"
rest_url = "{venue.rest_url}"
market_url = "{venue.market_url}"
private_url = "{venue.private_url}"
permissions_url = "{venue.permissions_url}"
{lines}

[http]
listen = "127.0.0.1:0"

[state]
path = "{directory / "state.sqlite"}"

{more}
""",
        encoding="utf-8",
    )
    return path
