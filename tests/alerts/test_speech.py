"""The next word about a key."""

from dataclasses import replace

import pytest

from alerts.alert import Alert, Reason, Severity, Silence, State, Step, Verdict
from alerts.config import AlertsConfig
from alerts.lifecycle import Status
from alerts.rules import POOL_RULES, SINK_FAILURE
from alerts.rules.sink_failure import SinkFailure
from alerts.silences import Silences
from alerts.speech import Speech
from alerts.track import RECOVERED, Track, policy_of
from tests.support.pools import a_pool

RATIO = POOL_RULES[0]
FIRING = Status(3, Severity.WARNING, raised_at=5.0, said_at=5.0)


def track(*, ratio: float = 0.75) -> Track:
    """A pool's margin ratio that has just fired."""
    made = Track("margin_ratio:binance/main/USDT", RATIO, policy_of(AlertsConfig(), RATIO.name))
    made.subject = a_pool(ratio)
    made.verdict = made.accused = RATIO.judge(made.subject, AlertsConfig().margin_ratio)
    made.status = FIRING
    return made


def say(subject: Track, before: Status = FIRING, silences: Silences | None = None) -> Alert:
    """By a monitor that shares its accounts."""
    speech = Speech("box", "own")
    speech.shared_salt = "shared"
    return speech.word(subject, before, Step.RAISED, subject.verdict.reason, silences or Silences(), 6.0)


def test_a_word_has_its_tracks_standing_and_its_subjects_figures() -> None:
    """And who says it, and when."""
    alert = say(track())
    assert (alert.severity, alert.state, alert.serial) == (Severity.WARNING, State.FIRING, 3)
    assert (alert.host, alert.at, alert.raised_at) == ("box", 6.0, 5.0)
    assert (alert.pool, alert.margin_ratio) == ("binance/main/USDT", 0.75)


def test_an_end_has_the_severity_of_what_ended() -> None:
    """Nothing fires any more by then."""
    over = track(ratio=0.1)
    over.status = Status(4)
    alert = say(over)
    assert (alert.severity, alert.state, alert.serial) == (Severity.WARNING, State.RESOLVED, 4)


def test_while_calm_runs_a_word_speaks_of_what_accused() -> None:
    """It still fires, and must not say that all is well; the reason goes with it."""
    calming = track()
    accused = calming.verdict
    calming.verdict = RECOVERED
    alert = say(calming)
    assert (alert.reason, alert.value) == (accused.reason, 0.75)


def test_without_its_subject_a_word_repeats_the_last_one() -> None:
    """Of an earlier run; a word about nothing at all is a fault of ours."""
    restored = track()
    restored.last = say(restored)
    restored.subject, restored.status = None, Status(4)
    restored.verdict = Verdict(None, None, Reason.POOL_CLOSED)
    alert = say(restored)
    assert (alert.text, alert.margin_ratio) == ("0 positions left · binance/main/USDT (margin ratio) · resolved", 0.75)
    restored.last = None
    with pytest.raises(AssertionError):
        say(restored)


def test_what_is_silent_says_by_which_silence() -> None:
    """And is a word all the same."""
    silence = Silence("s1", "binance/main", 100.0, "ann", "upgrade", emergency=False, at=1.0)
    assert say(track(), silences=Silences([silence])).silenced == silence
    assert say(track()).silenced is None


def test_two_monitors_give_what_both_may_say_one_id() -> None:
    """A sink's failure is each one's own."""
    failing = Track("sink_failure:redis", SINK_FAILURE, policy_of(AlertsConfig(), SINK_FAILURE.name))
    failing.subject = SinkFailure("redis", 1.0, 3, "refused", 60.0, "")
    failing.verdict = SINK_FAILURE.judge(failing.subject, AlertsConfig().sink_failure)
    failing.status = replace(FIRING, severity=Severity.CRITICAL)
    alone, other = Speech("box", "own"), Speech("tower", "theirs")
    other.shared_salt = "own"

    def ids(subject: Track) -> set[str]:
        reason = subject.verdict.reason
        return {each.word(subject, FIRING, Step.RAISED, reason, Silences(), 6.0).id for each in (alone, other)}

    assert len(ids(track())) == 1
    assert len(ids(failing)) == 2
