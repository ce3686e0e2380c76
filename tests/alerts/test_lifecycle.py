"""The life of one alert, driven by hand."""

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Acknowledgement, Reason, Severity, Step, Verdict
from alerts.lifecycle import FLAP_S, Policy, Status, acknowledge, advance, again, deadline, end, silence

NOTICE, WARNING, CRITICAL, EMERGENCY = Severity
RUNGS = {NOTICE: 0.50, WARNING: 0.70, CRITICAL: 0.85, EMERGENCY: 0.95}
HYSTERESIS = 0.9
PATIENT = Policy(
    hold_s=10.0,
    calm_s=30.0,
    notice_repeat_s=1000.0,
    warning_repeat_s=500.0,
    critical_repeat_s=200.0,
    emergency_repeat_s=100.0,
)
PROMPT = replace(PATIENT, hold_s=0.0, calm_s=0.0)
HASTY = replace(PATIENT, hold_s=0.0)


def verdict(value: float | None) -> Verdict:
    """What a ladder on the margin ratio says; None is an unknown value."""
    if value is None:
        return Verdict(None, EMERGENCY, Reason.UNKNOWN, unknown=True)
    demands = max((severity for severity, rung in RUNGS.items() if value >= rung), default=None)
    holds = max((severity for severity, rung in RUNGS.items() if value >= rung * HYSTERESIS), default=None)
    return Verdict(demands, holds, Reason.RUNG_REACHED, value)


@dataclass(frozen=True)
class Case:
    """Values at times, and what is said at each."""

    sentence: str
    policy: Policy
    course: tuple[tuple[float, float | None, Step | None, Severity | None], ...]


CASES = [
    Case("a value below all rungs says nothing", PROMPT, ((0, 0.4, None, None), (1, 0.49, None, None))),
    Case(
        "a jump over several rungs says one alert, the highest",
        PROMPT,
        ((0, 0.4, None, None), (1, 0.96, Step.RAISED, EMERGENCY)),
    ),
    Case(
        "a condition that ends within the hold says nothing",
        PATIENT,
        ((0, 0.6, None, None), (9.9, 0.4, None, None), (10.1, 0.6, None, None), (20, 0.6, None, None)),
    ),
    Case(
        "a condition that lasts is said when the hold ends, at the severity of that moment",
        PATIENT,
        ((0, 0.6, None, None), (5, 0.9, None, None), (10, 0.75, Step.RAISED, WARNING)),
    ),
    Case(
        "an unknown value does not end a hold",
        PATIENT,
        ((0, 0.6, None, None), (5, None, None, None), (10, None, Step.RAISED, NOTICE)),
    ),
    Case(
        "worse is said at once, rung by rung",
        HASTY,
        ((0, 0.5, Step.RAISED, NOTICE), (0.1, 0.7, Step.WORSENED, WARNING), (0.2, 0.99, Step.WORSENED, EMERGENCY)),
    ),
    Case(
        "a value between rung x hysteresis and rung keeps the severity",
        PROMPT,
        ((0, 0.7, Step.RAISED, WARNING), (1, 0.631, None, WARNING), (2, 0.629, Step.EASED, NOTICE)),
    ),
    Case(
        "easing waits for calm, and a return in between begins it anew",
        HASTY,
        (
            (0, 0.86, Step.RAISED, CRITICAL),
            (10, 0.4, None, CRITICAL),
            (39, 0.86, None, CRITICAL),
            (40, 0.4, None, CRITICAL),
            (69.9, 0.4, None, CRITICAL),
            (70, 0.4, Step.RESOLVED, None),
        ),
    ),
    Case(
        "worsening overrides the calm that has begun",
        HASTY,
        ((0, 0.6, Step.RAISED, NOTICE), (5, 0.4, None, NOTICE), (6, 0.96, Step.WORSENED, EMERGENCY)),
    ),
    Case(
        "raising again right after resolving is not put off",
        PROMPT,
        ((0, 0.6, Step.RAISED, NOTICE), (1, 0.4, Step.RESOLVED, None), (1, 0.6, Step.RAISED, NOTICE)),
    ),
    Case(
        "what comes back soon after easing needs twice the calm to ease again",
        HASTY,
        (
            (0, 0.75, Step.RAISED, WARNING),
            (1, 0.6, None, WARNING),
            (31, 0.6, Step.EASED, NOTICE),
            (40, 0.75, Step.WORSENED, WARNING),
            (41, 0.6, None, WARNING),
            (100.9, 0.6, None, WARNING),
            (101, 0.6, Step.EASED, NOTICE),
            (110, 0.75, Step.WORSENED, WARNING),
            (111, 0.6, None, WARNING),
            (230.9, 0.6, None, WARNING),
            (231, 0.6, Step.EASED, NOTICE),
        ),
    ),
    Case(
        "what comes back long after easing is as it was the first time",
        HASTY,
        (
            (0, 0.75, Step.RAISED, WARNING),
            (1, 0.4, None, WARNING),
            (31, 0.4, Step.RESOLVED, None),
            (631, 0.75, Step.RAISED, WARNING),
            (632, 0.4, None, WARNING),
            (662, 0.4, Step.RESOLVED, None),
        ),
    ),
    Case(
        "what fires is repeated by its severity",
        HASTY,
        (
            (0, 0.96, Step.RAISED, EMERGENCY),
            (99.9, 0.96, None, EMERGENCY),
            (100, 0.96, Step.REPEATED, EMERGENCY),
            (199, 0.96, None, EMERGENCY),
            (200, 0.97, Step.REPEATED, EMERGENCY),
        ),
    ),
    Case(
        "an unknown value neither eases nor resolves, and repeats go on",
        PROMPT,
        ((0, 0.96, Step.RAISED, EMERGENCY), (50, None, None, EMERGENCY), (100, None, Step.REPEATED, EMERGENCY)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_course(case: Case) -> None:
    """Each course of values says exactly what its sentence promises."""
    status = Status()
    for now, value, step, severity in case.course:
        status, said = advance(status, verdict(value), case.policy, now)
        assert (said, status.severity) == (step, severity), f"at {now} s"


def test_end_resolves_without_waiting_for_calm() -> None:
    """What is gone is over at once; what never fired ends in silence."""
    status, _ = advance(Status(), verdict(0.96), HASTY, 0.0)
    ended, step = end(status, 1.0)
    assert (step, ended.severity, ended.serial) == (Step.RESOLVED, None, status.serial + 1)
    waiting, _ = advance(Status(serial=7), verdict(0.96), PATIENT, 0.0)
    assert end(waiting, 1.0) == (Status(serial=7), None)


def test_calm_does_not_double_for_ever() -> None:
    """Sixteen times is the most that is asked for, however often a value comes back."""
    status, now = Status(), 0.0
    for _ in range(12):
        status, _ = advance(status, verdict(0.75), HASTY, now)
        status, _ = advance(status, verdict(0.4), HASTY, now + 1)
        at = deadline(status, HASTY)
        assert at is not None
        needed_s, now = at - (now + 1), at
        status, step = advance(status, verdict(0.4), HASTY, now)
        assert step is Step.RESOLVED
    assert needed_s == 16 * HASTY.calm_s


def test_an_acknowledgement_outlasts_a_flap_and_no_worsening_beyond_it() -> None:
    """It eased and is back at what was acknowledged: nothing new. More than that, or much later, is."""
    raised, _ = advance(Status(), verdict(0.9), PROMPT, 0.0)
    seen, _ = acknowledge(raised, Acknowledgement("ann", 1.0), 1.0)
    eased, step = advance(seen, verdict(0.7), PROMPT, 10.0)
    assert (step, eased.acknowledged is not None) == (Step.EASED, True)
    back, step = advance(eased, verdict(0.9), PROMPT, 20.0)
    assert (step, back.acknowledged) == (Step.WORSENED, Acknowledgement("ann", 1.0))
    assert advance(eased, verdict(0.96), PROMPT, 20.0)[0].acknowledged is None
    assert advance(eased, verdict(0.9), PROMPT, 10.0 + FLAP_S)[0].acknowledged is None
    assert again(back, 21.0)[0].acknowledged is None


def test_what_is_gone_leaves_nothing_to_what_comes_later() -> None:
    """A new position in the same pool is not taken for a flapping one."""
    status, _ = advance(Status(), verdict(0.9), HASTY, 0.0)
    ended, _ = end(status, 1.0)
    new, _ = advance(ended, verdict(0.9), HASTY, 2.0)
    assert new.flaps == 0


def test_nobody_is_turned_to_while_an_alert_is_silenced() -> None:
    """The time to the next escalation begins anew when it is to be heard again."""
    policy = replace(HASTY, critical_escalate_s=300.0, critical_repeat_s=9000.0, escalations_max=2)
    status, _ = advance(Status(), verdict(0.9), policy, 0.0)
    assert deadline(status, policy) == 300.0
    status, step = advance(status, verdict(0.9), policy, 300.0)
    assert (step, status.escalation, deadline(status, policy)) == (Step.ESCALATED, 1, 600.0)
    quiet = silence(status, 400.0, silenced=True)
    assert deadline(quiet, policy) == 9400.0
    assert advance(quiet, verdict(0.9), policy, 5000.0)[1] is None
    heard = silence(quiet, 5000.0, silenced=False)
    assert deadline(heard, policy) == 5300.0


def test_deadline_names_the_next_thing_that_time_alone_brings() -> None:
    """Hold, repeat, and the earlier of repeat and calm."""
    assert deadline(Status(), PATIENT) is None
    pending, _ = advance(Status(), verdict(0.6), PATIENT, 5.0)
    assert deadline(pending, PATIENT) == 5.0 + 10.0
    firing, _ = advance(pending, verdict(0.6), PATIENT, 15.0)
    assert deadline(firing, PATIENT) == 15.0 + 1000.0
    calming, _ = advance(firing, verdict(0.4), PATIENT, 20.0)
    assert deadline(calming, PATIENT) == 20.0 + 30.0


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 60.0),
        st.one_of(st.none(), st.floats(0.0, 1.5), st.sampled_from([0.45, 0.5, 0.63, 0.7, 0.85, 0.95])),
    ),
    max_size=60,
)
POLICIES = st.sampled_from([PROMPT, HASTY, PATIENT])


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_without_hold_the_severity_is_never_below_what_the_value_demands(
    course: list[tuple[float, float | None]],
) -> None:
    """Whatever happened before, the present value is never understated."""
    status, now = Status(), 0.0
    for wait, value in course:
        now += wait
        judged = verdict(value)
        status, _ = advance(status, judged, HASTY, now)
        assert judged.demands is None or (status.severity or 0) >= judged.demands


@settings(max_examples=200, deadline=None)
@given(STEPS, POLICIES)
def test_serial_moves_with_every_change_and_only_then(course: list[tuple[float, float | None]], policy: Policy) -> None:
    """A repeat keeps the serial, every other step takes the next: no id can ever mean two things."""
    status, now = Status(), 0.0
    for wait, value in course:
        now += wait
        before = status
        status, step = advance(status, verdict(value), policy, now)
        moved = step not in (None, Step.REPEATED)
        assert status.serial == before.serial + moved
        assert (status.severity != before.severity) == moved


@settings(max_examples=200, deadline=None)
@given(STEPS, POLICIES)
def test_unknown_values_change_nothing_that_fires(course: list[tuple[float, float | None]], policy: Policy) -> None:
    """An unknown is never the reason for easing or resolving."""
    status, now = Status(), 0.0
    for wait, value in course:
        now += wait
        before = status.severity
        status, _ = advance(status, verdict(value), policy, now)
        if value is None and before is not None:
            assert status.severity == before


@settings(max_examples=20, deadline=None)
@given(st.integers())
def test_wild_values_make_no_storm(seed: int) -> None:
    """However a value swings for an hour, each calm lets one climb of at most four alerts and one easing out."""
    rng = random.Random(seed)
    status, said = Status(), 0
    for now in range(3600):
        status, step = advance(status, verdict(rng.uniform(0.0, 1.5)), HASTY, float(now))
        said += step is not None and step is not Step.REPEATED
    assert said <= (3600 / HASTY.calm_s + 1) * (len(RUNGS) + 1)


def test_a_value_that_swings_around_a_rung_for_an_hour_says_little() -> None:
    """Ten seconds above, ten below, within or beyond the hysteresis: one alert."""
    for low in (0.68, 0.40):
        status, said = Status(), []
        for now in range(3600):
            value = 0.71 if now % 20 < 10 else low
            status, step = advance(status, verdict(value), HASTY, float(now))
            said += [step] if step not in (None, Step.REPEATED) else []
        assert said == [Step.RAISED]


@settings(max_examples=100, deadline=None)
@given(STEPS, POLICIES)
def test_calling_at_the_deadline_always_gets_on(course: list[tuple[float, float | None]], policy: Policy) -> None:
    """At its deadline an alert says something or moves its deadline: nobody who waits for it turns in a circle."""
    status, now = Status(), 0.0
    for wait, value in course:
        now += wait
        judged = verdict(value)
        status, _ = advance(status, judged, policy, now)
        at = deadline(status, policy)
        if at is not None:
            later, step = advance(status, judged, policy, max(at, now))
            assert step is not None or deadline(later, policy) != at
