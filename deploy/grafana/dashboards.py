#!/usr/bin/env python3
"""Writes the dashboards beside it: run this file after a change. Standard library only; one line of JSON a panel.

No colour stands at a figure written down here: rungs are read from marginwatch_rung_ratio, so that the dashboards say
what the configuration says. What cannot be known or seen is purple, and never green; nor is no figure at all. Two
monitors of one account say the same: what is shown is counted by its own labels, however many say it; of two figures it
is the one that is worse, and a pool is not seen only where none of them sees it.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).resolve().parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRID = 24
BELOW, UNSEEN, UNKNOWN = 0, 1, 5
LEVELS = {
    BELOW: ("below the rungs", "green"),
    UNSEEN: ("cannot be seen", "dark-purple"),
    2: ("notice", "blue"),
    3: ("warning", "yellow"),
    4: ("critical", "orange"),
    UNKNOWN: ("unknown", "purple"),
    6: ("emergency", "red"),
}
"""From bad to worse. A rung that was reached stays, however old the figure; that none is says nothing then."""

SEVERITIES = {level: word for level, (word, _) in LEVELS.items() if level not in (BELOW, UNSEEN, UNKNOWN)}

POOL = 'venue=~"$venue", account=~"$account", pool=~"$pool"'
ACCOUNT = 'venue=~"$venue", account=~"$account"'
STREAM = 'venue=~"$venue", account=~"$account|"'  # the streams of a whole market have no account
# An alert may be about a whole account, or about a monitor itself, and belong to none.
ALERT = 'venue=~"$venue", venue!="", account=~"$account", pool=~"$pool|"'
NONE = "0 * max(marginwatch_ready)"  # nothing, where a monitor is there to say so
RATIO = f"marginwatch_margin_ratio{{{POOL}}}"
DISTANCE = f"marginwatch_liquidation_distance_ratio{{{POOL}}}"
STALE = f"min by (venue, account, pool) (marginwatch_pool_stale{{{POOL}}})"  # where several see it, the best of them
# A pool is known only once its account was read, so that no pool says of an account that it was not.
STALE_ACCOUNT = f"min by (venue, account) (marginwatch_account_stale{{{ACCOUNT}}})"
UNKNOWN_POOLS = f"max by (venue, account, pool) ({RATIO} != {RATIO})"


def level(figure: str, rule: str, beyond: str) -> str:
    """The worst rung that each series of `figure` has reached: a key of `LEVELS`.

    Worst first, because of series with equal labels `or` keeps those on its left. A figure that differs from itself is
    NaN, which is unknown. An old figure that has reached no rung is not below the rungs.
    """
    conditions = {
        number: f"{figure} {beyond} bool on (job, instance) group_left () "
        f'marginwatch_rung_ratio{{rule="{rule}", severity="{severity}"}}'
        for number, severity in SEVERITIES.items()
    }
    conditions[UNKNOWN] = f"{figure} != bool {figure}"
    worst_first = [f"({conditions[number]} == 1) * {number}" for number in sorted(conditions, reverse=True)]
    known = f"({figure} == bool {figure})"
    unseen = f"{known} * {UNSEEN} and on (venue, account, pool) {STALE} == 1"
    return " or ".join([*worst_first, unseen, f"{known} * {BELOW}"])


def seen(figure: str) -> str:
    """The series of `figure`, which has the label `pool`, with a gap where it only repeats what was seen last."""
    return f"{figure} unless on (pool) {STALE} == 1"


def alerts(metric: str) -> str:
    """Every alert once. What is about a monitor itself is its own, as is the other one's."""
    return (
        f"max by (venue, account, pool, rule, severity) ({metric}{{{ALERT}}}) "
        f'or max by (instance, rule, severity) ({metric}{{venue=""}})'
    )


def once(metric: str, by: str = "") -> str:
    """The sum of what each monitor counts, of those that share accounts only the most that one of them does."""
    shares = "on (job, instance) marginwatch_speaks"
    return f"sum{by} (max{by} ({metric} and {shares}) or ({metric} unless {shares}))"


def worst(figure: str, of: str = "pool") -> str:
    """The highest that any monitor has, with the labels `of` which it is."""
    return f"max by ({of}) ({figure})"


def rungs(rule: str) -> tuple[str, str]:
    """Query and legend of the configured rungs."""
    return f'max by (severity) (marginwatch_rung_ratio{{rule="{rule}"}})', "rung {{severity}}"


def query(letter: str, expression: str, legend: str = "", *, instant: bool = False) -> Json:
    """One query of a panel."""
    shape = {"instant": instant, "range": not instant} | ({"format": "table"} if instant else {})
    return {"refId": letter, "datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto", **shape}


def panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    size: tuple[int, int],
    queries: Sequence[tuple[str, str]],
    *,
    steps: Sequence[tuple[float, str]] = (),
    base: str = "text",
    mappings: Sequence[Json] = (),
    overrides: Sequence[Json] = (),
    defaults: Json | None = None,
    **more: Any,
) -> Json:
    """A panel without its place; `steps` are the values from which a colour holds, `base` the colour below."""
    thresholds = [{"value": None, "color": base}, *({"value": value, "color": colour} for value, colour in steps)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": [
            query(letter, *each, instant=kind == "table") for letter, each in zip("ABCDEF", queries, strict=False)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "mappings": list(mappings),
                "thresholds": {"mode": "absolute", "steps": thresholds},
                **(defaults or {}),
            },
            "overrides": list(overrides),
        },
        **more,
    }


def stat(title: str, description: str, unit: str, width: int, expression: str, **more: Any) -> Json:
    """One figure, as it is now."""
    options = {"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    defaults = {"color": {"mode": "thresholds"}, **more.pop("defaults", {})}
    queries = [(expression, "")]
    return panel("stat", title, description, unit, (width, 4), queries, options=options, defaults=defaults, **more)


def lines(
    title: str,
    description: str,
    unit: str,
    width: int,
    queries: Sequence[tuple[str, str]],
    *,
    overrides: Sequence[Json] = (),
    **custom: Any,
) -> Json:
    """Figures over time; the series of `rungs` are dashed in their severity's colour."""
    custom = {"lineWidth": 2, "showPoints": "never", "spanNulls": False, **custom}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel(
        "timeseries", title, description, unit, (width, 8), queries, options=options,
        defaults={"color": {"mode": "palette-classic"}, "custom": custom},
        overrides=[*_rung_lines(queries), *overrides],
    )  # fmt: skip


def bars(title: str, description: str, width: int, *queries: tuple[str, str]) -> Json:
    """Counts over time, one on the other."""
    stacking = {"mode": "normal", "group": "A"}
    return lines(title, description, "short", width, queries, drawStyle="bars", fillOpacity=60, stacking=stacking)


def table(
    title: str,
    description: str,
    width: int,
    by: str,
    columns: Sequence[tuple[str, str, str]],
    *,
    sort: str,
    overrides: Sequence[Json] = (),
) -> Json:
    """One row for each value of the labels `by`; `columns` are (name, unit, query)."""
    names = {f"Value #{letter}": name for letter, (name, _, _) in zip("ABCDEF", columns, strict=False)}
    labels = by.split(", ")
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate([*labels, *names])},
        "renameByName": {**{label: label.capitalize() for label in labels}, **names},
    }
    units = [override(name, unit=unit, decimals=2) for name, unit, _ in columns if unit != "none"]
    return panel(
        "table", title, description, "none", (width, 9), [(expression, "") for _, _, expression in columns],
        overrides=[*units, *overrides], options={"sortBy": [{"displayName": sort, "desc": True}]},
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )  # fmt: skip


def override(name: str, **properties: Any) -> Json:
    """Properties of the series or column called `name`; ``__`` stands for a dot."""
    found = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def words(values: dict[int, tuple[str, str]]) -> list[Json]:
    """Texts and colours in place of figures."""
    options = {str(value): {"text": text, "color": colour} for value, (text, colour) in values.items()}
    return [{"type": "value", "options": options}]


def _rung_lines(queries: Sequence[tuple[str, str]]) -> Iterator[Json]:
    if any(legend == "rung {{severity}}" for _, legend in queries):
        for level, severity in SEVERITIES.items():
            dash = {"fill": "dash", "dash": [8, 8]}
            fixed = {"mode": "fixed", "fixedColor": LEVELS[level][1]}
            yield override(f"rung {severity}", color=fixed, custom__lineStyle=dash, custom__lineWidth=1)


def row(title: str) -> Json:
    """A heading."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": GRID, "h": 1}}


def placed(panels: Sequence[Json]) -> list[Json]:
    """The panels from left to right, a new line where one does not fit any more."""
    found = []
    x = y = height = 0
    for number, each in enumerate(panels, 1):
        size = each["gridPos"]
        if x + size["w"] > GRID:
            x, y, height = 0, y + height, 0
        found.append({"id": number, **each, "gridPos": {"x": x, "y": y, **size}})
        x, height = x + size["w"], max(height, size["h"])
    return found


def variable(name: str, condition: str) -> Json:
    """What may be chosen at the top: the values of a label, all of them at first."""
    asked = f"label_values(marginwatch_margin_ratio{condition}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": asked, "refId": "Variable"},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def dashboard(name: str, title: str, description: str, panels: Sequence[Json]) -> Json:
    """A whole dashboard, with the variables, links and annotations that all have."""
    firing = f"max by (severity, rule, account, pool) ({alerts('marginwatch_alert_firing')})"
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    return {
        "uid": f"marginwatch-{name}",
        "title": title,
        "description": description,
        "tags": ["marginwatch"],
        "schemaVersion": 41,
        "refresh": "5s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "links": [
            {
                "type": "dashboards",
                "title": "marginwatch",
                "tags": ["marginwatch"],
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "annotations": {
            "list": [
                {
                    "name": "Alerts firing",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": firing,
                    "step": "5s",
                    "titleFormat": "{{severity}} {{rule}}",
                    "textFormat": "{{account}} {{pool}}",
                }
            ]
        },
        "templating": {
            "list": [
                source,
                variable("venue", ""),
                variable("account", '{venue=~"$venue"}'),
                variable("pool", '{venue=~"$venue", account=~"$account"}'),
            ]
        },
        "panels": placed(panels),
    }


COLOURED = {"type": "color-background", "mode": "basic"}
LEVEL_CELL = override("Rung", mappings=words(LEVELS), custom__cellOptions=COLOURED)
AGES = {0: ("fresh", "green"), 1: ("old", "dark-purple")}
AGE_CELL = override("Figures", mappings=words(AGES), custom__cellOptions=COLOURED)
STREAM_STATES = {1: ("live", "green"), 2: ("late", "yellow"), 3: ("stale", "orange"), 4: ("down", "red")}
TIMELINE: Json = {
    "options": {"mergeValues": True, "showValue": "auto"},
    "defaults": {"color": {"mode": "thresholds"}, "custom": {"fillOpacity": 70, "lineWidth": 0}},
}
SINK_STATES = {0: ("fails", "red"), 1: ("works", "green")}
RATE = "[$__rate_interval]"
FIRING = alerts("marginwatch_alert_firing")
FIRING_LINES = lines(
    "Alerts firing", "By rule and severity.", "short", 12,
    [(f'sum by (rule, severity) ({FIRING}) or label_replace({NONE}, "rule", "none", "", "")',
      "{{rule}} {{severity}}")],
    lineInterpolation="stepAfter",
)  # fmt: skip
RATIO_LINES = lines(
    "Margin ratio by pool, with the configured rungs",
    "Maintenance margin / margin balance: 100 % is the venue's first liquidation stage. A gap is a ratio that is "
    "unknown or not seen.",
    "percentunit", 14, [(seen(worst(RATIO)), "{{pool}}"), rungs("margin_ratio")], axisSoftMin=0, axisSoftMax=1,
)  # fmt: skip
DELIVERIES = bars(
    "Deliveries", "What the sinks took, and what failed.", 12,
    (f"sum by (sink, outcome) (increase(marginwatch_deliveries_total{RATE}))", "{{sink}} {{outcome}}"),
)  # fmt: skip
WAITING = lines(
    "Waiting for sinks", "Messages that a sink has not acknowledged yet.", "short", 12,
    [("sum by (sink) (marginwatch_outbox_pending)", "{{sink}}")],
)  # fmt: skip


def overview() -> Json:
    """Risk now, sight, and whether it was told."""
    without_pools = f"{STALE_ACCOUNT} == 1 unless on (venue, account) marginwatch_margin_ratio"
    unseen = f"{UNKNOWN_POOLS} or {STALE} == 1 or {without_pools}"
    to_account = "/d/marginwatch-account?var-pool=${__data.fields.Pool}&${__url_time_range}"
    return dashboard("overview", "marginwatch overview", "Risk now, what is seen, and what was said.", [
        row("Risk now"),
        stat("Worst rung reached", "Of the margin ratio, as configured, also by figures that are old. Purple: "
             "none as far as is known, but not everything is seen or known.",
             "short", 4, f"max({level(RATIO, 'margin_ratio', '>=')} or ({STALE_ACCOUNT} == 1) * {UNSEEN})",
             mappings=words(LEVELS)),
        stat("Not seen", "Pools whose marks or account are not fresh, whose figures are the last ones seen, or whose "
             "margin ratio cannot be computed; and accounts without a pool that are not fresh.",
             "short", 3, f"count({unseen}) or {NONE}", steps=[(0, "green"), (1, "purple")]),
        stat("Highest margin ratio", "100 % is the venue's first liquidation stage. Old ratios are in it, unknown "
             "ones are not.",
             "percentunit", 4, f"max({RATIO})", defaults={"decimals": 1}),
        stat("Closest to liquidation", "The smallest relative move of a mark to its liquidation price, also by figures "
             "that are old.",
             "percentunit", 4, f"min({DISTANCE})", defaults={"decimals": 2}),
        stat("Alerts firing", "All severities.",
             "short", 3, f"sum({FIRING}) or {NONE}", steps=[(0, "green"), (1, "red")]),
        stat("Acknowledged", "Of those that fire: somebody has seen them.",
             "short", 3, f"sum({alerts('marginwatch_alert_acknowledged')}) or {NONE}"),
        stat("Silences", "In force now: what they cover is kept from people.",
             "short", 3, once("marginwatch_silences"), steps=[(1, "purple")]),
        RATIO_LINES,
        table("Pools, the riskiest first", "A click leads to the account.", 10, "pool", [
            ("Rung", "none", worst(level(RATIO, "margin_ratio", ">="))),
            ("Margin ratio", "percentunit", worst(RATIO)),
            ("To liquidation", "percentunit", f"min by (pool) ({DISTANCE})"),
            ("Figures", "none", f"max by (pool) ({STALE})"),
        ], sort="Rung", overrides=[
            LEVEL_CELL, AGE_CELL, override("Pool", links=[{"title": "The account", "url": to_account}])]),
        row("Sight"),
        stat("Sight", "Whether every account of every monitor is in sync and fresh.",
             "short", 6, "min(marginwatch_ready)", mappings=words({0: ("BLIND", "red"), 1: ("all seen", "green")})),
        stat("Blind time", "How long something of an account could not be seen, in the time shown.",
             "s", 6, f"max(increase(marginwatch_blind_seconds_total{{{ACCOUNT}}}[$__range]))",
             steps=[(0, "green"), (1, "red")]),
        stat("Oldest data", "Of all streams. A user stream is quiet while nothing happens.",
             "s", 6, f"max(marginwatch_feed_age_seconds{{{STREAM}}})"),
        stat("Monitors", "That answer Prometheus.",
             "short", 6, 'count(up{job="marginwatch"} == 1) or vector(0)', steps=[(1, "green")], base="red"),
        row("What was said"),
        FIRING_LINES,
        bars("Alerts raised and resolved", "Everything said but repeats.", 12,
             (f"sum by (rule, severity, state) (increase(marginwatch_alerts_total{RATE}))",
              "{{rule}} {{severity}} {{state}}")),
        DELIVERIES,
        WAITING,
        row("Large books"),
        panel("bargauge", "Pools not shown one by one, by margin ratio",
              "Only the riskiest are exported one by one ([metrics] max_pools).", "short", (24, 6),
              [(once("marginwatch_pools_margin_ratio_bucket", " by (le)"), "up to {{le}}")],
              options={"reduceOptions": {"calcs": ["lastNotNull"]}}),
    ])  # fmt: skip


def account() -> Json:
    """One account, or those chosen."""
    leg = "{{instrument}} {{side}}"
    of_leg = "pool, instrument, side"
    balance = f"min by (pool) (marginwatch_margin_balance{{{POOL}}})"
    maintenance = worst(f"marginwatch_maintenance_margin{{{POOL}}}")
    distance = f"min by ({of_leg}) ({DISTANCE})"
    mark, liquidation = (worst(f"marginwatch_{name}_price{{{POOL}}}", of_leg) for name in ("mark", "liquidation"))
    return dashboard("account", "marginwatch account", "The pools and positions of the accounts chosen.", [
        row("Pools"),
        RATIO_LINES,
        table("Pools", "Amounts are in the pool's own unit.", 10, "pool", [
            ("Rung", "none", worst(level(RATIO, "margin_ratio", ">="))),
            ("Margin ratio", "percentunit", worst(RATIO)),
            ("Margin balance", "short", balance),
            ("Maintenance", "short", maintenance),
            ("Model error", "percentunit", worst(f"marginwatch_model_error_ratio{{{POOL}}}")),
            ("Figures", "none", f"max by (pool) ({STALE})"),
        ], sort="Rung", overrides=[LEVEL_CELL, AGE_CELL]),
        panel("state-timeline", "Figures of pools, and accounts",
              "Old: the marks or the account are not fresh, and what is shown of them is what was seen last.",
              "short", (24, 6), [(f"max by (pool) ({STALE})", "{{pool}}"),
                                 (STALE_ACCOUNT, "{{venue}}/{{account}}")],
              mappings=words(AGES), **TIMELINE),
        lines("Margin balance against maintenance margin",
              "Liquidation begins where they meet. In the pool's own unit. A gap is what is unknown or not seen.",
              "short", 12, [(seen(balance), "{{pool}} balance"), (seen(maintenance), "{{pool}} maintenance")]),
        FIRING_LINES,
        row("Positions"),
        lines("Distance to liquidation by position, with the configured rungs",
              "Relative move of the mark to the liquidation price. A position without such a price has no line; a gap "
              "is what is unknown or not seen.",
              "percentunit", 12, [(seen(distance), "{{pool}} " + leg), rungs("distance")], axisSoftMin=0),
        lines("Mark price against liquidation price", "Choose a pool to compare the two.", "short", 12,
              [(seen(mark), f"{{{{pool}}}} {leg} mark"), (seen(liquidation), f"{{{{pool}}}} {leg} liquidation")]),
        table("Positions", "Nothing as liquidation price: there is none.", 24, "pool, instrument, side", [
            ("Rung", "none", worst(level(DISTANCE, "distance", "<="), of_leg)),
            ("To liquidation", "percentunit", distance),
            ("Mark price", "none", mark),
            ("Liquidation price", "none", liquidation),
            ("Figures", "none", f"max by ({of_leg}) (0 * ({mark} == bool {mark}) + on (pool) group_left () {STALE})"),
        ], sort="Rung", overrides=[LEVEL_CELL, AGE_CELL]),
    ])  # fmt: skip


def monitor() -> Json:
    """How the monitor itself does."""
    ticks = f"sum by (le) (rate(marginwatch_tick_seconds_bucket{RATE}))"
    stream = "{{venue}} {{account}} {{stream}}"
    stream_state = " or ".join(
        f'(marginwatch_feed_state{{{STREAM}, state="{state}"}} == 1) * {number}'
        for number, (state, _) in STREAM_STATES.items()
    )
    to_the_right = {"unit": "bytes", "custom__axisPlacement": "right"}
    memory = override("/^memory/", **to_the_right) | {"matcher": {"id": "byRegexp", "options": "/^memory/"}}
    return dashboard("monitor", "marginwatch monitor", "Whether the monitor sees, keeps up and delivers.", [
        row("Keeping up"),
        lines("Frame received to decision", "Median and 99th percentile.", "s", 8,
              [(f"histogram_quantile(0.5, {ticks})", "median"), (f"histogram_quantile(0.99, {ticks})", "p99")],
              scaleDistribution={"type": "log", "log": 10}),
        lines("Ticks and frames", "Frames of prices decided, and all frames received.", "ops", 8,
              [(f"sum(rate(marginwatch_ticks_total{RATE}))", "ticks decided"),
               (f"sum by (venue, stream) (rate(marginwatch_frames_total{RATE}))", "frames {{venue}} {{stream}}")]),
        lines("Processor and memory", "Of one core.", "percentunit", 8,
              [(f"rate(process_cpu_seconds_total{RATE}) and on (job, instance) marginwatch_build_info",
                "cpu {{instance}}"),
               ("process_resident_memory_bytes and on (job, instance) marginwatch_build_info", "memory {{instance}}")],
              overrides=[memory]),
        row("Sight"),
        panel("state-timeline", "Streams", "By the age of their data.", "short", (12, 8),
              [(worst(stream_state, "venue, account, stream"), stream)], mappings=words(STREAM_STATES),
              **TIMELINE),
        lines("Age of the newest data", "A user stream is quiet while nothing happens.", "s", 12,
              [(worst(f"marginwatch_feed_age_seconds{{{STREAM}}}", "venue, account, stream"), stream)]),
        lines("Blind time", "Seconds a minute in which something of an account could not be seen.", "s", 8,
              [(worst(f"60 * rate(marginwatch_blind_seconds_total{{{ACCOUNT}}}{RATE})", "venue, account"),
                "{{venue}} {{account}}")]),
        lines("Model error by pool, with the tolerance", "How far the computed figures are from the venue's report.",
              "percentunit", 8, [(worst(f"marginwatch_model_error_ratio{{{POOL}}}"), "{{pool}}"),
                                 rungs("model_error")]),
        bars("Reconciliations", "Snapshots held against the book, by what came of it.", 8,
             (f"sum by (outcome) (increase(marginwatch_reconciliations_total{{{ACCOUNT}}}{RATE}))", "{{outcome}}")),
        row("Voice"),
        panel("state-timeline", "Sinks", "Whether each takes what it is given; the state file takes part.",
              "short", (12, 8), [("min by (sink) (marginwatch_sink_up)", "{{sink}}")], mappings=words(SINK_STATES),
              **TIMELINE),
        lines("Since the last delivery", "Long while nothing happens.", "s", 12,
              [("time() - max by (sink) (marginwatch_last_delivery_timestamp_seconds)", "{{sink}}")]),
        WAITING,
        DELIVERIES,
        bars("Faults", "What should not be: frames refused, pools that could not be assessed, state not saved.", 24,
             (f"sum(increase(marginwatch_bad_frames_total{RATE})) or {NONE}", "frames refused"),
             (f"sum(increase(marginwatch_assess_failures_total{RATE}))", "pools not assessed"),
             (f"sum(increase(marginwatch_persist_failures_total{RATE}))", "state not saved")),
    ])  # fmt: skip


def written(made: Json) -> str:
    """The dashboard as it is kept: a line for each panel, so that a change is seen where it is."""
    panels = ",\n".join(json.dumps(each, ensure_ascii=False) for each in made["panels"])
    rest = json.dumps({key: value for key, value in made.items() if key != "panels"}, indent=1, ensure_ascii=False)
    return f'{rest[:-2]},\n "panels": [\n{panels}\n]\n}}\n'


def made() -> dict[str, str]:
    """File name to content."""
    return {f"{each.__name__}.json": written(each()) for each in (overview, account, monitor)}


if __name__ == "__main__":
    for name, text in made().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
