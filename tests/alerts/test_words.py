"""What is on its way to be noted, and what is known of what was."""

from dataclasses import replace

from alerts.alert import Alert
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.words import Known, Word, Words, read, write
from tests.support.pools import a_pool

ACCOUNT = ("binance", "main")
KEY = "margin_ratio:binance/main/USDT"


def alerts(*ratios: float) -> list[Alert]:
    """What is said of one pool that goes through these ratios."""
    engine = Engine(AlertsConfig(), "box", salt="salt")
    said = [alert for ratio in ratios for alert in engine.on_pool(a_pool(ratio), 1_790_000_000.0)]
    return [alert for alert in said if alert.key == KEY]


def test_a_word_is_read_as_it_was_written() -> None:
    """With the sinks that lack it, or none."""
    (said,) = alerts(0.72)
    for word in (Word(said), Word(said, frozenset({"push", "mqtt"}))):
        assert read(write(word)) == word


def test_a_word_is_news_when_a_first_sink_has_it_and_at_every_further_one() -> None:
    """And is done with when all have it."""
    (said,) = alerts(0.72)
    words = Words()
    words.add(5, said)
    assert words.news({"redis": 4, "push": 4}) == []
    first = [(5, Word(said, frozenset({"push"})))]
    assert words.news({"redis": 5, "push": 4}) == first
    assert words.news({"redis": 5, "push": 4}) == first
    words.noted(first)
    assert words.news({"redis": 5, "push": 4}) == []
    assert words.news({"redis": 9, "push": 4}) == []
    last = [(5, Word(said))]
    assert words.news({"redis": 9, "push": 5}) == last
    words.noted(last)
    assert words.news({"redis": 9, "push": 9}) == []


def test_without_sinks_a_word_is_noted_at_once() -> None:
    """Nobody lacks it."""
    (said,) = alerts(0.72)
    words = Words()
    words.add(1, said)
    assert words.news({}) == [(1, Word(said))]


def test_only_the_last_word_of_a_key_waits_to_be_noted() -> None:
    """What belongs to no account is nobody else's business."""
    first, second = alerts(0.72, 0.90)
    words = Words()
    words.add(1, first)
    words.add(2, second)
    words.add(3, replace(first, key="sink_failure:redis", venue=None, account=None))
    assert words.news({"redis": 1}) == []
    assert words.news({"redis": 2}) == [(2, Word(second))]
    words.noted([(1, Word(first))])
    assert words.news({"redis": 9}) == [(2, Word(second))]
    words.noted([(2, Word(second))])
    assert words.news({"redis": 9}) == []
    words.add(4, second)
    words.forget(ACCOUNT)
    assert words.news({"redis": 9}) == []


def test_all_is_settled_when_it_is_noted_as_it_stands_and_only_failing_sinks_lack_it() -> None:
    """Then another one may speak: it says to nobody what was heard already."""
    (said,) = alerts(0.72)
    words = Words()
    words.add(1, said)
    on_its_way, half, whole = ({"redis": 0, "push": 0}, {"redis": 1, "push": 0}, {"redis": 1, "push": 1})
    assert words.are_settled(("okx", "other"), on_its_way, [])
    assert not words.are_settled(ACCOUNT, on_its_way, ["push"])
    assert not words.are_settled(ACCOUNT, half, ["push"])
    words.noted([(1, Word(said, frozenset({"push"})))])
    assert words.are_settled(ACCOUNT, half, ["push", "mqtt"])
    assert not words.are_settled(ACCOUNT, half, [])
    assert not words.are_settled(ACCOUNT, whole, ["push"])
    words.noted([(1, Word(said))])
    assert words.are_settled(ACCOUNT, whole, [])


def test_what_changed_last_is_known_longest() -> None:
    """Past the bound the word that changed longest ago goes."""
    said = [replace(alert, key=name) for name in "abc" for alert in alerts(0.72)]
    a, b, c = map(Word, said)
    known = Known(2)
    for word in (a, b, a, c):
        known.put(word)
    assert known.words() == [a, c]


def test_what_redis_forgot_is_owed_as_it_is_now() -> None:
    """Not as it was when it was forgotten; what is not known any more is not owed."""
    first, second = alerts(0.72, 0.90)
    known = Known(2)
    known.put(Word(first))
    known.put(Word(replace(first, key="b")))
    known.owe()
    known.put(Word(second))
    assert known.owed == [KEY, "b"]
    assert known.owed_next(1) == [Word(second)]
    known.put(Word(replace(first, key="c")))
    assert known.owed_next(9) == [Word(second)]
