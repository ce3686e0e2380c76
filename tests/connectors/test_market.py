"""What every market session does alike, shown on a venue whose frames are names of what has a new mark."""

from collections.abc import Sequence
from random import Random

import pytest

from connectors.links import RETRY_CAP_S
from connectors.market import JUDGE_S, STEADY_S, Oldest, SocketMarket, oldest
from connectors.session import Connect, Disconnect, Send
from monitor.errors import VenueError
from monitor.model.assessment import FeedState
from monitor.model.events import Event, FeedChanged, Marks
from monitor.telemetry import Telemetry
from tests.support.stage import START_S, Stage

LATE_S, MARK_S = 2.0, 5.0
PING_S = 20.0
LIFE_S = 1000.0


class Market(SocketMarket):
    """The venue."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__(
            "feed",
            "somewhere",
            telemetry,
            Random(7),
            lambda: f"wss://{self.urls}",
            late_s=LATE_S,
            mark_s=MARK_S,
            prove_s=MARK_S,
            life_s=LIFE_S,
            ping="ping",
            ping_s=PING_S,
            fruitless=self._turn,
        )
        self.urls = 0
        self.relaxed_s = 0.0
        self._times_ms: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def _turn(self) -> None:
        self.urls += 1

    def _want(self, instruments: frozenset[str], now: float) -> None:
        self._times_ms = {name: self._times_ms.get(name, 0) for name in instruments}
        self._since = {name: self._since.get(name, now) for name in instruments}

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """The name of what has a new mark."""
        self._frames += 1
        name = str(frame, "ascii") if isinstance(frame, bytes) else frame
        self._times_ms[name] = at_ms = int(now * 1000)
        if connection != self._links.live:
            self._delivers(connection, now)
        return (Marks(self.feed, (name,), (1.0,), (at_ms,)),)

    def _on_send(self, now: float) -> Sequence[Event]:
        for connection, asked in self._open.items():
            for name in sorted(self._times_ms.keys() - asked.names):
                asked.names.add(name)
                self.actions.append(Send(connection, name))
        return ()

    def _prepare(self, relaxed_s: float, now: float) -> None:
        self.relaxed_s += relaxed_s

    def _oldest(self, now: float) -> Oldest:
        return oldest(self._times_ms, self._since, 0.0, now, self._sockets)


def watching(*names: str) -> tuple[Stage, Market]:
    """A session that is to read these."""
    telemetry = Telemetry()
    market = Market(telemetry)
    stage = Stage(market, telemetry)
    stage.start()
    stage.tell(market.watch, frozenset(names))
    return stage, market


def ticking(stage: Stage, seconds: int, *names: str) -> None:
    """A mark of each every second."""
    for _ in range(seconds):
        for name in names:
            stage.frame(name.encode())
        stage.pass_s(1.0)


def states(stage: Stage) -> list[FeedState]:
    """In order."""
    return [event.state for event in stage.of(FeedChanged)]


def test_nothing_is_read_until_somebody_holds_something() -> None:
    """And nothing any more when nobody does."""
    stage, market = watching()
    assert stage.did(Connect) == []
    assert stage.session.deadline() is None
    stage.tell(market.watch, frozenset({"BTC"}))
    assert [send.text for send in stage.did(Send)] == ["BTC"]
    stage.tell(market.watch, frozenset())
    assert stage.did(Disconnect) == [Disconnect("feed/mark-1")]
    assert stage.session.deadline() is None
    assert stage.session.health(START_S)[0].age_s is None


def test_what_joins_is_asked_for_on_the_same_connection() -> None:
    """At once."""
    stage, market = watching("BTC")
    ticking(stage, 1, "BTC")
    stage.tell(market.watch, frozenset({"BTC", "ETH"}))
    stage.pass_s(0.0)
    assert [send.text for send in stage.did(Send)] == ["BTC", "ETH"]
    assert len(stage.did(Connect)) == 1


def test_the_oldest_mark_is_the_age_of_the_stream() -> None:
    """What has none yet is older than all others, by the time since it is wanted, and has no age to be shown."""
    stage, market = watching("BTC", "ETH")
    ticking(stage, 2, "BTC")
    assert stage.session.health(stage.clock.now())[0].age_s is None
    found = market._oldest(stage.clock.now())
    assert (found.name, found.marked) == ("ETH", False)
    assert found.age_s == pytest.approx(2.0)
    stage.frame(b"ETH")
    stage.pass_s(1.0)
    assert stage.session.health(stage.clock.now())[0].age_s == pytest.approx(1.0, abs=1.0)


def test_marks_that_stop_are_late_and_then_stale_and_the_connection_is_replaced() -> None:
    """Each is told once, with what is missing and up to when it was known; it is live again with the next."""
    stage, _ = watching("BTC")
    ticking(stage, 3, "BTC")
    last = stage.clock.now() - 1.0
    stage.pass_s(MARK_S)
    late, stale = stage.of(FeedChanged)
    assert (late.state, stale.state) == (FeedState.LATE, FeedState.STALE)
    assert stale.data_at == pytest.approx(last)
    assert stale.detail == "connected, but nothing newer comes; BTC is the oldest"
    assert len(stage.did(Connect)) == 2
    stage.frame(b"BTC")
    stage.pass_s(JUDGE_S)
    assert states(stage) == [FeedState.LATE, FeedState.STALE, FeedState.LIVE]
    assert stage.did(Disconnect) == [Disconnect("feed/mark-1")]


def test_a_stream_that_goes_silent_again_and_again_is_never_long_without_a_try() -> None:
    """A line that breaks every half minute, with a connection that stays open: it is seen soon after it is back."""
    stage, _ = watching("BTC", "ETH")
    for _ in range(30):
        ticking(stage, 20, "BTC", "ETH")
        before = len(stage.did(Connect))
        stage.pass_s(MARK_S + RETRY_CAP_S + 1.0)
        assert len(stage.did(Connect)) > before


def test_a_stream_that_cannot_be_reached_is_down() -> None:
    """With the reason."""
    stage, _ = watching("BTC")
    ticking(stage, 2, "BTC")
    stage.connecting = False
    stage.lose("cut")
    stage.pass_s(MARK_S + 1.0)
    assert states(stage)[-1] is FeedState.DOWN
    assert stage.of(FeedChanged)[-1].detail == "refused; BTC is the oldest"


def test_a_late_stream_is_live_again_only_well_below_the_line() -> None:
    """So that it does not flap."""
    stage, market = watching("BTC")
    ticking(stage, 1, "BTC")
    stage.pass_s(LATE_S)
    assert states(stage) == [FeedState.LATE]
    found = Oldest("BTC", 0.9 * LATE_S, True, market._sockets)
    assert market._state_at(found) is FeedState.LATE
    assert market._state_at(Oldest("BTC", 0.6 * LATE_S, True, market._sockets)) is FeedState.LIVE


def test_a_connection_that_never_delivers_is_given_up() -> None:
    """And the next may be made elsewhere."""
    stage, market = watching("BTC")
    stage.pass_s(MARK_S + 15.0)
    connects = stage.did(Connect)
    assert [connect.url for connect in connects[:2]] == ["wss://0", "wss://1"]
    assert market.urls >= 1
    assert Disconnect("feed/mark-1") in stage.did(Disconnect)


def test_a_connection_is_replaced_before_its_day_is_over_without_a_gap() -> None:
    """The old one goes when the new one has delivered."""
    stage, _ = watching("BTC")
    ticking(stage, int(LIFE_S) + 5, "BTC")
    assert len(stage.did(Connect)) == 2
    assert stage.did(Disconnect) == [Disconnect("feed/mark-1")]
    assert states(stage) == []


def test_open_connections_are_pinged() -> None:
    """Where the venue wants it."""
    stage, _ = watching("BTC")
    ticking(stage, 2 * int(PING_S) + 1, "BTC")
    assert [send.text for send in stage.did(Send)].count("ping") == 2


def test_frames_are_counted_and_the_lag_relaxed_at_each_judgement() -> None:
    """A local clock that drifts is not a late stream; one that stood still is no reason to relax for hours."""
    stage, market = watching("BTC")
    ticking(stage, 10, "BTC")
    assert stage.telemetry.frames.get("somewhere", "mark") == 10
    assert market.relaxed_s == pytest.approx(0.001 * 10.0)
    stage.clock.set(stage.clock.now() + 3600.0)
    stage.tell(stage.session.tick)
    assert market.relaxed_s == pytest.approx(0.001 * 11.0)


def test_after_a_while_of_health_waits_start_from_the_bottom() -> None:
    """A connection that is lost then is made again within a second."""
    stage, _ = watching("BTC")
    for _ in range(6):
        ticking(stage, 1, "BTC")
        stage.lose()
        while not stage.open:
            stage.pass_s(0.25)
    ticking(stage, int(STEADY_S) + 5, "BTC")
    stage.lose()
    stage.pass_s(1.0)
    assert len(stage.open) == 1


def test_it_asks_for_nothing_and_knows_no_secret() -> None:
    """The parts of a session that it does not have."""
    stage, _ = watching("BTC")
    session = stage.session
    assert session.responded("x", b"", 0, START_S) == ()
    assert session.failed("x", VenueError("no", retry=True), START_S) == ()
    assert session.reconcile(START_S) == ()
    assert session.secrets() == ()


def test_the_oldest_of_marks_is_measured_on_the_venues_clock() -> None:
    """Which is behind ours by the smallest lag seen."""
    _, market = watching()
    sockets = market._sockets
    assert oldest({}, {}, 0.5, 10.0, sockets).age_s is None
    found = oldest({"A": 9_000, "B": 0}, {"A": 0.0, "B": 9.9}, 0.5, 10.0, sockets)
    assert (found.name, found.age_s, found.marked) == ("A", pytest.approx(0.5), True)
    found = oldest({"A": 9_000, "B": 0}, {"A": 0.0, "B": 9.0}, 0.5, 10.0, sockets)
    assert (found.name, found.age_s, found.marked) == ("B", pytest.approx(1.0), False)
