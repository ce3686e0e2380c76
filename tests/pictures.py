"""Takes the pictures of the board, of `marginwatch top` and of the demo in docs/: ``make pictures``."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from monitor.commands.stage import stage
from tests.support.chromium import Page, chromium

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BYTES_MAX = 200_000
SECONDS = 48
WORST = "parseFloat(document.querySelector('.row.pool .percent')?.innerText)"
DANGER = f"{WORST} >= 88 && {WORST} < 97"
HISTORY = "document.querySelector('.row.pool .trace').getAttribute('d')?.split('L').length > 8"
PATIENCE_S = 60.0


async def pictures() -> None:
    """Draw the demo, then run its processes and take the others at a moment at which there is something to see."""
    await run("demo", "--picture", str(DOCS / "demo.svg"))
    arguments = ["--scenario", "demo", "--seed", "1", "--max-seconds", "120"]
    with TemporaryDirectory(prefix="marginwatch-pictures-") as directory:
        async with stage(Path(directory), arguments) as on_stage, chromium() as browser:
            url = f"{on_stage.http_url}/"
            await listening(url)
            async with (
                browser.page(url, width=1280, height=600) as desk,
                browser.page(url, width=390, height=844, dark=True, phone=True, scale=1.5) as phone,
            ):
                await desk.until(f"{HISTORY} && {WORST} > 74", PATIENCE_S)
                drawing = asyncio.create_task(top(on_stage.http_url))  # which takes a second to begin
                for page in (desk, phone):
                    await page.until(f"{HISTORY} && {DANGER}", PATIENCE_S)
                await asyncio.gather(take(desk, "board-desktop.png"), take(phone, "board-phone.png"), drawing)


async def listening(url: str) -> None:
    """Wait for the daemon."""
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def take(page: Page, name: str) -> None:
    """One picture, not too large for a README."""
    path = DOCS / name
    await page.screenshot(path)
    size = path.stat().st_size
    print(f"{name}: {size:,} bytes")  # noqa: T201 - a script for developers
    assert size < BYTES_MAX, f"{name} is larger than {BYTES_MAX:,} bytes"
    assert page.troubles == [], page.troubles


async def top(url: str) -> None:
    """The same in a terminal."""
    await run("top", "--url", url, "--picture", str(DOCS / "top.svg"))


async def run(*arguments: str) -> None:
    """A command of marginwatch, to its good end."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "monitor", *arguments, cwd=ROOT)
    assert await process.wait() == 0


if __name__ == "__main__":
    asyncio.run(pictures())
