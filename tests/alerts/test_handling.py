"""Acknowledging and silencing: what changes for the engine, for the sinks and in the state file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from alerts.alert import Alert, Reason, Restored, Severity, Silence, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.handling import SILENCE_S_MAX, EngineHandling
from alerts.message import decode, encode
from alerts.outbox import Outbox
from alerts.sink import Envelope
from monitor.clock import ManualClock
from monitor.errors import RefusedError
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool

POOL = "binance/main/USDT"
KEY = f"margin_ratio:{POOL}"


@dataclass
class Desk:
    """An engine, its clock, and all that was said and kept."""

    escalations: int = 0
    clock: ManualClock = field(default_factory=ManualClock)
    said: list[Alert] = field(default_factory=list)
    kept: Sequence[Silence] = ()

    def __post_init__(self) -> None:
        self.engine = Engine(AlertsConfig(), "box", salt="salt", escalations=lambda alert: self.escalations)
        self.handling = EngineHandling(self.engine, self.said.extend, self._keep, self.clock)

    def _keep(self, silences: Sequence[Silence]) -> None:
        self.kept = silences

    def see(self, ratio: float) -> list[tuple[Step, Severity]]:
        """Show the pool at this ratio; what is said about it."""
        return self._brief(self.engine.on_pool(a_pool(ratio), self.clock.now()))

    def wait(self, seconds: float) -> list[tuple[Step, Severity]]:
        """Let time pass; what it brings, each thing when it is due."""
        end, said = self.clock.now() + seconds, []
        while (at := self.engine.deadline()) is not None and at <= end:
            said += self.engine.due(max(at, self.clock.now()))
        self.clock.advance(seconds)
        return self._brief(said)

    def _brief(self, said: list[Alert]) -> list[tuple[Step, Severity]]:
        self.said += said
        return [(alert.step, alert.severity) for alert in said if alert.key == KEY]


def test_an_acknowledged_alert_stops_repeating_until_it_worsens() -> None:
    """The acknowledgement is a message of its own; the worsening clears it and repeats begin again."""
    desk = Desk()
    assert desk.see(0.72) == [(Step.RAISED, Severity.WARNING)]
    raised = desk.said[0]
    assert desk.wait(3_600) == [(Step.REPEATED, Severity.WARNING)]
    desk.handling.acknowledge(KEY, "ann")
    told = desk.said[-1]
    assert (told.step, told.reason, told.state) == (Step.ACKNOWLEDGED, Reason.ACKNOWLEDGED, State.FIRING)
    assert told.acknowledged is not None
    assert told.acknowledged.by == "ann"
    assert (told.text, told.raised_at) == (raised.text, raised.raised_at)
    assert told.id != raised.id
    assert desk.wait(100_000) == []
    assert desk.see(0.90) == [(Step.WORSENED, Severity.CRITICAL)]
    assert desk.said[-1].acknowledged is None
    assert desk.wait(600) == [(Step.REPEATED, Severity.CRITICAL)]


def test_an_acknowledgement_survives_an_easing_and_ends_with_the_alert() -> None:
    """Whoever deals with a critical alert need not hear that it is a warning now; a new episode is news."""
    desk = Desk()
    desk.see(0.90)
    desk.handling.acknowledge(KEY, "ann")
    desk.see(0.72)
    assert desk.wait(10_000) == [(Step.EASED, Severity.WARNING)]
    assert desk.said[-1].acknowledged is not None
    desk.see(0.1)
    assert desk.wait(10_000) == [(Step.RESOLVED, Severity.WARNING)]
    assert desk.see(0.90) == [(Step.RAISED, Severity.CRITICAL)]
    assert desk.said[-1].acknowledged is None


def test_acknowledging_nothing_is_refused_and_says_what_fires() -> None:
    """A mistyped key must not pass for done."""
    desk = Desk()
    desk.see(0.90)
    with pytest.raises(RefusedError, match=f"nothing fires under margin:x; firing now: .*{KEY}"):
        desk.handling.acknowledge("margin:x", "ann")
    with pytest.raises(RefusedError, match="must not be empty"):
        desk.handling.acknowledge(KEY, " \n ")


def test_what_nobody_acknowledges_is_escalated_as_often_as_there_is_somebody_further() -> None:
    """Critical after five minutes, once for each further route; an acknowledgement ends it; a warning never is."""
    desk = Desk(escalations=2)
    desk.see(0.90)
    steps = [step for step, _ in desk.wait(3_600) if step is Step.ESCALATED]
    assert steps == [Step.ESCALATED] * 2
    assert [alert.escalation for alert in desk.said if alert.step is Step.ESCALATED] == [1, 2]
    assert {alert.reason for alert in desk.said if alert.step is Step.ESCALATED} == {Reason.UNACKNOWLEDGED}

    handled = Desk(escalations=2)
    handled.see(0.90)
    handled.wait(299)
    handled.handling.acknowledge(KEY, "ann")
    assert handled.wait(36_000) == []

    mild = Desk(escalations=2)
    mild.see(0.72)
    assert Step.ESCALATED not in [step for step, _ in mild.wait(3_599)]


def test_a_whole_venue_is_silenced_in_so_many_words_alone() -> None:
    """Its bare name, which may be an account left out, is refused with the pattern that would do it."""
    desk = Desk()
    with pytest.raises(RefusedError, match=r"^subject: must be .*; for a whole venue it is binance/\*$"):
        desk.handling.silence("binance", 600, "ann", "moving")
    assert desk.engine.silences() == []
    for subject in ("binance/*", "binance/main", POOL, KEY, "sink_failure:redis", "*"):
        assert desk.handling.silence(subject, 600, "ann", "moving").subject == subject


def test_a_silence_is_no_time_in_which_somebody_could_have_acknowledged() -> None:
    """Twenty minutes of it over a critical alert end with the alert, not with everybody being told at once."""
    desk = Desk(escalations=2)
    desk.see(0.90)
    desk.wait(60)
    desk.handling.silence(POOL, 1_200, "ann", "moving collateral")
    assert Step.ESCALATED not in [step for step, _ in desk.wait(1_201)]
    assert desk.said[-1].step is Step.HEARD_AGAIN
    assert Step.ESCALATED not in [step for step, _ in desk.wait(298)]
    assert Step.ESCALATED in [step for step, _ in desk.wait(5)]


def test_a_clock_that_was_set_back_between_two_runs_puts_no_escalation_off() -> None:
    """What the earlier run raised in what is the future now counts from now on."""
    desk = Desk(escalations=1)
    desk.see(0.90)
    now = desk.clock.now() - 3_600
    after = Engine(AlertsConfig(), "box", escalations=lambda alert: 1)
    after.restore(Restored("salt", tuple(desk.engine.firing())), now)
    said = [alert.step for second in range(0, 400, 10) for alert in after.due(now + second)]
    assert Step.ESCALATED in said


def test_a_silence_marks_what_fires_and_ends_with_its_time() -> None:
    """The alert goes on, marked; at the end it is to be heard again, with an id that was not used before."""
    desk = Desk()
    desk.see(0.72)
    silence = desk.handling.silence(POOL, 7_200, "ann", "moving  collateral")
    assert (silence.reason, silence.until) == ("moving collateral", desk.clock.now() + 7_200)
    assert list(desk.kept) == [silence]
    told = desk.said[-1]
    assert (told.step, told.reason, told.silenced) == (Step.SILENCED, Reason.SILENCED, silence)
    assert desk.wait(3_600) == [(Step.REPEATED, Severity.WARNING)]
    assert desk.said[-1].silenced == silence
    assert desk.see(0.90) == [(Step.WORSENED, Severity.CRITICAL)]
    assert desk.said[-1].silenced == silence
    assert (Step.HEARD_AGAIN, Severity.CRITICAL) in desk.wait(3_600)
    again = next(alert for alert in desk.said if alert.step is Step.HEARD_AGAIN)
    assert again.silenced is None
    assert again.id not in [alert.id for alert in desk.said if alert is not again]


def test_an_emergency_breaks_an_ordinary_silence() -> None:
    """The silence stays in force for what is less."""
    desk = Desk()
    desk.handling.silence("binance/main", 7_200, "ann", "travelling")
    desk.see(0.90)
    assert desk.said[-1].silenced is not None
    desk.see(0.97)
    assert (desk.said[-1].severity, desk.said[-1].silenced) == (Severity.EMERGENCY, None)
    total = Desk()
    total.handling.silence("binance/main", 7_200, "ann", "closing it all", emergency=True)
    total.see(0.97)
    assert total.said[-1].silenced is not None


def test_a_silence_ended_early_is_heard_again_at_once() -> None:
    """And one that does not exist cannot be ended."""
    desk = Desk()
    desk.see(0.90)
    silence = desk.handling.silence("*", 600, "ann", "noise")
    desk.handling.end_silence(silence.id, "bob")
    assert desk.said[-1].step is Step.HEARD_AGAIN
    assert list(desk.kept) == []
    with pytest.raises(RefusedError, match="no silence"):
        desk.handling.end_silence(silence.id, "bob")


@pytest.mark.parametrize("seconds", [0.0, -5.0, SILENCE_S_MAX + 1])
def test_a_silence_has_an_end(seconds: float) -> None:
    """None at all, and for ever, are refused."""
    with pytest.raises(RefusedError, match="a silence has an end"):
        Desk().handling.silence(POOL, seconds, "ann", "x")


def test_a_silence_has_an_author_and_a_reason() -> None:
    """Of bearable length."""
    for by, reason in (("", "x"), ("ann", ""), ("ann", "x" * 201)):
        with pytest.raises(RefusedError):
            Desk().handling.silence(POOL, 60, by, reason)


@pytest.mark.parametrize(
    "evil", ["\x1b[2J", "\x1b]0;own\x07", "a\x9b31m", "a\x7f", "gro\N{RIGHT-TO-LEFT OVERRIDE}pu", "\x00"]
)
def test_what_plays_with_a_terminal_is_refused(evil: str) -> None:
    """In an author, a reason and a subject; a key and an id that name nothing are repeated without it."""
    desk = Desk()
    desk.see(0.90)
    for subject, by, reason in ((evil, "ann", "x"), (POOL, evil, "x"), (POOL, "ann", f"because {evil}")):
        with pytest.raises(RefusedError, match="must not contain control or other invisible characters"):
            desk.handling.silence(subject, 60, by, reason)
    with pytest.raises(RefusedError, match=r"^by: must not contain"):
        desk.handling.acknowledge(KEY, evil)
    for order in (desk.handling.acknowledge, desk.handling.end_silence):
        with pytest.raises(RefusedError) as raised:
            order(evil, "ann")
        assert str(raised.value).isprintable()
    assert list(desk.kept) == []


def test_both_survive_a_restart(tmp_path: Path) -> None:
    """The state file has the silences, and with each alert who acknowledged it."""
    desk = Desk(escalations=1)
    desk.see(0.90)
    desk.wait(300)
    desk.handling.acknowledge(KEY, "ann")
    silence = desk.handling.silence("binance/other", 3_600, "ann", "travelling", emergency=True)
    path = tmp_path / "state.sqlite"
    with Outbox.open(path, ["redis"], desk.clock, Telemetry()) as outbox:
        outbox.append([Envelope(n, alert, encode(alert)) for n, alert in enumerate(desk.said, 1)])
        outbox.keep_silences(desk.kept)
    with Outbox.open(path, ["redis"], desk.clock, Telemetry()) as outbox:
        restored = outbox.restored
    assert restored.silences == (silence,)
    after = Engine(AlertsConfig(), "box", escalations=lambda alert: 1)
    after.restore(restored, desk.clock.now())
    assert after.silences() == [silence]
    (alert,) = (alert for alert in after.firing() if alert.key == KEY)
    assert alert.acknowledged is not None
    assert (alert.acknowledged.by, alert.escalation) == ("ann", 1)
    assert [each for each in after.due(desk.clock.now() + 3_000) if each.key == KEY] == []


def test_what_an_older_version_wrote_is_still_read() -> None:
    """Messages without the newer members are those of alerts that nobody handled."""
    desk = Desk()
    desk.see(0.90)
    payload = encode(desk.said[0])
    assert b"acknowledged" not in payload
    assert b"silenced" not in payload
    read = decode(payload, step=Step.RAISED, serial=1, at=desk.said[0].at)
    assert (read.acknowledged, read.silenced, read.escalation) == (None, None, 0)
