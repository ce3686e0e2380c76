"""From a change of the venue's rules to what is said about it."""

from dataclasses import replace

from alerts.alert import Alert, Reason, Restored, Severity, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from monitor.model.ids import Side
from monitor.model.rulechange import MovedPrice, RuleChange, RuleInput, RulesChanged
from tests.support.pools import a_leg, a_pool

POOL = a_pool(0.3, legs=(a_leg(),))
WORSE = MovedPrice("BTCUSDT", Side.LONG, 57_000.0, 57_820.0, 0.034, 0.02)
CHANGE = RulesChanged(
    POOL, (replace(WORSE, distance=0.03),), (RuleChange("BTCUSDT", RuleInput.MAINTENANCE_RATE, 0.005, 0.01),)
)


def engine() -> Engine:
    """An engine with the defaults."""
    return Engine(AlertsConfig(), "box", salt="salt")


def until(subject: Engine, now: float) -> list[Alert]:
    """What time alone brings."""
    said: list[Alert] = []
    while (at := subject.deadline()) is not None and at <= now:
        said += subject.due(at)
    return said


def test_a_change_leaves_at_once_with_both_prices_and_the_pool() -> None:
    """The value is the new price, the threshold the old one; figures and legs are the pool's."""
    (alert,) = engine().on_rules_changed(CHANGE, 100.0)
    assert (alert.key, alert.rule) == ("rules_changed:binance/main/USDT", "rules_changed")
    assert (alert.severity, alert.state, alert.reason) == (Severity.WARNING, State.FIRING, Reason.RULES_CHANGED)
    assert (alert.value, alert.threshold) == (57_820.0, 57_000.0)
    assert (alert.venue, alert.account, alert.pool, alert.unit) == ("binance", "main", POOL.pool, "USDT")
    assert (alert.margin_ratio, alert.mark_at) == (0.3, POOL.marked_at)
    assert [leg.liquidation_price for leg in alert.legs] == [57_820.0]
    assert alert.text.startswith("57,820 liquidation price, was 57,000 · BTCUSDT long · binance/main/USDT")


def test_a_change_is_over_after_a_while() -> None:
    """It is a moment: nothing repeats it for ever, and its end does not claim that the old rules are back."""
    subject = engine()
    subject.on_rules_changed(CHANGE, 0.0)
    assert until(subject, 899.0) == []
    (over,) = until(subject, 900.0)
    assert (over.step, over.state) == (Step.RESOLVED, State.RESOLVED)
    assert over.text == "0 more changes of rules · binance/main/USDT · over · resolved"
    assert subject.firing() == []


def test_another_change_is_said_whichever_way_it_goes() -> None:
    """Back again, worse, and the same once more: each has an id of its own, and none is swallowed."""
    subject = engine()
    back = replace(
        CHANGE, moved=(replace(WORSE, before=57_820.0, after=57_000.0, distance_before=0.02, distance=0.03),)
    )
    said = subject.on_rules_changed(CHANGE, 0.0) + subject.on_rules_changed(back, 10.0)
    said += subject.on_rules_changed(CHANGE, 20.0)
    said += subject.on_rules_changed(replace(CHANGE, moved=(WORSE,)), 30.0)
    assert len({alert.id for alert in said}) == 4
    assert [alert.severity for alert in said] == [Severity.WARNING] * 3 + [Severity.CRITICAL]
    assert [alert.value for alert in said] == [57_820.0, 57_000.0, 57_820.0, 57_820.0]
    assert {alert.state for alert in said} == {State.FIRING}


def test_pools_do_not_share_an_alert() -> None:
    """Each pool has a key of its own."""
    subject = engine()
    other = replace(CHANGE, pool=a_pool(0.3, scope="BTCUSDT:long"))
    said = subject.on_rules_changed(CHANGE, 0.0) + subject.on_rules_changed(other, 0.0)
    assert [alert.key.partition(":")[2] for alert in said] == ["binance/main/USDT", "binance/main/BTCUSDT:long"]


def test_a_pool_that_is_closed_ends_it() -> None:
    """Nobody needs to hear of the price of a position that is gone."""
    subject = engine()
    subject.on_rules_changed(CHANGE, 0.0)
    (over,) = subject.on_pool_gone(POOL.pool, 5.0)
    assert (over.step, over.reason) == (Step.RESOLVED, Reason.POOL_CLOSED)


def test_after_a_restart_it_ends_by_itself() -> None:
    """No rule judges it again, so its quiet while runs on from when it was said."""
    subject = engine()
    (alert,) = subject.on_rules_changed(replace(CHANGE, moved=(WORSE,)), 0.0)
    assert alert.severity is Severity.CRITICAL
    after = engine()
    after.restore(Restored("salt", (alert,)), 100.0)
    repeat, over = until(after, 2000.0)
    assert (repeat.step, repeat.id, repeat.reason, repeat.text) == (
        Step.REPEATED, alert.id, Reason.RULES_CHANGED, alert.text,
    )  # fmt: skip
    assert (over.step, over.at) == (Step.RESOLVED, 900.0)
    assert after.firing() == []
