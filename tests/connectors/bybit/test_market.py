"""The market session: deltas without marks, silence that is not death, one socket for each category."""

from typing import Any

import pytest

from connectors.market import FUNDING_S
from connectors.session import Connect
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged, FundingTold, Marks
from monitor.model.instrument import Funding
from tests.connectors.bybit.stage import Stage, load, market_stage
from tests.support.stage import START_MS, START_S


def marks(stage: Stage) -> list[tuple[str, float, int]]:
    """Name, price and time (after the start) of every mark so far."""
    return [
        (name, price, at_ms - START_MS)
        for event in stage.of(Marks)
        for name, price, at_ms in zip(event.instruments, event.prices, event.times_ms, strict=True)
    ]


def states(stage: Stage) -> list[FeedState]:
    """How the stream's state went."""
    return [event.state for event in stage.of(FeedChanged)]


def ticker(at_s: float, kind: str = "delta", symbol: str = "BTCUSDT", **row: Any) -> dict[str, Any]:
    """A frame so many seconds after the start."""
    ts = START_MS + int(at_s * 1000)
    return {"topic": f"tickers.{symbol}", "type": kind, "cs": ts, "ts": ts, "data": {"symbol": symbol, **row}}


def test_absent_means_unchanged() -> None:
    """A delta without a mark proves the mark that stands."""
    stage, _ = market_stage("BTCUSDT")
    for name in ("ws_ticker_snapshot", "ws_ticker_delta", "ws_ticker_delta_without_mark"):
        stage.frame(name)
    assert marks(stage) == [("BTCUSDT", 75000.1, 0), ("BTCUSDT", 75000.2, 100), ("BTCUSDT", 75000.2, 200)]


def test_a_delta_without_a_mark_before_the_snapshot_says_nothing() -> None:
    """The price may have changed while nobody listened."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_delta_without_mark")
    assert marks(stage) == []
    stage.frame(ticker(0.3, markPrice="75000.3"))
    stage.frame(ticker(0.4, ask1Size="1"))
    assert marks(stage) == [("BTCUSDT", 75000.3, 300)]


def test_each_category_has_a_socket_of_its_own() -> None:
    """Linear, inverse, and the spot market for the price of collateral in USD."""
    stage, _ = market_stage("BTCUSDT", "BTC-25DEC26", "BTCUSD", "index:BTCUSD")
    assert {action.url for action in stage.did(Connect)} == {
        "wss://market.test/linear",
        "wss://market.test/inverse",
        "wss://market.test/spot",
    }
    sockets = {name.rpartition("/")[2].partition("-")[0]: name for name in stage.open}
    stage.frame("ws_ticker_delivery", sockets["linear"])
    stage.frame("ws_ticker_inverse", sockets["inverse"])
    stage.frame("ws_ticker_spot", sockets["spot"])
    assert marks(stage) == [
        ("BTC-25DEC26", 75000.1, 0),
        ("BTCUSD", 75000.1, 0),
        ("index:BTCUSD", 74990.25, 0),
    ]
    topics = sorted(topic for said in stage.said() for topic in said["args"])
    assert topics == ["tickers.BTC-25DEC26", "tickers.BTCUSD", "tickers.BTCUSDT", "tickers.BTCUSDT"]


def test_a_category_that_nobody_needs_has_no_socket() -> None:
    """And one that nobody needs any more is closed."""
    stage, feed = market_stage("BTCUSDT", "BTCUSD")
    assert len(stage.open) == 2
    stage.tell(feed.watch, frozenset({"BTCUSDT"}))
    assert [name.rpartition("-")[0] for name in stage.open] == ["bybit/mark/linear"]


def test_silence_is_asked_about() -> None:
    """A contract of which nothing changes is silent; subscribed anew, Bybit sends a snapshot."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    stage.pass_s(3.0)
    said = [(said["op"], said["args"]) for said in stage.said()]
    assert said[-2:] == [("unsubscribe", ["tickers.BTCUSDT"]), ("subscribe", ["tickers.BTCUSDT"])]
    assert len(said) == 3
    stage.frame(ticker(3.0, "snapshot", markPrice="75000.1"))
    assert marks(stage)[-1] == ("BTCUSDT", 75000.1, 3000)
    assert states(stage) == []


def test_a_snapshot_that_bears_the_time_of_the_last_change_is_as_young_as_the_question() -> None:
    """It was sent after we asked."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    stage.pass_s(3.0)
    stage.frame("ws_ticker_snapshot")
    ((_, first, _), (_, again, at_ms)) = marks(stage)
    assert first == again
    assert at_ms == pytest.approx(2500, abs=600)
    stage.frame("ws_ticker_snapshot")
    assert stage.bad("mark", "out_of_order") == 1


def test_a_stream_that_stays_silent_is_late_then_stale_and_replaced() -> None:
    """Nothing but data counts."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    stage.pass_s(6.0)
    assert states(stage) == [FeedState.LATE, FeedState.STALE]
    assert len(stage.did(Connect)) == 2
    stage.frame(ticker(6.0, "snapshot", markPrice="75000.5"))
    stage.pass_s(0.6)
    assert states(stage)[-1] is FeedState.LIVE
    assert len(stage.open) == 1


def test_older_frames_are_left_out() -> None:
    """Times never go back."""
    stage, _ = market_stage("BTCUSDT")
    for frame in (ticker(1.0, markPrice="5"), ticker(1.0, markPrice="6"), ticker(0.5, markPrice="7")):
        stage.frame(frame)
    assert marks(stage) == [("BTCUSDT", 5.0, 1000)]
    assert (stage.bad("mark", "duplicate"), stage.bad("mark", "out_of_order")) == (1, 1)


@pytest.mark.parametrize("price", ["", "0", "-1", "nan", "inf", "x", True])
def test_a_price_that_is_none_is_refused(price: object) -> None:
    """And the one that stood still stands."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    stage.frame(ticker(0.1, markPrice=price))
    assert marks(stage) == [("BTCUSDT", 75000.1, 0)]
    assert stage.bad("mark", "number") == 1


def test_one_topic_that_is_refused_does_not_take_the_others_with_it() -> None:
    """Bybit refuses the whole request; each topic is then tried alone."""
    stage, _ = market_stage("BTCUSDT", "ETHUSDT", "NOSUCHUSDT")
    assert len(stage.said()) == 1
    stage.frame(load("ws_subscription_rejected") | {"req_id": stage.said()[0]["req_id"]})
    stage.pass_s(1.5)
    assert [said["args"] for said in stage.said()[1:4]] == [
        ["tickers.BTCUSDT"],
        ["tickers.ETHUSDT"],
        ["tickers.NOSUCHUSDT"],
    ]
    assert stage.bad("mark", "rejected") == 1


def test_topics_are_asked_for_in_batches() -> None:
    """Ten at a time of the spot market, a hundred elsewhere."""
    stage, _ = market_stage(*(f"C{i}USDT" for i in range(150)), *(f"index:C{i}USD" for i in range(25)))
    stage.pass_s(1.0)
    sizes = sorted(len(said["args"]) for said in stage.said())
    assert sizes == [5, 10, 10, 50, 100]


def test_sockets_are_pinged() -> None:
    """Bybit closes those on which it hears nothing; the answer on public ones says ping again."""
    stage, _ = market_stage("BTCUSDT")
    for second in range(30):
        stage.frame(ticker(second, "snapshot", markPrice="75000"))
        stage.pass_s(1.0)
    assert [said for said in stage.said() if said["op"] == "ping"] == [{"op": "ping"}]
    assert stage.frame("ws_pong_public") == []
    assert stage.bad("mark", "unknown_event") == stage.bad("mark", "rejected") == 0


def test_nothing_to_watch_is_not_stale() -> None:
    """And leaves no connection behind."""
    stage, feed = market_stage("BTCUSDT")
    stage.tell(feed.watch, frozenset())
    stage.pass_s(20.0)
    assert stage.open == []
    assert stage.session.health(START_S + 20.0)[0].state is FeedState.LIVE


# --- funding


def test_funding_comes_with_the_tickers() -> None:
    """What a delta does not have stays as it was; contracts that expire have none."""
    stage, _ = market_stage("BTCUSDT", "BTC-25DEC26")
    next_ms = START_MS + 3_600_000
    told = {"fundingRate": "0.0001", "nextFundingTime": str(next_ms)}
    stage.frame(ticker(0.1, "snapshot", markPrice="75000", **told))
    stage.frame(ticker(0.1, "snapshot", "BTC-25DEC26", markPrice="75000", fundingRate="", nextFundingTime="0"))
    stage.pass_s(2.0)
    stage.frame(ticker(2.0, markPrice="75001"))
    stage.pass_s(FUNDING_S)
    stage.frame(ticker(12.0, fundingRate="-0.0002"))
    stage.pass_s(FUNDING_S)
    first, second = stage.of(FundingTold)
    assert first == FundingTold("bybit", (("BTCUSDT", Funding(0.0001, next_ms / 1000.0)),))
    assert second.rates == (("BTCUSDT", Funding(-0.0002, next_ms / 1000.0)),)


@pytest.mark.parametrize("row", [{"lastPrice": "1"}, {"markPrice": ""}], ids=["without a mark", "with an empty one"])
def test_a_snapshot_without_a_mark_ends_the_one_before(row: dict[str, str]) -> None:
    """It stands for all that came before: what changes beside it proves no mark any more, until one is told."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    stage.frame(ticker(0.1, ask1Size="1"))
    assert marks(stage)[-1][2] == 100
    stage.frame(ticker(0.2, "snapshot", **row))
    for tick in range(3, 30):
        stage.frame(ticker(tick / 10.0, ask1Size=str(tick)))
    assert marks(stage)[-1][2] == 100
    stage.frame(ticker(3.0, markPrice="75000.9"))
    assert marks(stage)[-1] == ("BTCUSDT", 75000.9, 3000)
    stage.frame(ticker(3.1, "snapshot", markPrice="75001.0"))
    stage.frame(ticker(3.2, ask1Size="2"))
    assert marks(stage)[-1] == ("BTCUSDT", 75001.0, 3200)


@pytest.mark.parametrize("price", ["7_5000", True, None, [], {}])
def test_what_is_no_number_is_no_mark(price: Any) -> None:
    """Whatever Python would make of it."""
    stage, _ = market_stage("BTCUSDT")
    stage.frame("ws_ticker_snapshot")
    before = marks(stage)
    assert stage.frame(ticker(0.1, markPrice=price)) == []
    assert marks(stage) == before
    assert stage.bad("mark", "number") == 1
