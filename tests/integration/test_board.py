"""The board of a real daemon beside a simulated venue, in a real browser."""

import pytest

from tests.support.chromium import chromium
from tests.support.daemon import Daemon
from tests.support.venue_server import Venue

pytestmark = pytest.mark.integration

LIVE = "document.documentElement.dataset.link === 'live'"
PERCENT = "parseFloat(document.querySelector('.row.pool .percent')?.innerText)"


async def test_the_board_of_a_daemon(venue: Venue, watching: Daemon) -> None:
    """It follows the marks, hands an acknowledgement over, says when it is blind, and when the daemon is killed."""
    async with chromium() as browser, browser.page(f"http://127.0.0.1:{watching.port}/") as page:
        await page.until(LIVE)
        await page.until(f"{PERCENT} > 0 && {PERCENT} < 50")
        await venue.marks(BTCUSDT="69600")
        await page.until(f"{PERCENT} > 20")
        await page.until("document.querySelectorAll('.alert').length > 0")
        assert "BTCUSDT" in await page.text(".row.pool .scope")
        assert (await page.text(".row.pool .mark")) == "69,600"
        assert "binance mark" in " ".join(await page.texts(".feed"))

        token = (watching.directory / "state.sqlite.token").read_text().strip()
        await page.evaluate(f"sessionStorage.setItem('marginwatch.token', '{token}')")
        await page.click(".alert .acknowledge")
        await page.until("document.querySelector('.alert .handled').innerText.includes('acknowledged by board')")
        assert page.troubles == []

        await venue.stream_fault("market", "refuse", future=True, times=4)
        await venue.stream_fault("market", "drop")
        await page.until("document.querySelector('#blind li')?.innerText.includes('binance/main')")
        await page.until("document.getElementById('blind').hidden", 60)

        await watching.kill()
        await page.until("document.documentElement.dataset.link === 'gone'", 10)
        assert "No answer from the daemon since" in await page.text("#gone-words")
        await watching.start()
        await page.until(LIVE, 20)
        await page.until(f"{PERCENT} > 20")
        assert await page.evaluate("document.getElementById('gone').hidden")
