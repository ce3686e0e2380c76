"""Questions and their faults."""

import orjson
import pytest

from connectors.hyperliquid.rest import HyperliquidDialect, info
from connectors.rest import Reply
from monitor.errors import VenueError

DIALECT = HyperliquidDialect("hyperliquid", "https://rest.test")
QUESTION = info("https://rest.test", "state:xyz", "clearinghouseState", user="0xab", dex="xyz")


def fault(status: int, body: bytes = b"", **headers: str) -> VenueError | None:
    """What a reply amounts to."""
    return DIALECT.fault(QUESTION, Reply(status, headers, body))


def test_a_question_is_a_json_object() -> None:
    """To one path, by POST, without any header that tells who asks."""
    prepared = DIALECT.prepare(QUESTION, 0)
    assert prepared.url == "https://rest.test/info"
    assert prepared.headers == {"Content-Type": "application/json"}
    assert orjson.loads(prepared.body or b"") == {"type": "clearinghouseState", "user": "0xab", "dex": "xyz"}


@pytest.mark.parametrize(
    ("question", "weight"),
    [("clearinghouseState", 2), ("spotClearinghouseState", 2), ("userRole", 60), ("userAbstraction", 20), ("meta", 20)],
)
def test_weights(question: str, weight: int) -> None:
    """As documented."""
    assert info("https://rest.test", "x", question).weight == weight


@pytest.mark.parametrize(("status", "retry"), [(422, False), (429, True), (500, True), (502, True), (403, True)])
def test_faults(status: int, retry: bool) -> None:
    """Only what cannot be read is not worth asking again; the text of the body is not looked at."""
    error = fault(status, b"null")
    assert error is not None
    assert (error.retry, error.code) == (retry, status)
    assert "0xab" not in str(error)
    assert fault(200, b"null") is None


def test_the_venues_wish_is_heard_if_it_has_one() -> None:
    """Whether a 429 bears one is not documented."""
    error, silent = fault(429, **{"Retry-After": "7"}), fault(429)
    assert error is not None
    assert silent is not None
    assert (error.retry_after_s, silent.retry_after_s) == (7.0, None)


def test_the_clock() -> None:
    """Nothing depends on it, and it can be asked."""
    assert DIALECT.clock_ms(b'{"time":1790000000000,"specialStatuses":null}') == 1790000000000
    with pytest.raises(VenueError):
        DIALECT.clock_ms(b"null")
    assert DIALECT.used_weight(Reply(200, {}, b"")) is None
