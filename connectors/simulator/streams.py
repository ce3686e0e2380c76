"""The venue's WebSocket side: routes, subscriptions, pings, and everything that can go wrong with a connection."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from connectors.simulator.events import Frame
from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import FrameFault, Route, StreamFault, spoiled_frame

# Frames waiting for one socket. A client that falls this far behind is cut off, as the venue does.
_QUEUE_LENGTH = 4096
_CLIENT_MESSAGES_PER_S = 10
_STREAMS_MAX = 1024
_CLOSE_TIMEOUT_S = 1.0
# The first half of a text frame of 126 bytes: the rest never comes.
_TORN_FRAME = b'\x81\x7e\x00\x7e{"e":"markPriceUpdate","E":17900'


class Connection:
    """One WebSocket and what it asked for."""

    def __init__(self, number: int, route: str, combined: bool, ws: web.WebSocketResponse, request: web.Request):
        self.number = number
        self.route = route
        self.combined = combined
        self.ws = ws
        self.account: str | None = None
        self.listen_key = ""
        self.events: frozenset[str] = frozenset()
        self.subscriptions: dict[str, None] = {}
        self.silent = False
        self.frozen = False
        self.duplicate = 0
        self.swap = False
        self.sent = 0
        self.opened_at = 0.0
        self.pong_at = 0.0
        self._held: bytes | None = None
        self._transport = request.transport
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE_LENGTH)
        self._recent: deque[float] = deque(maxlen=_CLIENT_MESSAGES_PER_S)

    def publish(self, stream: str, payload: Frame | list[Frame]) -> None:
        """Send a frame of a stream, in the envelope the connection chose, through the faults laid on it."""
        if self.silent:
            return
        text = orjson.dumps({"stream": stream, "data": payload} if self.combined else payload)
        if self.swap:
            self.swap, self._held = False, text
            return
        self.put(text)
        if self.duplicate:
            self.duplicate -= 1
            self.put(text)
        if self._held is not None:
            text, self._held = self._held, None
            self.put(text)

    def put(self, text: bytes) -> None:
        """Queue a text frame as it stands."""
        if self.frozen:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.cut()

    def too_fast(self, now: float) -> bool:
        """Count a message of the client; True when it is one too many within a second."""
        full = len(self._recent) == _CLIENT_MESSAGES_PER_S and now - self._recent[0] < 1.0
        self._recent.append(now)
        return full

    def cut(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def freeze(self) -> None:
        """Stop reading and writing, and leave the connection open."""
        self.frozen = True
        if isinstance(self._transport, asyncio.ReadTransport) and not self._transport.is_closing():
            self._transport.pause_reading()

    def tear(self) -> None:
        """Send half a frame and end the connection."""
        self.frozen = True
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(_TORN_FRAME)
            self._transport.close()

    async def write(self) -> None:
        """Carry queued frames to the socket until cancelled."""
        while True:
            text = await self._queue.get()
            if self.frozen:
                continue
            await self.ws.send_str(text.decode("utf-8", "surrogateescape"))
            self.sent += 1

    def describe(self) -> dict[str, Any]:
        """For the control interface."""
        return {
            "number": self.number,
            "route": self.route,
            "account": self.account,
            "combined": self.combined,
            "subscriptions": list(self.subscriptions),
            "sent": self.sent,
            "silent": self.silent,
            "half_open": self.frozen,
        }


class Hub:
    """All connections; the `Audience` of the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._numbers = count(1)
        self._refusals: dict[Route, tuple[int, int]] = {}
        self._silent_routes: set[Route] = set()
        self._frozen_routes: set[Route] = set()
        self._spawned: set[asyncio.Task[None]] = set()
        self.connections: dict[int, Connection] = {}

    # --- the exchange speaks

    def market(self, stream: str, payload: Frame | list[Frame]) -> None:
        """See `exchange.Audience`."""
        for connection in list(self.connections.values()):
            if connection.route == "market" and stream in connection.subscriptions:
                connection.publish(stream, payload)

    def private(self, account: str, listen_key: str | None, payload: Frame) -> None:
        """See `exchange.Audience`. A socket hears its account only while its own listenKey is the valid one."""
        key = listen_key or self._valid_key(account)
        for connection in list(self.connections.values()):
            if connection.route == "private" and key is not None and connection.listen_key == key:
                if connection.events and payload["e"] not in connection.events and payload["e"] != "listenKeyExpired":
                    continue
                connection.publish(key, payload)

    def _valid_key(self, account: str) -> str | None:
        key = self._exchange.listen_keys.get(account)
        return None if key is None else key.text

    def watched(self) -> bool:
        """Whether someone hears marks, and someone the user stream of every account."""
        marks = any("markPrice" in s for c in self._of("market", None) for s in c.subscriptions)
        heard = {self._exchange.owner(c.listen_key) for c in self._of("private", None)}
        return marks and heard >= set(self._exchange.accounts)

    # --- faults

    def apply(self, fault: StreamFault) -> int:
        """Let a fault happen; returns how many connections it met."""
        if fault.kind == "refuse":
            self._refusals[fault.route] = (fault.times, fault.status)
            return 0
        if fault.future and fault.kind == "silent":
            self._silent_routes.add(fault.route)
        if fault.future and fault.kind == "half_open":
            self._frozen_routes.add(fault.route)
        met = self._of(fault.route, fault.account)
        for connection in met:
            self._strike(connection, fault)
        return len(met)

    def _strike(self, connection: Connection, fault: StreamFault) -> None:
        match fault.kind:
            case "silent":
                connection.silent = True
            case "half_open":
                connection.freeze()
            case "drop":
                connection.cut()
            case "torn":
                connection.tear()
            case "duplicate":
                connection.duplicate = fault.times
            case "swap":
                connection.swap = True
            case "close":
                self._close_later(connection, fault.code)

    def inject(self, fault: FrameFault) -> int:
        """Send a spoiled frame; returns to how many connections."""
        met = self._of(fault.route, fault.account)
        for connection in met:
            envelope = f"{fault.symbol.lower()}@markPrice@1s" if connection.route == "market" else connection.listen_key
            text = spoiled_frame(fault, self._exchange, connection.account, envelope if connection.combined else None)
            connection.put(text.encode("utf-8", "surrogateescape"))
        return len(met)

    def heal(self) -> None:
        """End silence and refusals; what was cut or frozen stays so."""
        self._refusals.clear()
        self._silent_routes.clear()
        self._frozen_routes.clear()
        for connection in self.connections.values():
            connection.silent = connection.swap = False
            connection.duplicate = 0

    def _of(self, route: Route, account: str | None) -> list[Connection]:
        return [c for c in self.connections.values() if c.route == route and account in (None, c.account)]

    # --- the client speaks

    def routes(self) -> list[web.RouteDef]:
        """For the application: each route with and without streams in the path, and the un-routed paths of old."""
        table: list[web.RouteDef] = []
        prefixes: tuple[tuple[Route, str], ...] = (
            ("market", "/market"),
            ("private", "/private"),
            ("public", "/public"),
            ("unrouted", ""),
            # COIN-M's host, which carries both kinds un-routed too: there a name in the address is a listenKey.
            ("market", "/dstream"),
            ("market", "/dstream/market"),
            ("private", "/dstream/private"),
        )
        coin_private = self._handler("private", combined=False)
        for route, prefix in prefixes:
            bare, combined = self._handler(route, combined=False), self._handler(route, combined=True)
            table += [
                web.get(f"{prefix}/ws", bare),
                web.get(prefix + "/ws/{streams:.+}", coin_private if prefix == "/dstream" else bare),
                web.get(f"{prefix}/stream", combined),
            ]
        return table

    def _handler(self, route: Route, *, combined: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            left, status = self._refusals.get(route, (0, 0))
            if left:
                self._refusals[route] = (left - 1, status)
                return web.json_response({"code": -1003, "msg": "refused"}, status=status)
            # Frames are not compressed, so that a fault can write bytes of its own between them.
            ws = web.WebSocketResponse(autoping=False, autoclose=True, compress=False, timeout=_CLOSE_TIMEOUT_S)
            await ws.prepare(request)
            connection = Connection(next(self._numbers), route, combined, ws, request)
            self._ask_in_address(connection, request)
            await self._live(connection)
            return ws

        return handle

    def _ask_in_address(self, connection: Connection, request: web.Request) -> None:
        """Take streams or a listenKey from the address, as far as the route carries them."""
        streams = request.match_info.get("streams", "") or request.query.get("streams", "")
        if connection.route == "private":
            connection.listen_key = request.query.get("listenKey", "") or streams
            connection.account = self._exchange.owner(connection.listen_key)
            connection.events = frozenset(filter(None, request.query.get("events", "").split("/")))
        else:
            connection.subscriptions.update(dict.fromkeys(filter(None, streams.split("/"))))

    async def _live(self, connection: Connection) -> None:
        connection.opened_at = connection.pong_at = self._exchange.clock.now()
        connection.silent = connection.route in self._silent_routes
        self.connections[connection.number] = connection
        self._exchange.note("connected", connection=connection.number, route=connection.route)
        if connection.route in self._frozen_routes:
            connection.freeze()
        tasks = [
            asyncio.create_task(self._guard(connection.write()), name=f"write-{connection.number}"),
            asyncio.create_task(self._guard(self._watch(connection)), name=f"watch-{connection.number}"),
        ]
        try:
            async for message in _messages(connection.ws):
                self._hear(connection, message)
        finally:
            for task in tasks:
                task.cancel()
            del self.connections[connection.number]
            self._exchange.note("disconnected", connection=connection.number, route=connection.route)

    async def _guard(self, work: Coroutine[Any, Any, Any]) -> None:
        """Work on a connection ends with the connection."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            await work

    async def _watch(self, connection: Connection) -> None:
        """Ping, cut who does not answer, and end the connection when its life is over."""
        venue, clock = self._exchange.scenario.venue, self._exchange.clock
        while True:
            age = clock.now() - connection.opened_at
            await asyncio.sleep(max(0.0, min(venue.ping_s, venue.connection_life_s - age)))
            now = clock.now()
            if now - connection.opened_at >= venue.connection_life_s:
                await connection.ws.close(code=WSCloseCode.GOING_AWAY)
                return
            if now - connection.pong_at > venue.pong_timeout_s:
                connection.cut()
                return
            if not connection.frozen:
                await connection.ws.ping(str(int(now * 1000)).encode())

    def _close_later(self, connection: Connection, code: int) -> None:
        self._spawn(connection.ws.close(code=code))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something short beside the reader; the set keeps the task alive until it is done."""
        task = asyncio.create_task(self._guard(work))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def _hear(self, connection: Connection, message: WSMessage) -> None:
        now = self._exchange.clock.now()
        match message.type:
            case WSMsgType.PING:
                if not connection.frozen:
                    self._spawn(connection.ws.pong(message.data))
            case WSMsgType.PONG:
                connection.pong_at = now
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if connection.too_fast(now):
                    self._close_later(connection, WSCloseCode.POLICY_VIOLATION)
                    return
                connection.put(orjson.dumps(control_reply(connection, message.data)))

    def close_all(self) -> None:
        """Cut every connection, for the end."""
        for connection in list(self.connections.values()):
            connection.cut()


async def _messages(ws: web.WebSocketResponse) -> AsyncIterator[WSMessage]:
    """Messages of a socket, pings and pongs included, until it ends."""
    while True:
        try:
            message = await ws.receive()
        except (ConnectionError, RuntimeError):
            return
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return
        yield message


def control_reply(connection: Connection, text: str | bytes) -> Frame:
    """Answer a control frame. Every stream name is acknowledged; whether it ever speaks is another matter."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return {"code": 3, "msg": f"Invalid JSON: {error}"}
    if not isinstance(frame, dict) or not isinstance(frame.get("id"), int) or frame["id"] < 0:
        return {"code": 2, "msg": "Invalid request: an unsigned integer id is required"}
    params, reply = frame.get("params", []), {"result": None, "id": frame["id"]}
    match frame.get("method"):
        case "SUBSCRIBE" if _are_names(params):
            if len(connection.subscriptions) + len(params) > _STREAMS_MAX:
                return {"code": 2, "msg": f"Invalid request: more than {_STREAMS_MAX} streams", "id": frame["id"]}
            connection.subscriptions.update(dict.fromkeys(params))
        case "UNSUBSCRIBE" if _are_names(params):
            for name in params:
                connection.subscriptions.pop(name, None)
        case "LIST_SUBSCRIPTIONS":
            reply["result"] = list(connection.subscriptions)
        case "SET_PROPERTY" if isinstance(params, list) and len(params) == 2 and params[0] == "combined":
            connection.combined = bool(params[1])
        case "GET_PROPERTY":
            reply["result"] = connection.combined
        case method:
            return {"code": 2, "msg": f"Invalid request: method {method!r} with these params", "id": frame["id"]}
    return reply


def _are_names(params: Any) -> bool:
    return isinstance(params, list) and all(isinstance(name, str) for name in params)
