"""What an alert says it is about: the figures of its subject and the words of its rule. Pure."""

from collections.abc import Iterable
from typing import Any

from alerts.alert import Alert, AlertLeg, Reason, State, Verdict
from alerts.rules import Rule
from monitor.model.assessment import Blindness, PoolAssessment
from monitor.model.events import VenueNotice
from monitor.model.rulechange import RulesChanged

LEGS_MAX = 100
"""A message shows at most so many legs, the nearest to liquidation: brokers refuse messages of any size."""

_NO_FIGURES: dict[str, Any] = {
    **dict.fromkeys(
        ("venue", "account", "pool", "margin_ratio", "margin_balance", "maintenance_margin", "unit", "mark_at")
    ),
    "legs": (),
    "stale": False,
}
_FIELDS = (
    "venue", "account", "pool", "value", "threshold", "margin_ratio", "margin_balance", "maintenance_margin",
    "unit", "legs", "mark_at", "stale", "text", "advice",
)  # fmt: skip


def substance_of(rule: Rule[Any], subject: Any, verdict: Verdict, state: State) -> dict[str, Any]:
    """The fields that say what an alert about `subject` is about."""
    wording = rule.describe(subject, verdict)
    text = f"{wording.text} · resolved" if state is State.RESOLVED else wording.text
    advice = "" if state is State.RESOLVED else wording.advice
    return {
        "value": verdict.value,
        "threshold": verdict.threshold,
        "text": text,
        "advice": advice,
        **_figures(subject),
    }


def substance_again(last: Alert, state: State, reason: Reason) -> dict[str, Any]:
    """The same fields for an alert that was not judged yet in this run, or whose subject is gone: the last word's."""
    substance: dict[str, Any] = {name: getattr(last, name) for name in _FIELDS}
    if state is State.RESOLVED:
        substance["advice"] = ""
        substance["text"] = _closing(last, reason)
    return substance


def _closing(last: Alert, reason: Reason) -> str:
    # All alerts of a pool end with it: each names its rule, or they read as one that came several times.
    rule = last.rule.replace("_", " ")
    if reason is Reason.POOL_CLOSED:
        return f"0 positions left · {last.pool} ({rule}) · resolved"
    if reason is Reason.NOT_CONFIGURED:
        return f"0 watched: {last.key.partition(':')[2]} is not configured any more ({rule}) · resolved"
    return f"{last.text} · resolved"


def _figures(subject: object) -> dict[str, Any]:
    if isinstance(subject, RulesChanged):
        return _figures(subject.pool)
    if isinstance(subject, PoolAssessment):
        return {
            "venue": subject.venue,
            "account": subject.account,
            "pool": subject.pool,
            "margin_ratio": subject.margin_ratio,
            "margin_balance": subject.margin_balance,
            "maintenance_margin": subject.maintenance_margin,
            "unit": subject.unit,
            "mark_at": subject.marked_at,
            "stale": subject.old,
            "legs": _legs(subject),
        }
    figures: dict[str, Any] = {**_NO_FIGURES}
    if isinstance(subject, Blindness):
        figures |= {"venue": subject.venue, "account": subject.account, "margin_ratio": subject.worst_ratio}
    elif isinstance(subject, VenueNotice):
        figures |= {"venue": subject.venue, "account": subject.account}
    return figures


def _legs(pool: PoolAssessment) -> tuple[AlertLeg, ...]:
    legs: Iterable[Any] = pool.legs
    if len(pool.legs) > LEGS_MAX:
        near = sorted(
            pool.legs, key=lambda leg: (leg.distance is None, leg.distance if leg.distance == leg.distance else 0.0)
        )
        legs = near[:LEGS_MAX]
    return tuple(
        AlertLeg(leg.instrument, leg.side, leg.size, leg.mark_price, leg.liquidation_price, leg.distance)
        for leg in legs
    )
