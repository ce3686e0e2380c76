"""What the rules share: configuration of one rule, and ladders of rungs."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from alerts.alert import Severity

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RuleConfig(BaseModel):
    """What every rule has: how long a condition must last before it fires, and be gone before it eases or resolves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hold_s: Seconds = 0.0
    calm_s: Seconds = 30.0


class LadderConfig(RuleConfig):
    """Rungs by severity. A rung left out is off; a section that names no rung at all has the default ones."""

    rising: ClassVar[bool]
    """Whether danger rises with the value (margin ratio) or falls with it (distance)."""
    default_rungs: ClassVar[dict[str, float]]

    notice: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    warning: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    critical: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    emergency: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    hysteresis: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9

    @model_validator(mode="before")
    @classmethod
    def _fill_rungs(cls, value: Any) -> Any:
        # Somebody who sets only `hysteresis` must not switch every warning off by it.
        if isinstance(value, dict) and not any(severity.label in value for severity in Severity):
            return {**cls.default_rungs, **value}
        return value

    @field_validator("warning", "critical", "emergency")
    @classmethod
    def _check_order(cls, rung: float | None, found: ValidationInfo) -> float | None:
        # At the rung itself, and not of the whole: a fault elsewhere in the section must not hide this one.
        milder = [(each.label, found.data.get(each.label)) for each in Severity if each.label in found.data]
        on = [(label, value) for label, value in milder if value is not None]
        if rung is not None and on and not (rung > on[-1][1] if cls.rising else rung < on[-1][1]):
            wrong = f"must be {'above' if cls.rising else 'below'} {on[-1][0]} = {on[-1][1]}"
            raise PydanticCustomError("rung_order", "{wrong}", {"wrong": wrong})
        return rung

    def rungs(self) -> Sequence[tuple[Severity, float]]:
        """The rungs that are on, mildest first."""
        return [(severity, rung) for severity, rung, _ in self._ladder]

    @cached_property
    def _ladder(self) -> tuple[tuple[Severity, float, float], ...]:
        """Severity, rung and release level, mildest first; kept, because every look at every pool needs it."""
        by_severity = ((severity, getattr(self, severity.label)) for severity in Severity)
        return tuple((severity, rung, self.release(rung)) for severity, rung in by_severity if rung is not None)

    def release(self, rung: float) -> float:
        """The value at which a severity that fires because of `rung` lets go: rung x hysteresis (or / hysteresis)."""
        return rung * self.hysteresis if self.rising else rung / self.hysteresis

    @property
    def first_release(self) -> float | None:
        """The value past which nothing holds any more; None without a rung."""
        return self._ladder[0][2] if self._ladder else None

    def reached(self, value: float) -> tuple[Severity | None, Severity | None, float | None]:
        """What `value` demands, what it still holds by hysteresis, and the rung behind the one (or else the other)."""
        demands: Severity | None = None
        holds: Severity | None = None
        demanded: float | None = None
        held: float | None = None
        rising = self.rising
        for severity, rung, release in self._ladder:
            if (value < release) if rising else (value > release):
                break
            holds, held = severity, rung
            if (value >= rung) if rising else (value <= rung):
                demands, demanded = severity, rung
        return demands, holds, demanded if demanded is not None else held
