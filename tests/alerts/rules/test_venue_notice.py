"""What the venue itself says."""

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.venue_notice import VenueNoticeConfig, describe, judge
from monitor.model.events import VenueNotice


@pytest.mark.parametrize(
    ("kind", "severity", "reason", "words"),
    [
        ("margin_call", Severity.CRITICAL, Reason.MARGIN_CALL, "1 margin call from binance/main · account · hurry"),
        ("liquidation", Severity.EMERGENCY, Reason.LIQUIDATION, "1 liquidation order from binance/main"),
        ("adl", Severity.CRITICAL, Reason.ADL, "1 auto-deleveraging order from binance/main"),
        ("settlement", Severity.WARNING, Reason.VENUE_NOTICE, "1 settlement from binance/main"),
    ],
)
def test_kinds(kind: str, severity: Severity, reason: Reason, words: str) -> None:
    """Each kind has its severity; a kind that is not known is passed on."""
    notice = VenueNotice("binance", "main", 0, kind, "", "hurry")
    verdict = judge(notice, VenueNoticeConfig())
    assert (verdict.demands, verdict.reason) == (severity, reason)
    assert describe(notice, verdict).text.startswith(words)
