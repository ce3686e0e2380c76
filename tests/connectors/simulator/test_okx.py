"""The simulated OKX: its figures, and what it tells when it takes a position over."""

import asyncio
from math import inf
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from connectors.simulator.okx import OkxServer, Position
from connectors.simulator.okx_contracts import discounted
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


def test_a_discount_is_on_equity_in_tranches() -> None:
    """Cash and profit together, part by part; a debt counts in full."""
    steps = ((1.0, 1.0), (2.0, 0.9), (inf, 0.5))
    found = [discounted(equity, steps) for equity in (-3.0, 0.0, 0.5, 1.5, 4.0)]
    assert found == pytest.approx([-3.0, 0.0, 0.5, 1.45, 2.9])
    assert discounted(4.0, ()) == 4.0
    made = server(Position("BTC-USD-SWAP", -1500.0, 100_000.0, "cross"), level="3", BTC=1.0)
    made.state.discount = {"BTC": steps}
    (risk,) = made.risks()
    assert risk.balance == pytest.approx((1.0 + 0.9 * 0.5) * 75_000)  # a profit of half a Bitcoin


def test_contracts_are_listed_by_kind() -> None:
    """Options by family; an inverse contract counts dollars, an option its coin."""
    made = server()
    made.state.marks |= {"BTC-USD-261225": 76_000.0, "BTC-USD-261225-90000-C": 0.01, "ETH-USD-261225-9000-P": 0.02}

    def listed(**query: str) -> dict[str, str]:
        rows = made.answers["/api/v5/account/instruments"](SimpleNamespace(query=query))
        return {row["instId"]: row["ctType"] for row in rows}

    assert listed(instType="SWAP").keys() == {"BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"}
    assert listed(instType="FUTURES") == {"BTC-USD-261225": "inverse"}
    assert listed(instType="OPTION", instFamily="BTC-USD") == {"BTC-USD-261225-90000-C": ""}


def test_the_account_comes_in_pages_without_what_is_empty() -> None:
    """Only currencies with a balance, or with a profit."""
    made = server(Position("BTC-USD-SWAP", 10.0, 70_000.0, "cross"), level="3", USDT=5.0, BTC=0.0, ETH=0.0)
    made.state.usd["ETH"], made.state.page = 4000.0, 1
    pages = made.account_pages()
    assert [[row["ccy"] for row in page["data"][0]["details"]] for page in pages] == [["USDT"], ["BTC"]]
    assert [(page["curPage"], page["lastPage"]) for page in pages] == [(1, False), (2, True)]


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
