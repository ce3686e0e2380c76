"""What is silent, for how long, and what never is."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Severity, Silence
from alerts.silences import SILENCES_MAX, Silences, covers, fits, silence_over

POOL = "binance/main/BTCUSDT:long"


def silence(subject: str = POOL, until: float = 100.0, *, emergency: bool = False, identifier: str = "a") -> Silence:
    """A silence by somebody, from 0 on."""
    return Silence(identifier, subject, until, "ann", "moving collateral", emergency, 0.0)


@pytest.mark.parametrize(
    ("subject", "names", "covered"),
    [
        (POOL, [POOL], True),
        ("binance/main", [POOL], True),
        ("binance/main", ["binance/main"], True),
        ("binance/mai", [POOL], False),
        ("binance/main/BTCUSDT", [POOL], False),
        ("binance/main/BTCUSDT:*", [POOL], True),
        ("*:long", [POOL], True),
        ("*:short", [POOL], False),
        ("*", ["sink_failure:redis"], True),
        ("sink_failure:redis", ["sink_failure:redis"], True),
        ("BINANCE/main", [POOL], False),
        (POOL, ["margin_ratio:" + POOL], False),
        ("okx/x.y/*", ["okx/xzy/USDT"], False),
    ],
)
def test_a_subject_covers_what_it_names(subject: str, names: list[str], covered: bool) -> None:
    """A pool, all of an account, a key, or a pattern; nothing that merely begins alike."""
    assert covers(silence(subject), names, Severity.WARNING, 50.0) is covered


def test_an_emergency_is_heard_unless_the_silence_says_otherwise() -> None:
    """What may be the last warning takes words of its own to be kept quiet."""
    assert not covers(silence(), [POOL], Severity.EMERGENCY, 50.0)
    assert covers(silence(), [POOL], Severity.CRITICAL, 50.0)
    assert covers(silence(emergency=True), [POOL], Severity.EMERGENCY, 50.0)


def test_a_silence_ends() -> None:
    """At its end, to the moment, it covers nothing, and it is taken out."""
    kept = Silences([silence(), silence(until=200.0, identifier="b")])
    assert kept.next_end() == 100.0
    assert kept.covering([POOL], Severity.NOTICE, 99.0) == silence(until=200.0, identifier="b")
    assert not covers(silence(), [POOL], Severity.NOTICE, 100.0)
    assert kept.expire(100.0) == [silence()]
    assert [each.id for each in kept] == ["b"]
    assert kept.end("a") is None
    assert kept.end("b") is not None
    assert kept.next_end() is None


def test_there_is_room_for_so_many_silences() -> None:
    """A program that makes them without end is refused; one that is there may be made longer."""
    kept = Silences(silence(identifier=str(number)) for number in range(SILENCES_MAX))
    with pytest.raises(ValueError, match="in force"):
        kept.add(silence(identifier="one more"))
    kept.add(silence(until=300.0, identifier="0"))
    assert max(each.until for each in kept) == 300.0


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (POOL, True),
        ("binance/main", True),
        ("*BTC*", True),
        ("binance/main/BTCUSDT:short", False),
        (f"margin_ratio:{POOL}", False),
    ],
)
def test_a_pool_is_silent_when_all_of_it_is(subject: str, expected: bool) -> None:
    """By its name, its account's, or a pattern; not when one of its alerts is."""
    assert (silence_over(POOL, [silence(subject)], 50.0) is not None) is expected
    assert silence_over(POOL, [silence(subject)], 100.0) is None


def test_of_several_the_longest_is_shown() -> None:
    """Whoever looks learns when it will be heard again."""
    both = [silence(until=90.0, identifier="a"), silence("*", until=95.0, identifier="b")]
    assert silence_over(POOL, both, 50.0) == both[1]


_texts = st.text(alphabet="ab/\n", max_size=8)


@given(st.lists(_texts, min_size=2, max_size=6), _texts, st.lists(_texts, min_size=5, max_size=5))
def test_a_star_stands_for_anything(parts: list[str], other: str, between: list[str]) -> None:
    """What a pattern is made from fits it, and of anything else what the standard library's patterns say."""
    pattern = "*".join(parts)
    made = "".join(part + gap for part, gap in zip(parts, [*between[: len(parts) - 1], ""], strict=True))
    assert fits(pattern, made)
    assert fits(pattern, other) is fnmatchcase(other, pattern)


def test_a_pattern_of_many_stars_is_no_work() -> None:
    """However it is made: the monitor asks at every alert, and does nothing else meanwhile."""
    name = "margin_ratio:binance/main/" + "a" * 150
    assert not fits("*a" * 99 + "*z", name)
    assert fits("*a" * 99 + "*", name)
