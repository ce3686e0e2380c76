"""The shell around a session, with a session made for the purpose and a real WebSocket server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.utils import accept_key

from connectors import FeedSettings
from connectors.runner import SENDS_WAITING_MAX, SessionRunner, describe
from connectors.session import Action, Connect, Disconnect, Halt, Login, Request, Send, Timers, Warn
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged
from monitor.telemetry import Telemetry

SETTINGS = FeedSettings(connect_s=1.0, send_s=0.2, ping_s=0.1, pong_s=0.2, poll_s=0.01)
DEADLINE_S = 10.0


class Puppet:
    """A session that does what a test says and writes down what it was told."""

    name = "puppet"
    venue = "test"
    stream = "mark"

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.told: list[tuple[Any, ...]] = []
        self.timers = Timers()
        self.on_frame: Callable[[bytes | str], Sequence[Event]] = lambda frame: ()

    def start(self, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("start",))
        return ()

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("opened", connection))
        return ()

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("closed", connection, reason))
        return ()

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """Noted, and answered as the test says."""
        self.told.append(("received", frame))
        return self.on_frame(frame)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("responded", request))
        return ()

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("failed", request, str(error)))
        return ()

    def tick(self, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("tick", *self.timers.take(now)))
        return ()

    def deadline(self) -> float | None:
        """The timers'."""
        return self.timers.next()

    def reconcile(self, now: float) -> Sequence[Event]:
        """Noted."""
        self.told.append(("reconcile",))
        return ()

    def health(self, now: float) -> list[FeedHealth]:
        """Always live."""
        return [FeedHealth("test", "", "mark", FeedState.LIVE, 0.0)]

    def secrets(self) -> Collection[str]:
        """None."""
        return ()


class Signs:
    """Makes log-in frames."""

    def login(self, now_ms: int) -> str:
        """With the time in it."""
        return f"login at {now_ms}"


class Stage:
    """A puppet in a running runner, and a server that keeps what it hears."""

    def __init__(self) -> None:
        self.puppet = Puppet()
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.events: list[Event] = []
        self.heard: list[str | bytes] = []
        self.clients: list[ServerConnection] = []
        self.url = ""
        self.runner = SessionRunner(self.puppet, self._handle, self.clock, self.telemetry, SETTINGS, signer=Signs())

    def _handle(self, event: Event, received: float) -> None:
        self.events.append(event)

    async def serve(self, client: ServerConnection) -> None:
        """Keep what is heard until the end."""
        self.clients.append(client)
        try:
            async for message in client:
                self.heard.append(message)
        except ConnectionClosed:
            pass

    def do(self, *actions: Action) -> None:
        """Let the session want something."""
        self.puppet.actions += actions
        self.runner.wake()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - the condition has no event
                await asyncio.sleep(0.002)

    async def told(self, *what: Any) -> None:
        """Wait until the session was told something that begins so."""
        await self.until(lambda: any(each[: len(what)] == what for each in self.puppet.told))


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
    """A running stage with one open connection, ``a``."""
    here = Stage()
    async with serve(here.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as server:
        here.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        task = asyncio.create_task(here.runner.run())
        try:
            here.do(Connect("a", here.url))
            await here.told("opened", "a")
            yield here, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def changed(state: FeedState) -> FeedChanged:
    """A change of health."""
    return FeedChanged("test", "", "test", "mark", state, 0.0, "why")


async def test_frames_go_in_and_events_come_out() -> None:
    """In order, each frame before the next is read."""
    async with stage() as (here, _):
        here.puppet.on_frame = lambda frame: (changed(FeedState.LIVE),)
        await here.clients[0].send("one")
        await here.clients[0].send("two")
        await here.until(lambda: len(here.events) == 2)
        assert [each for each in here.puppet.told if each[0] == "received"] == [
            ("received", b"one"),
            ("received", b"two"),
        ]


async def test_frames_and_log_ins_are_sent_in_order() -> None:
    """The shell makes the log-in frame, because it holds the credentials."""
    async with stage() as (here, _):
        here.do(Send("a", "first"), Login("a"), Send("a", "last"), Send("nobody", "lost"))
        await here.until(lambda: len(here.heard) == 3)
        assert here.heard == ["first", f"login at {int(here.clock.now() * 1000)}", "last"]


async def test_a_connection_that_is_dropped_is_not_heard_of_again() -> None:
    """Not even of its end."""
    async with stage() as (here, _):
        here.do(Disconnect("a"))
        await here.until(lambda: here.clients[0].state.name == "CLOSED")
        here.do(Connect("b", here.url))
        await here.told("opened", "b")
        assert not [each for each in here.puppet.told if each[0] == "closed"]


async def test_a_connection_that_the_venue_ends_is_told_with_the_code() -> None:
    """And counted."""
    async with stage() as (here, _):
        await here.clients[0].close(1001)
        await here.told("closed", "a", "closed by the venue with code 1001")
        assert here.telemetry.connects.get("test", "mark", "lost") == 1


async def test_a_connection_that_cannot_be_made_is_told() -> None:
    """With the reason in words, and without the address."""
    async with stage() as (here, _):
        here.do(Connect("b", "ws://127.0.0.1:1/?listenKey=hidden"), Connect("c", "nonsense"))
        await here.told("closed", "b")
        await here.told("closed", "c")
        assert "hidden" not in repr(here.puppet.told)


async def test_the_session_is_ticked_when_it_is_due_and_not_before() -> None:
    """By the clock that is passed in."""
    async with stage() as (here, _):
        here.puppet.timers.set("bell", here.clock.now() + 1000.0)
        here.runner.wake()
        await asyncio.sleep(0.03)
        assert not [each for each in here.puppet.told if each[0] == "tick"]
        here.clock.advance(1000.0)
        await here.told("tick", "bell")


async def test_a_fault_in_the_session_or_behind_it_does_not_end_the_watch() -> None:
    """It is counted each time and told once."""

    def fail(frame: bytes | str) -> Sequence[Event]:
        raise RuntimeError("a fault of ours")

    async with stage() as (here, task):
        here.puppet.on_frame = fail
        with capture_logs() as logs:
            for _ in range(3):
                await here.clients[0].send("x")
            await here.until(lambda: here.telemetry.bad_frames.get("test", "mark", "fault") == 3)
        assert len([each for each in logs if each["log_level"] == "error"]) == 1
        assert not task.done()


async def test_each_change_of_health_is_logged_once() -> None:
    """A lost feed as a warning, its recovery as information."""
    async with stage() as (here, _):
        answers = iter([changed(FeedState.STALE), changed(FeedState.LIVE)])
        here.puppet.on_frame = lambda frame: (next(answers),)
        with capture_logs() as logs:
            for _ in range(2):
                await here.clients[0].send("x")
            await here.until(lambda: len(here.events) == 2)
        assert [(each["log_level"], each["event"]) for each in logs] == [
            ("warning", "mark stream stale"),
            ("info", "mark stream live"),
        ]


async def test_a_warning_is_logged() -> None:
    """For what a person should know at the start."""
    async with stage() as (here, _):
        with capture_logs() as logs:
            here.do(Warn("mind the key"))
            await here.until(lambda: logs)
        assert (logs[0]["log_level"], logs[0]["event"]) == ("warning", "mind the key")


async def test_a_halt_ends_the_run_with_its_error() -> None:
    """As it is, not in a group."""
    async with stage() as (here, task):
        here.do(Halt(VenueError("no", retry=False)))
        with pytest.raises(VenueError, match="no"):
            await asyncio.wait_for(task, DEADLINE_S)


async def test_a_request_is_always_answered() -> None:
    """Even by a runner that cannot make any."""
    async with stage() as (here, _):
        here.do(Request("r-1", "GET", "http://127.0.0.1:1", "/"))
        await here.told("failed", "r-1")


async def test_a_snapshot_can_be_asked_for_from_outside() -> None:
    """At once."""
    async with stage() as (here, _):
        here.runner.reconcile()
        assert ("reconcile",) in here.puppet.told
        assert here.runner.health(0.0)[0].state is FeedState.LIVE


async def test_more_messages_than_may_wait_end_the_connection() -> None:
    """The peer has stopped reading; waiting longer would only grow the pile."""
    async with stage() as (here, _):
        here.do(*(Send("a", "x" * 10) for _ in range(SENDS_WAITING_MAX + 1)))
        await here.told("closed", "a", "it stopped reading")


async def test_a_peer_that_answers_no_ping_is_gone() -> None:
    """Within `ping_s` + `pong_s`."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        await writer.drain()
        await asyncio.sleep(DEADLINE_S)

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with stage() as (here, _):
        port = server.sockets[0].getsockname()[1]
        here.do(Connect("b", f"ws://127.0.0.1:{port}"))
        await here.told("opened", "b")
        await here.told("closed", "b", "no answer to a ping within 0.2 s")
    server.close()


async def test_a_handshake_that_takes_for_ever_ends_in_time() -> None:
    """A server that accepts and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(DEADLINE_S)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with stage() as (here, _):
        port = server.sockets[0].getsockname()[1]
        here.do(Connect("b", f"ws://127.0.0.1:{port}"))
        await here.told("closed", "b", "the handshake took too long")
    server.close()


def test_reasons_hold_no_address() -> None:
    """Only what kind of thing happened."""
    assert describe(OSError(111, "Connection refused")) == "Connection refused"
    assert describe(ValueError("wss://host/?listenKey=hidden")) == "ValueError"
