"""Rules: one file each, pure. A rule judges its subject and puts the verdict into words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alerts.alert import Verdict, Wording
from alerts.rules import (
    distance,
    margin_ratio,
    model_error,
    rules_changed,
    sink_failure,
    stale_feed,
    unknown,
    venue_notice,
)
from monitor.model.assessment import Blindness, PoolAssessment
from monitor.model.events import VenueNotice
from monitor.model.rulechange import RulesChanged

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One rule. `name` is also its section under ``[alerts]``, whose model `judge` is given."""

    name: str
    judge: Callable[[Subject, Any], Verdict]
    describe: Callable[[Subject, Verdict], Wording]


MARGIN_RATIO: Rule[PoolAssessment] = Rule("margin_ratio", margin_ratio.judge, margin_ratio.describe)
DISTANCE: Rule[PoolAssessment] = Rule("distance", distance.judge, distance.describe)
POOL_RULES: tuple[Rule[PoolAssessment], ...] = (
    MARGIN_RATIO,
    DISTANCE,
    Rule("unknown", unknown.judge, unknown.describe),
    Rule("model_error", model_error.judge, model_error.describe),
)
STALE_FEED: Rule[Blindness] = Rule("stale_feed", stale_feed.judge, stale_feed.describe)
SINK_FAILURE: Rule[sink_failure.SinkFailure] = Rule("sink_failure", sink_failure.judge, sink_failure.describe)
VENUE_NOTICE: Rule[VenueNotice] = Rule("venue_notice", venue_notice.judge, venue_notice.describe)
RULES_CHANGED: Rule[RulesChanged] = Rule("rules_changed", rules_changed.judge, rules_changed.describe)
ALL_RULES: tuple[Rule[Any], ...] = (*POOL_RULES, STALE_FEED, SINK_FAILURE, VENUE_NOTICE, RULES_CHANGED)
