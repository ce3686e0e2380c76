"""Who speaks, by the clock of one monitor."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lease import Claim, Grant, Leases, Voice
from alerts.standing import Standings

A, B = ("binance", "a"), ("okx", "b")
LEASE_S, ALONE_S = 3.0, 30.0


def leases(me: str = "me", others: int = 1) -> Leases:
    """A monitor that follows, having heard of the other one."""
    subject = Leases(me, LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.answered({A: Grant("other", 1)}, others, 0.0, 0.0) == {}
    return subject


def test_a_lease_lasts_from_before_the_question() -> None:
    """An answer that took long grants less; one that took longer than the lease grants nothing."""
    subject = leases()
    assert not subject.speaks(A, 0.0)
    assert subject.answered({A: Grant("me", 2)}, 1, asked_at=10.0, now=11.0) == {A: False}
    assert subject.speaks(A, 12.9)
    assert not subject.speaks(A, 13.0)
    assert subject.answered({A: Grant("me", 2)}, 1, asked_at=20.0, now=24.0) == {}
    assert not subject.speaks(A, 24.0)


def test_renewing_is_not_beginning_but_a_gap_is() -> None:
    """After a gap others may have spoken, so what they said must be taken up again."""
    subject = leases()
    assert subject.answered({A: Grant("me", 2)}, 1, 10.0, 10.0) == {A: False}
    assert subject.answered({A: Grant("me", 2)}, 1, 12.0, 12.0) == {}
    assert subject.answered({A: Grant("me", 2)}, 1, 16.0, 16.0) == {A: True}
    subject.answered({A: Grant("other", 3)}, 1, 20.0, 20.0)
    assert subject.answered({A: Grant("me", 4)}, 1, 30.0, 30.0) == {A: False}
    assert (subject.token(A), subject.holder(A)) == (4, "me")


def test_a_monitor_that_slept_is_silent_when_it_wakes() -> None:
    """Nothing needs to tell it: its own clock does."""
    subject = leases()
    subject.answered({A: Grant("me", 2)}, 1, 10.0, 10.0)
    assert not subject.speaks(A, 500.0)
    assert subject.voices(500.0) == {A: Voice.FOLLOWS}


def test_without_redis_the_other_one_gets_its_chance_first() -> None:
    """Cut off from Redis while another monitor lives: silent for a while, then alone; and back in line afterwards."""
    subject = leases()
    assert subject.unreachable(1.0, refused=False) == {}
    assert subject.unreachable(30.9, refused=False) == {}
    assert subject.unreachable(31.0, refused=False) == {A: False}
    assert subject.voices(32.0) == {A: Voice.ALONE}
    assert subject.unreachable(33.0, refused=False) == {}
    assert subject.answered({A: Grant("other", 3)}, 1, 40.0, 40.0) == {}
    assert not subject.speaks(A, 40.0)


@pytest.mark.parametrize("refused", [False, True])
def test_alone_at_once_where_no_other_monitor_is(refused: bool) -> None:
    """None was there the last time that Redis answered."""
    subject = leases(others=0)
    assert subject.unreachable(1.0, refused=refused) == {A: False}


def test_where_no_server_is_the_other_one_s_lease_is_waited_for() -> None:
    """A server that restarts is back in a second, and whoever spoke still does."""
    subject = leases()
    assert subject.unreachable(1.0, refused=False) == {}
    assert subject.unreachable(1.2, refused=True) == {}
    assert subject.unreachable(3.9, refused=True) == {}
    assert subject.unreachable(4.0, refused=True) == {A: False}


@pytest.mark.parametrize("refused", [False, True])
def test_a_monitor_that_nobody_has_answered_yet_waits_for_one_lease(refused: bool) -> None:
    """Redis may be starting beside it, and another monitor may speak."""
    subject = Leases("me", LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.unreachable(1.0, refused=refused) == {}
    assert subject.unreachable(4.0, refused=refused) == {A: False}


def test_a_redis_that_knows_of_nobody_does_not_mean_that_nobody_is_there() -> None:
    """It was emptied a moment ago, and the other one has not asked again yet."""
    subject = leases()
    subject.answered({A: Grant("", 0)}, 0, 1.0, 1.0)
    assert subject.unreachable(1.5, refused=False) == {}
    for now in (2.0, 3.0, 4.0, 5.0):
        subject.answered({A: Grant("", 0)}, 0, now, now)
    assert subject.unreachable(5.5, refused=False) == {A: False}


def test_a_lease_that_redis_forgot_is_for_the_one_that_speaks() -> None:
    """Under the token that it had, as if nothing had been; the other one waits for as long as that one's may last."""
    speaker, follower = leases(), leases()
    speaker.answered({A: Grant("me", 7)}, 1, 10.0, 10.0)
    follower.answered({A: Grant("other", 7)}, 1, 10.0, 10.0)
    assert (speaker.claim(A, 11.0), follower.claim(A, 11.0)) == (Claim(7), Claim())
    follower.answered({A: Grant("", 0)}, 0, 11.0, 11.0)
    assert (follower.holder(A), follower.speaks(A, 11.0)) == ("other", False)
    assert follower.claim(A, 13.9) == Claim()
    assert follower.claim(A, 14.0) == Claim(8, waited=True)
    assert speaker.answered({A: Grant("me", 7)}, 1, 11.5, 11.5) == {}
    assert follower.answered({A: Grant("other", 7)}, 1, 12.0, 12.0) == {}
    assert follower.claim(A, 15.0) == Claim()


def test_a_new_monitor_takes_what_redis_does_not_know_of_after_one_lease() -> None:
    """Another one may live that Redis has forgotten; who waits alone gets it, who goes on alone at once."""
    subject = Leases("me", LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.claim(A, 0.0) == Claim()
    assert subject.answered({A: Grant("", 0)}, 0, 0.0, 0.0) == {}
    assert subject.claim(A, 3.0) == Claim(1, waited=True)
    assert subject.answered({A: Grant("me", 1)}, 0, 3.0, 3.0) == {A: False}
    lonely = Leases("me", LEASE_S, ALONE_S)
    lonely.watch([A])
    lonely.unreachable(0.0, refused=True)
    assert lonely.unreachable(3.0, refused=True) == {A: False}
    assert lonely.claim(A, 3.1) == Claim(1)


def test_a_lease_that_is_held_is_used_up_before_anything_else() -> None:
    """The holder that loses Redis goes on speaking as long as nobody else can."""
    subject = leases(others=0)
    subject.answered({A: Grant("me", 2)}, 0, 10.0, 10.0)
    assert subject.unreachable(11.0, refused=True) == {}
    assert subject.speaks(A, 12.9)
    assert subject.unreachable(13.0, refused=True) == {A: True}


def test_accounts_without_a_seat_are_spoken_for() -> None:
    """What is not shared is not held back; a seat given up is forgotten."""
    subject = leases()
    assert subject.speaks(B, 0.0)
    subject.watch([B])
    assert subject.accounts == [B]
    assert subject.speaks(A, 0.0)
    assert (subject.token(A), subject.holder(A)) == (0, "")


def test_who_redis_forgot_while_it_waited_waits_again() -> None:
    """Another one may have taken the lease in between, and Redis have forgotten that, too."""
    subject = leases()
    subject.answered({A: Grant("", 0)}, 0, 1.0, 1.0, is_new=True)
    subject.answered({A: Grant("", 0)}, 0, 3.0, 3.0, is_new=True)
    assert subject.claim(A, 5.9) == Claim()
    assert subject.claim(A, 6.0) == Claim(2, waited=True)


def test_who_gives_way_is_silent_before_the_lease_is_handed_over() -> None:
    """Whatever becomes of it: another one has it, nobody takes it, or there is nobody any more who could do better."""
    for answer, begins in (
        (Grant("other", 3), {}),
        (Grant("", 0), {}),
        (Grant("me", 2), {A: True}),
    ):
        subject = leases()
        subject.answered({A: Grant("me", 2)}, 1, 10.0, 10.0)
        assert subject.heirs(10.0) == {}
        for now in (11.0, 12.0):
            subject.answered({A: Grant("me", 2, heir="other")}, 1, now, now)
        assert subject.heirs(12.0) == {A: 11.0}
        assert subject.claim(A, 12.0) == Claim(2)
        subject.give_way(A)
        assert (subject.speaks(A, 12.0), subject.heirs(12.0)) == (False, {})
        assert subject.claim(A, 12.0) == Claim(yields=True)
        assert subject.answered({A: answer}, 1, 12.0, 12.0) == begins
        assert subject.claim(A, 12.0).yields is False
        assert subject.speaks(A, 12.0) == bool(begins)


def test_who_gave_way_and_was_not_answered_goes_on_alone_as_any_other() -> None:
    """Whether it was heard it does not know; answered again it hands over nothing that it was not asked to."""
    subject = leases()
    subject.answered({A: Grant("me", 2, heir="other")}, 1, 10.0, 10.0)
    subject.give_way(A)
    assert subject.unreachable(10.1, refused=False) == {}
    assert subject.claim(A, 10.2) == Claim()
    assert subject.unreachable(40.1, refused=False) == {A: True}
    assert subject.heirs(40.1) == {}


@dataclass
class Server:
    """What Redis does with one account, by its own clock."""

    holder: str = ""
    till: float = 0.0
    token: int = 0
    known: set[str] = field(default_factory=set)
    standings: dict[str, tuple[int, float]] = field(default_factory=dict)
    expired: int = 0
    handed_over: int = 0

    def beat(self, name: str, claim: Claim, best: int | None, worst: int | None, now: float) -> tuple[Grant, bool]:
        """One question and its answer, with whether whoever asks was not known."""
        is_new = name not in self.known
        self.known.add(name)
        self.standings = {each: told for each, told in self.standings.items() if each != name and told[1] > now}
        others = dict(self.standings)
        if worst is not None:
            self.standings[name] = worst, now + LEASE_S
        if not self.holder and claim.token and not (claim.waited and is_new):
            self.holder, self.token = name, claim.token
        elif self.holder not in {"", name} and self.till <= now:
            self.holder, self.token = name, self.token + 1
            self.expired += 1
        heir = ""
        if self.holder == name:
            self.till = now + LEASE_S
            better = [(told, each) for each, (told, _) in others.items() if best is not None and told < best]
            heir = min(better)[1] if better else ""
        if heir and claim.yields:
            self.holder, self.token, heir = heir, self.token + 1, ""
            self.handed_over += 1
        return Grant(self.holder, self.token, heir), is_new


Asked = tuple[str, float, float, tuple[bool, int] | None]
"""Who asks, after which pause, how long the answer takes; whether it sees the account now and how many of its sinks
fail, None for as before."""


class Play:
    """Two monitors and one server. What is asked reaches it, and is answered, while the other one goes on.

    Asserts that the two never speak at once, nor hand the account over more often than there is cause: a standing that
    changed, a server that forgot, somebody who fell silent.
    """

    def __init__(self) -> None:
        self.monitors = {name: Leases(name, LEASE_S, ALONE_S) for name in "xy"}
        for each in self.monitors.values():
            each.watch([A])
        self.standings = {name: Standings(LEASE_S) for name in "xy"}
        self.raw = dict.fromkeys("xy", (False, 0))
        self.server = Server()
        self.now = 0.0
        self.causes = 0
        self.coming: list[tuple[float, int, str, Callable[[], None]]] = []
        self.numbers = count()

    def empty(self) -> None:
        """The server forgets everything."""
        self.server = Server(expired=self.server.expired, handed_over=self.server.handed_over)
        self.causes += 1

    def ask(self, name: str, pause: float, delay: float, change: tuple[bool, int] | None) -> None:
        """After a pause, and when its last question was answered, a monitor asks."""
        self.run_until(self.now + pause)
        while any(waiting == name for *_, waiting, _ in self.coming):
            self.run_until(self.coming[0][0])
        if change is not None:
            self.raw[name], self.causes = change, self.causes + 1
        unseen, failing = self.raw[name]
        own, asked_at = self.standings[name], self.now
        own.look([A], [A] if unseen else [], failing, asked_at)
        question = self.monitors[name].claim(A, asked_at), own.best(A, asked_at), own.worst(A, asked_at)

        def serve() -> None:
            answer = self.server.beat(name, *question, self.now)
            self.later(delay / 2, name, lambda: self.answer(name, asked_at, *answer))

        self.later(delay / 2, name, serve)

    def answer(self, name: str, asked_at: float, grant: Grant, is_new: bool) -> None:
        """It reaches the monitor, which gives way where it is to."""
        monitor, own = self.monitors[name], self.standings[name]
        if monitor.answered({A: grant}, 1, asked_at, self.now, is_new=is_new):
            own.begins(A, self.now)
        for account in monitor.heirs(self.now):
            own.gives_way(account, self.now)
            monitor.give_way(account)

    def later(self, delay: float, name: str, event: Callable[[], None]) -> None:
        """Let something happen."""
        heappush(self.coming, (self.now + delay, next(self.numbers), name, event))

    def run_until(self, end: float) -> None:
        """Let happen what comes until then."""
        while self.coming and self.coming[0][0] <= end:
            self.now, _, _, event = heappop(self.coming)
            event()
            assert sum(each.speaks(A, self.now) for each in self.monitors.values()) <= 1
            assert self.server.handed_over <= self.causes + self.server.expired
        self.now = max(self.now, end)


def play(course: Iterable[Asked], emptied: Collection[int] = ()) -> Server:
    """The server at the end of a course, before whose steps so numbered it forgets everything."""
    subject = Play()
    for step, asked in enumerate(course):
        if step in emptied:
            subject.empty()
        subject.ask(*asked)
    subject.run_until(subject.now + LEASE_S)
    return subject.server


CHANGE = st.none() | st.tuples(st.booleans(), st.integers(0, 2))


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.floats(0, 2), st.floats(0, 4), CHANGE), max_size=60),
    st.sets(st.integers(0, 59), max_size=6),
)
@settings(max_examples=200)
def test_two_living_monitors_never_speak_at_once(course: list[Asked], emptied: set[int]) -> None:
    """Whatever the pauses and delays, as long as both reach a server that keeps to its own clock; it may forget all."""
    play(course, emptied)


@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.5, 2.0]))
@settings(max_examples=100)
def test_they_hand_over_once_for_a_change_and_never_speak_at_once(seed: int, delay_s: float) -> None:
    """On an ordinary course: both ask about once a second, and now and then one sees less, or more."""
    random = Random(seed)

    def asks(name: str) -> Asked:
        change = (random.random() < 0.5, random.randrange(3)) if random.random() < 0.05 else None
        return name, random.uniform(0.1, 0.5), random.uniform(0.0, delay_s), change

    play(asks(name) for _ in range(60) for name in random.sample("xy", 2))


@pytest.mark.parametrize(
    ("x", "y", "handed_over"),
    [
        pytest.param((False, 0), (False, 0), 0, id="both fit"),
        pytest.param((True, 0), (False, 0), 1, id="the one that speaks is blind"),
        pytest.param((True, 0), (False, 2), 1, id="the other one sees at least"),
        pytest.param((False, 1), (False, 0), 1, id="a sink fails at the one that speaks"),
        pytest.param((False, 2), (False, 1), 1, id="fewer fail at the other one"),
        pytest.param((False, 1), (False, 1), 0, id="one fails at each"),
        pytest.param((False, 0), (True, 0), 0, id="the other one is blind"),
        pytest.param((True, 0), (True, 0), 0, id="both are blind"),
        pytest.param((True, 2), (True, 0), 0, id="both are blind, sinks fail at one"),
    ],
)
def test_the_one_that_speaks_gives_way_to_a_better_one(
    x: tuple[bool, int], y: tuple[bool, int], handed_over: int
) -> None:
    """Once, whoever is first to notice; and not back when it has recovered, since both are as good then."""
    start: list[Asked] = [("x", 0.5, 0.0, None), ("y", 0.5, 0.0, None)] * 6
    for blow in ([("x", 0.5, 0.0, x), ("y", 0.5, 0.0, y)], [("y", 0.5, 0.0, y), ("x", 0.5, 0.0, x)]):
        whole: list[Asked] = [*start, *blow, *start, ("x", 0.5, 0.0, (False, 0)), ("y", 0.5, 0.0, (False, 0)), *start]
        assert play(start).holder == "x"
        assert play(whole).handed_over == handed_over


@given(st.lists(st.tuples(st.floats(0.1, 2.0), st.booleans(), st.integers(0, 2)), max_size=60))
def test_a_lone_monitor_never_gives_way(course: list[tuple[float, bool, int]]) -> None:
    """However little it sees: the other one has left what it could do, and is not there any more."""
    server, monitor, own = Server(standings={"gone": (0, LEASE_S)}), leases(others=0), Standings(LEASE_S)
    now = 0.0
    for pause, unseen, failing in course:
        now += pause
        own.look([A], [A] if unseen else [], failing, now)
        grant, is_new = server.beat("me", monitor.claim(A, now), own.best(A, now), own.worst(A, now), now)
        monitor.answered({A: grant}, 0, now, now, is_new=is_new)
        assert monitor.heirs(now) == {}
    assert server.handed_over == 0
