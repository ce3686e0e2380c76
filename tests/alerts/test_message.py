"""Message v1 on the wire."""

import json
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from alerts.alert import Alert
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import decode, encode, rfc3339, state_fields
from tests.support.pools import a_leg, a_pool

FIELDS = (
    "v", "id", "key", "rule", "severity", "state", "reason", "venue", "account", "pool", "value", "threshold",
    "margin_ratio", "margin_balance", "maintenance_margin", "unit", "legs", "text", "advice", "raised_at", "mark_at",
    "host",
)  # fmt: skip


@pytest.fixture
def alert() -> Alert:
    """An alert about a pool with one leg."""
    pool = a_pool(0.75, legs=(a_leg(),), marked_at=1_790_000_000.25)
    return Engine(AlertsConfig(), "box").on_pool(pool, 1_790_000_000.5)[0]


def test_message_has_exactly_the_fields_of_version_1_in_order(alert: Alert) -> None:
    """Names, order, and the words for severity, state and side."""
    message = json.loads(encode(alert))
    assert tuple(message) == FIELDS
    assert (message["v"], message["severity"], message["state"], message["reason"]) == (
        1,
        "warning",
        "firing",
        "rung_reached",
    )
    assert message["legs"] == [
        {
            "instrument": "BTCUSDT",
            "side": "long",
            "size": 0.5,
            "mark_price": 59000.0,
            "liquidation_price": 57820.0,
            "distance": 0.02,
        }
    ]
    assert "\n" not in message["text"]
    assert message["text"][0].isdigit()


def test_times_are_rfc_3339_in_utc(alert: Alert) -> None:
    """Fractions of a second are kept, the zone is Z."""
    message = json.loads(encode(alert))
    assert message["raised_at"].startswith("2026-09-21T14:13:20.5")
    assert message["raised_at"].endswith("Z")
    assert message["mark_at"].startswith("2026-09-21T14:13:20.25")
    assert rfc3339(1_790_000_000.25) == "2026-09-21T14:13:20.250Z"


def test_infinity_is_a_string_and_unknown_is_null(alert: Alert) -> None:
    """JSON has neither: an infinite ratio must not look like an unknown one."""
    message = json.loads(encode(replace(alert, margin_ratio=inf, value=inf, margin_balance=nan)))
    assert (message["margin_ratio"], message["value"], message["margin_balance"]) == ("Infinity", "Infinity", None)


def test_unknown_is_named_in_the_text() -> None:
    """Whoever reads only the text learns it, too."""
    engine = Engine(AlertsConfig.model_validate({"unknown": {"hold_s": 0}}), "box")
    (alert,) = engine.on_pool(a_pool(0.75, margin_ratio=nan, unknown=("no mark for ETHUSDT",)), 0.0)
    message = json.loads(encode(alert))
    assert message["margin_ratio"] is None
    assert message["text"].startswith("unknown margin ratio")


def test_numpy_numbers_are_numbers(alert: Alert) -> None:
    """Figures may come straight from the columns."""
    message = json.loads(encode(replace(alert, margin_ratio=np.float64(0.75))))
    assert message["margin_ratio"] == 0.75


def test_a_message_can_be_read_back(alert: Alert) -> None:
    """What is restored is what was said."""
    read = decode(encode(alert), step=alert.step, serial=alert.serial, at=alert.at)
    assert read == alert
    endless = replace(alert, margin_ratio=inf, mark_at=None, legs=())
    assert decode(encode(endless), step=alert.step, serial=alert.serial, at=alert.at) == endless


def test_a_message_says_that_its_figures_are_old(alert: Alert) -> None:
    """And only then; it can be read back."""
    assert "stale" not in json.loads(encode(alert))
    old = replace(alert, stale=True)
    assert json.loads(encode(old))["stale"] is True
    assert decode(encode(old), step=old.step, serial=old.serial, at=old.at) == old


def test_state_uses_the_same_names_and_rules() -> None:
    """A pool's state tells unknown from none, and when it was written."""
    fields = state_fields(a_pool(0.75, margin_balance=nan, unknown=("no tiers",)), 1_790_000_000.0)
    assert fields["margin_balance"] is None
    assert fields["unknown"] == ["no tiers"]
    assert fields["at"] == "2026-09-21T14:13:20.000Z"
    assert fields["legs"][0]["instrument"] == "BTCUSDT"


@pytest.mark.parametrize("why", ["stale", "account_stale"])
def test_a_state_says_that_its_figures_are_old(why: str) -> None:
    """The last figures stay; beside them stands whether they may have changed, and how old the marks are."""
    now = 1_790_000_000.0
    fresh = state_fields(a_pool(0.75), now)
    assert (fresh["stale"], fresh["mark_age_s"]) == (False, 0.5)
    old = state_fields(a_pool(0.75, **{why: True}, marked_at=now - 15), now)
    assert (old["stale"], old["mark_age_s"], old["margin_ratio"]) == (True, 15.0, 0.75)
    assert state_fields(a_pool(0.75, marked_at=None), now)["mark_age_s"] is None
    assert state_fields(a_pool(0.75, marked_at=now + 1), now)["mark_age_s"] == 0.0  # the venue's clock is ahead
