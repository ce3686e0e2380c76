"""Severities and ids."""

from alerts.alert import Severity, State, alert_id


def test_severities_are_ordered_and_have_words() -> None:
    """The worst is the greatest."""
    assert [severity.label for severity in sorted(Severity)] == ["notice", "warning", "critical", "emergency"]


def test_an_id_depends_on_everything_that_makes_a_change_and_on_nothing_else() -> None:
    """Short, the same in every run, and another one for every salt, key, serial, severity and state."""
    base = ("salt", "margin_ratio:binance/main/USDT", 3, Severity.WARNING, State.FIRING)
    others = [
        ("pepper", *base[1:]),
        (base[0], "distance:binance/main/USDT", *base[2:]),
        (*base[:2], 4, *base[3:]),
        (*base[:3], Severity.CRITICAL, State.FIRING),
        (*base[:4], State.RESOLVED),
    ]
    assert alert_id(*base) == alert_id(*base) == "471a99baf3a7b74e"
    assert len({alert_id(*each) for each in (base, *others)}) == len(others) + 1
