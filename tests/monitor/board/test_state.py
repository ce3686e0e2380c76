"""Rounds: what is sent whole, and what as a change."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from alerts.alert import Severity, Silence
from alerts.message import encode
from monitor.board.state import ALERTS_MAX, Round, follow, sections, worst
from monitor.model.assessment import FeedHealth, FeedState
from tests.support.desk import NOW, Desk, alert, bad_day


def whole(moment: Round) -> dict[str, Any]:
    """What a new reader gets."""
    document: dict[str, Any] = orjson.loads(b"".join(moment.full()))
    return document


def change(moment: Round) -> dict[str, Any]:
    """What a reader of the round before gets."""
    document: dict[str, Any] = orjson.loads(b"".join(moment.change()))
    return document


def merged(state: dict[str, Any] | None, document: dict[str, Any]) -> dict[str, Any]:
    """What a reader knows after a round, as the page does it."""
    if document["since"] is None or state is None:
        pools = {pool["pool"]: pool for pool in document["pools"]}
        return {**document, "pools": pools}
    assert document["since"] == state["round"]
    pools = {name: pool for name, pool in state["pools"].items() if name not in document.get("gone", ())}
    pools |= {pool["pool"]: pool for pool in document["pools"]}
    return {**state, **document, "pools": pools}


def test_the_first_round_is_whole() -> None:
    """It has every section and every pool."""
    first = follow(None, NOW, 7, {"rungs": b"{}"}, {"a/b/c": b'{"pool":"a/b/c"}'})
    assert whole(first) == {
        "round": 1, "since": None, "at": "2026-09-21T14:13:20.000Z", "total": 7, "rungs": {},
        "pools": [{"pool": "a/b/c"}],
    }  # fmt: skip


def test_a_change_holds_what_differs() -> None:
    """Pools and sections that are as they were are left out; those that are gone are named."""
    pools = {f"a/b/{n}": b'{"pool":"a/b/%d","n":1}' % n for n in range(3)}
    first = follow(None, NOW, 3, {"rungs": b"{}", "feeds": b"[]"}, pools)
    after = {"a/b/2": b'{"pool":"a/b/2","n":2}', "a/b/1": pools["a/b/1"]}
    second = follow(first, NOW + 1, 2, {"rungs": b"{}", "feeds": b"[1]"}, after)
    assert change(second) == {
        "round": 2, "since": 1, "at": "2026-09-21T14:13:21.000Z", "total": 2, "feeds": [1], "gone": ["a/b/0"],
        "pools": [{"pool": "a/b/2", "n": 2}],
    }  # fmt: skip


states = st.dictionaries(st.sampled_from(["a/b/1", "a/b/2", "a/b/3"]), st.integers(0, 2))


@given(st.lists(st.tuples(states, st.integers(0, 2)), min_size=1, max_size=8), st.data())
def test_a_reader_of_changes_knows_what_a_new_reader_knows(moments: list[Any], data: st.DataObject) -> None:
    """Whatever happened, and whichever rounds a slow reader missed."""
    known: dict[str, Any] | None = None
    current: Round | None = None
    for pools, section in moments:
        documents = {name: orjson.dumps({"pool": name, "n": n}) for name, n in pools.items()}
        current = follow(current, NOW, len(pools), {"feeds": orjson.dumps(section)}, documents)
        if known is not None and not data.draw(st.booleans(), label="received"):
            continue
        holds = known is not None and known["round"] == current.since
        known = merged(known, change(current) if holds else whole(current))
        expected = merged(None, whole(current))
        assert (known["pools"], known["feeds"]) == (expected["pools"], expected["feeds"])


def test_sections() -> None:
    """Readiness with its reasons, rungs by rule, streams with the worst first, alerts and silences as elsewhere."""
    desk, pools = Desk(), bad_day()
    silence = Silence("s0", "binance/main/*", NOW + 60, "ann", "because", False, NOW)
    firing = [alert(Severity.NOTICE, pools[4]), alert(Severity.EMERGENCY, pools[1])]
    shown = map(encode, worst(firing))
    found = sections((False, ("blind",)), ["binance/new"], desk.rungs(), desk.feeds, 2, shown, [silence])
    documents = {name: orjson.loads(section) for name, section in found.items()}
    assert documents["ready"] == {"ready": False, "reasons": ["blind"], "unread": ["binance/new"]}
    assert documents["rungs"]["margin_ratio"]["critical"] == 0.85
    assert documents["rungs"]["distance"]["critical"] == 0.025
    assert [(feed["stream"], feed["state"], feed["age_s"]) for feed in documents["feeds"]] == [
        ("user", "late", None),
        ("mark", "live", 0.4),
    ]
    assert [each["severity"] for each in documents["alerts"]] == ["emergency", "notice"]
    assert (documents["alerts_total"], documents["silences"][0]["subject"]) == (2, "binance/main/*")


def test_the_worst_stream_comes_first() -> None:
    """By state, then by name."""
    feeds = [FeedHealth("v", f"a{n}", "mark", state, 1.0) for n, state in enumerate(FeedState)]
    found = orjson.loads(sections((True, ()), [], {}, feeds, 0, [], [])["feeds"])
    assert [feed["state"] for feed in found] == ["down", "stale", "late", "live"]


def test_very_many_alerts_are_cut() -> None:
    """The worst are shown."""
    pool = bad_day()[0]
    firing = [alert(Severity.WARNING, pool, rule=f"r{n}") for n in range(ALERTS_MAX + 5)]
    firing.append(alert(Severity.CRITICAL, pool))
    shown = worst(firing)
    assert len(shown) == ALERTS_MAX
    assert [each.severity for each in shown[:2]] == [Severity.CRITICAL, Severity.WARNING]
