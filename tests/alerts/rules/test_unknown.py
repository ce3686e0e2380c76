"""Pools whose figures cannot be known."""

from math import nan

from alerts.alert import Severity
from alerts.rules.unknown import UnknownConfig, describe, judge
from tests.support.pools import a_pool


def test_unknown_figures_with_open_legs_are_critical() -> None:
    """The text names what is missing."""
    pool = a_pool(0.1, margin_ratio=nan, unknown=("no tiers for NEWUSDT", "no mark for NEWUSDT"))
    verdict = judge(pool, UnknownConfig())
    assert verdict.demands is Severity.CRITICAL
    assert describe(pool, verdict).text == (
        "unknown margin ratio · binance/main/USDT · no tiers for NEWUSDT, no mark for NEWUSDT · 1 position"
    )


def test_without_open_legs_it_is_a_notice() -> None:
    """Nothing is at risk."""
    assert judge(a_pool(0.1, unknown=("x",), legs=()), UnknownConfig()).demands is Severity.NOTICE


def test_a_known_pool_is_none_of_its_business() -> None:
    """However dangerous."""
    assert judge(a_pool(0.99), UnknownConfig()).demands is None
