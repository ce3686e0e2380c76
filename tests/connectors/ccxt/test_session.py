"""The session of an account through ccxt, without ccxt: what it is told, and what it says."""

from typing import Any

import orjson
import pytest

from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountSettings
from connectors.ccxt.session import DEFINITIONS, SNAPSHOT, AccountFeed, Answers, Contract
from connectors.session import Disconnect
from monitor.errors import VenueError
from monitor.model.assessment import FeedState
from monitor.model.events import AccountSnapshot, FeedChanged, InstrumentsLoaded, SnapshotReason
from monitor.telemetry import Telemetry
from tests.connectors.ccxt.offline import market

START_S = 1_790_000_000.0
MS = int(START_S * 1000)
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
CONTRACTS = {
    BTC: Contract("BTCUSDT", market(BTC, "BTCUSDT", 1.0), ()),
    ETH: Contract("ETHUSDT", market(ETH, "ETHUSDT", 1.0), ()),
}


def position(symbol: str, contracts: float = 1.0) -> dict[str, Any]:
    """One of ccxt's positions."""
    return {
        "symbol": symbol, "side": "long", "contracts": contracts, "entryPrice": 100.0, "markPrice": 90.0,
        "marginMode": "isolated", "unrealizedPnl": -10.0 * contracts, "collateral": 20.0, "maintenanceMargin": 1.0,
        "info": {},
    }  # fmt: skip


def answers(*positions: Any) -> Answers:
    """A whole snapshot of these."""
    return Answers(SnapshotReason.TIMER, positions, (), ())


def feed(telemetry: Telemetry | None = None) -> AccountFeed:
    """A session that has been told its contracts."""
    made = AccountFeed(AccountSettings("main", "bitget", 15.0, 5.0, 3.0), telemetry or Telemetry())
    made.start(START_S)
    made.defined({BTC: CONTRACTS[BTC]}, MS, START_S)
    return made


def synced(telemetry: Telemetry | None = None) -> AccountFeed:
    """One that holds a position and hears of changes."""
    made = feed(telemetry)
    made.answered(answers(position(BTC)), MS, START_S)
    made.opened(Ask.WATCH_POSITIONS, START_S)
    return made


def user_states(events: Any) -> list[FeedState]:
    """How the stream of positions went."""
    return [each.state for each in events if isinstance(each, FeedChanged) and each.stream == "user"]


def test_less_than_before_is_believed_when_it_is_said_twice() -> None:
    """ccxt makes an empty list of answers that it does not understand."""
    made = synced()
    assert made.answered(answers(), MS, START_S + 1.0) == []
    assert made.doubted
    (snapshot, *_) = made.answered(answers(), MS, START_S + 2.0)
    assert isinstance(snapshot, AccountSnapshot)
    assert snapshot.positions == ()
    assert not made.doubted


def test_a_contract_that_comes_with_a_doubted_snapshot_is_told_all_the_same() -> None:
    """One position was closed and another one opened between two snapshots: the new one's contract must not be lost."""
    made = synced()
    (loaded,) = made.defined({ETH: CONTRACTS[ETH]}, MS, START_S + 1.0)
    assert isinstance(loaded, InstrumentsLoaded)
    assert [each.symbol for each in loaded.instruments] == ["ETHUSDT"]
    assert made.answered(answers(position(ETH)), MS, START_S + 1.0) == []
    (snapshot, *_) = made.answered(answers(position(ETH)), MS, START_S + 2.0)
    assert isinstance(snapshot, AccountSnapshot)
    assert [each.instrument for each in snapshot.positions] == ["ETHUSDT"]
    assert made.defined({ETH: CONTRACTS[ETH]}, MS, START_S + 3.0) == []


@pytest.mark.parametrize(("news", "given_up"), [(False, True), (True, False)], ids=["no news", "late news"])
def test_a_change_that_no_news_told_gives_the_stream_up(news: bool, given_up: bool) -> None:
    """But news may be on its way for a while."""
    made = synced()
    made.answered(answers(position(BTC, 2.0)), MS, START_S + 1.0)
    assert made.tick(START_S + 2.0) == []
    if news:
        made.told([position(BTC, 2.0)], START_S + 3.0)
    events = made.tick(START_S + 7.0)
    assert (FeedState.LATE in user_states(events)) is given_up
    assert made.actions == ([Disconnect(Ask.WATCH_POSITIONS)] if given_up else [])


def test_news_that_cannot_be_read_is_counted() -> None:
    """A size that is left empty is not none."""
    telemetry = Telemetry()
    made = synced(telemetry)
    made.told([position(BTC), position(BTC) | {"contracts": None}], START_S + 1.0)
    made.told("odd", START_S + 1.0)
    assert telemetry.bad_frames.get("bitget", "user", "unreadable") == 2


def test_marks_are_told_in_order_and_those_without_a_price_are_counted() -> None:
    """A mark that is overtaken is dropped; a time that stands still is moved on."""
    telemetry = Telemetry()
    made = synced(telemetry)

    def tell(price: float | None, at_ms: int) -> list[tuple[float, int]]:
        told = made.marked([{"symbol": BTC, "markPrice": price, "timestamp": at_ms}], Ask.WATCH_TICKERS, START_S)
        return [(each.prices[0], each.times_ms[0]) for each in told]

    assert tell(90.0, MS + 10) == [(90.0, MS + 10)]
    assert tell(91.0, MS + 10) == [(91.0, MS + 11)]
    assert tell(80.0, MS + 9) == []
    assert tell(None, MS + 20) == []
    assert made.marks == {"BTCUSDT": 91.0}
    assert telemetry.bad_frames.get("bitget", "mark", "out_of_order") == 1
    assert telemetry.bad_frames.get("bitget", "mark", "no_mark") == 1


def test_a_snapshot_that_cannot_be_read_fails_and_changes_nothing() -> None:
    """Whatever kind of nonsense it is."""
    made = synced()
    for odd in (position(BTC) | {"contracts": None}, "odd", position(BTC) | {"symbol": 5}):
        with pytest.raises(VenueError) as caught:
            made.answered(answers(odd), MS, START_S + 1.0)
        assert caught.value.retry
    assert made.sizes == {(BTC, "long"): 1.0}


def test_without_a_stream_snapshots_tell_and_that_is_no_fault() -> None:
    """The user stream is live, and says how."""
    made = synced()
    made.failed(Ask.WATCH_POSITIONS, VenueError("ccxt has no stream", retry=False), START_S + 1.0)
    (user,) = [each for each in made.health(START_S + 1.0) if each.stream == "user"]
    assert (user.state, user.detail) == (FeedState.LIVE, "ccxt has no stream")
    assert not made.streaming


def test_bytes_say_the_same_as_values() -> None:
    """A replay has only those."""
    plain, revived = synced(), feed()
    said = {"reason": "timer", "positions": [position(BTC)], "balances": [], "tickers": []}
    told = {ETH: {"name": "ETHUSDT", "market": CONTRACTS[ETH].market, "tiers": []}}
    revived.responded(SNAPSHOT, orjson.dumps(said), MS, START_S)
    revived.opened(Ask.WATCH_POSITIONS, START_S)
    tickers = [{"symbol": BTC, "markPrice": 95.0, "timestamp": MS}]
    news = [position(BTC, 2.0)]
    body = orjson.dumps(told)
    pairs = [
        (plain.defined({ETH: CONTRACTS[ETH]}, MS, START_S), revived.responded(DEFINITIONS, body, MS, START_S)),
        (
            plain.marked(tickers, Ask.WATCH_TICKERS, START_S),
            revived.received("watch_tickers", orjson.dumps(tickers), START_S),
        ),
        (plain.told(news, START_S), revived.received("watch_positions", orjson.dumps(news), START_S)),
        (plain.tick(START_S + 1.0), revived.tick(START_S + 1.0)),
    ]
    assert all(list(one) == list(other) for one, other in pairs)
    assert revived.responded(SNAPSHOT, orjson.dumps({**said, "positions": ["odd"]}), MS, START_S) == ()
    assert (plain.sizes, plain.marks) == (revived.sizes, revived.marks)
