"""Blindness: a feed that carries no data while risk is open."""

from typing import Annotated

from pydantic import Field

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import RuleConfig, Seconds
from monitor.model.assessment import Blindness

REASONS = {"mark": Reason.MARKS_STALE, "user": Reason.USER_STREAM_STALE}


class StaleFeedConfig(RuleConfig):
    """``[alerts.stale_feed]``: how old data may be, and from which last known ratio on blindness is worse.

    `mark_s` is the age at which marks count as stale (judged where the feed is); `account_s` how long an account may
    be out of sync, or its user stream stale, before that is an alert.
    """

    mark_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    account_s: Seconds = 10.0
    critical_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.50
    emergency_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.85
    calm_s: Seconds = 5.0


def judge(blind: Blindness, config: StaleFeedConfig) -> Verdict:
    """Severity by the risk behind it: none at most `notice`, else `warning`, or worse by the last known ratio."""
    reason = REASONS.get(blind.stream, Reason.ACCOUNT_OUT_OF_SYNC)
    threshold = config.mark_s if blind.stream == "mark" else config.account_s
    severity = _severity(blind, config)
    return Verdict(severity, severity, reason, blind.age_s, threshold)


def hold_s(blind: Blindness, config: StaleFeedConfig) -> float:
    """Marks have waited `mark_s` already. Anything else gets `account_s` from its last data on."""
    if blind.stream == "mark":
        return config.hold_s
    waited_s = 0.0 if blind.age_s is None else blind.age_s
    return max(config.hold_s, config.account_s - waited_s)


def describe(blind: Blindness, verdict: Verdict) -> Wording:
    """The age first, then what cannot be seen and what stands behind it."""
    where = f"{blind.venue}/{blind.account}"
    if verdict.demands is None:
        lasted = "" if blind.age_s is None else f"{_words.seconds(blind.age_s)} blind · "
        return Wording(f"{lasted}{where} · {_what(blind)} can be seen again")
    age = "no data yet" if blind.age_s is None else f"{_words.seconds(blind.age_s)} without data"
    text = f"{age} · {where} · {_what(blind)} · {_risk(blind)}"
    if blind.detail:
        text = f"{text} · {blind.detail}"
    return Wording(text, "" if verdict.demands is Severity.NOTICE else "Watch this account at the venue meanwhile.")


def _severity(blind: Blindness, config: StaleFeedConfig) -> Severity:
    ratio = blind.worst_ratio
    if ratio is not None and ratio >= config.emergency_ratio:
        return Severity.EMERGENCY
    if ratio is not None and ratio >= config.critical_ratio:
        return Severity.CRITICAL
    # NaN is neither above nor below: an account that was never seen, or whose ratio is unknown, is not without risk.
    if blind.notional == 0 and not _is_unseen(blind):
        return Severity.NOTICE
    return Severity.WARNING


def _is_unseen(blind: Blindness) -> bool:
    """Whether nothing is known of the account: then no positions are known either, which is not the same as none."""
    return blind.stream != "mark" and blind.age_s is None and blind.worst_ratio is None


def _what(blind: Blindness) -> str:
    if blind.stream == "mark":
        return f"marks of {_words.listing(blind.instruments)}" if blind.instruments else "marks"
    return "user stream" if blind.stream == "user" else "account"


def _risk(blind: Blindness) -> str:
    if _is_unseen(blind):
        return "risk unknown"
    if blind.notional == 0:
        return "no open risk"
    ratio = "" if blind.worst_ratio is None else f", last margin ratio {_words.ratio(blind.worst_ratio)}"
    worth = " and ".join(f"{_words.amount(amount)} {unit}" for unit, amount in blind.amounts)
    return f"positions worth {worth or _words.amount(blind.notional)}{ratio}"
