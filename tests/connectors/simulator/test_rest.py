"""The REST side over real sockets: shapes, checks, weights, and the faults that can be laid on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from connectors.simulator.account import READ_ONLY
from connectors.simulator.rest import ENDPOINTS, Meter, Security
from connectors.simulator.scenario import AccountSpec, PositionSpec
from tests.connectors.simulator.stage import stage
from tests.support.venue_server import Key, Venue, venue_in_process

ACCOUNT = AccountSpec(
    name="main",
    wallets={"USDT": Decimal(10000), "USDC": Decimal(500)},
    positions=(
        PositionSpec(symbol="BTCUSDT", size=Decimal("0.5"), entry_price=Decimal("59000.5"), leverage=10),
        PositionSpec(symbol="ETHUSDT", size=Decimal(-2), isolated_wallet=Decimal(700), leverage=9),
    ),
)
DECIMAL = "decimal"

SHAPES: dict[str, dict[str, Any]] = {
    "account": {
        **dict.fromkeys(
            [
                *("totalInitialMargin", "totalMaintMargin", "totalWalletBalance", "totalUnrealizedProfit"),
                *("totalMarginBalance", "totalPositionInitialMargin", "totalOpenOrderInitialMargin"),
                *("totalCrossWalletBalance", "totalCrossUnPnl", "availableBalance", "maxWithdrawAmount"),
            ],
            DECIMAL,
        ),
        "assets": list,
        "positions": list,
    },
    "asset": {
        "asset": str,
        "updateTime": int,
        **dict.fromkeys(
            [
                *("walletBalance", "unrealizedProfit", "marginBalance", "maintMargin", "initialMargin"),
                *("positionInitialMargin", "openOrderInitialMargin", "crossWalletBalance", "crossUnPnl"),
                *("availableBalance", "maxWithdrawAmount"),
            ],
            DECIMAL,
        ),
    },
    "position": {
        "symbol": str,
        "positionSide": str,
        "updateTime": int,
        **dict.fromkeys(
            [
                *("positionAmt", "unrealizedProfit", "isolatedMargin", "notional", "isolatedWallet"),
                *("initialMargin", "maintMargin"),
            ],
            DECIMAL,
        ),
    },
    "risk": {
        "symbol": str,
        "positionSide": str,
        "marginAsset": str,
        "adl": int,
        "updateTime": int,
        **dict.fromkeys(
            [
                *("positionAmt", "entryPrice", "breakEvenPrice", "markPrice", "unRealizedProfit", "liquidationPrice"),
                *("isolatedMargin", "notional", "isolatedWallet", "initialMargin", "maintMargin"),
                *("positionInitialMargin", "openOrderInitialMargin", "bidNotional", "askNotional"),
            ],
            DECIMAL,
        ),
    },
    "account config": {
        **dict.fromkeys(("canTrade", "canDeposit", "canWithdraw", "dualSidePosition", "multiAssetsMargin"), bool),
        "feeTier": int,
        "tradeGroupId": int,
        "updateTime": int,
    },
    "symbol config": {
        "symbol": str,
        "marginType": str,
        "isAutoAddMargin": bool,
        "leverage": int,
        "maxNotionalValue": DECIMAL,
    },
    "premium": {
        "symbol": str,
        "nextFundingTime": int,
        "time": int,
        **dict.fromkeys(
            ["markPrice", "indexPrice", "estimatedSettlePrice", "lastFundingRate", "interestRate"], DECIMAL
        ),
    },
    "index": {
        "symbol": str,
        "time": int,
        **dict.fromkeys(
            [
                *("index", "bidBuffer", "askBuffer", "bidRate", "askRate", "autoExchangeBidBuffer"),
                *("autoExchangeAskBuffer", "autoExchangeBidRate", "autoExchangeAskRate"),
            ],
            DECIMAL,
        ),
    },
    "bracket": {
        "bracket": int,
        "initialLeverage": int,
        "notionalCap": (int, float),
        "notionalFloor": (int, float),
        "maintMarginRatio": float,
        "cum": float,
    },
}


def assert_shape(row: dict[str, Any], shape: str) -> None:
    """Exactly the documented keys, each of its JSON type; decimals are text that reads as a finite number."""
    expected = SHAPES[shape]
    assert set(row) == set(expected)
    for key, kind in expected.items():
        if kind == DECIMAL:
            assert isinstance(row[key], str), key
            assert Decimal(row[key]).is_finite(), key
        else:
            assert isinstance(row[key], kind), key
            assert kind is bool or not isinstance(row[key], bool), key


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """A venue with a cross and an isolated position."""
    async with venue_in_process(stage(ACCOUNT)) as running:
        yield running


async def good(venue: Venue, path: str, **params: Any) -> Any:
    """The body of a signed request that must succeed."""
    status, body = await venue.get(path, venue.key, **params)
    assert status == 200, body
    return body


async def test_account_v3(venue: Venue) -> None:
    """Documented keys; totals count USDT only; the parts add up."""
    body = await good(venue, "/fapi/v3/account")
    assert_shape(body, "account")
    assert [row["asset"] for row in body["assets"]] == ["USDT", "USDC", "BTC", "BNB"]
    for row in body["assets"]:
        assert_shape(row, "asset")
    for row in body["positions"]:
        assert_shape(row, "position")
    usdt = body["assets"][0]
    assert usdt["walletBalance"] == body["totalWalletBalance"] == "10700.00000000"
    assert usdt["crossWalletBalance"] == "10000.00000000"
    assert usdt["crossUnPnl"] == "499.75000000"
    assert usdt["maintMargin"] == "144.00000000"  # 30,000 * 0.4 % + 6,000 * 0.4 %
    assert [row["symbol"] for row in body["positions"]] == ["BTCUSDT", "ETHUSDT"]


async def test_position_risk_v3(venue: Venue) -> None:
    """Signed sizes; no leverage and no margin type; zero is a bare 0; the engine's liquidation prices."""
    btc, eth = await good(venue, "/fapi/v3/positionRisk")
    for row in (btc, eth):
        assert_shape(row, "risk")
    assert (btc["positionAmt"], btc["entryPrice"], btc["isolatedMargin"]) == ("0.5", "59000.5", "0")
    assert btc["unRealizedProfit"] == "499.75000000"
    assert (eth["positionAmt"], eth["notional"]) == ("-2", "-6000.00000000")
    assert (eth["isolatedWallet"], eth["isolatedMargin"]) == ("700.00000000", "700.00000000")
    assert eth["liquidationPrice"] == "3336.65338645"  # (700 + 2 * 3,000) / (2 * 1.004)
    assert await good(venue, "/fapi/v3/positionRisk", symbol="BTCUSDT") == [btc | {}]


async def test_flat_symbols_are_left_out_and_hedge_mode_has_both_sides(venue: Venue) -> None:
    """A closed symbol is absent; in hedge mode a symbol with one side shows both."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="0")
    await venue.act("main", "set_position", symbol="ETHUSDT", size="0")
    assert await good(venue, "/fapi/v3/positionRisk") == []
    await venue.act("main", "position_mode", hedge=True)
    await venue.act("main", "set_position", symbol="ETHUSDT", size="-1", position_side="SHORT")
    rows = await good(venue, "/fapi/v3/positionRisk")
    assert [(row["positionSide"], row["positionAmt"]) for row in rows] == [("LONG", "0"), ("SHORT", "-1")]
    assert rows[0]["liquidationPrice"] == "0"


async def test_configurations(venue: Venue) -> None:
    """What version 3 leaves out: modes, leverage, margin type."""
    config = await good(venue, "/fapi/v1/accountConfig")
    assert_shape(config, "account config")
    assert (config["dualSidePosition"], config["multiAssetsMargin"]) == (False, False)
    rows = await good(venue, "/fapi/v1/symbolConfig")
    for row in rows:
        assert_shape(row, "symbol config")
    of = {row["symbol"]: (row["marginType"], row["leverage"]) for row in rows}
    assert (of["BTCUSDT"], of["ETHUSDT"]) == (("CROSSED", 10), ("ISOLATED", 9))
    assert await good(venue, "/fapi/v1/positionSide/dual") == {"dualSidePosition": False}
    assert await good(venue, "/fapi/v1/multiAssetsMargin") == {"multiAssetsMargin": False}


async def test_version_2_lists_every_symbol(venue: Venue) -> None:
    """With leverage and margin type, flat symbols included."""
    rows = {row["symbol"]: row for row in await good(venue, "/fapi/v2/positionRisk")}
    assert (rows["ETHUSDT"]["leverage"], rows["ETHUSDT"]["marginType"]) == ("9", "isolated")
    assert rows["SOLUSDT"]["positionAmt"] == "0"
    body = await good(venue, "/fapi/v2/account")
    assert body["multiAssetsMargin"] is False
    assert {row["symbol"]: row["isolated"] for row in body["positions"]}["ETHUSDT"] is True


async def test_brackets_are_json_numbers(venue: Venue) -> None:
    """A list for all symbols, one object for one; the last cap is a number too."""
    every = await good(venue, "/fapi/v1/leverageBracket")
    for row in every[0]["brackets"]:
        assert_shape(row, "bracket")
    one = await good(venue, "/fapi/v1/leverageBracket", symbol="BTCUSDT")
    assert one == next(row for row in every if row["symbol"] == "BTCUSDT")
    assert (one["brackets"][3]["cum"], one["brackets"][-1]["notionalCap"]) == (12000, 1800000000)


async def test_fees_are_those_of_the_trades(venue: Venue) -> None:
    """For one symbol at a time."""
    one = await good(venue, "/fapi/v1/commissionRate", symbol="BTCUSDT")
    assert one == {"symbol": "BTCUSDT", "makerCommissionRate": "0.0005", "takerCommissionRate": "0.0005"}
    status, body = await venue.get("/fapi/v1/commissionRate", venue.key)
    assert (status, body["code"]) == (400, -1121)


async def test_public_endpoints(venue: Venue) -> None:
    """Time, contracts, marks and asset indices need no key; COIN-M contracts are not among them."""
    status, body = await venue.get("/fapi/v1/time")
    assert status == 200
    assert abs(body["serverTime"] - time.time() * 1000) < 2000
    _, info = await venue.get("/fapi/v1/exchangeInfo")
    symbols = {row["symbol"]: row for row in info["symbols"]}
    assert "BTCUSD_PERP" not in symbols
    assert symbols["TSLAUSDT"]["contractType"] == "TRADIFI_PERPETUAL"
    assert {row["filterType"]: row for row in symbols["BTCUSDT"]["filters"]}["PRICE_FILTER"]["tickSize"] == "0.1"
    assert info["rateLimits"][0]["limit"] == 2400
    _, rows = await venue.get("/fapi/v1/premiumIndex")
    for row in rows:
        if row["symbol"] == "BTCUSDT_270326":  # delivered: no funding
            assert (row["lastFundingRate"], row["nextFundingTime"]) == ("", 0)
        else:
            assert_shape(row, "premium")
    _, one = await venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert one["markPrice"] == "60000.00000000"
    _, rows = await venue.get("/fapi/v1/assetIndex")
    for row in rows:
        assert_shape(row, "index")
    _, one = await venue.get("/fapi/v1/assetIndex", symbol="BTCUSD")
    assert (one["index"], one["bidRate"]) == ("60000.00000000", "57000.00000000")
    assert (await venue.get("/fapi/v1/premiumIndex", symbol="NOPE"))[1]["code"] == -1121
    assert (await venue.get("/fapi/v1/assetIndex", symbol="NOPE"))[1]["code"] == -1121


async def test_a_contract_that_is_not_listed_is_held_all_the_same(venue: Venue) -> None:
    """It is in no list of contracts, and in every answer about the account."""
    assert venue.simulator is not None
    venue.simulator.exchange.market.unlisted |= {"ETHUSDT", "BTCUSD_PERP"}
    for path, symbol in (("/fapi/v1/exchangeInfo", "ETHUSDT"), ("/dapi/v1/exchangeInfo", "BTCUSD_PERP")):
        _, info = await venue.get(path)
        assert info["symbols"] != []
        assert symbol not in {row["symbol"] for row in info["symbols"]}
    account = await good(venue, "/fapi/v3/account")
    assert {row["symbol"] for row in account["positions"]} == {"BTCUSDT", "ETHUSDT"}
    await venue.marks(ETHUSDT="3100")


async def test_every_request_is_in_the_log(venue: Venue) -> None:
    """With what it weighs and the fault that met it."""
    await venue.rest_fault("/fapi/v3/account", kind="garbage")
    await venue.get("/fapi/v1/premiumIndex")
    await venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")
    status = await venue.request("GET", "/fapi/v1/time")
    assert status[0] == 200
    async with aiohttp.ClientSession() as http, http.get(f"{venue.rest_url}/fapi/v3/account") as response:
        assert response.status == 401
    found = [(each["path"], each["weight"], each["fault"]) for each in await venue.log("request")]
    assert found == [
        ("/fapi/v1/premiumIndex", 10, None),
        ("/fapi/v1/premiumIndex", 1, None),
        ("/fapi/v1/time", 1, None),
        ("/fapi/v3/account", 5, "garbage"),
    ]


async def test_permissions(venue: Venue) -> None:
    """Every documented flag; a dangerous key shows what it may."""
    body = await good(venue, "/sapi/v1/account/apiRestrictions")
    assert set(body) == set(READ_ONLY) | {"createTime"}
    assert [key for key, value in body.items() if value is True] == ["ipRestrict", "enableReading"]
    await venue.permissions("main", enableFutures=True, enableWithdrawals=True)
    body = await good(venue, "/sapi/v1/account/apiRestrictions")
    assert body["enableFutures"]
    assert body["enableWithdrawals"]
    await venue.permissions("main", read_only=True)
    assert not (await good(venue, "/sapi/v1/account/apiRestrictions"))["enableFutures"]


SIGNED = [endpoint.path for endpoint in ENDPOINTS if endpoint.security is Security.SIGNED]


@pytest.mark.parametrize("path", SIGNED)
async def test_signed_endpoints_check_key_signature_and_time(venue: Venue, path: str) -> None:
    """-2014 without a key, -2015 with an unknown one, -1022 with a wrong secret, -1021 with an old time."""
    key = venue.key
    one = {"symbol": "BTCUSDT"} if path.endswith("commissionRate") else {}
    answers = {
        "none": await venue.get(path),
        "unknown": await venue.get(path, Key("x", "unknown", key.api_secret)),
        "wrong": await venue.get(path, Key("x", key.api_key, "wrong")),
        "old": await venue.get(path, key, timestamp=int(time.time() * 1000) - 6000),
        "wide": await venue.get(path, key, timestamp=int(time.time() * 1000) - 6000, recvWindow=20000, **one),
    }
    found = {name: (status, body.get("code") if status != 200 else 0) for name, (status, body) in answers.items()}
    assert found == {
        "none": (401, -2014),
        "unknown": (401, -2015),
        "wrong": (400, -1022),
        "old": (400, -1021),
        "wide": (200, 0),
    }


async def test_a_clock_that_runs_away_is_refused(venue: Venue) -> None:
    """Set off by more than the window, in both directions; the time endpoint tells by how much."""
    for offset_ms in (7000, -1500):
        await venue.clock_offset(offset_ms)
        assert (await venue.get("/fapi/v3/account", venue.key))[1]["code"] == -1021
        _, body = await venue.get("/fapi/v1/time")
        assert abs(body["serverTime"] - time.time() * 1000 - offset_ms) < 1000


async def test_listen_keys(venue: Venue) -> None:
    """One a account: asking again returns the same; keeping and closing need one; no signature is asked."""
    key = {"X-MBX-APIKEY": venue.key.api_key}
    url = f"{venue.rest_url}/fapi/v1/listenKey"
    async with aiohttp.ClientSession(headers=key) as http:

        async def ask(method: str) -> tuple[int, Any]:
            async with http.request(method, url) as response:
                return response.status, await response.json()

        assert await ask("PUT") == (400, {"code": -1125, "msg": "This listenKey does not exist."})
        status, opened = await ask("POST")
        assert status == 200
        assert len(opened["listenKey"]) == 64
        assert await ask("POST") == (200, opened)
        assert await ask("PUT") == (200, opened)
        assert await ask("DELETE") == (200, {})
        assert (await ask("PUT"))[0] == 400
        assert (await ask("POST"))[1] != opened
    assert (await venue.request("POST", "/fapi/v1/listenKey"))[1]["code"] == -2014


async def test_weights_are_counted_and_limited() -> None:
    """The header counts; above the limit 429 with the seconds to wait, and who goes on is banned."""
    async with venue_in_process(stage(weight_limit=12)) as venue, aiohttp.ClientSession() as http:
        statuses, used = [], []
        for _ in range(25):
            async with http.get(f"{venue.rest_url}/fapi/v1/premiumIndex?symbol=BTCUSDT") as one:
                statuses.append(one.status)
            async with http.get(f"{venue.rest_url}/fapi/v1/premiumIndex") as response:
                statuses.append(response.status)
                used.append(int(response.headers["X-MBX-USED-WEIGHT-1M"]))
                if response.status == 429:
                    assert 1 <= int(response.headers["Retry-After"]) <= 60
                    assert (await response.json())["code"] == -1003
        assert used[0] in (10, 11)
        assert statuses[:2] == [200, 200]
        assert statuses[-1] == 418


def test_a_meter_forgives_with_the_minute() -> None:
    """A new minute starts at nothing; a ban outlasts it."""
    meter = Meter(10)
    assert meter.charge(10, 30.0) is None
    assert meter.charge(1, 45.0) == (429, 15)
    assert meter.charge(1, 60.0) is None
    over = [meter.charge(10, 61.0) for _ in range(21)]
    assert [each[0] for each in over if each] == [429] * 20 + [418]
    assert meter.charge(1, 120.0) == (418, 62)
    assert meter.charge(1, 182.0) is None


@pytest.mark.parametrize(
    ("status", "code", "retry_after"),
    [
        (429, -1003, 7),
        (418, -1003, 120),
        (503, -1000, None),
        (500, -1001, None),
        (400, -1021, None),
        (401, -2015, None),
    ],
)
async def test_laid_out_answers_come_first(venue: Venue, status: int, code: int, retry_after: int | None) -> None:
    """So many times, for the paths they are meant for; then everything is as before."""
    await venue.rest_fault("/fapi/v3", status=status, code=code, retry_after=retry_after, times=2)
    assert (await venue.get("/fapi/v1/time"))[0] == 200
    async with aiohttp.ClientSession() as http, http.get(f"{venue.rest_url}/fapi/v3/account") as response:
        assert response.status == status
        assert response.headers.get("Retry-After") == (None if retry_after is None else str(retry_after))
        assert (await response.json())["code"] == code
    assert (await venue.get("/fapi/v3/positionRisk", venue.key))[0] == status
    assert (await venue.get("/fapi/v3/account", venue.key))[0] == 200


async def test_spoiled_bodies(venue: Venue) -> None:
    """Text that is no JSON, JSON that breaks off, numbers that are empty."""
    for kind in ("garbage", "truncated"):
        await venue.rest_fault("/fapi/v1/time", kind)
        with pytest.raises(ValueError, match=r"JSON|unexpected|EOF|character|utf-8|str"):
            await venue.get("/fapi/v1/time")
    await venue.rest_fault("/fapi/v3/positionRisk", "empty_numbers")
    row = (await good(venue, "/fapi/v3/positionRisk"))[0]
    assert (row["positionAmt"], row["markPrice"], row["symbol"]) == ("", "", "BTCUSDT")


async def test_answers_that_are_late_or_never_come(venue: Venue) -> None:
    """A delay is only a delay; a hanging request and a dropped connection end in the client's own error."""
    await venue.rest_fault("/fapi/v1/time", "delay", delay_s=0.05)
    assert (await venue.get("/fapi/v1/time"))[0] == 200
    await venue.rest_fault("/fapi/v1/time", "hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(venue.get("/fapi/v1/time"), 0.1)
    await venue.rest_fault("/fapi/v1/time", "close", times=2)
    with pytest.raises(aiohttp.ClientError):
        await venue.get("/fapi/v1/time")
    await venue.heal()
    assert (await venue.get("/fapi/v1/time"))[0] == 200


async def test_multi_assets_totals_are_dollars(venue: Venue) -> None:
    """In multi-assets mode the totals count every asset at its rate."""
    await venue.act("main", "set_position", symbol="ETHUSDT", size="0")
    await venue.act("main", "multi_assets", enabled=True)
    body = await good(venue, "/fapi/v3/account")
    usdt = (Decimal(10000) + Decimal("499.75")) * Decimal("0.9999")
    usdc = 500 * Decimal("0.9998") * Decimal("0.9999")
    assert Decimal(body["totalMarginBalance"]) == pytest.approx(usdt + usdc, abs=Decimal("1e-8"))
    assert body["totalMaintMargin"] == "120.00000000"
