"""How much an address asks: its share of what the venue allows a machine, whatever happens to it."""

from collections.abc import Set
from itertools import pairwise
from typing import Any

import pytest

from connectors import hyperliquid as venue
from connectors.account import DEFINITIONS_S, WITHOUT_STREAM_S
from connectors.hyperliquid.config import AccountConfig
from connectors.hyperliquid.rest import WEIGHT_PER_MINUTE
from connectors.rest import BUDGET_SHARE
from connectors.session import Request
from monitor.errors import VenueError
from monitor.model.events import AccountSnapshot, InstrumentsLoaded, SnapshotReason
from tests.connectors.hyperliquid.stage import ANSWERS, Stage, account_stage, held, load

MAIN, FLAT, BUILDER = (load(f"rest_clearinghouse_state{which}") for which in ("", "_flat", "_builder"))
BUILDERS = ("xyz", "flx", "hyna", "cash", "km", "vntl", "abcd", "para", "unit")
BUDGET = WEIGHT_PER_MINUTE * BUDGET_SHARE
LISTED = {"perpDexs", "allPerpMetas"}
"""Questions that are answered once for all addresses."""


def ten_dexes(mode: str = "unifiedAccount", **changes: Any) -> Stage:
    """An address with positions on the first of ten dexes, in unified mode."""
    stage = account_stage(**changes)
    row = load("rest_perp_dexs")[1]
    stage.replies |= {f"state:{name}": FLAT for name in BUILDERS} | {
        "mode": mode,
        "spot": load("rest_spot_clearinghouse_state_unified"),
        "dexes": [None, *(row | {"name": name} for name in BUILDERS)],
    }
    stage.start()
    stage.pass_s(1.0)
    return stage


def share(addresses: int) -> float:
    """What one of so many addresses may ask a minute."""
    accounts = [AccountConfig(name=f"a{n}", address=f"0x{n:040x}") for n in range(addresses)]
    return venue.settings_of(accounts)[-1].weight_per_minute


def trade(stage: Stage, number: int) -> None:
    """A fill: the stream tells a little more BTC, and so would an answer."""
    size = 0.1 + number % 1000 * 0.001
    stage.replies["state:"] = held(MAIN, "BTC", szi=f"{size:.4f}", positionValue=f"{size * 75_000:.4f}")
    stage.states(main=stage.replies["state:"], **dict.fromkeys(BUILDERS, FLAT))


def busy(stage: Stage, seconds: int) -> list[Request]:
    """What it asks while it trades each second; an address without a stream is told nothing of it."""
    before = len(stage.actions)
    for number in range(seconds):
        if stage.open:
            trade(stage, number)
        stage.pass_s(1.0)
    return [action for action in stage.actions[before:] if isinstance(action, Request)]


def weight(requests: list[Request], *, without: Set[str] = frozenset()) -> int:
    """What they cost together, those of some types set aside."""
    return sum(request.weight for request in requests if dict(request.params)["type"] not in without)


def kinds(requests: list[Request]) -> set[str]:
    """What they are about."""
    return {request.id.rpartition("-")[0] for request in requests}


# --- trades


def test_after_a_trade_only_the_dexes_that_matter_are_read() -> None:
    """Spot, and where something is held; all ten of them on the timer."""
    stage = ten_dexes()
    asked = busy(stage, 50)
    assert kinds(asked) == {"spot", "state:"}
    assert len(stage.of(AccountSnapshot)) >= 45
    assert weight(asked) <= 50 * 4
    assert kinds(busy(stage, 15)) == {"spot", "mode"} | {f"state:{name}" for name in ("", *BUILDERS)}


def test_a_dex_on_which_something_changed_is_read_too() -> None:
    """Although what was held there is gone by now."""
    stage = ten_dexes()
    stage.pass_s(5.0)
    for held_there in (BUILDER, FLAT):
        stage.replies["state:xyz"] = held_there
        before = len(stage.actions)
        stage.states(main=MAIN, **dict.fromkeys(BUILDERS, FLAT) | {"xyz": held_there})
        stage.pass_s(5.0)
        asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
        assert kinds(asked) == {"spot", "state:", "state:xyz"}


def test_an_address_without_a_stream_is_read_on_all_dexes_if_that_can_be_afforded() -> None:
    """Nothing else tells of a position on another one; likewise while the stream is lost."""
    never, lost = ten_dexes(streamed=False), ten_dexes()
    lost.connecting = False
    lost.lose()
    for stage in (never, lost):
        before = len(stage.actions)
        stage.pass_s(50.0)
        asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
        assert kinds(asked) == {"spot", *(f"state:{name}" for name in ("", *BUILDERS))}
        assert 4 <= len([request for request in asked if request.id.startswith("state:km")]) <= 11


def test_where_many_share_it_looks_where_there_is_money() -> None:
    """Something may be opened there; on dexes without any, the reading of all finds it."""
    stage = ten_dexes("disabled", streamed=False, weight_per_minute=share(12))
    paid = FLAT | {"marginSummary": {"accountValue": "5.0"}, "crossMarginSummary": {"accountValue": "5.0"}}
    stage.replies["state:km"] = paid
    stage.pass_s(80.0)
    before = len(stage.actions)
    stage.pass_s(20.0)
    asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
    assert kinds(asked) == {"spot", "state:", "state:km"}
    stage.replies["state:xyz"] = BUILDER
    stage.pass_s(61.0)
    assert "xyz:TSLA" in {position.instrument for position in stage.of(AccountSnapshot)[-1].positions}


def test_a_frame_that_cannot_be_read_calls_for_all_of_it() -> None:
    """It may have been about any dex."""
    stage = ten_dexes()
    stage.pass_s(10.0)
    before = len(stage.actions)
    stage.frame(b'{"channel":"allDexsClearinghouseState","data":{}}')
    stage.pass_s(1.0)
    asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
    assert kinds(asked) == {"spot"} | {f"state:{name}" for name in ("", *BUILDERS)}


def test_a_stream_that_is_lost_calls_for_all_of_it() -> None:
    """Whatever was read a moment before; then for what matters, where the share allows no more."""
    stage = ten_dexes(weight_per_minute=share(12))
    stage.pass_s(65.0)
    stage.connecting = False
    stage.lose()
    before = len(stage.actions)
    stage.pass_s(WITHOUT_STREAM_S)
    asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
    assert kinds(asked) >= {f"state:{name}" for name in ("", *BUILDERS)}
    before = len(stage.actions)
    stage.pass_s(20.0)
    asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
    assert kinds(asked) <= {"spot", "state:", "mode"}


# --- shares


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("addresses", [1, 8, 12, 25, 50])
def test_an_address_that_trades_each_second_keeps_to_its_share(addresses: int, streamed: bool) -> None:
    """So that no other has to wait; even so it is read at least once a minute."""
    stage = ten_dexes(weight_per_minute=share(addresses), streamed=streamed)
    stage.pass_s(59.0)
    asked = busy(stage, 600)
    assert weight(asked) <= 10 * share(addresses)
    times = [snapshot.at_ms for snapshot in stage.of(AccountSnapshot)]
    assert max(later - earlier for earlier, later in pairwise(times)) <= 61_000


@pytest.mark.parametrize("addresses", [1, 8, 11, 16, 20])
def test_the_start_of_many_addresses_fits_into_a_minute(addresses: int) -> None:
    """What is listed is asked once for all, and fees, on which no figure depends, later where there are many."""
    stage = ten_dexes(weight_per_minute=share(addresses))
    started = [action for action in stage.actions if isinstance(action, Request)]
    once = weight(started) - weight(started, without=LISTED)
    assert once == 40
    assert once + addresses * weight(started, without=LISTED) <= BUDGET
    stage.pass_s(120.0)
    assert stage.of(InstrumentsLoaded)[-1].instruments[0].taker_fee_rate == 0.00045


@pytest.mark.parametrize("addresses", [1, 8, 16])
def test_the_hour_that_is_over_costs_little(addresses: int) -> None:
    """Definitions and fees come again, in no minute more than the machine may ask."""
    stage = ten_dexes(weight_per_minute=share(addresses))
    stage.pass_s(DEFINITIONS_S - 30.0)
    seen: set[str] = set()
    for _ in range(5):
        before = len(stage.actions)
        stage.pass_s(60.0)
        asked = [action for action in stage.actions[before:] if isinstance(action, Request)]
        assert 40 + addresses * weight(asked, without=LISTED) <= BUDGET
        seen |= kinds(asked)
    assert {"dexes", "assets", "fees"} <= seen


# --- perpetuals that are not listed


def without(coin: str) -> Any:
    """The definitions without one perpetual."""
    metas = load("rest_all_perp_metas")
    for meta in metas:
        meta["universe"] = [row for row in meta["universe"] if row["name"] != coin]
    return metas


def test_a_perpetual_that_is_not_listed_is_asked_for_ever_more_seldom() -> None:
    """However often its position changes."""
    stage = account_stage()
    stage.replies["assets"] = without("BTC")
    stage.start()
    stage.pass_s(1.0)
    asked = busy(stage, 30)
    assert len(stage.asked("assets")) >= 2, "the first while is short"
    assert weight(asked + busy(stage, 30)) <= 400
    busy(stage, 1740)
    assert 5 <= len(stage.asked("assets")) <= 20
    assert stage.of(AccountSnapshot)[-1].reason in (SnapshotReason.TIMER, SnapshotReason.CONFIGURATION)
    stage.replies["assets"] = load("rest_all_perp_metas")
    stage.pass_s(601.0)
    assert "BTC" in {it.symbol for it in stage.of(InstrumentsLoaded)[-1].instruments}
    before = len(stage.asked("assets"))
    stage.pass_s(1800.0)
    assert len(stage.asked("assets")) == before


@pytest.mark.parametrize("streamed", [True, False])
def test_one_that_is_new_is_asked_for_at_once(streamed: bool) -> None:
    """Also while another is waited for, and where only the snapshots tell of it."""
    stage = account_stage(streamed=streamed)
    stage.replies["assets"] = without("BTC")
    stage.start()
    stage.pass_s(1.0)
    stage.pass_s(900.0)
    before = len(stage.asked("assets"))
    stage.replies["state:"] = held(MAIN, "ETH", coin="NEW")
    if streamed:
        stage.states(main=stage.replies["state:"], xyz=FLAT)
    stage.pass_s(1.0 if streamed else 8.0)
    assert len(stage.asked("assets")) - before in (1, 2)
    assert stage.asked("assets")[-1].age_s < stage.asked("assets")[0].age_s


@pytest.mark.parametrize("kind", ["assets", "dexes"])
def test_definitions_that_are_refused_are_asked_for_again_ever_more_seldom(kind: str) -> None:
    """And hold no snapshot up."""
    stage = account_stage()
    stage.replies[kind] = VenueError("HTTP 500", retry=True, code=500)
    stage.start()
    stage.pass_s(3600.0)
    assert len(stage.of(AccountSnapshot)) >= 50
    assert 5 <= len(stage.asked(kind)) <= 30
    stage.replies[kind] = load(ANSWERS[kind])
    stage.pass_s(601.0)
    asked = len(stage.asked(kind))
    stage.pass_s(1800.0)
    assert len(stage.asked(kind)) == asked
