"""The stream of events over real sockets: bounded per reader, made once for all, never in the way."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from alerts.alert import Severity
from monitor.board import feed as feed_module
from monitor.board.feed import READERS_MAX
from monitor.http import CONNECTIONS_MAX
from monitor.model.assessment import PoolAssessment
from tests.support.board import served
from tests.support.desk import Desk, alert, bad_day, many_pools
from tests.support.server_process import until, until_answer

EVENTS = "/api/v1/events"


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rounds a second, so that nobody waits."""
    monkeypatch.setattr(feed_module, "ROUND_S", 0.1)


class Reader:
    """Reads rounds from an open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        """The next round."""
        async with asyncio.timeout(15):
            lines = [(await self.response.content.readuntil(b"\n")).decode() for _ in range(4)]
        assert lines[0].startswith("id: ")
        assert (lines[1], lines[3]) == ("event: round\n", "\n")
        document: dict[str, Any] = orjson.loads(lines[2].removeprefix("data: "))
        assert lines[0] == f"id: {document['round']}\n"
        return document


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that may read long lines and keep many streams open."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=4 * 1024 * 1024) as client:
        yield client


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Reader]:
    """One reader."""
    async with session() as client, client.get(url + EVENTS) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Reader(response)


async def test_everything_first_then_what_changes() -> None:
    """A reader begins with the whole state, gets a round a second even without news, and then only what is new."""
    pools = bad_day()
    desk = Desk(pools)
    async with served(desk) as url, reading(url) as reader:
        first = await reader.next()
        assert first["since"] is None
        assert next(pool["scope"] for pool in first["pools"]) == "DOGEUSDT:short"
        second = await reader.next()
        assert (second["since"], second["pools"]) == (first["round"], [])
        assert "alerts" not in second
        desk.pools = [replace(pools[0], margin_ratio=0.93), *pools[1:3]]
        desk.alerts = [alert(Severity.CRITICAL, pools[0])]
        found = await reader.next()
        while not found["pools"]:
            found = await reader.next()
        assert [(pool["scope"], pool["margin_ratio"]) for pool in found["pools"]] == [("BTCUSDT:long", 0.93)]
        assert sorted(found["gone"]) == ["binance/main/SOLUSDT:long", "binance/main/USDT"]
        assert [each["severity"] for each in found["alerts"]] == ["critical"]


async def test_one_round_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round is made once, however many look."""
    made: list[int] = []
    follow = feed_module.follow

    def counted(*arguments: Any) -> Any:
        found = follow(*arguments)
        made.append(found.number)
        return found

    monkeypatch.setattr(feed_module, "follow", counted)
    async with served(Desk()) as url, session() as client:
        readers = [Reader(await client.get(url + EVENTS)) for _ in range(5)]
        for reader in readers:
            while (await reader.next())["round"] < 4:
                pass
        assert made == list(range(1, len(made) + 1))


async def test_streams_do_not_use_up_the_requests() -> None:
    """With every stream open that may be, other requests are answered and one stream more is refused."""
    async with served(Desk()) as url, session() as client:
        responses = [await client.get(url + EVENTS) for _ in range(READERS_MAX)]
        async with client.get(url + EVENTS) as response:
            assert response.status == 503
            assert "open already" in (await response.json())["error"]
        async with client.get(url + "/api/v1/pools") as response:
            assert response.status == 200
        responses[0].close()

        async def let_in() -> bool:
            async with client.get(url + EVENTS) as response:
                return response.status == 200

        await until_answer(let_in, "a reader that left makes room")


async def test_strangers_do_not_push_a_reader_out() -> None:
    """The oldest connections are dropped first, but not those on which somebody looks."""
    async with served(Desk()) as url, reading(url) as reader:
        await reader.next()
        host, _, port = url.removeprefix("http://").rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS_MAX + 5)]
        async with asyncio.timeout(10):
            assert await opened[0][0].read() == b""
        latest = [await reader.next() for _ in range(3)]
        assert latest[-1]["round"] > latest[0]["round"]
        for _, writer in opened:
            writer.close()


def stirred(pools: list[PoolAssessment], by: int) -> list[PoolAssessment]:
    """The same pools with other figures, so that a change is as long as the whole."""
    return [replace(pool, margin_ratio=pool.margin_ratio * (1 + by / 1000)) for pool in pools]


async def test_a_reader_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is let go after a while, and until then costs nobody a round."""
    monkeypatch.setattr(feed_module, "WRITE_S", 1.0)
    pools = many_pools(1000)
    desk = Desk(pools)
    async with served(desk) as url, reading(url) as reader:
        host, _, port = url.removeprefix("http://").rpartition(":")
        loop = asyncio.get_running_loop()
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            await loop.sock_connect(lazy, (host, int(port)))
            await loop.sock_sendall(lazy, f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            numbers = []
            for by in range(40):
                desk.pools = stirred(pools, by)
                numbers.append((await reader.next())["round"])
            assert numbers == list(range(numbers[0], numbers[0] + 40))
            read = 0
            async with asyncio.timeout(20):
                with suppress(ConnectionError):
                    while piece := await loop.sock_recv(lazy, 1 << 20):
                        read += len(piece)
            # What the kernel had taken could still be read; the forty rounds have five times as much.
            assert read < 8_000_000


async def test_a_slow_reader_gets_the_whole_state_again() -> None:
    """The rounds that it missed are never made for it: what it gets next is whole and new."""
    pools = many_pools(1000)
    desk = Desk(pools)
    async with served(desk) as url, reading(url) as quick, reading(url) as slow:
        held = (await slow.next())["round"]
        connection = slow.response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.pause_reading()  # type: ignore[attr-defined]
        for by in range(40):
            desk.pools = stirred(pools, by)
            await quick.next()
        connection.transport.resume_reading()  # type: ignore[attr-defined]
        while (found := await slow.next())["since"] is not None:
            assert found["since"] == held
            held = found["round"]
        assert found["round"] > held + 1


async def test_the_end_lets_readers_go() -> None:
    """A server that stops does not wait for those who look."""
    desk = Desk()
    async with session() as client:
        async with served(desk) as url:
            response = await client.get(url + EVENTS)
            reader = Reader(response)
            await reader.next()
            ending = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - ending < 5
        assert (await response.content.read()).count(b"event:") <= 2


async def test_a_fault_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that cannot be made is left out; the next one comes."""
    desk = Desk()
    health, failures = desk.health, [RuntimeError("no health")]

    def sometimes(self: Desk) -> Any:
        if failures:
            raise failures.pop()
        return health()

    monkeypatch.setattr(Desk, "health", sometimes)
    async with served(desk) as url, reading(url) as reader:
        assert (await reader.next())["total"] == 5
        assert failures == []


async def test_a_stream_has_no_head() -> None:
    """Who asks for headers only would hold a reader's place and never leave it."""
    async with served(Desk()) as url, session() as client, client.head(url + EVENTS) as response:
        assert response.status == 405


async def test_the_state_for_programs() -> None:
    """The same as the first round of a stream, for whoever asks once."""
    async with served(Desk()) as url, session() as client, client.get(url + "/api/v1/board") as response:
        document = orjson.loads(await response.read())
        assert document["since"] is None
        assert document["rungs"]["margin_ratio"]["emergency"] == 0.95
        assert [pool["scope"] for pool in document["pools"]][:2] == ["DOGEUSDT:short", "NEWUSDT:long"]


async def test_gone_readers_are_forgotten() -> None:
    """When the last reader has left, no round is made any more."""
    async with served(Desk()) as url:
        async with reading(url) as reader:
            await reader.next()
        await until(lambda: "board rounds" not in {task.get_name() for task in asyncio.all_tasks()}, "rounds end")
