"""The simulated Hyperliquid: its figures, and what is left after a liquidation."""

import asyncio

import orjson
import pytest
from websockets.asyncio.client import connect

from connectors.simulator.hyperliquid import Address, Held, HyperliquidServer
from monitor.clock import ManualClock, SystemClock

DEADLINE_S = 5.0
NAME = "0x" + "ab" * 20


def server(*positions: Held, cash: float = 0.0) -> tuple[HyperliquidServer, Address]:
    """One address with these positions at BTC 75,000 and ETH 4,000."""
    made = HyperliquidServer(ManualClock())
    return made, made.add(Address(NAME, cash={"": cash}, positions={held.coin: held for held in positions}))


def test_an_isolated_position_stands_alone_and_cross_ones_share() -> None:
    """Maintenance is half the initial margin at the greatest leverage: 40 for BTC, 25 for ETH, 10 for HYPE."""
    made, _ = server(
        Held("ETH", 10.0, 4_100.0, raw_usd=-37_000.0), Held("BTC", 0.1, 70_000.0), Held("HYPE", -5.0, 30.0), cash=900.0
    )
    alone, cross = made.risks()
    assert (alone.scope, alone.unit) == ("ETH:long", "USDC")
    assert (alone.balance, alone.maintenance) == pytest.approx((40_000 - 37_000, 40_000 / 50))
    assert (cross.scope, cross.unit) == ("USDC", "USDC")
    assert (cross.balance, cross.maintenance) == pytest.approx((900 + 500 - 50, 7_500 / 80 + 200 / 20))


@pytest.mark.parametrize(("cash", "left"), [(6_000.0, 1_000.0), (4_000.0, 0.0)])
def test_what_remains_stays_with_the_user(cash: float, left: float) -> None:
    """As the documentation says of market liquidations; nobody owes more than they have."""
    made, address = server(Held("BTC", 1.0, 80_000.0), cash=cash)
    (risk,) = made.risks()
    made.take_over(risk)
    assert made.risks() == []
    assert address.cash == {"": left}


async def test_a_liquidation_is_told_with_its_fill() -> None:
    """The fill names who was liquidated, how and at which mark; the state that follows has no position."""
    async with HyperliquidServer(SystemClock()) as made, connect(made.stream_url(), close_timeout=0.1) as client:
        made.add(Address(NAME, positions={"ETH": Held("ETH", -2.0, 3_900.0, raw_usd=8_200.0)}))
        for kind in ("userFills", "allDexsClearinghouseState"):
            said = {"method": "subscribe", "subscription": {"type": kind, "user": NAME}}
            await client.send(orjson.dumps(said).decode())
        assert await asyncio.wait_for(client.recv(), DEADLINE_S) == "Websocket connection established."
        for _ in range(4):
            await asyncio.wait_for(client.recv(), DEADLINE_S)
        (risk,) = made.risks()
        made.take_over(risk)
        fills, states = [orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S)) for _ in range(2)]
        (fill,) = fills["data"]["fills"]
        assert (fill["dir"], fill["side"], fill["sz"]) == ("Liquidated Isolated Short", "B", "2.0")
        assert fill["liquidation"] == {"liquidatedUser": NAME, "markPx": "4000.0", "method": "market"}
        assert states["data"]["clearinghouseStates"][0][1]["assetPositions"] == []
