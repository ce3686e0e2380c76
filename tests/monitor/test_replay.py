"""Replays: the live code on a clock that is set, and honest lead times."""

from pathlib import Path

import pytest

from alerts.alert import Severity, Step
from alerts.config import AlertsConfig
from monitor.accountfile import read_account_file
from monitor.pricepath import read_bars, ticks
from monitor.replay import Liquidated, Moment, Outcome, PathReplay, Replay, Warned, net_sides
from tests.support.replayed import LONG, MINUTE_MS, START_MS, account_file, price_path

# 1 BTC bought at 38,000 with 7,600 of its own: margin balance = mark - 30,400 and maintenance = 0.004 * mark, so
# liquidation at 30,400 / 0.996 = 30,522.09, notice (ratio 0.5) at 30,400 / 0.992 = 30,645.16.
ENTRY = 38_000.0


def replayed(directory: Path, *bars: tuple[float, float, float, float], text: str = LONG) -> Outcome:
    """The outcome of an account on a path of bars."""
    path = price_path(directory, (ENTRY, ENTRY, ENTRY, ENTRY), *bars)
    described = read_account_file(account_file(directory, text))
    bars_read = read_bars(path, {"BTCUSDT"})
    account = described.opened({"BTCUSDT": bars_read[0].open})
    start = Moment.known(START_MS / 1000)
    run = Replay(described.alerts, start.at, judge_marks=False)
    replay = PathReplay(run, account, start)
    for tick in ticks(bars_read, net_sides(account)):
        replay.tick(tick)
        if replay.over:
            break
    return run.outcome


def leads(outcome: Outcome, rule: str) -> dict[str, float]:
    """Severity to lead time of one ladder."""
    return {lead.severity.label: lead.seconds for lead in outcome.lead_times if lead.rule == rule}


def test_a_quiet_path_says_nothing(tmp_path: Path) -> None:
    """No warning, no liquidation, and the highest ratio is kept."""
    outcome = replayed(tmp_path, (ENTRY, 38_100, 37_900, ENTRY))
    assert outcome.warnings == []
    assert outcome.liquidations == []
    assert outcome.ticks == 8
    ((ratio, _),) = outcome.peaks.values()
    assert ratio == pytest.approx(0.004 * 37_900 / (37_900 - 30_400))


def test_lead_counts_from_the_end_of_the_warning_s_bar(tmp_path: Path) -> None:
    """A warning somewhere in one bar and a liquidation somewhere in a later one: the bars between them count."""
    outcome = replayed(
        tmp_path,
        (ENTRY, ENTRY, 30_640, 30_640),  # notice at some time in this minute
        (30_640, 30_640, 30_640, 30_640),
        (30_640, 30_640, 30_640, 30_640),
        (30_640, 30_640, 30_000, 30_000),  # liquidated at some time in this one
    )
    (liquidated,) = outcome.liquidations
    assert (liquidated.pool, liquidated.by) == ("binance/replay/BTCUSDT:long", "model")
    assert liquidated.when.earliest == (START_MS + 4 * MINUTE_MS) / 1000
    assert leads(outcome, "margin_ratio") == {"notice": 120.0, "emergency": 0.0}


def test_within_one_bar_there_is_no_lead(tmp_path: Path) -> None:
    """From safe to liquidated in one bar: the warning counts for nothing."""
    outcome = replayed(tmp_path, (ENTRY, ENTRY, 30_000, 31_000))
    assert len(outcome.liquidations) == 1
    assert set(leads(outcome, "margin_ratio").values()) == {0.0}


def test_a_warning_that_was_taken_back_does_not_count(tmp_path: Path) -> None:
    """Lead counts from the last time that a severity was said without a break."""
    outcome = replayed(
        tmp_path,
        (ENTRY, ENTRY, 30_640, 38_000),  # notice, and far away again for long enough to resolve
        (38_000, 38_000, 38_000, 38_000),
        (38_000, 38_000, 38_000, 38_000),
        (38_000, 38_000, 30_640, 30_640),  # notice again
        (30_640, 30_640, 30_000, 30_000),
    )
    assert leads(outcome, "margin_ratio")["notice"] == 0.0


def test_what_was_liquidated_is_closed(tmp_path: Path) -> None:
    """The story of a pool ends there: the rest of the path is not replayed, its alerts resolve."""
    outcome = replayed(tmp_path, (ENTRY, ENTRY, 30_000, ENTRY), (ENTRY, 50_000, 100, ENTRY))
    assert outcome.ticks == 4 + 2
    assert len(outcome.liquidations) == 1
    last = {warned.alert.key: warned.alert.state.value for warned in outcome.warnings}
    assert set(last.values()) == {"resolved"}


def test_a_cross_pool_goes_with_its_collateral(tmp_path: Path) -> None:
    """A liquidated cross pool leaves neither positions nor wallet."""
    cross = LONG.replace('"isolated"', '"cross"').replace("isolated_margin = 7600\n", "")
    cross = cross.replace('venue = "binance"', 'venue = "binance"\ncollateral = [{ coin = "USDT", balance = 7600 }]')
    outcome = replayed(tmp_path, (ENTRY, ENTRY, 30_000, ENTRY), text=cross)
    assert [each.pool for each in outcome.liquidations] == ["binance/replay/USDT"]


def test_a_short_is_hurt_by_the_high(tmp_path: Path) -> None:
    """The same bar liquidates a short at its high before its low is seen."""
    outcome = replayed(tmp_path, (ENTRY, 46_000, 30_000, ENTRY), text=LONG.replace('"long"', '"short"'))
    (liquidated,) = outcome.liquidations
    assert liquidated.pool == "binance/replay/BTCUSDT:short"
    assert liquidated.when.at == (START_MS + MINUTE_MS + MINUTE_MS // 3) / 1000


def test_repeats_happen_at_their_own_time(tmp_path: Path) -> None:
    """Between two ticks the clock stops wherever something is due."""
    text = LONG + "[alerts.repeat]\nnotice_s = 7\n[alerts.distance]\nnotice = 0.0001\n"
    outcome = replayed(tmp_path, (30_640, 30_640, 30_640, 30_640), (30_640, 30_640, 30_640, 30_640), text=text)
    raised, *repeats = [warned for warned in outcome.warnings if warned.alert.rule == "margin_ratio"]
    steps = {later.when.at - former.when.at for former, later in zip([raised, *repeats], repeats, strict=False)}
    assert steps == {7.0}
    assert {warned.alert.id for warned in repeats} == {raised.alert.id}


def test_what_is_due_with_a_tick_is_said_before_it(tmp_path: Path) -> None:
    """Figures of before a liquidation are not said again after it, in the same moment."""
    text = LONG + "[alerts.repeat]\nemergency_s = 20\n"
    outcome = replayed(tmp_path, (30_560, 30_560, 30_560, 30_560), (30_560, 30_560, 30_000, 30_560), text=text)
    (liquidated,) = outcome.liquidations
    assert any(warned.alert.step is Step.REPEATED for warned in outcome.warnings)
    moment = [warned.alert for warned in outcome.warnings if warned.when.at == liquidated.when.at]
    past = next(place for place, alert in enumerate(moment) if (alert.margin_ratio or 0.0) >= 1.0)
    assert all(alert.state.value == "resolved" for alert in moment[past:] if (alert.margin_ratio or 0.0) < 1.0)


def test_everything_said_is_heard_at_once() -> None:
    """`said` hears each alert and each liquidation in order."""
    heard: list[Warned | Liquidated] = []
    run = Replay(AlertsConfig(), 1.0, judge_marks=False, said=heard.append)
    run.feed([], Moment.known(5.0))
    assert heard == []
    assert (run.outcome.first_at, run.outcome.last_at) == (5.0, 5.0)


def test_severities_are_listed_mildest_first(tmp_path: Path) -> None:
    """Lead times read from the first warning to the last."""
    outcome = replayed(
        tmp_path, (ENTRY, ENTRY, 30_640, 30_640), (30_640, 30_640, 30_540, 30_540), (30_540, 30_540, 30_000, 30_000)
    )
    said = [lead.severity for lead in outcome.lead_times if lead.rule == "margin_ratio"]
    assert said == sorted(said)
    assert said[0] is Severity.NOTICE
