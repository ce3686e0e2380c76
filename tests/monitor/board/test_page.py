"""The board in a real browser, over a desk: what it shows, how it is worked, and what it never does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from alerts.alert import Acknowledgement, Severity
from monitor.board.feed import READERS_MAX
from monitor.clock import ManualClock, SystemClock
from monitor.model.assessment import DistanceRemedy, FeedHealth, FeedState
from tests.support.board import TOKEN, served
from tests.support.chromium import Browser, Page, chromium
from tests.support.desk import NOW, Desk, alert, bad_day, many_pools
from tests.support.server_process import free_port, until, until_answer
from tests.support.slow_line import SlowLine, slow_line

pytestmark = pytest.mark.integration


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser for one test."""
    async with chromium() as running:
        yield running


@asynccontextmanager
async def board(browser: Browser, desk: Desk, **page: int | bool) -> AsyncIterator[Page]:
    """The board of a desk, once it shows its pools; at the end nothing may have gone wrong on it."""
    async with served(desk) as url, browser.page(f"{url}/", **page) as shown:  # type: ignore[arg-type]
        await shown.until(f"document.querySelectorAll('.row.pool').length === {len(desk.pools)}")
        await shown.until("document.documentElement.dataset.link === 'live'")
        subs = "[...document.querySelectorAll('.row.pool .sub')].slice(0, 4)"
        await shown.until(f"{subs}.every(sub => sub.innerText !== '')")  # rows are filled some at a time
        yield shown
        assert shown.troubles == []
        assert {address.startswith(f"{url}/") for address in shown.requested} == {True}


def busy() -> Desk:
    """A bad day on which three alerts fire."""
    pools = bad_day()
    firing = [(Severity.NOTICE, 4), (Severity.EMERGENCY, 1), (Severity.CRITICAL, 0)]
    return Desk(pools, alerts=[alert(severity, pools[index]) for severity, index in firing])


async def test_pools_by_danger(browser: Browser) -> None:
    """Every pool with its figures, the most dangerous first; endless and unknown are said in words."""
    async with board(browser, busy()) as page:
        scopes = await page.texts(".row.pool .scope")
        assert scopes == ["DOGEUSDT", "NEWUSDT", "BTCUSDT", "USDT", "SOLUSDT"]
        assert await page.texts(".row.pool .percent") == ["no margin left", "unknown", "86.8 %", "55.0 %", "0.40 %"]
        levels = await page.evaluate("[...document.querySelectorAll('.row.pool')].map(row => row.dataset.level)")
        assert levels == ["emergency", "unknown", "emergency", "warning", "calm"]
        causes = ["by ratio and distance", "", "by distance", "by distance", ""]
        assert await page.evaluate("[...document.querySelectorAll('.row.pool .by')].map(e => e.innerText)") == causes
        assert await page.text(".row.pool:nth-child(2) .why") == "no tiers for NEWUSDT"
        assert await page.text(".row.pool:nth-child(3) .price .line") == "mark 59,000 → liquidation 58,909.5"
        assert await page.text(".row.pool:nth-child(3) .price .sub") == "0.15 % away"
        assert await page.text(".row.pool:nth-child(4) .price .sub") == "4.80 % away ETHUSDT long, 2 legs"
        assert await page.text(".row.pool:nth-child(5) .price .sub") == "no liquidation price"
        assert await page.text(".row.pool:nth-child(3) .name .sub") == "binance · main · computed"
        assert await page.evaluate("document.querySelector('.row.pool:nth-child(3) .bar i').style.width") == "86.8%"
        assert "critical 85 %" in await page.text("#ladder")
        assert await page.evaluate("document.title") == "(3) no margin left DOGEUSDT:short · marginwatch"


async def test_the_worst_of_ratio_distance_and_alerts(browser: Browser) -> None:
    """A pool whose ratio looks mild stands where its distance or its alert puts it, and row, head and tab say why."""
    btc, _, _, sol, usdt = bad_day()
    mild = replace(btc, margin_ratio=0.765)
    desk = Desk([usdt, mild, sol], alerts=[alert(Severity.CRITICAL, sol)])
    async with board(browser, desk) as page:
        assert await page.texts(".row.pool .scope") == ["BTCUSDT", "SOLUSDT", "USDT"]
        label = ["emergency by distance", "critical by alert", "warning by distance"]
        both = "[...document.querySelectorAll('.row.pool')].map(r => ['.level', '.by'].map(s => r.querySelector(s).innerText).join(' '))"  # noqa: E501
        assert await page.evaluate(both) == label
        levels = await page.evaluate("[...document.querySelectorAll('.row.pool')].map(row => row.dataset.level)")
        assert levels == ["emergency", "critical", "warning"]
        assert (await page.text("#summary")).startswith("worst 76.5 %, emergency by distance · 3 pools")
        assert await page.evaluate("document.documentElement.dataset.worst") == "emergency"
        title = (await page.evaluate("document.title")).replace("\u202f", " ")
        assert title == "(1) emergency by distance 76.5 % BTCUSDT:long · marginwatch"
        desk.alerts = []
        await page.until("document.querySelector('.row.pool:nth-child(3) .scope').innerText === 'SOLUSDT'")
        assert await page.evaluate("document.querySelector('.row.pool:nth-child(3)').dataset.level") == "calm"


async def test_an_alert_s_figure_is_that_of_its_moment(browser: Browser) -> None:
    """It says so, so that nobody takes it for the present one."""
    async with board(browser, busy()) as page:
        assert (await page.text(".alert:nth-child(2) .text")) == "when raised: 87% binance/main/BTCUSDT:long"


EMPTY = ["alerts", "silences", "feeds", "pools"]


async def test_before_the_first_state_nothing_is_known(browser: Browser) -> None:
    """No list is said to be empty before the daemon has said so; then each is."""
    none = f"{json.dumps(EMPTY)}.map(name => document.getElementById(name + '-none').innerText)"
    async with served(Desk([], [])) as url, browser.page("about:blank") as page:
        await page.send("Network.enable")
        await page.send("Network.setBlockedURLs", urls=["*/api/v1/events"])
        await page.send("Page.navigate", url=f"{url}/")
        await page.until("document.getElementById('gone-words')?.innerText.includes('Nothing is known')")
        assert await page.evaluate(none) == ["Nothing is known yet."] * 4
        await page.send("Network.setBlockedURLs", urls=[])
        await page.until("document.documentElement.dataset.link === 'live'", 20)
        said = ["No alert fires.", "No silence is in force.", "No stream is open.", "No pool has risk open."]
        assert await page.evaluate(none) == said


async def test_no_pool_is_not_no_risk(browser: Browser) -> None:
    """While an account was not read, or is not seen, nobody knows that no pool has risk open."""
    desk = Desk([], reasons=("binance/main: account down: no snapshot yet",), unread=(("binance", "main"),))
    said = "document.getElementById('pools-none').innerText"
    worst = "document.documentElement.dataset.worst"
    async with board(browser, desk) as page:
        await page.until(f"{said} === 'Not read yet: binance/main. What risk is open there is not known.'")
        assert await page.text("#summary") == "0 pools · 1 account not read yet · 0 alerts"
        assert await page.evaluate(worst) == "unknown"
        desk.unread, desk.reasons = (), ("binance/main: user stream down: no data for 62 s",)
        await page.until(f"{said} === 'What risk is open is not known: not everything is seen.'")
        assert await page.evaluate(worst) == "unknown"
        desk.reasons = ()
        await page.until(f"{said} === 'No pool has risk open.'")
        assert await page.evaluate(worst) == "calm"


async def test_the_rungs_are_the_configured_ones(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks, words and colours follow the ladder that is in force."""
    ladder = {("margin_ratio", "warning"): 0.30, ("margin_ratio", "critical"): 0.90}
    monkeypatch.setattr(Desk, "rungs", lambda self: ladder)
    async with board(browser, Desk()) as page:
        assert await page.text("#ladder") == "rungs: warning 30 %, critical 90 %"
        ticks = await page.evaluate("document.documentElement.style.getPropertyValue('--rungs')")
        assert ticks.count("linear-gradient") == 2
        levels = await page.evaluate("[...document.querySelectorAll('.row.pool')].map(row => row.dataset.level)")
        assert levels == ["emergency", "unknown", "warning", "warning", "calm"]


async def test_changes_arrive_by_themselves(browser: Browser) -> None:
    """A pool that becomes dangerous moves up and keeps the focus; one that is closed goes."""
    desk = busy()
    async with board(browser, desk) as page:
        await page.evaluate("document.querySelector('.row.pool:nth-child(5) .open').focus()")
        doge, new, sol, usdt = desk.pools[1], desk.pools[2], desk.pools[3], desk.pools[4]
        desk.pools = [doge, new, replace(sol, maintenance_margin=4_600.0, margin_ratio=0.92), usdt]
        await page.until("document.querySelectorAll('.row.pool').length === 4")
        assert await page.texts(".row.pool .scope") == ["DOGEUSDT", "NEWUSDT", "SOLUSDT", "USDT"]
        assert await page.text(".row.pool:nth-child(3) .percent") == "92.0 %"
        assert await page.evaluate("document.activeElement.innerText.startsWith('SOLUSDT')")


async def test_what_is_equal_is_left_alone(browser: Browser) -> None:
    """A round without news writes into no pool, so that nothing is laid out, moved or read aloud again."""
    async with board(browser, busy()) as page:
        watch = """window.written = 0; new MutationObserver(found => { window.written += found.length; })
            .observe(document.getElementById("rows"), {subtree: true, childList: true, characterData: true})"""
        await page.evaluate(watch)
        at = await page.text("#link-words")
        await page.until(f"document.getElementById('link-words').innerText !== {json.dumps(at)}")
        assert await page.evaluate("window.written") == 0


async def test_an_old_mark_looks_old(browser: Browser) -> None:
    """A pool whose marks have grown old says so and is grey."""
    desk = busy()
    desk.pools[0] = replace(desk.pools[0], stale=True)
    async with board(browser, desk) as page:
        assert "the figures are old" in await page.text(".row.pool:nth-child(3) .name")
        gray = "getComputedStyle(document.querySelector('.row.pool:nth-child({}) .ratio')).filter"
        assert await page.evaluate(gray.format(3)) == "grayscale(1)"
        assert await page.evaluate(gray.format(1)) == "none"


async def test_blindness_cannot_be_missed(browser: Browser) -> None:
    """A banner across the page, read aloud at once, with every reason; it goes when everything is seen again."""
    desk = busy()
    desk.reasons = ("binance/main: mark stale BTCUSDT", "binance/main: no snapshot yet")
    async with board(browser, desk) as page:
        assert await page.texts("#blind li") == list(desk.reasons)
        assert (await page.evaluate("document.title")).startswith("BLIND")
        assert await page.evaluate("document.getElementById('blind').getAttribute('role')") == "alert"
        width, top = await page.evaluate(
            "(r => [r.width / innerWidth, r.top])(document.getElementById('blind').getBoundingClientRect())"
        )
        assert width > 0.9
        assert top < 100
        desk.reasons = ()
        await page.until("document.getElementById('blind').hidden")


async def test_streams_with_the_worst_first(browser: Browser) -> None:
    """Each with its state in words and the age of its data."""
    async with board(browser, busy()) as page:
        assert await page.texts(".feed") == [
            "binance main user late no data yet no snapshot yet",
            "binance mark live 0.4 s",
        ]


class Ahead:
    """A clock that runs, and can be set forward."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.by = 0.0

    def now(self) -> float:
        """See `Clock`."""
        return self._clock.now() + self.by


async def test_an_hour_s_line_survives_a_reload(browser: Browser) -> None:
    """The daemon keeps it, not the page."""
    desk, clock = busy(), Ahead()
    async with served(desk, clock=clock) as url, aiohttp.ClientSession() as session:

        async def noted() -> int:
            async with session.get(f"{url}/api/v1/history") as response:
                return len((await response.json())["pools"].get(desk.pools[0].pool, ()))

        async def noted_more_than(before: int) -> bool:
            return await noted() > before

        for n in range(6):
            desk.pools[0] = replace(desk.pools[0], margin_ratio=0.3 + n / 10)
            before, clock.by = await noted(), clock.by + 2.0
            await until_answer(lambda before=before: noted_more_than(before), "the history goes on")
        async with browser.page(f"{url}/") as page:
            for _ in range(2):
                line = "[...document.querySelectorAll('.row.pool')].find(r => r.innerText.includes('BTCUSDT'))"
                await page.until(f"{line}.querySelector('.trace').getAttribute('d').split('L').length >= 5")
                label = await page.evaluate(f"{line}.querySelector('svg').getAttribute('aria-label')")
                assert label.replace("\u202f", " ") == "margin ratio between 30.0 % and 80.0 %"
                await page.evaluate("document.documentElement.remove()")
                await page.send("Page.reload")


async def test_acknowledge_with_the_token(browser: Browser) -> None:
    """It is asked for once and kept in the tab only; the alert then shows who has seen it."""
    desk = busy()
    async with board(browser, desk) as page:
        await page.click(".alert:nth-child(2) .acknowledge")
        await page.until("document.getElementById('token-dialog').open")
        await page.write(TOKEN)
        await page.evaluate("document.getElementById('token-by').focus()")
        await page.write("ann")
        await page.press("Enter")
        await until(lambda: bool(desk.orders), "the order arrives")
        assert desk.orders == [("acknowledge", "margin_ratio/binance/main/BTCUSDT:long", "ann")]
        seen = Acknowledgement("ann", desk.alerts[2].raised_at + 3)
        desk.alerts[2] = replace(desk.alerts[2], acknowledged=seen)
        await page.until("document.querySelector('.alert:nth-child(2) .handled').innerText.includes('by ann')")
        assert await page.evaluate("document.querySelector('.alert:nth-child(2) .acknowledge').hidden")
        await page.click(".alert:nth-child(1) .acknowledge")
        await until(lambda: len(desk.orders) == 2, "no token is asked for again")
        assert await page.evaluate("sessionStorage.getItem('marginwatch.token')") == TOKEN
        assert await page.evaluate("localStorage.getItem('marginwatch.token')") is None
        assert not [address for address in page.requested if TOKEN in address]


async def test_a_wrong_token(browser: Browser) -> None:
    """The dialog says so and stays for another try; nothing was done meanwhile."""
    desk = busy()
    async with served(desk) as url, browser.page(f"{url}/") as page:
        await page.until("document.querySelectorAll('.alert').length === 3")
        await page.click(".alert:nth-child(1) .acknowledge")
        for token in ("wrong", TOKEN):
            await page.until("document.getElementById('token-dialog').open")
            await page.evaluate("document.getElementById('token').focus()")
            await page.write(token)
            await page.evaluate("document.getElementById('token-by').value = 'ann'")
            await page.evaluate("document.querySelector('[name=keep][value=browser]').checked = true")
            await page.press("Enter")
            if token == "wrong":
                await page.until("document.getElementById('token-refusal').innerText.includes('refused this token')")
                assert desk.orders == []
        await until(lambda: bool(desk.orders), "the right token works")
        assert await page.evaluate("localStorage.getItem('marginwatch.token')") == TOKEN
        await page.click("#token-button")
        await page.click("#token-forget")
        assert await page.evaluate("localStorage.getItem('marginwatch.token')") is None
        assert len(page.troubles) == 1  # the browser itself notes the 401
        assert "401" in page.troubles[0]


async def give_token(page: Page) -> None:
    """As if it had been given before."""
    stored = {"marginwatch.token": TOKEN, "marginwatch.by": "ann"}
    await page.evaluate(f"Object.entries({json.dumps(stored)}).forEach(pair => sessionStorage.setItem(...pair))")


async def test_silence_and_its_end(browser: Browser) -> None:
    """From an alert, with an end and a reason; it is listed with its author, and can be ended."""
    desk = busy()
    desk.alerts = desk.alerts[2:]
    async with board(browser, desk) as page:
        await give_token(page)
        await page.click(".alert .silence")
        await page.until("document.getElementById('silence-dialog').open")
        assert await page.evaluate("document.getElementById('silence-subject').value") == "binance/main/BTCUSDT:long"
        await page.evaluate("document.getElementById('silence-for').value = '7200'")
        await page.evaluate("document.getElementById('silence-reason').focus()")
        await page.write("adding margin")
        await page.press("Enter")
        await page.until("document.querySelectorAll('.silence-entry').length === 1")
        assert desk.orders == [("silence", "binance/main/BTCUSDT:long", "ann")]
        (silence,) = desk.silent
        assert (silence.until - silence.at, silence.emergency) == (7200, False)
        entry = await page.text(".silence-entry")
        assert "binance/main/BTCUSDT:long" in entry
        assert "ann: adding margin" in entry
        await page.click(".silence-entry .end")
        await page.until("document.querySelectorAll('.silence-entry').length === 0")
        assert desk.orders[-1] == ("end", "s0", "ann")


async def test_a_refused_silence_says_why(browser: Browser) -> None:
    """In the dialog, which stays open with what was written."""
    async with served(busy()) as url, browser.page(f"{url}/") as page:
        await page.until("document.querySelectorAll('.alert').length === 3")
        await give_token(page)
        await page.click("#silence-button")
        await page.write("refused")
        await page.evaluate("document.getElementById('silence-reason').focus()")
        await page.write("why not")
        await page.press("Enter")
        await page.until("document.getElementById('silence-refusal').innerText.includes('asked to be refused')")
        assert await page.evaluate("document.getElementById('silence-reason').value") == "why not"
        await page.press("Escape")
        await page.until("!document.getElementById('silence-dialog').open")


async def test_gone_and_back(browser: Browser) -> None:
    """Without the daemon the page is grey within seconds and says how old its figures are; later it lives again."""
    desk, listen = busy(), f"127.0.0.1:{free_port()}"
    async with browser.page("about:blank") as page:
        async with served(desk, listen) as url:
            await page.send("Page.navigate", url=f"{url}/")
            await page.until("document.documentElement.dataset.link === 'live'")
            assert await page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "none"
        await page.until("document.documentElement.dataset.link === 'gone'", 10)
        assert "No answer from the daemon since" in await page.text("#gone")
        await page.until("/The figures are \\d+ seconds old/.test(document.getElementById('gone').innerText)")
        assert await page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"
        assert (await page.evaluate("document.title")).startswith("NO DATA")
        desk.pools = desk.pools[:1]
        async with served(desk, listen):
            await page.until("document.documentElement.dataset.link === 'live'", 15)
            await page.until("document.querySelectorAll('.row.pool').length === 1")
            assert await page.evaluate("document.getElementById('gone').hidden")


async def test_rounds_that_come_late_are_old(browser: Browser) -> None:
    """A daemon whose clock stands still, or a line that holds rounds back, is not live however busily it sends."""
    async with served(busy(), clock=ManualClock(SystemClock().now())) as url, browser.page(f"{url}/") as page:
        await page.until("document.documentElement.dataset.link === 'live'")
        await page.until("document.documentElement.dataset.link === 'gone'")
        assert "seconds old" in await page.text("#gone")


OWN_CLOCKS = """
  window.clocks = {wall: 0, steady: 0, stopped: null};
  const wall = Date.now.bind(Date), steady = performance.now.bind(performance);
  Date.now = () => wall() + clocks.wall;
  performance.now = () => clocks.stopped ?? steady() + clocks.steady;
  window.links = [];
  new MutationObserver(() => { links.push(document.documentElement.dataset.link); })
    .observe(document, {subtree: true, attributes: true, attributeFilter: ["data-link"]});
"""
"""Clocks of the reader's that a test can set, and what became of the link (also where it did not change)."""
LINK = "document.documentElement.dataset.link"


async def open_with_own_clocks(page: Page, url: str) -> None:
    """The board, live, on a device whose clocks can be set."""
    await page.send("Page.addScriptToEvaluateOnNewDocument", source=OWN_CLOCKS)
    await page.send("Page.navigate", url=f"{url}/")
    await page.until(f"{LINK} === 'live'")


async def some_rounds(page: Page, count: int = 3) -> None:
    """Wait for rounds that change what the head of the page says of the time."""
    for _ in range(count):
        said = json.dumps(await page.evaluate("document.getElementById('link-words').innerText"))
        await page.until(f"document.getElementById('link-words').innerText !== {said}")


@pytest.mark.parametrize("by_s", [20, 3600, -20, -3600])
async def test_a_reader_s_clock_that_is_set_is_of_no_account(browser: Browser, by_s: int) -> None:
    """At most until the next round, which is asked for at once: the device may have slept instead."""
    async with served(busy()) as url, browser.page("about:blank") as page:
        await open_with_own_clocks(page, url)
        await page.evaluate(f"links.length = 0; clocks.wall += {by_s * 1000}")
        if by_s > 0:
            await page.until("links.includes('gone')")
            await page.until(f"{LINK} === 'live'", 3)
        await page.evaluate("links.length = 0")
        await some_rounds(page)
        assert await page.evaluate("links.every((link) => link === 'live')")


@pytest.mark.parametrize("by_s", [60, -60])
async def test_a_daemon_s_clock_that_is_set_is_of_no_account(browser: Browser, by_s: int) -> None:
    """Rounds that seem late then are not: what the daemon answers to a question shows it."""
    clock = Ahead()
    async with served(busy(), clock=clock) as url, browser.page("about:blank") as page:
        await open_with_own_clocks(page, url)
        clock.by += by_s
        if by_s < 0:
            await page.until(f"{LINK} === 'gone'")
            await page.until(f"{LINK} === 'live'")
        await page.evaluate("links.length = 0")
        await some_rounds(page)
        assert await page.evaluate("links.every((link) => link === 'live')")


@asynccontextmanager
async def board_behind_a_line(browser: Browser, clock: Ahead) -> AsyncIterator[tuple[Page, SlowLine]]:
    """The board, live, behind a line that holds a round back; and whose daemon has this clock."""
    async with (
        served(busy(), clock=clock) as url,
        slow_line(int(url.rpartition(":")[2])) as line,
        browser.page("about:blank") as page,
    ):
        await open_with_own_clocks(page, f"http://127.0.0.1:{line.port}")
        await some_rounds(page, 1)
        line.holding = True
        await until(lambda: any(b"event: round" in data for _, data in line.held), "a round is held")
        yield page, line


async def test_what_a_proxy_held_back_is_old(browser: Browser) -> None:
    """Rounds that come in a burst are as old as they are; only one of now makes the page live."""
    clock = Ahead()
    async with board_behind_a_line(browser, clock) as (page, line):
        before = len(line.held)
        clock.by += 5
        # Five seconds later on both sides, and on the page no further.
        await page.evaluate("clocks.wall += 5000; clocks.steady += 5000; clocks.stopped = performance.now()")
        await page.until(f"{LINK} === 'gone'")
        said = json.dumps(await page.text("#gone-words"))
        line.let_go(before)
        await page.until(f"document.getElementById('gone-words').innerText !== {said}")
        assert await page.evaluate(LINK) == "gone"
        await page.evaluate("clocks.stopped = null")
        line.let_go()
        await page.until(f"{LINK} === 'live'")


async def test_after_a_sleep_only_what_is_new_is_live(browser: Browser) -> None:
    """The steady clock may have stood still; what waited on the connection is of before, however fresh it looks."""
    clock = Ahead()
    async with board_behind_a_line(browser, clock) as (page, line):
        before = len(line.held)
        clock.by += 3600
        await page.evaluate("links.length = 0; clocks.wall += 3600000")
        line.let_go(before)
        await page.until("links.length > 0")
        await until(lambda: any(b"HTTP/1.1 200" in data for _, data in line.held), "a new connection is answered")
        assert await page.evaluate("links.every((link) => link === 'gone')")
        assert "60 minutes old" in await page.text("#gone-age")
        line.let_go()
        await page.until(f"{LINK} === 'live'")


async def test_every_control_by_keyboard(browser: Browser) -> None:
    """Tab reaches each of them in turn, and what has the focus shows it."""
    desk = busy()
    desk.silence("binance/main", 600, "ann", "because")
    async with board(browser, desk) as page:
        await page.until("document.querySelectorAll('.silence-entry').length === 1")
        controls = "[...document.querySelectorAll('a, button, input')].filter(e => e.checkVisibility())"
        count = await page.evaluate(f"{controls}.length")
        assert count > 15
        for _ in range(count + 5):
            await page.press("Tab")
            await page.evaluate("document.activeElement.reached = true")
            outlined = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
            assert outlined or await page.evaluate("document.activeElement === document.body")
        missed = f"{controls}.filter(e => !e.reached).map(e => e.outerHTML)"
        assert await page.evaluate(missed) == []
        await page.evaluate("document.querySelector('.row.pool:nth-child(4) .open').focus()")
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
        assert len(await page.texts(".row.pool:nth-child(4) .detail tbody tr")) == 2


async def test_what_unfolds_below_a_pool(browser: Browser) -> None:
    """The ratio on the venue's own scale, and of each position the rank, where the venue tells one."""
    desk = busy()
    long, short = desk.pools[4].legs
    far = DistanceRemedy(0.111, 4_321.0, 0.25)
    legs = (replace(long, adl_rank=0, next_funding=-2.95, next_funding_at=NOW + 3600.0), short)
    desk.pools[4] = replace(desk.pools[4], legs=legs, venue_margin_ratio=1.25, distance_remedy=far)
    async with board(browser, desk) as page:
        await page.evaluate("document.querySelector('.row.pool:nth-child(4) .open').click()")
        assert (await page.texts(".row.pool:nth-child(4) .detail thead th"))[-1] == "ADL rank"
        ranks = await page.texts(".row.pool:nth-child(4) .detail tbody td:last-child")
        assert ranks == ["0 of 5", "not told"]
        assert (await page.texts(".row.pool:nth-child(4) .detail thead th"))[-2] == "Next funding"
        first, second = await page.texts(".row.pool:nth-child(4) .detail tbody td:nth-last-child(2)")
        assert first.startswith("\u22122.95 at ")
        assert second == "not told"
        facts = await page.text(".row.pool:nth-child(4) .detail p")
        assert "on the venue's own scale 125.0 %" in facts
        assert "for liquidation to be 11.1 % away add 4,321.00 USDT, or close 25.0 % of it" in facts


async def test_names_for_a_screen_reader(browser: Browser) -> None:
    """Every control has a name, pools are a table, places are landmarks, and news are said without the rest."""
    desk = busy()
    async with board(browser, desk) as page:
        tree = (await page.send("Accessibility.getFullAXTree"))["nodes"]
        nodes = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
        controls = [name for role, name in nodes if role in {"button", "link", "searchbox", "textbox", "combobox"}]
        assert len(controls) > 15
        assert all(controls)
        assert len(set(controls)) == len(controls)  # two buttons of one name could not be told apart
        roles = [role for role, _ in nodes]
        assert {"main", "banner", "contentinfo", "navigation", "table", "row", "rowheader", "columnheader"} <= {*roles}
        assert {"Alerts (3)", "Pools", "Silences", "Streams"} <= {name for role, name in nodes if role == "region"}
        await page.until("document.getElementById('announcements').innerText === '3 alerts fire'")
        desk.alerts.append(alert(Severity.WARNING, desk.pools[3]))
        await page.until("document.getElementById('announcements').innerText.startsWith('warning: ')")
        assert (await page.text("#announcements")).count("binance") == 1


TOUCHED = """(() => {
  window.touched = new Map(); // what was written, by pool
  const pool = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest(".row.pool");
  new MutationObserver((found) => {
    for (const {type, target, attributeName, addedNodes} of found) {
      for (const node of target.id === "rows" ? addedNodes : [target]) {
        if (!pool(node) || node.parentElement.closest(".spark")) continue; // the history comes by itself
        const row = pool(node).querySelector(".scope").textContent;
        window.touched.set(row, (window.touched.get(row) ?? 0) + 1);
      }
    }
  }).observe(document.getElementById("rows"), {subtree: true, childList: true, characterData: true, attributes: true});
})()"""
"""Notes every change below the list of pools."""


async def layouts(page: Page) -> int:
    """How often the page was laid out so far."""
    metrics = (await page.send("Performance.getMetrics"))["metrics"]
    return next(int(metric["value"]) for metric in metrics if metric["name"] == "LayoutCount")


async def test_of_many_pools_only_those_that_changed_are_touched(browser: Browser) -> None:
    """Of a thousand three change, one of which moves up: nothing is written into any other row."""
    desk = Desk(many_pools(1000))
    async with board(browser, desk) as page:
        await page.evaluate(TOUCHED)
        for number, ratio in ((10, 0.0106), (400, 0.4006), (700, 0.9)):
            desk.pools[number] = replace(desk.pools[number], margin_ratio=ratio)
        first = "document.querySelectorAll('.row.pool')[100].querySelector('.scope').textContent"
        await page.until(f"{first} === 'COIN700USDT'")
        touched = await page.evaluate("Object.fromEntries(window.touched)")
        assert touched.keys() == {"COIN10USDT", "COIN400USDT", "COIN700USDT"}
        assert max(touched.values()) <= 10


async def test_many_pools(browser: Browser) -> None:
    """With a thousand pools that all change every second each round is a few writes a row and a few layouts in all.

    That is what keeps the page at hand; meanwhile clicks are answered, and a filter finds one of the pools.
    """
    pools = many_pools(1000)
    desk = Desk(pools)
    async with board(browser, desk) as page:
        await page.send("Performance.enable")
        await page.evaluate(TOUCHED)
        before, rounds = await layouts(page), 5
        for by in range(1, rounds + 1):
            desk.pools = [replace(pool, margin_ratio=pool.margin_ratio * (1 - by / 50)) for pool in pools]
            shown = f"{99.95 * (1 - by / 50):.1f}"
            await page.until(f"document.querySelector('.row.pool .percent').innerText.startsWith('{shown}')")
            asked = "document.querySelector('.row.pool .open').getAttribute('aria-expanded')"
            expanded = await page.evaluate(asked)
            await page.evaluate("document.querySelector('.row.pool .open').click()")
            assert await page.evaluate(asked) != expanded
        writes = await page.evaluate("[...window.touched.values()]")
        assert sum(writes) <= rounds * 10 * len(pools)
        # One for each round, one for each click, and those that the browser finds it needs.
        assert await layouts(page) - before <= 10 * rounds
        await page.evaluate("document.getElementById('filter').focus()")
        await page.write("coin77usdt")
        await page.until("[...document.querySelectorAll('.row.pool')].filter(e => !e.hidden).length === 1")
        assert await page.evaluate("document.documentElement.dataset.link") == "live"


async def test_more_than_is_shown_is_counted(browser: Browser) -> None:
    """What is cut is said, of pools and of alerts."""
    pools = many_pools(1200)
    async with (
        served(Desk(pools, alerts=[alert(Severity.NOTICE, pool) for pool in pools[:150]])) as url,
        browser.page(f"{url}/") as page,
    ):
        await page.until("document.querySelectorAll('.row.pool').length === 1000")
        assert await page.text("#pools-more") == "200 pools with less risk are not shown."
        assert await page.text("#alerts-more") == "50 more alerts fire."


LONGEST = "x" * 64
"""As long as the name of an account may be."""

BEYOND = """((width) => {
  const shown = [...document.querySelectorAll("body *")].filter(
    (e) => e.checkVisibility() && !e.closest(".scroller, .unseen, .skip, svg, option"));
  const cut = (e) =>
    getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1 && !e.matches("input");
  const outside = ({left, right, width: own}) => own > 0 && (left < -1 || right > width + 1);
  const bad = shown.filter((e) => outside(e.getBoundingClientRect()) || cut(e));
  const found = bad.map((e) => e.outerHTML.slice(0, 90));
  // A phone's browser widens what it calls the window to what the page wants: only the given width tells.
  const wide = document.scrollingElement.scrollWidth;
  return wide > width ? [...found, `the page is ${wide} wide`] : found;
})"""
"""What goes beyond the sides of a window of this width, or is cut off in its own place."""


def long_names() -> Desk:
    """A bad day in an account with the longest name there may be, with all that can be shown of it."""
    pools = bad_day(LONGEST)
    pools[0] = replace(
        pools[0], scope="1000000MOGUSDT_260925:short", pool=f"binance/{LONGEST}/1000000MOGUSDT_260925:short"
    )
    desk = Desk(pools, alerts=[alert(Severity.EMERGENCY, pools[1]), alert(Severity.CRITICAL, pools[0])])
    desk.reasons = (f"binance/{LONGEST}: mark stale " + "BTCUSDT," * 12, f"{LONGEST * 2}")
    desk.feeds = [FeedHealth("binance", LONGEST, "user", FeedState.DOWN, 123_456.0, "no " + "x" * 150)]
    for subject in (f"margin_ratio:{pools[0].pool}", "margin_ratio:binance/main/BTCUSDT:long", "x" * 200):
        desk.silence(subject, 600, "ann@workstation-17" * 5, "because of " + "x" * 150)
    return desk


@pytest.mark.parametrize("dark", [False, True])
async def test_a_phone(browser: Browser, dark: bool) -> None:
    """At 360 pixels nothing goes beyond the side, whatever is open, in the scheme that the phone asks for."""
    async with board(browser, long_names(), width=360, height=740, phone=True, dark=dark) as page:
        await page.until("document.querySelectorAll('.silence-entry').length === 3")
        await page.evaluate("document.querySelectorAll('.open').forEach(button => button.click())")
        assert await page.evaluate(f"{BEYOND}(360)") == []
        await page.click("#silence-button")
        assert await page.evaluate(f"{BEYOND}(360)") == []
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(13, 17, 23)" if dark else "rgb(243, 245, 248)")


@pytest.mark.parametrize("width", [1600, 1280, 1088, 768])
async def test_a_desktop(browser: Browser, width: int) -> None:
    """Nothing goes beyond the side either, and each silence can be ended with the mouse."""
    async with board(browser, long_names(), width=width) as page:
        await page.until("document.querySelectorAll('.silence-entry').length === 3")
        await page.evaluate("document.querySelectorAll('.open').forEach(button => button.click())")
        assert await page.evaluate(f"{BEYOND}({width})") == []
        reached = """[...document.querySelectorAll(".end")].map((button) => {
            button.scrollIntoView({block: "center"});
            const r = button.getBoundingClientRect();
            return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2) === button;
        })"""
        assert await page.evaluate(reached) == [True] * 3


WINDOWS = {
    "desktop": {},
    "phone": {"width": 360, "height": 740, "phone": True},
    "on its side": {"width": 740, "height": 360, "phone": True},
}
IN_SIGHT = """((id) => {
  const r = document.getElementById(id).getBoundingClientRect();
  const there = document.elementFromPoint(r.x + r.width / 2, Math.max(r.top, 0) + 20);
  return r.top >= 0 && r.top < 10 && there?.closest("#" + id) !== null;
})"""


@pytest.mark.parametrize("window", WINDOWS)
async def test_blindness_stays_in_sight_and_covers_no_focus(browser: Browser, window: str) -> None:
    """However far down the pools one is; who goes back up by keyboard sees where, and at least half of the window."""
    desk = Desk(many_pools(300))
    desk.reasons = tuple(f"binance/main{n}: mark stale " + "BTCUSDT," * 12 for n in range(9))
    async with board(browser, desk, **WINDOWS[window]) as page:  # type: ignore[arg-type]
        assert await page.text("#blind-title") == "Not everything is seen (9)"
        await page.evaluate("window.scrollTo(0, 5000)")
        await page.until("scrollY > 4000")
        assert await page.evaluate(f"{IN_SIGHT}('blind')")
        assert await page.evaluate(
            "document.getElementById('banners').getBoundingClientRect().height <= innerHeight / 2"
        )
        await page.evaluate("document.querySelector('.row.pool:nth-child(60) .open').focus()")
        for _ in range(30):
            await page.press("Tab", back=True)
            covered = await page.evaluate(COVERED)
            assert not covered, covered
        # A banner that comes while one is there does not cover the place either.
        desk.reasons = ()
        await page.until("document.getElementById('blind').hidden")
        await page.evaluate("scrollBy(0, document.activeElement.getBoundingClientRect().top)")
        desk.reasons = ("binance/main: mark stale",)
        await page.until("!document.getElementById('blind').hidden")
        await page.until(f"!{COVERED}")


COVERED = """((e) => {
  const r = e.getBoundingClientRect();
  return r.top < document.getElementById("banners").getBoundingClientRect().bottom && e.innerText;
})(document.activeElement)"""


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_lost_daemon_stays_in_sight(browser: Browser, window: str) -> None:
    """Far down the pools too."""
    async with browser.page("about:blank", **WINDOWS[window]) as page:  # type: ignore[arg-type]
        async with served(Desk(many_pools(300))) as url:
            await page.send("Page.navigate", url=f"{url}/")
            await page.until("document.querySelectorAll('.row.pool').length === 300")
            await page.evaluate("window.scrollTo(0, 5000)")
            await page.until("scrollY > 4000")
        await page.until("document.documentElement.dataset.link === 'gone'")
        await page.until(f"{IN_SIGHT}('gone')")


async def test_the_board_that_is_one_too_many(browser: Browser) -> None:
    """It says that too many are open, and shows the pools once another is closed."""
    async with served(Desk()) as url, aiohttp.ClientSession() as session, browser.page("about:blank") as page:
        others = [await session.get(f"{url}/api/v1/events") for _ in range(READERS_MAX)]
        await page.send("Page.navigate", url=f"{url}/")
        await page.until("document.documentElement.dataset.link === 'gone'")
        await page.until("document.getElementById('gone-words').innerText.includes('16 boards are open already')")
        assert await page.text("#link") == "refused"
        for other in others:
            other.close()
        await page.until("document.documentElement.dataset.link === 'live'")
        assert len(await page.texts(".row.pool")) == 5
        assert await page.evaluate("document.getElementById('gone').hidden")


async def test_an_alert_that_fell_off_the_list_is_not_said_to_be_over(browser: Browser) -> None:
    """Of more alerts than are listed only the number is known, and read aloud when it falls."""
    said = "document.getElementById('announcements').innerText"
    pools = many_pools(200)
    desk = Desk(pools, alerts=[alert(Severity.NOTICE, pool) for pool in pools[:100]])
    async with board(browser, desk) as page:
        await page.until(f"{said} === '100 alerts fire'")
        desk.alerts = [*desk.alerts, alert(Severity.WARNING, pools[150])]
        await page.until(f"{said}.startsWith('warning: ')")
        assert "over" not in await page.text("#announcements")
        desk.alerts = desk.alerts[20:]
        await page.until(f"{said}.endsWith('now 81 alerts fire')")
        desk.alerts = desk.alerts[2:]
        await page.until(f"{said} === '2 alerts are over'")


async def test_a_quiet_pool_says_so(browser: Browser) -> None:
    """In its row and, with author and reason, in what unfolds below it."""
    desk = Desk()
    made = desk.silence("binance/main/BTCUSDT:long", 600, "ann", "adding margin")
    desk.silent = [replace(made, until=SystemClock().now() + 600)]
    async with board(browser, desk) as page:
        assert await page.text(".row.pool:nth-child(3) .sub") == "binance · main · computed · silent"
        assert "silent" not in await page.text(".row.pool:nth-child(4) .sub")
        await page.evaluate("document.querySelector('.row.pool:nth-child(3) .open').click()")
        facts = await page.text(".row.pool:nth-child(3) .detail p")
        assert "by ann: adding margin" in facts


async def test_next_to_nothing_does_not_look_like_nothing(browser: Browser) -> None:
    """Below one percent a distance has two digits that say something."""
    btc = bad_day()[0]
    desk = Desk([replace(btc, distance=0.000_5, legs=(replace(btc.legs[0], distance=0.000_5),))])
    async with board(browser, desk) as page:
        assert await page.text(".row.pool .distance") == "0.050 % away"
        shown = await page.evaluate("""import("/board/words.js").then(({percent}) =>
            [0.5, 0.0123, 0.004, 0.0000519, -0.0000519, 0.00000012, 0.00999, 0, 12].map((share) => percent(share)))""")
        said = ["50.0", "1.23", "0.40", "0.0052", "-0.0052", "0.000012", "1.00", "0.00", "1200"]
        assert shown == [f"{figure}\u202f%" for figure in said]


@pytest.mark.parametrize("dark", [False, True])
async def test_contrast(browser: Browser, dark: bool) -> None:
    """Every word stands out from its ground by at least 4.5 to 1, as WCAG 2 asks for at level AA."""
    desk = busy()
    desk.reasons = ("blind",)
    async with board(browser, desk, dark=dark) as page:
        await page.until("!document.getElementById('blind').hidden")
        assert await page.evaluate(CONTRASTS) == []


CONTRASTS = """(() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? [found[0] * 255, found[1] * 255, found[2] * 255, found[3] ?? 1]
      : [found[0], found[1], found[2], found[3] ?? 1];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a]) =>
      [r * a + under[0] * (1 - a), g * a + under[1] * (1 - a), b * a + under[2] * (1 - a)], [255, 255, 255]);
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, .skip")) continue;
    const a = light(parse(getComputedStyle(element).color).slice(0, 3));
    const b = light(ground(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([element.className, element.innerText, ratio.toFixed(2)]);
  }
  return bad;
})()"""


async def test_without_javascript(browser: Browser) -> None:
    """The page leads to a plain table, which needs none."""
    async with served(busy()) as url, browser.page("about:blank") as page:
        await page.send("Emulation.setScriptExecutionDisabled", value=True)
        await page.send("Page.navigate", url=f"{url}/")
        await page.until("document.querySelector('noscript a')?.getAttribute('href') === '/plain'")
        await page.send("Page.navigate", url=f"{url}/plain")
        await page.until("document.querySelectorAll('tbody tr').length === 5")


async def test_the_plain_table_on_a_phone(browser: Browser) -> None:
    """With the longest names only its table is wider than the phone, and scrolls by itself, by keyboard too."""
    async with served(long_names()) as url, browser.page(f"{url}/plain", width=360, height=740, phone=True) as page:
        await page.until("document.querySelectorAll('tbody tr').length === 5")
        await page.until("getComputedStyle(document.querySelector('.scroller')).overflowX === 'auto'")
        assert await page.evaluate(f"{BEYOND}(360)") == []
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "scroller"
