"""The simulated Bybit: its figures, and what is left after a liquidation."""

import asyncio

import orjson
import pytest
from websockets.asyncio.client import connect

from connectors.simulator.bybit import BybitServer, Position
from connectors.simulator.bybit_contracts import limits_of, maintenance_of
from monitor.clock import ManualClock, SystemClock

DEADLINE_S = 5.0
FEE = 0.00055


def server(*positions: Position, **balances: float) -> BybitServer:
    """With these positions at BTC 75,000 and ETH 4,000."""
    made = BybitServer(ManualClock())
    made.state.positions, made.state.balances = list(positions), balances
    return made


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSD", "SOLUSDT"])
def test_the_tiers_meet(symbol: str) -> None:
    """At the limit of the first, both ask the same; beyond it the second asks more."""
    (limit, rate, _), (_, second, deduction) = limits_of(symbol)
    assert limit * second - deduction == pytest.approx(limit * rate)
    assert maintenance_of(symbol, limit * 1.2) == pytest.approx(limit * 1.2 * second - deduction)


def test_the_account_is_one_pool() -> None:
    """Long and short together, in dollars; the fee to close at the bankruptcy price is part of what is required."""
    held = Position("BTCUSDT", 1.0, 76_000.0), Position("ETHUSDT", -10.0, 4_100.0)
    (risk,) = server(*held, USDT=5_000.0).risks()
    fees = (76_000 * (1 - 1 / 10) + 10 * 4_100 * (1 + 1 / 10)) * FEE
    assert risk.balance == pytest.approx((5_000 - 1_000 + 1_000) * 0.9995)
    assert risk.maintenance == pytest.approx(((75_000 + 40_000) * 0.005 + fees) * 0.9995)
    assert [leg.side for leg in risk.legs] == ["long", "short"]


def test_nothing_is_left_after_a_liquidation() -> None:
    """No coin, no position, and a rate of nothing over nothing is none."""
    made = server(Position("BTCUSDT", 1.0, 75_000.0), USDT=5_000.0)
    (risk,) = made.risks()
    made.take_over(risk)
    assert made.risks() == []
    assert (made.wallet()["totalEquity"], made.wallet()["accountMMRate"]) == ("0.00000000", "0.0")


async def test_a_liquidation_is_told_on_every_topic() -> None:
    """The venue's order, the flat position, the wallet."""
    async with BybitServer(SystemClock()) as made, connect(made.private_url, close_timeout=0.1) as client:
        expires = made.now_ms() + 5_000
        auth = {"op": "auth", "args": [made.key, expires, made._sign(f"GET/realtime{expires}")]}
        for said in (auth, {"op": "subscribe", "args": ["order", "position", "wallet"]}):
            await client.send(orjson.dumps(said).decode())
            assert orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))["success"]
        (risk,) = made.risks()
        made.take_over(risk)
        told = [orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S)) for _ in range(3)]
        assert [frame["topic"] for frame in told] == ["order", "position", "wallet"]
        order, position, wallet = (frame["data"][0] for frame in told)
        assert (order["createType"], order["side"], order["qty"]) == ("CreateByLiq", "Sell", "1")
        assert (position["size"], position["side"]) == ("0", "")
        assert wallet["totalEquity"] == "0.00000000"
