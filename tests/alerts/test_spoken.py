"""What this monitor has said, and what it keeps to itself while another one speaks."""

from dataclasses import replace

from alerts.alert import Alert, State
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import encode
from alerts.sink import Envelope
from alerts.spoken import Spoken
from tests.support.pools import a_pool

HERE = ("binance", "main")


def alerts(*scopes: str) -> list[Alert]:
    """One that fires for each."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for scope in scopes for alert in engine.on_pool(a_pool(0.75, scope=scope), 0.0)]


def over(alert: Alert) -> Alert:
    """Its end."""
    return replace(alert, state=State.RESOLVED, serial=alert.serial + 1)


def enveloped(*said: Alert) -> list[Envelope]:
    """Numbered from 1 on."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, start=1)]


def spoken(*envelopes: Envelope) -> Spoken:
    """What has said these."""
    subject = Spoken(())
    for envelope in envelopes:
        subject.add(envelope)
    return subject


def test_an_end_leaves_nothing_to_say_again() -> None:
    """The highest number that was ever said stays known."""
    first, second = alerts("A", "B")
    subject = spoken(*enveloped(first, second, over(first)))
    assert [each.alert for each in subject.speakable()] == [second]
    assert subject.serials == {first.key: first.serial + 1, second.key: second.serial}


def test_what_earlier_runs_said_goes_on() -> None:
    """As far as it fires; it has no place in this run's order."""
    first, second = alerts("A", "B")
    subject = Spoken([first, over(second)])
    assert [(each.sequence, each.alert) for each in subject.speakable()] == [(0, first)]
    assert subject.serials == {first.key: first.serial, second.key: second.serial + 1}


def test_what_is_for_some_sinks_is_sifted_out_for_the_others() -> None:
    """Until all have passed it."""
    word, more = enveloped(*alerts("A", "B"))
    subject = Spoken(())
    subject.add(word, {"far"})
    subject.add(more)
    assert subject.sift("far", [word, more]) == [word, more]
    assert subject.sift("near", [word, more]) == [more]
    subject.take_over(*HERE, [], everywhere=0)
    assert subject.sift("near", [word]) == []
    subject.take_over(*HERE, [], everywhere=1)
    assert subject.sift("near", [word]) == [word]


def test_what_was_passed_over_counts_as_not_said() -> None:
    """An end that was passed over leaves what ended as if it still fired."""
    first, second = alerts("A", "B")
    envelopes = enveloped(first, second, over(first))
    subject = spoken(*envelopes[:2])
    subject.speaks = lambda alert: alert is not second
    assert subject.sift("redis", envelopes[:2]) == envelopes[:1]
    assert subject.last_words(*HERE) == [first]
    subject.add(envelopes[2])
    subject.speaks = lambda alert: False
    assert subject.sift("redis", envelopes[2:]) == []
    (left,) = subject.last_words(*HERE)
    assert (left.key, left.state) == (first.key, State.FIRING)


def test_another_monitors_words_replace_those_about_their_account() -> None:
    """Also what was passed over; other accounts keep theirs."""
    first, second = alerts("A", "B")
    other = replace(second, key="margin_ratio:binance/spare/B", account="spare")
    envelopes = enveloped(first, other)
    subject = spoken(*envelopes)
    subject.speaks = lambda alert: alert is not first
    subject.sift("redis", envelopes)
    subject.take_over(*HERE, [second, over(first)], everywhere=2)
    assert subject.last_words(*HERE) == [second]
    assert subject.last_words("binance", "spare") == [other]
    assert [each.sequence for each in subject.last_said("binance", "spare")] == [2]
