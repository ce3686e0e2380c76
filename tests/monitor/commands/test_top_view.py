"""The screen of `marginwatch top`: most dangerous first, nothing unknown or old that looks well, on any width."""

import io
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any

import orjson
import pytest
from rich.console import Console

from alerts.alert import Acknowledgement, Severity, Silence
from alerts.danger import Scale
from alerts.message import encode
from monitor.board.state import follow, sections, worst
from monitor.commands.top_view import UNCUT, Look, spark
from monitor.model.assessment import FeedHealth, FeedState
from monitor.views import pool_json, rows, unread
from tests.support.desk import NOW, Desk, alert, bad_day, many_pools


def document(desk: Desk) -> dict[str, Any]:
    """The state of a desk as the daemon writes it."""
    scale = Scale(desk.rungs(), desk.alerts)
    pools = {row.pool: pool_json(row) for row in rows(desk.table(), desk.assessments(), scale, 1000, desk.silent, NOW)}
    found = sections(
        desk.ready(),
        unread(desk.accounts()),
        desk.rungs(),
        desk.feeds,
        len(desk.alerts),
        map(encode, worst(desk.alerts)),
        desk.silent,
    )
    state: dict[str, Any] = orjson.loads(b"".join(follow(None, NOW, len(desk.pools), found, pools).full()))
    return state


def seen(desk: Desk, *, age_s: float = 0.0, trouble: str = "") -> Look:
    """What is known of a desk that answered so long before 100."""
    look = Look("http://desk:9464")
    look.take(document(desk), 100.0 - age_s)
    look.trouble = trouble
    return look


def screen(look: Look, width: int = 180, height: int | None = None, *, colour: bool = False) -> list[str]:
    """The lines on a terminal."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="256" if colour else None, highlight=False
    )
    with console.capture() as capture:
        console.print(look.screen(width, height, 100.0))
    return [line.rstrip() for line in capture.get().splitlines()]


def busy() -> Desk:
    """A bad day with one alert."""
    pools = bad_day()
    return Desk(pools, alerts=[alert(Severity.CRITICAL, pools[0])])


def test_an_alert_s_figure_has_its_time() -> None:
    """Beside the time since when it fires, where it is another."""
    desk = busy()
    desk.alerts = [replace(desk.alerts[0], said_at=desk.alerts[0].raised_at + 4)]
    assert screen(seen(desk))[1] == "14:13:15  critical   said 14:13:19: 87% binance/main/BTCUSDT:long"


def test_everything_on_a_wide_terminal() -> None:
    """Time, counts, alerts, streams in trouble, and each pool with its figures, the most dangerous first."""
    lines = screen(seen(busy()))
    assert lines[0] == "● live 14:13:20 UTC  5 pools · 1 alert · http://desk:9464"
    assert lines[1] == "14:13:15  critical   87% binance/main/BTCUSDT:long"
    assert lines[2:4] == ["stream binance/main/user: late, no data yet no snapshot yet", "1 of 2 streams live"]
    names = [line.split()[0] for line in lines[5:]]
    assert names == [f"binance/main/{n}" for n in ("DOGEUSDT:short", "NEWUSDT:long", "BTCUSDT:long", "USDT", "SOLUSDT:long")]  # fmt: skip # noqa: E501
    assert "no margin left  emergency" in lines[5]
    assert lines[6].count("unknown") == 3
    assert "░░░" in lines[6]
    for words in (
        "86.76 %  emergency · by distance",
        "0.15 %",
        "█┊·┊",
        "59,000.00",
        "58,909.50",
        "+0.00 USDT",
        "computed",
    ):
        assert words in lines[7]
    assert lines[9].count("none") == 2


@pytest.mark.parametrize("width", [36, 40, 60, 78, 80, 106, 124, 134, 142, 148, 160, 166, 200])
def test_any_width(width: int) -> None:
    """No line is longer than the terminal, and which pool it is and how bad it is always stand there."""
    look = seen(busy())
    look.remember(hour(look), 100.0)
    lines = screen(look, width)
    assert max(map(len, lines)) <= width
    (line,) = [line for line in lines if "86.76 %" in line]
    assert "BTC" in line
    assert ("0.15 %" in line) == (width >= 60)
    assert ("58,909.50" in line) == (width >= 106)
    assert ("▃▃▃▃▅▅▅▅▇▇▇▇████" in line) == (width >= 142)


def hour(look: Look, points: int = 180) -> dict[str, Any]:
    """A history in which every pool has risen from a quarter to beyond its margin in four steps."""
    assert look.state is not None
    steps = [step for step in (0.25, 0.5, 0.75, "Infinity") for _ in range(points // 4)]
    return {
        "step_s": 20.0,
        "pools": {pool["pool"]: steps for pool in look.state["pools"]},
    }


def test_an_hour_as_a_line() -> None:
    """Each cell is the highest ratio of its share; what is beyond the margin is full, what is unknown is a gap."""
    assert spark([0.0, 0.124, 0.126, 0.5, 0.999, 1.0, inf, -0.5], 8, 8) == "▁▁▂▅███▁"
    assert spark([0.1, 0.9, 0.1, 0.1], 4, 2) == "█▁"
    assert spark([0.1, None, None, None, 0.6, 0.1], 6, 3) == "▁ ▅"
    assert spark([0.6, 0.1], 6, 3) == "  ▅"  # began later than others
    assert spark([0.6, 0.1], 2, 4) == "▅▅▁▁"
    assert spark([], 180, 4) == spark([], 0, 4) == "    "


def test_the_head_says_how_much_of_the_hour_there_is() -> None:
    """A daemon that has just started has not seen an hour."""
    look = seen(busy())
    assert "last hour" in screen(look)[4]
    for points, words in ((180, "last hour"), (40, "last 13 min"), (4, "last 60 s")):
        look.remember(hour(look, points), 100.0)
        assert f" {words} " in screen(look)[4]
    assert "▃" not in "".join(screen(seen(busy())))


def test_the_history_is_asked_for_seldom() -> None:
    """Only where there is room, at once and then when a point is over; with many pools, a long answer, more seldom."""
    look = seen(busy())
    assert not look.wants_history(141, 100.0)
    assert look.wants_history(142, 100.0)
    look.remember(hour(look), 100.0)
    assert [look.wants_history(200, 100.0 + s) for s in (1, 19, 20)] == [False, False, True]
    many = seen(Desk(many_pools(1000)))
    many.remember(hour(many), 100.0)
    assert [many.wants_history(200, 100.0 + s) for s in (20, 54, 55)] == [False, False, True]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"pools": {}},
        {"step_s": 1, "pools": {"p": ["much"]}},
        {"step_s": 1, "pools": 5},
        {"step_s": 1, "pools": {"p": ["nan"]}},
    ],
)
def test_a_history_that_is_none(answer: dict[str, Any]) -> None:
    """It is refused, and the one that was known stays."""
    look = seen(busy())
    look.remember(hour(look), 100.0)
    with pytest.raises((KeyError, ValueError, TypeError, AttributeError)):
        look.remember(answer, 200.0)
    assert len(look.history) == 5


def test_what_others_wrote_does_not_play_with_the_terminal() -> None:
    """Authors, reasons, a venue's texts and names: whatever the daemon tells is shown without escape sequences."""
    evil = "\x1b[2J\x1b]0;own\x07\x9b31m"
    pools = bad_day()
    pools[0] = replace(pools[0], pool=f"binance/main/BTC{evil}", scope=f"BTC{evil}", unit=evil)
    desk = Desk(pools, reasons=(evil,), feeds=[FeedHealth("binance", "", "mark", FeedState.DOWN, 1.0, evil)])
    desk.silent = [Silence("s0", evil, NOW + 60, evil, evil, False, NOW)]
    seen_by = Acknowledgement(evil, NOW)
    desk.alerts = [replace(alert(Severity.CRITICAL, pools[0]), text=evil, acknowledged=seen_by)]
    text = "\n".join(screen(seen(desk)))
    assert not set(text) & set("\x1b\x07\x9b")
    assert text.count("?[2J") >= 7


def test_the_worst_of_ratio_distance_and_alerts() -> None:
    """A pool whose ratio alone looks mild stands where its distance or its alert puts it, and says why."""
    btc, _, _, sol, usdt = bad_day()
    mild = replace(btc, margin_ratio=0.765, distance=0.0061)
    desk = Desk([usdt, mild, sol], alerts=[alert(Severity.CRITICAL, sol)])
    lines = screen(seen(desk))[-3:]
    assert [line.split()[0].rsplit("/")[2] for line in lines] == ["BTCUSDT:long", "SOLUSDT:long", "USDT"]
    assert "76.50 %  emergency · by distance" in lines[0]
    assert "0.40 %  critical · by alert" in lines[1]
    assert "55.00 %  warning · by distance" in lines[2]
    narrow = screen(seen(desk), 40)[-3:]
    assert ["emergency" in narrow[0], "critical" in narrow[1], "warning" in narrow[2]] == [True] * 3


def test_without_a_terminal_nothing_is_cut() -> None:
    """However long names and sentences are."""
    pools = bad_day("an-account-with-a-very-long-name-of-its-own-" * 3)
    words = "words " * 100 + "end"
    desk = Desk(pools, reasons=(words,), alerts=[replace(alert(Severity.CRITICAL, pools[0]), text=words)])
    lines = screen(seen(desk), UNCUT)
    assert sum(line.rstrip().endswith("end") for line in lines) == 2
    assert {line.split()[0] for line in lines[-5:]} == {pool.pool for pool in pools}
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) < 800


def test_a_low_terminal() -> None:
    """What does not fit is counted, and what is worst stays."""
    lines = screen(seen(Desk(many_pools(50))), 100, 20)
    assert len(lines) <= 20
    assert "COIN49USDT" in lines[4]
    assert lines[-1].endswith("pools with less risk are not shown.")


def crowded(pools: int) -> Look:
    """A desk with so many pools, eight alerts, five silences, two reasons for blindness and a stream in trouble."""
    found = many_pools(pools)
    desk = Desk(found, alerts=[alert(Severity.CRITICAL, bad_day()[0], rule=f"rule{n}") for n in range(8)])
    desk.silent = [Silence(f"s{n}", f"binance/desk{n}", NOW + 600, "bob", "because", False, NOW) for n in range(5)]
    desk.reasons = ("binance/desk0: no snapshot yet", "binance/desk1: no snapshot yet")
    return seen(desk)


@pytest.mark.parametrize("width", [36, 100])
@pytest.mark.parametrize("pools", [0, 1, 7, 50])
def test_any_height(width: int, pools: int) -> None:
    """No line is lost: blindness first, then pools by danger, and what is left out is counted; the terminal is full."""
    look = crowded(pools)
    for height in range(8 if width == 36 else 5, 30):
        lines = screen(look, width, height)
        text = " ".join(lines)
        shown = {
            "pool": sum("COIN" in line and "%" in line for line in lines),
            "alert": sum(line.startswith("14:13:15  critical ") for line in lines),
            "silence": sum(line.startswith("silent ") for line in lines),
            "reason": sum(line.startswith(" BLIND ") for line in lines),
            "stream": sum(line.startswith("stream binance") for line in lines),
        }
        assert len(lines) <= height
        assert shown["reason"] >= 1
        assert shown["pool"] >= min(pools, (height - 6) * 0.6, 1 if height > 6 else 0), (height, lines)
        there = {"pool": pools, "alert": 8, "silence": 5, "reason": 2, "stream": 1}
        for what, count in there.items():
            left = count - shown[what]
            counted = re.search(rf"(\d+) {what}s? ?(with|for|in|,|and|are|is|$)[^·]* not shown", text)
            assert (int(counted.group(1)) if counted else 0) == left, (height, what, text)
        if len(lines) < height - 1:
            capped = {"pool": pools, "alert": 6, "silence": 4, "reason": 2, "stream": 1}
            assert shown == capped, (height, lines)


def test_grammar_of_what_is_not_shown() -> None:
    """One is one."""
    look = seen(Desk())
    assert look.state is not None
    look.state["total"] += 1
    assert screen(look)[-1] == "1 pool with less risk is not shown."
    look.state["total"] += 1_000
    assert screen(look)[-1] == "1,001 pools with less risk are not shown."
    assert screen(seen(Desk(many_pools(1))))[0].endswith(" 1 pool · 0 alerts · http://desk:9464")
    desk = Desk(alerts=[alert(Severity.CRITICAL, bad_day()[0], rule=f"rule{n}") for n in range(7)])
    desk.silent = [Silence(f"s{n}", "binance/main", NOW + 600, "bob", "because", False, NOW) for n in range(5)]
    assert screen(seen(desk))[-1] == "1 alert and 1 silence are not shown."


def test_blind() -> None:
    """Every reason stands at the top, up to a few; the others are counted."""
    desk = busy()
    desk.reasons = tuple(f"binance/a{n}: no snapshot yet" for n in range(6))
    lines = screen(seen(desk))
    assert [line.startswith(" BLIND ") for line in lines[:6]] == [False, *[True] * 4, False]
    assert lines[-1] == "2 reasons for blindness are not shown."


@pytest.fixture
def _in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_in_new_york")
def test_times_are_this_machine_s() -> None:
    """The first line names the zone; a time has its day where that is not today."""
    desk = busy()
    desk.alerts.append(replace(desk.alerts[0], raised_at=NOW - 86_400))
    desk.silent = [Silence("s0", "binance/main", NOW + 60, "bob", "because", False, NOW)]
    lines = screen(seen(desk))
    assert lines[0].startswith("● live 10:13:20 EDT (UTC-04:00)  5 pools")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["10:13:15", "2026-09-20 10:13:20"]
    assert lines[3].startswith("silent binance/main until 10:14:20, by bob")
    assert "EDT" not in "".join(lines[1:])
    old = screen(seen(desk, age_s=9.0))
    assert "as of 10:13:20 EDT (UTC-04:00)" in old[0]


def test_handled_alerts() -> None:
    """Who has seen one, and what is silent."""
    desk = busy()
    silence = desk.silence("binance/main", 600, "bob", "because")
    desk.alerts = [replace(desk.alerts[0], acknowledged=Acknowledgement("ann", NOW), silenced=silence)]
    lines = screen(seen(desk))
    assert " · 1 silence · " in lines[0]
    assert "critical   acknowledged by ann · silenced by bob · 87% " in lines[1]


@pytest.mark.parametrize("width", [40, 80, 142, 160])
def test_an_acknowledged_alert_looks_acknowledged(width: int) -> None:
    """However long it is and whoever has seen it: by a word that is not cut, and without the colours of one to see."""
    desk = busy()
    long = replace(desk.alerts[0], text=f"{desk.alerts[0].text} {'words ' * 50}")
    seen_by = Acknowledgement("ann-with-a-name-as-long@her-machine", NOW)
    desk.alerts = [long, replace(long, key="other", acknowledged=seen_by)]
    fresh, handled = screen(seen(desk), width)[1:3]
    assert "acknowledged" not in fresh
    assert "acknowledged by" in handled
    assert "ann-with-a-name-as-…" in handled or width == 40
    fresh, handled = screen(seen(desk), width, colour=True)[1:3]
    assert "\x1b[1;31m" in fresh
    assert "\x1b[1;31m" not in handled


def test_silences() -> None:
    """Each with its subject, end, author and reason, also while nothing fires under it; very many are counted."""
    desk = Desk()
    desk.silent = [
        Silence(f"s{each}", "binance/main", NOW + 600, "bob", "because", each == 1, NOW) for each in range(6)
    ]
    lines = screen(seen(desk))
    assert "silent binance/main until 14:23:20, by bob: because" in lines
    assert "silent binance/main until 14:23:20, even emergencies, by bob: because" in lines
    assert lines[-1] == "2 silences are not shown."


def test_no_pools() -> None:
    """An empty book is said to be empty."""
    assert "No pool has risk open." in screen(seen(Desk([])))


def test_no_pools_because_nothing_was_read() -> None:
    """That no pool is known does not mean that there is none."""
    reasons = ("binance/main: account down: no snapshot yet",)
    lines = screen(seen(Desk([], reasons=reasons, unread=(("binance", "main"), ("okx", "arb")))))
    assert lines[-1] == "Not read yet: binance/main, okx/arb. What risk is open there is not known."
    assert "2 accounts not read yet" in lines[0]
    lines = screen(seen(Desk([], reasons=("binance/main: user stream down",))))
    assert lines[-1] == "What risk is open is not known: not everything is seen."


@pytest.mark.parametrize("why", ["stale", "account_stale"])
def test_old_figures(why: str) -> None:
    """A pool whose marks or whose account are not fresh says so instead of how bad it was."""
    pools = bad_day()
    lines = screen(seen(Desk([replace(pools[0], **{why: True})])), 80)
    assert "old figures" in lines[-1]


def test_a_pool_not_assessed_in_full() -> None:
    """Its ratio stands there, and what is not known is left out."""
    pools = bad_day()
    lines = screen(seen(Desk(pools[:1], assessed={})))
    assert "86.76 %  critical" in lines[-1]  # the distance is not known at the moment
    assert "USDT " not in lines[-1].split("%", 1)[1]


@pytest.mark.parametrize(("age_s", "trouble"), [(9.0, ""), (1.0, "refused")])
def test_old_figures_never_look_live(age_s: float, trouble: str) -> None:
    """Without an answer the first line says so in words, and every colour is gone from the rest."""
    lines = screen(seen(busy(), age_s=age_s, trouble=trouble))
    assert lines[0].startswith(f" NO ANSWER, {age_s:.0f} s old  as of 14:13:20 UTC{trouble and ' (refused)'}")
    assert "live" not in lines[0]
    coloured = screen(seen(busy(), age_s=age_s, trouble=trouble), colour=True)
    codes = {part.split("m")[0] for line in coloured[1:] for part in line.split("\x1b[")[1:]}
    assert codes <= {"0", "38;5;244"}
    assert (
        len({part.split("m")[0] for line in screen(seen(busy()), colour=True) for part in line.split("\x1b[")[1:]}) > 5
    )


def test_before_any_answer() -> None:
    """Nothing is known, and that is what it says."""
    look = Look("http://desk:9464", trouble="Connection refused")
    assert screen(look) == ["http://desk:9464", "NO ANSWER: Connection refused"]


def test_another_program_s_answer() -> None:
    """What is no state of a daemon is refused where it comes in."""
    with pytest.raises(KeyError, match="alerts"):
        Look("http://desk:9464").take({"pools": []}, 1.0)


def test_a_daemon_that_does_not_say_how_bad_a_pool_is() -> None:
    """An older one is refused rather than shown as calm."""
    state = document(Desk())
    del state["pools"][0]["severity"]
    with pytest.raises(KeyError, match="severity"):
        Look("http://desk:9464").take(state, 1.0)
