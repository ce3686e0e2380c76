"""What the venue itself says: margin calls, liquidation and auto-deleveraging orders."""

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules._ladder import RuleConfig, Seconds
from monitor.model.events import VenueNotice

_KINDS = {
    "margin_call": (Severity.CRITICAL, Reason.MARGIN_CALL, "margin call"),
    "liquidation": (Severity.EMERGENCY, Reason.LIQUIDATION, "liquidation order"),
    "adl": (Severity.CRITICAL, Reason.ADL, "auto-deleveraging order"),
}
_OTHER = (Severity.WARNING, Reason.VENUE_NOTICE, "notice")


class VenueNoticeConfig(RuleConfig):
    """``[alerts.venue_notice]``: a notice has no end of its own; it counts as over after `calm_s` without another."""

    calm_s: Seconds = 900.0

    @field_validator("hold_s")
    @classmethod
    def _refuse_hold(cls, hold_s: float) -> float:
        if hold_s > 0:
            problem = "must be left out: a venue says a notice once, and one that is held back is lost"
            raise PydanticCustomError("notice_held", problem)
        return hold_s


def judge(notice: VenueNotice, config: VenueNoticeConfig) -> Verdict:
    """Severity by kind; a kind that is not known is still passed on."""
    severity, reason, _ = _KINDS.get(notice.kind, _OTHER)
    return Verdict(severity, severity, reason, 1.0, 1.0)


def describe(notice: VenueNotice, verdict: Verdict) -> Wording:
    """What came, for what."""
    words = _KINDS[notice.kind][2] if notice.kind in _KINDS else notice.kind
    about = notice.instrument or "account"
    if verdict.demands is None:
        return Wording(f"0 more: {words} of {notice.venue}/{notice.account} · {about} · over")
    detail = f" · {notice.detail}" if notice.detail else ""
    return Wording(f"1 {words} from {notice.venue}/{notice.account} · {about}{detail}")
