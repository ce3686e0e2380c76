"""The market stream without I/O: subscriptions, marks, age of data, replacement."""

from random import Random
from typing import Any

import orjson
import pytest

from connectors import FeedSettings
from connectors.binance.product import USD_M
from connectors.binance_common.market import INDIVIDUAL_STREAMS_MAX, MarketFeed
from connectors.market import FUNDING_S
from connectors.session import Connect, Disconnect
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged, FundingTold, Marks
from monitor.model.instrument import Funding
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import LIFE_S, Stage, load, market_stage, raw
from tests.support.stage import START_MS, START_S

LATE_S = 3.0
MARK_S = 5.0


def mark(stage: Stage, symbol: str = "BTCUSDT", price: str = "72000", ago_ms: int = 0, **changes: Any) -> bytes:
    """A frame with a mark of this moment."""
    at_ms = int(stage.clock.now() * 1000) - ago_ms
    return orjson.dumps({"e": "markPriceUpdate", "E": at_ms, "s": symbol, "p": price, "st": 1} | changes)


def tick(stage: Stage, *symbols: str, seconds: int = 1, connection: str | None = None) -> None:
    """Marks every second."""
    for _ in range(seconds):
        stage.pass_s(1.0)
        for symbol in symbols:
            stage.frame(mark(stage, symbol), connection)


def states(stage: Stage) -> list[FeedState]:
    """The feed's states so far."""
    return [event.state for event in stage.of(FeedChanged)]


def test_nothing_is_connected_until_something_is_held() -> None:
    """And dropped again when nothing is."""
    stage, feed = market_stage()
    stage.pass_s(60.0)
    assert stage.actions == []
    stage.tell(feed.watch, frozenset({"BTCUSDT"}))
    (connect,) = stage.did(Connect)
    assert connect.url == "wss://market.test/market/ws"
    stage.tell(feed.watch, frozenset())
    assert stage.did(Disconnect) == [Disconnect(connect.connection)]
    stage.pass_s(60.0)
    assert states(stage) == []


def test_each_instrument_is_subscribed_by_itself_in_lower_case() -> None:
    """One message for all of them."""
    stage, _ = market_stage("BTCUSDT", "1000PEPEUSDT")
    assert stage.said() == [
        {"method": "SUBSCRIBE", "params": ["1000pepeusdt@markPrice@1s", "btcusdt@markPrice@1s"], "id": 1}
    ]


def test_changes_are_told_without_sending_more_than_ten_messages_a_second() -> None:
    """However often the wishes change."""
    stage, feed = market_stage("BTCUSDT")
    for step in range(40):
        stage.tell(feed.watch, frozenset({f"S{step}USDT"}))
        stage.pass_s(0.05)
        stage.frame(mark(stage, f"S{step}USDT"))
    stage.pass_s(1.0)
    assert len(stage.said()) <= 3.1 * 4
    asked: set[str] = set()
    for message in stage.said():
        asked ^= set(message["params"])
    assert asked == {"s39usdt@markPrice@1s"}


def test_many_instruments_are_read_from_the_array() -> None:
    """The array is asked for before the single streams are given up, and given up for them with some hysteresis."""
    stage, feed = market_stage("BTCUSDT")
    many = frozenset(f"S{number}USDT" for number in range(INDIVIDUAL_STREAMS_MAX + 1))
    stage.tell(feed.watch, many)
    stage.pass_s(1.0)
    assert [(said["method"], said["params"]) for said in stage.said()[1:]] == [
        ("SUBSCRIBE", ["!markPrice@arr@1s"]),
        ("UNSUBSCRIBE", ["btcusdt@markPrice@1s"]),
    ]
    stage.tell(feed.watch, frozenset(list(many)[: INDIVIDUAL_STREAMS_MAX - 5]))
    stage.pass_s(1.0)
    assert len(stage.said()) == 3
    stage.tell(feed.watch, frozenset(list(many)[:3]))
    stage.pass_s(1.0)
    assert [said["method"] for said in stage.said()[3:]] == ["SUBSCRIBE", "UNSUBSCRIBE"]


def test_a_frame_becomes_marks_bare_or_in_its_envelope() -> None:
    """``/ws`` and ``/stream`` shapes."""
    for name in ("ws_mark_price", "ws_mark_price_combined"):
        stage, _ = market_stage("BTCUSDT")
        (event,) = stage.frame(name)
        assert isinstance(event, Marks)
        assert (event.feed, *event.instruments, *event.prices, *event.times_ms) == (
            "binance",
            "BTCUSDT",
            72010.5,
            START_MS + 1000,
        )


def test_an_array_becomes_one_event_of_what_is_wanted() -> None:
    """COIN-M rows and symbols that nobody holds are left out."""
    stage, _ = market_stage("ETHUSDT", "SOLUSDC", "BTCUSD_PERP")
    (event,) = stage.frame("ws_mark_price_array")
    assert isinstance(event, Marks)
    assert (list(event.instruments), list(event.prices)) == (["ETHUSDT", "SOLUSDC"], [3101.25, 141.1])


def test_tradfi_rows_come_in_an_array_of_their_own() -> None:
    """One frame is not the whole market."""
    stage, _ = market_stage("BTCUSDT", "XAUUSDT")
    assert [list(e.instruments) for e in stage.frame("ws_mark_price_array") if isinstance(e, Marks)] == [["BTCUSDT"]]
    (event,) = stage.frame("ws_mark_price_array_tradfi")
    assert isinstance(event, Marks)
    assert (list(event.instruments), list(event.prices)) == (["XAUUSDT"], [4102.33])


def test_indexes_have_a_stream_and_names_of_their_own() -> None:
    """``index:BTCUSD`` from ``!assetIndex@arr``."""
    stage, _ = market_stage("BTCUSDT", "index:BTCUSD", "index:USDTUSD")
    assert stage.said()[0]["params"] == ["!assetIndex@arr", "btcusdt@markPrice@1s"]
    (event,) = stage.frame("ws_asset_index_array")
    assert isinstance(event, Marks)
    assert (list(event.instruments), list(event.prices)) == (["index:BTCUSD", "index:USDTUSD"], [72000.0, 1.0001])


@pytest.mark.parametrize(
    ("frame", "defect"),
    [
        (b"\x00\x01garbage", "json"),
        (raw("ws_mark_price")[:60], "json"),
        (b"\xff\xfe\xfd", "json"),
        (b"[]", None),
        (b"5", "shape"),
        (b"null", "shape"),
        (b'{"e":5}', "shape"),
        (b'{"e":"aggTrade","s":"BTCUSDT","p":"1"}', "unknown_event"),
        (raw("ws_subscribed"), None),
        (raw("ws_subscription_rejected"), "rejected"),
        (orjson.dumps(load("ws_mark_price") | {"p": ""}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": "nan"}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": "inf"}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": "0"}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": "-5"}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": None}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": True}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": 72000.5}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": "7_2000"}), "number"),
        (orjson.dumps(load("ws_mark_price") | {"p": ["72000"]}), "number"),
        (orjson.dumps([load("ws_mark_price") | {"p": True}]), "number"),
        (orjson.dumps([load("ws_mark_price") | {"p": "7_2000"}]), "number"),
        (orjson.dumps(load("ws_mark_price") | {"E": True}), "time"),
        (orjson.dumps(load("ws_mark_price") | {"E": "soon"}), "time"),
        (orjson.dumps(load("ws_mark_price") | {"E": None}), "time"),
        (orjson.dumps(load("ws_mark_price") | {"s": 7}), "shape"),
        (orjson.dumps([5, None, "x"]), "shape"),
        (orjson.dumps(load("ws_mark_price_delivery")), None),
        (orjson.dumps(load("ws_mark_price") | {"st": 2}), None),
    ],
)
def test_a_frame_that_cannot_be_used_costs_nothing_but_a_count(frame: bytes, defect: str | None) -> None:
    """No event, no exception, and the next good frame counts."""
    stage, _ = market_stage("BTCUSDT")
    assert stage.frame(frame) == []
    counted = {labels[2]: count for labels, count in stage.telemetry.bad_frames.items().items()}
    assert set(counted) == ({defect} if defect else set())
    assert len(stage.frame(mark(stage))) == 1


@pytest.mark.parametrize("price", [True, 72000.5, "7_2000", ["72000"]])
def test_the_fast_way_takes_no_price_that_the_careful_one_would_not(price: object) -> None:
    """Not even after good ones."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT", seconds=3)
    stage.pass_s(1.0)
    assert stage.frame(mark(stage, p=price)) == []
    assert stage.bad("mark", "number") == 1


def test_a_bad_row_of_an_array_costs_only_itself() -> None:
    """The others count."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT", "SOLUSDC")
    rows = load("ws_mark_price_array")
    rows[0]["p"] = ""
    rows[2] = {"e": "markPriceUpdate"}
    (event,) = stage.frame(orjson.dumps(rows))
    assert isinstance(event, Marks)
    assert list(event.instruments) == ["ETHUSDT"]
    assert (stage.bad("mark", "number"), stage.bad("mark", "shape")) == (1, 1)


def test_repeated_and_older_marks_are_left_out_and_counted() -> None:
    """By the venue's time, instrument by instrument."""
    stage, _ = market_stage("BTCUSDT")
    stage.pass_s(2.0)
    frame = mark(stage)
    assert len(stage.frame(frame)) == 1
    assert stage.frame(frame) == []
    assert stage.frame(mark(stage, ago_ms=500)) == []
    assert (stage.bad("mark", "duplicate"), stage.bad("mark", "out_of_order")) == (1, 1)


def test_a_mark_from_the_far_future_does_not_make_all_others_old() -> None:
    """It is refused."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT")
    assert stage.frame(mark(stage, ago_ms=-3_600_000)) == []
    assert stage.bad("mark", "time") == 1
    stage.pass_s(1.0)
    assert len(stage.frame(mark(stage))) == 1


@pytest.mark.parametrize("ahead_s", [2.0, 4.9, 50.0, 3600.0])
def test_one_mark_that_is_ahead_makes_no_other_late(ahead_s: float) -> None:
    """Neither is its own symbol blocked for longer than a mark may be old."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT")
    tick(stage, "BTCUSDT", "ETHUSDT", seconds=3)
    stage.frame(mark(stage, ago_ms=int(-ahead_s * 1000)))
    before = len(stage.of(Marks))
    tick(stage, "BTCUSDT", "ETHUSDT", seconds=20)
    assert len(stage.of(Marks)) - before >= 40 - MARK_S
    assert states(stage) == []


@pytest.mark.parametrize("ahead_s", [4.0, 50.0, 3600.0])
def test_a_first_mark_that_is_ahead_makes_no_other_late(ahead_s: float) -> None:
    """There is nothing to hold it against but the second."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT")
    stage.pass_s(0.5)
    stage.frame(mark(stage, ago_ms=int(-ahead_s * 1000)))
    tick(stage, "BTCUSDT", "ETHUSDT", seconds=20)
    assert states(stage)[-1:] in ([], [FeedState.LIVE])
    assert len(stage.of(Marks)) >= 40 - MARK_S


@pytest.mark.parametrize("symbols", [("BTCUSDT",), ("BTCUSDT", "ETHUSDT")])
def test_a_venue_whose_clock_was_stepped_forward_is_believed_after_a_moment(symbols: tuple[str, ...]) -> None:
    """Or a machine that slept: then all marks are ahead, and no new connection is needed."""
    stage, _ = market_stage(*symbols)
    tick(stage, *symbols, seconds=3)
    for _ in range(4):
        stage.pass_s(1.0)
        for symbol in symbols:
            stage.frame(mark(stage, symbol, ago_ms=-3_600_000))
    assert stage.frame(mark(stage, ago_ms=-3_600_001)) != []
    assert len(stage.did(Connect)) == 1
    assert FeedState.STALE not in states(stage)


def test_a_symbol_whose_time_is_ahead_of_all_others_stays_refused() -> None:
    """The others say what time it is; it becomes stale, which is said."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT")
    tick(stage, "BTCUSDT", "ETHUSDT", seconds=3)
    for _ in range(20):
        tick(stage, "BTCUSDT")
        stage.frame(mark(stage, "ETHUSDT", ago_ms=-100_000))
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    assert "ETHUSDT" in stage.of(FeedChanged)[-1].detail


def test_a_clock_that_is_off_does_not_make_marks_late() -> None:
    """Only what the age grows by counts, whichever way the clocks differ."""
    for off_ms in (-40_000, 40_000):
        stage, _ = market_stage("BTCUSDT")
        for _ in range(30):
            stage.pass_s(1.0)
            stage.frame(mark(stage, ago_ms=off_ms))
        assert states(stage) == []


def test_marks_that_come_later_and_later_are_late_though_they_come_every_second() -> None:
    """A backlog in the network is age of data, too."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT", seconds=5)
    for step in range(12):
        stage.pass_s(1.0)
        stage.frame(mark(stage, ago_ms=500 * step))
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    stale = stage.of(FeedChanged)[-1]
    assert stale.data_at == pytest.approx(stale.at - MARK_S, abs=0.6)


def test_a_socket_that_connects_acknowledges_and_says_nothing_is_stale_and_replaced() -> None:
    """Reported once; being connected proves nothing."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_subscribed")
    stage.pass_s(60.0)
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    stale = stage.of(FeedChanged)[1]
    assert (stale.stream, stale.account, stale.feed) == ("mark", "", "binance")
    assert START_S + MARK_S < stale.at <= START_S + MARK_S + 1.0
    assert "no mark of BTCUSDT yet" in stale.detail
    assert stale.data_at is None
    assert len(stage.did(Connect)) >= 2
    assert len(stage.open) <= 1


def test_a_stream_that_falls_silent_is_replaced_before_it_is_dropped() -> None:
    """The old connection goes when the new one delivers, and not before."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT", seconds=3)
    (old,) = stage.open
    stage.pass_s(MARK_S + 1.0)
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    assert len(stage.open) == 2
    stage.frame(mark(stage))
    assert stage.did(Disconnect) == [Disconnect(old)]
    stage.pass_s(0.5)
    assert states(stage)[-1] is FeedState.LIVE


def test_one_silent_instrument_does_not_cost_the_others() -> None:
    """A settled contract: replacements grow rare, and the others' marks keep coming on every connection."""
    stage, _ = market_stage("BTCUSDT", "GONEUSDT")
    tick(stage, "BTCUSDT", "GONEUSDT", seconds=2)
    tick(stage, "BTCUSDT", seconds=600)
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    assert 2 <= len(stage.did(Connect)) <= 20
    assert len(stage.of(Marks)) == 602 + 2


def test_a_lost_connection_is_made_again_and_is_late_only_when_the_data_is() -> None:
    """Within the second between two marks nobody needs to hear of it."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT", seconds=3)
    stage.lose()
    stage.pass_s(1.1)
    assert len(stage.open) == 1
    tick(stage, "BTCUSDT", seconds=3)
    assert states(stage) == []


def test_a_venue_that_cannot_be_reached_is_down() -> None:
    """Late, then down, with the reason; and tried with growing pauses."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT", seconds=3)
    stage.connecting = False
    stage.lose()
    stage.pass_s(300.0)
    assert states(stage) == [FeedState.LATE, FeedState.DOWN]
    assert "refused" in stage.of(FeedChanged)[-1].detail
    assert 30 <= len(stage.did(Connect)) <= 100


def test_connections_end_before_the_venue_ends_them_and_after_the_next_delivers() -> None:
    """A connection lives a day at most."""
    stage, _ = market_stage("BTCUSDT")
    tick(stage, "BTCUSDT")
    (old,) = stage.open
    stage.clock.advance(LIFE_S + 1.0)
    stage.frame(mark(stage), old)
    stage.tell(stage.session.tick)
    assert len(stage.open) == 2
    assert stage.said()[-1]["params"] == ["btcusdt@markPrice@1s"]
    stage.pass_s(1.0)
    twice = mark(stage)
    assert len(stage.frame(twice, old)) == 1
    assert stage.frame(twice) == []
    assert stage.open[0] == old
    stage.pass_s(1.0)
    stage.frame(mark(stage))
    assert stage.did(Disconnect) == [Disconnect(old)]
    assert states(stage) == []


def test_a_stream_is_never_late_later_than_it_is_stale() -> None:
    """A small `mark_s` counts, whatever `late_s` is."""
    feed = MarketFeed("binance", "wss://m.test", FeedSettings(mark_s=1.5), Telemetry(), Random(7), USD_M)
    stage = Stage(feed, Telemetry())
    stage.start()
    stage.tell(feed.watch, frozenset({"BTCUSDT"}))
    stage.pass_s(2.5)
    assert states(stage) == [FeedState.STALE]


def test_health_is_the_age_of_the_oldest_mark() -> None:
    """For the metric and the page."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT")
    tick(stage, "BTCUSDT", "ETHUSDT")
    tick(stage, "BTCUSDT", seconds=2)
    (health,) = stage.session.health(stage.clock.now())
    assert (health.venue, health.account, health.stream, health.state) == ("binance", "", "mark", FeedState.LIVE)
    assert health.age_s == pytest.approx(2.0, abs=0.01)


# --- funding


@pytest.mark.parametrize("together", [False, True])
def test_funding_comes_with_the_marks(together: bool) -> None:
    """Rate and time of the next payment, from single rows and from arrays; contracts that expire have neither."""
    stage, _ = market_stage("BTCUSDT", "BTCUSDT_261225")
    next_ms = START_MS + 3_600_000
    rows = [
        mark(stage, r="0.00010000", T=next_ms),
        mark(stage, "BTCUSDT_261225", r="", T=0),
    ]
    for shift in range(3):
        stage.pass_s(1.0)
        fresh = [orjson.loads(row) | {"E": START_MS + 1000 * (shift + 1)} for row in rows]
        for frame in [fresh] if together else fresh:
            stage.frame(orjson.dumps(frame))
    stage.pass_s(FUNDING_S)
    (event,) = stage.of(FundingTold)
    assert event == FundingTold("binance", (("BTCUSDT", Funding(0.0001, next_ms / 1000.0)),))
