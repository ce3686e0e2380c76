"""The simulated OKX: its channels, and what it tells when it takes a position over."""

import asyncio
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from connectors.simulator.okx import OkxServer
from monitor.clock import SystemClock

DEADLINE_S = 5.0


async def test_indexes_are_a_channel_of_the_market() -> None:
    """At once, and whenever they change; one that there is not is refused."""
    async with OkxServer(SystemClock()) as made, connect(made.market_url, close_timeout=0.1) as client:
        args = [{"channel": "index-tickers", "instId": name} for name in ("BTC-USD", "XYZ-USD")]
        await client.send(orjson.dumps({"op": "subscribe", "args": args}).decode())

        frames = [orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S)) for _ in range(3)]
        assert sorted(frame.get("event", "data") for frame in frames) == ["data", "error", "subscribe"]
        made.set_mark("BTC-USDT-SWAP", 70_000.0)
        frame = orjson.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))
        assert (frame["arg"], frame["data"][0]["idxPx"]) == (args[0], "70000.0")


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
