"""The venue's rules (tiers, fees, haircuts) have changed and moved a liquidation price, with nothing done by anybody.

A moment and no condition: it fires when the change is read, and counts as over after a while. The margin ratio and the
distance go on being judged by their own rules. What changed while no monitor ran is not told: the rules that an earlier
run knew are not kept.
"""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import RuleConfig, Seconds
from monitor.model.rulechange import MovedPrice, RuleChange, RuleInput, RulesChanged

_OTHERS_MAX = 3
_RATES = (RuleInput.MAINTENANCE_RATE, RuleInput.TAKER_FEE_RATE, RuleInput.HAIRCUT)


class RulesChangedConfig(RuleConfig):
    """``[alerts.rules_changed]``: `critical_distance` is how near to the mark a price that came nearer is critical."""

    critical_distance: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.025
    calm_s: Seconds = 900.0

    @field_validator("hold_s")
    @classmethod
    def _refuse_hold(cls, hold_s: float) -> float:
        if hold_s > 0:
            problem = "must be left out: rules change once, and a change that is held back is lost"
            raise PydanticCustomError("change_held", problem)
        return hold_s


def judge(change: RulesChanged, config: RulesChangedConfig) -> Verdict:
    """By the position that is worst off: nearer is `warning`, or `critical` when near or passed; farther is `notice`.

    The value is its liquidation price now, the threshold the one before; None for none.
    """
    worst = change.moved[0]
    severity = Severity.NOTICE
    if worst.worse:
        near = worst.distance is not None and worst.distance <= config.critical_distance
        severity = Severity.CRITICAL if near else Severity.WARNING
    return Verdict(severity, severity, Reason.RULES_CHANGED, worst.after, worst.before)


def describe(change: RulesChanged, verdict: Verdict) -> Wording:
    """The new price first, then the old one, whose it is, the other positions of the pool, and what changed."""
    worst, *others = change.moved
    pool = change.pool.pool
    if verdict.demands is None:
        return Wording(f"0 more changes of rules · {pool} · over")
    price = "no" if worst.after is None else _words.amount(worst.after)
    parts = [f"{price} liquidation price, was {_price(worst.before)}", f"{worst.instrument} {worst.side.value}", pool]
    if others:
        more = f" and {len(others) - _OTHERS_MAX} more" if len(others) > _OTHERS_MAX else ""
        parts.append(f"also {', '.join(map(_other, others[:_OTHERS_MAX]))}{more}")
    causes = [_cause(each, worst) for each in change.changes]
    if causes:
        parts.append(_words.listing(tuple(causes)))
    return Wording(" · ".join(parts), _advice(change) if worst.worse else "")


def _advice(change: RulesChanged) -> str:
    asked = "The venue asks for more, or lets less count, than before; nothing about the position itself has changed."
    return f"{asked} {_words.remedy(change.pool)}".rstrip()


def _price(price: float | None) -> str:
    return "none" if price is None else _words.amount(price)


def _other(leg: MovedPrice) -> str:
    return f"{leg.instrument} {leg.side.value} {_price(leg.after)} (was {_price(leg.before)})"


def _cause(change: RuleChange, worst: MovedPrice) -> str:
    about = f"{change.of} " if change.of != worst.instrument else ""
    if change.rule is RuleInput.TIERS:
        return f"{about}another {change.rule.value}"
    return f"{about}{change.rule.value} {_figure(change.rule, change.before)} -> {_figure(change.rule, change.after)}"


def _figure(rule: RuleInput, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 100:.4g} %" if rule in _RATES else f"{value:.8g}"
