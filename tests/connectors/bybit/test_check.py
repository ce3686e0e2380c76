"""One look at an account of each kind, against the loopback server; and the model held against what it reports."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from connectors import CheckLine
from connectors.bybit import AccountConfig, check
from connectors.config import BaseAccountConfig
from connectors.simulator.bybit import API_KEY, API_SECRET, BybitServer, Position
from monitor.book import Book
from monitor.clock import SystemClock
from monitor.credential import Secret
from monitor.margin.venues import RULES
from monitor.model.assessment import Basis, PoolAssessment
from monitor.model.events import AccountSnapshot, InstrumentsLoaded
from tests.support.digits import agrees

PORTFOLIO_ROW = {"leverage": "", "positionIM": "", "positionMM": "", "liqPrice": "", "riskId": 0}


@pytest.fixture
async def server() -> AsyncIterator[BybitServer]:
    """One cross position, in sync with this machine's clock."""
    async with BybitServer(SystemClock()) as running:
        yield running


async def look(server: BybitServer, **changes: Any) -> dict[str, CheckLine]:
    """The lines by subject."""
    values = {
        "name": "main",
        "api_key": Secret(API_KEY),
        "api_secret": Secret(API_SECRET),
        "rest_url": server.rest_url,
    }
    return {line.subject: line for line in await check(AccountConfig.model_validate(values | changes), SystemClock())}


async def pools(server: BybitServer) -> dict[str, PoolAssessment]:
    """The pools that the book makes of what a check found, by scope."""
    book = Book()
    book.add_account("bybit", "main", RULES["bybit"])
    for event in (await look(server))["snapshot"].events:
        if isinstance(event, InstrumentsLoaded):
            book.load_instruments(event)
        elif isinstance(event, AccountSnapshot):
            book.apply_snapshot(event)
    assessed = [book.assess(row) for row in book.rows()]
    return {pool.scope: pool for pool in assessed}


async def test_a_good_account_has_good_lines_only(server: BybitServer) -> None:
    """Clock, permissions, tiers, snapshot, and the account as Bybit reports it."""
    lines = await look(server)
    assert list(lines) == ["clock", "permissions", "tiers", "snapshot", "pool multi"]
    assert all(line.ok for line in lines.values())
    assert "the key can only read; it expires in 60 days" in lines["permissions"].text
    assert "1 contract held, one-way, regular margin" in lines["snapshot"].text


async def test_a_cross_account_of_every_kind_of_contract_agrees_with_its_report(server: BybitServer) -> None:
    """A hedge in USDT, a USDC contract, an inverse one and coins as collateral: one pool in USD."""
    server.state.positions = [
        Position("BTCUSDT", 1.0, 70_000.0, index=1),
        Position("BTCUSDT", -0.4, 76_000.0, index=2, leverage="25"),
        Position("BTCPERP", -0.2, 75_500.0),
        Position("BTCUSD", 30_000.0, 74_000.0, category="inverse", leverage="5"),
    ]
    server.state.marks |= {"BTCPERP": 75_010.0, "BTCUSD": 75_000.0}
    server.state.balances |= {"USDC": -120.0, "BTC": 2.5}
    (pool,) = (await pools(server)).values()
    assert (pool.scope, pool.unit, pool.basis) == ("multi", "USD", Basis.COMPUTED)
    assert pool.model_error == pytest.approx(0.0, abs=1e-6)
    told = server.wallet()
    assert pool.margin_balance == pytest.approx(float(told["totalMarginBalance"]), abs=1e-5)
    assert pool.maintenance_margin == pytest.approx(float(told["totalMaintenanceMargin"]), abs=1e-5)
    assert agrees(pool.margin_ratio, told["accountMMRate"])


async def test_isolated_positions_agree_with_their_reports(server: BybitServer) -> None:
    """Each stands alone; the wallet is the initial margin with its fee to close."""
    server.state.margin_mode = "ISOLATED_MARGIN"
    server.state.positions = [
        Position("BTCUSDT", 1.0, 74_000.0, index=1),
        Position("BTCUSDT", -0.5, 76_000.0, index=2),
        Position("BTCUSD", -30_000.0, 74_000.0, category="inverse", leverage="5"),
    ]
    server.state.marks["BTCUSD"] = 75_000.0
    server.state.balances["BTC"] = 1.0
    found = await pools(server)
    assert set(found) == {"BTCUSDT:long", "BTCUSDT:short", "BTCUSD:short"}
    assert {pool.unit for pool in found.values()} == {"USDT", "BTC"}
    assert all(pool.model_error == pytest.approx(0.0, abs=1e-6) for pool in found.values())
    long = found["BTCUSDT:long"].legs[0]
    assert long.liquidation_price == pytest.approx((74_000 - 7400) / 0.995, rel=1e-9)


async def test_added_margin_shows_in_the_liquidation_price(server: BybitServer) -> None:
    """Whether the initial margin holds it or not: 3,000 more move the price by 3,000 / (1 - rate)."""
    server.state.margin_mode = "ISOLATED_MARGIN"
    price = (74_000 - 7400 - 3000) / 0.995
    server.state.positions = [Position("BTCUSDT", 1.0, 74_000.0, changes={"liqPrice": f"{price:.2f}"})]
    (pool,) = (await pools(server)).values()
    assert pool.legs[0].liquidation_price == pytest.approx(price, abs=0.01)
    assert pool.margin_balance == pytest.approx(1000 + 7400 + 3000 + 74_000 * 0.9 * 0.00055, abs=0.01)


async def test_portfolio_margin_is_held_as_reported(server: BybitServer) -> None:
    """Its positions have no margins of their own."""
    server.state.margin_mode = "PORTFOLIO_MARGIN"
    server.state.maintenance = 4321.0
    server.state.positions = [Position("BTCUSDT", 1.0, 74_000.0, changes=PORTFOLIO_ROW)]
    (pool,) = (await pools(server)).values()
    assert (pool.basis, pool.scope, pool.unit) == (Basis.REPORTED, "multi", "USD")
    assert pool.maintenance_margin == pytest.approx(4321.0)
    assert pool.model_error == pytest.approx(0.0, abs=1e-6)


async def test_a_requirement_that_is_not_told_is_said_to_be_unknown(server: BybitServer) -> None:
    """Not a number, and not a good line."""
    server.state.margin_mode = "PORTFOLIO_MARGIN"
    honest = server.wallet
    server.wallet = lambda: honest() | {"totalMaintenanceMargin": ""}  # type: ignore[method-assign]
    line = (await look(server))["pool multi"]
    assert line.ok is None
    assert "leaves its figures empty" in line.text


async def test_inverse_positions_of_unified_account_1_are_said_to_be_unknown(server: BybitServer) -> None:
    """With what to do."""
    server.state.unified, server.state.marks["BTCUSD"] = 4, 75_000.0
    server.state.positions.append(Position("BTCUSD", 30_000.0, 74_000.0, category="inverse"))
    line = (await look(server))["inverse"]
    assert line.ok is None
    assert line.text.startswith("BTCUSD: ")
    assert "upgrade to unified account 2.0" in line.text


async def test_contracts_that_are_not_listed_are_looked_up_by_name(server: BybitServer) -> None:
    """Before their launch and while they are delivered."""
    server.state.marks |= {"NEWUSDT": 10.0, "BTCUSDZ26": 75_000.0}
    server.state.status = {"NEWUSDT": "PreLaunch", "BTCUSDZ26": "Delivering"}
    server.state.positions = [Position("NEWUSDT", 1.0, 10.0)]
    (pool,) = (await pools(server)).values()
    assert (pool.scope, pool.unknown) == ("multi", ())


async def test_tables_are_read_to_their_last_page(server: BybitServer) -> None:
    """Positions, contracts and tiers come in pages; a table that ends after the first would hide the rest."""
    server.state.page = 2
    symbols = [f"C{i}USDT" for i in range(7)]
    server.state.marks |= dict.fromkeys(symbols, 10.0)
    server.state.positions = [Position(symbol, 1.0, 10.0) for symbol in symbols]
    (pool,) = (await pools(server)).values()
    assert len(pool.legs) == 7
    assert pool.unknown == ()
    assert pool.model_error == pytest.approx(0.0, abs=1e-6)


async def test_many_contracts_are_described_by_the_whole_table(server: BybitServer) -> None:
    """Fifteen contracts a page cost less than a question for each."""
    symbols = [f"C{i}USDT" for i in range(60)]
    server.state.marks |= dict.fromkeys(symbols, 10.0)
    server.state.positions = [Position(symbol, 1.0, 10.0) for symbol in symbols]
    (pool,) = (await pools(server)).values()
    assert (len(pool.legs), pool.unknown) == (60, ())
    asked = [query for path, query in server.requests if path == "/v5/market/risk-limit"]
    assert len(asked) < 10
    assert not any("symbol" in query for query in asked)


async def test_a_contract_without_tiers_is_unknown_and_named(server: BybitServer) -> None:
    """Not safe: the pool's figures are not known."""
    server.state.positions = [Position("NEWUSDT", 1.0, 10.0)]
    server.state.marks["NEWUSDT"] = 10.0
    server.faults.append(("/v5/market/risk-limit", lambda: server.envelope(10029)))
    assert (await look(server))["tiers"].text == "no maintenance tiers for NEWUSDT"
    server.faults.append(("/v5/market/risk-limit", lambda: server.envelope(10029)))
    (pool,) = (await pools(server)).values()
    assert pool.unknown == ("maintenance tiers of NEWUSDT",)
    assert pool.margin_ratio != pool.margin_ratio


async def test_a_fee_rate_that_is_not_told_is_named(server: BybitServer) -> None:
    """Bybit's base rate stands in, and the report corrects it."""
    server.faults.append(("/v5/account/fee-rate", lambda: server.envelope(10005)))
    line = (await look(server))["tiers"]
    assert line.ok is None
    assert "no taker fee rate for BTCUSDT" in line.text


async def test_the_users_own_fee_rate_counts(server: BybitServer) -> None:
    """A rate with tax on top, as some users have."""
    server.state.taker_fee_rate = "0.000649"
    (pool,) = (await pools(server)).values()
    assert pool.model_error == pytest.approx(0.0, abs=1e-6)
    assert pool.legs[0].maintenance_margin == pytest.approx((375 + 75_000 * 0.9 * 0.000649) * 0.9995)


async def test_a_key_that_may_trade_is_named_with_the_way_to_a_better_one(server: BybitServer) -> None:
    """``readOnly`` decides; a read-only key lists the same permissions."""
    server.state.read_only = 0
    line = (await look(server))["permissions"]
    assert line.ok is False
    assert "ContractTrade: Order, Position, Wallet: AccountTransfer" in line.text
    assert "Read-Only" in line.text
    assert (await look(server, allow_dangerous_key=True))["permissions"].ok


async def test_permissions_that_are_not_told_are_not_known(server: BybitServer) -> None:
    """Then the key may be able to trade."""
    server.faults.append(("/v5/user/query-api", lambda: server.envelope(10017)))
    assert (await look(server))["permissions"].ok is None


@pytest.mark.parametrize(
    ("path", "code", "subject", "words"),
    [
        ("/v5/user/query-api", 10003, "permissions", "check that api_key is right and was made for this address"),
        ("/v5/account/info", 10005, "snapshot", "may not read this"),
        ("/v5/position/list", 10010, "snapshot", "IP restriction"),
        ("/v5/market/time", 10016, "clock", "error 10016"),
    ],
)
async def test_a_refusal_is_told_with_what_to_do(
    server: BybitServer, path: str, code: int, subject: str, words: str
) -> None:
    """Where it happened, in Bybit's words or better ones."""
    server.faults.append((path, lambda: server.envelope(code)))
    line = (await look(server))[subject]
    assert line.ok is False
    assert words in line.text


async def test_a_classic_account_is_refused(server: BybitServer) -> None:
    """Its endpoints are others."""
    server.state.unified = 1
    assert "classic account" in (await look(server))["snapshot"].text


async def test_a_clock_that_is_off_is_told_and_does_no_harm(server: BybitServer) -> None:
    """Requests are corrected for it."""
    server.offset_ms = -30_000
    lines = await look(server)
    assert all(line.ok for line in lines.values())
    assert "should be set" in lines["clock"].text


async def test_an_account_of_another_venue_is_refused() -> None:
    """It cannot happen by a configuration file."""
    (line,) = await check(BaseAccountConfig(name="x", venue="elsewhere"), SystemClock())
    assert line.ok is False
