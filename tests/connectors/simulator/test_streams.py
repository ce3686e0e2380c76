"""The WebSocket side over real sockets: routes, subscriptions, frames, keys, and everything that can go wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from connectors.simulator.scenario import AccountSpec
from monitor.clock import ManualClock
from tests.connectors.simulator.stage import stage
from tests.support.venue_server import Venue, venue_in_process

PATIENCE_S = 5.0


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    """A venue with two empty accounts and prices that move only when told."""
    accounts = [AccountSpec(name=name, wallets={"USDT": Decimal(10000)}) for name in ("main", "other")]
    async with venue_in_process(stage(*accounts)) as running:
        yield running


class Client:
    """A client of the venue's streams."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def receive(self) -> Any:
        """The next frame as JSON."""
        return orjson.loads(await self.text())

    async def text(self) -> str | bytes:
        """The next frame as it came."""
        return await asyncio.wait_for(self.ws.recv(), PATIENCE_S)

    async def ask(self, frame: Any) -> Any:
        """Send a control frame and take its answer."""
        await self.ws.send(orjson.dumps(frame).decode())
        return await self.receive()

    async def subscribe(self, *streams: str) -> None:
        """Subscribe, which is always acknowledged."""
        assert await self.ask({"method": "SUBSCRIBE", "params": list(streams), "id": 1}) == {"result": None, "id": 1}

    async def is_silent(self) -> bool:
        """Whether nothing came: answers to control frames wait in the same queue, behind whatever was said before."""
        answer = await self.ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 99})
        return bool(answer.get("id") == 99)

    async def closed(self) -> websockets.ConnectionClosed:
        """Wait for the end of the connection."""
        while True:
            try:
                await self.text()
            except websockets.ConnectionClosed as ended:
                return ended


@asynccontextmanager
async def client(venue: Venue, path: str) -> AsyncIterator[Client]:
    """Connected to a path of the venue, without a keep-alive of its own."""
    async with connect(f"{venue.market_url}{path}", ping_interval=None, close_timeout=0.2) as ws:
        yield Client(ws)


@asynccontextmanager
async def user_stream(venue: Venue, account: str = "main", more: str = "") -> AsyncIterator[Client]:
    """Connected to an account's user stream."""
    key = await venue.listen_key(venue.keys[account])
    async with client(venue, f"/private/ws?listenKey={key}{more}") as connected:
        yield connected


async def test_mark_price_frames(venue: Venue) -> None:
    """Every documented key with its type; event times rise."""
    async with client(venue, "/market/ws") as feed:
        await feed.subscribe("btcusdt@markPrice@1s")
        await venue.marks(BTCUSDT="61000.5")
        first = await feed.receive()
        assert (first["e"], first["s"], first["p"], first["st"]) == ("markPriceUpdate", "BTCUSDT", "61000.50000000", 1)
        assert {key: type(value) for key, value in first.items()} == {
            **dict.fromkeys(("e", "s", "p", "ap", "P", "i", "r"), str),
            **dict.fromkeys(("E", "T", "st"), int),
        }
        await venue.marks(BTCUSDT="61000.6")
        assert (await feed.receive())["E"] > first["E"]


async def test_slow_streams_come_every_third_time(venue: Venue) -> None:
    """Without the suffix one update of three."""
    async with client(venue, "/market/ws/btcusdt@markPrice") as feed:
        for price in range(61000, 61007):
            await venue.marks(BTCUSDT=str(price))
        frames = [await feed.receive() for _ in range(2)]
        assert [frame["p"] for frame in frames] == ["61002.00000000", "61005.00000000"]
        assert await feed.is_silent()


async def test_the_all_market_array_mixes_universes(venue: Venue) -> None:
    """USD-M and COIN-M rows in one frame, told apart by `st`; TradFi rows in a frame of their own."""
    async with client(venue, "/market/stream?streams=!markPrice@arr@1s") as feed:
        await venue.marks(BTCUSDT="61000")
        crypto, tradfi = await feed.receive(), await feed.receive()
        assert crypto["stream"] == tradfi["stream"] == "!markPrice@arr@1s"
        universes = {row["s"]: row["st"] for row in crypto["data"]}
        assert (universes["BTCUSDT"], universes["BTCUSD_PERP"]) == (1, 2)
        delivered = next(row for row in crypto["data"] if row["s"] == "BTCUSDT_270326")
        assert (delivered["r"], delivered["T"]) == ("", 0)
        assert [row["s"] for row in tradfi["data"]] == ["TSLAUSDT"]


async def test_asset_indices(venue: Venue) -> None:
    """The array and a single asset; the index of BTC follows its contract."""
    async with (
        client(venue, "/market/ws/!assetIndex@arr") as every,
        client(venue, "/market/ws/btcusd@assetIndex") as one,
    ):
        await venue.marks(BTCUSDT="61000")
        rows = {row["s"]: row for row in await every.receive()}
        assert rows["BTCUSD"] == await one.receive()
        assert (rows["BTCUSD"]["e"], rows["BTCUSD"]["i"]) == ("assetIndexUpdate", "61000.00000000")
        assert set(rows["USDTUSD"]) == set("eEsibaBAqgQG")


async def test_bracket_changes_are_announced(venue: Venue) -> None:
    """`contractInfo` with `bks`; the REST side has them too."""
    async with client(venue, "/market/ws/!contractInfo") as feed:
        await venue.brackets("BTCUSDT", [("0", "0.01", 50), ("100000", "0.02", 25)], "1000000")
        frame = await feed.receive()
        assert (frame["e"], frame["s"]) == ("contractInfo", "BTCUSDT")
        assert frame["bks"] == [
            {"bs": 1, "bnf": 0, "bnc": 100000, "mmr": 0.01, "cf": 0, "mi": 26, "ma": 50},
            {"bs": 2, "bnf": 100000, "bnc": 1000000, "mmr": 0.02, "cf": 1000, "mi": 1, "ma": 25},
        ]
    _, body = await venue.get("/fapi/v1/leverageBracket", venue.key, symbol="BTCUSDT")
    assert [row["cum"] for row in body["brackets"]] == [0, 1000]


async def test_control_frames(venue: Venue) -> None:
    """Subscribe, list, unsubscribe, switch the envelope; what is wrong gets a code and a message."""
    async with client(venue, "/market/ws") as feed:
        await feed.subscribe("btcusdt@markPrice@1s", "no such stream")
        listed = await feed.ask({"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert listed == {"result": ["btcusdt@markPrice@1s", "no such stream"], "id": 3}
        await feed.ask({"method": "SET_PROPERTY", "params": ["combined", True], "id": 4})
        assert (await feed.ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 5}))["result"] is True
        await venue.marks(BTCUSDT="61000")
        assert (await feed.receive())["data"]["p"] == "61000.00000000"
        await feed.ask({"method": "UNSUBSCRIBE", "params": ["btcusdt@markPrice@1s"], "id": 6})
        await venue.marks(BTCUSDT="61001")
        assert await feed.is_silent()
        for wrong in ({"method": "HELLO", "id": 1}, {"method": "SUBSCRIBE", "params": "x", "id": 1}, {"id": "a"}, []):
            assert (await feed.ask(wrong))["code"] == 2


async def test_text_that_is_no_json_gets_an_answer(venue: Venue) -> None:
    """The connection lives on."""
    async with client(venue, "/market/ws") as feed:
        await feed.ws.send("{")
        assert (await feed.receive())["code"] == 3
        await feed.subscribe("btcusdt@markPrice@1s")


@pytest.mark.parametrize("path", ["/ws", "/stream", "/public/ws", "/private/ws", "/ws/btcusdt@markPrice@1s"])
async def test_other_routes_acknowledge_and_stay_silent(venue: Venue, path: str) -> None:
    """Marks are carried by /market only; elsewhere everything looks fine and nothing comes."""
    async with client(venue, path) as feed:
        await feed.subscribe("btcusdt@markPrice@1s", "!markPrice@arr@1s")
        await venue.marks(BTCUSDT="61000")
        assert await feed.is_silent()


async def test_too_many_messages_end_the_connection(venue: Venue) -> None:
    """Ten a second are the limit."""
    async with client(venue, "/market/ws") as feed:
        for number in range(11):
            await feed.ws.send(orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}).decode())
        ended = await feed.closed()
        assert ended.rcvd is not None
        assert ended.rcvd.code == 1008


async def test_user_streams_hear_their_own_account(venue: Venue) -> None:
    """In the address as a parameter or as a path, bare or enveloped by the key."""
    key = await venue.listen_key(venue.keys["main"])
    async with (
        client(venue, f"/private/ws?listenKey={key}") as by_query,
        client(venue, f"/private/ws/{key}") as by_path,
        client(venue, f"/private/stream?listenKey={key}") as enveloped,
        user_stream(venue, "other") as other,
    ):
        await venue.act("main", "transfer", asset="USDT", amount="5")
        frame = await by_query.receive()
        assert (frame["e"], frame["a"]["m"]) == ("ACCOUNT_UPDATE", "DEPOSIT")
        assert await by_path.receive() == frame
        assert await enveloped.receive() == {"stream": key, "data": frame}
        assert await other.is_silent()


async def test_user_streams_can_be_narrowed(venue: Venue) -> None:
    """Only the events asked for, and the end of the key in any case."""
    async with user_stream(venue, more="&events=ACCOUNT_UPDATE/MARGIN_CALL") as user:
        await venue.act("main", "fill", symbol="BTCUSDT", side="BUY", quantity="0.1")
        assert (await user.receive())["e"] == "ACCOUNT_UPDATE"
        await venue.expire_listen_key("main")
        assert (await user.receive())["e"] == "listenKeyExpired"


async def test_a_bogus_listen_key_connects_and_is_silent(venue: Venue) -> None:
    """ "Connected" means nothing."""
    async with client(venue, "/private/ws?listenKey=bogus") as user:
        await venue.listen_key()
        await venue.act("main", "transfer", asset="USDT", amount="5")
        assert await user.is_silent()


async def test_an_expired_listen_key_says_so_once_and_then_nothing(venue: Venue) -> None:
    """The socket stays open; only a new key on a new socket hears again."""
    async with user_stream(venue) as user:
        key = await venue.listen_key()
        assert await venue.expire_listen_key("main")
        frame = await user.receive()
        assert (frame["e"], frame["listenKey"], type(frame["E"])) == ("listenKeyExpired", key, int)
        async with user_stream(venue) as renewed:
            await venue.act("main", "transfer", asset="USDT", amount="5")
            assert (await renewed.receive())["e"] == "ACCOUNT_UPDATE"
        assert await user.is_silent()


async def test_a_listen_key_can_die_in_silence(venue: Venue) -> None:
    """Without the event, and without an end of the connection."""
    async with user_stream(venue) as user:
        assert await venue.expire_listen_key("main", silent=True)
        await venue.act("main", "transfer", asset="USDT", amount="5")
        assert await user.is_silent()
        _, body = await venue.request("PUT", "/fapi/v1/listenKey", venue.key)
        assert body["code"] == -1125


async def test_listen_keys_live_as_long_as_configured() -> None:
    """At the end of its life the key expires by itself; a renewal puts the end off."""
    clock = ManualClock()
    async with venue_in_process(stage(listen_key_life_s=3600), clock=clock) as venue:
        assert venue.simulator is not None
        exchange = venue.simulator.exchange
        owner = exchange.account("main")
        key = exchange.open_listen_key(owner)
        async with client(venue, f"/private/ws?listenKey={key}") as user:
            clock.advance(3000)
            assert exchange.keep_listen_key(owner) == key
            clock.advance(3000)
            exchange.expire_due()
            clock.advance(601)
            exchange.expire_due()
            assert (await user.receive())["listenKey"] == key
        assert exchange.open_listen_key(owner) != key


async def test_a_liquidation_over_the_sockets(venue: Venue) -> None:
    """Marks first, then the call, then the end of the position; the log has it all."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1", isolated_wallet="6000")
    async with user_stream(venue) as user, client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.marks(BTCUSDT="54280")  # 217.12 / 280 = 77.5 %
        await venue.marks(BTCUSDT="54270")  # 217.08 / 270 = 80.4 %
        assert (await user.receive())["e"] == "MARGIN_CALL"
        await venue.marks(BTCUSDT="54216")  # 216.86 / 216
        frames = [await user.receive() for _ in range(3)]
        assert [frame["e"] for frame in frames] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
        assert frames[0]["o"]["c"].startswith("autoclose-")
        marks = [await feed.receive() for _ in range(3)]
        assert frames[0]["E"] < marks[2]["E"]
    [liquidation] = await venue.liquidations()
    assert liquidation["legs"][0]["mark"] == "54216"
    assert [entry["scope"] for entry in await venue.log("margin_call")] == ["BTCUSDT:long"]


async def test_the_venue_pings(venue: Venue) -> None:
    """Often, when told so; a client that answers stays, one that does not is cut."""
    async with venue_in_process(stage(ping_s=0.01, pong_timeout_s=0.1)) as strict:
        async with client(strict, "/market/ws") as feed:
            await feed.subscribe("btcusdt@markPrice@1s")
            for price in range(3):
                await asyncio.wait_for(asyncio.shield(feed.ws.ping()), PATIENCE_S)
                await strict.marks(BTCUSDT=str(61000 + price))
                assert (await feed.receive())["s"] == "BTCUSDT"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(strict.rest_url.rpartition(":")[2]))
        writer.write(
            b"GET /market/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        try:
            with contextlib.suppress(ConnectionResetError):
                while await asyncio.wait_for(reader.read(4096), PATIENCE_S):
                    pass
        finally:
            writer.close()


async def test_connections_have_a_life() -> None:
    """At its end the venue closes."""
    async with venue_in_process(stage(connection_life_s=0.05)) as venue, client(venue, "/market/ws") as feed:
        ended = await feed.closed()
        assert ended.rcvd is not None
        assert ended.rcvd.code == 1001


# --- faults


async def test_silence(venue: Venue) -> None:
    """A silent stream still acknowledges; a new connection speaks again."""
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        assert await venue.stream_fault("market", "silent") == 1
        await venue.marks(BTCUSDT="61000")
        await feed.subscribe("ethusdt@markPrice@1s")
        assert await feed.is_silent()
        async with client(venue, "/market/ws/btcusdt@markPrice@1s") as fresh:
            await venue.marks(BTCUSDT="61001")
            assert (await fresh.receive())["p"] == "61001.00000000"


async def test_silence_can_last_until_healed(venue: Venue) -> None:
    """With `future` new connections are silent too."""
    await venue.stream_fault("market", "silent", future=True)
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.marks(BTCUSDT="61000")
        assert await feed.is_silent()
        await venue.heal()
        await venue.marks(BTCUSDT="61001")
        assert (await feed.receive())["p"] == "61001.00000000"


async def test_half_open_connections_neither_hear_nor_speak(venue: Venue) -> None:
    """Not even a ping is answered, and nothing ends."""
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await asyncio.wait_for(await feed.ws.ping(), PATIENCE_S)
        await venue.stream_fault("market", "half_open")
        await venue.marks(BTCUSDT="61000")
        pong = await feed.ws.ping()
        [description] = await venue.connections("market")
        assert description["half_open"]
        assert await venue.stream_fault("market", "drop") == 1
        with pytest.raises(websockets.ConnectionClosed):
            await feed.text()  # the first that comes is the end
        with pytest.raises(websockets.ConnectionClosed):
            await pong


async def test_new_connections_can_be_half_open(venue: Venue) -> None:
    """With `future` the handshake succeeds and nothing follows."""
    await venue.stream_fault("market", "half_open", future=True)
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.until(lambda: venue.connections("market"))
        await venue.marks(BTCUSDT="61000")
        pong = await feed.ws.ping()
        assert await venue.stream_fault("market", "drop") == 1
        with pytest.raises(websockets.ConnectionClosed):
            await feed.text()
        with pytest.raises(websockets.ConnectionClosed):
            await pong


@pytest.mark.parametrize("kind", ["drop", "torn"])
async def test_connections_can_end_without_a_word(venue: Venue, kind: str) -> None:
    """Cut, or in the middle of a frame: no close frame arrives."""
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.stream_fault("market", kind)
        assert (await feed.closed()).rcvd is None


async def test_connections_can_be_closed(venue: Venue) -> None:
    """With a code, and of one account only."""
    async with user_stream(venue, "main") as user, user_stream(venue, "other") as other:
        assert await venue.stream_fault("private", "close", account="main", code=1012) == 1
        ended = await user.closed()
        assert ended.rcvd is not None
        assert ended.rcvd.code == 1012
        await venue.act("other", "transfer", asset="USDT", amount="1")
        assert (await other.receive())["e"] == "ACCOUNT_UPDATE"


async def test_handshakes_can_be_refused(venue: Venue) -> None:
    """So many times with a status of choice."""
    await venue.stream_fault("market", "refuse", status=429, times=1)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with client(venue, "/market/ws"):
            pass
    assert refused.value.response.status_code == 429
    async with client(venue, "/market/ws") as feed:
        await feed.subscribe("btcusdt@markPrice@1s")


async def test_duplicates_and_wrong_order(venue: Venue) -> None:
    """The next frames twice; the next one after the one that follows it."""
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.stream_fault("market", "duplicate", times=2)
        for price in (61000, 61001, 61002):
            await venue.marks(BTCUSDT=str(price))
        assert [int(float((await feed.receive())["p"])) for _ in range(5)] == [61000, 61000, 61001, 61001, 61002]
        await venue.stream_fault("market", "swap")
        for price in (61003, 61004):
            await venue.marks(BTCUSDT=str(price))
        later, earlier = await feed.receive(), await feed.receive()
        assert (later["p"], earlier["p"]) == ("61004.00000000", "61003.00000000")
        assert later["E"] > earlier["E"]


async def test_user_events_in_wrong_order_and_twice(venue: Venue) -> None:
    """The later balance first; then one balance two times, the same to the letter."""
    async with user_stream(venue) as user:
        await venue.stream_fault("private", "swap", account="main")
        for _ in range(2):
            await venue.act("main", "transfer", asset="USDT", amount="1")
        later, earlier = await user.receive(), await user.receive()
        assert (later["a"]["B"][0]["wb"], earlier["a"]["B"][0]["wb"]) == ("10002.00000000", "10001.00000000")
        assert later["E"] > earlier["E"]
        await venue.stream_fault("private", "duplicate", account="main")
        await venue.act("main", "transfer", asset="USDT", amount="1")
        assert await user.receive() == await user.receive()


async def test_spoiled_frames(venue: Venue) -> None:
    """Garbage, a frame that breaks off, an event nobody knows, numbers that are empty, and any text at all."""
    async with client(venue, "/market/ws") as feed:
        for kind in ("garbage", "truncated"):
            assert await venue.frame_fault("market", kind) == 1
            with pytest.raises(orjson.JSONDecodeError):
                await feed.receive()
        await venue.frame_fault("market", "unknown_event")
        assert (await feed.receive())["e"] == "SOMETHING_NEW"
        await venue.frame_fault("market", "empty_numbers", symbol="ETHUSDT")
        frame = await feed.receive()
        assert (frame["e"], frame["s"], frame["p"]) == ("markPriceUpdate", "ETHUSDT", "")
        await venue.frame_fault("market", text="[1,")
        assert await feed.text() == "[1,"


async def test_spoiled_user_frames(venue: Venue) -> None:
    """The same on the user stream, about the account's own position; enveloped where the stream is."""
    await venue.act("main", "set_position", symbol="BTCUSDT", size="1")
    key = await venue.listen_key()
    async with client(venue, f"/private/stream?listenKey={key}") as user:
        await venue.frame_fault("private", "empty_numbers")
        frame = await user.receive()
        assert frame["stream"] == key
        [row] = frame["data"]["a"]["P"]
        assert (row["s"], row["pa"], row["ep"]) == ("BTCUSDT", "", "")


async def test_a_client_that_does_not_read_is_cut(venue: Venue) -> None:
    """Frames wait in a bounded queue; when it is full the connection ends, and the others go on."""
    async with client(venue, "/market/ws/btcusdt@markPrice@1s") as feed:
        await venue.until(lambda: venue.connections("market"))
        assert venue.simulator is not None
        [connection] = venue.simulator.hub.connections.values()
        for _ in range(5000):  # synchronous: the writer has no turn in between
            connection.put(b"{}")
        await feed.closed()
