"""Requests with deadlines, budget and clock, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from connectors.binance.product import USD_M
from connectors.binance_common.rest import BinanceDialect
from connectors.bybit.rest import BybitDialect
from connectors.okx.rest import OkxDialect
from connectors.rest import (
    ANSWERS_MAX,
    BUDGETS_MAX,
    CLOCK_AGE_S,
    Budget,
    Dialect,
    Reply,
    Rest,
    SharedAnswers,
    clock_in,
    shared_budget,
    told,
    whole,
    why_refused,
)
from connectors.session import Request, Security
from monitor.clock import ManualClock
from monitor.credential import Secret
from monitor.errors import VenueError
from monitor.telemetry import Telemetry
from tests.support.server_process import until


class Server:
    """Answers from a list; remembers what was asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.replies: list[web.Response | float] = []
        self.ahead_ms = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """The next reply; a number is a delay before a good one."""
        self.asked.append(request.path)
        if request.path == "/fapi/v1/time":
            return web.json_response({"serverTime": int(self.clock.now() * 1000) + self.ahead_ms})
        reply = self.replies.pop(0) if self.replies else web.json_response({})
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            return web.json_response({})
        return reply


def binance(url: str) -> Dialect:
    """Binance's way of speaking, at this address."""
    return BinanceDialect("binance", url, Secret("k" * 64), Secret("s" * 64), USD_M.time_path)


def bybit(url: str) -> Dialect:
    """Bybit's."""
    return BybitDialect("bybit", url, Secret("k" * 18), Secret("s" * 36))


def okx(url: str) -> Dialect:
    """OKX's."""
    return OkxDialect("okx", url, Secret("k" * 36), Secret("s" * 32), Secret("phrase"), demo=False)


@asynccontextmanager
async def stage(
    request_s: float = 2.0, limit: int = 2400, dialect: Callable[[str], Dialect] = binance
) -> AsyncIterator[tuple[Server, Rest, Telemetry]]:
    """A server and a client for it, both on a manual clock."""
    server = Server(ManualClock())
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    telemetry = Telemetry()
    budget = Budget(limit)
    client = Rest(dialect(server.url), budget, server.clock, telemetry, request_s=request_s, connect_s=1.0)
    try:
        async with client:
            yield server, client, telemetry
    finally:
        await runner.cleanup()


def question(server: Server, security: Security = Security.SIGNED, weight: int = 5) -> Request:
    """Some request."""
    return Request("x-1", "GET", server.url, "/fapi/v3/account", security, weight=weight)


def refusal(status: int, code: int, **headers: str) -> web.Response:
    """As Binance refuses."""
    return web.json_response({"code": code, "msg": "words"}, status=status, headers=headers)


async def test_the_clock_is_measured_before_the_first_signed_request_and_again_after_an_hour() -> None:
    """And not for requests that carry no time."""
    async with stage() as (server, rest, _):
        await rest.perform(question(server, Security.NONE))
        assert server.asked == ["/fapi/v3/account"]
        server.ahead_ms = 1500
        response = await rest.perform(question(server))
        assert rest.clock_offset_ms == pytest.approx(1500, abs=1)
        assert response.sent_ms == pytest.approx(server.clock.now() * 1000 + 1500, abs=1)
        await rest.perform(question(server))
        assert server.asked.count("/fapi/v1/time") == 1
        server.clock.advance(CLOCK_AGE_S + 1.0)
        await rest.perform(question(server))
        assert server.asked.count("/fapi/v1/time") == 2


async def test_a_request_refused_for_its_time_is_sent_once_more_with_a_new_measurement() -> None:
    """-1021; a second refusal is an error like any other."""
    async with stage() as (server, rest, _):
        server.replies = [refusal(400, -1021)]
        await rest.perform(question(server))
        assert server.asked.count("/fapi/v1/time") == 2
        server.replies = [refusal(400, -1021), refusal(400, -1021)]
        with pytest.raises(VenueError) as refused:
            await rest.perform(question(server))
        assert (refused.value.code, refused.value.retry) == (-1021, True)


async def test_requests_refused_together_for_their_time_measure_it_once() -> None:
    """A snapshot sends several at the same moment."""
    async with stage() as (server, rest, _):
        await rest.measure_clock()
        server.clock.advance(1.0)
        server.replies = [refusal(400, -1021) for _ in range(4)]
        await asyncio.gather(*(rest.perform(question(server)) for _ in range(4)))
        assert server.asked.count("/fapi/v1/time") == 2


@pytest.mark.parametrize(("status", "wait_s"), [(429, 7.0), (418, 120.0)])
async def test_after_a_limit_nothing_is_sent_until_the_venue_allows_it(status: int, wait_s: float) -> None:
    """Not even by others behind the same address."""
    async with stage() as (server, rest, telemetry):
        headers = {"Retry-After": "7"} if status == 429 else {}
        server.replies = [refusal(status, -1003, **headers)]
        with pytest.raises(VenueError) as refused:
            await rest.perform(question(server, Security.NONE))
        assert refused.value.retry_after_s == wait_s
        asked = len(server.asked)
        server.clock.advance(wait_s - 1.0)
        with pytest.raises(VenueError) as held:
            await rest.perform(question(server, Security.NONE))
        assert held.value.retry_after_s == pytest.approx(1.0)
        assert len(server.asked) == asked
        server.clock.advance(1.0)
        await rest.perform(question(server, Security.NONE))
        assert telemetry.venue_errors.get("binance", "-1003") == 1


RESET = {"X-Bapi-Limit-Reset-Timestamp": "1790000003000"}


@pytest.mark.parametrize(
    ("dialect", "reply", "wait_s"),
    [
        (bybit, web.Response(status=403, text="access too frequent"), 600.0),
        (bybit, web.Response(status=403, headers={"Retry-After": "1800"}), 1800.0),
        (bybit, web.json_response({"retCode": 10006, "retMsg": "x", "time": 1_790_000_000_000}, headers=RESET), 3.0),
        (okx, web.json_response({"code": "50011", "msg": "Too Many Requests", "data": []}), 3.0),
    ],
    ids=["bybit 403", "bybit 403 that says until when", "bybit 10006", "okx 50011"],
)
async def test_a_wish_for_silence_is_heard_whatever_status_it_comes_with(
    dialect: Callable[[str], Dialect], reply: web.Response, wait_s: float
) -> None:
    """By every account behind the address: asking on makes a ban longer."""
    async with stage(dialect=dialect) as (server, rest, telemetry):
        other = Rest(dialect(server.url), rest._budget, server.clock, telemetry, request_s=2.0, connect_s=1.0)
        async with other:
            server.replies = [reply]
            with pytest.raises(VenueError):
                await rest.perform(question(server, Security.NONE))
            asked = len(server.asked)
            server.clock.advance(wait_s - 1.0)
            for each in (rest, other):
                with pytest.raises(VenueError, match="not sent") as held:
                    await each.perform(question(server, Security.NONE))
                assert held.value.retry_after_s == pytest.approx(1.0)
            assert len(server.asked) == asked
            server.clock.advance(1.0)
            server.replies = [web.json_response({"retCode": 0, "code": "0", "data": []})]
            await other.perform(question(server, Security.NONE))


@pytest.mark.parametrize(("status", "sent"), [(503, True), (429, False)])
async def test_a_wish_for_no_silence_at_all_holds_nothing(status: int, sent: bool) -> None:
    """Save for a limit that was reached: then it is not believed."""
    async with stage(dialect=okx) as (server, rest, _):
        server.replies = [web.json_response({}, status=status, headers={"Retry-After": "0"})]
        server.replies += [web.json_response({"code": "0", "data": []})]
        with pytest.raises(VenueError):
            await rest.perform(question(server, Security.NONE))
        if sent:
            await rest.perform(question(server, Security.NONE))
        else:
            with pytest.raises(VenueError, match="not sent"):
                await rest.perform(question(server, Security.NONE))


async def test_a_request_without_an_answer_ends_in_time() -> None:
    """Our deadline, not the server's."""
    async with stage(request_s=0.1) as (server, rest, telemetry):
        server.replies = [5.0]
        with pytest.raises(VenueError, match="no answer in time") as refused:
            await rest.perform(question(server, Security.NONE))
        assert refused.value.retry
        assert telemetry.venue_errors.get("binance", "timeout") == 1


async def test_a_venue_that_cannot_be_reached_is_an_error_without_its_address() -> None:
    """The address holds the signature."""
    async with stage() as (_, rest, _telemetry):
        await rest.measure_clock()
        gone = Request("x-1", "GET", "http://127.0.0.1:1", "/fapi/v3/account", Security.SIGNED)
        with pytest.raises(VenueError) as refused:
            await rest.perform(gone)
        assert refused.value.retry
        assert "signature" not in str(refused.value)
        assert str(refused.value).endswith("127.0.0.1 cannot be reached: Connection refused")
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


async def test_a_name_that_cannot_be_resolved_is_said_in_words() -> None:
    """The first thing that a new user meets on a machine without network."""
    async with stage() as (_, rest, _telemetry):
        await rest.measure_clock()
        with pytest.raises(VenueError, match=r"nowhere\.invalid cannot be resolved; is this machine online"):
            await rest.perform(Request("x-1", "GET", "http://nowhere.invalid", "/fapi/v1/x", Security.NONE))


async def test_a_redirect_is_not_followed() -> None:
    """It would carry the key elsewhere."""
    async with stage() as (server, rest, _):
        server.replies = [web.Response(status=302, headers={"Location": f"{server.url}/elsewhere"})]
        with pytest.raises(VenueError):
            await rest.perform(question(server, Security.KEY))
        assert "/elsewhere" not in server.asked


async def test_a_request_before_the_start_is_an_error() -> None:
    """Not a crash."""
    dialect = BinanceDialect("binance", "http://127.0.0.1:1", Secret("k"), Secret("s"), USD_M.time_path)
    rest = Rest(dialect, Budget(10), ManualClock(), Telemetry(), request_s=1.0, connect_s=1.0)
    with pytest.raises(VenueError):
        await rest.perform(Request("x-1", "GET", "http://127.0.0.1:1", "/", Security.NONE))


async def test_the_venues_own_count_of_the_budget_is_believed() -> None:
    """The owner's other programs spend from it, too."""
    async with stage(limit=100) as (server, rest, _):
        server.replies = [web.json_response({}, headers={"X-MBX-USED-WEIGHT-1M": "88"})]
        await rest.perform(question(server, Security.NONE))
        with pytest.raises(VenueError, match="budget") as refused:
            await rest.perform(question(server, Security.NONE))
        assert refused.value.retry_after_s is not None
        assert 0.0 < refused.value.retry_after_s <= 60.0
        server.clock.advance(refused.value.retry_after_s)
        await rest.perform(question(server, Security.NONE))


def test_a_budget_keeps_a_tenth_for_others() -> None:
    """And begins anew with each minute of the clock."""
    budget = Budget(100)
    assert [budget.wait(30, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert budget.wait(1, 15.0) == 45.0
    assert budget.wait(30, 60.0) == 0.0


def test_a_request_that_weighs_more_than_the_budget_goes_when_nothing_else_did() -> None:
    """Otherwise it could never go."""
    assert Budget(10).wait(50, 0.0) == 0.0


def test_a_hold_is_never_shortened() -> None:
    """Two refusals: the longer one counts."""
    budget = Budget(100)
    budget.hold(100.0, 0.0)
    budget.hold(10.0, 1.0)
    assert budget.wait(1, 50.0) == 50.0
    assert budget.wait(1, 100.0) == 0.0


def test_an_address_has_one_budget_whoever_asks() -> None:
    """A hold outlives the runners of before a reload; addresses of long ago are forgotten in their order."""
    budget = shared_budget("https://venue.test", 100)
    budget.hold(60.0, 1000.0)
    assert shared_budget("https://venue.test", 100).wait(1, 1030.0) == 30.0
    assert shared_budget("https://other.test", 100).wait(1, 1030.0) == 0.0
    for number in range(BUDGETS_MAX - 1):
        shared_budget(f"https://{number}.test", 100)
        assert shared_budget("https://venue.test", 100) is budget
    for number in range(BUDGETS_MAX):
        shared_budget(f"https://more-{number}.test", 100)
    assert shared_budget("https://venue.test", 100) is not budget


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"code": -1, "msg": "no"}', (-1, "no")),
        (b'{"code": "1", "msg": 5}', ("1", "")),
        (b'{"msg": "' + b"x" * 300 + b'"}', (None, "x" * 200)),
        (b"[]", (None, "")),
        (b"<html>", (None, "")),
    ],
)
def test_what_a_body_says_of_itself(body: bytes, expected: tuple[object, str]) -> None:
    """Whatever it is; a whole page is cut."""
    assert told(body, "code", "msg") == expected


def test_a_refusal_says_what_was_asked_and_why() -> None:
    """The code only where there is one; that nobody gave a reason is said as well."""
    asked, reply = Request("risk", "GET", "https://rest.test", "/v1/risk"), Reply(403, {}, b"")
    assert (
        why_refused("okx", asked, reply, 50111, "no such key") == "okx GET /v1/risk: no such key (HTTP 403, code 50111)"
    )
    assert why_refused("okx", asked, reply, None, "") == "okx GET /v1/risk: no reason given (HTTP 403)"


def test_the_venues_time_is_a_whole_number_or_an_error() -> None:
    """Never a guess."""
    assert clock_in("venue", b'{"time": 5}', "time") == 5
    for body in (b'{"time": "5"}', b'{"time": true}', b"{}", b"x"):
        with pytest.raises(VenueError, match="cannot be used"):
            clock_in("venue", body, "time")
    assert [whole(value) for value in (1, True, "1", 1.0, None)] == [1, None, None, None, None]


# --- answers for several accounts


@asynccontextmanager
async def two_accounts() -> AsyncIterator[tuple[Server, Rest, Rest]]:
    """Two clients of one server that share what is the same for both."""
    async with stage() as (server, _, telemetry):
        answers = SharedAnswers()
        dialect = BinanceDialect("binance", server.url, Secret("k" * 64), Secret("s" * 64), USD_M.time_path)
        budget = Budget(2400)
        clients = [
            Rest(dialect, budget, server.clock, telemetry, request_s=2.0, connect_s=1.0, answers=answers)
            for _ in range(2)
        ]
        async with clients[0], clients[1]:
            yield server, clients[0], clients[1]


def public(server: Server, age_s: float = 60.0) -> Request:
    """A question that all accounts are answered alike."""
    return Request("x-1", "GET", server.url, "/fapi/v1/exchangeInfo", Security.NONE, weight=5, age_s=age_s)


async def test_what_is_the_same_for_all_is_asked_once() -> None:
    """While one waits for it, and for as long as the answer is young enough for whoever wants it."""
    async with two_accounts() as (server, one, other):
        server.replies = [0.05, web.json_response({"new": True})]
        first, second = await asyncio.gather(one.perform(public(server)), other.perform(public(server)))
        assert first == second
        server.clock.advance(59.0)
        assert await other.perform(public(server)) == first
        assert len(server.asked) == 1
        assert await other.perform(public(server, age_s=5.0)) != first
        server.clock.advance(61.0)
        await one.perform(public(server))
        await one.perform(public(server, age_s=0.0))
        assert len(server.asked) == 4


async def test_a_refusal_is_shared_by_those_who_wait_for_it_and_no_longer() -> None:
    """They do not each ask in turn; the next who wants it does."""
    async with two_accounts() as (server, one, other):
        server.replies = [refusal(500, -1000)]
        found = await asyncio.gather(one.perform(public(server)), other.perform(public(server)), return_exceptions=True)
        assert [type(each) for each in found] == [VenueError, VenueError]
        assert len(server.asked) == 1
        server.clock.advance(1.0)
        assert (await other.perform(public(server))).body == b"{}"


async def test_questions_that_differ_share_nothing() -> None:
    """Nor do their answers stay for ever: only so many are kept."""
    async with two_accounts() as (server, one, other):
        for n in range(ANSWERS_MAX + 1):
            await one.perform(replace(public(server), params=(("n", str(n)),)))
        assert len(server.asked) == ANSWERS_MAX + 1
        await other.perform(replace(public(server), params=(("n", "1"),)))
        assert len(server.asked) == ANSWERS_MAX + 1
        await other.perform(replace(public(server), params=(("n", "0"),)))
        assert len(server.asked) == ANSWERS_MAX + 2


async def test_who_gives_up_waiting_leaves_the_question_to_the_others() -> None:
    """A runner that ends takes its own request with it, and no answer from anybody."""
    async with two_accounts() as (server, one, other):
        server.replies = [1.0]
        gone = asyncio.create_task(one.perform(public(server)))
        await until(lambda: bool(server.asked), "the question")
        waiting = asyncio.create_task(other.perform(public(server)))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await waiting).body == b"{}"
