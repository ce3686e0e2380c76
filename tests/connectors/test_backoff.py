"""How long to wait before trying again."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from connectors.backoff import Backoff


@given(st.integers(0, 2**32), st.integers(1, 2000))
def test_waits_grow_to_a_ceiling_and_never_past_it(seed: int, failures: int) -> None:
    """Full jitter: anywhere between nothing and a ceiling that doubles."""
    backoff = Backoff(1.0, 30.0, Random(seed))
    for failure in range(failures):
        assert 0.0 <= backoff.next() <= min(30.0, 2.0 ** min(failure, 10))


def test_waits_are_spread_over_the_whole_range() -> None:
    """A crowd that lost the same server does not come back together."""
    waits = []
    for seed in range(500):
        backoff = Backoff(1.0, 32.0, Random(seed))
        for _ in range(9):
            wait_s = backoff.next()
        waits.append(wait_s)
    assert min(waits) < 2.0
    assert max(waits) > 30.0
    assert 12.0 < sum(waits) / len(waits) < 20.0


def test_the_venues_wish_is_a_lower_bound() -> None:
    """Retry-After beats the jitter and the ceiling."""
    assert Backoff(1.0, 30.0, Random(1)).next(at_least_s=100.0) == 100.0


def test_after_a_reset_the_first_wait_is_short_again() -> None:
    """It works again."""
    backoff = Backoff(1.0, 30.0, Random(1))
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0
