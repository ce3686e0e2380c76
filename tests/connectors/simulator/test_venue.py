"""The venues that follow a price path: prices taken over, pools liquidated by their own figures, once."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import ClientSession, web
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from connectors.simulator.bybit import BybitServer
from connectors.simulator.hyperliquid import HyperliquidServer
from connectors.simulator.scenario import AccountSpec, ScenarioFault
from connectors.simulator.server import FOLLOWERS
from connectors.simulator.venue import REPORT_S, VenueServer
from monitor.clock import ManualClock

MARKS = {"BTCUSDT": Decimal(80_000), "ETHUSDT": Decimal(4_000), "SOLUSDT": Decimal(200)}
HELD: dict[str, dict[str, Any]] = {
    "okx": {
        "wallets": {"USDT": 1_000},
        "positions": [{"symbol": "SOL-USDT-SWAP", "size": 100, "isolated_wallet": 2_000}],
    },
    "bybit": {
        "wallets": {"USDT": 3_000},
        "positions": [{"symbol": "SOLUSDT", "size": 100}, {"symbol": "ETHUSDT", "size": -1}],
    },
    "hyperliquid": {
        "wallets": {"USDC": 1_000},
        "positions": [{"symbol": "ETH", "size": 10, "isolated_wallet": 4_000}],
    },
}
DEADLINE_S = 5.0


def entered(venue: str, **changes: Any) -> VenueServer[Any]:
    """The venue with its account, at the marks above."""
    spec = AccountSpec.model_validate({"name": "main", "venue": venue} | HELD[venue] | changes)
    return FOLLOWERS[venue](ManualClock()).enter(spec, 1, MARKS)


def at_share(share: str) -> dict[str, Decimal]:
    """The marks at a share of where they began."""
    return {symbol: price * Decimal(share) for symbol, price in MARKS.items()}


@pytest.mark.parametrize("venue", sorted(FOLLOWERS))
def test_a_pool_is_liquidated_where_its_own_ratio_reaches_one(venue: str) -> None:
    """Not a step before, not twice, and nothing of it is left."""
    server = entered(venue)
    found = []
    ratios = []
    for step in range(200):
        before = [risk for risk in server.risks() if risk.ratio < 1]
        found += server.follow(at_share(f"{1 - step / 1000}"), float(step), step)
        if not found:
            ratios.append(max(risk.ratio for risk in server.risks()))
            continue
        assert len(before) == 1
        break
    assert all(one < other < 1.0 for one, other in pairwise(ratios[1:]))
    (liquidation,) = found
    assert liquidation.maintenance >= liquidation.balance
    assert (liquidation.venue, liquidation.account, liquidation.step) == (venue, "main", len(ratios))
    assert server.risks() == []
    assert server.follow(at_share("0.5"), 999.0, 999) == []


@pytest.mark.parametrize("venue", sorted(FOLLOWERS))
def test_the_closing_prices_leave_nothing_of_the_pool(venue: str) -> None:
    """What the legs lose from mark to closing price is the margin balance."""
    server = entered(venue)
    (liquidation,) = server.follow(at_share("0.82"), 1.0, 1)
    lost = sum(leg.amount * (leg.mark - leg.price) for leg in liquidation.legs)
    assert float(lost) == pytest.approx(float(liquidation.balance), rel=1e-3)


def test_an_inverse_leg_closes_in_the_inverse_of_the_price() -> None:
    """Its value is in the coin: as many coins as the balance are lost between mark and closing price."""
    position = {"symbol": "BTC-USD-SWAP", "size": 100, "isolated_wallet": "0.0125"}
    server = entered("okx", wallets={"BTC": 1}, positions=[position])
    (liquidation,) = server.follow(at_share("0.91"), 1.0, 1)
    (leg,) = liquidation.legs
    assert 100 * 100 * (1 / leg.price - 1 / leg.mark) == pytest.approx(liquidation.balance, rel=Decimal("1e-3"))


@pytest.mark.parametrize("venue", sorted(FOLLOWERS))
def test_what_is_safe_is_left_alone(venue: str) -> None:
    """A rise liquidates no long position."""
    server = entered(venue)
    assert server.follow(at_share("1.05"), 1.0, 1) == []
    assert len(server.risks()) == 1


@pytest.mark.parametrize(
    ("venue", "changes", "problem"),
    [
        ("okx", {"wallets": {"DOGE": 1}, "positions": [{"symbol": "DOGE-USD-SWAP", "size": 1}]}, "DOGE"),
        ("bybit", {"positions": [{"symbol": "DOGEUSDT", "size": 1}]}, "DOGEUSDT"),
        ("bybit", {"positions": [{"symbol": "SOLUSDT", "size": 1, "isolated_wallet": 5}]}, "isolated"),
        ("hyperliquid", {"positions": [{"symbol": "SOL", "size": 1}]}, "SOL"),
    ],
)
def test_what_the_venue_could_not_hold_is_said(venue: str, changes: dict[str, Any], problem: str) -> None:
    """With the account and the venue."""
    with pytest.raises(ScenarioFault, match=f"account main: {venue} has no .*{problem}"):
        entered(venue, **changes)


@pytest.mark.parametrize("venue", sorted(FOLLOWERS))
def test_states_are_repeated_now_and_then(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every price."""
    server = entered(venue)
    told: list[float] = []
    monkeypatch.setattr(server, "report", lambda: told.append(1.0))
    for tenth in range(int(REPORT_S * 10) + 1):
        server.follow(MARKS, 100.0 + tenth / 10, tenth)
    assert len(told) == 2


async def test_a_fault_is_one_answer_and_healing_ends_a_hanging_one() -> None:
    """The next question for the path only; the server writes down which ones met one."""
    async with BybitServer(ManualClock()) as server, ClientSession() as http:
        path = "/v5/market/time"
        server.faults += [(path, lambda: web.Response(status=503)), (path, lambda: None)]

        async def ask() -> int:
            async with http.get(f"{server.rest_url}{path}") as response:
                return response.status

        assert await ask() == 503
        hanging = asyncio.create_task(ask())
        async with asyncio.timeout(DEADLINE_S):
            while server.faults:  # noqa: ASYNC110 - until the question has come
                await asyncio.sleep(0.001)
            assert not hanging.done()
            server.heal()
            assert await hanging == 200
        assert await ask() == 200
        assert [(each.about, each.spoiled) for each in server.questions] == [(path, True), (path, True), (path, False)]
        assert {each.at for each in server.questions} == {server.clock.now()}


async def test_closing_cuts_every_connection() -> None:
    """And nothing listens any more."""
    async with HyperliquidServer(ManualClock()) as server:
        async with connect(server.stream_url(), close_timeout=0.1) as client:
            await asyncio.wait_for(client.recv(), DEADLINE_S)
            await server.close()
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), DEADLINE_S)
        with pytest.raises(OSError, match=r".+"):
            await asyncio.open_connection("127.0.0.1", server.port)
