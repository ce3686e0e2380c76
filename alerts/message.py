"""Message v1: what leaves the process, as JSON (README, "The message").

Numbers: unknown is ``null`` and the text says so, an infinite margin ratio is the string ``"Infinity"``; times are
RFC 3339 in UTC. `raised_at` of a repeat is that of what it repeats. Fold by `id`: equal ids say the same thing again;
every worsening, easing and resolving has its own. Follow one alert over its life by `key`.
"""

from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import orjson

from alerts.alert import Acknowledgement, Alert, AlertLeg, Reason, Severity, Silence, State, Step
from monitor.model.assessment import LegAssessment, PoolAssessment
from monitor.model.ids import Side

VERSION = 1
INFINITY = "Infinity"

_SEVERITIES = {severity.label: severity for severity in Severity}


def encode(alert: Alert) -> bytes:
    """The alert as Message v1."""
    return orjson.dumps(
        {
            "v": VERSION,
            "id": alert.id,
            "key": alert.key,
            "rule": alert.rule,
            "severity": alert.severity.label,
            "state": alert.state,
            "reason": alert.reason,
            "venue": alert.venue,
            "account": alert.account,
            "pool": alert.pool,
            "value": number(alert.value),
            "threshold": number(alert.threshold),
            "margin_ratio": number(alert.margin_ratio),
            "margin_balance": number(alert.margin_balance),
            "maintenance_margin": number(alert.maintenance_margin),
            "unit": alert.unit,
            "legs": [_leg(leg) for leg in alert.legs],
            "text": alert.text,
            "advice": alert.advice,
            "raised_at": _utc(alert.raised_at),
            "mark_at": None if alert.mark_at is None else _utc(alert.mark_at),
            "host": alert.host,
            **_handling(alert),
            **({"stale": True} if alert.stale else {}),
        },
        option=orjson.OPT_UTC_Z,
    )


def decode(payload: bytes, *, step: Step, serial: int, at: float) -> Alert:
    """The alert behind a message that this program wrote, with the fields that are kept beside it.

    A figure that was unknown comes back as None. Raises ValueError or KeyError for anything else.
    """
    message = orjson.loads(payload)
    return Alert(
        id=message["id"],
        key=message["key"],
        rule=message["rule"],
        severity=_SEVERITIES[message["severity"]],
        state=State(message["state"]),
        reason=Reason(message["reason"]),
        venue=message["venue"],
        account=message["account"],
        pool=message["pool"],
        value=_figure(message["value"]),
        threshold=_figure(message["threshold"]),
        margin_ratio=_figure(message["margin_ratio"]),
        margin_balance=_figure(message["margin_balance"]),
        maintenance_margin=_figure(message["maintenance_margin"]),
        unit=message["unit"],
        legs=tuple(_read_leg(leg) for leg in message["legs"]),
        text=message["text"],
        advice=message["advice"],
        raised_at=_seconds(message["raised_at"]),
        mark_at=None if message["mark_at"] is None else _seconds(message["mark_at"]),
        host=message["host"],
        step=step,
        serial=serial,
        at=at,
        acknowledged=_read_acknowledgement(message.get("acknowledged")),
        silenced=read_silence(message.get("silenced")),
        escalation=message.get("escalation", 0),
        stale=message.get("stale", False),
    )


def pack(alert: Alert) -> bytes:
    """The alert with what delivery needs to know of it, as JSON; see `unpack`."""
    return orjson.dumps([alert.step.value, alert.serial, alert.at, encode(alert).decode()])


def unpack(packed: bytes | str) -> Alert:
    """The alert behind `pack`. Raises ValueError, KeyError or TypeError for anything else."""
    step, serial, at, message = orjson.loads(packed)
    return decode(message.encode(), step=Step(step), serial=serial, at=at)


def _handling(alert: Alert) -> dict[str, Any]:
    """What people did about it: members that are absent while there is nothing to say."""
    fields: dict[str, Any] = {}
    if alert.acknowledged is not None:
        fields["acknowledged"] = acknowledgement_fields(alert.acknowledged)
    if alert.silenced is not None:
        fields["silenced"] = silence_fields(alert.silenced)
    if alert.escalation:
        fields["escalation"] = alert.escalation
    return fields


def acknowledgement_fields(acknowledgement: Acknowledgement | None) -> dict[str, Any] | None:
    """Who has seen an alert, and when, for JSON."""
    if acknowledgement is None:
        return None
    return {"by": acknowledgement.by, "at": rfc3339(acknowledgement.at)}


def silence_fields(silence: Silence | None) -> dict[str, Any] | None:
    """A silence for JSON."""
    if silence is None:
        return None
    return {
        "id": silence.id,
        "subject": silence.subject,
        "until": rfc3339(silence.until),
        "by": silence.by,
        "reason": silence.reason,
        "emergency": silence.emergency,
        "at": rfc3339(silence.at),
    }


def read_silence(fields: dict[str, Any] | None) -> Silence | None:
    """The silence behind `silence_fields`. Raises ValueError or KeyError for anything else."""
    if fields is None:
        return None
    until, at = _seconds(fields["until"]), _seconds(fields["at"])
    return Silence(fields["id"], fields["subject"], until, fields["by"], fields["reason"], fields["emergency"], at)


def _read_acknowledgement(fields: dict[str, Any] | None) -> Acknowledgement | None:
    return None if fields is None else Acknowledgement(fields["by"], _seconds(fields["at"]))


def state_fields(pool: PoolAssessment, now: float, silence: Silence | None = None) -> dict[str, Any]:
    """A pool's latest state as plain values, ready for JSON; the same figures by the same names as in messages.

    `silence` is what keeps the whole pool quiet, if anything does. The figures are the last ones that were seen:
    `stale` says whether they may have changed since, `mark_age_s` how old the oldest mark behind them is by the venue's
    time.
    """
    return {
        "v": VERSION,
        "pool": pool.pool,
        "venue": pool.venue,
        "account": pool.account,
        "scope": pool.scope,
        "basis": pool.basis.value,
        "unit": pool.unit,
        "margin_ratio": number(pool.margin_ratio),
        "margin_balance": number(pool.margin_balance),
        "maintenance_margin": number(pool.maintenance_margin),
        "venue_margin_ratio": number(pool.venue_margin_ratio),
        "distance": number(pool.distance),
        "model_error": number(pool.model_error),
        "legs": [_state_leg(leg) for leg in pool.legs],
        "unknown": list(pool.unknown),
        "mark_at": None if pool.marked_at is None else rfc3339(pool.marked_at),
        "mark_age_s": None if pool.marked_at is None else round(max(now - pool.marked_at, 0.0), 3),
        "stale": pool.old,
        "silenced": silence_fields(silence),
        "at": rfc3339(now),
    }


def number(value: float | None) -> float | str | None:
    """A figure for JSON, which has neither nan nor infinity: unknown is None, +inf is ``"Infinity"``."""
    if value is None or value != value:
        return None
    if -inf < value < inf:
        return float(value)  # a NumPy float is not a float to orjson
    return INFINITY if value > 0 else f"-{INFINITY}"


def rfc3339(seconds: float) -> str:
    """A time in UTC to the millisecond, for example ``2026-01-31T12:00:00.250Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _leg(leg: AlertLeg) -> dict[str, Any]:
    return {
        "instrument": leg.instrument,
        "side": leg.side,
        "size": number(leg.size),
        "mark_price": number(leg.mark_price),
        "liquidation_price": number(leg.liquidation_price),
        "distance": number(leg.distance),
    }


def _state_leg(leg: LegAssessment) -> dict[str, Any]:
    shown = AlertLeg(leg.instrument, leg.side, leg.size, leg.mark_price, leg.liquidation_price, leg.distance)
    return {
        **_leg(shown),
        "notional": number(leg.notional),
        "unrealized_pnl": number(leg.unrealized_pnl),
        "maintenance_margin": number(leg.maintenance_margin),
        "bankruptcy_price": number(leg.bankruptcy_price),
    }


def _read_leg(leg: dict[str, Any]) -> AlertLeg:
    mark = _figure(leg["mark_price"])
    size = _figure(leg["size"])
    return AlertLeg(
        instrument=leg["instrument"],
        side=Side(leg["side"]),
        size=nan if size is None else size,
        mark_price=nan if mark is None else mark,
        liquidation_price=_figure(leg["liquidation_price"]),
        distance=_figure(leg["distance"]),
    )


def _figure(value: float | str | None) -> float | None:
    if value is None or isinstance(value, int | float):
        return value
    return {INFINITY: inf, f"-{INFINITY}": -inf}[value]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
