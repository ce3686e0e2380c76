"""One account without I/O: permissions, private stream, snapshots, events, judgement."""

from math import isnan
from typing import Any

import orjson
import pytest

from connectors.account import DEFINITIONS_S, EVENT_GRACE_S, WITHOUT_STREAM_S
from connectors.binance_common.account import RETRY_S, AccountFeed
from connectors.binance_common.private import KEEPALIVE_S
from connectors.binance_common.rest import WEIGHT_PER_MINUTE
from connectors.keyed import EVENTS_WAITING_MAX
from connectors.private import OVERLAP_S
from connectors.session import Connect, Disconnect, Halt, Request, Security, Warn
from monitor.errors import DangerousKeyError, VenueError
from monitor.model.account import AccountMode, PositionMode
from monitor.model.assessment import FeedState
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Slot
from monitor.model.instrument import Instrument
from tests.connectors.binance.stage import (
    ANSWERS,
    LIFE_S,
    Stage,
    account_stage,
    book_of,
    fee,
    load,
    raw,
    synced,
    weight,
)
from tests.support.stage import START_MS, START_S

REFUSED = VenueError("binance: HTTP 503", retry=True, code=503)


def states(stage: Stage, stream: str) -> list[FeedState]:
    """How a stream's state went."""
    return [event.state for event in stage.of(FeedChanged) if event.stream == stream]


def update(stage: Stage, **changes: Any) -> bytes:
    """An ACCOUNT_UPDATE of this moment: the isolated BTC long has a new size."""
    frame = load("ws_account_update_order")
    at_ms = int(stage.clock.now() * 1000) + changes.pop("later_ms", 0)
    frame |= {"T": at_ms, "E": at_ms}
    frame["a"]["P"] = [frame["a"]["P"][0] | changes]
    return orjson.dumps(frame)


def outcomes(stage: Stage) -> dict[str, int]:
    """How the reconciliations ended."""
    counts = stage.telemetry.reconciliations.items()
    return {labels[2]: count for labels, count in counts.items()}


def loaded(stage: Stage, symbol: str) -> list[Instrument]:
    """What was told of a contract, in order."""
    return [it for event in stage.of(InstrumentsLoaded) for it in event.instruments if it.symbol == symbol]


# --- the start


def test_the_start_goes_permissions_stream_snapshot() -> None:
    """In this order, and the instruments come before the first snapshot."""
    stage = synced()
    kinds = [action.id.rpartition("-")[0] if isinstance(action, Request) else action for action in stage.actions]
    assert kinds[:2] == ["permissions", "listen"]
    assert isinstance(kinds[2], Connect)
    assert set(kinds[3:]) == {"modes", "configs", "account", "risk", "exchange", "brackets", "funding"}
    assert [type(event) for event in stage.events if not isinstance(event, FeedChanged)] == [
        InstrumentsLoaded,
        AccountSnapshot,
    ]
    assert states(stage, "user") == states(stage, "account") == [FeedState.LATE, FeedState.LIVE]


def test_the_first_snapshot_is_the_whole_account() -> None:
    """Modes, positions, wallets, and the venue's reports."""
    (snapshot,) = synced().of(AccountSnapshot)
    assert (snapshot.account_mode, snapshot.position_mode) == (AccountMode.SINGLE_ASSET, PositionMode.HEDGE)
    assert (snapshot.reason, snapshot.feed, snapshot.at_ms) == (SnapshotReason.START, "binance", START_MS)
    assert len(snapshot.positions) == 3
    assert [report.scope for report in snapshot.reports] == ["BTCUSDT:long", "USDT", "USDC"]


def test_requests_are_signed_as_the_endpoints_ask() -> None:
    """The listen key needs the key only, the public ones nothing."""
    stage = synced()
    assert stage.asked("listen")[0].security is Security.KEY
    assert stage.asked("permissions")[0].base == "https://permissions.test"
    assert {stage.asked(kind)[0].security for kind in ("modes", "configs", "account", "risk", "brackets")} == {
        Security.SIGNED
    }
    assert stage.asked("exchange")[0].security is Security.NONE


def test_the_listen_key_is_in_the_address_and_nowhere_to_be_read() -> None:
    """Actions do not print it, and the session names it as a secret."""
    stage = synced()
    (connect,) = stage.did(Connect)
    assert connect.url == "wss://private.test/private/ws?listenKey=listen-key-0001"
    assert "listen-key-0001" not in repr(stage.actions)
    assert set(stage.session.secrets()) == {"listen-key-0001"}


def test_a_key_that_may_trade_is_refused_with_what_to_do() -> None:
    """The sentence names the flags and the way to a read-only key; nothing else is asked."""
    stage = account_stage()
    stage.replies["permissions"] = orjson.dumps(load("rest_api_restrictions_read_only") | {"enableFutures": True})
    stage.start()
    (halt,) = stage.did(Halt)
    assert isinstance(halt.error, DangerousKeyError)
    assert "enableFutures" in str(halt.error)
    assert "Enable Reading" in str(halt.error)
    assert stage.asked("listen") == []
    assert states(stage, "account")[-1] is FeedState.DOWN


def test_a_key_that_may_trade_can_be_allowed_with_a_warning_at_each_start() -> None:
    """allow_dangerous_key."""
    stage = account_stage(allow_dangerous_key=True)
    stage.replies["permissions"] = orjson.dumps(load("rest_api_restrictions_read_only") | {"enableWithdrawals": True})
    stage.start()
    (warning,) = stage.did(Warn)
    assert "enableWithdrawals" in warning.text
    stage.pass_s(1.0)
    assert len(stage.of(AccountSnapshot)) == 1


def test_a_key_that_may_not_read_is_refused() -> None:
    """With what to tick."""
    stage = account_stage()
    stage.replies["permissions"] = orjson.dumps(load("rest_api_restrictions_read_only") | {"enableReading": False})
    stage.start()
    (halt,) = stage.did(Halt)
    assert "Enable Reading" in str(halt.error)


@pytest.mark.parametrize("status", [403, 404])
def test_unknown_permissions_are_refused_unless_allowed(status: int) -> None:
    """Test networks do not tell; the sentence says so."""
    unknown = VenueError("binance: HTTP", retry=True, code=status)
    refused = account_stage()
    refused.replies["permissions"] = unknown
    refused.start()
    (halt,) = refused.did(Halt)
    assert isinstance(halt.error, DangerousKeyError)
    assert "does not tell what the key may do" in str(halt.error)
    allowed = account_stage(allow_dangerous_key=True)
    allowed.replies["permissions"] = unknown
    allowed.start()
    assert len(allowed.did(Warn)) == 1
    assert len(allowed.asked("listen")) == 1


def test_the_firewall_of_the_production_host_does_not_end_the_account() -> None:
    """Its 403 lets the next request through; a 404 there is an address that does not tell, as everywhere."""
    stage = account_stage(permissions_url="https://api.binance.com")
    stage.replies["permissions"] = VenueError("binance: HTTP 403", retry=True, code=403)
    stage.start()
    stage.pass_s(60.0)
    assert stage.did(Halt) == stage.asked("listen") == []
    assert len(stage.asked("permissions")) > 3
    assert states(stage, "account") == [FeedState.LATE, FeedState.DOWN]
    assert "403" in stage.of(FeedChanged)[-1].detail
    stage.replies["permissions"] = raw("rest_api_restrictions_read_only")
    stage.pass_s(20.0)
    assert states(stage, "account")[-1] is FeedState.LIVE
    untold = account_stage(permissions_url="https://api.binance.com")
    untold.replies["permissions"] = VenueError("binance: HTTP 404", retry=True, code=404)
    untold.start()
    assert len(untold.did(Halt)) == 1


def test_permissions_that_cannot_be_asked_for_the_moment_are_asked_again() -> None:
    """The account is not in sync meanwhile, and says why."""
    stage = account_stage()
    stage.replies["permissions"] = REFUSED
    stage.start()
    stage.pass_s(30.0)
    assert states(stage, "account") == [FeedState.LATE, FeedState.DOWN]
    assert "503" in stage.of(FeedChanged)[-1].detail
    assert stage.asked("listen") == []
    stage.replies["permissions"] = raw("rest_api_restrictions_read_only")
    stage.pass_s(61.0)
    assert states(stage, "account")[-1] is FeedState.LIVE


def test_a_refused_key_ends_the_account_at_the_start() -> None:
    """-2015: waiting does not heal it."""
    stage = account_stage()
    stage.replies["permissions"] = VenueError("the API key is refused; check ...", retry=False, code=-2015)
    stage.start()
    (halt,) = stage.did(Halt)
    assert isinstance(halt.error, VenueError)


def test_a_key_refused_later_is_reported_at_once_and_tried_again() -> None:
    """Ending would be blindness; the account is stale instead, without waiting for what cannot heal by itself."""
    stage = synced()
    for kind in ("modes", "configs", "account", "risk"):
        stage.replies[kind] = VenueError("the API key is refused; check ...", retry=False, code=-2015)
    stage.pass_s(61.0)
    assert stage.did(Halt) == []
    assert states(stage, "account")[-1] is FeedState.STALE
    stale = stage.of(FeedChanged)[-1]
    assert "the API key is refused" in stale.detail
    assert stale.data_at == pytest.approx(START_S, abs=1.0)
    asked = len(stage.asked("risk"))
    stage.pass_s(60.0)
    assert len(stage.asked("risk")) > asked
    for kind, name in (("modes", "account_config"), ("configs", "symbol_config"), ("account", "account")):
        stage.replies[kind] = raw(f"rest_{name}")
    stage.replies["risk"] = raw("rest_position_risk")
    stage.pass_s(20.0)
    assert states(stage, "account")[-1] is FeedState.LIVE


def test_a_key_refused_for_the_private_stream_is_looked_into_at_once() -> None:
    """The snapshot that would be due in a minute says whether the key is refused altogether."""
    stage = synced()
    stage.pass_s(5.0)
    refused = VenueError("the API key is refused; check ...", retry=False, code=-2015)
    for kind in ("listen", "modes", "configs", "account", "risk"):
        stage.replies[kind] = refused
    stage.lose()
    stage.pass_s(3.0)
    assert states(stage, "account")[-1] is FeedState.STALE
    assert "the API key is refused" in stage.of(FeedChanged)[-1].detail


# --- snapshot and events


def test_events_before_the_first_snapshot_wait_for_it_and_newer_ones_are_in_it() -> None:
    """Nothing is told before the snapshot, and the snapshot knows the event."""
    stage = account_stage()
    stage.replies["account"] = None
    stage.start()
    stage.pass_s(0.5)
    stage.frame(update(stage, pa="0.900"))
    assert stage.of(AccountDelta) == stage.of(AccountSnapshot) == []
    stage.replies["account"] = raw("rest_account")
    stage.tell(stage.session.responded, stage.asked("account")[0].id, raw("rest_account"), START_MS)
    (snapshot,) = stage.of(AccountSnapshot)
    assert {position.size for position in snapshot.positions if position.instrument == "BTCUSDT"} == {0.9}
    assert [report.scope for report in snapshot.reports] == ["USDC"]  # of which the event tells nothing


def test_an_event_older_than_the_snapshot_is_dropped() -> None:
    """Its row in the snapshot is newer."""
    stage = account_stage()
    stage.replies["account"] = None
    stage.start()
    stage.pass_s(0.5)
    stage.frame(update(stage, pa="0.900", later_ms=-61_000))
    stage.tell(stage.session.responded, stage.asked("account")[0].id, raw("rest_account"), START_MS)
    (snapshot,) = stage.of(AccountSnapshot)
    assert {position.size for position in snapshot.positions if position.instrument == "BTCUSDT"} == {0.1}


def test_more_events_than_are_kept_before_the_snapshot_cost_that_snapshot_only() -> None:
    """The next one knows them all."""
    stage = account_stage()
    stage.replies["account"] = None
    stage.start()
    stage.pass_s(0.5)
    for number in range(EVENTS_WAITING_MAX + 1):
        stage.session.received(stage.open[-1], update(stage, pa=f"0.{number + 1:06}"), stage.clock.now())
    stage.replies["account"] = raw("rest_account")
    stage.pass_s(2.0)
    assert len(stage.asked("account")) == 2
    assert len(stage.of(AccountSnapshot)) == 1


def test_an_account_update_becomes_a_delta() -> None:
    """With what changed, the reason, and the mark that it implies."""
    stage = synced()
    (delta,) = stage.frame("ws_account_update_order")
    assert isinstance(delta, AccountDelta)
    assert (delta.venue, delta.account, delta.at_ms, delta.reason) == ("binance", "main", START_MS + 1000, "ORDER")
    assert [(wallet.coin, wallet.balance) for wallet in delta.wallets] == [("USDT", 4900.25)]
    assert [(p.instrument, p.slot, p.size, p.leverage) for p in delta.positions] == [
        ("BTCUSDT", Slot.LONG, 0.15, 10.0),
        ("ETHUSDT", Slot.SHORT, -6.0, 20.0),
    ]
    assert delta.positions[0].mark_price == pytest.approx(72000.0)


def test_a_closed_position_is_told_with_size_zero() -> None:
    """And its mark is not needed any more."""
    stage = synced()
    stage.frame("ws_account_update_closed")
    (delta,) = stage.of(AccountDelta)
    assert [(p.instrument, p.size) for p in delta.positions] == [("BTCUSDT", 0.0)]
    assert isinstance(stage.session, AccountFeed)
    assert stage.session.needs() == {"ETHUSDT", "SOLUSDC"}


def test_a_repeated_event_is_told_once() -> None:
    """On one connection or on two that overlap."""
    stage = synced()
    frame = update(stage, pa="0.2")
    assert len(stage.frame(frame)) == 1
    assert stage.frame(frame) == []
    assert stage.bad("user", "duplicate") == 1


def test_an_event_out_of_order_is_dropped_and_counted() -> None:
    """Its figures are older than what is known."""
    stage = synced()
    stage.pass_s(5.0)
    stage.frame(update(stage, pa="0.3"))
    assert stage.frame(update(stage, pa="0.2", later_ms=-10)) == []
    assert stage.bad("user", "out_of_order") == 2


@pytest.mark.parametrize(
    ("frame", "defect"),
    [
        (b"garbage", "json"),
        (raw("ws_account_update_order")[:80], "json"),
        (orjson.dumps(load("ws_account_update_order") | {"T": ""}), "time"),
        (
            orjson.dumps({"e": "ACCOUNT_UPDATE", "T": START_MS, "a": {"m": "ORDER", "B": [{"a": "USDT", "cw": ""}]}}),
            "number",
        ),
        (b"[]", "shape"),
    ],
)
def test_an_event_that_cannot_be_read_leads_to_a_snapshot(frame: bytes, defect: str) -> None:
    """It may have been the one that mattered."""
    stage = synced()
    assert stage.frame(frame) == []
    stage.pass_s(1.5)
    assert stage.bad("user", defect) == 1
    assert len(stage.of(AccountSnapshot)) == 2
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_an_unknown_event_is_counted_and_passed_over() -> None:
    """Venues invent events."""
    stage = synced()
    assert stage.frame(b'{"e":"SOMETHING_NEW","E":1,"T":1}') == []
    stage.pass_s(1.5)
    assert stage.bad("user", "unknown_event") == 1
    assert len(stage.of(AccountSnapshot)) == 1


def test_a_leverage_change_is_told() -> None:
    """ACCOUNT_CONFIG_UPDATE with ac."""
    stage = synced()
    (delta,) = stage.frame("ws_account_config_leverage")
    assert isinstance(delta, AccountDelta)
    assert [(p.instrument, p.leverage, p.size) for p in delta.positions] == [("BTCUSDT", 25.0, 0.1)]


def test_a_switch_to_multi_assets_mode_is_a_snapshot_with_indexes() -> None:
    """The event tells the mode only; everything else is asked."""
    stage = synced()
    stage.replies["modes"] = raw("rest_account_config_multi")
    stage.frame("ws_account_config_multi")
    stage.pass_s(1.5)
    snapshot = stage.of(AccountSnapshot)[-1]
    assert (snapshot.account_mode, snapshot.reason) == (AccountMode.MULTI_ASSET, SnapshotReason.CONFIGURATION)
    assert [report.scope for report in snapshot.reports] == ["multi"]
    assert {wallet.coin: wallet.price for wallet in snapshot.wallets} == {"USDT": 1.0001, "USDC": 0.9999}
    assert isinstance(stage.session, AccountFeed)
    assert {"index:USDTUSD", "index:USDCUSD"} <= stage.session.needs()


def test_a_switch_of_the_position_mode_is_found_by_the_timer() -> None:
    """There is no event for it."""
    stage = synced()
    stage.replies["modes"] = orjson.dumps(load("rest_account_config") | {"dualSidePosition": False})
    stage.pass_s(61.0)
    assert stage.of(AccountSnapshot)[-1].position_mode is PositionMode.ONE_WAY
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_a_change_of_margin_type_is_looked_at_at_once() -> None:
    """MARGIN_TYPE_CHANGE."""
    stage = synced()
    stage.frame("ws_account_update_margin_type")
    stage.pass_s(1.5)
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.CONFIGURATION


@pytest.mark.parametrize(
    ("name", "kind", "instrument"),
    [
        ("ws_margin_call", "margin_call", "ETHUSDT"),
        ("ws_order_liquidation", "liquidation", "BTCUSDT"),
        ("ws_order_adl", "adl", "ETHUSDT"),
        ("ws_order_settlement", "settlement", "SOLUSDC"),
    ],
)
def test_what_a_person_should_hear_becomes_a_notice(name: str, kind: str, instrument: str) -> None:
    """And a snapshot follows."""
    stage = synced()
    (notice,) = stage.frame(name)
    assert isinstance(notice, VenueNotice)
    assert (notice.kind, notice.instrument, notice.account) == (kind, instrument, "main")
    stage.pass_s(1.5)
    assert len(stage.of(AccountSnapshot)) == 2


def test_one_forced_order_is_one_notice_however_many_events_it_has() -> None:
    """NEW and then TRADE."""
    stage = synced()
    stage.frame("ws_order_liquidation")
    assert stage.frame("ws_order_liquidation_filled") == []


def test_a_fill_in_a_contract_that_was_listed_later_reads_the_definitions_again() -> None:
    """Its tiers come with the next snapshot."""
    stage = synced()
    listing = load("rest_exchange_info")
    listing["symbols"].append(listing["symbols"][0] | {"symbol": "NEWUSDT", "baseAsset": "NEW"})
    stage.replies["exchange"] = orjson.dumps(listing)
    stage.frame(update(stage, s="NEWUSDT"))
    stage.pass_s(1.5)
    assert "NEWUSDT" in {it.symbol for it in stage.of(InstrumentsLoaded)[-1].instruments}


def unlisted(*symbols: str) -> bytes:
    """The venue's contracts without these."""
    listing = load("rest_exchange_info")
    return orjson.dumps(listing | {"symbols": [row for row in listing["symbols"] if row["symbol"] not in symbols]})


def test_a_contract_that_the_venue_does_not_list_is_asked_for_with_growing_pauses() -> None:
    """Its pool is unknown meanwhile, and the other accounts behind the address keep their budget."""
    stage = account_stage()
    stage.replies["exchange"] = unlisted("ETHUSDT")
    stage.start()
    stage.pass_s(60.0)
    control = account_stage()
    control.start()
    control.pass_s(60.0)
    assert weight(stage) < 2 * weight(control)
    stage.pass_s(3000.0)
    assert 5 <= len(stage.asked("exchange")) <= 30
    assert [pool.unknown for pool in map(book_of(stage).assess, book_of(stage).rows()) if pool.scope == "unknown"] != []
    stage.replies["exchange"] = raw("rest_exchange_info")
    stage.pass_s(600.0 + 61.0)
    assert not any(pool.unknown for pool in map(book_of(stage).assess, book_of(stage).rows()))


def test_events_in_a_contract_that_is_not_listed_do_not_hasten_the_question() -> None:
    """It was asked for once; another contract is asked for at once."""
    stage = account_stage()
    stage.replies["exchange"] = unlisted("ETHUSDT", "SOLUSDC")
    stage.start()
    stage.pass_s(1.0)
    for tenth in range(60):
        stage.frame(update(stage, s="ETHUSDT", pa=f"{tenth + 1}"))
        stage.pass_s(1.0)
    before = len(stage.asked("exchange"))
    assert before <= 6
    stage.frame(update(stage, s="NEWUSDT"))
    stage.pass_s(2.0)
    assert len(stage.asked("exchange")) == before + 1


def test_brackets_are_read_again_every_hour_and_told_when_they_changed() -> None:
    """There is no private event for a change of brackets."""
    stage = synced()
    table = load("rest_leverage_bracket")
    table[1]["brackets"][0]["maintMarginRatio"] = 0.006
    stage.replies["brackets"] = orjson.dumps(table)
    stage.pass_s(3600.0 + 61.0)
    assert len(stage.asked("brackets")) == 2
    assert [it.symbol for it in stage.of(InstrumentsLoaded)[-1].instruments] == ["ETHUSDT"]


def test_a_bracket_table_that_lacks_a_symbol_for_once_does_not_unlearn_its_tiers() -> None:
    """Unknown tiers would mean an unknown pool."""
    stage = synced()
    stage.replies["brackets"] = orjson.dumps(load("rest_leverage_bracket")[1:])
    stage.pass_s(DEFINITIONS_S + 61.0)
    assert len(stage.asked("brackets")) == 2
    assert all(it.tiers for it in loaded(stage, "BTCUSDT"))


def test_fees_and_funding_intervals_are_read_again_every_hour_and_told_when_they_changed() -> None:
    """Held contracts' fees with the snapshot after the first; the usual interval where none is named."""
    stage = synced()
    stage.pass_s(61.0)
    first, second = ({it.symbol: it for it in event.instruments} for event in stage.of(InstrumentsLoaded))
    assert (first["BTCUSDT"].funding_interval_s, first["ETHUSDT"].funding_interval_s) == (28_800.0, 14_400.0)
    assert second.keys() == stage.session.needs()  # type: ignore[attr-defined]
    assert {it.taker_fee_rate for it in second.values()} == {0.0005}
    (asked,) = stage.asked("fee/BTCUSDT")
    assert (asked.path, asked.params, asked.weight) == ("/fapi/v1/commissionRate", (("symbol", "BTCUSDT"),), 20)
    stage.replies["fee/BTCUSDT"] = fee("BTCUSDT", "0.0004")
    stage.replies["funding"] = orjson.dumps([{"symbol": "BTCUSDT", "fundingIntervalHours": 1}])
    stage.pass_s(DEFINITIONS_S + 61.0)
    assert loaded(stage, "BTCUSDT")[-1].taker_fee_rate == 0.0004
    assert loaded(stage, "BTCUSDT")[-1].funding_interval_s == 3600.0
    assert loaded(stage, "ETHUSDT")[-1].funding_interval_s == 28_800.0
    assert len(stage.asked("fee/BTCUSDT")) == 2


def test_fees_and_funding_intervals_that_are_not_told_hold_nothing_up() -> None:
    """They are unknown, or stay as they were known, and are asked for again."""
    stage = account_stage()
    stage.replies |= {"funding": b"[", "fee/BTCUSDT": VenueError("refused", retry=True)}
    stage.start()
    stage.pass_s(RETRY_S - 60.0)
    assert stage.of(AccountSnapshot) != []
    assert {(it.taker_fee_rate, it.funding_interval_s) for it in loaded(stage, "BTCUSDT")} == {(None, None)}
    assert len(stage.asked("fee/BTCUSDT")) == 1
    assert 2 <= len(stage.asked("funding")) <= 12
    stage.replies |= {"funding": b"[]", "fee/BTCUSDT": fee("BTCUSDT", "0.0003")}
    stage.pass_s(RETRY_S)
    assert (loaded(stage, "BTCUSDT")[-1].taker_fee_rate, loaded(stage, "BTCUSDT")[-1].funding_interval_s) == (
        0.0003,
        28_800.0,
    )
    stage.replies["funding"] = VenueError("refused", retry=True)
    stage.pass_s(DEFINITIONS_S + 61.0)
    assert loaded(stage, "BTCUSDT")[-1].funding_interval_s == 28_800.0


# --- reconciliation


def test_a_snapshot_is_taken_on_the_timer() -> None:
    """reconcile_s."""
    stage = synced()
    stage.pass_s(300.0)
    assert 4 <= len(stage.of(AccountSnapshot)) - 1 <= 5
    assert outcomes(stage) == {"clean": len(stage.of(AccountSnapshot))}


def test_an_account_that_trades_each_second_is_held_against_the_venues_figures() -> None:
    """Every snapshot of which the answers tell what the events told brings its reports."""
    stage = synced()
    for number in range(600):
        frame = load("ws_account_update_order")
        frame |= {"T": int(stage.clock.now() * 1000), "E": number}
        frame["a"] |= {"P": [], "B": [{"a": "USDT", "wb": "5700", "cw": "5000.00000000", "bc": "0"}]}
        stage.frame(orjson.dumps(frame))
        stage.pass_s(0.9)
    (_, *later) = stage.of(AccountSnapshot)
    assert len(later) >= 8
    assert {tuple(report.scope for report in each.reports) for each in later} == {("BTCUSDT:long", "USDT", "USDC")}


def test_what_snapshots_cost_is_bounded_whatever_asks_for_them() -> None:
    """A storm of margin calls leaves most of the budget to the other accounts behind the address."""
    stage = synced()
    since = len(stage.actions)
    for number in range(600):
        stage.frame(orjson.dumps(load("ws_margin_call") | {"E": START_MS + number}))
        stage.pass_s(0.5)
    assert weight(stage, since) / 5 < WEIGHT_PER_MINUTE / 3
    assert len(stage.of(AccountSnapshot)) > 100


def test_a_coin_whose_index_is_not_told_makes_the_pool_unknown_though_its_wallet_is_empty() -> None:
    """What a position margined in it has won or lost cannot be counted, in the assessment or in the columns."""
    stage = account_stage()
    account = load("rest_account")
    for row in account["assets"]:
        row["crossWalletBalance"] = "0" if row["asset"] == "USDT" else row["crossWalletBalance"]
    stage.replies |= {
        "modes": raw("rest_account_config_multi"),
        "account": orjson.dumps(account),
        "configs": orjson.dumps([row | {"marginType": "CROSSED"} for row in load("rest_symbol_config")]),
        "indexes": orjson.dumps([row for row in load("rest_asset_index") if row["symbol"] != "USDTUSD"]),
    }
    stage.start()
    stage.pass_s(1.0)
    book = book_of(stage)
    (row,) = book.rows()
    pool = book.assess(row)
    assert (pool.scope, isnan(pool.margin_ratio)) == ("multi", True)
    assert {leg.instrument for leg in pool.legs} == {"BTCUSDT", "ETHUSDT", "SOLUSDC"}
    assert isnan(book.table().margin_ratio[0])


def test_a_snapshot_can_be_asked_for() -> None:
    """But not more often than once a second."""
    stage = synced()
    for _ in range(100):
        stage.tell(stage.session.reconcile)
        stage.pass_s(0.05)
    assert 4 <= len(stage.of(AccountSnapshot)) - 1 <= 6


def test_a_lost_event_is_healed_counted_and_held_against_the_stream() -> None:
    """A change that no event told: the private stream is stale and replaced, with a key asked for anew."""
    stage = synced()
    risk = load("rest_position_risk")
    risk[1] |= {"positionAmt": "-9.000", "updateTime": START_MS + 20_000}
    stage.replies["risk"] = orjson.dumps(risk)
    stage.pass_s(61.0)
    assert {p.size for p in stage.of(AccountSnapshot)[-1].positions if p.instrument == "ETHUSDT"} == {-9.0}
    assert outcomes(stage)["corrected"] == 1
    stage.pass_s(EVENT_GRACE_S + 2.0)
    assert states(stage, "user") == [FeedState.LATE, FeedState.LIVE, FeedState.STALE]
    (stale,) = (event for event in stage.of(FeedChanged) if event.state is FeedState.STALE)
    assert "ETHUSDT" in stale.detail
    assert stale.data_at == pytest.approx(START_S, abs=1.0)  # the snapshot that it was corrected by proves nothing
    assert len(stage.asked("listen")) == 2
    assert len(stage.open) == 1


def missed_one() -> Stage:
    """An account whose stream has just been replaced because it did not tell of a change."""
    stage = synced()
    risk = load("rest_position_risk")
    risk[1] |= {"positionAmt": "-9.000", "updateTime": START_MS + 20_000}
    stage.replies["risk"] = orjson.dumps(risk)
    stage.pass_s(61.0 + EVENT_GRACE_S + 2.0)
    assert states(stage, "user")[-1] is FeedState.STALE
    return stage


def test_the_successor_of_a_stream_that_missed_something_must_prove_itself() -> None:
    """Being open proves nothing: a snapshot that finds nothing missed does, and is not long in coming."""
    stage = missed_one()
    stage.pass_s(5.0)
    assert states(stage, "user")[-1] is FeedState.STALE
    stage.pass_s(WITHOUT_STREAM_S)
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_an_event_proves_the_successor_at_once() -> None:
    """It was delivered."""
    stage = missed_one()
    stage.frame(update(stage, pa="0.2"))
    stage.pass_s(0.5)
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_a_successor_that_misses_something_too_is_replaced_and_the_stream_stays_stale() -> None:
    """As when it is read on a path that is not served any more."""
    stage = missed_one()
    risk = load("rest_position_risk")
    for size in ("-10.000", "-11.000"):
        risk[1] |= {"positionAmt": size, "updateTime": int(stage.clock.now() * 1000) + 100}
        stage.replies["risk"] = orjson.dumps(risk)
        stage.pass_s(WITHOUT_STREAM_S + EVENT_GRACE_S + 1.0)
    assert states(stage, "user")[-1] is FeedState.STALE
    assert len(stage.asked("listen")) >= 3


def test_an_event_that_comes_after_the_snapshot_it_explains_keeps_the_stream() -> None:
    """It was on its way."""
    stage = synced()
    risk = load("rest_position_risk")
    risk[0] |= {"positionAmt": "0.150", "isolatedWallet": "1050.00000000", "updateTime": START_MS + 60_500}
    stage.replies["risk"] = orjson.dumps(risk)
    stage.pass_s(61.0)
    stage.frame(update(stage, later_ms=0))
    stage.pass_s(EVENT_GRACE_S + 2.0)
    assert FeedState.STALE not in states(stage, "user")


def test_a_venue_that_answers_503_is_asked_again_with_pauses_and_the_account_grows_stale() -> None:
    """What is known stays; how old it is, is told."""
    stage = synced()
    stage.replies["risk"] = REFUSED
    stage.pass_s(400.0)
    assert states(stage, "account")[2:] == [FeedState.LATE, FeedState.STALE]
    assert "503" in stage.of(FeedChanged)[-1].detail
    assert 5 <= outcomes(stage)["failed"] <= 60
    stage.replies["risk"] = raw("rest_position_risk")
    stage.pass_s(61.0)
    assert states(stage, "account")[-1] is FeedState.LIVE


@pytest.mark.parametrize("field", ["markPrice", "entryPrice"])
@pytest.mark.parametrize("value", ["", "0"])
def test_a_position_without_a_price_costs_that_price_only(field: str, value: str) -> None:
    """The snapshot is used, the hole is counted, and nothing is reported of pools that nobody could price."""
    stage = account_stage()
    risk = load("rest_position_risk")
    risk[0] |= {field: value, "unRealizedProfit": ""}
    stage.replies["risk"] = orjson.dumps(risk)
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    assert len(snapshot.positions) == 3
    (hit,) = (position for position in snapshot.positions if position.instrument == "BTCUSDT")
    assert (hit.mark_price is None) == (field == "markPrice")
    assert isnan(hit.entry_price) == (field == "entryPrice")
    assert stage.bad("rest", "number") == 1
    assert states(stage, "account")[-1] is FeedState.LIVE


def test_a_position_without_an_entry_price_keeps_the_one_that_is_known() -> None:
    """As long as its size is the same."""
    stage = synced()
    risk = load("rest_position_risk")
    risk[0] |= {"entryPrice": "", "unRealizedProfit": ""}
    stage.replies["risk"] = orjson.dumps(risk)
    stage.pass_s(61.0)
    first, second = ({p.instrument: p.entry_price for p in each.positions} for each in stage.of(AccountSnapshot))
    assert first == second


def test_an_account_answer_without_a_mark_is_not_held_against_the_model() -> None:
    """Its notional of zero would be a price of zero."""
    stage = account_stage()
    account = load("rest_account")
    next(row for row in account["positions"] if float(row["positionAmt"]))["notional"] = "0"
    stage.replies["account"] = orjson.dumps(account)
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    assert [report.scope for report in snapshot.reports] == ["USDT", "USDC"]


def test_the_venues_wish_to_wait_is_respected() -> None:
    """No question before Retry-After is over."""
    stage = synced()
    stage.replies["risk"] = VenueError("binance: HTTP 429", retry=True, retry_after_s=300.0, code=-1003)
    stage.pass_s(70.0)
    asked = len(stage.asked("risk"))
    stage.pass_s(280.0)
    stage.tell(stage.session.reconcile)
    assert len(stage.asked("risk")) == asked


@pytest.mark.parametrize("kind", ["modes", "configs", "account", "risk"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[1,2", b"[[]]", b'{"code":0}'])
def test_an_answer_that_cannot_be_used_is_asked_for_again(kind: str, body: bytes) -> None:
    """Nothing is half applied."""
    stage = account_stage()
    good = stage.replies[kind]
    stage.replies[kind] = body
    stage.start()
    stage.pass_s(5.0)
    if (kind, body) == ("configs", b"[[]]"):
        assert len(stage.of(AccountSnapshot)) == 1  # an unusable row of a table about all symbols costs only itself
        return
    assert stage.of(AccountSnapshot) == []
    stage.replies[kind] = good
    stage.pass_s(61.0)
    assert len(stage.of(AccountSnapshot)) >= 1


NO_DEFINITIONS = [VenueError("HTTP 500", retry=True), VenueError("no such key", retry=False), b"<html>", b'{"code":0}']


@pytest.mark.parametrize("reply", NO_DEFINITIONS, ids=["down", "refused", "garbage", "an error in good dress"])
@pytest.mark.parametrize("kind", ["exchange", "brackets"])
def test_definitions_that_are_not_told_leave_the_snapshots_standing_on_the_former(
    kind: str, reply: bytes | VenueError
) -> None:
    """For hours: contracts and tiers stay as they were, which the log says once, and they are asked for less and less.

    A table without a row is what it is: every contract keeps the tiers that it had.
    """
    stage = synced()
    tiers = loaded(stage, "BTCUSDT")[-1].tiers
    stage.replies[kind] = reply
    stage.pass_s(2.0 * DEFINITIONS_S)
    assert len(stage.of(AccountSnapshot)) >= 2.0 * DEFINITIONS_S / 60.0 - 5
    assert stage.of(FeedChanged)[-1].state is FeedState.LIVE
    assert tiers
    assert loaded(stage, "BTCUSDT")[-1].tiers == tiers
    empty = (kind, reply) == ("brackets", b'{"code":0}')
    assert 2 <= len(stage.asked(kind)) <= 30
    assert len(stage.did(Warn)) == (0 if empty else 1)
    stage.replies[kind] = raw(ANSWERS[kind])
    stage.pass_s(700.0)
    asked = len(stage.asked(kind))
    stage.pass_s(DEFINITIONS_S - 800.0)
    assert len(stage.asked(kind)) == asked


@pytest.mark.parametrize("kind", ["exchange", "brackets"])
def test_definitions_that_were_never_told_leave_what_depends_on_them_unknown(kind: str) -> None:
    """Every pool, by name; and the snapshots go on until they are told."""
    stage = account_stage()
    stage.replies[kind] = VenueError("HTTP 500", retry=True)
    stage.start()
    stage.pass_s(300.0)
    assert len(stage.of(AccountSnapshot)) >= 5
    assert unknown_pools(stage) == {True}
    stage.replies[kind] = raw(ANSWERS[kind])
    stage.pass_s(660.0)
    assert unknown_pools(stage) == {False}


def unknown_pools(stage: Stage) -> set[bool]:
    """Whether pools are unknown, and say what of."""
    book = book_of(stage)
    return {isnan(pool.margin_ratio) and bool(pool.unknown) for pool in map(book.assess, book.rows())}


def test_an_answer_that_never_comes_does_not_stop_the_account() -> None:
    """The shell promises one; the session does not rely on it."""
    stage = account_stage()
    stage.replies["risk"] = None
    stage.start()
    stage.pass_s(20.0)
    stage.replies["risk"] = raw("rest_position_risk")
    stage.pass_s(40.0)
    assert len(stage.of(AccountSnapshot)) == 1


def test_an_answer_to_a_question_of_long_ago_is_not_taken() -> None:
    """Only the latest of a kind is waited for."""
    stage = synced()
    old = stage.asked("risk")[0].id
    stage.replies["risk"] = None
    stage.pass_s(61.0)
    assert stage.tell(stage.session.responded, old, b"[]", START_MS) == []
    assert len(stage.of(AccountSnapshot)) == 1


# --- the private stream


def test_a_lost_stream_is_made_again_and_a_snapshot_follows() -> None:
    """Late for a moment, which is not worth an alarm."""
    stage = synced()
    stage.lose()
    stage.pass_s(3.0)
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT
    assert states(stage, "user") == [FeedState.LATE, FeedState.LIVE, FeedState.LATE, FeedState.LIVE]


def test_without_a_stream_snapshots_are_taken_more_often() -> None:
    """They are all there is."""
    stage = synced()
    stage.connecting = False
    stage.lose()
    before = len(stage.of(AccountSnapshot))
    stage.pass_s(120.0)
    assert states(stage, "user")[-1] is FeedState.DOWN
    down = next(event for event in stage.of(FeedChanged) if event.state is FeedState.DOWN)
    assert down.data_at == pytest.approx(START_S + 1.0)  # the moment of the loss
    assert len(stage.of(AccountSnapshot)) - before >= 5
    stage.connecting = True
    stage.pass_s(60.0)
    assert states(stage, "user")[-1] is FeedState.LIVE
    assert states(stage, "account")[-1] is FeedState.LIVE


def test_a_stream_that_never_opens_does_not_keep_the_first_snapshot() -> None:
    """Snapshots alone are better than nothing, and the stream is down."""
    stage = account_stage()
    stage.connecting = False
    stage.start()
    stage.pass_s(30.0)
    assert len(stage.of(AccountSnapshot)) >= 1
    assert states(stage, "user") == [FeedState.LATE, FeedState.DOWN]


def test_the_listen_key_is_extended_in_time() -> None:
    """Every 25 minutes or a little sooner, and never deleted."""
    stage = synced()
    stage.pass_s(3 * KEEPALIVE_S)
    assert len(stage.asked("keep")) == 3
    assert {request.method for request in stage.asked("keep") + stage.asked("listen")} == {"PUT", "POST"}
    assert len(stage.did(Connect)) == 1


def test_an_extension_that_fails_is_tried_again_within_the_hour() -> None:
    """One failed PUT is not the end of the stream."""
    stage = synced()
    stage.replies["keep"] = REFUSED
    stage.pass_s(KEEPALIVE_S + 600.0)
    assert len(stage.asked("keep")) > 5
    assert len(stage.asked("listen")) == 1
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_a_key_that_died_is_replaced_and_reported() -> None:
    """-1125."""
    stage = synced()
    stage.replies["keep"] = VenueError("binance: no such key", retry=True, code=-1125)
    stage.replies["listen"] = b'{"listenKey":"listen-key-0002"}'
    while len(stage.asked("listen")) < 2:
        stage.pass_s(1.0)
    stage.pass_s(1.0)
    assert stage.did(Connect)[-1].url.endswith("listenKey=listen-key-0002")
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT
    assert states(stage, "user")[2:] == [FeedState.STALE]  # nobody knows since when it had been dead
    assert len(stage.open) == 1
    stage.pass_s(WITHOUT_STREAM_S + 1.0)
    assert states(stage, "user")[2:] == [FeedState.STALE, FeedState.LIVE]


def test_an_extension_that_names_another_key_is_a_dead_stream() -> None:
    """Somebody deleted ours and made another."""
    stage = synced()
    stage.replies["keep"] = stage.replies["listen"] = b'{"listenKey":"listen-key-0002"}'
    stage.pass_s(KEEPALIVE_S + 20.0)
    assert stage.did(Connect)[-1].url.endswith("listenKey=listen-key-0002")
    assert states(stage, "user")[2:] == [FeedState.STALE, FeedState.LIVE]


def test_an_expired_key_is_replaced_at_once_even_when_told_twice() -> None:
    """The socket stays open and says nothing ever again."""
    stage = synced()
    stage.replies["listen"] = b'{"listenKey":"listen-key-0002"}'
    (old,) = stage.open
    stage.frame("ws_listen_key_expired")
    stage.pass_s(2.0)
    assert stage.did(Disconnect) == [Disconnect(old)]
    assert len(stage.did(Connect)) == 2
    stage.frame(orjson.dumps(load("ws_listen_key_expired") | {"E": 5}))
    stage.pass_s(2.0)
    assert len(stage.did(Connect)) == 2
    assert states(stage, "user")[2:] == [FeedState.STALE, FeedState.LIVE]


def test_a_dead_stream_stays_stale_until_the_new_one_is_open_and_a_snapshot_is_taken() -> None:
    """Snapshots meanwhile do not make it well."""
    stage = synced()
    stage.replies["listen"] = REFUSED
    stage.frame("ws_listen_key_expired")
    stage.pass_s(100.0)
    assert states(stage, "user")[-1] is FeedState.STALE
    stage.replies["listen"] = b'{"listenKey":"listen-key-0002"}'
    stage.pass_s(60.0)
    assert states(stage, "user")[-1] is FeedState.LIVE


def test_the_stream_is_renewed_before_the_venue_ends_it_and_nothing_is_lost_between() -> None:
    """Two connections overlap; what both say is told once; no alarm."""
    stage = synced()
    stage.pass_s(LIFE_S)
    assert len(stage.did(Connect)) == 2
    old = stage.did(Connect)[0].connection
    assert stage.did(Disconnect) == [Disconnect(old)]
    assert states(stage, "user") == [FeedState.LATE, FeedState.LIVE]
    assert states(stage, "account") == [FeedState.LATE, FeedState.LIVE]


def test_a_successor_made_with_a_key_that_died_meanwhile_is_never_trusted() -> None:
    """The overlap ends with the key: another key, another connection."""
    stage = synced()
    while len(stage.did(Connect)) < 2:
        stage.pass_s(OVERLAP_S / 2)
    old, heir = (connect.connection for connect in stage.did(Connect))
    assert stage.open == [old, heir]
    stage.replies["listen"] = b'{"listenKey":"listen-key-0002"}'
    stage.frame("ws_listen_key_expired", old)
    assert Disconnect(heir) in stage.did(Disconnect)
    stage.pass_s(2 * OVERLAP_S)
    assert stage.did(Connect)[-1].url.endswith("listenKey=listen-key-0002")
    assert stage.open == [stage.did(Connect)[-1].connection]
    assert states(stage, "user")[-1] is FeedState.LIVE
    assert stage.of(AccountSnapshot)[-1].reason in (SnapshotReason.RECONNECT, SnapshotReason.TIMER)


def test_a_key_asked_for_before_the_death_is_not_used() -> None:
    """The answer on its way may name the dead one."""
    stage = synced()
    stage.replies["listen"] = None
    while len(stage.asked("listen")) < 2:
        stage.pass_s(60.0)
    before = stage.asked("listen")[-1].id
    stage.frame("ws_listen_key_expired")
    stage.tell(stage.session.responded, before, raw("rest_listen_key"), START_MS)
    stage.pass_s(0.1)
    assert len(stage.asked("listen")) == 3
    stage.tell(stage.session.responded, before, raw("rest_listen_key"), START_MS)
    assert len(stage.did(Connect)) == 1
    stage.frame(orjson.dumps(load("ws_listen_key_expired") | {"E": 5}))
    stage.pass_s(0.1)
    assert len(stage.asked("listen")) == 3
    stage.tell(stage.session.responded, stage.asked("listen")[-1].id, b'{"listenKey":"listen-key-0002"}', START_MS)
    assert stage.did(Connect)[-1].url.endswith("listenKey=listen-key-0002")


def test_an_old_stream_that_ends_during_the_overlap_is_followed_by_the_new_one_at_once() -> None:
    """The successor is open already."""
    stage = synced()
    while len(stage.did(Connect)) < 2:
        stage.pass_s(OVERLAP_S / 2)
    old, new = (connect.connection for connect in stage.did(Connect))
    stage.tell(stage.session.closed, old, "closed by the venue with code 1001")
    stage.pass_s(1.0)
    assert len(stage.did(Connect)) == 2
    assert states(stage, "user")[-1] is FeedState.LIVE
    assert len(stage.frame(update(stage), new)) == 1


def test_health_tells_both_streams_with_their_ages() -> None:
    """For the metrics and the page."""
    stage = synced()
    stage.pass_s(10.0)
    user, account = stage.session.health(stage.clock.now())
    assert (user.stream, user.state, account.stream, account.state) == ("user", "live", "account", "live")
    assert account.age_s == pytest.approx(11.0, abs=0.1)
