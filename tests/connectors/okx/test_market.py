"""The mark-price session, driven by hand."""

from random import Random
from typing import Any

import orjson
import pytest

from connectors import FeedSettings
from connectors.okx.market import MarketFeed
from connectors.session import Connect, Disconnect, Send
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged, Marks
from monitor.telemetry import Telemetry

T = 1_790_000_000.0


class Desk:
    """A market session, its clock, and what it did."""

    def __init__(self, *names: str) -> None:
        self.telemetry = Telemetry()
        self.session = MarketFeed(
            "okx", "wss://market.test/ws/v5/public", FeedSettings(), self.telemetry, Random(1), "okx"
        )
        self.now = T
        self.sent: list[str] = []
        self.dialled: list[str] = []
        self.dropped: list[str] = []
        self.session.start(T)
        self.session.watch(frozenset(names), T)
        self.act()
        self.session.opened(self.dialled[0], T)
        self.act()

    def act(self) -> None:
        """Take its actions."""
        for action in self.session.actions:
            match action:
                case Connect(name):
                    self.dialled.append(name)
                case Send(_, text):
                    self.sent.append(text)
                case Disconnect(name):
                    self.dropped.append(name)
        self.session.actions.clear()

    def hear(self, frame: Any, connection: str | None = None) -> list[Any]:
        """A frame comes."""
        text = frame if isinstance(frame, bytes) else orjson.dumps(frame)
        events = list(self.session.received(connection or self.dialled[0], text, self.now))
        self.act()
        return events

    def mark(self, name: str, price: str = "100", connection: str | None = None, **changes: Any) -> list[Any]:
        """A mark made now."""
        row = {"instType": "SWAP", "instId": name, "markPx": price, "ts": str(int(self.now * 1000))} | changes
        return self.hear({"arg": {"channel": "mark-price", "instId": name}, "data": [row]}, connection)

    def index(self, coin: str, price: str = "100", **changes: Any) -> list[Any]:
        """An index of a coin in USD made now."""
        row = {"instId": f"{coin}-USD", "idxPx": price, "ts": str(int(self.now * 1000))} | changes
        return self.hear({"arg": {"channel": "index-tickers", "instId": f"{coin}-USD"}, "data": [row]})

    def wait(self, seconds: float, *, pongs: bool = True) -> list[FeedState]:
        """Time passes, pings are answered or not; the states that follow."""
        states, end = [], self.now + seconds
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            states += [e.state for e in self.session.tick(self.now) if isinstance(e, FeedChanged)]
            asked = "ping" in [action.text for action in self.session.actions if isinstance(action, Send)]
            self.act()
            if asked and pongs:
                self.hear(b"pong")
        self.now = end
        return states

    def bad(self, defect: str) -> int:
        """How often a defect was counted."""
        return self.telemetry.bad_frames.get("okx", "mark", defect)


def test_it_subscribes_to_what_is_held() -> None:
    """One argument for each instrument, and no more than that."""
    desk = Desk("A-USDT-SWAP", "B-USDT-SWAP")
    assert [orjson.loads(text) for text in desk.sent] == [
        {"op": "subscribe", "args": [{"channel": "mark-price", "instId": f"{name}-USDT-SWAP"} for name in "AB"]}
    ]
    desk.now += 1.0
    desk.session.watch(frozenset({"B-USDT-SWAP"}), desk.now)
    desk.wait(0.0)
    assert orjson.loads(desk.sent[-1])["op"] == "unsubscribe"
    assert desk.session.watch(frozenset(), desk.now) == ()
    desk.act()
    assert desk.dropped == desk.dialled


def test_it_subscribes_to_the_index_of_collateral() -> None:
    """By OKX's name of it, on the same socket; and tells of it under ours, beside the marks."""
    desk = Desk("BTC-USD-SWAP", "index:BTCUSD", "index:USDTUSD")
    assert [orjson.loads(text)["args"] for text in desk.sent] == [
        [
            {"channel": "mark-price", "instId": "BTC-USD-SWAP"},
            {"channel": "index-tickers", "instId": "BTC-USD"},
            {"channel": "index-tickers", "instId": "USDT-USD"},
        ]
    ]
    assert isinstance(desk.mark("BTC-USD-SWAP", "75001")[0], Marks)
    (marks,) = desk.index("BTC", "75010.5")
    assert (marks.instruments, marks.prices, marks.times_ms) == (("index:BTCUSD",), (75010.5,), (int(T * 1000),))
    assert desk.index("ETH") == []
    assert (
        desk.hear({"arg": {"channel": "index-tickers"}, "data": [{"instId": "BTC-USDT", "idxPx": "1", "ts": "1"}]})
        == []
    )
    desk.now += 1.0
    row = {"idxPx": "76000", "ts": str(int(desk.now * 1000))}
    two = [row | {"instId": "BTC-USD"}, row | {"instId": "USDT-USD", "idxPx": ""}]
    (marks,) = desk.hear({"arg": {"channel": "index-tickers"}, "data": two})
    assert marks.prices == [76000.0]
    assert desk.bad("number") == 1


def test_an_index_may_rest_for_a_minute() -> None:
    """OKX repeats it so often; one that is not repeated then is late and stale as a mark is, and a mark stays one."""
    desk = Desk("A", "index:BTCUSD")
    desk.mark("A")
    desk.index("BTC")
    states = []
    for _ in range(6):
        states += desk.wait(9.9)
        desk.mark("A")
    assert states == []
    states = desk.wait(1.0)
    desk.mark("A")
    assert states + desk.wait(2.5) == [FeedState.LATE, FeedState.STALE]
    (health,) = desk.session.health(desk.now)
    assert "index:BTCUSD is the oldest" in health.detail
    desk.index("BTC")
    assert desk.wait(1.0) == [FeedState.LIVE]
    assert desk.wait(13.0) == [FeedState.LATE, FeedState.STALE]
    (health,) = desk.session.health(desk.now)
    assert "A is the oldest" in health.detail


def test_an_index_that_never_came_is_missed() -> None:
    """As soon as one that rests would have been repeated."""
    desk = Desk("A", "index:BTCUSD")
    states = []
    for _ in range(7):
        desk.mark("A")
        states += desk.wait(9.9)
    assert states == [FeedState.LATE, FeedState.STALE]


def test_a_quiet_mark_is_not_stale_while_the_connection_answers() -> None:
    """OKX repeats it every 10 s only; past 12 s something is wrong."""
    desk = Desk("A")
    desk.mark("A")
    assert desk.wait(10.5) == []
    desk.mark("A")
    assert desk.wait(13.0) == [FeedState.LATE, FeedState.STALE]
    assert len(desk.dialled) == 2


def test_a_connection_that_does_not_even_answer_is_stale_at_once() -> None:
    """After the ordinary limit for marks."""
    desk = Desk("A")
    desk.mark("A")
    assert desk.wait(6.0, pongs=False) == [FeedState.STALE]
    assert len(desk.dialled) == 2
    desk.session.opened(desk.dialled[1], desk.now)
    events = desk.mark("A", connection=desk.dialled[1])
    assert isinstance(events[0], Marks)
    assert desk.dropped == desk.dialled[:1]
    assert desk.wait(1.0) == [FeedState.LIVE]


def test_pings_are_the_text_and_nothing_else() -> None:
    """JSON and WebSocket pings do not count for OKX."""
    desk = Desk("A")
    desk.wait(10.0)
    assert set(desk.sent[1:]) == {"ping"}
    assert desk.telemetry.bad_frames.items() == {}


def test_an_announced_upgrade_makes_a_successor_first() -> None:
    """Notice 64008: the venue ends the connection in a minute."""
    desk = Desk("A")
    desk.mark("A")
    desk.hear({"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade."})
    assert len(desk.dialled) == 2
    assert desk.dropped == []


@pytest.mark.parametrize("price", ["7_5000", True, None, [], {}])
def test_what_is_no_number_is_no_mark(price: Any) -> None:
    """Whatever Python would make of it; of an index neither."""
    desk = Desk("A", "index:BTCUSD")
    assert desk.mark("A")
    assert desk.index("BTC")
    desk.now += 1.0
    assert desk.mark("A", price) == desk.index("BTC", price) == []
    assert desk.bad("number") == 2


def test_odd_frames_are_counted() -> None:
    """Refusals, other channels, empty prices, rows out of turn."""
    desk = Desk("A")
    desk.mark("A")
    desk.hear({"event": "error", "code": "60018", "msg": "Wrong URL or channel"})
    desk.hear({"arg": {"channel": "tickers", "instId": "A"}, "data": [{}]})
    desk.mark("A", "")
    desk.mark("A", "nan")
    desk.mark("A", "-1")
    desk.mark("A", ts="")
    desk.mark("A", ts=str(int((T - 1) * 1000)))
    desk.mark("A", ts=str(int((T + 100) * 1000)))
    desk.mark("A")
    desk.hear([])
    desk.hear({"data": []})
    counts = {"rejected": 1, "unknown_event": 1, "number": 3, "out_of_order": 1, "duplicate": 1, "shape": 2}
    assert {defect: desk.bad(defect) for defect in counts} == counts
    assert desk.bad("time") == 2
    assert desk.mark("B") == []
