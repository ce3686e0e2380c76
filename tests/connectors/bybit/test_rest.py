"""Bybit's way of speaking HTTP, and its log-in frames."""

import hashlib
import hmac
from typing import Any

import orjson
import pytest

from connectors.bybit.rest import BybitDialect, sign
from connectors.rest import Budget, ClockedSigner, Reply, Rest
from connectors.session import Request, Security
from monitor.clock import ManualClock
from monitor.credential import Secret
from monitor.errors import VenueError
from monitor.telemetry import Telemetry

KEY, SECRET = "k" * 18, "s" * 36


def dialect() -> BybitDialect:
    """With a made-up key."""
    return BybitDialect("bybit", "https://rest.test", Secret(KEY), Secret(SECRET))


def request(security: Security = Security.SIGNED, **params: str) -> Request:
    """Some question."""
    return Request("x-1", "GET", "https://rest.test", "/v5/position/list", security, tuple(params.items()))


def fault(status: int, body: Any, **headers: str) -> VenueError | None:
    """What the dialect makes of a reply."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return dialect().fault(request(), Reply(status, headers, data))


def test_what_is_signed_is_time_key_window_and_the_query_as_it_is_sent() -> None:
    """Percent-encoded first; the signature goes in a header, the key never in the address."""
    prepared = dialect().prepare(request(category="linear", cursor="BTC%2C1"), 1_658_384_314_791)
    url, query = prepared.url.split("?")
    assert (url, query) == ("https://rest.test/v5/position/list", "category=linear&cursor=BTC%252C1")
    text = f"1658384314791{KEY}5000{query}"
    assert prepared.headers == {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": "1658384314791",
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest(),
    }


def test_a_public_question_carries_no_key() -> None:
    """Nor any header at all."""
    assert dialect().prepare(request(Security.NONE), 1).headers == {}


def test_a_log_in_frame_goes_by_the_venues_clock() -> None:
    """It expires ten seconds later; one second was too short for others."""
    clock = ManualClock(1_790_000_000.0)
    rest = Rest(dialect(), Budget(1), clock, Telemetry(), request_s=1.0, connect_s=1.0)
    rest._offset_ms = 30_000.0
    frame = orjson.loads(ClockedSigner(dialect(), rest).login(1_790_000_000_000))
    expires = 1_790_000_040_000
    assert frame["op"] == "auth"
    assert frame["args"] == [KEY, expires, sign(SECRET, f"GET/realtime{expires}")]


def test_a_good_answer() -> None:
    """HTTP 200 and retCode 0."""
    assert fault(200, {"retCode": 0, "result": {}}) is None


@pytest.mark.parametrize("code", [10003, 10004, 10005, 10007, 10010, 33004])
def test_refusals_that_waiting_does_not_heal(code: int) -> None:
    """They come with HTTP 200, and say what to do."""
    error = fault(200, {"retCode": code, "retMsg": "no"})
    assert error is not None
    assert (error.retry, error.code) == (False, code)
    assert "check" in str(error) or "new one" in str(error)


@pytest.mark.parametrize("code", [10000, 10001, 10002, 10006, 10016, 10029])
def test_refusals_that_may_pass(code: int) -> None:
    """Bybit's own words are told."""
    error = fault(200, {"retCode": code, "retMsg": "try again", "time": 1})
    assert error is not None
    assert (error.retry, error.code) == (True, code)
    assert "try again" in str(error)
    assert dialect().is_clock_fault(error) is (code == 10002)


def test_a_limit_that_is_reached_says_until_when() -> None:
    """By the venue's clock, which the answer carries."""
    body = {"retCode": 10006, "retMsg": "too many visits", "time": 1_790_000_000_000}
    error = fault(200, body, **{"X-Bapi-Limit-Reset-Timestamp": "1790000002500"})
    assert error is not None
    assert error.retry_after_s == 2.5
    error = fault(200, body)
    assert error is not None
    assert error.retry_after_s == 5.0


def test_an_address_that_is_shut_out_stays_silent_for_ten_minutes() -> None:
    """HTTP 403 without a code; a reconnect storm would blind every account behind the address."""
    error = fault(403, b"access too frequent")
    assert error is not None
    assert (error.retry, error.code, error.retry_after_s) == (True, 403, 600.0)
    error = fault(429, b"", **{"Retry-After": "7"})
    assert error is not None
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}"])
def test_an_answer_that_is_none_of_bybits_is_no_answer(body: bytes) -> None:
    """Whatever its status."""
    error = fault(200, body)
    assert error is not None
    assert (error.retry, error.code) == (True, 200)


def test_the_clock() -> None:
    """``time`` of the envelope."""
    assert dialect().clock_ms(b'{"retCode":0,"time":1790000000123}') == 1_790_000_000_123
    with pytest.raises(VenueError):
        dialect().clock_ms(b"{}")
    assert dialect().used_weight(Reply(200, {}, b"")) is None
