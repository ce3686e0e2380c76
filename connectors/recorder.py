"""What sessions were told, written down with the time of receipt; and sessions told it again.

A recording is JSON lines (through gzip when the name ends in ``.gz``). First come lines with ``"k": "plan"``, one for
each venue, that describe the sessions without secrets; then one line for every input of a session: ``t`` (steady
seconds since the epoch), ``s`` (session), ``k`` (the input's name) and its arguments. Ticks are inputs too, and the
sessions' chance comes from a seed in the plan, so a replay takes the very same path: same events, same order.

Secrets that a venue handed out are replaced by ``concealed-1``, ``concealed-2``, ...; credentials never come near a
session in the first place. Recording is a wrapper around a session, so what is not recorded pays nothing for it.

To replay::

    with Replay(path) as recording:
        for at, events in recording:      # `at` as recorded; `events` may be empty: time passes all the same
            for event in events:
                pipeline.handle(event, time.perf_counter())
            show(recording.progress)      # 0.0 to 1.0

Nothing waits: whoever wants the recorded pace sleeps between the items.
"""

import base64
import gzip
import io
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from connectors import VenueModule, venues
from connectors.plan import Plan
from connectors.session import AccountSession, Action, MarketSession, Session
from monitor.errors import DocumentError, Fault, VenueError
from monitor.model.assessment import FeedHealth
from monitor.model.events import Event
from monitor.telemetry import Telemetry

VERSION = 1
FLUSH_S = 1.0
"""A recording that is killed lacks at most this much."""


class Recorder:
    """Writes one recording. Raises OSError when the file cannot be made; an existing file is not overwritten.

    A disk that is full ends the recording and not the watch: `failure` then says why, and nothing more is written.
    """

    def __init__(self, path: Path) -> None:
        # Balances and positions are nobody else's business.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        raw = os.fdopen(descriptor, "wb")
        self._file: io.BufferedIOBase = gzip.GzipFile(fileobj=raw, mode="wb") if path.suffix == ".gz" else raw
        self._raw = raw
        self._concealed: dict[str, str] = {}
        self._flushed_at = 0.0
        self._closed = False
        self.failure: OSError | None = None

    def record(self, plan: Plan, now: float) -> Plan:
        """The same plan with every input of its sessions recorded."""
        self.describe(plan.header, now)
        return Plan(
            {feed: RecordedMarket(session, self) for feed, session in plan.markets.items()},
            [RecordedAccount(session, self) for session in plan.accounts],
            plan.header,
        )

    def describe(self, header: Mapping[str, object], now: float) -> None:
        """The line that describes the sessions of a venue, before all of theirs."""
        self.write({"t": now, "k": "plan", "v": VERSION, **header})

    def conceal(self, secrets: Collection[str]) -> None:
        """From now on these strings are replaced wherever they occur."""
        for secret in secrets:
            if secret and secret not in self._concealed:
                self._concealed[secret] = f"concealed-{len(self._concealed) + 1}"

    def write(self, line: Mapping[str, object]) -> None:
        """One line; none after `close` or a failure."""
        if self._closed or self.failure is not None:
            return
        text = orjson.dumps(line)
        for secret, alias in self._concealed.items():
            text = text.replace(orjson.dumps(secret)[1:-1], alias.encode())
        try:
            self._file.write(text + b"\n")
            at = line["t"]
            if isinstance(at, float) and at - self._flushed_at > FLUSH_S:
                self._flushed_at = at
                self._file.flush()
                self._raw.flush()
        except OSError as error:
            self.failure = error

    def close(self) -> None:
        """Write what is left."""
        self._closed = True
        try:
            self._file.close()
            self._raw.close()
        except OSError as error:
            self.failure = self.failure or error


def _text(data: bytes | str) -> dict[str, str]:
    """Text as it is; bytes that are not text as base64."""
    if isinstance(data, str):
        return {"d": data}
    try:
        return {"d": data.decode()}
    except UnicodeDecodeError:
        return {"b": base64.b64encode(data).decode()}


def _bytes(line: Mapping[str, Any]) -> bytes:
    return base64.b64decode(line["b"]) if "b" in line else str(line["d"]).encode()


class _Recorded:
    """A session whose inputs are written down after they were taken, when the session knows what is secret."""

    def __init__(self, session: Session, recorder: Recorder) -> None:
        self._session = session
        self._recorder = recorder
        self.name = session.name
        self.venue = session.venue
        self.stream = session.stream
        self.actions: list[Action] = session.actions

    def _write(self, kind: str, now: float, /, **arguments: object) -> None:
        self._recorder.write({"t": now, "s": self.name, "k": kind, **arguments})

    def start(self, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("start", now)
        return self._session.start(now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("opened", now, c=connection)
        return self._session.opened(connection, now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("closed", now, c=connection, d=reason)
        return self._session.closed(connection, reason, now)

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("received", now, c=connection, **_text(frame))
        return self._session.received(connection, frame, now)

    def responded(self, request: str, body: bytes, sent_ms: int, now: float) -> Sequence[Event]:
        """Recorded, after the session has learnt what of it is secret."""
        try:
            return self._session.responded(request, body, sent_ms, now)
        finally:
            self._recorder.conceal(self._session.secrets())
            self._write("responded", now, r=request, m=sent_ms, **_text(body))

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write(
            "failed", now, r=request, d=str(error), retry=error.retry, after=error.retry_after_s, code=error.code
        )
        return self._session.failed(request, error, now)

    def tick(self, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("tick", now)
        return self._session.tick(now)

    def reconcile(self, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("reconcile", now)
        return self._session.reconcile(now)

    def deadline(self) -> float | None:
        """As the session says."""
        return self._session.deadline()

    def health(self, now: float) -> list[FeedHealth]:
        """As the session says."""
        return self._session.health(now)

    def secrets(self) -> Collection[str]:
        """As the session says."""
        return self._session.secrets()


class RecordedMarket(_Recorded):
    """A recorded market session. What is watched follows from the accounts' events and is not recorded."""

    def __init__(self, session: MarketSession, recorder: Recorder) -> None:
        super().__init__(session, recorder)
        self._market = session

    def watch(self, instruments: frozenset[str], now: float) -> Sequence[Event]:
        """As the session does."""
        return self._market.watch(instruments, now)


class RecordedAccount(_Recorded):
    """A recorded account session."""

    def __init__(self, session: AccountSession, recorder: Recorder) -> None:
        super().__init__(session, recorder)
        self._account = session
        self.feed = session.feed

    def needs(self) -> frozenset[str]:
        """As the session says."""
        return self._account.needs()


class Replay:
    """A recording, told to the same sessions again. Iterate once; use as a context manager.

    Raises DocumentError for a file that cannot be read or is not a recording. A recording that ends in the middle of a
    line was cut off, for example when its writer was killed; what is whole of it is used, and `cut_off` says so.
    """

    def __init__(
        self,
        path: Path,
        *,
        telemetry: Telemetry | None = None,
        modules: Mapping[str, VenueModule] | None = None,
    ) -> None:
        self._path = path
        self._telemetry = telemetry or Telemetry()
        self._modules = modules if modules is not None else venues()
        self._plans: list[Plan] = []
        self._sessions: dict[str, tuple[Session, Plan]] = {}
        self.cut_off = False
        """Whether the file was found to end too early, once that is reached."""
        try:
            self._raw = path.open("rb")
            self._size = max(os.fstat(self._raw.fileno()).st_size, 1)
        except OSError as error:
            raise self._wrong(0, error.strerror or "cannot be read") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def progress(self) -> float:
        """Share of the file that has been read."""
        return 1.0 if self._raw.closed else min(self._raw.tell() / self._size, 1.0)

    @property
    def accounts(self) -> list[AccountSession]:
        """The account sessions met so far."""
        return [account for plan in self._plans for account in plan.accounts]

    def __iter__(self) -> Iterator[tuple[float, tuple[Event, ...]]]:
        for number, text in enumerate(self._lines(), start=1):
            try:
                line = orjson.loads(text)
                at = float(line["t"])
                events = self._revive(line) if line["k"] == "plan" else self._tell(line, at)
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                if not text.endswith(b"\n"):
                    self.cut_off = True
                    return
                raise self._wrong(number, f"not a line of a recording ({error})") from None
            yield at, events

    def _lines(self) -> Iterator[bytes]:
        packed = self._path.suffix == ".gz"
        try:
            yield from gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        except EOFError:
            self.cut_off = True
            return
        except (OSError, zlib.error):
            raise self._wrong(0, "not a gzip file, or a damaged one") from None

    def _wrong(self, number: int, problem: str) -> DocumentError:
        return DocumentError(str(self._path), [Fault(f"line {number}" if number else "", problem)])

    def _revive(self, line: Mapping[str, Any]) -> tuple[Event, ...]:
        if line["v"] != VERSION:
            raise ValueError(f"version {line['v']} is not known here")
        module = self._modules.get(line["venue"])
        if module is None:
            raise ValueError(f"venue {line['venue']} is not known here")
        plan = module.revive(line, self._telemetry)
        self._plans.append(plan)
        self._sessions |= {session.name: (session, plan) for session in plan.sessions()}
        return ()

    def _tell(self, line: Mapping[str, Any], at: float) -> tuple[Event, ...]:
        session, plan = self._sessions[line["s"]]
        events = _tell(session, line, at)
        session.actions.clear()
        for account in plan.accounts:
            if account is session:
                events = (*events, *plan.follow(events, account, at))
        for market in plan.markets.values():
            market.actions.clear()
        return tuple(events)


def _tell(session: Session, line: Mapping[str, Any], at: float) -> Sequence[Event]:
    match line["k"]:
        case "received":
            return session.received(line["c"], _bytes(line), at)
        case "tick":
            return session.tick(at)
        case "responded":
            return session.responded(line["r"], _bytes(line), line["m"], at)
        case "failed":
            error = VenueError(line["d"], retry=line["retry"], retry_after_s=line["after"], code=line["code"])
            return session.failed(line["r"], error, at)
        case "opened":
            return session.opened(line["c"], at)
        case "closed":
            return session.closed(line["c"], line["d"], at)
        case "start":
            return session.start(at)
        case "reconcile":
            return session.reconcile(at)
    raise ValueError(f"{line['k']!r:.40} is not an input")
