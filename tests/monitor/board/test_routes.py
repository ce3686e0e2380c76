"""The board's files and documents over HTTP, and that they are installed with the package."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import aiohttp
import orjson
import pytest

from monitor.board.routes import PAGE_POLICY
from monitor.clock import ManualClock
from tests.support.board import served
from tests.support.desk import Desk
from tests.support.server_process import until_answer

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "monitor" / "board" / "static"
FILES = sorted(path.name for path in STATIC.iterdir())


@pytest.mark.parametrize("path", ["/", *(f"/board/{name}" for name in FILES if name != "index.html")])
async def test_files(path: str) -> None:
    """Each file is served as what it is, under a policy that allows only the daemon's own."""
    async with served(Desk()) as url, aiohttp.ClientSession() as session, session.get(url + path) as response:
        assert response.status == 200
        kinds = {"": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert response.content_type == kinds[path.partition(".")[2]]
        assert response.headers["Content-Security-Policy"] == PAGE_POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read() == (STATIC / (path.rpartition("/")[2] or "index.html")).read_bytes()


@pytest.mark.parametrize(
    "path", ["/board/nothing.js", "/board/index.html", "/board/", "/board/..%2froutes.py", "/board/../routes.py"]
)
async def test_nothing_else_is_served(path: str) -> None:
    """Only the board's own files, by their own names."""
    async with served(Desk()) as url, aiohttp.ClientSession() as session, session.get(url + path) as response:
        assert response.status == 404


def test_the_policy_is_strict() -> None:
    """No inline script or style, no other host, no framing, no markup made of text."""
    assert "unsafe" not in PAGE_POLICY
    assert PAGE_POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "require-trusted-types-for 'script'" in PAGE_POLICY
    assert not re.search(r"https?:|\*", PAGE_POLICY)


def test_the_page_is_its_own() -> None:
    """It holds no inline script, style or handler, and names no other host."""
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?://|<script(?![^>]*\ssrc=)", html)
    for name in FILES:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|eval\(", text), name
        assert len(text.splitlines()) < 500, name


async def test_history() -> None:
    """Each pool's points, the oldest first; what is endless is written as elsewhere, what is unknown is not there."""
    clock = ManualClock()
    async with served(Desk(), clock=clock) as url, aiohttp.ClientSession() as session:
        document: dict[str, dict[str, list[float | str]]] = {}

        async def noted() -> bool:
            nonlocal document
            async with session.get(url + "/api/v1/history") as response:
                document = orjson.loads(await response.read())
            return bool(document["pools"])

        await until_answer(noted, "the first points")
        assert document["step_s"] == 1.25
        assert document["pools"]["binance/main/DOGEUSDT:short"] == ["Infinity"]
        assert document["pools"]["binance/main/USDT"] == [0.55]
        assert "binance/main/NEWUSDT:long" not in document["pools"]


def test_the_files_are_installed(tmp_path: Path) -> None:
    """A wheel of this tree holds every file of the board."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"monitor/board/static/{name}" for name in FILES} <= names
