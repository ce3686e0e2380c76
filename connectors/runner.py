"""The shell around a session: sockets, requests, time. Generic for all venues.

It carries out what the session wants and tells it what happened, and it survives everything but a `Halt`: every
connection and request is a task of its own that ends in `closed`, `responded` or `failed`, whatever went wrong.

Of the `websockets` library only one connection at a time is used. Its reconnecting iterator gives up on some HTTP
statuses, its `recv` may wait for ever on a socket that is half closed, and its `send` may on a peer that stopped
reading; so reconnecting is the session's, and a missing pong ends a connection here.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import MappingProxyType
from typing import Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from connectors import FeedSettings, Handle
from connectors.plan import Plan
from connectors.recorder import Recorder
from connectors.rest import Rest
from connectors.session import AccountSession, Action, Connect, Disconnect, Halt, Login, Request, Send, Session, Warn
from monitor.clock import Clock
from monitor.errors import MarginwatchError, VenueError
from monitor.model.assessment import FeedHealth, FeedState
from monitor.model.events import Event, FeedChanged
from monitor.telemetry import Telemetry

FRAMES_WAITING_MAX = 64
"""Messages received and not yet handled. When full, `websockets` stops reading the socket and the network holds the
rest: marks grow late, which is measured, and no account event is dropped."""

SENDS_WAITING_MAX = 64
"""Messages to be sent. When full the peer has stopped reading, and the connection is given up."""

FRAME_BYTES_MAX = 8 * 2**20
CLOSE_S = 1.0

# At level DEBUG the library prints every address and frame, listen keys included; it is never to.
_quiet = logging.getLogger("connectors.websockets")
_quiet.setLevel(logging.CRITICAL)

log = structlog.get_logger()

After = Callable[[Sequence[Event], float], Sequence[Event]]
"""Called after a session's events were handled; for what belongs between sessions. Returns further events."""


class Signer(Protocol):
    """Makes the frames that need credentials, for venues whose private sockets are logged in to."""

    def login(self, now_ms: int) -> str:
        """The log-in frame for this moment."""
        ...


class SessionRunner:
    """Runs one session. See `connectors.Runner`."""

    def __init__(
        self,
        session: Session,
        handle: Handle,
        clock: Clock,
        telemetry: Telemetry,
        settings: FeedSettings,
        *,
        rest: Rest | None = None,
        signer: Signer | None = None,
        after: After | None = None,
    ) -> None:
        self._session = session
        self._handle = handle
        self._clock = clock
        self._telemetry = telemetry
        self._settings = settings
        self._rest = rest
        self._signer = signer
        self._after = after
        self._group: asyncio.TaskGroup | None = None
        self._connections: dict[str, asyncio.Task[None]] = {}
        self._outgoing: dict[str, asyncio.Queue[str]] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._halted: MarginwatchError | None = None
        self._reported: set[str] = set()

    @property
    def name(self) -> str:
        """The session's name."""
        return self._session.name

    def health(self, now: float) -> list[FeedHealth]:
        """How each of its streams is doing."""
        return self._session.health(now)

    def reconcile(self) -> None:
        """Ask for a fresh snapshot soon."""
        self._feed(self._session.reconcile)
        self.wake()

    def wake(self) -> None:
        """Look at the session's wishes and its deadline now; for whoever called the session from outside."""
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled; raises what the session halted with."""
        async with AsyncExitStack() as stack:
            if self._rest is not None:
                await stack.enter_async_context(self._rest)
            async with asyncio.TaskGroup() as self._group:
                try:
                    await self._drive()
                finally:
                    for task in [*self._connections.values(), *self._requests]:
                        task.cancel()
        if self._halted is not None:
            raise self._halted

    async def _drive(self) -> None:
        """The session's own time: its deadlines, and the wishes that others raise in it."""
        self._feed(self._session.start)
        while self._halted is None:
            self._act()
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the result.
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            self._wake.clear()
            due = self._session.deadline()
            if due is not None and due <= self._clock.now():
                self._feed(self._session.tick)

    def _pause(self) -> float:
        """Seconds to sleep; never none at all, so that a session that is always due cannot starve the readers."""
        due = self._session.deadline()
        wait_s = self._settings.poll_s if due is None else due - self._clock.now()
        return min(max(wait_s, 0.001), self._settings.poll_s)

    # --- into the session and out of it

    def _feed(self, call: Callable[..., Sequence[Event]], *what: object) -> None:
        """Tell the session something that happened now, and do what follows."""
        self._feed_at(time.perf_counter(), call, *what)
        self.wake()  # it may have become due earlier than the loop sleeps; frames can wait for that, see `poll_s`

    def _feed_at(self, received: float, call: Callable[..., Sequence[Event]], *what: object) -> None:
        now = self._clock.now()
        try:
            events = call(*what, now)
            for event in events:
                self._deliver(event, received)
            if self._after is not None and events:
                for event in self._after(events, now):
                    self._deliver(event, received)
        except Exception as error:  # noqa: BLE001 - whatever one frame does, the watch goes on
            self._report(error)
        if self._session.actions:
            self._act()

    def _deliver(self, event: Event, received: float) -> None:
        if isinstance(event, FeedChanged):
            seen = event.state in (FeedState.LIVE, FeedState.LATE)
            write = log.info if seen else log.warning
            # Nothing is late that has just begun.
            begins = event.state is FeedState.LATE and event.data_at is None
            state = "begins" if begins else event.state.value
            write(f"{event.stream} stream {state}", feed=event.feed, account=event.account, detail=event.detail)
        self._handle(event, received)

    def _report(self, error: Exception) -> None:
        """A fault of ours: counted always, told once for each kind, because it may come with every frame."""
        kind = type(error).__name__
        self._telemetry.bad_frames.add(self._session.venue, self._session.stream, "fault")
        if kind not in self._reported:
            self._reported.add(kind)
            # As text, because some renderers of tracebacks print local variables, and those hold addresses.
            trace = "".join(traceback.format_exception(error))
            log.error("fault while handling what a venue sent", session=self.name, trace=trace)

    def _act(self) -> None:
        actions = self._session.actions[:]
        self._session.actions.clear()
        for action in actions:
            self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Send(connection, text):
                self._send(connection, text)
            case Login(connection):
                if self._signer is not None:
                    self._send(connection, self._signer.login(int(self._clock.now() * 1000)))
            case Connect(connection, url):
                self._connections[connection] = self._spawn(self._connection(connection, url), connection)
            case Disconnect(connection):
                self._drop(connection)
            case Request():
                task = self._spawn(self._request(action), action.id)
                self._requests.add(task)
                task.add_done_callback(self._requests.discard)
            case Warn(text):
                log.warning(text)
            case Halt(error):
                self._halted = error
                self.wake()

    def _spawn(self, coroutine: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("actions before run")
        return self._group.create_task(coroutine, name=f"{self.name} {name}")

    def _drop(self, connection: str) -> None:
        self._outgoing.pop(connection, None)
        task = self._connections.pop(connection, None)
        if task is not None:
            task.cancel()

    def _send(self, connection: str, text: str) -> None:
        queue = self._outgoing.get(connection)
        if queue is None:
            return
        try:
            queue.put_nowait(text)
        except asyncio.QueueFull:
            self._drop(connection)
            self._feed(self._session.closed, connection, "it stopped reading")

    # --- requests

    async def _request(self, request: Request) -> None:
        if self._rest is None:
            self._feed(self._session.failed, request.id, VenueError(f"{self.name} makes no requests", retry=False))
            return
        try:
            response = await self._rest.perform(request)
        except VenueError as error:
            self._feed(self._session.failed, request.id, error)
        except Exception as error:  # noqa: BLE001 - an answer is promised, whatever happens
            self._report(error)
            self._feed(self._session.failed, request.id, VenueError(type(error).__name__, retry=True))
        else:
            self._feed(self._session.responded, request.id, response.body, response.sent_ms)

    # --- connections

    async def _connection(self, connection: str, url: str) -> None:
        """Hold one connection until it ends, then say so; said by nobody when it was dropped on purpose."""
        try:
            reason = await self._hold(connection, url)
        except Exception as error:  # noqa: BLE001 - a successor must be made, whatever ended this one
            self._report(error)
            reason = type(error).__name__
        self._outgoing.pop(connection, None)
        self._connections.pop(connection, None)
        self._telemetry.connects.add(self._session.venue, self._session.stream, "lost")
        self._feed(self._session.closed, connection, reason)

    async def _hold(self, connection: str, url: str) -> str:
        try:
            async with asyncio.timeout(self._settings.connect_s):
                socket = await self._open(url)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            self._telemetry.connects.add(self._session.venue, self._session.stream, "refused")
            return describe(error)
        outgoing: asyncio.Queue[str] = asyncio.Queue(SENDS_WAITING_MAX)
        parts = [
            asyncio.create_task(self._read(connection, socket)),
            asyncio.create_task(self._write(socket, outgoing)),
            asyncio.create_task(self._ping(socket)),
        ]
        try:
            self._outgoing[connection] = outgoing
            self._telemetry.connects.add(self._session.venue, self._session.stream, "opened")
            self._feed(self._session.opened, connection)
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            await self._close(socket, parts)

    async def _open(self, url: str) -> ClientConnection:
        return await connect(
            url,
            open_timeout=None,  # the caller's deadline holds
            ping_interval=None,  # pings are ours, see `_ping`
            close_timeout=CLOSE_S,
            max_queue=FRAMES_WAITING_MAX,
            max_size=FRAME_BYTES_MAX,
            compression=None,  # deflating small frames costs more than it saves
            proxy=None,
            logger=_quiet,
            user_agent_header="marginwatch",
        )

    async def _close(self, socket: ClientConnection, parts: Sequence[asyncio.Task[str]]) -> None:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        try:
            async with asyncio.timeout(2 * CLOSE_S):
                await socket.close()
        except (OSError, TimeoutError, ConnectionClosed):
            pass
        finally:
            socket.transport.abort()

    async def _read(self, connection: str, socket: ClientConnection) -> str:
        """The hot path: from the socket through the session to the handler without another task in between."""
        receive, session = socket.recv, self._session
        try:
            while connection in self._connections:
                frame = await receive(decode=False)
                self._feed_at(time.perf_counter(), session.received, connection, frame)
        except (ConnectionClosed, OSError) as error:
            return describe(error)
        return "dropped"

    async def _write(self, socket: ClientConnection, outgoing: asyncio.Queue[str]) -> str:
        try:
            while True:
                text = await outgoing.get()
                async with asyncio.timeout(self._settings.send_s):
                    await socket.send(text)
        except TimeoutError:
            return f"a message did not leave within {self._settings.send_s:g} s"
        except (ConnectionClosed, OSError) as error:
            return describe(error)

    async def _ping(self, socket: ClientConnection) -> str:
        """A peer that is gone without a word (a half-open connection) is found by the pong that does not come."""
        try:
            while True:
                await asyncio.sleep(self._settings.ping_s)
                async with asyncio.timeout(self._settings.pong_s):
                    await (await socket.ping())
        except TimeoutError:
            return f"no answer to a ping within {self._settings.pong_s:g} s"
        except (ConnectionClosed, OSError) as error:
            return describe(error)


def describe(error: BaseException) -> str:
    """Why a connection ended, in words that hold no address: addresses hold listen keys."""
    match error:
        case InvalidStatus():
            return f"the handshake was refused with HTTP {error.response.status_code}"
        case ConnectionClosed():
            if error.rcvd is None:
                return "the connection was lost"
            return f"closed by the venue with code {error.rcvd.code}"
        case TimeoutError():
            return "the handshake took too long"
        case OSError():
            return error.strerror or type(error).__name__
    return type(error).__name__


def assemble(
    plan: Plan,
    rests: Mapping[str, Rest],
    handle: Handle,
    clock: Clock,
    telemetry: Telemetry,
    settings: FeedSettings,
    recorder: Recorder | None = None,
    signers: Mapping[str, Signer] = MappingProxyType({}),
) -> list[SessionRunner]:
    """A runner for every session of a plan, market feeds first.

    `rests` and `signers` (where private sockets are logged in to) by the names of the account sessions.
    """
    if recorder is not None:
        plan = recorder.record(plan, clock.now())
    markets = {
        feed: SessionRunner(session, handle, clock, telemetry, settings) for feed, session in plan.markets.items()
    }

    def follow(account: AccountSession) -> After:
        def after(events: Sequence[Event], now: float) -> Sequence[Event]:
            further = plan.follow(events, account, now)
            markets[account.feed].wake()
            return further

        return after

    accounts = [
        SessionRunner(
            account,
            handle,
            clock,
            telemetry,
            settings,
            rest=rests.get(account.name),
            signer=signers.get(account.name),
            after=follow(account),
        )
        for account in plan.accounts
    ]
    return [*markets.values(), *accounts]
