"""The pipeline: a tick is decided before the next, blindness is named with the risk behind it, big books stay cheap."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import pytest

from alerts.alert import Alert, Severity, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.rules.margin_ratio import MarginRatioConfig
from monitor.book import Book
from monitor.clock import ManualClock
from monitor.model.account import AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.assessment import FeedState, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    FeedChanged,
    FundingTold,
    InstrumentsLoaded,
    Marks,
    PoolReport,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Slot
from monitor.model.instrument import Funding
from monitor.pipeline import Pipeline, PipelineSettings
from monitor.telemetry import Telemetry
from tests.support.accounts import flat_tier, isolated, linear

SYMBOLS = [f"S{k:03d}USDT" for k in range(700)]
CONTRACTS = tuple(linear(symbol, flat_tier(0.01)) for symbol in SYMBOLS)


@dataclass
class Watch:
    """A pipeline on a manual clock, and everything it said."""

    settings: PipelineSettings = field(default_factory=PipelineSettings)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    said: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.engine = Engine(self.alerts, "box")
        self.pipeline = Pipeline(Book(), self.engine, self._deliver, self.clock, self.telemetry, self.settings)
        self.asked: list[str] = []
        self.pipeline.reconcile = lambda venue, account: self.asked.append(account)
        self._ms = 1000

    def _deliver(self, said: Sequence[Alert]) -> None:
        self.said.extend(said)

    def add(self, *positions: Position, name: str = "main", reports: tuple[PoolReport, ...] = ()) -> None:
        """An account in sync."""
        self.pipeline.add_account("binance", name)
        self.pipeline.handle(InstrumentsLoaded("binance", name, CONTRACTS, 1), perf_counter())
        self.snapshot(*positions, name=name, reports=reports)

    def snapshot(self, *positions: Position, name: str = "main", reports: tuple[PoolReport, ...] = ()) -> None:
        """A REST snapshot."""
        self._ms += 1
        self.pipeline.handle(
            AccountSnapshot(
                "binance", name, "binance", self._ms, SnapshotReason.TIMER, AccountMode.SINGLE_ASSET,
                PositionMode.HEDGE, (Wallet("USDT", 0.0),), positions, reports,
            ),
            perf_counter(),
        )  # fmt: skip

    def mark(self, price: float, *symbols: str) -> None:
        """A frame that sets symbols (the first one, if none is named) to a price."""
        names = symbols or (SYMBOLS[0],)
        self._ms += 1
        self.pipeline.handle(Marks("binance", names, [price] * len(names), [self._ms] * len(names)), perf_counter())

    def warm(self, seconds: float = 0.0) -> None:
        """Let time pass and the warm side finish."""
        self.clock.advance(seconds)
        while self.pipeline.warm(self.clock.now()):
            pass

    def severities(self, rule: str = "margin_ratio") -> list[str]:
        """Severity of every firing alert of a rule, in order."""
        return [a.severity.label for a in self.said if a.rule == rule and a.state is State.FIRING]


def long(symbol: str = SYMBOLS[0], wallet: float = 10.0) -> Position:
    """An isolated long of one at 100."""
    return isolated(symbol, 1.0, 100.0, wallet, Slot.LONG)


def test_a_tick_is_decided_before_it_returns() -> None:
    """Each rung leaves with the very frame that reaches it, with advice, and is counted."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    for price in (92.0, 91.8, 91.4, 91.2, 91.0):  # 0.46, 0.51, 0.65, 0.76, 0.91
        watch.mark(price)
    assert watch.severities() == ["notice", "warning", "critical"]
    assert watch.telemetry.ticks == 6
    assert all(alert.advice for alert in watch.said if alert.rule == "margin_ratio")


def test_a_near_liquidation_comes_with_advice_while_the_ratio_is_low() -> None:
    """At 95 the ratio is 0.19; a ninth lower 15.556 are lost and 0.844 required: 6.4 are lacking, and end the alert."""
    watch = Watch()
    watch.add(long())
    watch.mark(95.0)
    watch.warm(1.0)
    (said,) = watch.said
    assert (said.rule, said.advice) == (
        "distance",
        "Add at least 6.40001 USDT of margin: brings liquidation more than 11.1 % away, where this alert ends",
    )
    watch.snapshot(long(wallet=16.400_01))
    for _ in range(12):
        watch.mark(95.0)
        watch.warm(4.0)
    assert [(a.rule, a.state) for a in watch.said[1:]] == [("distance", State.RESOLVED)]


def test_a_jump_says_the_highest_only() -> None:
    """Through three rungs in one tick: one alert."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    watch.mark(90.95)
    assert watch.severities() == ["emergency"]


def test_a_fill_can_raise_the_alarm_without_a_tick() -> None:
    """Margin taken out is decided when the event comes."""
    watch = Watch()
    watch.add(long())
    watch.mark(95.0)
    watch.pipeline.handle(
        AccountDelta("binance", "main", 5000, "MARGIN_TRANSFER", (), (isolated(SYMBOLS[0], 1, 100, 6.2, Slot.LONG),)),
        perf_counter(),
    )
    assert watch.severities() == ["warning"]


def test_a_closed_position_ends_its_alert() -> None:
    """The pool is gone, and so is what fired for it."""
    watch = Watch()
    watch.add(long())
    watch.mark(91.0)
    watch.snapshot()
    assert watch.said[-1].state is State.RESOLVED
    assert not watch.engine.firing()
    assert watch.pipeline.assessments() == {}


def test_recovery_is_noticed_by_the_tick_that_brings_it() -> None:
    """The kernel's lower threshold calls the engine back."""
    watch = Watch()
    watch.add(long())
    watch.mark(91.0)
    watch.mark(97.0)
    watch.warm(31.0)
    assert [a.state for a in watch.said if a.rule == "margin_ratio"] == [State.FIRING, State.RESOLVED]


def test_an_account_without_a_snapshot_is_blindness() -> None:
    """Configured and never seen: said after its grace, and the daemon is not ready."""
    watch = Watch()
    watch.pipeline.add_account("binance", "main")
    watch.warm(1.0)
    assert watch.pipeline.ready() == (False, ("binance/main: account down: no snapshot yet",))
    watch.warm(30.0)
    assert watch.severities("stale_feed") == ["warning"]
    watch.add(long())
    watch.mark(100.0)
    watch.warm(1.0)
    watch.warm(30.0)
    assert watch.pipeline.ready()[1] != ()  # by now the mark is half a minute old
    watch.mark(100.0)
    watch.warm(1.0)
    assert watch.pipeline.ready() == (True, ())


def test_a_mark_that_stops_is_blindness_with_the_risk_behind_it() -> None:
    """The instrument is named; it is worse when the last known ratio was bad, and over with the next mark."""
    watch = Watch()
    watch.add(long(), long(SYMBOLS[1]))
    watch.mark(100.0, *SYMBOLS[:2])
    watch.warm()
    watch.warm(3.0)
    watch.mark(91.7)
    watch.warm(3.0)
    (alert,) = [a for a in watch.said if a.rule == "stale_feed"]
    assert SYMBOLS[1] in alert.text
    assert SYMBOLS[0] not in alert.text
    assert alert.severity is Severity.WARNING
    watch.warm(3.0)
    worse = [a for a in watch.said if a.rule == "stale_feed"][-1]
    assert worse.severity is Severity.CRITICAL
    watch.mark(100.0, *SYMBOLS[:2])
    watch.warm(1.0)
    watch.mark(100.0, *SYMBOLS[:2])
    watch.warm(4.5)
    watch.mark(100.0, *SYMBOLS[:2])
    watch.warm(2.0)
    assert [a.state for a in watch.said if a.rule == "stale_feed"][-1] is State.RESOLVED


def test_a_stream_that_is_down_is_blindness_until_it_is_live() -> None:
    """The user stream's own health counts too."""
    watch = Watch()
    watch.add(long())
    for state in (FeedState.DOWN, FeedState.LIVE):
        watch.mark(100.0)
        watch.pipeline.handle(
            FeedChanged("binance", "main", "binance", "user", state, watch.clock.now(), "cut"), perf_counter()
        )
        for _ in range(6):
            watch.mark(100.0)
            watch.warm(4.0)
    assert [a.state for a in watch.said if a.rule == "stale_feed"] == [State.FIRING, State.RESOLVED]


def test_blind_time_adds_up() -> None:
    """Before the first snapshot and while marks are old; not in between."""
    watch = Watch()

    def blind_s() -> float:
        return watch.telemetry.blind_seconds["binance", "main"]

    watch.pipeline.add_account("binance", "main")
    for _ in range(10):
        watch.warm(1.0)
    assert blind_s() == pytest.approx(9.0, abs=1.0)
    watch.add(long())
    watch.mark(100.0)
    watch.warm(1.0)
    seen = blind_s()
    for _ in range(10):
        watch.mark(100.0)
        watch.warm(1.0)
    assert blind_s() == seen
    for _ in range(20):
        watch.warm(1.0)
    assert blind_s() - seen == pytest.approx(20.0 - 5.0, abs=1.5)


def test_a_lost_account_stays_blind() -> None:
    """An account that nobody watches any more is never shown as fine."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    watch.pipeline.lose("binance", "main", "the key was deleted", watch.clock.now())
    assert not watch.pipeline.ready()[0]
    assert "the key was deleted" in watch.pipeline.ready()[1][0]


def test_what_the_venue_says_is_passed_on() -> None:
    """A liquidation order is an emergency of its own."""
    watch = Watch()
    watch.add(long())
    watch.pipeline.handle(VenueNotice("binance", "main", 1, "liquidation", SYMBOLS[0], "sell 1"), perf_counter())
    assert watch.severities("venue_notice") == ["emergency"]


def test_a_report_that_disagrees_is_asked_for_again_once_and_becomes_an_alert_when_confirmed() -> None:
    """One surprising answer may be a race; two are a disagreement, with both numbers."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    wrong = (PoolReport(f"{SYMBOLS[0]}:long", 10.0, 2.0, None, ((SYMBOLS[0], 100.0),)),)
    watch.snapshot(long(), reports=wrong)
    assert watch.asked == ["main"]
    watch.snapshot(long(), reports=wrong)
    assert watch.asked == ["main"]
    for _ in range(100):
        watch.mark(100.0)
        watch.warm(4.0)
    assert watch.severities("model_error") == ["warning"]
    (alert,) = (alert for alert in watch.said if alert.rule == "model_error" and alert.state is State.FIRING)
    # A wallet of 10 at its entry price; one of 100 at a rate of 1 %.
    assert alert.text == (
        f"50.0 % model error · binance/main/{SYMBOLS[0]}:long · maintenance margin 1 USDT computed, the venue says 2"
    )


@pytest.fixture
def desk() -> Watch:
    """Seven hundred pools, shown at most a hundred."""
    watch = Watch(PipelineSettings(shown_max=100, shown_legs_max=100, near=0.02))
    watch.add(*(long(symbol, 60.0) for symbol in SYMBOLS))
    watch.mark(100.0, *SYMBOLS)
    return watch


def test_of_very_many_pools_the_riskiest_are_shown(desk: Watch) -> None:
    """The others are columns only, and an alarm among them is heard and shown all the same."""
    desk.mark(70.0, *SYMBOLS[50:80])
    desk.warm(1.0)
    desk.warm(1.0)
    shown = set(desk.pipeline.assessments())
    assert len(shown) == 100
    assert {f"binance/main/{symbol}:long" for symbol in SYMBOLS[50:80]} <= shown
    assert len(desk.pipeline.table().pools) == 700
    desk.mark(40.54, SYMBOLS[600])
    assert desk.severities() == ["warning"]
    assert f"binance/main/{SYMBOLS[600]}:long" in desk.pipeline.assessments()


def test_distance_is_watched_beyond_what_is_shown(desk: Watch) -> None:
    """A pool that is near its liquidation by distance is judged although a hundred others have a worse ratio."""
    desk.mark(41.0, *SYMBOLS[:150])
    desk.warm(1.0)
    near = {a.pool for a in desk.said if a.rule == "distance"}
    assert near == {f"binance/main/{symbol}:long" for symbol in SYMBOLS[:150]}
    for _ in range(40):
        desk.mark(90.0, *SYMBOLS)
        desk.warm(1.0)
    assert not [a for a in desk.engine.firing() if a.rule == "distance"]


def test_the_warm_side_stops_after_its_slice() -> None:
    """With a slice of nothing, one call does next to nothing and says that more waits."""
    watch = Watch(PipelineSettings(slice_s=0.0))
    watch.add(long())
    watch.mark(100.0)
    watch.clock.advance(2.0)
    assert watch.pipeline.warm(watch.clock.now())


def test_new_rungs_take_effect_at_once() -> None:
    """After a reload the thresholds of every pool are the new ones."""
    watch = Watch()
    watch.add(long())
    watch.mark(95.0)
    assert watch.severities() == []
    config = watch.alerts.model_copy(update={"margin_ratio": MarginRatioConfig(critical=0.1)})
    watch.said.extend(watch.engine.reconfigure(config, watch.clock.now()))
    watch.pipeline.reconfigure(watch.settings)
    watch.mark(94.9)
    assert watch.severities() == ["critical"]


def test_marks_that_come_ever_later_are_blindness() -> None:
    """The market session, which compares clocks, says stale: each account with a position on that feed hears it."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    watch.pipeline.handle(
        FeedChanged("binance", "", "binance", "mark", FeedState.STALE, watch.clock.now(), "120 s behind", 1.0),
        perf_counter(),
    )
    for _ in range(4):
        watch.mark(99.0)
        watch.warm(1.0)
    assert watch.severities("stale_feed") == ["warning"]
    assert not watch.pipeline.ready()[0]
    (alert,) = [a for a in watch.said if a.rule == "stale_feed"]
    assert SYMBOLS[0] in alert.text
    assert "120 s behind" in alert.text
    watch.pipeline.handle(
        FeedChanged("binance", "", "elsewhere", "mark", FeedState.STALE, watch.clock.now(), "not ours"), perf_counter()
    )
    watch.pipeline.handle(
        FeedChanged("binance", "", "binance", "mark", FeedState.LIVE, watch.clock.now(), ""), perf_counter()
    )
    for _ in range(10):
        watch.mark(99.0)
        watch.warm(1.0)
    assert watch.pipeline.ready() == (True, ())


def test_what_cannot_be_seen_is_told_with_its_present_age() -> None:
    """And with the state that the stream list shows, however long ago that was said; amounts have their units."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    last = watch.clock.now()
    watch.warm(6.0)
    watch.pipeline.handle(
        FeedChanged("binance", "", "binance", "mark", FeedState.DOWN, watch.clock.now(), "connection refused", last),
        perf_counter(),
    )
    watch.warm(6.0)
    ready, reasons = watch.pipeline.ready()
    assert (ready, reasons) == (
        False,
        (f"binance/main: marks of {SYMBOLS[0]} down: no data for 12 s, connection refused",),
    )
    watch.warm(50.0)
    assert "no data for 62 s" in watch.pipeline.ready()[1][0]
    (alert,) = [a for a in watch.said if a.rule == "stale_feed" and a.step is Step.RAISED]
    assert "positions worth 100 USDT, last margin ratio" in alert.text
    watch.mark(100.0)
    watch.pipeline.handle(
        FeedChanged("binance", "", "binance", "mark", FeedState.LIVE, watch.clock.now(), ""), perf_counter()
    )
    watch.warm(1.0)
    watch.mark(100.0)
    watch.warm(4.5)
    (over,) = [a for a in watch.said if a.rule == "stale_feed" and a.state is State.RESOLVED]
    assert over.text == f"62 s blind · binance/main · marks of {SYMBOLS[0]} can be seen again · resolved"


def test_a_fault_in_one_pool_is_shown_as_unknown_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pools cross in one frame; the calculation of the first fails: the second is decided all the same."""
    watch = Watch()
    watch.add(long(), long(SYMBOLS[1]))
    watch.mark(100.0, *SYMBOLS[:2])
    watch.warm(1.0)
    assess = watch.pipeline.book.assess
    broken = watch.pipeline.book.row_of("binance", "main", f"binance/main/{SYMBOLS[0]}:long")

    def failing(row: int, *remedies: float | None) -> PoolAssessment:
        if row == broken:
            raise ZeroDivisionError
        return assess(row, *remedies)

    monkeypatch.setattr(watch.pipeline.book, "assess", failing)
    for price in (91.0, 91.0, 91.01, 91.0):
        watch.mark(price, *SYMBOLS[:2])
        watch.warm(2.5)
    assert {a.pool for a in watch.said if a.rule == "margin_ratio"} == {f"binance/main/{SYMBOLS[1]}:long"}
    assert watch.telemetry.assess_failures >= 2
    assert [a.pool for a in watch.said if a.rule == "unknown"] == [f"binance/main/{SYMBOLS[0]}:long"]


def test_nothing_eases_while_its_marks_are_old() -> None:
    """An emergency, one tick back, and then silence: the alert stands until a mark says otherwise."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    watch.warm(1.0)
    watch.mark(91.0)
    watch.warm(1.0)
    watch.mark(100.0)
    for _ in range(90):
        watch.warm(1.0)
    ladder = [a for a in watch.said if a.rule == "margin_ratio"]
    assert {a.state for a in ladder} == {State.FIRING}
    for _ in range(40):
        watch.mark(100.0)
        watch.warm(1.0)
    assert [a.state for a in watch.said if a.rule == "margin_ratio"][-1] is State.RESOLVED


# -- how old figures are


def old(watch: Watch) -> set[tuple[bool, bool]]:
    """What the table and the assessments say of every pool's age: (table, assessment)."""
    table, assessments = watch.pipeline.table(), watch.pipeline.assessments()
    return {(bool(each), assessments[pool].old) for pool, each in zip(table.pools, table.old, strict=True)}


def test_figures_are_old_while_their_marks_are() -> None:
    """In the columns and in the assessments alike; the next mark ends it."""
    watch = Watch()
    watch.add(long())
    watch.mark(100.0)
    watch.warm(1.0)
    assert old(watch) == {(False, False)}
    for _ in range(15):
        watch.warm(1.0)
    assert old(watch) == {(True, True)}
    assert [(each.read, each.fresh) for each in watch.pipeline.accounts()] == [(True, True)]
    watch.mark(100.0)
    watch.warm(1.0)
    assert old(watch) == {(False, False)}


def test_figures_are_old_while_their_account_is() -> None:
    """However fresh the marks are: what is held may be another by now."""
    watch = Watch()
    watch.add(long())
    for state in (FeedState.DOWN, FeedState.LIVE):
        watch.mark(100.0)
        watch.pipeline.handle(
            FeedChanged("binance", "main", "binance", "user", state, watch.clock.now(), "cut"), perf_counter()
        )
        watch.warm(1.0)
        down = state is FeedState.DOWN
        assert old(watch) == {(down, down)}
        assert [each.fresh for each in watch.pipeline.accounts()] == [not down]


def test_an_account_that_was_never_read_is_told_apart() -> None:
    """It has no pool that could say so; its first snapshot makes it fresh at once."""
    watch = Watch()
    watch.pipeline.add_account("binance", "main")
    watch.warm(1.0)
    assert [(each.read, each.fresh) for each in watch.pipeline.accounts()] == [(False, False)]
    watch.add(long())
    watch.mark(100.0)
    assert [(each.read, each.fresh) for each in watch.pipeline.accounts()] == [(True, True)]
    assert old(watch) == {(False, False)}


# -- funding


def test_the_next_payment_of_funding_is_known_of_each_position() -> None:
    """A long pays where the rate is above zero, at the mark of now; what is not told any more is not known."""
    watch = Watch()
    watch.add(long(), Position(SYMBOLS[1], Slot.SHORT, -2.0, 100.0, MarginMode.ISOLATED, 50.0))
    watch.mark(120.0, *SYMBOLS[:2])
    rates = tuple((symbol, Funding(0.001, 1_790_003_600.0)) for symbol in (SYMBOLS[0], SYMBOLS[1], "OTHER"))
    watch.pipeline.handle(FundingTold("binance", rates), perf_counter())
    watch.pipeline.handle(FundingTold("elsewhere", ((SYMBOLS[0], None),)), perf_counter())
    watch.warm(1.0)
    legs = {leg.instrument: leg for pool in watch.pipeline.assessments().values() for leg in pool.legs}
    one, two = legs[SYMBOLS[0]], legs[SYMBOLS[1]]
    assert (one.funding_rate, one.next_funding_at) == (0.001, 1_790_003_600.0)
    assert (one.next_funding, two.next_funding) == pytest.approx((-0.001 * one.notional, 0.001 * 2.0 * 120.0))
    watch.pipeline.handle(FundingTold("binance", ((SYMBOLS[0], None),)), perf_counter())
    watch.warm(1.0)
    legs = {leg.instrument: leg for pool in watch.pipeline.assessments().values() for leg in pool.legs}
    assert (legs[SYMBOLS[0]].funding_rate, legs[SYMBOLS[0]].next_funding) == (None, None)
    assert legs[SYMBOLS[1]].funding_rate == 0.001
