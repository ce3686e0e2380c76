"""The account session: order of things, hedge rows, sequences, modes, notices, and what a snapshot proves."""

from math import isnan
from typing import Any

import pytest

from connectors.account import DEFINITIONS_S
from connectors.bybit.rest import REQUESTS_PER_MINUTE
from connectors.rest import BUDGET_SHARE
from connectors.session import Halt, Request, Send, Warn
from connectors.simulator.bybit import Position
from monitor.book import Book
from monitor.errors import DangerousKeyError, VenueError
from monitor.margin.venues import bybit
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.assessment import FeedState, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from monitor.model.ids import Slot
from tests.connectors.bybit.stage import Stage, account_stage, load, synced
from tests.support.booked import booked
from tests.support.digits import agrees
from tests.support.stage import START_MS


def position(stage: Stage, at: int = 0, **changes: Any) -> dict[str, Any]:
    """A position frame of what the server holds."""
    row = stage.server.position_row(stage.server.state.positions[at], "entryPrice")
    return frame(stage, "position", [row | {"category": "linear"} | changes])


def pools(stage: Stage) -> list[PoolAssessment]:
    """The pools that the book makes of everything that was told."""
    book = booked("bybit", stage.events)
    return [book.assess(row) for row in book.rows()]


def frame(stage: Stage, topic: str, data: list[Any]) -> dict[str, Any]:
    """A private frame."""
    return {"id": "x", "topic": topic, "creationTime": stage.server.now_ms(), "data": data}


def user_states(stage: Stage) -> list[FeedState]:
    """How the user stream's state went."""
    return [event.state for event in stage.of(FeedChanged) if event.stream == "user"]


def test_permissions_then_the_stream_then_a_snapshot() -> None:
    """Bybit sends no snapshot on subscription, so one is taken when the subscription stands."""
    stage = synced()
    (snapshot,) = stage.of(AccountSnapshot)
    assert (snapshot.reason, snapshot.account_mode) == (SnapshotReason.START, AccountMode.MULTI_ASSET)
    (held,) = snapshot.positions
    assert (held.instrument, held.size, held.leverage, held.margin_mode) == ("BTCUSDT", 1.0, 10.0, MarginMode.CROSS)
    (report,) = snapshot.reports
    assert (report.scope, report.marks) == ("multi", (("BTCUSDT", 75_000.0),))
    (loaded,) = stage.of(InstrumentsLoaded)
    assert (loaded.instruments[0].taker_fee_rate, len(loaded.instruments[0].tiers)) == (0.00055, 2)
    assert user_states(stage) == [FeedState.LATE, FeedState.LIVE]
    said = [said["args"] for said in stage.said() if said["op"] == "subscribe"]
    assert said == [["position", "wallet", "order", "execution"]]


def test_a_log_in_that_is_refused_is_told_and_tried_again() -> None:
    """Bybit leaves the socket open; a connection without a log-in is none."""
    stage = account_stage()
    stage.replies = False
    stage.start()
    stage.frame("ws_auth_bad")
    assert stage.open == []
    assert "Params Error" in stage.session.health(stage.clock.now())[0].detail
    stage.replies = True
    stage.pass_s(3.0)
    assert user_states(stage)[-1] is FeedState.LIVE


def test_a_key_that_writes_is_refused_and_its_name_is_a_secret() -> None:
    """Bybit repeats the key in the answer."""
    stage = account_stage()
    stage.server.state.read_only = 0
    stage.start()
    (halt,) = stage.did(Halt)
    assert isinstance(halt.error, DangerousKeyError)
    assert list(stage.session.secrets()) == ["key-of-the-bybit-account"]


def test_a_classic_account_is_refused() -> None:
    """It cannot be watched at all."""
    stage = account_stage()
    stage.server.state.unified = 1
    stage.start()
    stage.pass_s(1.0)
    (halt,) = stage.did(Halt)
    assert isinstance(halt.error, VenueError)
    assert "classic" in str(halt.error)


def test_a_permissions_endpoint_that_is_missing_needs_leave() -> None:
    """404 or Bybit's own code for it."""
    stage = account_stage()
    stage.refused["permissions"] = VenueError("no", retry=True, code=10017)
    stage.start()
    assert isinstance(stage.did(Halt)[0].error, DangerousKeyError)
    stage = account_stage(allow_dangerous_key=True)
    stage.refused["permissions"] = VenueError("no", retry=True, code=404)
    stage.start()
    stage.pass_s(1.0)
    assert stage.did(Warn)
    assert stage.of(AccountSnapshot)


def test_hedge_rows_are_two_positions_whatever_their_order() -> None:
    """An empty row that comes first does not hide a live one, and one that closes leaves the other."""
    stage = account_stage()
    stage.server.state.positions = [
        Position("BTCUSDT", 1.0, 75_000.0, index=1),
        Position("BTCUSDT", -2.0, 75_000.0, index=2),
    ]
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    assert snapshot.position_mode is PositionMode.HEDGE
    assert {(held.slot, held.size) for held in snapshot.positions} == {(Slot.LONG, 1.0), (Slot.SHORT, -2.0)}
    stage.server.state.positions[0].size = 0.0
    stage.server.state.positions[0].seq += 1
    (delta,) = stage.frame(position(stage))
    assert isinstance(delta, AccountDelta)
    assert [(held.slot, held.size) for held in delta.positions] == [(Slot.LONG, 0.0)]
    stage.session.reconcile(stage.clock.now())
    stage.pass_s(2.0)
    assert [held.size for held in stage.of(AccountSnapshot)[-1].positions] == [-2.0]


def test_the_adl_rank_goes_with_the_position() -> None:
    """From the snapshot and from events; an empty one is unknown."""
    stage = synced()
    stage.pass_s(1.0)
    assert [held.adl_rank for held in stage.of(AccountSnapshot)[0].positions] == [2]
    for told, rank in ((4, 4), (0, 0), ("", None)):
        (delta,) = stage.frame(position(stage, adlRankIndicator=told))
        assert isinstance(delta, AccountDelta)
        assert [held.adl_rank for held in delta.positions] == [rank]
    assert not stage.of(VenueNotice)


def test_an_older_sequence_is_left_out_and_an_equal_one_with_a_newer_time_is_not() -> None:
    """Leverage moves without a new sequence."""
    stage = synced()
    stage.pass_s(1.0)
    assert stage.frame(position(stage, seq=99, size="7")) == []
    assert stage.bad("user", "out_of_order") == 1
    (delta,) = stage.frame(position(stage, seq=100, leverage="20"))
    assert isinstance(delta, AccountDelta)
    assert delta.positions[0].leverage == 20.0


def test_an_event_that_waits_for_the_snapshot_is_laid_over_it() -> None:
    """It may be newer than the answer."""
    stage = account_stage()
    stage.refused["wallet"] = None
    stage.start()
    stage.pass_s(1.0)
    assert stage.frame(position(stage, seq=105, size="3")) == []
    del stage.refused["wallet"]
    asked = stage.asked("wallet")[-1]
    stage.tell(stage.session.responded, asked.id, stage._body(asked), int(stage.clock.now() * 1000))
    (snapshot,) = stage.of(AccountSnapshot)
    assert [held.size for held in snapshot.positions] == [3.0]
    assert snapshot.reports == ()


def test_coins_are_merged_and_an_empty_field_is_not_zero() -> None:
    """A wallet event lists only what changed; its price stays where the event does not tell one."""
    stage = account_stage()
    stage.server.state.balances["USDC"] = 100.0
    stage.start()
    stage.pass_s(3.0)
    row = {"coin": "USDT", "walletBalance": "49000", "equity": "", "usdValue": "", "spotBorrow": ""}
    (delta,) = stage.frame(frame(stage, "wallet", [{"accountType": "UNIFIED", "coin": [row]}]))
    assert isinstance(delta, AccountDelta)
    (wallet,) = delta.wallets
    assert (wallet.coin, wallet.balance) == ("USDT", 49_000.0)
    assert wallet.price == pytest.approx(0.9995)
    assert stage.bad("user", "number") == 0


@pytest.mark.parametrize("told", [{"spotBorrow": ""}, {}], ids=["left empty", "not named"])
def test_a_debt_that_is_not_told_is_not_paid(told: dict[str, str]) -> None:
    """What was owed last is still owed, until Bybit says another amount."""
    stage = synced()
    row = {"coin": "USDT", "equity": "", "usdValue": ""}
    for changes, balance in (
        ({"walletBalance": "49000", "spotBorrow": "3000"}, 46_000.0),
        ({"walletBalance": "48000", **told}, 45_000.0),
        ({"walletBalance": "48000", "spotBorrow": "0"}, 48_000.0),
        ({"walletBalance": "47000", **told}, 47_000.0),
    ):
        stage.pass_s(0.1)
        (delta,) = stage.frame(frame(stage, "wallet", [{"accountType": "UNIFIED", "coin": [row | changes]}]))
        assert isinstance(delta, AccountDelta)
        assert [wallet.balance for wallet in delta.wallets] == [balance]


@pytest.mark.parametrize(
    ("coins", "told"),
    [
        ({"USDT": 50_000.0}, {"spotBorrow": ""}),
        ({"USDT": 50_000.0, "BTC": 1.0}, {}),
        ({"USDT": 50_000.0, "BTC": 0.0}, {"spotBorrow": "", "equity": ""}),
    ],
    ids=["left empty", "not named, of a coin with an index", "of a coin that is not owned"],
)
def test_a_debt_that_was_never_told_may_be_any(
    monkeypatch: pytest.MonkeyPatch, coins: dict[str, float], told: dict[str, str]
) -> None:
    """The account is unknown until Bybit says what it owes, although the venue's totals and the index are there."""
    stage = account_stage()
    stage.server.state.balances = dict(coins)
    coin = list(coins)[-1]
    honest = stage.server.wallet

    def untold() -> dict[str, Any]:
        wallet = honest()
        (row,) = (row for row in wallet["coin"] if row["coin"] == coin)
        del row["spotBorrow"], row["borrowAmount"]
        row |= told
        return wallet

    monkeypatch.setattr(stage.server, "wallet", untold)
    stage.start()
    stage.pass_s(3.0)
    book = Book()
    book.add_account("bybit", "main", bybit.RULES)
    for event in (*stage.of(InstrumentsLoaded), *stage.of(AccountSnapshot)):
        book.load_instruments(event) if isinstance(event, InstrumentsLoaded) else book.apply_snapshot(event)
    (row,) = book.rows()
    assert book.assess(row).unknown == ("collateral value",)
    assert isnan(book.table().margin_ratio[0])

    stage.session.reconcile(stage.clock.now())
    stage.pass_s(2.0)
    book.apply_snapshot(stage.of(AccountSnapshot)[-1])
    assert isnan(book.table().margin_ratio[0])

    monkeypatch.undo()
    stage.session.reconcile(stage.clock.now())
    stage.pass_s(2.0)
    book.apply_snapshot(stage.of(AccountSnapshot)[-1])
    assert book.assess(row).unknown == ()
    assert 0.0 < book.table().margin_ratio[0] < 1.0
    assert len(stage.of(AccountSnapshot)) == 3


def test_a_coin_without_a_balance_is_asked_for() -> None:
    """The frame cannot be used; it may have been the one that mattered."""
    stage = synced()
    row = {"coin": "USDT", "walletBalance": ""}
    stage.frame(frame(stage, "wallet", [{"accountType": "UNIFIED", "coin": [row]}]))
    assert stage.bad("user", "number") == 1
    stage.pass_s(2.0)
    assert len(stage.of(AccountSnapshot)) == 2


def test_a_change_of_the_margin_mode_shows_in_the_wallet() -> None:
    """It has no event of its own; the account's figures become empty."""
    stage = synced()
    stage.pass_s(3.0)
    stage.server.state.margin_mode = "ISOLATED_MARGIN"
    stage.frame(frame(stage, "wallet", [stage.server.wallet()]))
    stage.pass_s(2.0)
    snapshot = stage.of(AccountSnapshot)[-1]
    assert snapshot.reason is SnapshotReason.CONFIGURATION
    assert [held.margin_mode for held in snapshot.positions] == [MarginMode.ISOLATED]
    assert FeedState.STALE not in user_states(stage)


def test_portfolio_margin_is_asked_for_often_and_after_every_wallet_event() -> None:
    """Its maintenance is known from reports alone."""
    stage = account_stage()
    stage.server.state.margin_mode = "PORTFOLIO_MARGIN"
    stage.server.state.maintenance = 5000.0
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    assert snapshot.account_mode is AccountMode.PORTFOLIO
    assert snapshot.reports[0].maintenance_margin == 5000.0
    stage.pass_s(5.0)
    assert len(stage.of(AccountSnapshot)) == 2
    stage.frame(frame(stage, "wallet", [stage.server.wallet()]))
    stage.pass_s(2.0)
    assert len(stage.of(AccountSnapshot)) == 3


def trade_each_second(stage: Stage, seconds: int) -> None:
    """A fill each second, of which a position and a wallet event tell, and an order that changes nothing."""
    state = stage.server.state
    held = state.positions[0]
    for second in range(seconds):
        held.size, held.seq = 1.0 + second % 2 / 10, held.seq + 1
        state.balances["USDT"] -= 0.01
        stage.frame(position(stage))
        stage.frame(frame(stage, "wallet", [stage.server.wallet()]))
        stage.frame(position(stage))
        stage.pass_s(1.0)


def requests(stage: Stage, since: int = 0) -> int:
    """How many were made."""
    return sum(isinstance(action, Request) for action in stage.actions[since:])


def test_an_account_that_trades_is_held_against_its_report_all_the_time() -> None:
    """Answers that tell what is held are good, however short before them an event was."""
    stage = synced(reconcile_s=5.0)
    trade_each_second(stage, 60)
    snapshots = stage.of(AccountSnapshot)
    assert len(snapshots) > 10
    assert all(snapshot.reports for snapshot in snapshots)


def test_an_account_that_trades_under_portfolio_margin_learns_its_requirement() -> None:
    """With every snapshot, within what one address may ask."""
    stage = account_stage()
    state = stage.server.state
    state.margin_mode, state.maintenance = "PORTFOLIO_MARGIN", 1500.0
    stage.start()
    stage.pass_s(3.0)
    state.maintenance, before = 45_000.0, len(stage.actions)
    trade_each_second(stage, 60)
    assert requests(stage, before) < BUDGET_SHARE * REQUESTS_PER_MINUTE
    snapshots = stage.of(AccountSnapshot)[1:]
    assert len(snapshots) > 20
    assert {snapshot.reports[0].maintenance_margin for snapshot in snapshots} == {45_000.0}
    (pool,) = pools(stage)
    assert pool.margin_ratio == pytest.approx(45_000 / pool.margin_balance)
    assert pool.margin_ratio > 0.9


def test_answers_that_lag_are_no_report_and_under_portfolio_margin_one_that_is_soon_renewed() -> None:
    """The requirement of before the event is better than none, but not for long."""
    for mode, reports in (("REGULAR_MARGIN", False), ("PORTFOLIO_MARGIN", True)):
        stage = account_stage()
        stage.server.state.margin_mode = mode
        stage.start()
        stage.pass_s(3.0)
        stage.frame(position(stage, size="2", seq=101))
        stage.session.reconcile(stage.clock.now())
        stage.pass_s(0.5)
        lagging = stage.of(AccountSnapshot)[-1]
        assert [held.size for held in lagging.positions] == [2.0]
        assert bool(lagging.reports) is reports
        stage.server.state.positions[0].size, stage.server.state.positions[0].seq = 2.0, 101
        taken = len(stage.of(AccountSnapshot))
        stage.pass_s(2.5)
        assert len(stage.of(AccountSnapshot)) == taken + reports


def test_a_requirement_that_is_no_longer_told_is_not_known() -> None:
    """Bybit leaves the account's figures empty; what it required before says nothing any more."""
    stage = account_stage()
    stage.server.state.margin_mode, stage.server.state.maintenance = "PORTFOLIO_MARGIN", 4000.0
    stage.start()
    stage.pass_s(1.0)
    (pool,) = pools(stage)
    assert pool.maintenance_margin == 4000.0
    untell_totals(stage)
    stage.pass_s(5.0)
    (pool,) = pools(stage)
    assert pool.unknown == ("the venue's report of the pool",)
    assert isnan(pool.margin_ratio)


def untell_totals(stage: Stage) -> None:
    """From now on the figures of the account as a whole are left empty."""
    honest = stage.server.wallet
    empty = dict.fromkeys(("totalMarginBalance", "totalMaintenanceMargin", "accountMMRate", "totalPerpUPL"), "")
    stage.server.wallet = lambda: honest() | empty  # type: ignore[method-assign]


def test_options_count_through_the_report() -> None:
    """Their maintenance stands in the account's: half as much again here, and half a per cent of the value."""
    stage = account_stage()
    stage.server.state.balances["USDT"], stage.server.state.options["USDT"] = 1000.0, 375.0
    stage.start()
    stage.pass_s(1.0)
    told = stage.server.wallet()
    (report,) = stage.of(AccountSnapshot)[0].reports
    assert report.maintenance_margin == pytest.approx(float(told["totalMaintenanceMargin"]))
    (pool,) = pools(stage)
    assert agrees(pool.margin_ratio, told["accountMMRate"])
    assert pool.model_error > 0.3


def test_what_bybit_takes_off_for_a_hedge_is_shown_as_a_difference() -> None:
    """Both sides are counted here; by how much Bybit asks for less is not published, and is to be seen."""
    stage = account_stage()
    stage.server.state.positions = [
        Position("BTCUSDT", 1.0, 75_000.0, index=1),
        Position("BTCUSDT", -1.0, 75_000.0, index=2),
    ]
    honest = stage.server.wallet

    def hedged() -> dict[str, Any]:
        wallet = honest()
        (coin,) = wallet["coin"]
        half = float(coin["totalPositionMM"]) / 2
        return wallet | {
            "totalMaintenanceMargin": f"{half * 0.9995:.8f}", "accountMMRate": "",
            "coin": [coin | {"totalPositionMM": f"{half:.8f}"}],
        }  # fmt: skip

    stage.server.wallet = hedged  # type: ignore[method-assign]
    stage.start()
    stage.pass_s(1.0)
    (report,) = stage.of(AccountSnapshot)[0].reports
    assert report.maintenance_margin == pytest.approx(float(hedged()["totalMaintenanceMargin"]))
    (pool,) = pools(stage)
    assert pool.model_error == pytest.approx(0.5)
    assert pool.disagreement is not None
    assert pool.disagreement.figure == "maintenance margin"


def test_inverse_positions_of_unified_account_1_are_a_pool_of_their_own_that_is_unknown() -> None:
    """The account in USD is not theirs; what they stand on is not read, which is said in words."""
    stage = account_stage()
    state = stage.server.state
    state.unified, state.marks["BTCUSD"] = 3, 75_000.0
    state.positions.append(Position("BTCUSD", -30_000.0, 74_000.0, category="inverse"))
    stage.start()
    stage.pass_s(3.0)
    found = {pool.scope: pool for pool in pools(stage)}
    assert found.keys() == {"multi", "BTCUSD:short"}
    assert found["BTCUSD:short"].unknown == ("collateral value",)
    assert isnan(found["BTCUSD:short"].margin_ratio)
    assert agrees(found["multi"].margin_ratio, stage.server.wallet()["accountMMRate"])
    assert found["multi"].model_error == pytest.approx(0.0, abs=1e-6)
    (said,) = stage.did(Warn)
    assert "BTCUSD" in said.text
    assert "unified account 1.0" in said.text


def test_collateral_is_priced_by_its_index_and_counted_by_its_ratio() -> None:
    """2.5 BTC: 95 % of the first and 90 % of the rest; the index is among the marks that are needed."""
    stage = account_stage()
    stage.server.state.balances["BTC"] = 2.5
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    (btc,) = [wallet for wallet in snapshot.wallets if wallet.coin == "BTC"]
    assert btc.price == pytest.approx(75_000.0)
    assert btc.haircut == pytest.approx(1 - (0.95 + 1.5 * 0.9) / 2.5)
    assert ("index:BTCUSD", 75_000.0) in snapshot.reports[0].marks
    assert stage.session.needs() == {"BTCUSDT", "index:BTCUSD"}  # type: ignore[attr-defined]


def test_an_inverse_position_without_its_coin_still_has_its_price() -> None:
    """Otherwise its profit in BTC would be counted as dollars."""
    stage = account_stage()
    stage.server.state.positions = [Position("BTCUSD", 30_000.0, 74_000.0, category="inverse")]
    stage.server.state.marks["BTCUSD"] = 75_000.0
    stage.start()
    stage.pass_s(1.0)
    (snapshot,) = stage.of(AccountSnapshot)
    assert {wallet.coin: wallet.price for wallet in snapshot.wallets}["BTC"] == 75_000.0


def test_a_correction_that_no_event_explains_shows_a_dead_stream() -> None:
    """However open its socket is."""
    stage = synced()
    stage.server.state.positions[0].size = 9.0
    stage.server.state.positions[0].seq += 1
    stage.pass_s(70.0)
    assert FeedState.STALE in user_states(stage)
    assert stage.of(AccountSnapshot)[1].positions[0].size == 9.0
    stage.pass_s(5.0)
    assert user_states(stage)[-1] is FeedState.LIVE


def test_pings_that_are_not_answered_show_a_dead_stream() -> None:
    """Quiet is normal, but a ping is answered."""
    stage = synced()
    pings = [said for said in stage.said() if said["op"] == "ping"]
    assert pings == []
    stage.pass_s(45.0)
    assert len([send for send in stage.did(Send) if '"ping"' in send.text]) == 2
    assert FeedState.STALE not in user_states(stage)
    stage.frame("ws_pong_private")
    stage.pass_s(20.0)
    assert FeedState.STALE not in user_states(stage)
    stage.pass_s(40.0)
    assert FeedState.STALE in user_states(stage)


def test_tiers_fees_and_funding_intervals_are_read_again_every_hour() -> None:
    """They change without an event."""
    stage = synced(reconcile_s=3600.0)
    first = stage.of(InstrumentsLoaded)[0].instruments[0]
    assert (first.tiers[0].rate, first.taker_fee_rate, first.funding_interval_s) == (0.005, 0.00055, 28_800.0)
    state = stage.server.state
    state.taker_fee_rate, state.funding_minutes, state.tier_rate = "0.0004", 60, "0.0045"
    for _ in range(int(DEFINITIONS_S / 30)):
        stage.pass_s(30.0)
        stage.frame("ws_pong_private")
    stage.pass_s(5.0)
    last = stage.of(InstrumentsLoaded)[-1].instruments[0]
    assert (last.tiers[0].rate, last.taker_fee_rate, last.funding_interval_s) == (0.0045, 0.0004, 3600.0)


def test_a_contract_that_is_new_is_described_at_once() -> None:
    """The position is told before its tiers are known."""
    stage = synced()
    stage.server.state.positions.append(Position("ETHUSDT", 2.0, 4000.0))
    (delta,) = stage.frame(position(stage, 1))
    assert isinstance(delta, AccountDelta)
    stage.pass_s(3.0)
    assert [it.symbol for it in stage.of(InstrumentsLoaded)[-1].instruments] == ["ETHUSDT"]


def test_definitions_that_fail_do_not_keep_the_snapshot_waiting() -> None:
    """They are asked for again."""
    stage = account_stage()
    stage.refused["risk/linear/BTCUSDT"] = VenueError("no", retry=True)
    stage.start()
    stage.pass_s(1.0)
    assert stage.of(AccountSnapshot)
    assert stage.of(InstrumentsLoaded)[0].instruments[0].tiers == ()
    stage.refused.clear()
    stage.pass_s(15.0)
    assert stage.of(InstrumentsLoaded)[-1].instruments[0].tiers


@pytest.mark.parametrize("status", ["PreLaunch", "Delivering"])
def test_a_contract_that_the_list_lacks_is_asked_for_by_name(status: str) -> None:
    """Bybit lists only what trades."""
    stage = account_stage()
    stage.server.state.status["BTCUSDT"] = status
    stage.start()
    stage.pass_s(1.0)
    (loaded,) = stage.of(InstrumentsLoaded)
    assert [(it.symbol, bool(it.tiers), it.taker_fee_rate) for it in loaded.instruments] == [("BTCUSDT", True, 0.00055)]
    asked = [dict(request.params) for request in stage.did(Request) if request.path.endswith("instruments-info")]
    assert [(query.get("symbol"), query.get("status")) for query in asked] == [
        (None, None), ("BTCUSDT", None), ("BTCUSDT", "Delivering"), ("BTCUSDT", "PreLaunch"),
    ]  # fmt: skip


def never_described(stage: Stage, symbol: str = "BTCUSDT") -> Stage:
    """Bybit knows nothing of this contract."""
    stage.server.state.status[symbol] = "Closed"
    return stage


def test_a_contract_that_nobody_describes_is_no_reason_to_ask_all_the_time() -> None:
    """Every account behind the address lives on the same budget."""
    stage = never_described(account_stage())
    stage.start()
    stage.pass_s(60.0)
    assert requests(stage) < 120
    before = len(stage.actions)
    stage.pass_s(600.0)
    assert requests(stage, before) < 250
    assert stage.of(InstrumentsLoaded) == []


def test_nor_is_one_that_is_traded_and_that_only_events_tell_of() -> None:
    """An event each second."""
    for listed in (True, False):
        stage = never_described(synced(), "ETHUSDT")
        odd = Position("ETHUSDT", 2.0, 4000.0)
        stage.server.state.positions += [odd] if listed else []
        before = len(stage.actions)
        for second in range(60):
            row = stage.server.position_row(odd, "entryPrice") | {"category": "linear", "seq": 1000 + second}
            stage.frame(frame(stage, "position", [row]))
            stage.pass_s(1.0)
        assert requests(stage, before) < 120


def test_a_contract_that_nobody_describes_does_not_keep_others_from_being_read() -> None:
    """Those keep their hour."""
    stage = never_described(account_stage(reconcile_s=3600.0), "ETHUSDT")
    stage.server.state.positions.append(Position("ETHUSDT", 2.0, 4000.0))
    stage.start()
    stage.pass_s(1.0)
    stage.server.state.taker_fee_rate = "0.0004"
    for _ in range(int(DEFINITIONS_S / 30)):
        stage.pass_s(30.0)
        stage.frame("ws_pong_private")
    stage.pass_s(5.0)
    fees = [(it.symbol, it.taker_fee_rate) for event in stage.of(InstrumentsLoaded) for it in event.instruments]
    assert fees == [("BTCUSDT", 0.00055), ("BTCUSDT", 0.0004)]


def test_the_report_of_an_account_with_a_contract_that_is_not_described_is_as_bybit_tells_it() -> None:
    """Nobody can say which part of a difference is the marks'."""
    stage = never_described(account_stage())
    stage.server.state.balances["USDT"] = 220.0
    stage.server.state.positions = [Position("BTCUSDT", 0.5, 75_000.0), Position("ETHUSDT", -0.02, 4000.0)]
    stage.start()
    stage.pass_s(1.0)
    told = stage.server.wallet()
    (report,) = stage.of(AccountSnapshot)[0].reports
    assert report.margin_balance == float(told["totalMarginBalance"])
    assert report.maintenance_margin == float(told["totalMaintenanceMargin"])


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("ws_order_liquidation", "liquidation", "placed by Bybit: sell 0.2 at 231"),
        ("ws_order_cancelled_for_liquidation", "liquidation", "cancelled before a liquidation"),
        ("ws_execution_adl", "adl", "closed by auto-deleveraging: 0.2 at 231"),
        ("ws_position_liquidated", "liquidation", "being liquidated"),
        ("ws_position_limit_lowered", "risk_limit", "lowers the risk limit"),
        ("ws_position_short", "adl_rank", "rank 5 of 5"),
    ],
)
def test_what_the_venue_does_to_a_position_is_told_once(name: str, kind: str, words: str) -> None:
    """However many frames repeat it."""
    stage = synced()
    stage.frame(name)
    stage.frame(load(name) | {"id": "again"})
    (notice,) = stage.of(VenueNotice)
    assert (notice.kind, notice.venue, notice.account) == (kind, "bybit", "main")
    assert words in notice.detail
    assert notice.at_ms >= START_MS


@pytest.mark.parametrize("name", ["ws_order_ordinary", "ws_execution_funding", "ws_position_option"])
def test_what_is_ordinary_is_not_told(name: str) -> None:
    """Orders and fills of the user, funding, options."""
    stage = synced()
    assert stage.frame(name) == []
    assert not any(stage.telemetry.bad_frames.items().values())


def test_trouble_of_the_platform_is_told_once() -> None:
    """As long as it lasts."""
    stage = account_stage(reconcile_s=5.0)
    stage.server.state.incidents = load("rest_system_status")["result"]["list"]
    stage.start()
    stage.pass_s(12.0)
    assert len(stage.of(AccountSnapshot)) > 2
    (notice,) = stage.of(VenueNotice)
    assert (notice.kind, notice.instrument) == ("system_status", "")
    assert "Derivatives maintenance" in notice.detail


def test_a_lost_stream_is_followed_by_a_snapshot() -> None:
    """Log in, subscribe, then ask for what was missed."""
    stage = synced()
    stage.lose()
    stage.pass_s(4.0)
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT
    assert user_states(stage)[-1] is FeedState.LIVE
