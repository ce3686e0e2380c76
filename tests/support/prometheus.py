"""A real Prometheus on loopback, and promtool, for tests; both from the system's packages."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.server_process import free_port

DEADLINE_S = 30.0


def require(program: str) -> str:
    """The program's path; skips the test, saying why, when it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian and Ubuntu: apt-get install prometheus)")
    return found


def promtool(*arguments: str | Path, feed: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool, with `feed` on its standard input; its output is text."""
    command = [require("promtool"), *map(str, arguments)]
    run = subprocess.run(command, input=feed, capture_output=True, timeout=60, check=False)
    return subprocess.CompletedProcess(run.args, run.returncode, run.stdout.decode(), run.stderr.decode())


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running Prometheus."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, **params: str) -> Any:
        """The `data` of an answer of its HTTP API; a refusal fails the test with Prometheus's own words."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{path} {params}: {answer.get('error')}"
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Result of an instant query."""
        data = await self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        result: list[dict[str, Any]] = data["result"]
        return result

    async def until_data(self, expression: str, deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """Ask until the query returns something; fails the test when it does not in time."""
        ends = time.monotonic() + deadline_s
        while not (result := await self.query(expression)):
            assert time.monotonic() < ends, f"no data in {deadline_s:g} s: {expression}"
            await asyncio.sleep(0.1)
        return result


@asynccontextmanager
async def run_prometheus(
    directory: Path, *targets: str, rules: tuple[Path, ...] = (), interval: str = "250ms"
) -> AsyncIterator[PrometheusServer]:
    """Prometheus with its storage below `directory`, scraping each ``host:port`` under the job name ``marginwatch``."""
    program = require("prometheus")
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "marginwatch", "static_configs": [{"targets": list(targets)}]}],
    }
    config_file = directory / "prometheus.yml"
    config_file.write_text(yaml.safe_dump(config))
    port = free_port()
    log = (directory / "prometheus.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={config_file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        stdout=log,
        stderr=log,
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            server = PrometheusServer(f"http://127.0.0.1:{port}", session)
            await _until_ready(server, process)
            yield server
    finally:
        await _end(process)
        log.close()


async def _ready(server: PrometheusServer) -> bool:
    try:
        async with server.session.get(f"{server.url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _until_ready(server: PrometheusServer, process: asyncio.subprocess.Process) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not await _ready(server):
        assert process.returncode is None, "prometheus ended; its prometheus.log in the test's directory says why"
        assert time.monotonic() < ends, "prometheus is not ready; see its prometheus.log in the test's directory"
        await asyncio.sleep(0.05)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
