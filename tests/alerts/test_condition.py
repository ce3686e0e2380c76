"""How a sink does: news of its loss and its return, and how long it is left alone."""

from alerts import condition as module
from alerts.condition import DELIVERY, STATE, Condition
from monitor.errors import SinkError

LOST = SinkError("connection refused")
REFUSED = SinkError("wrong password", retry=False)


def test_a_loss_is_news_once_and_so_is_the_return() -> None:
    """Since the first failure of a row, with the words of the last one."""
    subject = Condition()
    assert [subject.failed(error, 3.0, now) for error, now in ((LOST, 10.0), (REFUSED, 11.0))] == [True, False]
    assert (subject.failing_since, subject.detail) == (10.0, "wrong password")
    assert [subject.works(part) for part in (DELIVERY, STATE, STATE)] == [False, True, False]
    assert (subject.failing_since, subject.detail) == (None, "")


def test_only_alerts_and_state_together_prove_that_a_sink_works() -> None:
    """On one connection: what the last one proved does not count."""
    subject = Condition()
    subject.failed(LOST, 3.0, 10.0)
    assert not subject.works(DELIVERY)
    subject.begin()
    assert not subject.works(STATE)
    assert subject.works(DELIVERY)


def test_a_silent_sink_is_told_of_by_our_deadline() -> None:
    """A timeout that says nothing itself; one that does keeps its words."""
    subject = Condition()
    subject.failed(TimeoutError(), 0.5, 1.0)
    assert subject.detail == "no answer within 0.5 s"
    subject.failed(TimeoutError("no PINGRESP"), 0.5, 1.0)
    assert subject.detail == "no PINGRESP"


def test_pauses_double_to_a_bound_that_depends_on_who_can_mend_it() -> None:
    """Longer where only a person can; short again once it worked, or while there is something to find out."""
    subject = Condition()
    longest: list[float] = []
    for _ in range(8):
        subject.failed(LOST, 3.0, 1.0)
        longest.append(subject.longest_pause_s(soon=False))
    assert longest == [min(module.BACKOFF_MAX_S, module.BACKOFF_FIRST_S * 2.0**n) for n in range(8)]
    subject.failed(REFUSED, 3.0, 1.0)
    assert subject.longest_pause_s(soon=False) == module.BACKOFF_REFUSED_S
    assert subject.longest_pause_s(soon=True) == module.BACKOFF_FIRST_S
    for part in (DELIVERY, STATE):
        subject.works(part)
    subject.failed(LOST, 3.0, 1.0)
    assert subject.longest_pause_s(soon=False) == module.BACKOFF_FIRST_S


def test_weeks_of_failures_do_not_overflow() -> None:
    """The bound stays what it is."""
    subject = Condition()
    for _ in range(2_000):
        subject.failed(LOST, 3.0, 1.0)
    assert subject.longest_pause_s(soon=False) == module.BACKOFF_MAX_S


def test_a_message_given_up_is_reported_for_a_while() -> None:
    """Beside what waits; a sink that works may have given one up."""
    subject = Condition()
    subject.lost("margin_ratio:p: too large", 100.0)
    assert subject.health("redis", 3, 100.0 + module.REFUSED_SHOWN_S - 1.0).refused == "margin_ratio:p: too large"
    health = subject.health("redis", 3, 100.0 + module.REFUSED_SHOWN_S)
    assert (health.sink, health.pending, health.failing_since, health.refused) == ("redis", 3, None, "")
