"""What survives kill -9: each message until all sinks have it, each sink's cursor, the last word about each alert.

SQLite in WAL mode with synchronous=FULL. One thread owns the connection; everybody else leaves orders in its queue and
waits for nothing (writes) or for an answer (reads). Orders that wait are written together in one transaction.
"""

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Self

import structlog

from alerts.alert import Alert, Restored, Step
from alerts.message import decode
from alerts.sink import Envelope
from monitor.clock import Clock
from monitor.errors import Fault, SinkError, UserError
from monitor.telemetry import Telemetry

SCHEMA_VERSION = 1
HISTORY_ROWS = 1_000
"""Messages kept for people to look at after every sink has them."""
ROWS_MAX = 200_000
"""Messages kept at most. Past it the oldest are dropped for a sink that was away that long; what still fires is said
again when it is back, so only changes that are long over are lost to it."""
UNSAVED_MAX = 50_000
"""Messages that wait in memory for a disk that refuses them; past it the oldest are not saved any more."""
PRUNE_EVERY = 500
RETRY_S = 1.0
HANGING_S = 5.0
"""A write that takes longer is reported as trouble."""
BUSY_S = 2.0

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE message (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, step TEXT NOT NULL, serial INTEGER NOT NULL,
                      at REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX message_id ON message (id);
CREATE TABLE alert (key TEXT PRIMARY KEY, step TEXT NOT NULL, serial INTEGER NOT NULL, at REAL NOT NULL,
                    payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE cursor (sink TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    after: int
    limit: int
    answer: Future[list[Envelope]]


@dataclass(frozen=True, slots=True)
class _History:
    limit: int
    answer: Future[list[bytes]]


@dataclass(frozen=True, slots=True)
class _Advance:
    sink: str
    sequence: int


class _Stop:
    """The order to write what waits and end."""


_Order = list[Envelope] | _Advance | _Read | _History | _Stop


class Outbox:
    """The state file. Open it with `Outbox.open`, close it with `close` or ``with``.

    `restored`, `cursors` and `sequence` are what the file said when it was opened; `new_sinks` are those it had not
    heard of, whose cursors begin at the end. `saved` is the highest sequence on the disk. A file that cannot be written
    is tried again for ever; `trouble` says so meanwhile.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: IO[str],
        sinks: Sequence[str],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._db = connection
        self._lock = lock
        self._clock = clock
        self._telemetry = telemetry
        self.cursors: dict[str, int] = {}
        self.new_sinks: frozenset[str] = frozenset()
        self._failing_since: float | None = None
        self._detail = ""
        self._busy_since: float | None = None
        self._load(sinks)
        self.saved = self.sequence
        # The thread empties the queue between two commits into `_unsaved`, which is bounded; `append` refuses more than
        # UNSAVED_MAX while a commit hangs.
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._unsaved: list[Envelope] = []
        self._moved: dict[str, int] = {}
        self._retry_at = 0.0
        self._since_prune = 0
        self._thread = Thread(target=self._run, name="outbox", daemon=True)

    @classmethod
    def open(
        cls, path: Path, sinks: Sequence[str], clock: Clock, telemetry: Telemetry, *, max_pages: int | None = None
    ) -> Self:
        """Open or make the state file, and begin to write. Raises UserError with a sentence when it cannot be used.

        `sinks` are the names of those configured; cursors of others are forgotten, so that they hold nothing back.
        `max_pages` bounds the file's size, in pages of 4 KiB.
        """
        with ExitStack() as undo:
            lock = undo.enter_context(_lock(path))
            try:
                connection = undo.enter_context(closing(_connect(path, max_pages)))
                outbox = cls(path, connection, lock, sinks, clock, telemetry)
            except OSError as error:
                raise _unusable(path, f"cannot be opened: {error.strerror}") from None
            except sqlite3.Error as error:
                problem = f"is not a usable state file ({error}); move it away or name another path"
                raise _unusable(path, problem) from None
            undo.pop_all()
        outbox._thread.start()
        return outbox

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Orders; from any thread, never blocking

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Save messages, and with them the last word about their alerts."""
        if self._orders.qsize() < UNSAVED_MAX:
            self._orders.put(list(envelopes))

    def advance(self, sink: str, sequence: int) -> None:
        """Save that `sink` has everything up to `sequence`. Call it after `append` of that message."""
        self._orders.put(_Advance(sink, sequence))

    def read(self, after: int, limit: int) -> "Future[list[Envelope]]":
        """The first `limit` saved messages past `after`, in order."""
        answer: Future[list[Envelope]] = Future()
        self._orders.put(_Read(after, limit, answer))
        return answer

    def history(self, limit: int) -> "Future[list[bytes]]":
        """The newest messages that are not repeats, newest first."""
        answer: Future[list[bytes]] = Future()
        self._orders.put(_History(limit, answer))
        return answer

    def trouble(self, now: float) -> tuple[float, str] | None:
        """Since when and why the file is not written, None while it is. A write that hangs is trouble too."""
        if self._failing_since is not None:
            return self._failing_since, self._detail
        if not self._thread.is_alive():
            return now, f"{self._path}: writing has ended"
        busy_since = self._busy_since
        if busy_since is not None and now > busy_since + HANGING_S:
            return busy_since, f"{self._path}: a write does not end"
        return None

    def close(self, timeout_s: float = 3.0) -> None:
        """Write what waits and close; gives up after `timeout_s`. Blocks: call it when the loop has nothing to do."""
        self._orders.put(_Stop())
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("state file is still busy", path=str(self._path))
        self._lock.close()

    # Opening

    def _load(self, sinks: Sequence[str]) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise _unusable(self._path, "was written by a newer marginwatch; use that one or name another path")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (secrets.token_hex(8),))
            known = dict(self._db.execute("SELECT sink, sequence FROM cursor"))
            newest = self._db.execute("SELECT max(sequence) FROM message").fetchone()[0] or 0
            # A number that any sink has seen is never given to another message, whatever became of the row.
            self.sequence: int = max([newest, *known.values()])
            self.cursors = {sink: known.get(sink, self.sequence) for sink in sinks}
            self.new_sinks = frozenset(self.cursors.keys() - known.keys())
            self._db.execute("DELETE FROM cursor")
            self._db.executemany("INSERT INTO cursor VALUES (?, ?)", self.cursors.items())
        salt = self._db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()[0]
        rows = self._db.execute("SELECT step, serial, at, payload FROM alert ORDER BY key")
        self.restored = Restored(salt, tuple(alert for row in rows if (alert := _alert(*row)) is not None))

    # The thread

    def _run(self) -> None:
        stopping = False
        while not stopping:
            orders = self._take()
            stopping = any(isinstance(order, _Stop) for order in orders)
            for order in orders:
                if isinstance(order, list):
                    self._unsaved += order
                elif isinstance(order, _Advance):
                    self._moved[order.sink] = order.sequence
            if stopping or time.monotonic() >= self._retry_at:
                self._save()
            for order in orders:
                if isinstance(order, _Read | _History):
                    self._answer(order)
        try:
            self._db.close()
        except sqlite3.Error as error:
            log.warning("state file was not closed cleanly", path=str(self._path), error=str(error))

    def _take(self) -> list[_Order]:
        """Wait for orders and take all there are; with something unsaved, wait no longer than until the next try."""
        timeout = max(0.0, self._retry_at - time.monotonic()) if self._unsaved or self._moved else None
        orders: list[_Order] = []
        with suppress(Empty):
            orders.append(self._orders.get(timeout=timeout))
            while True:
                orders.append(self._orders.get_nowait())
        return orders

    def _save(self) -> None:
        if not self._unsaved and not self._moved:
            return
        self._busy_since = self._clock.now()
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._write()
        except sqlite3.Error as error:
            self._note_failure(error)
            return
        finally:
            self._busy_since = None
        if self._unsaved:
            self.saved = self._unsaved[-1].sequence
        self._unsaved.clear()
        self._moved.clear()
        self._retry_at = 0.0
        if self._failing_since is not None:
            self._failing_since = None
            log.info("state file is written again", path=str(self._path))

    def _note_failure(self, error: sqlite3.Error) -> None:
        self._telemetry.persist_failures += 1
        self._retry_at = time.monotonic() + RETRY_S
        del self._unsaved[:-UNSAVED_MAX]
        self._detail = f"{self._path}: {error}"
        if self._failing_since is None:
            self._failing_since = self._clock.now()
            log.error("state file cannot be written; alerts still leave", path=str(self._path), error=str(error))

    def _write(self) -> None:
        for envelope in self._unsaved:
            alert = envelope.alert
            if alert.step is Step.REPEATED:
                # A newer repeat says all that an older one said: a sink that is away for days does not get thousands.
                self._db.execute("DELETE FROM message WHERE id = ? AND step = ?", (alert.id, alert.step.value))
            row = (alert.step.value, alert.serial, alert.at, envelope.payload)
            self._db.execute(
                "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?)", (envelope.sequence, alert.id, *row)
            )
            self._db.execute("INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?)", (alert.key, *row))
        self._db.executemany("INSERT OR REPLACE INTO cursor VALUES (?, ?)", self._moved.items())
        self._since_prune += len(self._unsaved)
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            self._prune()

    def _prune(self) -> None:
        newest = self._db.execute("SELECT max(sequence) FROM message").fetchone()[0] or 0
        slowest = self._db.execute("SELECT min(sequence) FROM cursor").fetchone()[0]
        delivered = newest if slowest is None else slowest
        self._db.execute("DELETE FROM message WHERE sequence <= ?", (min(delivered, newest - HISTORY_ROWS),))
        self._db.execute("DELETE FROM message WHERE sequence <= ?", (newest - ROWS_MAX,))

    def _answer(self, order: _Read | _History) -> None:
        try:
            if isinstance(order, _Read):
                order.answer.set_result(self._rows(order.after, order.limit))
            else:
                query = "SELECT payload FROM message WHERE step != ? ORDER BY sequence DESC LIMIT ?"
                rows = self._db.execute(query, (Step.REPEATED.value, order.limit)).fetchall()
                order.answer.set_result([payload for (payload,) in rows])
        except sqlite3.Error as error:
            order.answer.set_exception(SinkError(f"{self._path} cannot be read: {error}"))

    def _rows(self, after: int, limit: int) -> list[Envelope]:
        query = "SELECT sequence, step, serial, at, payload FROM message WHERE sequence > ? ORDER BY sequence"
        found: list[Envelope] = []
        for sequence, step, serial, at, payload in self._db.execute(query, (after,)):
            alert = _alert(step, serial, at, payload)
            if alert is not None:
                found.append(Envelope(sequence, alert, payload))
            if len(found) == limit:
                break
        return found


def _alert(step: str, serial: int, at: float, payload: bytes) -> Alert | None:
    try:
        return decode(payload, step=Step(step), serial=serial, at=at)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("a saved message cannot be read and is left out", error=repr(error))
        return None


def _connect(path: Path, max_pages: int | None) -> sqlite3.Connection:
    # It holds balances and positions: for the user that runs the monitor, nobody else.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # Opened here, so that a bad path is told before anything starts, and then used by the writing thread alone.
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _lock(path: Path) -> IO[str]:
    """Hold ``<path>.lock`` for as long as the file returned is open, which the system ends with the process."""
    lock_path = path.with_name(f"{path.name}.lock")
    if not path.parent.is_dir():
        raise _unusable(path, f"the directory {path.parent} does not exist")
    if path.is_dir():
        raise _unusable(path, "is a directory; name a file")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(path, f"cannot be used: {lock_path}: {error.strerror}") from None
    lock = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = lock.read(32).strip()
        lock.close()
        owner = f"process {holder}" if holder.isdigit() else "another process"
        raise _unusable(path, f"is in use by another marginwatch ({owner}); stop it or name another path") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _unusable(path: Path, problem: str) -> UserError:
    return UserError(str(path), [Fault("", problem)])
