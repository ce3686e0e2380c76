"""Portfolio margin: one pool, its equity and requirement as reported, moved by the marks in between."""

from math import inf, isnan, nan
from random import Random
from typing import Any

import orjson
import pytest

from connectors import FeedSettings, binance
from connectors.binance.config import AccountConfig
from connectors.binance.portfolio import LIQUIDATION_UNI_MMR, PORTFOLIO
from connectors.binance_common.account import AccountFeed
from connectors.binance_common.rest import WEIGHT_PER_MINUTE
from connectors.session import Connect, Request, Security
from monitor.credential import Secret
from monitor.margin.venues import RULES
from monitor.margin.venues.binance import UNI_MMR_LIQUIDATION
from monitor.model.account import AccountMode, PositionMode
from monitor.model.assessment import Basis, FeedState, PoolAssessment
from monitor.model.events import AccountDelta, AccountSnapshot, FeedChanged, Marks, VenueNotice
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import LIFE_S, Stage, book_of, load, raw, settings, weight
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


def told(stage: Stage, **changes: str | None) -> None:
    """From now on the account's answer says this."""
    stage.replies["account"] = orjson.dumps(load("rest_pm_account") | changes)


def traded(stage: Stage, seconds: int) -> int:
    """Trade each second for so long; returns what the requests cost."""
    since = len(stage.actions)
    for number in range(seconds):
        at_ms = int(stage.clock.now() * 1000)
        frame = load("ws_pm_account_update") | {"T": at_ms, "E": at_ms}
        frame["a"]["P"][0]["pa"] = f"0.{number % 9 + 1}"
        stage.frame(orjson.dumps(frame))
        stage.pass_s(1.0)
    return weight(stage, since)


def snapshots(stage: Stage) -> int:
    """How many were told."""
    return sum(isinstance(event, AccountSnapshot) for event in stage.events)


def booked(stage: Stage, **marks: float) -> PoolAssessment:
    """The one pool after everything the account told, at these marks."""
    book = book_of(stage)
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
    for equity in (20_000, 19_000, 22_000):
        told(stage, accountEquity=f"{equity}", uniMMR=f"{equity / 10_000}")
        stage.pass_s(15.0)
    assert FeedState.STALE not in {event.state for event in stage.of(FeedChanged)}
    assert booked(stage).margin_balance == pytest.approx(22_000.0)


def test_an_account_that_trades_each_second_is_shown_as_reported_within_its_share_of_the_budget() -> None:
    """Every snapshot brings the report, and other accounts of the address have most of its 2,400 a minute."""
    stage = synced()
    seen = len(stage.of(AccountSnapshot))
    told(stage, accountMaintMargin="15000", uniMMR="1.40000000")
    spent = traded(stage, 60)
    later = stage.of(AccountSnapshot)[seen:]
    assert 10 <= len(later) <= 25
    assert all(snapshot.reports for snapshot in later)
    assert booked(stage).margin_ratio == pytest.approx(0.75)
    assert spent < WEIGHT_PER_MINUTE / 3
    assert traded(stage, 60) < WEIGHT_PER_MINUTE / 3.5


def test_the_first_change_after_a_quiet_while_is_read_at_once() -> None:
    """What a storm costs is borne by what follows in the storm."""
    stage = synced()
    traded(stage, 60)
    stage.pass_s(30.0)
    seen = len(stage.of(AccountSnapshot))
    traded(stage, 2)
    assert len(stage.of(AccountSnapshot)) - seen >= 2


@pytest.mark.parametrize(
    ("changes", "ratio", "shown"),
    [
        ({"uniMMR": "1.04", "totalMarginOpenLoss": "10600"}, 1.05 / 1.04, "1.04"),
        ({"uniMMR": "2.09999999"}, 0.5, "2.10000000"),
        ({"uniMMR": "2.10000001"}, 0.5, "2.10000000"),
        ({"uniMMR": "3.5"}, 0.5, "2.10000000"),
        ({"uniMMR": "-0.2"}, inf, "-0.20000000"),
    ],
    ids=["less than the equity over the requirement", "a digit less", "a digit more", "more", "below zero"],
)
def test_the_ratio_never_looks_safer_than_uni_mmr(changes: dict[str, str | None], ratio: float, shown: str) -> None:
    """uniMMR counts open losses, which the equity beside it may not; its own figure is passed on as well."""
    stage = synced()
    told(stage, **changes)
    stage.pass_s(15.0)
    pool = booked(stage)
    assert pool.margin_ratio == pytest.approx(ratio, rel=1e-8)
    assert pool.maintenance_margin == pytest.approx(10_500.0)
    assert pool.venue_margin_ratio == pytest.approx(float(shown), abs=2e-8) or ratio == inf
    (report,) = stage.of(AccountSnapshot)[-1].reports
    assert report.venue_margin_ratio == float(changes["uniMMR"] or "nan")


def test_an_account_that_must_hold_nothing_is_not_judged_by_uni_mmr() -> None:
    """A quotient by zero says nothing."""
    stage = synced()
    told(stage, uniMMR="0", accountMaintMargin="0")
    stage.pass_s(15.0)
    pool = booked(stage)
    assert (pool.margin_balance, pool.margin_ratio) == (pytest.approx(21_000.0), 0.0)


@pytest.mark.parametrize("figure", ["uniMMR", "accountEquity", "accountMaintMargin"])
@pytest.mark.parametrize("value", ["", None, "nan"])
def test_a_figure_that_is_not_told_makes_the_pool_unknown(figure: str, value: str | None) -> None:
    """What was reported before says nothing of now; the positions are known all the same, and then the figure is."""
    stage = synced()
    told(stage, **{figure: value})
    stage.pass_s(15.0)
    pool = booked(stage, BTCUSDT=72_000.0, ETHUSDT=3_100.0, BTCUSD_PERP=72_000.0)
    assert isnan(pool.margin_ratio)
    assert pool.unknown
    assert len(pool.legs) == 3
    assert stage.bad("rest", "number") >= 1
    told(stage)
    stage.pass_s(15.0)
    assert booked(stage).margin_ratio == pytest.approx(0.5)


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


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("MARGIN_CALL", "margin_call"),
        ("SUPPLY_MARGIN", "margin_call"),
        ("REDUCE_ONLY", "margin_call"),
        ("ACTIVE_LIQUIDATION", "liquidation"),
        ("FORCE_LIQUIDATION", "liquidation"),
        ("BANKRUPTED", "liquidation"),
        ("SOMETHING_NEW", "margin_call"),
    ],
)
def test_a_status_that_is_not_normal_is_a_notice_once(status: str, kind: str) -> None:
    """However many snapshots tell it, and though no event did."""
    stage = synced()
    told(stage, uniMMR="1.04", accountStatus=status)
    stage.pass_s(60.0)
    (notice,) = stage.of(VenueNotice)
    assert (notice.kind, notice.instrument) == (kind, "")
    assert notice.detail == f"{status}: uniMMR 1.04, equity 21000 USD, maintenance margin 10000 USD"


def test_every_change_of_the_status_is_told() -> None:
    """Better is no notice, worse again is one; a status that is left out says nothing."""
    stage = synced()
    for status in ("MARGIN_CALL", "", "MARGIN_CALL", "REDUCE_ONLY", "NORMAL", "MARGIN_CALL"):
        told(stage, accountStatus=status)
        stage.pass_s(11.0)
    assert [notice.detail.partition(":")[0] for notice in stage.of(VenueNotice)] == [
        "MARGIN_CALL",
        "REDUCE_ONLY",
        "MARGIN_CALL",
    ]


def test_what_the_stream_told_of_the_status_is_not_told_again_by_the_snapshot() -> None:
    """And the other way round."""
    stage = synced()
    told(stage, uniMMR="1.04", accountStatus="FORCE_LIQUIDATION")
    stage.frame(raw("ws_pm_risk_level_change"))
    stage.pass_s(30.0)
    stage.frame(orjson.dumps(load("ws_pm_risk_level_change") | {"E": int(stage.clock.now() * 1000)}))
    assert [notice.kind for notice in stage.of(VenueNotice)] == ["liquidation"]


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
        book = book_of(stage)
        assert {book.assess(pool).basis for pool in book.rows()} <= {Basis.REPORTED}
        stage.replies[kind] = raw(ANSWERS[kind])
        stage.pass_s(60.0)
        assert snapshots(stage) > taken
