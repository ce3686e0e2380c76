"""A COIN-M account without I/O: what differs from USD-M."""

from math import isclose
from random import Random
from typing import Any

import orjson
import pytest

from connectors.account import DEFINITIONS_S, EVENT_GRACE_S
from connectors.session import Connect, Request, Security
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.events import AccountDelta, AccountSnapshot, InstrumentsLoaded, VenueNotice
from monitor.model.ids import Slot
from tests.connectors.binance.stage import book_of, fee
from tests.connectors.binance_coinm.stage import account_stage, load, raw, synced


def test_the_questions_are_those_of_dapi() -> None:
    """Two about the state, three about the contracts."""
    stage = synced()
    asked = {action.path: action for action in stage.actions if isinstance(action, Request)}
    assert asked.keys() == {
        "/sapi/v1/account/apiRestrictions",
        "/dapi/v1/listenKey",
        "/dapi/v1/account",
        "/dapi/v1/positionRisk",
        "/dapi/v1/exchangeInfo",
        "/dapi/v2/leverageBracket",
        "/dapi/v1/fundingInfo",
    }
    assert asked["/dapi/v1/exchangeInfo"].security is Security.NONE
    assert asked["/dapi/v1/account"].security is Security.SIGNED


def test_definitions_fees_and_funding_intervals_are_read_again_every_hour() -> None:
    """And told when they changed; a contract that expires has no funding."""
    stage = synced()
    stage.pass_s(61.0)
    first = {it.symbol: it for it in stage.of(InstrumentsLoaded)[0].instruments}
    assert first["BTCUSD_PERP"].funding_interval_s == 28_800.0
    assert first["BTCUSD_270326"].funding_interval_s is None
    assert stage.asked("fee/BTCUSD_PERP")[0].path == "/dapi/v1/commissionRate"
    table = load("rest_leverage_bracket")
    row = next(row for row in table if row["symbol"] == "BTCUSD_PERP")
    row["brackets"] = [bracket | {"maintMarginRatio": 0.0077} for bracket in row["brackets"]]
    stage.replies |= {
        "brackets": orjson.dumps(table),
        "funding": b'[{"symbol": "BTCUSD_PERP", "fundingIntervalHours": 4}]',
        "fee/BTCUSD_PERP": fee("BTCUSD_PERP", "0.00045"),
    }
    stage.pass_s(DEFINITIONS_S + 61.0)
    last = [it for event in stage.of(InstrumentsLoaded) for it in event.instruments if it.symbol == "BTCUSD_PERP"][-1]
    assert (last.tiers[0].rate, last.taker_fee_rate, last.funding_interval_s) == (0.0077, 0.00045, 14_400.0)


def test_the_first_snapshot_is_the_whole_account() -> None:
    """A pool for every coin, one for an isolated position, in coins."""
    (snapshot,) = synced().of(AccountSnapshot)
    assert (snapshot.venue, snapshot.feed) == ("binance-coinm", "binance-coinm")
    assert (snapshot.account_mode, snapshot.position_mode) == (AccountMode.SINGLE_ASSET, PositionMode.HEDGE)
    assert [(wallet.coin, wallet.balance) for wallet in snapshot.wallets] == [("BTC", 0.02), ("ETH", 0.5)]
    assert [(held.instrument, held.slot, held.size, held.margin_mode) for held in snapshot.positions] == [
        ("BTCUSD_PERP", Slot.LONG, 50.0, MarginMode.ISOLATED),
        ("BTCUSD_270326", Slot.LONG, 10.0, MarginMode.CROSS),
        ("ETHUSD_PERP", Slot.SHORT, -200.0, MarginMode.CROSS),
    ]
    assert [report.scope for report in snapshot.reports] == ["BTCUSD_PERP:long", "BTC", "ETH"]


def test_the_model_is_what_the_venue_reports() -> None:
    """Balance and maintenance of every pool, to the digits that the venue prints."""
    stage = synced()
    book = book_of(stage)
    (snapshot,) = stage.of(AccountSnapshot)
    account = book.account("binance-coinm", "main")
    for report in snapshot.reports:
        row = account.pools[report.scope]
        pool = book.assess(row)
        assert pool.model_error is not None
        assert pool.model_error < 1e-3, report
        assert isclose(pool.margin_balance, report.margin_balance, abs_tol=1e-8)
        assert isclose(pool.maintenance_margin, report.maintenance_margin, abs_tol=1e-8)
        assert pool.unit in ("BTC", "ETH")


def test_an_event_changes_contracts_and_lends_the_mark_behind_its_profit() -> None:
    """Long, short and flat rows; the marks of the inverse contracts, not of linear ones."""
    stage = synced()
    stage.frame(raw("ws_account_update_order"))
    (delta,) = stage.of(AccountDelta)
    assert [(held.instrument, held.slot, held.size) for held in delta.positions] == [
        ("BTCUSD_PERP", Slot.LONG, 40.0),
        ("ETHUSD_PERP", Slot.SHORT, -250.0),
    ]
    assert [held.mark_price for held in delta.positions] == pytest.approx([72_000.0, 3_100.0], rel=1e-5)
    assert [(wallet.coin, wallet.balance) for wallet in delta.wallets] == [("BTC", 0.0207)]
    stage.clock.set(stage.clock.now() + 2.0)
    stage.frame(raw("ws_account_update_closed"))
    assert stage.of(AccountDelta)[-1].positions[0].size == 0.0
    assert "ETH" not in book_of(stage).account("binance-coinm", "main").pools


def test_a_contract_that_is_not_known_lends_no_mark() -> None:
    """Its size is needed to tell; the definitions are read again."""
    stage = synced()
    frame = load("ws_account_update_order")
    frame["a"]["P"][0]["s"] = "SOLUSD_PERP"
    stage.frame(orjson.dumps(frame))
    assert stage.of(AccountDelta)[0].positions[0].mark_price is None
    stage.pass_s(2.0)
    assert len(stage.asked("exchange")) > 1


def test_events_that_name_usd_m_are_not_ours() -> None:
    """Since the merger a listen key may carry both."""
    stage = synced()
    assert stage.frame(raw("ws_account_update_usdm")) == []
    assert stage.bad("user", "shape") == 0


@pytest.mark.parametrize(
    ("frame", "kind", "instrument"),
    [("ws_margin_call", "margin_call", "BTCUSD_270326"), ("ws_order_liquidation", "liquidation", "BTCUSD_PERP")],
)
def test_what_a_person_should_hear_is_a_notice(frame: str, kind: str, instrument: str) -> None:
    """As on USD-M."""
    stage = synced()
    stage.frame(raw(frame))
    (notice,) = stage.of(VenueNotice)
    assert (notice.venue, notice.kind, notice.instrument) == ("binance-coinm", kind, instrument)


def test_a_leverage_changes_by_its_event() -> None:
    """As on USD-M."""
    stage = synced()
    stage.frame(raw("ws_account_config_leverage"))
    assert stage.of(AccountDelta)[0].positions[0].leverage == 10.0


def test_a_private_stream_that_does_not_tell_is_sought_on_the_other_path() -> None:
    """Both paths connect; which of them delivers is found by what a snapshot had to correct, and back again."""
    stage = synced(reconcile_s=10.0)
    for size in ("60", "70"):
        risk, account = load("rest_position_risk"), load("rest_account")
        risk[1]["positionAmt"] = size
        next(row for row in account["positions"] if row["positionSide"] == "LONG")["positionAmt"] = size
        stage.replies |= {"risk": orjson.dumps(risk), "account": orjson.dumps(account)}
        stage.pass_s(30.0 + EVENT_GRACE_S)
    assert [connect.url for connect in stage.did(Connect)] == [
        "wss://private.test/ws/listen-key-0001",
        "wss://private.test/private/ws?listenKey=listen-key-0001",
        "wss://private.test/ws/listen-key-0001",
    ]


def test_a_listen_key_that_expired_is_replaced_on_the_same_path() -> None:
    """The path was good."""
    stage = synced()
    stage.replies["listen"] = orjson.dumps({"listenKey": "listen-key-0002"})
    stage.frame(raw("ws_listen_key_expired"))
    stage.pass_s(1.0)
    assert stage.did(Connect)[-1].url == "wss://private.test/ws/listen-key-0002"


def mutated(value: Any, random: Random) -> Any:
    """The same JSON with one value replaced by something silly."""
    if isinstance(value, dict) and value:
        key = random.choice(sorted(value))
        return value | {key: mutated(value[key], random)}
    if isinstance(value, list) and value:
        index = random.randrange(len(value))
        return [*value[:index], mutated(value[index], random), *value[index + 1 :]]
    return random.choice([None, "", "nan", "-inf", "1e999", -1, True, [], {}, "x"])


def test_no_answer_breaks_the_session() -> None:
    """With any one value of any answer replaced, it goes on: in sync, or failed and tried again."""
    random = Random(11)
    for _ in range(300):
        stage = account_stage()
        kind, name = random.choice(
            [("account", "rest_account"), ("risk", "rest_position_risk"), ("brackets", "rest_leverage_bracket")]
        )
        stage.replies[kind] = orjson.dumps(mutated(load(name), random))
        stage.start()
        stage.pass_s(5.0)
        book_of(stage)
