"""``[alerts]``: one section a rule, and how often what fires is said again."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from alerts.alert import Severity
from alerts.rules._ladder import RuleConfig
from alerts.rules.distance import DistanceConfig
from alerts.rules.margin_ratio import MarginRatioConfig
from alerts.rules.model_error import ModelErrorConfig
from alerts.rules.rules_changed import RulesChangedConfig
from alerts.rules.sink_failure import SinkFailureConfig
from alerts.rules.stale_feed import StaleFeedConfig
from alerts.rules.unknown import UnknownConfig
from alerts.rules.venue_notice import VenueNoticeConfig

RepeatSeconds = Annotated[float, Field(ge=1, allow_inf_nan=False)]


class RepeatConfig(BaseModel):
    """``[alerts.repeat]``: after how long a firing alert is said again, under the same id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notice_s: RepeatSeconds = 21_600.0
    warning_s: RepeatSeconds = 3_600.0
    critical_s: RepeatSeconds = 600.0
    emergency_s: RepeatSeconds = 120.0

    def of(self, severity: Severity) -> float:
        """Seconds between repeats at this severity."""
        return {
            Severity.NOTICE: self.notice_s,
            Severity.WARNING: self.warning_s,
            Severity.CRITICAL: self.critical_s,
            Severity.EMERGENCY: self.emergency_s,
        }[severity]


class EscalationConfig(BaseModel):
    """``[alerts.escalation]``: after how long an alert that nobody acknowledges is passed on to the next push route.

    It is passed on once for each route there is beyond the first, and never without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    critical_s: RepeatSeconds = 300.0
    emergency_s: RepeatSeconds = 120.0


class AlertsConfig(BaseModel):
    """Everything that the engine is told. A field bears the name of its rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin_ratio: MarginRatioConfig = MarginRatioConfig()
    distance: DistanceConfig = DistanceConfig()
    unknown: UnknownConfig = UnknownConfig()
    stale_feed: StaleFeedConfig = StaleFeedConfig()
    model_error: ModelErrorConfig = ModelErrorConfig()
    sink_failure: SinkFailureConfig = SinkFailureConfig()
    venue_notice: VenueNoticeConfig = VenueNoticeConfig()
    rules_changed: RulesChangedConfig = RulesChangedConfig()
    repeat: RepeatConfig = RepeatConfig()
    escalation: EscalationConfig = EscalationConfig()

    def rule(self, name: str) -> RuleConfig:
        """The section of the rule called `name`."""
        section = getattr(self, name)
        if not isinstance(section, RuleConfig):
            raise TypeError(f"alerts.{name} is not a rule")
        return section
