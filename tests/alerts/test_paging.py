"""What reaches a person, when and by which route."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from math import pi, sin
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import paging as module
from alerts.alert import Acknowledgement, Alert, Reason, Severity, Silence, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.paging import HOUR_S, Page, Pager, PagingPolicy, QuietHours, Route, escalations
from tests.support.pools import a_pool

NOTICE, WARNING, CRITICAL, EMERGENCY = Severity
DAY = datetime(2026, 3, 10, 12, 0, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 3, 10, 23, 0, tzinfo=UTC).timestamp()
MORNING = datetime(2026, 3, 11, 7, 0, tzinfo=UTC).timestamp()
QUIET = QuietHours(22 * 60, 7 * 60, UTC)
SILENCE = Silence("s1", "binance/main", DAY + 7200, "ana", "maintenance", emergency=True, at=DAY)
PHONE, DESK, BOSS = Route("phone"), Route("desk"), Route("boss")

_serials = count(1)


def an_alert(
    scope: str = "P1", severity: Severity = WARNING, step: Step = Step.RAISED, at: float = DAY, **changes: Any
) -> Alert:
    """One word about the margin ratio of a pool, later than all made before it."""
    account = changes.get("account", "main")
    alert = Alert(
        id=f"{scope}-{severity.label}-{step}", key=f"margin_ratio:binance/{account}/{scope}", rule="margin_ratio",
        severity=severity, state=State.RESOLVED if step is Step.RESOLVED else State.FIRING, reason=Reason.RUNG_REACHED,
        venue="binance", account="main", pool=f"binance/{account}/{scope}", value=0.75, threshold=0.7,
        margin_ratio=0.75, margin_balance=100.0, maintenance_margin=75.0, unit="USDT", legs=(),
        text=f"0.750 margin ratio · {scope}", advice=f"Add margin to {scope}.", raised_at=at, mark_at=at, host="box",
        step=step, serial=next(_serials), at=at,
    )  # fmt: skip
    return replace(alert, **changes)


def a_pager(*routes: Route, per_hour: int = 20, quiet: QuietHours | None = None, resolved: bool = True) -> Pager:
    """A pager, with one route if none is given."""
    return Pager(routes or (PHONE,), PagingPolicy(per_hour, quiet, resolved))


def push(pager: Pager, *alerts: Alert, now: float | None = None) -> list[Page]:
    """Plan, and have every route take its pages."""
    return taken(pager, pager.plan(alerts, alerts[-1].at if now is None else now))


def taken(pager: Pager, pages: Iterable[Page]) -> list[Page]:
    """These pages, taken by everybody they go to."""
    pages = list(pages)
    for page in pages:
        for route in page.to:
            pager.took(page, route)
    return pages


def keys(pages: Sequence[Page]) -> list[set[str]]:
    """The pools each page speaks of."""
    return [{alert.key.rpartition("/")[2] for alert in page.alerts} for page in pages]


# -- routes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        pytest.param(Route("all"), True, id="no filter takes all"),
        pytest.param(Route("bad", frozenset({CRITICAL, EMERGENCY})), False, id="another severity does not fit"),
        pytest.param(Route("mine", accounts=("main",)), True, id="its account fits"),
        pytest.param(Route("mine", accounts=("ma*",)), True, id="a pattern fits"),
        pytest.param(Route("mine", accounts=("other",)), False, id="another account does not fit"),
        pytest.param(Route("rule", rules=("distance", "margin_*")), True, id="one of several rules is enough"),
        pytest.param(Route("rule", rules=("distance",)), False, id="another rule does not fit"),
        pytest.param(Route("pool", pools=("binance/main",)), True, id="an account fits all of its pools"),
        pytest.param(Route("pool", pools=("*:long",)), False, id="a pattern that fits no pool"),
        pytest.param(Route("both", accounts=("main",), rules=("distance",)), False, id="every filter must fit"),
    ],
)
def test_a_route_takes_what_fits(route: Route, fits: bool) -> None:
    """Severity, account, rule and pool each narrow."""
    assert route.fits(an_alert()) is fits


def test_what_belongs_to_no_account_fits_no_account() -> None:
    """A failing sink is nobody's account; a route for one account does not hear it."""
    alert = an_alert(rule="sink_failure", account=None, pool=None, venue=None)
    assert not Route("mine", accounts=("*",)).fits(alert)
    assert Route("all").fits(alert)


def test_the_first_route_that_fits_hears_it_and_the_others_stand_in() -> None:
    """In the order of the configuration; without a route nothing leaves."""
    pager = a_pager(Route("night", frozenset({EMERGENCY})), DESK, BOSS)
    (page,) = push(pager, an_alert())
    assert (page.to, page.instead) == (("desk",), ("boss",))
    assert a_pager(Route("night", frozenset({EMERGENCY}))).plan([an_alert()], DAY) == []


def test_also_has_the_next_one_hear_it_too() -> None:
    """And the one after that, if that has `also` as well; those filtered out do not count."""
    pager = a_pager(replace(PHONE, also=True), Route("never", frozenset()), replace(DESK, also=True), BOSS, Route("x"))
    (page,) = push(pager, an_alert())
    assert (page.to, page.instead) == (("phone", "desk", "boss"), ("x",))


def test_each_escalation_goes_one_further_and_stays_with_the_last() -> None:
    """A repeat after it goes to all that it has reached."""
    pager = a_pager(PHONE, DESK, BOSS)
    (first,) = push(pager, an_alert(severity=CRITICAL))
    (second,) = push(pager, an_alert(severity=CRITICAL, step=Step.ESCALATED, escalation=1))
    (again,) = push(pager, an_alert(severity=CRITICAL, step=Step.REPEATED, escalation=1))
    (fifth,) = push(pager, an_alert(severity=CRITICAL, step=Step.ESCALATED, escalation=5))
    assert [page.to for page in (first, second, again, fifth)] == [("phone",), ("desk",), ("phone", "desk"), ("boss",)]
    assert second.instead == ("boss", "phone")
    assert "nobody has acknowledged it" in second.title


def test_those_who_heard_hear_that_it_worsens() -> None:
    """Escalation had reached the second; the emergency goes to both, and not to the third."""
    pager = a_pager(PHONE, DESK, BOSS)
    push(pager, an_alert(severity=CRITICAL))
    push(pager, an_alert(severity=CRITICAL, step=Step.ESCALATED, escalation=1))
    (worse,) = push(pager, an_alert(severity=EMERGENCY, step=Step.WORSENED))
    (again,) = push(pager, an_alert(severity=EMERGENCY, step=Step.REPEATED))
    assert (worse.to, again.to) == (("phone", "desk"), ("phone",))


def test_there_are_as_many_escalations_as_routes_that_want_the_alert() -> None:
    """Routes of other accounts, of other severities, and those that only hear it too do not count."""
    routes = (
        Route("mine", accounts=("main",)),
        Route("hers", accounts=("desk",)),
        Route("worst", frozenset({EMERGENCY})),
        replace(DESK, also=True),
        BOSS,
    )
    assert escalations(routes, an_alert()) == 1
    assert escalations(routes, an_alert(severity=EMERGENCY)) == 2
    assert escalations(routes, an_alert(account="desk")) == 1
    assert escalations((PHONE,), an_alert()) == escalations((), an_alert()) == 0


def test_those_who_heard_hear_the_end() -> None:
    """Also when their filters would not take it; whoever stood in is among them."""
    pager = a_pager(Route("bad", frozenset({CRITICAL})), BOSS, Route("desk", frozenset({CRITICAL})))
    (page,) = pager.plan([an_alert(severity=CRITICAL)], DAY)
    pager.took(page, "desk")
    (eased,) = push(pager, an_alert(step=Step.EASED, at=DAY + 1))
    (over,) = push(pager, an_alert(step=Step.RESOLVED, at=DAY + 2))
    assert eased.to == over.to == ("desk",)


def test_the_end_of_what_an_earlier_run_said_goes_everywhere_it_may_have_gone() -> None:
    """Nobody remembers who heard it."""
    pager = a_pager(PHONE, DESK, BOSS)
    (page,) = push(pager, an_alert(severity=CRITICAL, step=Step.RESOLVED, escalation=1))
    assert page.to == ("phone", "desk")


def test_ends_may_be_left_out() -> None:
    """`resolved = false`."""
    pager = a_pager(resolved=False)
    push(pager, an_alert())
    assert push(pager, an_alert(step=Step.RESOLVED)) == []


# -- one page -------------------------------------------------------------------------------------


def test_one_batch_is_one_page_for_each_account() -> None:
    """Highest severity and count in the title, texts with the worst first, and below each its own advice."""
    pager = a_pager()
    main = [an_alert("P1"), an_alert("P2", CRITICAL), an_alert("P3", NOTICE)]
    pages = push(pager, *main, an_alert("P1", account="desk"))
    assert [page.title for page in pages] == ["Critical · main · 3 alerts", "Warning · desk"]
    assert pages[0].body == (
        "critical: 0.750 margin ratio · P2\nAdd margin to P2.\n"
        "warning: 0.750 margin ratio · P1\nAdd margin to P1.\n"
        "notice: 0.750 margin ratio · P3\nAdd margin to P3."
    )
    assert pages[1].body == "0.750 margin ratio · P1\nAdd margin to P1."
    assert [page.severity for page in pages] == [CRITICAL, WARNING]


def test_an_end_has_no_severity() -> None:
    """A page that only brings good news says so."""
    pager = a_pager()
    push(pager, an_alert())
    (page,) = push(pager, an_alert(step=Step.RESOLVED, text="0.1 margin ratio · P1 · resolved", advice=""))
    assert (page.title, page.body, page.severity) == ("Resolved · main", "0.1 margin ratio · P1 · resolved", None)


def test_a_page_has_an_end() -> None:
    """A hundred pools: what does not fit is counted, and no advice is without its alert."""
    (page,) = push(a_pager(), *(an_alert(f"P{n}", advice="Add.") for n in range(100)))
    assert len(page.body) < module.BODY_CHARACTERS_MAX + 50
    *shown, more = page.body.split("\n")
    assert more == f"and {100 - len(shown) // 2} more"
    assert shown[1::2] == ["Add."] * (len(shown) // 2)
    assert len(page.alerts) == 100


def test_what_is_old_says_so() -> None:
    """After an outage a page may bring what was true a while ago."""
    (page,) = push(a_pager(), an_alert(at=DAY - 720), now=DAY)
    assert "0.750 margin ratio · P1 (12 min ago)" in page.body


def test_of_several_words_the_last_leaves_and_the_worst_if_it_was_critical() -> None:
    """What came and went while nobody could be reached is one page."""
    pager = a_pager()
    (page,) = push(pager, an_alert(severity=NOTICE), an_alert(severity=WARNING, step=Step.WORSENED))
    assert [alert.severity for alert in page.alerts] == [WARNING]
    (page,) = push(
        pager,
        an_alert(severity=EMERGENCY, step=Step.WORSENED, at=DAY + 1),
        an_alert(severity=NOTICE, step=Step.EASED, at=DAY + 2),
    )
    assert [alert.severity for alert in page.alerts] == [EMERGENCY, NOTICE]
    assert page.severity is NOTICE


def test_what_nobody_heard_of_is_not_said_to_be_over() -> None:
    """Raised and resolved in one batch: silence, unless it was critical."""
    pager = a_pager()
    assert push(pager, an_alert(), an_alert(step=Step.RESOLVED)) == []
    assert keys(push(pager, an_alert(severity=CRITICAL), an_alert(severity=CRITICAL, step=Step.RESOLVED))) == [{"P1"}]


# -- at least once, not twice ---------------------------------------------------------------------


def test_what_was_taken_is_not_pushed_again_and_what_was_not_is() -> None:
    """One of two pages fails; the batch comes again."""
    pager = a_pager()
    batch = [an_alert("P1"), an_alert("P2", account="desk")]
    first, second = pager.plan(batch, DAY)
    pager.took(first, "phone")
    pager.failed(second)
    again = pager.plan(batch, DAY + 5)
    assert keys(again) == [{"P2"}]
    taken(pager, again)
    assert pager.plan(batch, DAY + 10) == []


def test_a_repeat_is_pushed() -> None:
    """It has the id of what it repeats, and is a later word all the same."""
    pager = a_pager()
    raised = an_alert()
    push(pager, raised)
    repeat = replace(raised, step=Step.REPEATED, at=DAY + 3600)
    assert len(push(pager, repeat)) == 1
    assert push(pager, repeat) == []


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past it the oldest is forgotten, and may be said twice."""
    monkeypatch.setattr(module, "SAID_MAX", 2)
    pager = a_pager()
    said = [an_alert(f"P{n}") for n in range(3)]
    for alert in said:
        push(pager, alert)
    assert keys(push(pager, *said)) == [{"P0"}]


# -- people's orders ------------------------------------------------------------------------------


def test_what_people_handle_does_not_disturb_them() -> None:
    """Silenced, and the steps that are their own doing; the end of a silence is news."""
    pager = a_pager()
    assert push(pager, an_alert(silenced=SILENCE)) == []
    assert push(pager, an_alert(step=Step.SILENCED, silenced=SILENCE)) == []
    assert push(pager, an_alert(step=Step.ACKNOWLEDGED, acknowledged=Acknowledgement("ana", DAY))) == []
    assert push(pager, an_alert(step=Step.RESOLVED, silenced=SILENCE)) == []
    assert len(push(pager, an_alert(step=Step.HEARD_AGAIN))) == 1


@pytest.mark.parametrize("step", [Step.SILENCED, Step.ACKNOWLEDGED])
def test_what_is_handled_is_not_held_any_longer(step: Step) -> None:
    """Acknowledged at night: nobody needs to hear of it in the morning."""
    pager = a_pager(quiet=QUIET)
    assert push(pager, an_alert(at=NIGHT)) == []
    handled = an_alert(step=step, at=NIGHT + 60, acknowledged=Acknowledgement("ana", NIGHT))
    assert push(pager, handled) == []
    assert pager.held == ()
    assert pager.due([handled], MORNING) == []


# -- the cap --------------------------------------------------------------------------------------


def test_the_cap_holds_and_one_page_says_it_when_there_is_room() -> None:
    """Three places: the fourth and fifth wait for the first of the hour to pass, and leave together."""
    pager = a_pager(per_hour=3)
    said = [an_alert(f"P{n}", at=DAY + n) for n in range(5)]
    left = [page for alert in said for page in push(pager, alert)]
    assert keys(left) == [{"P0"}, {"P1"}, {"P2"}]
    assert pager.due(said, DAY + HOUR_S - 1) == []
    (page,) = taken(pager, pager.due(said, DAY + HOUR_S))
    assert keys([page]) == [{"P3", "P4"}]
    assert page.title == "Warning · main · 2 alerts · held back until now"
    assert pager.held == ()


def test_what_ended_meanwhile_is_not_said() -> None:
    """Nobody had heard of it, so nobody hears of its end either."""
    pager = a_pager(per_hour=1)
    push(pager, an_alert("P0"))
    assert push(pager, an_alert("P1", at=DAY + 1)) == []
    assert push(pager, an_alert("P1", step=Step.RESOLVED, at=DAY + 2)) == []
    assert pager.held == ()
    assert pager.due([], DAY + HOUR_S) == []


def test_the_end_of_what_was_heard_is_said_when_there_is_room() -> None:
    """A held end is not dropped, since somebody waits for it."""
    pager = a_pager(per_hour=1)
    push(pager, an_alert("P0"))
    assert push(pager, an_alert("P0", step=Step.RESOLVED, at=DAY + 2)) == []
    (page,) = taken(pager, pager.due([], DAY + HOUR_S))
    assert page.severity is None


@pytest.mark.parametrize(
    ("severity", "step"),
    [
        pytest.param(EMERGENCY, Step.RAISED, id="an emergency"),
        pytest.param(EMERGENCY, Step.REPEATED, id="an emergency's repeat"),
        pytest.param(CRITICAL, Step.RAISED, id="a new critical alert"),
        pytest.param(WARNING, Step.WORSENED, id="a worsening"),
        pytest.param(CRITICAL, Step.ESCALATED, id="an escalation"),
    ],
)
def test_what_matters_passes_the_cap(severity: Severity, step: Step) -> None:
    """And takes what waits in the same batch along."""
    pager = a_pager(per_hour=1)
    push(pager, an_alert("P0"))
    assert keys(push(pager, an_alert("P1"), an_alert("P2", severity, step))) == [{"P1", "P2"}]


def test_a_worsening_passes_the_cap_once_an_hour() -> None:
    """What swings between two rungs worsens again and again; an emergency always passes."""
    pager = a_pager(per_hour=1)
    push(pager, an_alert("P0"))
    worse = [an_alert("P1", CRITICAL, Step.WORSENED, DAY + 60 * n) for n in range(60)]
    assert len([page for alert in worse for page in push(pager, alert)]) == 1
    emergencies = [an_alert("P1", EMERGENCY, Step.WORSENED, DAY + 60 * n) for n in range(5)]
    assert len([page for alert in emergencies for page in push(pager, alert)]) == 5


def test_a_failed_push_gives_its_place_back() -> None:
    """And what it was to pass the cap with."""
    pager = a_pager(per_hour=1)
    alert = an_alert("P0")
    for _ in range(3):
        (page,) = pager.plan([alert], DAY)
        pager.failed(page)
    assert len(push(pager, alert)) == 1
    worse = an_alert("P1", CRITICAL, Step.WORSENED)
    (page,) = pager.plan([worse], DAY)
    pager.failed(page)
    assert len(push(pager, worse)) == 1


# -- quiet hours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("21:59", False), ("22:00", True), ("23:59", True), ("00:00", True), ("06:59", True), ("07:00", False)],
)
def test_quiet_hours_cross_midnight(clock: str, quiet: bool) -> None:
    """From their first minute to before their last."""
    at = datetime.fromisoformat(f"2026-03-10T{clock}:00+00:00").timestamp()
    assert QUIET.covers(at) is quiet
    assert QuietHours(7 * 60, 22 * 60, UTC).covers(at) is not quiet


@pytest.mark.parametrize(
    ("utc", "quiet"),
    [
        pytest.param("2026-03-28T20:59", False, id="21:59 in winter"),
        pytest.param("2026-03-28T21:00", True, id="22:00 in winter"),
        pytest.param("2026-03-29T04:59", True, id="06:59 in summer, an hour earlier in UTC"),
        pytest.param("2026-03-29T05:00", False, id="07:00 in summer"),
        pytest.param("2026-10-25T05:59", True, id="06:59 in winter again"),
        pytest.param("2026-10-25T06:00", False, id="07:00 in winter again"),
    ],
)
def test_quiet_hours_follow_the_clock_on_the_wall(utc: str, quiet: bool) -> None:
    """In Berlin the clock is put forward on 29 March 2026 and back on 25 October."""
    berlin = QuietHours(22 * 60, 7 * 60, ZoneInfo("Europe/Berlin"))
    assert berlin.covers(datetime.fromisoformat(f"{utc}:00+00:00").timestamp()) is quiet


def test_the_night_is_said_in_the_morning_in_one_page() -> None:
    """With the present words, and only what still fires."""
    pager = a_pager(quiet=QUIET)
    notice, warning, gone = an_alert("P1", NOTICE, at=NIGHT), an_alert("P2", at=NIGHT + 5), an_alert("P3", at=NIGHT + 9)
    assert [page for alert in (notice, warning, gone) for page in push(pager, alert)] == []
    assert push(pager, an_alert("P3", step=Step.RESOLVED, at=NIGHT + 600)) == []
    now_worse = an_alert("P2", step=Step.REPEATED, at=MORNING - 60, text="0.790 margin ratio · P2")
    assert push(pager, now_worse) == []
    assert pager.due([notice, now_worse], MORNING - 1) == []
    (page,) = taken(pager, pager.due([notice, now_worse], MORNING))
    assert keys([page]) == [{"P1", "P2"}]
    assert page.body.startswith("warning: 0.790 margin ratio · P2")
    assert pager.due([notice, now_worse], MORNING + 2) == []


def test_what_is_critical_leaves_at_night_and_takes_its_batch_along() -> None:
    """The phone rings anyway."""
    pager = a_pager(quiet=QUIET)
    (page,) = push(pager, an_alert("P1", CRITICAL, at=NIGHT), an_alert("P2", NOTICE, at=NIGHT))
    assert keys([page]) == [{"P1", "P2"}]


def test_a_restart_holds_what_fell_into_quiet_hours() -> None:
    """What fired at night and was held by an earlier run is held again, and said in the morning."""
    at_night, at_day = an_alert("P1", at=NIGHT), an_alert("P2", at=NIGHT - 7200)
    pager = Pager((PHONE,), PagingPolicy(20, QUIET))
    assert pager.due([at_night, at_day], NIGHT + 600) == []
    assert pager.due([at_night, at_day], NIGHT + 602) == []
    assert keys(taken(pager, pager.due([at_night, at_day], MORNING))) == [{"P1"}]


def test_a_word_that_is_on_its_way_is_not_said_twice() -> None:
    """It worsened at night: the present word comes with the next batch, not from what was held."""
    pager = a_pager(quiet=QUIET)
    assert push(pager, an_alert(at=NIGHT)) == []
    worse = an_alert(severity=CRITICAL, step=Step.WORSENED, at=NIGHT + 60)
    assert pager.due([worse], NIGHT + 61) == []
    assert len(push(pager, worse)) == 1
    assert pager.held == ()


def test_what_another_monitor_held_is_taken_over() -> None:
    """Nothing of it ever came in a batch, and it is said in the morning."""
    pager = a_pager(quiet=QUIET)
    assert pager.due([], NIGHT) == []
    elsewhere = an_alert(at=NIGHT + 60)
    assert pager.due([elsewhere], NIGHT + 600) == []
    assert keys(taken(pager, pager.due([elsewhere], MORNING))) == [{"P1"}]


def test_a_restart_in_the_morning_gives_a_batch_its_turn() -> None:
    """What is found to have been held is said when it is still not said the next time."""
    at_night = an_alert("P1", at=NIGHT)
    pager = a_pager(quiet=QUIET)
    assert pager.due([at_night], MORNING) == []
    assert keys(pager.due([at_night], MORNING + 2)) == [{"P1"}]


def test_what_came_and_went_at_night_is_not_said() -> None:
    """Also when it was repeated and eased before its end."""
    pager = a_pager(quiet=QUIET)
    for minute, step in enumerate((Step.RAISED, Step.REPEATED, Step.EASED, Step.RESOLVED)):
        assert push(pager, an_alert(step=step, at=NIGHT + 60 * minute)) == []
    assert pager.held == ()


def test_a_restart_does_not_hold_what_is_being_said() -> None:
    """Or what somebody has acknowledged."""
    at_night = an_alert("P1", at=NIGHT)
    handled = an_alert("P2", at=NIGHT, acknowledged=Acknowledgement("ana", NIGHT))
    pager = Pager((PHONE,), PagingPolicy(20, QUIET))
    taken(pager, pager.plan([at_night], MORNING))
    assert pager.due([at_night, handled], MORNING) == pager.due([at_night, handled], MORNING + 2) == []


# -- several alerts about one pool ----------------------------------------------------------------


def of_distance(severity: Severity, step: Step = Step.RAISED, at: float = DAY, **changes: Any) -> Alert:
    """A word about how far the same pool is from liquidation."""
    return an_alert(severity=severity, step=step, at=at, key="distance:binance/main/P1", rule="distance", **changes)


@pytest.mark.parametrize("severity", [NOTICE, WARNING, CRITICAL])
def test_what_is_no_worse_than_what_is_known_of_a_pool_is_not_pushed(severity: Severity) -> None:
    """By whichever rule it is said; of another pool, or worse, it is."""
    pager = a_pager()
    push(pager, of_distance(CRITICAL))
    assert push(pager, an_alert(severity=severity)) == []
    assert keys(push(pager, an_alert("P2", severity))) == [{"P2"}]
    assert keys(push(pager, an_alert(severity=EMERGENCY, step=Step.WORSENED))) == [{"P1"}]


def test_one_outage_is_one_page() -> None:
    """Marks, events and snapshots of an account stop one after the other; another account's are another page."""
    pager, pages = a_pager(), []
    for second, stream in enumerate(("mark", "user", "account")):
        for account in ("main", "desk"):
            key = f"stale_feed:binance/{account}/{stream}"
            blind = an_alert(severity=CRITICAL, at=DAY + second, key=key, rule="stale_feed", account=account, pool=None)
            pages += push(pager, blind)
    assert [page.title for page in pages] == ["Critical · main", "Critical · desk"]
    notice = an_alert(severity=CRITICAL, key="venue_notice:binance/main/x", rule="venue_notice", pool=None)
    assert len(push(pager, notice)) == 1


def test_what_was_covered_is_said_when_it_is_the_worst_that_is_left() -> None:
    """The alert that covered it eases below it, or is over; what ends meanwhile, nobody hears of."""
    pager, worst, other = a_pager(), of_distance(CRITICAL), an_alert(at=DAY + 1)
    push(pager, worst)
    assert push(pager, other) == []
    assert pager.due([worst, other], DAY + 2) == []
    eased = of_distance(NOTICE, Step.EASED, DAY + 60)
    push(pager, eased)
    assert [page.alerts for page in taken(pager, pager.due([other, eased], DAY + 62))] == [(other,)]
    again = of_distance(CRITICAL, Step.WORSENED, DAY + 70)
    push(pager, again)
    eased = an_alert(severity=NOTICE, step=Step.EASED, at=DAY + 80)
    assert push(pager, eased) == []
    assert push(pager, of_distance(CRITICAL, Step.RESOLVED, DAY + 90)) != []
    assert [page.alerts for page in pager.due([eased], DAY + 92)] == [(eased,)]
    unheard, worst = a_pager(), of_distance(CRITICAL)
    push(unheard, worst)
    assert push(unheard, other) == []
    assert push(unheard, replace(other, step=Step.RESOLVED, state=State.RESOLVED, serial=other.serial + 99)) == []


def test_of_two_as_bad_the_first_is_repeated() -> None:
    """Two emergencies of one pool, each repeated every two minutes, are one page every two minutes."""
    pager = a_pager()
    push(pager, of_distance(EMERGENCY))
    pages = push(pager, an_alert(severity=EMERGENCY, step=Step.WORSENED, at=DAY + 1))
    for minute in range(2, 12, 2):
        pages += push(pager, of_distance(EMERGENCY, Step.REPEATED, DAY + 60 * minute))
        pages += push(pager, an_alert(severity=EMERGENCY, step=Step.REPEATED, at=DAY + 60 * minute + 1))
    assert [{alert.rule for alert in page.alerts} for page in pages] == [{"distance"}] * 5


@pytest.mark.parametrize("rule", ["unknown", "model_error", "rules_changed", "venue_notice"])
def test_what_tells_of_something_else_is_not_covered_and_covers_nothing(rule: str) -> None:
    """Who knows that the model disagrees with the venue does not know that the margin ratio is past a rung."""
    pager = a_pager()
    for alert in (
        an_alert(severity=CRITICAL, key=f"{rule}:binance/main/P1", rule=rule),
        an_alert(),
        of_distance(NOTICE),
    ):
        before = [page.alerts for page in push(pager, alert)]
        assert before == ([] if alert.rule == "distance" else [(alert,)])
    late = an_alert(severity=NOTICE, key=f"{rule}:binance/main/P1", rule=rule, step=Step.EASED)
    assert [page.alerts for page in push(pager, late)] == [(late,)]


def test_an_acknowledgement_covers_what_was_there_and_nothing_later() -> None:
    """Of a pool, and of an account that cannot be seen: what is raised, or changes, after it is news."""
    pager, seen = a_pager(), Acknowledgement("ann", DAY + 60)
    push(pager, of_distance(CRITICAL))
    ratio = an_alert(severity=CRITICAL, at=DAY + 30)
    assert push(pager, ratio) == []
    known = of_distance(CRITICAL, Step.ACKNOWLEDGED, acknowledged=seen)
    known = replace(known, serial=known.serial - 2)  # handling is no change
    assert pager.due([known, ratio], DAY + 62) == []
    again = replace(ratio, step=Step.REPEATED, at=DAY + 330)
    assert push(pager, again) == pager.due([known, again], DAY + 332) == []
    eased, worse = (
        an_alert(step=Step.EASED, at=DAY + 400),
        an_alert(severity=CRITICAL, step=Step.WORSENED, at=DAY + 500),
    )
    assert [page.alerts for alert in (eased, worse) for page in push(pager, alert)] == [(eased,), (worse,)]


def test_another_stream_that_falls_silent_after_the_acknowledgement_is_news() -> None:
    """Whoever has seen that events are missing has not seen that marks are."""
    pager = a_pager()
    events = an_alert(severity=EMERGENCY, key="stale_feed:binance/main/user", rule="stale_feed", pool=None)
    push(pager, events)
    pager.due([replace(events, acknowledged=Acknowledgement("ann", DAY + 10))], DAY + 12)
    marks = an_alert(severity=EMERGENCY, at=DAY + 60, key="stale_feed:binance/main/mark", rule="stale_feed", pool=None)
    assert [page.alerts for page in push(pager, marks)] == [(marks,)]


def test_what_is_silenced_covers_nothing() -> None:
    """A silence over one alert says nothing of the other one, which nobody silenced."""
    pager, known, other = a_pager(), of_distance(CRITICAL), an_alert(at=DAY + 1)
    push(pager, known)
    assert push(pager, other) == []
    silenced = replace(known, silenced=SILENCE)
    assert [page.alerts for page in pager.due([silenced, other], DAY + 2)] == [(other,)]


def test_what_one_person_knows_is_not_known_to_another() -> None:
    """The trader hears of ratios and the risk officer of distances: each hears all of theirs."""
    pager = a_pager(Route("trader", rules=("margin_ratio",)), Route("risk", rules=("distance",)))
    first, second = an_alert(severity=EMERGENCY), of_distance(EMERGENCY, at=DAY + 1)
    assert [page.to for alert in (first, second) for page in push(pager, alert)] == [("trader",), ("risk",)]
    both = a_pager(replace(PHONE, also=True), Route("ratios", rules=("margin_ratio",), also=True), DESK)
    push(both, second)
    assert [page.to for page in push(both, first)] == [("phone", "ratios", "desk")]


def test_what_nobody_heard_of_does_not_escalate_past_those_who_know_the_danger() -> None:
    """It is said to the first as soon as nothing covers it any more, however often it was to be passed on meanwhile."""
    pager, known, other = a_pager(PHONE, DESK), of_distance(CRITICAL), an_alert(severity=CRITICAL, at=DAY + 1)
    push(pager, known)
    assert push(pager, other) == []
    passed_on = an_alert(severity=CRITICAL, step=Step.ESCALATED, escalation=1, at=DAY + 301)
    assert push(pager, passed_on) == []
    push(pager, of_distance(CRITICAL, Step.RESOLVED, DAY + 310))
    assert [page.to for page in pager.due([passed_on], DAY + 312)] == [("phone", "desk")]


def test_a_push_that_is_taken_late_covers_nothing_when_its_alert_is_over() -> None:
    """The server answered when another route had already said the end."""
    pager = a_pager(PHONE, DESK)
    (late,) = pager.plan([of_distance(CRITICAL)], DAY)
    pager.took(late, "desk")
    push(pager, of_distance(CRITICAL, Step.RESOLVED, DAY + 5))
    pager.took(late, "phone")
    assert len(push(pager, an_alert(at=DAY + 600))) == 1
    assert push(pager, of_distance(NOTICE, at=DAY + 700), of_distance(NOTICE, Step.RESOLVED, DAY + 701)) == []


def test_what_another_monitor_ended_covers_nothing_when_this_one_speaks_again() -> None:
    """This one's push said the emergency; that it was over, the other one's did."""
    pager = a_pager()
    push(pager, of_distance(EMERGENCY))
    pager, ratio = restarted(pager, DAY + 7000), an_alert(severity=CRITICAL, at=DAY + 7200)
    assert [page.alerts for page in push(pager, ratio)] == [(ratio,)]
    anew = of_distance(EMERGENCY, at=DAY + 7300)
    assert [page.alerts for page in push(pager, anew)] == [(anew,)]


def test_what_is_acknowledged_stays_quiet_when_a_silence_over_it_ends() -> None:
    """And nobody hears the end of an episode they never heard of, whatever they heard of the one before."""
    pager = a_pager()
    push(pager, an_alert())
    seen = Acknowledgement("ann", DAY)
    assert push(pager, an_alert(step=Step.HEARD_AGAIN, at=DAY + 60, acknowledged=seen)) == []
    assert push(pager, an_alert(step=Step.RESOLVED, at=DAY + 90, silenced=SILENCE)) == []
    night = a_pager(quiet=QUIET)
    push(night, an_alert(at=NIGHT - 7200))
    assert push(night, an_alert(step=Step.RESOLVED, at=NIGHT - 3600, silenced=SILENCE)) == []
    assert push(night, an_alert(at=NIGHT + 60), an_alert(step=Step.RESOLVED, at=NIGHT + 90)) == []
    assert night.due([], MORNING) == []


# -- restarts -------------------------------------------------------------------------------------


def restarted(pager: Pager, now: float, *routes: Route, per_hour: int = 20) -> Pager:
    """What the next run makes of it, by way of the state file."""
    heir = a_pager(*routes, per_hour=per_hour, quiet=QUIET)
    heir.recall(orjson.loads(orjson.dumps(pager.remember())), now)
    return heir


def test_what_the_cap_held_is_said_by_the_next_run_when_there_is_room() -> None:
    """The places of the hour stay taken over a restart."""
    pager = a_pager(per_hour=1)
    first, second = an_alert("P1"), an_alert("P2")
    assert keys(push(pager, first)) == [{"P1"}]
    assert push(pager, second) == []
    pager = restarted(pager, DAY + 60, per_hour=1)
    assert pager.due([first, second], DAY + 60) == []
    assert keys(pager.due([first, second], DAY + HOUR_S)) == [{"P2"}]


def test_the_end_goes_to_those_whom_an_earlier_run_told() -> None:
    """And to nobody else, and what was taken is not said again."""
    pager = a_pager(PHONE, DESK)
    fires = an_alert()
    (page,) = pager.plan([fires], DAY)
    pager.took(page, "desk")
    pager = restarted(pager, DAY, PHONE, DESK)
    assert pager.plan([fires], DAY) == []
    (over,) = push(pager, an_alert(step=Step.RESOLVED, at=DAY + 60))
    assert over.to == ("desk",)


def test_a_route_that_is_no_more_has_heard_nothing() -> None:
    """Renamed or removed: what it knew, whoever is first now is told, the end included."""
    pager, fires = a_pager(Route("old")), an_alert()
    push(pager, fires)
    pager = restarted(pager, DAY, Route("new"))
    (over,) = push(pager, an_alert(step=Step.RESOLVED, at=DAY + 60))
    assert over.to == ("new",)
    assert len(push(pager, an_alert("P2", EMERGENCY))) == 1


def test_a_clock_that_was_set_back_takes_no_places() -> None:
    """What another run did in what is the future now counts for nothing."""
    pager = a_pager(per_hour=1)
    push(pager, an_alert("P1"))
    pager = restarted(pager, DAY - 7200, per_hour=1)
    assert len(push(pager, an_alert("P2", at=DAY - 7200))) == 1


def test_what_people_know_of_a_pool_is_known_after_a_restart() -> None:
    """It covers what is no worse, as before."""
    pager, known = a_pager(), an_alert(severity=CRITICAL)
    push(pager, known)
    pager = restarted(pager, DAY)
    assert pager.due([known], DAY) == []
    assert push(pager, of_distance(WARNING)) == []


@pytest.mark.parametrize("memory", [{}, {"said": {"k": 1}}, {"said": {}, "held": {"k": ["nonsense", True, False]}}])
def test_a_memory_that_cannot_be_read_is_refused(memory: dict[str, Any]) -> None:
    """And nothing of it is taken up."""
    pager = a_pager()
    with pytest.raises((ValueError, KeyError, TypeError)):
        pager.recall(memory, DAY)
    assert pager.remember() == a_pager().remember()


# -- properties -----------------------------------------------------------------------------------

_words = st.tuples(
    st.sampled_from(["P1", "P2", "P3"]),
    st.sampled_from(list(Severity)),
    st.sampled_from([step for step in Step if step not in (Step.SILENCED, Step.ACKNOWLEDGED)]),
    st.integers(1, 900),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_words, max_size=60), st.integers(1, 4))
def test_nothing_that_still_fires_is_lost(
    words: list[tuple[str, Severity, Step, int, bool, bool]], per_hour: int
) -> None:
    """Whatever comes, fails, waits or is restarted: a day later people have had the last word about all that fires."""
    pager = a_pager(per_hour=per_hour, quiet=QUIET)
    now, firing = DAY, dict[str, Alert]()
    waiting: list[Alert] = []
    had: dict[str, Alert] = {}

    def go(pages: Sequence[Page], *, works: bool) -> bool:
        for page in pages:
            if works:
                taken(pager, [page])
                had.update({alert.key: alert for alert in page.alerts})
            else:
                pager.failed(page)
        return works or not pages

    for scope, severity, step, wait, works, ends in words:
        if ends:
            pager = restarted(pager, now, per_hour=per_hour)
        now += wait
        alert = an_alert(scope, severity, step, now)
        if alert.state is State.FIRING:
            firing[alert.key] = alert
        else:
            firing.pop(alert.key, None)
        waiting.append(alert)
        if go(pager.plan(waiting, now), works=works):
            waiting = []
        go(pager.due(list(firing.values()), now), works=works)
    go(pager.plan(waiting, now), works=True)
    for _ in range(24 * 4):
        now += 900
        go(pager.due(list(firing.values()), now), works=True)
    assert {key: had[key].severity for key in firing} == {key: alert.severity for key, alert in firing.items()}
    assert {key: had[key].at for key in firing} == {key: alert.at for key, alert in firing.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(_words, max_size=60), st.integers(1, 4))
def test_nobody_is_disturbed_more_than_agreed(
    words: list[tuple[str, Severity, Step, int, bool, bool]], per_hour: int
) -> None:
    """In any hour: the cap, and what may pass it; in quiet hours nothing below critical leaves alone."""
    pager = a_pager(per_hour=per_hour, quiet=QUIET)
    now, firing, left = DAY, dict[str, Alert](), list[Page]()
    for scope, severity, step, wait, _, ends in words:
        if ends:
            pager = restarted(pager, now, per_hour=per_hour)
        now += wait
        alert = an_alert(scope, severity, step, now)
        firing[alert.key] = alert
        pages = push(pager, alert) + taken(pager, pager.due(list(firing.values()), now))
        assert not QUIET.covers(now) or all(any(a.severity >= CRITICAL for a in page.alerts) for page in pages)
        left += pages
    for page in left:
        hour = [each for each in left if page.place - HOUR_S < each.place <= page.place]
        always = [
            each for each in hour if any(a.severity is EMERGENCY or a.step is Step.ESCALATED for a in each.alerts)
        ]
        once = 3 * 3  # three alerts, each once at each severity below emergency
        assert len(hour) <= per_hour + len(always) + once


# -- a price that swings around a rung ------------------------------------------------------------


def swing(amplitude: float, period_s: float, center: float = 0.70) -> tuple[Counter[str], int, int]:
    """An hour of ticks, one a second, of a ratio that swings around a rung.

    Returns how many alerts the engine says by step, how many messages a monitor without any of this would have sent
    (one for every crossing of the rung), and how many pages leave.
    """
    engine = Engine(AlertsConfig(), "box", salt="salt")
    pager = a_pager()
    steps: Counter[str] = Counter()
    crossings = pages = 0
    was_above = False
    for second in range(3600):
        now = DAY + second
        ratio = center + amplitude * sin(2 * pi * second / period_s)
        crossings += (ratio >= center) != was_above
        was_above = ratio >= center
        said = engine.on_pool(a_pool(ratio), now) + engine.due(now)
        steps.update(alert.step for alert in said)
        pages += len(push(pager, *said, now=now)) if said else 0
        pages += len(taken(pager, pager.due(engine.firing(), now)))
    return steps, crossings, pages


def test_a_price_that_trembles_at_a_rung_is_one_page() -> None:
    """Ten swings a minute of 2 % around the rung stay within the hysteresis: of 1,200 crossings one alert leaves."""
    steps, crossings, pages = swing(0.02, 6.0)
    assert crossings > 1_000
    assert steps == {Step.RAISED: 1}
    assert pages == 1


def test_a_price_that_swings_widely_is_calmed_by_the_engine() -> None:
    """Swings of 20 % in 40 s pass through the hysteresis but never stay calm for `calm_s`."""
    steps, crossings, pages = swing(0.14, 40.0)
    assert crossings > 150
    assert steps == {Step.RAISED: 1}
    assert pages == 1


@pytest.mark.parametrize("center", [0.50, 0.70, 0.85, 0.95])
@pytest.mark.parametrize(("amplitude", "period_s"), [(0.08, 120.0), (0.14, 120.0), (0.25, 120.0), (0.14, 300.0)])
def test_a_price_that_swings_slowly_flaps_less_and_less(center: float, amplitude: float, period_s: float) -> None:
    """At every rung: each return asks for more calm, so what is left are the repeats of what nobody acknowledges."""
    steps, crossings, pages = swing(amplitude, period_s, center)
    changes = sum(steps.values()) - steps[Step.REPEATED]
    repeats_s = AlertsConfig().repeat.emergency_s
    assert crossings > 20
    assert changes <= 12
    assert pages <= 6 + 3600 / repeats_s


def test_an_acknowledged_price_that_swings_is_left_in_peace() -> None:
    """Somebody deals with the emergency: that it eases a little and comes back is not said to them again."""
    engine, pager = Engine(AlertsConfig(), "box", salt="salt"), a_pager()
    pages = []
    for second in range(3600):
        now = DAY + second
        said = engine.on_pool(a_pool(0.9 + 0.07 * sin(2 * pi * second / 240.0)), now) + engine.due(now)
        if second == 120:
            said += [alert for each in engine.firing() for alert in engine.acknowledge(each.key, "ann", now)]
        pages += [page.place - DAY for page in (push(pager, *said, now=now) if said else [])]
        pages += [page.place - DAY for page in taken(pager, pager.due(engine.firing(), now))]
    assert pages
    assert max(pages) <= 120
