"""One address on stage: start, frames, snapshots, and what happens when something is missing."""

from math import isnan
from typing import Any

import orjson
import pytest

from connectors.account import DEFINITIONS_S, EVENT_GRACE_S, WITHOUT_STREAM_S
from connectors.hyperliquid.account import POLL_S, PORTFOLIO_S
from connectors.hyperliquid.stream import PING_S, REFUSED_S
from connectors.private import OPEN_S
from connectors.session import Connect, Halt, Warn
from monitor.errors import ConfigurationError, VenueError
from monitor.model.account import AccountMode, PositionMode
from monitor.model.assessment import FeedState, PoolAssessment
from monitor.model.events import (
    AccountDelta,
    AccountSnapshot,
    FeedChanged,
    InstrumentsLoaded,
    SnapshotReason,
    VenueNotice,
)
from tests.connectors.hyperliquid.stage import ADDRESS, LIFE_S, NOTHING, Stage, account_stage, held, load, synced
from tests.support.booked import booked
from tests.support.stage import START_MS

MAIN, FLAT, BUILDER = (load(f"rest_clearinghouse_state{which}") for which in ("", "_flat", "_builder"))


def state(stage: Stage, stream: str) -> FeedState:
    """The last state of a stream."""
    return next(e.state for e in reversed(stage.of(FeedChanged)) if e.stream == stream)


def book_of(stage: Stage) -> dict[str, PoolAssessment]:
    """What a book makes of everything that the session told so far, by scope."""
    book = booked("hyperliquid", stage.events)
    return {pool.scope: pool for pool in map(book.assess, book.rows())}


def doubled() -> dict[str, Any]:
    """The main dex after BTC was bought once more, at 75,000."""
    return held(MAIN, "BTC", szi="0.2", positionValue="15000.0", unrealizedPnl="100.0")


# --- start


def test_the_start_subscribes_and_then_asks_for_everything() -> None:
    """Definitions and mode first, then all dexes and spot at one moment."""
    stage = synced()
    kinds = [message["subscription"]["type"] for message in stage.said()]
    assert kinds == ["allDexsClearinghouseState", "spotState", "userFills"]
    assert all(message["subscription"]["user"] == ADDRESS for message in stage.said())
    assert [len(stage.asked(kind)) for kind in ("dexes", "assets", "mode", "spot", "state:", "state:xyz")] == [1] * 6
    assert stage.asked("role") == []
    loaded, snapshot = stage.of(InstrumentsLoaded)[0], stage.of(AccountSnapshot)[0]
    assert {instrument.symbol for instrument in loaded.instruments} >= {"BTC", "xyz:AAPL"}
    assert (snapshot.account_mode, snapshot.position_mode) == (AccountMode.SINGLE_ASSET, PositionMode.ONE_WAY)
    assert snapshot.reason is SnapshotReason.START
    assert [position.instrument for position in snapshot.positions] == ["BTC", "ETH", "HYPE"]
    assert {report.scope for report in snapshot.reports} == {"USDC", "HYPE:short"}
    assert snapshot.at_ms == START_MS
    assert stage.session.needs() == {"BTC", "ETH", "HYPE"}  # type: ignore[attr-defined]
    assert (state(stage, "user"), state(stage, "account")) == (FeedState.LIVE, FeedState.LIVE)


def test_questions_are_posts_without_a_signature() -> None:
    """With the weights of the venue's budget."""
    stage = synced()
    (spot,), (xyz,), (main,) = stage.asked("spot"), stage.asked("state:xyz"), stage.asked("state:")
    assert (spot.method, spot.path, dict(spot.params)) == (
        "POST",
        "/info",
        {"type": "spotClearinghouseState", "user": ADDRESS},
    )
    assert dict(xyz.params) == {"type": "clearinghouseState", "user": ADDRESS, "dex": "xyz"}
    assert "dex" not in dict(main.params)
    assert (spot.weight, xyz.weight, stage.asked("mode")[0].weight) == (2, 2, 20)


def test_an_address_that_nobody_has_is_refused() -> None:
    """It looks like an empty account: only its role tells."""
    stage = account_stage()
    stage.replies |= {"state:": FLAT, "spot": {"balances": []}, "role": {"role": "missing"}}
    stage.start()
    stage.pass_s(1.0)
    (halt,) = stage.did(Halt)
    assert isinstance(halt.error, ConfigurationError)
    assert f"address: Hyperliquid knows no account {ADDRESS}" in str(halt.error)
    assert stage.of(AccountSnapshot) == []
    assert stage.asked("role")[0].weight == 60


def test_an_api_wallet_is_refused_with_its_account() -> None:
    """It holds nothing."""
    stage = account_stage()
    stage.replies |= {"state:": FLAT, "spot": {"balances": []}, "role": load("rest_user_role_agent")}
    stage.start()
    stage.pass_s(1.0)
    (halt,) = stage.did(Halt)
    assert "0x" + "cd" * 20 in str(halt.error)


@pytest.mark.parametrize("role", ["user", "vault", "subAccount", "somethingNew"])
def test_an_empty_account_is_an_account(role: str) -> None:
    """Of any role that can hold something, as far as known."""
    stage = account_stage()
    stage.replies |= {"state:": FLAT, "spot": {"balances": []}, "role": {"role": role}}
    stage.start()
    stage.pass_s(1.0)
    assert stage.did(Halt) == []
    (snapshot,) = stage.of(AccountSnapshot)
    assert (snapshot.positions, snapshot.wallets) == ((), ())


def test_a_question_that_cannot_be_read_ends_the_start() -> None:
    """Waiting does not heal it."""
    stage = account_stage()
    stage.replies["state:"] = VenueError("hyperliquid: HTTP 422", retry=False, code=422)
    stage.start()
    stage.pass_s(1.0)
    assert len(stage.did(Halt)) == 1
    later = synced()
    later.replies["state:"] = VenueError("hyperliquid: HTTP 422", retry=False, code=422)
    later.pass_s(130.0)
    assert later.did(Halt) == []


def test_without_a_stream_snapshots_come_more_often() -> None:
    """Better than nothing, and said to be nothing."""
    stage = synced()
    stage.connecting = False
    stage.lose()
    stage.pass_s(60.0)
    assert state(stage, "user") is FeedState.DOWN
    assert len(stage.of(AccountSnapshot)) >= 60.0 / WITHOUT_STREAM_S - 1


# --- frames


def test_a_trade_is_told_once() -> None:
    """With the position as it is now; the same frame again is a duplicate, an older one out of order."""
    stage = synced()
    stage.clock.advance(1.0)
    (delta,) = stage.states(main=doubled(), xyz=FLAT)
    assert isinstance(delta, AccountDelta)
    assert [(p.instrument, p.size, p.entry_price) for p in delta.positions] == [("BTC", 0.2, pytest.approx(74_500.0))]
    assert delta.wallets == ()
    assert stage.states(main=doubled(), xyz=FLAT) == []
    assert stage.bad("user", "duplicate") == 1
    assert stage.states(main=MAIN, xyz=FLAT, at_s=stage.clock.now() - 0.5) == []
    assert stage.bad("user", "out_of_order") == 1
    assert len(stage.of(AccountDelta)) == 1


def test_a_closed_position_is_told_with_size_zero() -> None:
    """A state is whole: what is absent is gone."""
    stage = synced()
    stage.clock.advance(1.0)
    (delta,) = stage.states(main=held(MAIN, "ETH"), xyz=FLAT)
    assert [(p.instrument, p.size) for p in delta.positions if isinstance(delta, AccountDelta)] == [("ETH", 0.0)]


def test_a_state_that_lags_behind_a_snapshot_changes_nothing() -> None:
    """It was on its way; it is not held against the stream."""
    stage = synced()
    assert stage.states(main=doubled(), xyz=FLAT, at_s=stage.clock.now() - 2.0) == []
    assert stage.bad("user", "out_of_order") == 0
    assert stage.of(AccountDelta) == []


def test_states_that_only_move_with_the_marks_tell_nothing() -> None:
    """The venue repeats itself at every block."""
    stage = synced()
    for _ in range(5):
        stage.clock.advance(1.0)
        stage.states(main=MAIN, xyz=FLAT)
    assert stage.of(AccountDelta) == []
    assert stage.bad("user", "duplicate") == 0


def test_a_position_on_another_dex_is_seen() -> None:
    """With its own balance."""
    stage = synced()
    stage.clock.advance(1.0)
    (delta,) = stage.states(main=MAIN, xyz=BUILDER)
    assert isinstance(delta, AccountDelta)
    assert [p.instrument for p in delta.positions] == ["xyz:TSLA"]
    assert [(w.coin, w.balance) for w in delta.wallets] == [("xyz:USDC", pytest.approx(450.0))]


def test_a_perpetual_that_is_new_since_the_start_is_looked_up() -> None:
    """The definitions are asked for again."""
    stage = synced()
    stage.pass_s(2.0)
    new = held(MAIN, "BTC", coin="NEW")
    stage.states(main=new, xyz=FLAT)
    stage.replies["state:"] = new
    stage.pass_s(2.0)
    assert len(stage.asked("assets")) == 2
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.CONFIGURATION


def test_frames_of_another_address_are_not_ours() -> None:
    """Counted, and nothing else."""
    stage = synced()
    stage.clock.advance(1.0)
    assert stage.states(main=FLAT, xyz=FLAT, user="0x" + "99" * 20) == []
    assert stage.bad("user", "shape") == 1


def test_the_greeting_is_no_garbage() -> None:
    """It is the one frame that is not JSON."""
    stage = synced()
    assert stage.frame(b"Websocket connection established.") == []
    assert stage.bad("user", "json") == 0
    stage.frame(b"Websocket")
    assert stage.bad("user", "json") == 1


def test_a_frame_that_cannot_be_read_calls_for_a_snapshot() -> None:
    """It may have been the one that mattered."""
    stage = synced()
    stage.pass_s(5.0)
    stage.states(main=held(MAIN, "BTC", szi=""))
    stage.pass_s(1.0)
    assert len(stage.of(AccountSnapshot)) == 2
    assert stage.bad("user", "number") == 1


@pytest.mark.parametrize(("coin", "scope"), [("BTC", "USDC"), ("HYPE", "HYPE:short")])
def test_an_odd_row_costs_its_pool_and_not_the_account(coin: str, scope: str) -> None:
    """The rest is in sync; the log names the row once, and the next answer may do better."""
    stage = account_stage()
    stage.replies["state:"] = held(MAIN, coin, unrealizedPnl="NaN", marginUsed="NaN")
    stage.start()
    stage.pass_s(200.0)
    assert state(stage, "account") is FeedState.LIVE
    assert {name for name, pool in book_of(stage).items() if isnan(pool.margin_ratio)} == {scope}
    (warning,) = stage.did(Warn)
    assert warning.text.startswith(f"hyperliquid/main: {coin} is unknown: Hyperliquid's ")
    stage.replies["state:"] = MAIN
    stage.pass_s(61.0)
    assert not any(isnan(pool.margin_ratio) for pool in book_of(stage).values())


TOO_MANY = "Cannot track more than 10 total users."


def detail(stage: Stage) -> str:
    """What the health of the private stream says."""
    return next(each.detail for each in stage.session.health(stage.clock.now()) if each.stream == "user")


def test_an_address_whose_subscriptions_are_refused_is_read_every_few_seconds() -> None:
    """An open socket is no stream: its health says why, and it is not tried again at once."""
    stage = account_stage()
    stage.refusal = TOO_MANY
    stage.start()
    stage.pass_s(120.0)
    assert (state(stage, "user"), state(stage, "account")) == (FeedState.DOWN, FeedState.LIVE)
    assert detail(stage) == f"Hyperliquid refused a subscription: {TOO_MANY}"
    assert len(stage.of(AccountSnapshot)) >= 120.0 / WITHOUT_STREAM_S
    assert stage.of(AccountSnapshot)[0].at_ms == START_MS
    assert 1 <= len(stage.did(Connect)) <= 1 + 120.0 / REFUSED_S
    assert stage.bad("user", "rejected") >= len(stage.did(Connect))
    stage.refusal = ""
    stage.pass_s(REFUSED_S + 1.0)
    assert (state(stage, "user"), stage.open) == (FeedState.LIVE, [stage.did(Connect)[-1].connection])
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT


@pytest.mark.parametrize("silent", ["allDexsClearinghouseState", "spotState"])
def test_a_subscription_that_is_not_acknowledged_makes_no_stream(silent: str) -> None:
    """The next connection may do better."""
    stage = account_stage()
    stage.unacknowledged = {silent}
    stage.start()
    stage.pass_s(OPEN_S + 15.0)
    assert (state(stage, "user"), state(stage, "account")) == (FeedState.DOWN, FeedState.LIVE)
    assert len(stage.did(Connect)) == 2
    stage.unacknowledged = set()
    stage.pass_s(OPEN_S + 15.0)
    assert state(stage, "user") is FeedState.LIVE


def test_fills_may_be_refused() -> None:
    """They only tell sooner what the states tell too."""
    stage = account_stage()
    stage.unacknowledged = {"userFills"}
    stage.start()
    stage.frame(load("ws_error"))
    stage.pass_s(61.0)
    assert state(stage, "user") is FeedState.LIVE
    assert stage.bad("user", "rejected") == 1
    assert len(stage.of(AccountSnapshot)) == 2


def test_a_refusal_on_the_way_to_a_new_connection_leaves_the_old_one_alone() -> None:
    """It delivers as before."""
    stage = account_stage()
    stage.start()
    stage.pass_s(LIFE_S * 0.97)
    stage.refusal = TOO_MANY
    stage.pass_s(LIFE_S * 0.04)
    assert len(stage.did(Connect)) > 1
    assert state(stage, "user") is FeedState.LIVE
    assert stage.open == [stage.did(Connect)[0].connection]


# --- liquidations


def test_a_liquidation_is_heard() -> None:
    """Once for an order; those told at the beginning are past."""
    stage = synced()
    frame = load("ws_user_fills_liquidation")
    (notice,) = stage.frame(frame)
    assert isinstance(notice, VenueNotice)
    assert (notice.kind, notice.instrument, notice.detail) == (
        "liquidation",
        "ETH",
        "2 ETH at 4321, market liquidation",
    )
    frame["data"]["fills"][0]["tid"] += 1
    assert stage.frame(frame) == []
    assert stage.frame(frame) == []
    assert stage.bad("user", "duplicate") == 1
    stage.pass_s(2.0)
    assert len(stage.of(AccountSnapshot)) == 2


def test_what_was_liquidated_while_the_stream_was_away_is_heard() -> None:
    """The first frame of a new stream tells of recent fills: of those, the ones since the start."""
    stage = synced()
    frame = load("ws_user_fills_liquidation")
    frame["data"]["isSnapshot"] = True
    old = orjson.loads(orjson.dumps(frame))
    old["data"]["fills"][0] |= {"time": START_MS - 60_000, "oid": 1, "tid": 1}
    assert stage.frame(old) == []
    assert [type(event) for event in stage.frame(frame)] == [VenueNotice]
    assert stage.frame(frame) == []
    assert stage.bad("user", "duplicate") == 0


def test_someone_elses_liquidation_is_not_ours() -> None:
    """The counterparty's fill names the other."""
    assert synced().frame(load("ws_user_fills_counterparty")) == []


def test_auto_deleveraging_is_heard() -> None:
    """By its words."""
    (notice,) = synced().frame(load("ws_user_fills_adl"))
    assert isinstance(notice, VenueNotice)
    assert notice.kind == "adl"


# --- snapshots and the stream against each other


def test_margin_tables_and_fees_are_read_again_every_hour_and_told_when_they_changed() -> None:
    """A builder's dex has fees that nothing tells; funding is paid every hour, whatever the perpetual."""
    stage = synced()
    first = {it.symbol: it for it in stage.of(InstrumentsLoaded)[0].instruments}
    assert (first["BTC"].taker_fee_rate, first["xyz:AAPL"].taker_fee_rate) == (0.00045, None)
    assert {it.funding_interval_s for it in first.values()} == {3600.0}
    metas = load("rest_all_perp_metas")
    for row in metas[0]["universe"]:
        row["marginTableId"] = 3 if row["name"] == "BTC" else row["marginTableId"]
    stage.replies |= {"assets": metas, "fees": load("rest_user_fees") | {"userCrossRate": "0.0004"}}
    stage.pass_s(DEFINITIONS_S + 61.0)
    last = {it.symbol: it for event in stage.of(InstrumentsLoaded) for it in event.instruments}
    assert (last["BTC"].taker_fee_rate, last["ETH"].taker_fee_rate) == (0.0004, 0.0004)
    # Held: ruled by the leverage that its position tells. Not held: by the table.
    assert len(stage.asked("assets")) == len(stage.asked("fees")) == 2
    assert stage.session._state.assets["BTC"].tiers[0].rate == pytest.approx(1.0 / 6.0)  # type: ignore[attr-defined]


def test_fees_that_are_not_told_hold_nothing_up() -> None:
    """They are unknown, or stay as they were known."""
    stage = account_stage()
    stage.replies["fees"] = b"{}"
    stage.start()
    stage.pass_s(1.0)
    assert len(stage.of(AccountSnapshot)) == 1
    assert {it.taker_fee_rate for it in stage.of(InstrumentsLoaded)[0].instruments} == {None}


def test_a_correction_that_no_frame_explains_ends_the_stream() -> None:
    """It is stale and replaced, however open its socket is; the next has to tell something to be believed."""
    stage = synced()
    stage.replies["state:"] = doubled()
    stage.pass_s(60.0)
    assert stage.of(AccountSnapshot)[-1].positions[0].size == 0.2
    assert stage.of(AccountDelta) == []
    stage.pass_s(EVENT_GRACE_S + 1.0)
    stale = next(e for e in stage.of(FeedChanged) if e.stream == "user" and e.state is FeedState.STALE)
    assert stale.detail == "no event told of a change that a snapshot found: BTC"
    assert len(stage.did(Connect)) == 2
    stage.pass_s(2.0)
    assert state(stage, "user") is FeedState.STALE
    stage.states(main=doubled(), xyz=FLAT)
    stage.pass_s(1.0)
    assert state(stage, "user") is FeedState.LIVE


def test_a_correction_that_a_frame_explains_is_none() -> None:
    """The snapshot was merely quicker."""
    stage = synced()
    stage.replies["state:"] = doubled()
    stage.pass_s(60.0)
    stage.states(main=doubled(), xyz=FLAT)
    stage.pass_s(EVENT_GRACE_S + 1.0)
    assert FeedState.STALE not in {event.state for event in stage.of(FeedChanged)}
    assert len(stage.did(Connect)) == 1


def test_a_stream_that_does_not_answer_pings_is_replaced() -> None:
    """The venue's own ping, which also keeps the connection from being closed for silence."""
    stage = synced()
    stage.pass_s(5.0 * PING_S)
    assert len(stage.did(Connect)) == 1
    assert stage.said().count({"method": "ping"}) >= 4
    stage.ponging = False
    stage.pass_s(2.0 * PING_S + 1.0)
    assert len(stage.did(Connect)) == 2
    assert FeedState.STALE in {event.state for event in stage.of(FeedChanged) if event.stream == "user"}


def test_a_subscription_that_the_venue_ends_is_made_again() -> None:
    """On a new connection, with a snapshot for what was missed."""
    stage = synced()
    stage.frame(load("ws_unsubscribed"))
    assert state(stage, "user") is FeedState.STALE
    stage.pass_s(2.0)
    assert state(stage, "user") is FeedState.LIVE
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT


def test_a_lost_connection_is_followed_by_a_snapshot() -> None:
    """And the health says so in between."""
    stage = synced()
    stage.lose()
    assert state(stage, "user") is FeedState.LATE
    stage.pass_s(12.0)
    assert state(stage, "user") is FeedState.LIVE
    assert stage.of(AccountSnapshot)[-1].reason is SnapshotReason.RECONNECT


def test_a_snapshot_that_fails_is_taken_again() -> None:
    """Whatever is wrong with one of its answers; an answer that comes too late belongs to nobody."""
    stage = synced()
    for reply in (b"<html>", b"{}", VenueError("HTTP 500", retry=True, code=500), NOTHING):
        seen = len(stage.of(AccountSnapshot))
        stage.replies["state:xyz"] = reply
        stage.pass_s(95.0)
        assert len(stage.of(AccountSnapshot)) == seen
        stage.replies["state:xyz"] = FLAT
        stage.pass_s(50.0)
        assert len(stage.of(AccountSnapshot)) > seen


# --- modes


def test_the_mode_is_asked_again_and_a_switch_is_told() -> None:
    """With the definitions that it changes: in unified mode all dexes draw on one balance."""
    stage = synced()
    stage.replies |= {
        "state:xyz": BUILDER,
        "mode": "unifiedAccount",
        "spot": load("rest_spot_clearinghouse_state_unified"),
    }
    stage.pass_s(125.0)
    snapshot = stage.of(AccountSnapshot)[-1]
    assert snapshot.account_mode is AccountMode.MULTI_ASSET
    assert [(w.coin, w.balance) for w in snapshot.wallets] == [("USDC", pytest.approx(2500.0 - 300.0 - 50.0))]
    changed = {it.symbol: it.margin_coin for it in stage.of(InstrumentsLoaded)[-1].instruments}
    assert changed == {"xyz:AAPL": "USDC", "xyz:TSLA": "USDC"}


def test_portfolio_accounts_are_read_often() -> None:
    """No stream tells their ratio."""
    stage = account_stage()
    stage.replies |= {"mode": "portfolioMargin", "spot": load("rest_spot_clearinghouse_state_portfolio")}
    stage.start()
    stage.pass_s(60.0)
    assert len(stage.of(AccountSnapshot)) >= 60.0 / PORTFOLIO_S
    assert "multi" in {report.scope for report in stage.of(AccountSnapshot)[-1].reports}


@pytest.mark.parametrize("lost", ["portfolioMarginRatio", "crossMaintenanceMarginUsed"])
def test_a_requirement_that_is_no_longer_told_is_let_go(lost: str) -> None:
    """An old one would be shown for ever; isolated positions, which need no report, stay known."""
    stage = account_stage()
    spot = load("rest_spot_clearinghouse_state_portfolio")
    stage.replies |= {"mode": "portfolioMargin", "spot": spot}
    stage.start()
    stage.pass_s(1.0)
    assert book_of(stage)["multi"].margin_ratio < 1.0
    stage.replies |= {
        "spot": {key: value for key, value in spot.items() if key != lost},
        "state:": {key: value for key, value in MAIN.items() if key != lost},
    }
    stage.pass_s(PORTFOLIO_S)
    found = book_of(stage)
    assert isnan(found["multi"].margin_ratio)
    assert found["multi"].unknown
    assert found["HYPE:short"].margin_ratio == pytest.approx(71.29725 / 106.720442)


def test_a_mode_of_tomorrow_is_said_once() -> None:
    """In the log; its pools are unknown."""
    stage = account_stage()
    stage.replies["mode"] = "quantumMargin"
    stage.start()
    stage.pass_s(200.0)
    (warning,) = stage.did(Warn)
    assert "in a mode that is not known here" in warning.text


def test_a_deposit_in_unified_mode_calls_for_a_reading() -> None:
    """Spot tells of it; spot and dexes together say what it is."""
    stage = account_stage()
    spot = load("rest_spot_clearinghouse_state_unified")
    stage.replies |= {"mode": "unifiedAccount", "spot": spot, "state:xyz": BUILDER}
    stage.start()
    stage.pass_s(5.0)
    spot["balances"][0]["total"] = "9000.0"
    told = {"channel": "spotState", "data": {"user": ADDRESS, "spotState": spot}}
    assert stage.frame(told) == []
    stage.pass_s(1.0)
    assert len(stage.of(AccountSnapshot)) == 2
    assert stage.of(AccountSnapshot)[-1].wallets[0].balance == pytest.approx(9000.0 - 106.720442 - 350.0)


def test_a_deviating_maximum_leverage_is_said_once() -> None:
    """In the log; whether it is right the venue's report decides."""
    stage = account_stage()
    stage.replies["state:"] = held(MAIN, "BTC", maxLeverage=50)
    stage.start()
    stage.pass_s(200.0)
    (warning,) = stage.did(Warn)
    assert warning.text == "hyperliquid/main: BTC is ruled by a maximum leverage of 50, its table says 40"
    tiers = {it.symbol: it.tiers for it in stage.of(InstrumentsLoaded)[0].instruments}
    assert tiers["BTC"][0].rate == 0.01


def test_definitions_are_read_again_every_hour() -> None:
    """A table that changed is told."""
    stage = synced()
    metas = load("rest_all_perp_metas")
    metas[1]["universe"][0]["marginTableId"] = 5
    stage.replies["assets"] = metas
    stage.pass_s(3700.0)
    (changed,) = stage.of(InstrumentsLoaded)[-1].instruments
    assert (changed.symbol, changed.tiers[0].rate) == ("xyz:AAPL", 0.1)


# --- without a stream by design


def test_an_address_beyond_the_limit_of_streams_is_polled() -> None:
    """No connection, and all is well as long as the answers come."""
    stage = account_stage(streamed=False)
    stage.start()
    stage.pass_s(59.0)
    assert stage.did(Connect) == []
    assert 60.0 / POLL_S - 1 <= len(stage.of(AccountSnapshot)) <= 60.0 / POLL_S + 1
    assert (state(stage, "user"), state(stage, "account")) == (FeedState.LIVE, FeedState.LIVE)
    stage.replies["state:"] = doubled()
    stage.pass_s(8.0)
    assert stage.of(AccountSnapshot)[-1].positions[0].size == 0.2
    stage.pass_s(EVENT_GRACE_S + 1.0)
    assert FeedState.STALE not in {event.state for event in stage.of(FeedChanged)}
    stage.replies["state:"] = VenueError("HTTP 500", retry=True)
    stage.pass_s(300.0)
    assert state(stage, "account") is FeedState.STALE
