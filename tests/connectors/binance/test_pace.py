"""How soon after one snapshot an account may take the next."""

from connectors.binance_common.pace import BURST, WEIGHT_PER_MINUTE_MAX, Pace

ROUND = 36


def taken(seconds: float, pace: Pace, since: float = 1000.0) -> list[float]:
    """When snapshots begin that are always wanted, a second apart at the least."""
    moments, now = [], since
    while now < since + seconds:
        pace.leak(now)
        pace.spend(ROUND)
        moments.append(now)
        now += max(1.0, pace.pause_s)
    return moments


def test_a_few_snapshots_follow_each_other_at_once() -> None:
    """As many as the brim allows."""
    first, second, third, *_ = taken(60.0, Pace())
    assert (second - first, third - second) == (1.0, 1.0)


def test_in_the_long_run_an_account_takes_its_share_and_no_more() -> None:
    """However much is wanted."""
    spent = ROUND * len(taken(3600.0, Pace()))
    assert 60 * WEIGHT_PER_MINUTE_MAX * 0.95 < spent <= 60 * WEIGHT_PER_MINUTE_MAX + BURST + ROUND


def test_a_quiet_while_gives_the_burst_back_and_not_more() -> None:
    """However long it was."""
    pace = Pace()
    busy = len(taken(60.0, pace))
    assert abs(len(taken(60.0, pace, since=100_000.0)) - busy) <= 1
