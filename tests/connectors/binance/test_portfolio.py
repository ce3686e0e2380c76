"""Portfolio margin: one pool, its equity and requirement as reported, moved by the marks in between."""

from math import nan
from random import Random
from typing import Any

import orjson
import pytest

from connectors import FeedSettings, binance
from connectors.binance.config import AccountConfig
from connectors.binance.portfolio import LIQUIDATION_UNI_MMR, PORTFOLIO
from connectors.binance_common.account import AccountFeed
from connectors.session import Connect, Request, Security
from monitor.book import Book
from monitor.credential import Secret
from monitor.margin.venues import RULES
from monitor.margin.venues.binance import UNI_MMR_LIQUIDATION
from monitor.model.account import AccountMode, PositionMode
from monitor.model.assessment import Basis, FeedState, PoolAssessment
from monitor.model.events import AccountDelta, AccountSnapshot, FeedChanged, InstrumentsLoaded, Marks, VenueNotice
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import LIFE_S, Stage, load, raw, settings
from tests.support.digits import agrees

ANSWERS = {
    "account": "rest_pm_account",
    "risk": "rest_pm_um_position_risk",
    "coin_risk": "rest_pm_cm_position_risk",
    "indexes": "rest_asset_index",
}
INDEX = {row["symbol"]: float(row["index"]) for row in load("rest_asset_index")}
COIN_EXCHANGE = {
    "symbols": [
        {"symbol": "BTCUSD_PERP", "baseAsset": "BTC", "marginAsset": "BTC", "contractSize": 100, "filters": []},
        {"symbol": "BTCUSDT", "baseAsset": "BTC", "marginAsset": "USDT"},
    ]
}


def synced(**changes: Any) -> Stage:
    """An account under portfolio margin that is in sync."""
    telemetry = Telemetry()
    held = settings(feed="binance/portfolio", portfolio=True, reconcile_s=10.0, **changes)
    stage = Stage(AccountFeed(held, LIFE_S, telemetry, Random(7), PORTFOLIO), telemetry)
    stage.replies |= {kind: raw(name) for kind, name in ANSWERS.items()}
    stage.replies["coin_funding"] = b"[]"
    stage.replies["coin_exchange"] = orjson.dumps(COIN_EXCHANGE)
    stage.start()
    stage.pass_s(1.0)
    return stage


def filled(stage: Stage) -> Book:
    """The book after everything the account told."""
    book = Book()
    book.add_account("binance", "main", RULES["binance"])
    for event in stage.events:
        match event:
            case InstrumentsLoaded():
                book.load_instruments(event)
            case AccountSnapshot():
                book.apply_snapshot(event)
    return book


def snapshots(stage: Stage) -> int:
    """How many were told."""
    return sum(isinstance(event, AccountSnapshot) for event in stage.events)


def booked(stage: Stage, **marks: float) -> PoolAssessment:
    """The one pool after everything the account told, at these marks."""
    book = filled(stage)
    times = [int(stage.clock.now() * 1000)] * len(marks)
    book.apply_marks(Marks("binance/portfolio", list(marks), list(marks.values()), times), stage.clock.now())
    (row,) = book.rows()
    return book.assess(row)


def test_the_questions_are_those_of_papi() -> None:
    """Contracts, indexes and the time are public and on the hosts of their products."""
    stage = synced(rest_url="https://papi.binance.com")
    asked = {action.path: action for action in stage.actions if isinstance(action, Request)}
    assert {path: (it.base, it.security) for path, it in asked.items() if "papi" not in path} == {
        "/sapi/v1/account/apiRestrictions": ("https://permissions.test", Security.SIGNED),
        "/fapi/v1/exchangeInfo": ("https://fapi.binance.com", Security.NONE),
        "/fapi/v1/assetIndex": ("https://fapi.binance.com", Security.NONE),
        "/dapi/v1/exchangeInfo": ("https://dapi.binance.com", Security.NONE),
        "/fapi/v1/fundingInfo": ("https://fapi.binance.com", Security.NONE),
        "/dapi/v1/fundingInfo": ("https://dapi.binance.com", Security.NONE),
    }
    assert {path for path in asked if "papi" in path} == {
        "/papi/v1/listenKey",
        "/papi/v1/account",
        "/papi/v1/um/positionRisk",
        "/papi/v1/cm/positionRisk",
    }
    assert PORTFOLIO.public_url("https://papi.binance.com") == "https://fapi.binance.com"
    assert PORTFOLIO.public_url("http://127.0.0.1:1") == "http://127.0.0.1:1"
    assert stage.did(Connect)[0].url == "wss://private.test/pm/ws/listen-key-0001"


def test_one_pool_shows_what_the_venue_reports() -> None:
    """uniMMR as the venue's figure; 1.05 of it is our 1."""
    stage = synced()
    (snapshot,) = stage.of(AccountSnapshot)
    assert (snapshot.account_mode, snapshot.position_mode) == (AccountMode.PORTFOLIO, PositionMode.HEDGE)
    pool = booked(stage)
    assert (pool.scope, pool.basis, pool.unit, len(pool.legs)) == ("multi", Basis.REPORTED, "USD", 3)
    assert pool.margin_balance == pytest.approx(21_000.0)
    assert pool.maintenance_margin == pytest.approx(10_500.0)
    assert pool.margin_ratio == pytest.approx(0.5)
    assert pool.venue_margin_ratio is not None
    assert agrees(pool.venue_margin_ratio, "2.10000000")
    assert snapshot.reports[0].venue_margin_ratio == 2.1


def test_the_balance_moves_with_the_marks_and_the_requirement_stands() -> None:
    """Linear positions in their coin, inverse ones in theirs at its index."""
    pool = booked(synced(), BTCUSDT=62_000.0, ETHUSDT=3_300.0, BTCUSD_PERP=62_000.0)
    coins = 50 * 100 * (1 / 72_000 - 1 / 62_000)
    expected = 21_000.0 - (0.1 * 10_000.0 + 5.0 * 200.0) * INDEX["USDTUSD"] + coins * INDEX["BTCUSD"]
    assert pool.margin_balance == pytest.approx(expected, abs=1e-3)
    assert pool.maintenance_margin == pytest.approx(10_500.0)
    assert pool.venue_margin_ratio == pytest.approx(expected / 10_000.0, abs=1e-5)


def test_a_ratio_of_one_is_where_the_venue_liquidates() -> None:
    """uniMMR 1.05; both sides of the wall state the same number."""
    assert LIQUIDATION_UNI_MMR == UNI_MMR_LIQUIDATION
    rules = RULES["binance"]
    assert rules.venue_margin_ratio(1.0, AccountMode.PORTFOLIO) == 1.05
    assert rules.venue_margin_ratio(0.5, AccountMode.PORTFOLIO) == 2.1
    assert rules.venue_margin_ratio(0.0, AccountMode.PORTFOLIO) is None
    assert rules.venue_margin_ratio(0.5, AccountMode.MULTI_ASSET) == 0.5


def test_a_change_of_position_is_read_whole() -> None:
    """Its event is no delta: equity and requirement change with it, so a snapshot follows."""
    stage = synced()
    risk = load("rest_pm_um_position_risk")
    risk[0]["positionAmt"] = "0.050"
    stage.replies["risk"] = orjson.dumps(risk)
    stage.pass_s(2.0)
    stage.frame(raw("ws_pm_account_update"))
    stage.pass_s(5.0)
    assert stage.of(AccountDelta) == []
    last = stage.of(AccountSnapshot)[-1]
    assert [held.size for held in last.positions] == [0.05, -5.0, 50.0]
    assert last.reports
    assert FeedState.STALE not in {event.state for event in stage.of(FeedChanged)}


@pytest.mark.parametrize("name", ["ws_pm_liability_change", "ws_pm_account_update"])
def test_whatever_changes_the_equity_is_a_reason_to_ask(name: str) -> None:
    """Within a second or two, not at the next poll."""
    stage = synced()
    asked = len(stage.asked("account"))
    stage.frame(raw(name))
    stage.pass_s(2.0)
    assert len(stage.asked("account")) > asked


def test_the_equity_that_prices_move_says_nothing_against_the_stream() -> None:
    """No event tells of it, and none is owed."""
    stage = synced()
    for equity in ("20000", "19000", "22000"):
        stage.replies["account"] = orjson.dumps(load("rest_pm_account") | {"accountEquity": equity})
        stage.pass_s(15.0)
    assert FeedState.STALE not in {event.state for event in stage.of(FeedChanged)}
    assert booked(stage).margin_balance == pytest.approx(22_000.0)


@pytest.mark.parametrize(
    ("level", "kind"),
    [("MARGIN_CALL", "margin_call"), ("REDUCE_ONLY", "margin_call"), ("FORCE_LIQUIDATION", "liquidation")],
)
def test_a_change_of_the_risk_level_is_a_notice(level: str, kind: str) -> None:
    """With uniMMR in its sentence."""
    stage = synced()
    stage.frame(orjson.dumps(load("ws_pm_risk_level_change") | {"s": level}))
    (notice,) = stage.of(VenueNotice)
    assert (notice.kind, notice.instrument) == (kind, "")
    assert notice.detail == f"{level}: uniMMR 1.05, equity 10500 USD, maintenance margin 10000 USD"


def test_a_coin_without_a_price_makes_the_pool_unknown() -> None:
    """Not smaller."""
    priced = [row for row in load("rest_asset_index") if row["symbol"] != "BTCUSD"]
    stage = synced()
    stage.replies["indexes"] = orjson.dumps(priced)
    stage.pass_s(15.0)
    pool = booked(stage)
    assert pool.margin_ratio != pool.margin_ratio
    assert pool.unknown


def test_an_equity_below_zero_is_past_liquidation() -> None:
    """And not a fault."""
    stage = synced()
    stage.replies["account"] = orjson.dumps(load("rest_pm_account") | {"accountEquity": "-5", "uniMMR": "-0.0005"})
    stage.pass_s(15.0)
    assert booked(stage).margin_ratio == float("inf")


def test_the_account_says_so_in_its_configuration() -> None:
    """With the hosts and the pace that go with it; a feed of its own beside USD-M's."""
    keys = {"name": "main", "api_key": Secret("k"), "api_secret": Secret("s")}
    made = AccountConfig.model_validate(keys | {"portfolio": True})
    assert (made.rest_url, made.reconcile_s) == ("https://papi.binance.com", 10.0)
    assert made.permissions_url == "https://api.binance.com"
    assert AccountConfig.model_validate(keys | {"portfolio": True, "reconcile_s": 30}).reconcile_s == 30.0
    header = made.settings("binance/portfolio").header()
    plan = binance.revive(
        {
            "accounts": [header, AccountConfig.model_validate(keys | {"name": "other"}).settings("binance").header()],
            "settings": {"mark_s": FeedSettings().mark_s},
            "seed": 1,
        },
        Telemetry(),
    )
    assert set(plan.markets) == {"binance/portfolio", "binance"}


def test_no_answer_breaks_the_session() -> None:
    """With any one figure of any answer spoilt: in sync, or failed and tried again until it is in sync."""
    random = Random(3)
    for _ in range(100):
        stage = synced()
        kind = random.choice(sorted(ANSWERS))
        body = load(ANSWERS[kind])
        row = random.choice(body) if isinstance(body, list) else body
        row[random.choice(sorted(row))] = random.choice([None, "", "nan", nan, "x", [], -1])
        stage.replies[kind] = orjson.dumps(body)
        stage.pass_s(15.0)
        taken = snapshots(stage)
        assert taken > 1 or stage.telemetry.reconciliations.get("binance", "main", "failed") > 0
        book = filled(stage)
        assert {book.assess(pool).basis for pool in book.rows()} <= {Basis.REPORTED}
        stage.replies[kind] = raw(ANSWERS[kind])
        stage.pass_s(60.0)
        assert snapshots(stage) > taken
