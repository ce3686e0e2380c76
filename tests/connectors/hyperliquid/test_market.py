"""The market stream on stage: marks by coin, and what happens when they do not come."""

from typing import Any

import pytest

from connectors.hyperliquid.market import BURST_MESSAGES, BURST_S, LATE_S
from connectors.hyperliquid.stream import PING_S
from connectors.market import FUNDING_S
from connectors.session import Connect, Disconnect
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged, FundingTold, Marks
from monitor.model.instrument import Funding
from tests.connectors.hyperliquid.stage import Stage, context, load, market_stage
from tests.support.stage import START_MS, START_S


def states(stage: Stage) -> list[FeedState]:
    """How the stream's state went."""
    return [event.state for event in stage.of(FeedChanged)]


def told(stage: Stage, method: str) -> list[str]:
    """Coins of the messages of a kind, in order."""
    return [m["subscription"]["coin"] for m in stage.said() if m["method"] == method]


def ticking(stage: Stage, seconds: float, *coins: str, every_s: float = 1.0) -> None:
    """Let time pass with a mark of each coin every so often."""
    for _ in range(int(seconds / every_s)):
        stage.pass_s(every_s)
        for coin in coins:
            stage.frame(context(coin, "75000.5"))


def test_marks_come_by_coin() -> None:
    """One subscription for each; the mark is the mark, and its time that of its receipt."""
    stage, _ = market_stage("BTC", "xyz:AAPL")
    assert told(stage, "subscribe") == ["BTC", "xyz:AAPL"]
    assert {m["subscription"]["type"] for m in stage.said()} == {"activeAssetCtx"}
    (event,) = stage.frame(load("ws_active_asset_ctx"))
    assert event == Marks("hyperliquid", ("BTC",), (75000.5,), (START_MS,))
    (event,) = stage.frame(context("xyz:AAPL", "251.25"))
    assert isinstance(event, Marks)
    assert event.instruments == ("xyz:AAPL",)


def test_two_marks_of_one_millisecond_are_told_in_order() -> None:
    """The second is the newer, or it would be dropped as one known already."""
    stage, _ = market_stage("BTC")
    events = [stage.frame(context("BTC", price))[0] for price in ("75000.5", "75001.5", "75001.5")]
    assert [event.times_ms for event in events if isinstance(event, Marks)] == [
        (START_MS,),
        (START_MS + 1,),
        (START_MS + 2,),
    ]


def test_what_nobody_holds_is_not_read() -> None:
    """Nothing at all is no connection; a coin that is sold is given back."""
    stage, feed = market_stage()
    assert stage.did(Connect) == []
    stage.tell(feed.watch, frozenset({"BTC", "ETH"}))
    stage.tell(feed.watch, frozenset({"BTC"}))
    ticking(stage, 3.0, "BTC")
    assert told(stage, "unsubscribe") == ["ETH"]
    assert stage.frame(context("ETH", "4000.0")) == []
    stage.tell(feed.watch, frozenset())
    assert len(stage.did(Disconnect)) == 1
    assert stage.pass_s(60.0) == []


def test_messages_leave_in_bursts() -> None:
    """All connections of a machine together may send 2,000 a minute."""
    coins = [f"C{n:03}" for n in range(40)]
    stage, _ = market_stage(*coins)
    assert len(told(stage, "subscribe")) == BURST_MESSAGES
    stage.pass_s(2 * BURST_S)
    assert told(stage, "subscribe") == coins
    assert BURST_MESSAGES * 60.0 / BURST_S < 2000 / 2


def test_a_coin_that_rests_is_asked_again() -> None:
    """By renewing its subscription, which is answered with the mark of now: so its age stays small."""
    stage, _ = market_stage("BTC", "ETH")
    for _ in range(60):
        renewals = told(stage, "unsubscribe").count("ETH")
        stage.pass_s(0.5)
        stage.frame(context("BTC", "75000.5"))
        if told(stage, "unsubscribe").count("ETH") > renewals:
            stage.frame(context("ETH", "4000.0"))
    assert states(stage) == []
    assert told(stage, "unsubscribe").count("BTC") == 0
    assert 5 <= told(stage, "unsubscribe").count("ETH") <= 12


def test_a_coin_that_does_not_answer_is_stale() -> None:
    """Although the socket lives and another coin ticks: the connection is replaced."""
    stage, _ = market_stage("BTC", "ETH")
    stage.frame(context("ETH", "4000.0"))
    ticking(stage, 8.0, "BTC")
    assert states(stage)[:2] == [FeedState.LATE, FeedState.STALE]
    stale = stage.of(FeedChanged)[1]
    assert stale.detail == "connected, but nothing newer comes; ETH is the oldest"
    assert len(stage.did(Connect)) >= 2


def test_marks_every_three_seconds_are_not_late() -> None:
    """It is the venue's own pace."""
    stage, _ = market_stage("BTC")
    ticking(stage, 60.0, "BTC", every_s=3.0)
    assert states(stage) == []
    assert LATE_S > 3.0


def test_a_lost_connection_is_made_again() -> None:
    """With all its subscriptions; down in between."""
    stage, _ = market_stage("BTC")
    ticking(stage, 3.0, "BTC")
    stage.lose()
    ticking(stage, 12.0)
    stage.frame(context("BTC", "75000.5"))
    stage.pass_s(1.0)
    assert states(stage)[-1] is FeedState.LIVE
    assert told(stage, "subscribe").count("BTC") >= 2


def test_an_old_connection_goes_when_the_new_one_delivers() -> None:
    """Not before."""
    stage, feed = market_stage("BTC")
    stage.frame(context("BTC", "75000.5"))
    stage.tell(feed._handlers["rollover"])
    assert len(stage.open) == 2
    first, second = stage.open
    stage.frame(context("BTC", "75000.5"), first)
    assert stage.did(Disconnect) == []
    stage.frame(context("BTC", "75000.5"), second)
    assert stage.open == [second]


def test_pings_keep_the_connection() -> None:
    """The venue closes one on which it had nothing to say for a minute."""
    stage, _ = market_stage("BTC")
    ticking(stage, 2 * PING_S + 1.0, "BTC")
    assert stage.said().count({"method": "ping"}) == 2


@pytest.mark.parametrize(
    ("frame", "defect"),
    [
        (b"Websocket connection established.", None),
        (b"Websocket", "json"),
        (load("ws_subscribed"), None),
        (load("ws_pong"), None),
        (load("ws_error"), "rejected"),
        (context("BTC", ""), "number"),
        (context("BTC", "nan"), "number"),
        (context("BTC", "inf"), "number"),
        (context("BTC", "-1"), "number"),
        ({"channel": "activeAssetCtx", "data": None}, "shape"),
        ({"channel": "allMids", "data": {"mids": {"BTC": "75000.5"}}}, "unknown_event"),
        ([], "shape"),
    ],
)
def test_what_is_no_mark_is_counted_or_known(frame: Any, defect: str | None) -> None:
    """And never used."""
    stage, _ = market_stage("BTC")
    assert stage.frame(frame) == []
    counted = {labels[2]: n for labels, n in stage.telemetry.bad_frames.items().items()}
    assert counted == ({} if defect is None else {defect: 1})


def test_health_is_the_age_of_the_oldest_mark() -> None:
    """For metrics."""
    stage, feed = market_stage("BTC", "ETH")
    stage.frame(context("BTC", "75000.5"))
    (never,) = feed.health(stage.clock.now())
    stage.frame(context("ETH", "2500.5"))
    stage.pass_s(1.0)
    stage.frame(context("BTC", "75000.5"))
    (health,) = feed.health(stage.clock.now())
    assert never.age_s is None
    assert (health.state, health.age_s) == (FeedState.LIVE, 1.0)


# --- funding


def funding(stage: Stage) -> list[tuple[str, Funding | None]]:
    """What was told of funding, in order."""
    return [each for event in stage.of(FundingTold) for each in event.rates]


def test_funding_comes_with_the_marks_and_is_told_when_it_changes() -> None:
    """The hourly rate, to be paid at the full hour: soon after the first mark, then every ten seconds at most."""
    stage, _ = market_stage("BTC")
    frame = context("BTC", "75000.5")
    ticking(stage, 60.0, "BTC")
    hour = Funding(float(frame["data"]["ctx"]["funding"]), (START_S // 3600 + 1) * 3600)
    assert funding(stage) == [("BTC", hour)]
    frame["data"]["ctx"]["funding"] = "-0.00002"
    for _ in range(5):
        stage.frame(frame)
    stage.pass_s(FUNDING_S)
    assert funding(stage)[1:] == [("BTC", Funding(-0.00002, hour.next_at))]
    stage.pass_s(3600.0)
    stage.frame(frame)
    stage.pass_s(FUNDING_S)
    assert funding(stage)[-1] == ("BTC", Funding(-0.00002, (hour.next_at or 0.0) + 3600.0))


@pytest.mark.parametrize("odd", ["NaN", "", None])
def test_funding_that_cannot_be_read_is_not_told_any_more(odd: str | None) -> None:
    """And keeps no mark from being one."""
    stage, feed = market_stage("BTC")
    ticking(stage, 5.0, "BTC")
    frame = context("BTC", "75000.5")
    frame["data"]["ctx"]["funding"] = odd
    assert [type(event) for event in stage.frame(frame)] == [Marks]
    stage.pass_s(FUNDING_S)
    assert funding(stage)[1:] == [("BTC", None)]
    stage.tell(feed.watch, frozenset())
    stage.pass_s(60.0)
    assert len(funding(stage)) == 2


@pytest.mark.parametrize("price", ["7_5000", True, None, "nan", "", [], {}])
def test_what_is_no_number_is_no_mark(price: Any) -> None:
    """Whatever Python would make of it."""
    stage, _ = market_stage("BTC")
    stage.frame(context("BTC", "75000.5"))
    assert stage.frame(context("BTC", price)) == []
    assert stage.bad("mark", "number") == 1
