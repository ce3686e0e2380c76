"""Silences of two monitors, told in any order."""

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alert import Silence
from alerts.shared_silences import ENDED_MAX, OVER_S, SharedSilences

NOW = 1_790_000_000.0


def silence(identifier: str, seconds: float = 600.0) -> Silence:
    """A silence that ann made."""
    return Silence(identifier, f"binance/{identifier}", NOW + seconds, "ann", "moving", False, NOW)


class Redis:
    """What both tell: as the hash there takes it."""

    def __init__(self) -> None:
        self.told: dict[str, bytes] = {}

    def beat(self, subject: SharedSilences, now: float = NOW) -> None:
        """Tell what is untold, then read all."""
        begun, ended = subject.untold()
        self.told = begun | self.told | ended
        for identifier in subject.meet(self.told, now):
            self.told.pop(identifier, None)


def ids(subject: SharedSilences) -> set[str]:
    """Which are in force."""
    return {each.id for each in subject.present()}


def test_two_given_at_once_are_both_in_force() -> None:
    """Each is told by itself; at the next beat both monitors have both."""
    here, there, redis = SharedSilences(), SharedSilences(), Redis()
    here.take([silence("a")], NOW)
    there.take([silence("b")], NOW)
    for subject in (here, there, here):
        redis.beat(subject)
    assert here.present() == [silence("a"), silence("b")]
    assert ids(there) == {"a", "b"}
    assert here.untold() == there.untold() == ({}, {})


def test_what_was_ended_stays_ended() -> None:
    """Also where the other monitor makes one at that moment, or comes back with it from its state file."""
    here, there, redis = SharedSilences(), SharedSilences(), Redis()
    here.take([silence("old")], NOW)
    redis.beat(here)
    redis.beat(there)
    here.take([], NOW)
    there.take([silence("old"), silence("new")], NOW)
    for subject in (there, here, there):
        redis.beat(subject)
    assert ids(here) == ids(there) == {"new"}
    back = SharedSilences()
    back.take([silence("old")], NOW)
    redis.beat(back)
    assert ids(back) == {"new"}


def test_a_redis_that_forgot_is_told_again() -> None:
    """What is in force and what was ended, by whoever knows; the next run of a monitor knows what was ended, too."""
    here, redis = SharedSilences(), Redis()
    here.take([silence("a"), silence("b")], NOW)
    here.take([silence("a")], NOW)
    redis.beat(here)
    redis.told = {}
    redis.beat(here)
    redis.beat(here)
    assert redis.told.keys() == {"a", "b"}
    next_run = SharedSilences()
    next_run.recall(here.ended())
    next_run.take([silence("a"), silence("b")], NOW)
    assert ids(next_run) == {"a"}


def test_what_is_over_is_forgotten() -> None:
    """By both at its time, and where they meet some time later, since two clocks differ."""
    here, there, redis = SharedSilences(), SharedSilences(), Redis()
    here.take([silence("a", 60.0), silence("b", 60.0)], NOW)
    here.take([silence("a", 60.0)], NOW)
    redis.beat(here)
    redis.beat(here, NOW + 61.0)
    assert (here.present(), here.ended()) == ([], {})
    assert redis.told.keys() == {"a", "b"}
    here.take([], NOW + 61.0)
    assert here.ended() == {}
    redis.beat(there, NOW + 61.0)
    assert there.present() == []
    redis.beat(here, NOW + 60.0 + OVER_S)
    assert redis.told == {}


def test_what_cannot_be_read_is_left_alone() -> None:
    """It is no silence, and nobody else's is lost by it."""
    here, redis = SharedSilences(), Redis()
    redis.told = {"x": b"\xff", "y": b"null", "z": b'{"ended": "soon"}'}
    here.take([silence("a")], NOW)
    redis.beat(here)
    assert ids(here) == {"a"}
    assert redis.told.keys() == {"a", "x", "y", "z"}


def test_many_that_were_ended_are_not_kept_for_ever() -> None:
    """Those that would be over first are forgotten."""
    here, redis = SharedSilences(), Redis()
    for number in range(ENDED_MAX + 2):
        here.take([silence(str(number), 60.0 + number)], NOW)
    here.take([], NOW)
    redis.beat(here)
    assert len(here.ended()) == len(redis.told) == ENDED_MAX
    assert here.ended().keys().isdisjoint({"0", "1"})


@given(st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["make", "end", "beat", "forget"])), max_size=30))
@settings(max_examples=200)
def test_both_come_to_the_same(course: list[tuple[str, str]]) -> None:
    """Whatever is made and ended where, and whatever Redis forgets: all that was made and not ended is in force."""
    monitors, redis, numbers = {"x": SharedSilences(), "y": SharedSilences()}, Redis(), count()
    wanted: set[str] = set()
    for name, step in course:
        subject = monitors[name]
        if step == "make":
            made = silence(str(next(numbers)))
            wanted.add(made.id)
            subject.take([*subject.present(), made], NOW)
        elif step == "end":
            wanted -= ids(subject)
            subject.take([], NOW)
        elif step == "beat":
            redis.beat(subject)
        else:
            redis.told = {}
    for name in "xyxyxy":
        redis.beat(monitors[name])
    assert ids(monitors["x"]) == ids(monitors["y"]) == wanted == redis.told.keys() - monitors["x"].ended().keys()
