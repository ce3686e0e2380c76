"""What programs, and people without JavaScript, see over HTTP. Pure: values in, bytes and text out.

Figures bear the names, and numbers and times the form, that they have in messages (`alerts.message`): an unknown figure
is null, and the pool's `unknown` says why; a margin ratio without bound is ``"Infinity"``; what does not exist (a
liquidation price that a position does not have) is null too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, isinf, isnan, log10, nan

import orjson

from alerts.alert import Alert, Silence
from alerts.danger import CALM, Danger, Scale
from alerts.message import number, rfc3339, silence_fields
from alerts.silences import silence_over
from monitor.model.assessment import (
    AccountSight,
    DistanceRemedy,
    FeedHealth,
    FeedState,
    LegAssessment,
    PoolAssessment,
    PoolTable,
    Remedy,
)

PERCENT_DECIMALS_MAX = 8
SILENCES_MAX = 50
"""Silences listed on the plain page."""

NOT_ASSESSED = "not assessed in full at the moment"
ACCOUNTS_NAMED_MAX = 5

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool: its figures as they are now, its last full assessment where there is one, and what keeps it quiet."""

    pool: str
    margin_balance: float
    maintenance_margin: float
    margin_ratio: float
    assessment: PoolAssessment | None
    danger: Danger = CALM
    silence: Silence | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """What keeps the figures from being known; never empty for a ratio that is unknown."""
        known_reasons = self.assessment.unknown if self.assessment is not None else ()
        return known_reasons or ((NOT_ASSESSED,) if isnan(self.margin_ratio) else ())


def rows(
    table: PoolTable,
    assessments: Mapping[str, PoolAssessment],
    scale: Scale,
    most: int,
    silences: Sequence[Silence],
    now: float,
) -> Iterator[PoolRow]:
    """The `most` endangered pools, worst first; `silences` are those in force, of which some may be over `now`.

    All figures of a row are of one moment: those of its assessment, at most about a second old, where there is one.
    """
    for index in scale.worst(table, assessments, most).tolist():
        pool = table.pools[index]
        assessment, distance = assessments.get(pool), None
        if assessment is None:
            columns = (table.margin_balance, table.maintenance_margin, table.margin_ratio)
            balance, maintenance, ratio = (float(column[index]) for column in columns)
        else:
            balance, maintenance, ratio = (
                assessment.margin_balance,
                assessment.maintenance_margin,
                assessment.margin_ratio,
            )
            distance = assessment.distance
        danger = scale.danger(pool, ratio, distance)
        yield PoolRow(pool, balance, maintenance, ratio, assessment, danger, silence_over(pool, silences, now))


def pool_json(row: PoolRow) -> bytes:
    """One pool of ``/api/v1/pools``. `legs` is null for a pool that is not assessed in full at the moment."""
    venue, account, scope = row.pool.split("/", 2)
    document: Json = {"pool": row.pool, "venue": venue, "account": account, "scope": scope}
    document |= {
        "margin_balance": number(row.margin_balance),
        "maintenance_margin": number(row.maintenance_margin),
        "margin_ratio": number(row.margin_ratio),
        "unknown": row.unknown,
        "severity": None if row.danger.severity is None else row.danger.severity.label,
        "severity_by": row.danger.by,
        "silenced": silence_fields(row.silence),
    }
    return orjson.dumps(document | _assessed(row.assessment))


def _assessed(assessment: PoolAssessment | None) -> Json:
    if assessment is None:
        absent = (
            "basis",
            "unit",
            "venue_margin_ratio",
            "distance",
            "model_error",
            "mark_at",
            "stale",
            "remedy",
            "distance_remedy",
            "legs",
        )
        return dict.fromkeys(absent)
    return {
        "basis": assessment.basis.value,
        "unit": assessment.unit,
        "venue_margin_ratio": number(assessment.venue_margin_ratio),
        "distance": number(assessment.distance),
        "model_error": number(assessment.model_error),
        "mark_at": None if assessment.marked_at is None else rfc3339(assessment.marked_at),
        "stale": assessment.old,
        "remedy": _remedy(assessment.remedy),
        "distance_remedy": _remedy(assessment.distance_remedy),
        "legs": [_leg(leg) for leg in assessment.legs],
    }


def _remedy(remedy: Remedy | DistanceRemedy | None) -> Json | None:
    if remedy is None:
        return None
    ways: Json = {"add_collateral": number(remedy.add_collateral), "cut_fraction": number(remedy.cut_fraction)}
    if isinstance(remedy, Remedy):
        return {"target_ratio": number(remedy.target_ratio), **ways}
    return {"target_distance": number(remedy.target_distance), **ways}


def _leg(leg: LegAssessment) -> Json:
    return {
        "instrument": leg.instrument,
        "side": leg.side.value,
        "size": number(leg.size),
        "mark_price": number(leg.mark_price),
        "notional": number(leg.notional),
        "unrealized_pnl": number(leg.unrealized_pnl),
        "maintenance_margin": number(leg.maintenance_margin),
        "liquidation_price": number(leg.liquidation_price),
        "full_liquidation_price": number(leg.full_liquidation_price),
        "bankruptcy_price": number(leg.bankruptcy_price),
        "distance": number(leg.distance),
        "adl_rank": leg.adl_rank,
        "funding_rate": number(leg.funding_rate),
        "next_funding": number(leg.next_funding),
        "next_funding_at": None if leg.next_funding_at is None else rfc3339(leg.next_funding_at),
        "funding_interval_s": number(leg.funding_interval_s),
    }


STYLESHEET = """\
:root { color-scheme: light dark; }
body { font: 1rem/1.4 system-ui, sans-serif; margin: 1rem; max-width: 70rem; }
li, th[scope="row"] { overflow-wrap: anywhere; }
th[scope="row"] { min-width: 9rem; }
.scroller { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 0.25rem 0.75rem; text-align: left; border-bottom: 1px solid; }
td.figure, th.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
/* On a phone the ratio stands in sight, too; what is right of it can be scrolled to. */
@media (max-width: 30rem) { th, td { padding: 0.25rem 0.35rem; } th[scope="row"] { min-width: 6rem; } }
.bad { border: 3px solid; padding: 0.5rem 1rem; margin-bottom: 1rem; font-weight: bold; }
"""


@dataclass(frozen=True, slots=True)
class PageState:
    """All that the plain page shows. `total` counts the pools, of which `rows` may be only the riskiest."""

    at: float
    total: int
    rows: Iterable[PoolRow]
    reasons: Sequence[str]
    alerts: Sequence[Alert]
    feeds: Sequence[FeedHealth]
    silences: Sequence[Silence] = ()
    unread: Sequence[str] = ()


def unread(accounts: Iterable[AccountSight]) -> list[str]:
    """Those that were never read whole, so that nothing is known of them, as ``venue/account``."""
    return [f"{each.venue}/{each.account}" for each in accounts if not each.read]


def without_pools(ready: bool, unread: Sequence[str]) -> str:
    """What is said where no pool is known. That none has risk open is known only while everything is seen."""
    if unread:
        names = ", ".join(unread[:ACCOUNTS_NAMED_MAX])
        more = f" and {len(unread) - ACCOUNTS_NAMED_MAX} more" if len(unread) > ACCOUNTS_NAMED_MAX else ""
        return f"Not read yet: {names}{more}. What risk is open there is not known."
    return "No pool has risk open." if ready else "What risk is open is not known: not everything is seen."


def page(state: PageState) -> Iterator[str]:
    """The plain page in small pieces: what is wrong first, then the pools by danger, as of one moment that it names."""
    troubled = [feed for feed in state.feeds if feed.state is not FeedState.LIVE]
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>marginwatch</title>
<link rel="stylesheet" href="/page.css">
</head>
<body>
<h1>marginwatch</h1>
<p>As of {rfc3339(state.at)}; read again every 5 seconds.</p>
"""
    yield _list("Not everything is seen", state.reasons)
    yield _list("Alerts", map(_alert, state.alerts))
    yield _list("Streams in trouble", [_feed(feed) for feed in troubled])
    yield from _pools(state)
    yield _silences(state.silences)
    yield """<p><a href="/">board</a> · <a href="/api/v1/pools">pools</a> · <a href="/api/v1/alerts">alerts</a> ·
<a href="/metrics">metrics</a> ·
<a href="/readyz">readiness</a> · <a href="/healthz">health</a></p>
</body>
</html>
"""


def _list(title: str, items: Iterable[str], *, bad: bool = True) -> str:
    entries = "".join(f"<li>{escape(item)}</li>" for item in items)
    kind = ' class="bad"' if bad else ""
    return f"<section{kind}><h2>{title}</h2><ul>{entries}</ul></section>\n" if entries else ""


def _alert(alert: Alert) -> str:
    said_at = alert.raised_at if alert.said_at is None else alert.said_at
    parts = [f"{alert.severity.label} since {rfc3339(alert.raised_at)}, said {rfc3339(said_at)}: {alert.text}"]
    if alert.acknowledged is not None:
        parts.append(f"acknowledged by {alert.acknowledged.by} at {rfc3339(alert.acknowledged.at)}")
    if alert.silenced is not None:
        parts.append(_quiet(alert.silenced))
    return " · ".join(parts)


def _quiet(silence: Silence) -> str:
    even = ", even emergencies" if silence.emergency else ""
    return f"silent until {rfc3339(silence.until)}{even}, by {silence.by}: {silence.reason}"


def _silences(silences: Sequence[Silence]) -> str:
    lines = [f"{silence.subject}: {_quiet(silence)}" for silence in silences[:SILENCES_MAX]]
    if len(silences) > SILENCES_MAX:
        lines.append(f"and {len(silences) - SILENCES_MAX} more")
    return _list("Silences", lines, bad=False)


def _feed(feed: FeedHealth) -> str:
    age = "no data yet" if feed.age_s is None else f"data {feed.age_s:.1f} s old"
    where = "/".join(part for part in (feed.venue, feed.account, feed.stream) if part)
    return f"{where}: {feed.state.value}, {age}{f', {feed.detail}' if feed.detail else ''}"


def _pools(state: PageState) -> Iterator[str]:
    if not state.total:
        yield f"<p>{escape(without_pools(not state.reasons, state.unread))}</p>\n"
        return
    yield """<div class="scroller" tabindex="0" role="region" aria-label="Pools"><table>
<caption>Pools, the most dangerous first. Margin ratio 100 % is the venue's first liquidation stage.</caption>
<thead><tr><th scope="col">Pool</th><th scope="col">Severity</th><th scope="col" class="figure">Margin ratio</th>
<th scope="col" class="figure">To liquidation</th><th scope="col" class="figure">Margin balance</th>
<th scope="col" class="figure">Maintenance</th><th scope="col">Unit</th></tr></thead>
<tbody>
"""
    shown = 0
    for row in state.rows:
        yield _line(row)
        shown += 1
    yield "</tbody>\n</table></div>\n"
    if shown < state.total:
        yield f"<p>{state.total - shown} pools with less risk are not shown.</p>\n"


def _line(row: PoolRow) -> str:
    assessment = row.assessment
    unit = assessment.unit if assessment is not None else ""
    distance = assessment.distance if assessment is not None else nan
    notes = ["; ".join(row.unknown)] if row.unknown else []
    if assessment is not None and assessment.old:
        notes.append("the figures are old")
    if row.silence is not None:
        notes.append(_quiet(row.silence))
    reasons = "".join(f"<br><small>{escape(note)}</small>" for note in notes)
    figures = (
        percent(row.margin_ratio),
        "none" if distance is None else percent(distance),
        amount(row.margin_balance),
        amount(row.maintenance_margin),
    )
    cells = f"<td>{row.danger}</td>" + "".join(f'<td class="figure">{figure}</td>' for figure in figures)
    return f'<tr><th scope="row">{escape(row.pool)}{reasons}</th>{cells}<td>{escape(unit)}</td></tr>\n'


def percent(ratio: float) -> str:
    """A ratio for people: ``86.76 %``, below one percent with two digits that say something, ``0.050 %``.

    What is next to nothing, as a distance to liquidation may be, does not look like nothing.
    """
    if isnan(ratio):
        return "unknown"
    if isinf(ratio):
        return "no margin left"
    share = abs(ratio * 100)
    decimals = min(1 - floor(log10(share)), PERCENT_DECIMALS_MAX) if 0 < share < 1 else 2
    return f"{ratio * 100:.{decimals}f} %"


def amount(value: float) -> str:
    """An amount for people, with as many places as its size asks for."""
    if isnan(value):
        return "unknown"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.8f}"
