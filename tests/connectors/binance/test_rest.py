"""Binance's way of speaking HTTP."""

import asyncio
from collections.abc import Iterable

import orjson
import pytest

from connectors import FeedSettings, Runner
from connectors.binance import AccountConfig, build
from connectors.binance.product import USD_M
from connectors.binance_common.rest import BinanceDialect, sign
from connectors.rest import Reply
from connectors.session import Request, Security
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.errors import VenueError
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import raw
from tests.support.venue_server import venue_in_process

KEY, SECRET = "k" * 64, "s" * 64


def dialect() -> BinanceDialect:
    """With a made-up key."""
    return BinanceDialect("binance", "https://rest.test", Secret(KEY), Secret(SECRET), USD_M.time_path)


def request(security: Security = Security.SIGNED, **params: str) -> Request:
    """Some question."""
    return Request("x-1", "GET", "https://rest.test", "/fapi/v3/account", security, tuple(params.items()))


@pytest.mark.parametrize(
    ("secret", "payload", "signature"),
    [
        (
            "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
            "&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        ),
        (
            "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
            "&timestamp=1591702613943",
            "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
        ),
    ],
)
def test_signatures_are_those_of_the_venues_documentation(secret: str, payload: str, signature: str) -> None:
    """HMAC-SHA-256, lower-case hexadecimal."""
    assert sign(secret, payload) == signature


def test_a_signed_request_ends_in_the_signature_of_what_is_sent() -> None:
    """Percent-encoded first, then signed."""
    prepared = dialect().prepare(request(symbol="币安USDT"), 1_790_000_000_123)
    url, query = prepared.url.split("?")
    payload, signature = query.rsplit("&signature=", 1)
    assert url == "https://rest.test/fapi/v3/account"
    assert payload == "symbol=%E5%B8%81%E5%AE%89USDT&recvWindow=5000&timestamp=1790000000123"
    assert signature == sign(SECRET, payload)
    assert prepared.headers == {"X-MBX-APIKEY": KEY}


def test_a_request_carries_only_what_it_needs() -> None:
    """No key where none is asked for, no signature where the key is enough."""
    assert dialect().prepare(request(Security.NONE), 1).headers == {}
    prepared = dialect().prepare(request(Security.KEY), 1)
    assert (prepared.url, prepared.headers) == ("https://rest.test/fapi/v3/account", {"X-MBX-APIKEY": KEY})


def test_a_prepared_request_prints_nothing() -> None:
    """Neither key nor signature."""
    printed = repr(dialect().prepare(request(), 1))
    assert KEY not in printed
    assert "signature" not in printed


def fault(status: int, body: bytes = b"", **headers: str) -> VenueError:
    """What is wrong with a reply."""
    error = dialect().fault(request(), Reply(status, headers, body))
    assert error is not None
    return error


def coded(code: int, text: str = "some words") -> bytes:
    """A body with a code."""
    return orjson.dumps({"code": code, "msg": text})


def test_a_good_reply_has_no_fault() -> None:
    """HTTP 200."""
    assert dialect().fault(request(), Reply(200, {}, b"{}")) is None


@pytest.mark.parametrize("code", [-2014, -2015, -1022, -2008, -2017])
def test_a_refused_key_is_fatal_and_the_sentence_says_what_to_do(code: int) -> None:
    """Waiting does not heal it."""
    error = fault(401, coded(code))
    assert (error.retry, error.code) == (False, code)
    assert any(word in str(error) for word in ("check", "unlock"))


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (503, b"<html>", 503),
        (500, coded(-1001), -1001),
        (408, b"", 408),
        (400, coded(-1021), -1021),
        (400, coded(-1125), -1125),
        (400, coded(-1102), -1102),
        (302, b"", 302),
        (404, coded(-5000, "Path /sapi is invalid"), 404),
        (403, b"<html>WAF</html>", 403),
        (500, b"[]", 500),
        (500, b'{"code":"x","msg":5}', 500),
    ],
)
def test_everything_else_may_be_tried_again(status: int, body: bytes, code: int) -> None:
    """A monitor that gave up would be blind; the code is the venue's where it has one that says more."""
    error = fault(status, body)
    assert (error.retry, error.code, error.retry_after_s) == (True, code, None)


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"Retry-After": "17"}, 17.0),
        (418, {"Retry-After": "259200"}, 259_200.0),
        (429, {}, 60.0),
        (418, {"Retry-After": "soon"}, 120.0),
    ],
)
def test_limits_say_how_long_to_wait(status: int, headers: dict[str, str], wait_s: float) -> None:
    """Retry-After, or the shortest time known."""
    assert fault(status, coded(-1003), **headers).retry_after_s == wait_s


def test_a_page_of_words_is_cut() -> None:
    """An error is one line."""
    assert len(str(fault(500, coded(-1000, "x" * 10_000)))) < 400


def test_the_documented_refusal_is_understood() -> None:
    """-2015 with the address it came from."""
    assert fault(401, raw("rest_error_key")).code == -2015


def test_the_used_weight_is_read_from_the_header() -> None:
    """And is unknown when it is not there."""
    assert dialect().used_weight(Reply(200, {"X-MBX-USED-WEIGHT-1M": "1234"}, b"")) == 1234
    assert dialect().used_weight(Reply(200, {}, b"")) is None
    assert dialect().used_weight(Reply(200, {"X-MBX-USED-WEIGHT-1M": "many"}, b"")) is None


def test_the_venues_time_is_read_or_refused() -> None:
    """serverTime."""
    assert dialect().clock_ms(b'{"serverTime":1790000000000}') == 1_790_000_000_000
    for body in (b"", b"{}", b'{"serverTime":"x"}', b"[]"):
        with pytest.raises(VenueError):
            dialect().clock_ms(body)


def details(runners: Iterable[Runner]) -> list[str]:
    """What they say of each stream."""
    return [each.detail for runner in runners for each in runner.health(0.0)]


async def test_an_address_that_asked_for_silence_is_left_alone_by_the_runners_after_a_reload() -> None:
    """They are made anew; what the venue said is not forgotten."""

    async def told_first() -> str:
        """What the first runners of this address say of the account that they cannot read."""
        account = AccountConfig(
            name="main",
            api_key=Secret(venue.key.api_key),
            api_secret=Secret(venue.key.api_secret),
            rest_url=venue.rest_url,
            permissions_url=venue.permissions_url,
        )
        runners = build([account], lambda event, received: None, SystemClock(), Telemetry(), FeedSettings())
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        try:
            async with asyncio.timeout(10.0):
                while not (refused := [said for said in details(runners) if "HTTP" in said or "sent" in said]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                return refused[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async with venue_in_process() as venue:
        await venue.rest_fault("/fapi/v1/time", status=418, code=-1003, retry_after=30)
        assert "HTTP 418" in await told_first()
        assert "not sent, the request budget allows it in" in await told_first()
