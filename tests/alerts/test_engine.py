"""From what is seen to what is said."""

import random
from dataclasses import replace
from math import inf, isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Alert, Reason, Restored, Severity, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.substance import LEGS_MAX
from monitor.model.assessment import Blindness, FeedState
from monitor.model.events import VenueNotice
from tests.support.pools import a_leg, a_pool

POOL = "binance/main/USDT"
CALM_S = AlertsConfig().margin_ratio.calm_s
MARKS = Blindness(
    "binance", "main", "mark", FeedState.STALE, ("BTCUSDT", "ETHUSDT"), 7.0, 25_000.0, 0.30, "", (("USDT", 25_000.0),)
)


def engine(**config: object) -> Engine:
    """An engine that says who it is."""
    return Engine(AlertsConfig.model_validate(config), "box", salt="salt")


def brief(alerts: list[Alert]) -> list[tuple[str, Step, Severity]]:
    """The rule, step and severity of each alert."""
    return [(alert.rule, alert.step, alert.severity) for alert in alerts]


def due_until(subject: Engine, now: float) -> list[Alert]:
    """What time alone brings up to `now`, at the moments at which it is due."""
    said: list[Alert] = []
    while (at := subject.deadline()) is not None and at <= now:
        said += subject.due(at)
    return said


def test_a_jump_says_one_alert_at_the_highest_rung() -> None:
    """From safe to 0.96 is one emergency, with the figures, the advice and the rung behind it."""
    (alert,) = engine().on_pool(a_pool(0.96), 100.0)
    assert (alert.severity, alert.state, alert.reason) == (Severity.EMERGENCY, State.FIRING, Reason.RUNG_REACHED)
    assert (alert.value, alert.threshold, alert.margin_ratio, alert.unit) == (0.96, 0.95, 0.96, "USDT")
    assert (alert.venue, alert.account, alert.pool) == ("binance", "main", POOL)
    assert alert.text.startswith("0.960 margin ratio · binance/main/USDT")
    assert alert.advice.startswith("Add at least 123.456 USDT of margin, or cut the position by 33.4 %")
    assert (alert.raised_at, alert.mark_at, alert.host, alert.at) == (100.0, 1_789_999_999.5, "box", 100.0)


@pytest.mark.parametrize("why", ["stale", "account_stale"])
def test_an_alert_says_that_its_figures_are_old(why: str) -> None:
    """The last figures accuse, however old; those of a fresh pool are not said to be old."""
    (fresh,) = engine().on_pool(a_pool(0.96), 100.0)
    (old,) = engine().on_pool(a_pool(0.96, **{why: True}), 100.0)
    assert (fresh.stale, old.stale, old.margin_ratio) == (False, True, 0.96)


def test_a_negative_margin_balance_is_an_emergency() -> None:
    """+inf is past every rung, and the text says why."""
    alert, distance = engine().on_pool(a_pool(0.5, margin_ratio=inf, margin_balance=-12.0), 0.0)
    assert (alert.severity, alert.reason) == (Severity.EMERGENCY, Reason.NO_MARGIN_BALANCE)
    assert alert.text.startswith("infinite margin ratio · binance/main/USDT · margin balance -12 USDT")
    assert (distance.rule, distance.severity) == ("distance", Severity.EMERGENCY)


def test_a_safe_pool_says_nothing_and_leaves_nothing_behind() -> None:
    """No alert, no timer, nothing firing."""
    subject = engine()
    assert subject.on_pool(a_pool(0.1), 0.0) == []
    assert (subject.deadline(), subject.firing()) == (None, [])


def test_easing_and_resolving_have_ids_of_their_own_and_repeats_do_not() -> None:
    """Raise, repeat, ease, resolve: four messages, three ids, one key."""
    subject = engine(repeat={"warning_s": 60})
    said = subject.on_pool(a_pool(0.75), 0.0) + due_until(subject, 60.0)
    said += subject.on_pool(a_pool(0.55), 61.0) + due_until(subject, 61.0 + CALM_S)
    said += subject.on_pool(a_pool(0.10), 100.0) + due_until(subject, 100.0 + CALM_S)
    steps = [Step.RAISED, Step.REPEATED, Step.EASED, Step.RESOLVED]
    assert [alert.step for alert in said] == steps
    assert said[0].id == said[1].id
    assert len({alert.id for alert in said}) == 3
    assert {alert.key for alert in said} == {"margin_ratio:binance/main/USDT"}
    assert said[1].raised_at == said[0].raised_at == 0.0
    assert said[3].text == "0.100 margin ratio · binance/main/USDT · resolved"


def test_a_pool_that_is_gone_resolves_at_once() -> None:
    """A closed or liquidated position keeps nothing firing, whatever the calm; each alert says which of them ends."""
    subject = engine()
    subject.on_pool(a_pool(0.75, distance=0.02), 0.0)
    resolved = subject.on_pool_gone(POOL, 1.0)
    assert brief(resolved) == [
        ("margin_ratio", Step.RESOLVED, Severity.WARNING),
        ("distance", Step.RESOLVED, Severity.CRITICAL),
    ]
    assert {alert.reason for alert in resolved} == {Reason.POOL_CLOSED}
    assert [alert.text for alert in resolved] == [
        "0 positions left · binance/main/USDT (margin ratio) · resolved",
        "0 positions left · binance/main/USDT (distance) · resolved",
    ]
    assert (subject.firing(), subject.deadline()) == ([], None)
    assert subject.on_pool_gone(POOL, 2.0) == []


def test_unknown_figures_never_resolve_and_are_an_alert_of_their_own() -> None:
    """A margin alert goes on firing while its pool is unknown, and its repeat says that it cannot be seen."""
    subject = engine(repeat={"warning_s": 60})
    subject.on_pool(a_pool(0.75), 0.0)
    unseen = a_pool(0.75, margin_ratio=nan, margin_balance=nan, unknown=("no mark for ETHUSDT",))
    assert subject.on_pool(unseen, 10.0) == []
    said = due_until(subject, 60.0)
    assert brief(said) == [
        ("unknown", Step.RAISED, Severity.CRITICAL),
        ("margin_ratio", Step.REPEATED, Severity.WARNING),
    ]
    assert said[0].text == "unknown margin ratio · binance/main/USDT · no mark for ETHUSDT · 1 position"
    assert said[1].text.startswith("unknown margin ratio · binance/main/USDT · not all of it can be seen")
    assert {alert.rule for alert in subject.firing()} == {"margin_ratio", "unknown"}


def test_partly_unknown_figures_accuse_but_do_not_acquit() -> None:
    """A ratio made from incomplete data raises and worsens, and does not ease."""
    subject = engine(margin_ratio={"notice": 0.5, "warning": 0.7, "calm_s": 0})
    partly = {"unknown": ("no tiers for NEWUSDT",)}
    assert brief(subject.on_pool(a_pool(0.55, **partly), 0.0)) == [("margin_ratio", Step.RAISED, Severity.NOTICE)]
    assert brief(subject.on_pool(a_pool(0.75, **partly), 1.0)) == [("margin_ratio", Step.WORSENED, Severity.WARNING)]
    assert subject.on_pool(a_pool(0.10, **partly), 2.0) == []
    assert ("margin_ratio", Step.RESOLVED, Severity.WARNING) in brief(subject.on_pool(a_pool(0.10), 3.0))


def test_thresholds_are_the_next_levels_around_the_ratio() -> None:
    """Below the first rung only upwards; while something fires, the nearest rung or release on either side."""
    subject = engine()
    down, up = subject.thresholds(POOL)
    assert isnan(down)
    assert up == 0.50
    subject.on_pool(a_pool(0.72), 0.0)
    assert subject.thresholds(POOL) == (0.70, 0.85 * 0.9)
    subject.on_pool(a_pool(0.99), 1.0)
    down, up = subject.thresholds(POOL)
    assert down == 0.95
    assert isnan(up)
    subject.on_pool(a_pool(0.72, margin_ratio=nan, unknown=("x",)), 2.0)
    down, up = subject.thresholds(POOL)
    assert isnan(down)
    assert up == 0.0


@settings(max_examples=100, deadline=None)
@given(st.integers(), st.booleans())
def test_nothing_is_missed_by_looking_only_when_a_threshold_is_crossed(seed: int, patient: bool) -> None:
    """An engine asked only at crossings and deadlines says the same as one asked at every tick."""
    rng = random.Random(seed)
    ladder = {"hold_s": 2.0 if patient else 0.0, "calm_s": 5.0}
    every, few = engine(margin_ratio=ladder), engine(margin_ratio=ladder)
    said: tuple[list[Alert], list[Alert]] = ([], [])
    ratio = 0.4
    down, up = few.thresholds(POOL)
    for tick in range(200):
        now, ratio = tick * 0.5, abs(ratio + rng.gauss(0.0, 0.1))
        said[0].extend(every.on_pool(a_pool(ratio), now, ratio_only=True) + every.due(now))
        if ratio < down or ratio >= up:
            said[1].extend(few.on_pool(a_pool(ratio), now, ratio_only=True))
        said[1].extend(few.due(now))
        down, up = few.thresholds(POOL)
    assert [(a.id, a.at) for a in said[0]] == [(a.id, a.at) for a in said[1]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1.5)), max_size=60))
def test_an_id_is_never_used_for_two_things(course: list[tuple[float, float]]) -> None:
    """Equal ids have equal severity, state and serial, over all episodes; only repeats share one."""
    subject, now = engine(), 0.0
    said: list[Alert] = []
    for wait, ratio in course:
        now += wait
        said += subject.due(now) + subject.on_pool(a_pool(ratio), now)
    meanings = {alert.id: (alert.serial, alert.severity, alert.state) for alert in said}
    assert all(meanings[alert.id] == (alert.serial, alert.severity, alert.state) for alert in said)
    fresh = [alert.id for alert in said if alert.step is not Step.REPEATED]
    assert len(fresh) == len(set(fresh))


def test_a_run_that_was_killed_before_saving_comes_to_the_same_id_again() -> None:
    """Same saved state, same situation: same id, though the time is another. Another state file: other ids."""
    saved = engine()
    (first,) = saved.on_pool(a_pool(0.75), 0.0)
    ids = set()
    for start in (10.0, 20.0):
        again = engine()
        again.restore(Restored("salt", (first,)), start)
        (worse,) = again.on_pool(a_pool(0.96), start)
        ids.add(worse.id)
    assert len(ids) == 1
    other = Engine(AlertsConfig(), "box", salt="pepper")
    assert other.on_pool(a_pool(0.75), 0.0)[0].id != first.id


def test_a_restart_says_nothing_again_and_forgets_nothing() -> None:
    """What fired goes on firing in silence, repeats when its time comes, and resolves under the same key."""
    before = engine()
    (alert,) = before.on_pool(a_pool(0.75), 0.0)
    after = engine()
    after.restore(Restored("salt", (alert,)), 100.0)
    assert after.firing() == [alert]
    assert after.on_pool(a_pool(0.76), 101.0) == []
    assert after.deadline() == alert.at + AlertsConfig().repeat.warning_s
    (resolved,) = after.on_pool_gone(POOL, 102.0)
    assert (resolved.key, resolved.serial, resolved.raised_at) == (alert.key, alert.serial + 1, alert.raised_at)


def test_what_was_restored_repeats_its_last_words_until_it_is_judged() -> None:
    """Before the first snapshot nothing is known that could be said instead."""
    (alert,) = engine().on_pool(a_pool(0.96), 0.0)
    after = engine()
    after.restore(Restored("salt", (alert,)), 500.0)
    (repeat,) = after.due(500.0)
    assert (repeat.id, repeat.text, repeat.step, repeat.at) == (alert.id, alert.text, Step.REPEATED, 500.0)


def test_a_clock_that_was_set_back_between_runs_does_not_put_off_repeats() -> None:
    """An alert from the future counts as said now."""
    (alert,) = engine().on_pool(a_pool(0.96), 10_000.0)
    after = engine()
    after.restore(Restored("salt", (alert,)), 500.0)
    assert after.deadline() == 500.0 + AlertsConfig().repeat.emergency_s


def test_an_account_in_sync_ends_what_fires_for_pools_it_does_not_have() -> None:
    """A position closed while the monitor was down is not alarmed about for ever."""
    before = engine()
    kept = before.on_pool(a_pool(0.75, scope="USDT"), 0.0)
    lost = before.on_pool(a_pool(0.75, scope="BTCUSDT:long"), 0.0)
    other = before.on_pool(a_pool(0.75, account="second"), 0.0)
    after = engine()
    after.restore(Restored("salt", (*kept, *lost, *other)), 1.0)
    (resolved,) = after.on_account("binance", "main", {POOL}, 2.0)
    assert (resolved.pool, resolved.state) == ("binance/main/BTCUSDT:long", State.RESOLVED)
    assert len(after.firing()) == 2


def test_what_is_not_configured_any_more_is_ended() -> None:
    """Accounts and sinks that left the configuration do not fire for ever."""
    subject = engine(sink_failure={"after_s": 0})
    subject.on_pool(a_pool(0.75), 0.0)
    subject.on_pool(a_pool(0.75, account="second"), 0.0)
    subject.on_sink("redis", 0.0, 1, "refused", 1.0)
    subject.on_sink("state", 0.0, 1, "disk full", 1.0)
    ended = subject.retain({("binance", "main")}, {"mqtt"}, 2.0)
    assert {alert.key for alert in ended} == {"margin_ratio:binance/second/USDT", "sink_failure:redis"}
    assert {alert.reason for alert in ended} == {Reason.NOT_CONFIGURED}


def test_blindness_fires_by_the_risk_behind_it_and_recovers_when_absent() -> None:
    """The whole set replaces the last one; recovery waits for its calm."""
    subject = engine()
    (blind,) = subject.on_blind([MARKS], 0.0)
    assert (blind.severity, blind.reason, blind.value) == (Severity.WARNING, Reason.MARKS_STALE, 7.0)
    assert blind.text == (
        "7 s without data · binance/main · marks of BTCUSDT, ETHUSDT · "
        "positions worth 25,000 USDT, last margin ratio 0.300"
    )
    (worse,) = subject.on_blind([replace(MARKS, worst_ratio=0.9)], 1.0)
    assert (worse.step, worse.severity) == (Step.WORSENED, Severity.EMERGENCY)
    assert subject.on_blind([], 2.0) == []
    (seen,) = due_until(subject, 2.0 + AlertsConfig().stale_feed.calm_s)
    assert (seen.step, seen.text) == (
        Step.RESOLVED,
        "7 s blind · binance/main · marks of BTCUSDT, ETHUSDT can be seen again · resolved",
    )


def test_an_account_out_of_sync_has_a_moment_to_get_in_sync() -> None:
    """Starting up is not an alert; staying out of sync is, even though its risk is unknown."""
    subject = engine()
    starting = Blindness("binance", "main", "account", FeedState.DOWN, (), None, 0.0, None, "no snapshot yet")
    assert subject.on_blind([starting], 0.0) == []
    assert subject.on_blind([], 5.0) == []
    assert subject.on_blind([starting], 6.0) == []
    (alert,) = due_until(subject, 16.0)
    assert (alert.severity, alert.reason) == (Severity.WARNING, Reason.ACCOUNT_OUT_OF_SYNC)
    assert alert.text == "no data yet · binance/main · account · risk unknown · no snapshot yet"


def test_a_failing_sink_is_an_alert_after_a_while_and_resolves() -> None:
    """A hiccup is not said; a failure is, once; the recovery too."""
    subject = engine()
    assert subject.on_sink("redis", None, 0, "", 0.0) == []
    assert subject.on_sink("redis", 1.0, 3, "connection refused", 10.0) == []
    (alert,) = subject.on_sink("redis", 1.0, 3, "connection refused", 16.0)
    assert (alert.severity, alert.reason) == (Severity.WARNING, Reason.SINK_FAILING)
    assert alert.text == "15 s failing · sink redis · 3 alerts wait · connection refused"
    assert subject.on_sink("redis", 1.0, 4, "connection refused", 17.0) == []
    assert subject.on_sink("redis", None, 0, "", 18.0) == []
    assert brief(due_until(subject, 30.0)) == [("sink_failure", Step.RESOLVED, Severity.WARNING)]


def test_a_state_file_that_is_not_written_is_critical() -> None:
    """It fails as a sink does, but a restart would forget."""
    (alert,) = engine().on_sink("state", 0.0, 0, "database or disk is full", 20.0)
    assert (alert.severity, alert.reason) == (Severity.CRITICAL, Reason.STATE_NOT_SAVED)


def test_a_notice_fires_at_once_and_is_over_after_a_quiet_while() -> None:
    """More of the same prolongs it without another message; the last one says that it is over."""
    subject = engine(venue_notice={"calm_s": 60})
    notice = VenueNotice("binance", "main", 0, "liquidation", "BTCUSDT", "0.5 at 57,800")
    (alert,) = subject.on_notice(notice, 0.0)
    assert (alert.severity, alert.reason) == (Severity.EMERGENCY, Reason.LIQUIDATION)
    assert alert.text == "1 liquidation order from binance/main · BTCUSDT · 0.5 at 57,800"
    assert subject.on_notice(notice, 50.0) == []
    assert due_until(subject, 109.0) == []
    (over,) = due_until(subject, 110.0)
    assert (over.step, over.severity) == (Step.RESOLVED, Severity.EMERGENCY)
    assert over.text == "0 more: liquidation order of binance/main · BTCUSDT · over · resolved"


def test_a_notice_that_is_repeated_says_what_it_said() -> None:
    """Its calm runs from the first moment, but an alert that fires never says that it is over."""
    subject = engine(venue_notice={"calm_s": 900})
    (alert,) = subject.on_notice(VenueNotice("binance", "main", 0, "liquidation", "BTCUSDT", "sell 1"), 0.0)
    (repeat,) = due_until(subject, 120.0)
    assert (repeat.step, repeat.id, repeat.text) == (Step.REPEATED, alert.id, alert.text)
    assert (repeat.reason, repeat.value) == (Reason.LIQUIDATION, 1.0)


def test_another_notice_while_one_fires_is_a_change_of_its_own() -> None:
    """A second liquidation, of more, is not swallowed by the first; nor is it after a restart."""
    subject = engine()
    notice = VenueNotice("binance", "main", 0, "liquidation", "BTCUSDT", "sell 1")
    (first,) = subject.on_notice(notice, 0.0)
    (second,) = subject.on_notice(replace(notice, detail="sell 99"), 5.0)
    assert (second.step, second.state, second.severity) == (Step.RAISED, State.FIRING, Severity.EMERGENCY)
    assert (second.key, second.serial, second.raised_at) == (first.key, first.serial + 1, 5.0)
    assert second.id != first.id
    assert second.text.endswith("sell 99")
    assert subject.on_notice(replace(notice, detail="sell 99"), 6.0) == []
    again = engine()
    again.restore(Restored("salt", (second,)), 7.0)
    assert again.on_notice(replace(notice, detail="sell 99"), 8.0) == []
    (third,) = again.on_notice(replace(notice, detail="sell 100"), 9.0)
    assert third.serial == second.serial + 1


def test_a_repeat_during_the_calm_of_blindness_does_not_say_that_all_can_be_seen() -> None:
    """What fires is said as what fires until its calm is over."""
    subject = engine(repeat={"warning_s": 60}, stale_feed={"calm_s": 600})
    (blind,) = subject.on_blind([MARKS], 0.0)
    assert subject.on_blind([], 1.0) == []
    (repeat,) = due_until(subject, 60.0)
    assert (repeat.step, repeat.text, repeat.reason) == (Step.REPEATED, blind.text, Reason.MARKS_STALE)


def test_what_is_blind_of_an_account_out_of_sync_is_not_said_to_be_seen_again() -> None:
    """Its streams are absent because nothing is known of them; they resolve after it is in sync again."""
    known = ("binance", "main")
    subject = engine(repeat={"emergency_s": 3600, "warning_s": 3600, "critical_s": 3600})
    subject.on_blind([replace(MARKS, worst_ratio=0.9)], 0.0)
    after = engine()
    after.restore(Restored("salt", tuple(subject.firing())), 1.0)
    for each in (subject, after):
        for second in range(2, 60):
            assert each.on_blind([], float(second), {known}) == []
            assert each.due(float(second)) == []
        assert each.on_blind([replace(MARKS, worst_ratio=None)], 60.0, {known}) == []
        assert due_until(each, 100.0) == []
        assert each.on_blind([], 100.0, {("binance", "other")}) == []
        assert brief(due_until(each, 106.0)) == [("stale_feed", Step.RESOLVED, Severity.EMERGENCY)]


def test_what_only_waits_to_fire_is_forgotten_with_an_account_out_of_sync() -> None:
    """The account itself is blind then, and says so."""
    subject = engine()
    user = Blindness("binance", "main", "user", FeedState.STALE, (), 3.0, 100.0, 0.2, "")
    assert subject.on_blind([user], 0.0) == []
    assert subject.on_blind([], 1.0, {("binance", "main")}) == []
    assert due_until(subject, 100.0) == []


def test_a_trembling_value_piles_nothing_up() -> None:
    """Deadlines that move leave no trace, and the next one is still right."""
    subject = engine()
    subject.on_pool(a_pool(0.50), 0.0)
    for tick in range(10_000):
        subject.on_pool(a_pool(0.46 if tick % 2 else 0.44), 1.0 + tick * 0.001)
    assert len(subject._timers) < 100
    assert subject.deadline() == AlertsConfig().repeat.notice_s
    subject.on_pool(a_pool(0.44), 12.0)
    assert subject.deadline() == 12.0 + CALM_S


def test_a_pool_that_went_while_pending_is_not_judged_by_new_rules() -> None:
    """What is gone stays gone."""
    subject = engine(margin_ratio={"notice": 0.5, "hold_s": 60})
    subject.on_pool(a_pool(0.75), 0.0)
    subject.on_pool_gone(POOL, 1.0)
    assert subject.reconfigure(AlertsConfig(), 2.0) == []


def test_new_rules_judge_what_is_tracked_at_once() -> None:
    """A rung that is lowered fires on reload; the thresholds follow."""
    subject = engine()
    subject.on_pool(a_pool(0.55), 0.0)
    said = subject.reconfigure(AlertsConfig.model_validate({"margin_ratio": {"critical": 0.54}}), 1.0)
    assert brief(said) == [("margin_ratio", Step.WORSENED, Severity.CRITICAL)]
    assert subject.thresholds("binance/main/other")[1] == 0.54


def test_a_huge_pool_shows_the_legs_nearest_to_liquidation() -> None:
    """Legs without a liquidation price go first when there are too many."""
    far = tuple(a_leg(f"FAR{n}", distance=None, liquidation_price=None) for n in range(LEGS_MAX))
    near = tuple(a_leg(f"NEAR{n}", distance=0.5 - n * 0.01) for n in range(10))
    (alert,) = engine().on_pool(a_pool(0.75, legs=far + near), 0.0)
    assert len(alert.legs) == LEGS_MAX
    assert [leg.instrument for leg in alert.legs[:2]] == ["NEAR9", "NEAR8"]


@pytest.mark.parametrize("rule", ["margin_ratio", "distance", "unknown", "model_error"])
def test_each_pool_rule_can_fire(rule: str) -> None:
    """Every registered pool rule is reached."""
    bad = {
        "margin_ratio": a_pool(0.99),
        "distance": a_pool(0.1, distance=0.001),
        "unknown": a_pool(0.1, margin_ratio=nan, unknown=("no tiers",)),
        "model_error": a_pool(0.1, model_error=0.5),
    }[rule]
    subject = engine(unknown={"hold_s": 0})
    assert rule in {alert.rule for alert in subject.on_pool(bad, 0.0)}


def test_no_serial_goes_back_when_another_monitor_counted_less() -> None:
    """What a sink of ours has heard as number 8 must not be followed by a worsening that is number 3."""
    mine = engine()
    for _ in range(4):
        mine.on_pool(a_pool(0.72), 0.0)
        mine.on_pool_gone(POOL, 1.0)
    theirs = engine()
    (word,) = (alert for alert in theirs.on_pool(a_pool(0.72), 2.0) if alert.rule == "margin_ratio")
    key = f"margin_ratio:{POOL}"
    mine.take_over("binance", "main", [word], 3.0, {key: 8})
    (worse,) = (alert for alert in mine.on_pool(a_pool(0.90), 4.0) if alert.rule == "margin_ratio")
    assert (worse.step, worse.serial) == (Step.WORSENED, 9)


def test_what_another_monitor_said_is_not_said_again_and_the_rest_is() -> None:
    """The follower saw the pool worsen; the speaker died before it could say so. The ids are those of the speaker."""
    mine, theirs = engine(), engine()
    for each in (mine, theirs):
        each.share_salt("shared")
    words = theirs.on_pool(a_pool(0.72), 0.0)
    mine.on_pool(a_pool(0.72), 0.0)
    mine.on_pool(a_pool(0.90), 1.0)
    said = mine.take_over("binance", "main", words, 2.0)
    (lost,) = (alert for alert in theirs.on_pool(a_pool(0.90), 1.0) if alert.rule == "margin_ratio")
    assert [(alert.step, alert.severity, alert.id) for alert in said if alert.rule == "margin_ratio"] == [
        (Step.WORSENED, Severity.CRITICAL, lost.id)
    ]
    assert mine.take_over("binance", "main", [*words, lost], 3.0) == []


def test_what_another_monitor_may_have_said_has_the_number_that_it_had_there() -> None:
    """It could tell nobody that it had: the other one says it under the same id, however many changes ago that was."""

    def falls() -> tuple[Engine, list[Alert]]:
        subject = engine()
        subject.share_salt("shared")
        return subject, [
            alert for at, ratio in enumerate((0.72, 0.90, 0.96), 1) for alert in subject.on_pool(a_pool(ratio), at)
        ]

    _, said = falls()
    for known in range(3):
        mine, _ = falls()
        assert [alert.id for alert in mine.take_over("binance", "main", said[:known][-1:], 4.0)] == [said[-1].id]
    mine, _ = falls()
    assert mine.take_over("binance", "main", said[-1:], 4.0) == []


def test_a_number_that_was_used_here_is_not_used_again() -> None:
    """Of what was said nothing is known any more: said anew, it must not look like what was said then."""
    mine = engine()
    (said,) = mine.on_pool(a_pool(0.72), 0.0)
    (again,) = mine.take_over("binance", "main", [], 1.0, {said.key: said.serial})
    assert (again.severity, again.serial) == (said.severity, said.serial + 1)


def test_a_follower_counts_as_the_one_that_speaks() -> None:
    """It began later, or saw less; the next change has the same id at both."""
    mine, theirs = engine(), engine()
    for each in (mine, theirs):
        each.share_salt("shared")
    for _ in range(3):
        theirs.on_pool(a_pool(0.72), 0.0)
        over = theirs.on_pool_gone(POOL, 1.0)
    mine.follow(over)
    mine.on_pool(a_pool(0.72), 2.0)
    mine.follow([replace(theirs.on_pool(a_pool(0.72), 2.0)[0], rule="of a later version")])
    mine.follow(over)  # what is not the same any more says nothing
    worse = [each.on_pool(a_pool(0.90), 3.0)[0] for each in (mine, theirs)]
    assert worse[0].id == worse[1].id
    assert worse[0].serial == 8


def test_what_nobody_knows_of_any_more_is_said_again_and_its_end_is_not_lost() -> None:
    """An earlier run said it; what others said since is forgotten. It fires until it is judged."""
    mine = engine()
    (word,) = mine.on_pool(a_pool(0.72), 0.0)
    mine.on_pool_gone(POOL, 1.0)  # while another monitor spoke
    assert mine.take_over("binance", "main", [word], 2.0, {word.key: word.serial}, {word.key}) == []
    (over,) = mine.on_account("binance", "main", (), 3.0)
    assert (over.key, over.state) == (word.key, State.RESOLVED)
    mine.on_pool(a_pool(0.72), 4.0)
    (again,) = mine.take_over("binance", "main", [word], 5.0, {word.key: over.serial}, {word.key})
    assert (again.step, again.severity, again.serial) == (Step.RAISED, word.severity, over.serial + 1)
