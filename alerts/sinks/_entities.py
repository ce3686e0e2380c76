"""What Home Assistant is told: devices with their entities, and the values that those show. Values in, payloads out.

The format is that of MQTT device discovery (https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload):
one retained document an account under ``<discovery prefix>/device/<id>/config``, with the account as device and a
component for each entity. Keys are abbreviated as that page lists them.

Every value of one pool is in one JSON document on one topic, so that its entities change together; each component's
template takes its own out of it. What is unknown is null there, which Home Assistant shows as unknown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isinf, isnan
from typing import Any

import orjson

from alerts.alert import Alert, Silence
from alerts.message import number, rfc3339
from alerts.sinks._broker import OFFLINE, ONLINE, topic
from monitor.model.assessment import PoolAssessment

Json = dict[str, Any]

PERCENT_MAX = 1000.0
"""A margin ratio of ten and above, also an endless one, is shown as this: Home Assistant takes finite numbers only."""
ALERTS_MAX = 10
"""Alerts spelt out as attributes of one entity; `count` counts all."""
TEXT_MAX = 255
"""Characters that Home Assistant takes for a state."""
DISPLACES = 1.25
"""A pool takes another one's place among the riskiest when its margin ratio is this many times the other's. Without
the margin two pools that are equally risky would change places, and their entities with them, all the time."""
PRESS = b"PRESS"
ON = b"ON"
OFF = b"OFF"
ACKNOWLEDGE = "acknowledge"
SILENCE = "silence"
ORDERS: Mapping[str, frozenset[bytes]] = {ACKNOWLEDGE: frozenset({PRESS}), SILENCE: frozenset({ON, OFF})}
"""What may be asked for, and with which payloads."""

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Home:
    """How this monitor presents itself. `takes_orders` says whether there is anybody to carry them out."""

    prefix: str
    discovery_prefix: str
    status_topic: str
    expire_after_s: int
    version: str
    takes_orders: bool = True


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What an order or a state is about: a pool, or with an empty `scope` the account itself."""

    venue: str
    account: str
    scope: str = ""

    @property
    def pool(self) -> str:
        """The pool's id; of an account ``venue/account``."""
        return "/".join(filter(None, (self.venue, self.account, self.scope)))

    @property
    def owner(self) -> "Subject":
        """The account."""
        return Subject(self.venue, self.account)


def subject_of(pool: PoolAssessment) -> Subject:
    """The subject that a pool is."""
    return Subject(pool.venue, pool.account, pool.scope)


# Names


def identifier(*parts: str) -> str:
    """One identifier of ``A-Za-z0-9_-`` for these parts; other parts never give the same one.

    What else a part holds becomes ``_`` and two hexadecimal digits a byte; between parts stands ``__``.
    """
    return "__".join(_NOT_IN_ID.sub(lambda match: "".join(f"_{b:02x}" for b in match[0].encode()), p) for p in parts)


def device_id(home: Home, owner: Subject) -> str:
    """The device's identifier: that of the account, below the prefix of its monitor."""
    return identifier(home.prefix, owner.venue, owner.account)


def discovery_topic(home: Home, owner: Subject) -> str:
    """Where the account's entities are announced."""
    return f"{home.discovery_prefix}/device/{device_id(home, owner)}/config"


def state_topic(home: Home, subject: Subject) -> str:
    """Where the values are."""
    return topic(home.prefix, "homeassistant", "state", *_levels(subject))


def order_topic(home: Home, subject: Subject, action: str) -> str:
    """Where Home Assistant asks for `action`."""
    return topic(home.prefix, "homeassistant", "order", *_levels(subject), action)


def orders_filter(home: Home, owner: Subject) -> str:
    """What to subscribe to for all orders about an account."""
    return topic(home.prefix, "homeassistant", "order", *_levels(owner)) + "/#"


def _levels(subject: Subject) -> tuple[str, ...]:
    return (subject.account, subject.venue, subject.scope) if subject.scope else (subject.account, subject.venue)


# Entities


def discovery(
    home: Home, owner: Subject, pools: Sequence[Subject], kept: Mapping[str, Json], removed: Mapping[str, str]
) -> Json:
    """The document that announces the account and its entities.

    `kept` are components from an earlier run that may yet come back; `removed` (component to platform) are taken away:
    a component with nothing but its platform says so, and the next document leaves it out. To leave it out at once does
    not remove it.
    """
    return {
        "dev": {
            "ids": [device_id(home, owner)],
            "name": f"{home.prefix} {owner.venue} {owner.account}",
            "mf": "marginwatch",
            "mdl": f"{owner.venue} account",
            "sw": home.version,
        },
        "o": {"name": "marginwatch", "sw": home.version},
        # Home Assistant leaves off a document at the first component that it is still busy with from an earlier one;
        # what goes comes first, because it is not said again.
        "cmps": {
            **{key: {"p": platform} for key, platform in removed.items()},
            **kept,
            **components(home, owner, pools),
        },
    }


def components(home: Home, owner: Subject, pools: Sequence[Subject]) -> dict[str, Json]:
    """Every entity of an account, by the key that names it for ever."""
    found = _account_components(home, owner)
    for pool in pools:
        found |= _pool_components(home, pool)
    device = device_id(home, owner)
    return {key: {**component, "uniq_id": f"{device}__{key}"} for key, component in found.items()}


def platforms(configured: Mapping[str, Json]) -> dict[str, str]:
    """Component to platform."""
    return {key: component["p"] for key, component in configured.items()}


def remembered(payload: bytes) -> dict[str, Json]:
    """The components of a document that an earlier run left at the broker; none when it is anything else."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    found = document.get("cmps") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        return {}
    return {key: each for key, each in found.items() if isinstance(each, dict) and isinstance(each.get("p"), str)}


def _account_components(home: Home, owner: Subject) -> dict[str, Json]:
    monitor = {
        "p": "binary_sensor",
        "name": "Monitor",
        "dev_cla": "connectivity",
        "ent_cat": "diagnostic",
        "stat_t": home.status_topic,
        "pl_on": ONLINE.decode(),
        "pl_off": OFFLINE.decode(),
    }
    found = {"monitor": monitor, "alerts": _problem(home, owner, "Account alerts")}
    if home.takes_orders:
        found["acknowledge"] = _button(home, owner, "Acknowledge account alerts")
        found["last_order"] = {
            "p": "sensor",
            "name": "Last order",
            "ic": "mdi:message-reply-text",
            "ent_cat": "diagnostic",
            **_value(home, owner, "last_order"),
        }
    return found


def _pool_components(home: Home, pool: Subject) -> dict[str, Json]:
    name = pool.scope.replace(":", " ")
    ratio = _figure(home, pool, "margin_ratio", f"{name} margin ratio", 1, "mdi:gauge") | {"unit_of_meas": "%"}
    distance = _figure(home, pool, "distance", f"{name} distance to liquidation", 2, "mdi:arrow-expand-vertical")
    price = _figure(home, pool, "liquidation_price", f"{name} liquidation price", None, "mdi:skull-outline")
    found = {
        "margin_ratio": ratio | _attributes(home, pool, "about"),
        "distance": distance | {"unit_of_meas": "%"},
        "liquidation_price": price | _attributes(home, pool, "nearest"),
        "alerts": _problem(home, pool, f"{name} alerts"),
    }
    if home.takes_orders:
        found["acknowledge"] = _button(home, pool, f"{name} acknowledge")
        found["silence"] = {
            "p": "switch",
            "name": f"{name} silence",
            "ic": "mdi:bell-sleep",
            "cmd_t": order_topic(home, pool, SILENCE),
            "pl_on": ON.decode(),
            "pl_off": OFF.decode(),
            **_value(home, pool, "silence", expires=False),  # a switch has no expire_after
            **_attributes(home, pool, "silenced"),
        }
    return {f"{identifier(pool.scope)}__{key}": component for key, component in found.items()}


def _figure(home: Home, pool: Subject, key: str, name: str, places: int | None, icon: str) -> Json:
    shown = {} if places is None else {"sug_dsp_prc": places}
    component = {"p": "sensor", "name": name, "ic": icon, "stat_cla": "measurement", **shown}
    return component | _value(home, pool, key)


def _problem(home: Home, subject: Subject, name: str) -> Json:
    component = {"p": "binary_sensor", "name": name, "dev_cla": "problem", "pl_on": ON.decode(), "pl_off": OFF.decode()}
    return component | _value(home, subject, "problem") | _attributes(home, subject, "alerts")


def _button(home: Home, subject: Subject, name: str) -> Json:
    return {
        "p": "button",
        "name": name,
        "ic": "mdi:bell-check",
        "cmd_t": order_topic(home, subject, ACKNOWLEDGE),
        "pl_prs": PRESS.decode(),
        "avty_t": home.status_topic,
    }


def _value(home: Home, subject: Subject, key: str, *, expires: bool = True) -> Json:
    value = {
        "stat_t": state_topic(home, subject),
        "val_tpl": f"{{{{ value_json.{key} }}}}",
        "avty_t": home.status_topic,
    }
    return value | ({"exp_aft": home.expire_after_s} if expires else {})


def _attributes(home: Home, subject: Subject, key: str) -> Json:
    return {"json_attr_t": state_topic(home, subject), "json_attr_tpl": f"{{{{ value_json.{key} | tojson }}}}"}


# Values


def pool_state(pool: PoolAssessment, firing: Sequence[Alert], silence: Silence | None) -> Json:
    """What the entities of one pool show. Figures with an old mark behind them are unknown, too.

    `firing` is what fires for this pool, `silence` what keeps it quiet. Ratio and distance are in per cent.
    """
    nearest = next((leg for leg in pool.legs if leg.distance is not None and leg.distance == pool.distance), None)
    price = None if pool.old or nearest is None else nearest.liquidation_price
    return {
        "margin_ratio": None if pool.old else _percent(pool.margin_ratio),
        "distance": None if pool.old else _percent(pool.distance),
        "liquidation_price": None if price is None or isinf(price) else number(price),
        "about": {
            "pool": pool.pool,
            "unit": pool.unit,
            "basis": pool.basis.value,
            "unknown": [*pool.unknown, *(("the figures are old",) if pool.old else ())],
        },
        "nearest": {
            "instrument": None if nearest is None else nearest.instrument,
            "side": None if nearest is None else nearest.side.value,
        },
        **_alerts(firing),
        "silence": (OFF if silence is None else ON).decode(),
        "silenced": {
            "until": None if silence is None else rfc3339(silence.until),
            "by": None if silence is None else silence.by,
            "reason": None if silence is None else silence.reason,
            "subject": None if silence is None else silence.subject,
        },
    }


def account_state(firing: Sequence[Alert], last_order: str | None) -> Json:
    """What the entities of an account show: what fires for it and stands behind none of its pools' entities."""
    return {**_alerts(firing), "last_order": None if last_order is None else last_order[:TEXT_MAX]}


def _alerts(firing: Sequence[Alert]) -> Json:
    ordered = sorted(firing, key=lambda alert: (-alert.severity, alert.raised_at, alert.key))
    worst = ordered[0] if ordered else None
    return {
        "problem": (ON if ordered else OFF).decode(),
        "alerts": {
            "severity": None if worst is None else worst.severity.label,
            "text": None if worst is None else worst.text,
            "advice": None if worst is None else worst.advice,
            "acknowledged": bool(ordered) and all(alert.acknowledged is not None for alert in ordered),
            "count": len(ordered),
            "alerts": [_alert(alert) for alert in ordered[:ALERTS_MAX]],
        },
    }


def _alert(alert: Alert) -> Json:
    return {
        "key": alert.key,
        "severity": alert.severity.label,
        "text": alert.text,
        "acknowledged_by": None if alert.acknowledged is None else alert.acknowledged.by,
        "silenced_until": None if alert.silenced is None else rfc3339(alert.silenced.until),
    }


def _percent(ratio: float | None) -> float | None:
    """A ratio in per cent, finite; None when it is unknown or there is none."""
    if ratio is None or isnan(ratio):
        return None
    return round(min(max(ratio * 100.0, -PERCENT_MAX), PERCENT_MAX), 4)


# Who has entities, and what fires for whom


def choose(shown: Sequence[str], pools: Mapping[str, PoolAssessment], most: int) -> list[str]:
    """Which pools have entities: all, or the `most` riskiest, those of `shown` keeping their place as long as they can.

    An unknown ratio ranks as 1.0, as in `alerts.danger`.
    """
    kept = [pool for pool in shown if pool in pools][:most]
    others = sorted(pools.keys() - kept, key=lambda pool: (-_rank(pools[pool]), pool))
    room = most - len(kept)
    kept, others = kept + others[:room], others[room:]
    for pool in others:
        least = min(kept, key=lambda each: _rank(pools[each]))
        if _rank(pools[pool]) <= _rank(pools[least]) * DISPLACES:
            break
        kept[kept.index(least)] = pool
    return kept


def _rank(pool: PoolAssessment) -> float:
    return 1.0 if isnan(pool.margin_ratio) else pool.margin_ratio


def concerning(
    subjects: Iterable[Subject], firing: Iterable[Alert], shown: frozenset[str]
) -> dict[Subject, list[Alert]]:
    """What fires for each subject.

    A pool of `shown`, with entities of its own, has its alerts; an account has all others, and those that concern the
    monitor as a whole, such as a failing sink.
    """
    by_pool: dict[str, list[Alert]] = {}
    by_account: dict[tuple[str | None, str], list[Alert]] = {}
    common: list[Alert] = []
    for alert in firing:
        if alert.pool is not None and alert.pool in shown:
            by_pool.setdefault(alert.pool, []).append(alert)
        elif alert.account is not None:
            by_account.setdefault((alert.venue, alert.account), []).append(alert)
        else:
            common.append(alert)
    return {
        each: by_pool.get(each.pool, []) if each.scope else [*by_account.get((each.venue, each.account), ()), *common]
        for each in subjects
    }
