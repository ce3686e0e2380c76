"""Which key is due next."""

import random

from hypothesis import given
from hypothesis import strategies as st

from alerts.timers import SLACK, Timers


def test_keys_come_in_the_order_of_their_moments_and_once() -> None:
    """Not before; what was moved only at its new moment, what was cleared not at all."""
    subject = Timers()
    for key, at in {"late": 3.0, "soon": 1.0, "moved": 0.5, "never": 2.0}.items():
        subject.set(key, at)
    subject.set("moved", 2.5)
    subject.set("never", None)
    assert subject.next() == 1.0
    assert subject.take(0.9) is None
    assert [subject.take(10.0) for _ in range(4)] == ["soon", "moved", "late", None]
    assert subject.next() is None


def test_a_key_that_was_moved_back_comes_once() -> None:
    """What it left behind on the way is not taken for it."""
    subject = Timers()
    for at in (1.0, 2.0, 1.0):
        subject.set("key", at)
    assert [subject.take(5.0) for _ in range(2)] == ["key", None]


def test_moments_that_tremble_pile_nothing_up() -> None:
    """Nor do those that are set and cleared in turn."""
    subject = Timers()
    subject.set("still", 7.0)
    for tick in range(10_000):
        subject.set("trembling", 10.0 + tick * 0.001)
        subject.set("set and cleared", 20.0 - tick * 0.001 if tick % 2 else None)
    assert len(subject) <= SLACK + 2 * 3
    assert subject.next() == 7.0


@given(st.integers())
def test_always_the_earliest(seed: int) -> None:
    """As a look at all of them finds it, whatever is set, moved, cleared and taken."""
    rng = random.Random(seed)
    subject, plain = Timers(), dict[str, float]()
    for _ in range(300):
        key = f"k{rng.randrange(10)}"
        if rng.random() < 0.2:
            now = rng.uniform(0.0, 5.0)
            at, first = min(((at, key) for key, at in plain.items()), default=(9.0, None))
            assert subject.take(now) == (first if at <= now else None)
            if first is not None and at <= now:
                del plain[first]
        elif rng.random() < 0.2:
            subject.set(key, None)
            plain.pop(key, None)
        else:
            plain[key] = rng.uniform(0.0, 10.0)
            subject.set(key, plain[key])
        assert subject.next() == min(plain.values(), default=None)
