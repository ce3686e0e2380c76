"""The simulated OKX: its figures, and what it tells when it takes a position over."""

import asyncio
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from connectors.simulator.okx import OkxServer, Position
from connectors.simulator.venue import Risk
from monitor.clock import ManualClock, SystemClock

DEADLINE_S = 5.0


def server(*positions: Position, level: str = "2", **cash: float) -> OkxServer:
    """With these positions at BTC 75,000 and ETH 4,000."""
    made = OkxServer(ManualClock())
    made.state.level, made.state.cash, made.state.positions = level, cash, list(positions)
    return made


def figures(risk: Risk) -> tuple[str, str, float, float]:
    """A risk without its legs."""
    return risk.scope, risk.unit, risk.balance, risk.maintenance


def test_an_isolated_position_stands_alone() -> None:
    """Margin and profit against notional at the tier's rate with the fee to close; one contract is 0.01 BTC."""
    (risk,) = server(Position(size=10, entry=76_000.0, margin=500.0), USDT=1.0).risks()
    want = ("BTC-USDT-SWAP:long", "USDT", 500.0 + 0.1 * (75_000 - 76_000), 0.1 * 75_000 * (0.004 + 0.0005))
    assert figures(risk) == pytest.approx(want)


def test_cross_positions_share_their_coin() -> None:
    """A short and a long of the same coin are one pool; the tier goes by the contracts of the instrument."""
    held = Position(size=2000, entry=75_000.0, mode="cross"), Position("ETH-USDT-SWAP", -10, 4_100.0, "cross")
    (risk,) = server(*held, USDT=50_000.0).risks()
    required = 20 * 75_000 * (0.0065 + 0.0005) + 1 * 4_000 * (0.004 + 0.0005)
    assert figures(risk) == pytest.approx(("USDT", "USDT", 50_000 + 1 * 100, required))


def test_in_multi_currency_mode_everything_is_one_pool_in_dollars() -> None:
    """Coins count at their price less the discount, the requirement at its own coin's price."""
    held = Position(size=100, entry=75_000.0, mode="cross")
    (risk,) = server(held, level="3", USDT=1_000.0, BTC=0.1).risks()
    want = ("multi", "USD", 1_000 * 1.0005 + 0.1 * 75_000 * 0.95, 75_000 * 0.0045 * 1.0005)
    assert figures(risk) == pytest.approx(want)


def test_every_scope_is_a_pool_of_its_own() -> None:
    """Isolated by instrument and side, cross by coin."""
    held = Position(), Position(size=-1), Position("BTC-USD-SWAP", 1, mode="cross"), Position(size=1, mode="cross")
    scopes = [risk.scope for risk in server(*held, USDT=9.0, BTC=1.0).risks()]
    assert scopes == ["BTC-USDT-SWAP:long", "BTC-USDT-SWAP:short", "BTC", "USDT"]


def test_taking_over_a_cross_pool_spares_what_is_isolated() -> None:
    """The coin's cash is gone, the margin of the isolated position is not."""
    made = server(Position(margin=100.0), Position(size=5, mode="cross"), USDT=50.0)
    cross = next(risk for risk in made.risks() if risk.scope == "USDT")
    made.take_over(cross)
    assert made.state.cash == {"USDT": 0.0}
    assert [(held.mode, held.margin) for held in made.state.positions] == [("isolated", 100.0)]


async def logged_in(made: OkxServer, client: ClientConnection) -> None:
    """Log in and listen to what tells of the account."""
    stamp = str(made.now_ms() // 1000)
    said = {"apiKey": made.key, "passphrase": made.passphrase, "timestamp": stamp}
    login = said | {"sign": made._sign(f"{stamp}GET/users/self/verify")}
    await client.send(orjson.dumps({"op": "login", "args": [login]}).decode())
    channels = [{"channel": name} for name in ("balance_and_position", "positions", "account")]
    await client.send(orjson.dumps({"op": "subscribe", "args": channels}).decode())


async def until(client: ClientConnection, channel: str, event: str) -> dict[str, Any]:
    """The first push of a channel with that kind of event; returns its first row."""
    while True:
        frame = orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))
        if frame.get("arg", {}).get("channel") == channel and "data" in frame:
            row: dict[str, Any] = frame["data"][0] if frame["data"] else {}
            if event in (frame.get("eventType"), row.get("eventType")):
                return row


async def test_a_liquidation_is_told_on_every_channel() -> None:
    """First that it happened, then the flat position, then the account."""
    async with OkxServer(SystemClock()) as made, connect(made.private_url, close_timeout=0.1) as client:
        await logged_in(made, client)
        await until(client, "account", "snapshot")
        (risk,) = made.risks()
        made.take_over(risk)
        assert (await until(client, "balance_and_position", "liquidation"))["posData"][0]["instId"] == "BTC-USDT-SWAP"
        assert (await until(client, "positions", "event_update"))["pos"] == "0"
        assert (await until(client, "account", "event_update"))["details"][0]["isoEq"] == "0"
