"""The model against the venue's own numbers."""

from math import isnan
from typing import Annotated

from pydantic import Field

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import RuleConfig, Seconds
from monitor.model.assessment import PoolAssessment

EASE = 0.8
"""Share of the tolerance below which a disagreement counts as gone."""


class ModelErrorConfig(RuleConfig):
    """``[alerts.model_error]``: the relative disagreement with the venue that is an alert."""

    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.02
    calm_s: Seconds = 0.0


def judge(pool: PoolAssessment, config: ModelErrorConfig) -> Verdict:
    """A disagreement past the tolerance asks for `warning`; None means the venue reported nothing to compare with."""
    error = pool.model_error
    if error is None or isnan(error):
        return Verdict(None, Severity.EMERGENCY, Reason.UNKNOWN, error, config.tolerance, unknown=True)
    if abs(error) > config.tolerance:
        return Verdict(Severity.WARNING, Severity.WARNING, Reason.MODEL_DISAGREES, abs(error), config.tolerance)
    holds = Severity.WARNING if abs(error) > config.tolerance * EASE else None
    return Verdict(None, holds, Reason.MODEL_AGREES, abs(error), config.tolerance)


def describe(pool: PoolAssessment, verdict: Verdict) -> Wording:
    """The disagreement first, then both numbers: as computed, and as the venue reported it.

    Neither is the pool's present margin ratio, which goes on from the report and so agrees with the venue by then.
    """
    size = "unknown" if verdict.value is None else _words.percent(verdict.value)
    text = f"{size} model error · {pool.pool}"
    if (found := pool.disagreement) is not None:
        computed, reported = _words.amount(found.computed), _words.amount(found.reported)
        text += f" · {found.figure} {computed} {pool.unit} computed, the venue says {reported}"
    return Wording(text, "Trust the venue's figures for this pool until they agree again.")
