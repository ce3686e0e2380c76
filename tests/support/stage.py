"""A session on stage: a manual clock, a shell that does what the session wants, and short words for what happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import orjson

from connectors.session import Action, Connect, Disconnect, Login, Request, Send, Session
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry

START_S = 1_790_000_000.0
START_MS = 1_790_000_000_000


class Fixtures:
    """Whole payloads in a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> Any:
        """A fixture as JSON."""
        return orjson.loads((self._folder / f"{name}.json").read_bytes())

    def raw(self, name: str) -> bytes:
        """A fixture as it would come over the wire."""
        return orjson.dumps(self.load(name))


class Stage:
    """Carries out what a session wants, as the shell would. A venue says in `answer` what its questions are told."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        self.session = session
        self.telemetry = telemetry
        self.clock = ManualClock(START_S)
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.open: list[str] = []
        self.connecting: bool | None = True
        """Whether connections can be made; None leaves them hanging."""

    # --- for the venue

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """What a question is told; None leaves it unanswered."""
        return None

    def heed(self, connection: str, text: str) -> None:
        """What follows from a frame that the session sends."""

    def greet(self, connection: str) -> None:
        """What follows from a log-in."""

    # --- what happens

    def start(self) -> None:
        """Start the session and let everything that follows happen."""
        self.tell(self.session.start)

    def sync(self) -> Self:
        """Start it, and give it the moment that an account needs to be in sync when everything is answered."""
        self.start()
        self.pass_s(1.0)
        return self

    def tell(self, call: Callable[..., Any], *what: Any) -> list[Event]:
        """One input, and whatever follows from it at the same moment."""
        events = list(call(*what, self.clock.now()))
        self.events += events
        self._act()
        return events

    def frame(self, frame: bytes | dict[str, Any], connection: str | None = None) -> list[Event]:
        """A frame on a connection (the last that was opened)."""
        body = frame if isinstance(frame, bytes) else orjson.dumps(frame)
        return self.tell(self.session.received, connection or self.open[-1], body)

    def lose(self, reason: str = "the connection was lost") -> list[Event]:
        """The oldest open connection is lost."""
        return self.tell(self.session.closed, self.open.pop(0), reason)

    def pass_s(self, seconds: float) -> list[Event]:
        """Let time pass, stopping at every deadline."""
        end = self.clock.now() + seconds
        seen = len(self.events)
        while (due := self.session.deadline()) is not None and due <= end:
            self.clock.set(max(due, self.clock.now()))
            self.tell(self.session.tick)
        self.clock.set(end)
        return self.events[seen:]

    def _act(self) -> None:
        while self.session.actions:
            actions = self.session.actions[:]
            self.session.actions.clear()
            self.actions += actions
            for action in actions:
                self._perform(action)

    def _perform(self, action: Action) -> None:
        now = self.clock.now()
        match action:
            case Connect(connection):
                if self.connecting:
                    self.open.append(connection)
                    self.events += self.session.opened(connection, now)
                elif self.connecting is False:
                    self.events += self.session.closed(connection, "refused", now)
            case Disconnect(connection):
                if connection in self.open:
                    self.open.remove(connection)
            case Login(connection):
                self.greet(connection)
            case Send(connection, text):
                self.heed(connection, text)
            case Request():
                told = self.answer(action, action.id.rpartition("-")[0])
                if isinstance(told, VenueError):
                    self.events += self.session.failed(action.id, told, now)
                elif told is not None:
                    self.events += self.session.responded(action.id, told, int(now * 1000), now)

    # --- what was seen

    def of(self, kind: type[Event]) -> list[Any]:
        """Events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def asked(self, kind: str) -> list[Request]:
        """Requests of a kind so far."""
        requests = [action for action in self.actions if isinstance(action, Request)]
        return [request for request in requests if request.id.rpartition("-")[0] == kind]

    def did(self, kind: type[Action]) -> list[Any]:
        """Actions of a kind so far."""
        return [action for action in self.actions if isinstance(action, kind)]

    def said(self) -> list[Any]:
        """JSON of the frames sent so far."""
        return [orjson.loads(send.text) for send in self.did(Send)]

    def bad(self, stream: str, defect: str) -> int:
        """How often a defect was counted."""
        return self.telemetry.bad_frames.get(self.session.venue, stream, defect)
