"""Orders over HTTP: who may give them, and what is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson
import pytest

from alerts.orders import BODY_BYTES_MAX
from alerts.sinks.prometheus import Build, Exposition, MetricsConfig
from monitor.clock import ManualClock
from monitor.credential import Secret
from monitor.http import HttpConfig, HttpServer
from tests.support.desk import Desk, busy_telemetry

TOKEN = "a-token-that-nobody-guesses"
SILENCE = {"subject": "binance/main", "for_s": 60, "reason": "moving", "by": "ann"}


@asynccontextmanager
async def door(desk: Desk, token: str | None = TOKEN) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that bears `token`, at a server over the desk."""
    metrics = Exposition(desk, busy_telemetry(), desk, Build("0", "3", "plain"), MetricsConfig())
    config = HttpConfig(listen="127.0.0.1:0")
    server = HttpServer(config, desk, desk, metrics, ManualClock(), desk, Secret(TOKEN))
    await server.start()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(server.urls[0], headers=headers) as session:
        yield session
    await server.stop()


async def ask(session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Status and the JSON answered."""
    async with session.request(method, path, **more) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1]])
async def test_an_order_without_the_token_is_refused(token: str | None) -> None:
    """Whatever the order; nothing is carried out, and the answer says where the token is."""
    desk = Desk()
    async with door(desk, token) as session:
        for method, path, body in (
            ("POST", "/api/v1/acknowledgements", {"key": "k", "by": "ann"}),
            ("POST", "/api/v1/silences", SILENCE),
            ("DELETE", "/api/v1/silences/s0", None),
        ):
            status, answer = await ask(session, method, path, json=body)
            assert (status, "STATE.token" in answer["error"], TOKEN in str(answer)) == (401, True, False)
        status, answer = await ask(session, "GET", "/api/v1/silences")
        assert (status, answer["silences"]) == (200, [])
    assert desk.orders == []


async def test_orders_with_the_token_are_carried_out() -> None:
    """Acknowledge, silence, look, end."""
    desk = Desk()
    async with door(desk) as session:
        assert await ask(session, "POST", "/api/v1/acknowledgements", json={"key": "k", "by": "ann"}) == (
            200,
            {"acknowledged": "k"},
        )
        status, made = await ask(session, "POST", "/api/v1/silences", json=SILENCE)
        assert status == 201
        assert (made["silence"]["subject"], made["fits_now"]) == ("binance/main", True)
        _, listed = await ask(session, "GET", "/api/v1/silences")
        assert listed["silences"] == [made["silence"]]
        status, _ = await ask(session, "DELETE", f"/api/v1/silences/{made['silence']['id']}?by=bob")
        assert status == 200
        _, listed = await ask(session, "GET", "/api/v1/silences")
        assert listed["silences"] == []
        _, odd = await ask(session, "POST", "/api/v1/silences", json={**SILENCE, "subject": "binance/mian"})
        assert odd["fits_now"] is False
        desk.orders.pop()
    assert desk.orders == [("acknowledge", "k", "ann"), ("silence", "binance/main", "ann"), ("end", "s0", "bob")]


async def test_an_order_that_comes_in_parts() -> None:
    """It is read to its end, however long the network takes between two parts; one that is never whole does nothing."""
    desk = Desk()
    body = orjson.dumps(SILENCE)
    head = f"POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    async with door(desk) as session:
        address = session._base_url
        assert address is not None
        reader, writer = await asyncio.open_connection(address.host, address.port)
        for part in (head.encode(), body[:10], body[10:30], body[30:]):
            assert desk.orders == []
            writer.write(part)
            await writer.drain()
            await turns(session)
        assert (await reader.read()).startswith(b"HTTP/1.1 201 ")
        writer.close()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(head.encode() + body[:-1])
        writer.write_eof()
        assert b" 201 " not in await reader.read()
        writer.close()
    assert desk.orders == [("silence", "binance/main", "ann")]


async def turns(session: aiohttp.ClientSession) -> None:
    """Let the server take what was sent: it answers others after that."""
    for _ in range(3):
        async with session.get("/healthz") as response:
            assert response.status == 200


async def test_a_body_that_is_too_long_is_refused_unread() -> None:
    """However it is cut up."""
    desk = Desk()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1000

    async with door(desk) as session:
        with suppress(aiohttp.ClientError):  # what is not read may break the sending before the answer is seen
            status, answer = await ask(session, "POST", "/api/v1/silences", data=endless())
            assert (status, answer["error"][:4]) == (400, "body")
        assert (await ask(session, "GET", "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"subject": "a"}', "for_s"),
        (b'{"subject": "a", "for_s": "long", "reason": "x", "by": "y"}', "for_s"),
        (b'{"subject": "a", "for_s": 60, "reason": "x", "by": "y", "emergncy": true}', "emergncy"),
        (b'{"subject": "refused", "for_s": 60, "reason": "x", "by": "y"}', "subject"),
        (b" " * (BODY_BYTES_MAX + 1), "body"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_the_reason(body: bytes, key: str) -> None:
    """The sentence names the key; nothing is carried out."""
    desk = Desk()
    async with door(desk) as session:
        status, answer = await ask(session, "POST", "/api/v1/silences", data=body)
        assert status == 400
        assert answer["error"].startswith(key)
    assert desk.orders == []
