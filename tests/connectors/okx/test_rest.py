"""OKX's signatures, error codes and clock.

OKX publishes no expected signatures; these are of its documentation's example secret, computed once by plain HMAC.
"""

import orjson
import pytest
from multidict import CIMultiDict

from connectors.okx.rest import OkxDialect, sign, timestamp
from connectors.rest import Reply
from connectors.session import Request, Security
from monitor.credential import Secret
from monitor.errors import VenueError

SECRET = "22582BD0CFF14C41EDBF1AB98506286D"
AT_MS = 1_607_418_537_715
REQUEST = Request(
    "x", "GET", "https://rest.test", "/api/v5/account/positions", Security.SIGNED, (("instType", "SWAP"),)
)


def dialect(*, demo: bool = False) -> OkxDialect:
    """With the example secret."""
    return OkxDialect("okx", "https://rest.test", Secret("key"), Secret(SECRET), Secret("phrase"), demo=demo)


def refusal(status: int, body: bytes, **headers: str) -> VenueError | None:
    """What an answer is taken for."""
    return dialect().fault(
        REQUEST, Reply(status, CIMultiDict({k.replace("_", "-"): v for k, v in headers.items()}), body)
    )


def test_requests_are_signed_with_time_method_path_and_query() -> None:
    """ISO 8601 in milliseconds; everything but the query goes in headers."""
    prepared = dialect().prepare(REQUEST, AT_MS)
    assert timestamp(AT_MS) == "2020-12-08T09:08:57.715Z"
    assert prepared.url == "https://rest.test/api/v5/account/positions?instType=SWAP"
    assert prepared.headers == {
        "OK-ACCESS-KEY": "key",
        "OK-ACCESS-SIGN": "2To1co8bnLeUL96pQpWm6LD0VOl6aRBZxckSFPo+Dlg=",
        "OK-ACCESS-TIMESTAMP": "2020-12-08T09:08:57.715Z",
        "OK-ACCESS-PASSPHRASE": "phrase",
    }


def test_the_demo_account_is_asked_for_by_a_header() -> None:
    """It shares the host with production, and forgetting the header would read the wrong account."""
    assert dialect(demo=True).prepare(REQUEST, AT_MS).headers["x-simulated-trading"] == "1"
    assert dialect(demo=True).prepare(Request("t", "GET", "https://rest.test", "/t"), 0).headers == {
        "x-simulated-trading": "1"
    }


def test_the_log_in_frame_is_signed_with_seconds() -> None:
    """Over the fixed path that OKX names."""
    said = orjson.loads(dialect().login(AT_MS))
    assert said == {
        "op": "login",
        "args": [
            {
                "apiKey": "key",
                "passphrase": "phrase",
                "timestamp": "1607418537",
                "sign": "0vjUjLrA6Rxym2CT08KxFZ5U92xuS0FYHMvxJS17GwM=",
            }
        ],
    }
    assert sign(SECRET, "1607418537GET/users/self/verify") == said["args"][0]["sign"]


@pytest.mark.parametrize("code", [50101, 50105, 50110, 50111, 50113, 50119, 50120, 50035])
def test_what_a_person_must_mend_is_not_retried(code: int) -> None:
    """And says what to check."""
    error = refusal(401, orjson.dumps({"code": str(code), "msg": "x", "data": []}))
    assert error is not None
    assert (error.retry, error.code) == (False, code)
    assert "check that" in str(error)


@pytest.mark.parametrize("code", [50001, 50004, 50011, 50013, 50017, 50020, 50023, 50026, 50061, 50072, 59999])
def test_everything_else_is_tried_again(code: int) -> None:
    """Most come with HTTP 200: the code tells."""
    error = refusal(200, orjson.dumps({"code": str(code), "msg": "words", "data": []}))
    assert error is not None
    assert (error.retry, error.code) == (True, code)
    assert error.retry_after_s == (3.0 if code in (50011, 50061) else None)


def test_good_answers_and_strange_ones() -> None:
    """A page in place of an answer is a fault whatever its status; a wish to wait is respected."""
    assert refusal(200, b'{"code":"0","msg":"","data":[]}') is None
    strange, broken = refusal(200, b"<html>"), refusal(502, b"<html>")
    assert strange is not None
    assert broken is not None
    assert (strange.code, broken.code, strange.retry, broken.retry) == (200, 502, True, True)
    waits = refusal(429, b"", Retry_After="7"), refusal(429, b"")
    assert [wait and wait.retry_after_s for wait in waits] == [7.0, 3.0]


def test_the_clock() -> None:
    """A time that is off is known by its code, and the venue's is a string."""
    off = refusal(401, b'{"code":"50102","msg":"Timestamp request expired","data":[]}')
    assert off is not None
    assert dialect().is_clock_fault(off)
    assert dialect().clock_ms(b'{"code":"0","data":[{"ts":"1597026383085"}]}') == 1597026383085
    for body in (b"[]", b"{}", b'{"data":[{"ts":""}]}', b"x"):
        with pytest.raises(VenueError):
            dialect().clock_ms(body)
