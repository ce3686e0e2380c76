"""Which requests a fault meets, and what spoiling leaves."""

import orjson
import pytest

from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import FrameFault, RestFault, RestFaults, spoiled_body, spoiled_frame
from monitor.clock import ManualClock
from tests.connectors.simulator.stage import stage


def test_faults_meet_their_path_in_order_and_run_out() -> None:
    """First come first served, by the beginning of the path, so many times."""
    faults = RestFaults()
    faults.add(RestFault(path="/fapi/v3", status=500, times=2))
    faults.add(RestFault(path="/", status=418))
    assert faults.take("/fapi/v1/time") is not None
    assert faults.take("/fapi/v1/time") is None
    met = [faults.take("/fapi/v3/account") for _ in range(3)]
    assert [fault.status if fault else None for fault in met] == [500, 500, None]
    faults.add(RestFault())
    faults.clear()
    assert faults.take("/") is None


def test_empty_numbers_leave_words_and_flags() -> None:
    """Only text that reads as a number is emptied, however deep."""
    body = orjson.dumps([{"a": "1.50", "b": "BTCUSDT", "c": 7, "d": {"e": ["-2", True, "x"]}}])
    assert orjson.loads(spoiled_body("empty_numbers", body)) == [
        {"a": "", "b": "BTCUSDT", "c": 7, "d": {"e": ["", True, "x"]}}
    ]


@pytest.mark.parametrize("kind", ["garbage", "truncated"])
def test_other_bodies_are_no_json(kind: str) -> None:
    """Neither of them parses."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(spoiled_body(kind, b'{"a": [1, 2, 3]}'))


def test_made_frames_go_into_the_envelope() -> None:
    """Those that are still JSON; text of one's own goes as it stands."""
    exchange = Exchange(stage(), 1, ManualClock())
    fault = FrameFault(kind="unknown_event")
    assert orjson.loads(spoiled_frame(fault, exchange, None, "s"))["stream"] == "s"
    assert "stream" not in orjson.loads(spoiled_frame(fault, exchange, None, None))
    assert spoiled_frame(FrameFault(text="\x00"), exchange, None, "s") == "\x00"
    truncated = spoiled_frame(FrameFault(kind="truncated"), exchange, None, "s")
    assert truncated.startswith('{"stream":"s"')
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(truncated)
