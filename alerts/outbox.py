"""What survives kill -9: each message until all sinks have it, each sink's cursor and note, each alert's last word.

SQLite in WAL mode with synchronous=FULL. One thread owns the connection; everybody else leaves orders in its queue and
waits for nothing (writes) or for an answer (reads). Orders that wait are written together in one transaction.

A disk that is full, or fails in another way that may pass, keeps nobody from being warned: what can be read is read,
the rest waits in memory, and the file is tried again for ever, also when it could not even be opened. A file that is
damaged is set aside, and another is begun.
"""

import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Self

import orjson
import structlog

from alerts import statefile
from alerts.alert import STATE_FILE, Alert, Restored, Silence, Step
from alerts.message import decode, read_silence, silence_fields
from alerts.sink import Envelope
from monitor.clock import Clock
from monitor.errors import SinkError, UserError
from monitor.telemetry import Telemetry

HISTORY_ROWS = 1_000
"""Messages kept for people to look at after every sink has them."""
ROWS_MAX = 200_000
"""Messages kept at most. Past it the oldest are dropped for a sink that was away that long; what still fires is said
again when it is back, so only changes that are long over are lost to it."""
UNSAVED_MAX = 50_000
"""Messages that wait in memory for a disk that refuses them; past it the oldest are dropped, which is counted."""
READS_MAX = 64
"""Questions that wait for a disk that hangs; more are refused at once."""
PRUNE_EVERY = 500
ANEW_SHOWN_S = 86_400.0
"""How long people are told that the file was begun anew: past anybody's night."""
ANEW_AGAIN_S = 3_600.0
"""A run sets a file aside at most so often: on a disk that damages whatever is written they would fill it."""
_SILENCES = "silences"
_ANEW = "begun_anew"
_OWN_NOTES = (_SILENCES, _ANEW, "pair")
"""The names of the notes that are not a sink's."""
RETRY_S = 1.0
HANGING_S = 5.0
"""A write that takes longer is reported as trouble."""

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE message (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL, step TEXT NOT NULL,
                             serial INTEGER NOT NULL, at REAL NOT NULL, payload BLOB NOT NULL)""",
    "CREATE INDEX message_id ON message (id)",
    """CREATE TABLE alert (key TEXT PRIMARY KEY, step TEXT NOT NULL, serial INTEGER NOT NULL, at REAL NOT NULL,
                           payload BLOB NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE cursor (sink TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {statefile.SCHEMA_VERSION}",
)

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


class _Advance:
    """The order to look at how far the sinks are."""


class _Stop:
    """The order to write what waits and end."""


_Order = list[Envelope] | _Advance | _Read | _History | _Stop


class Outbox:
    """The state file. Open it with `Outbox.open`, close it with `close` or ``with``.

    `restored`, `cursors` and `sequence` are what the file said when it was opened; `new_sinks` are those it had not
    heard of, whose cursors begin at the end. `saved` is the highest sequence on the disk. A file that cannot be written
    is tried again for ever; `trouble` says so meanwhile. Where it could not even be read, `restored` is empty and the
    run begins as if it were the first: what earlier runs left undelivered then stays in the file, and what still is
    the case is said anew.
    """

    def __init__(
        self, path: Path, sinks: Sequence[str], clock: Clock, telemetry: Telemetry, max_pages: int | None
    ) -> None:
        self._path = path
        self._max_pages = max_pages
        self._clock = clock
        self._telemetry = telemetry
        self._db: sqlite3.Connection | None = None
        self._lock: IO[str] | None = None
        self._is_settled = False
        self._failing_since: float | None = None
        self._detail = ""
        self._busy_since: float | None = None
        # For a file that cannot be read: ids of its own, and numbers that no earlier run can have reached.
        self.sequence = self.saved = int(clock.now() * 1000)
        self.restored = Restored(secrets.token_hex(8), ())
        self.cursors = dict.fromkeys(sinks, self.sequence)
        self.new_sinks = frozenset(sinks)
        # Bounded: `append` refuses more than UNSAVED_MAX messages, `_ask` more than READS_MAX questions, and however
        # often sinks advance, one order waits. The thread empties it between two commits into `_unsaved`, which keeps
        # the newest UNSAVED_MAX.
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._gate = Lock()
        self._waiting = 0
        self._asked = 0
        self._is_told = False
        self._unsaved: list[Envelope] = []
        self._notes: dict[str, str] = {}
        self._notes_kept: dict[str, str] = {}
        self._reached = dict(self.cursors)
        self._kept = dict(self.cursors)
        self.dropped = 0
        """Messages that were never saved because too many waited; sinks that were there got them."""
        self._retry_at = 0.0
        self._anew_again_at = 0.0
        self._since_prune = 0
        self._thread = Thread(target=self._run, name="outbox", daemon=True)

    @classmethod
    def open(
        cls, path: Path, sinks: Sequence[str], clock: Clock, telemetry: Telemetry, *, max_pages: int | None = None
    ) -> Self:
        """Open or make the state file, and begin to write.

        Raises UserError with a sentence when only a person can make it usable; for all else see `trouble`. `sinks` are
        the names of those configured; cursors of others are forgotten, so that they hold nothing back. `max_pages`
        bounds the file's size, in pages of 4 KiB.
        """
        outbox = cls(path, sinks, clock, telemetry, max_pages)
        with ExitStack() as undo:
            undo.callback(outbox._let_go)
            try:
                outbox._begin(sinks)
            except (OSError, sqlite3.Error) as error:
                if not statefile.may_pass(path, error):
                    unusable = f"is not a usable state file ({error}); move it away or name another path"
                    plain = f"cannot be opened: {error.strerror}" if isinstance(error, OSError) else unusable
                    raise statefile.unusable(path, plain) from None
                outbox._note_failure(error)
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
        with self._gate:
            if self._waiting + len(envelopes) > UNSAVED_MAX:
                self._drop(len(envelopes))
                return
            self._waiting += len(envelopes)
        self._orders.put(list(envelopes))

    def advance(self, sink: str, sequence: int) -> None:
        """Save that `sink` has everything up to `sequence`; never before those messages are saved themselves."""
        self._reached[sink] = sequence
        if not self._is_told:
            self._is_told = True
            self._orders.put(_Advance())

    def keep_silences(self, silences: Sequence[Silence]) -> None:
        """Save the silences in force, instead of those saved before."""
        self.keep(_SILENCES, orjson.dumps([silence_fields(silence) for silence in silences]).decode())

    def keep(self, name: str, text: str) -> None:
        """Save a note of the sink called `name`, instead of the one before; never after a cursor that moves later."""
        self._notes[name] = text
        if not self._is_told:
            self._is_told = True
            self._orders.put(_Advance())

    def note(self, name: str) -> str | None:
        """The last note of the sink called `name`, from this run or an earlier one; None without any."""
        return self._notes.get(name)

    def read(self, after: int, limit: int) -> "Future[list[Envelope]]":
        """The first `limit` saved messages past `after`, in order."""
        order = _Read(after, limit, Future())
        self._ask(order)
        return order.answer

    def history(self, limit: int) -> "Future[list[bytes]]":
        """The newest messages that are not repeats, newest first."""
        order = _History(limit, Future())
        self._ask(order)
        return order.answer

    def _ask(self, order: _Read | _History) -> None:
        with self._gate:
            busy = self._asked >= READS_MAX
            if not busy:
                self._asked += 1
        if busy:
            order.answer.set_exception(SinkError(f"{self._path} does not answer"))
        else:
            self._orders.put(order)

    def _drop(self, count: int) -> None:
        """Count messages that will not be saved; the caller holds the gate."""
        self.dropped += count
        self._telemetry.deliveries.add(STATE_FILE, "dropped", amount=count)

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

    def begun_anew(self, now: float) -> str:
        """That this file was begun because another was damaged, for a day; it says where that is. Else empty."""
        try:
            note = orjson.loads(self._notes.get(_ANEW, "{}"))
            return f"the damaged one is now {note['aside']}" if now < note["at"] + ANEW_SHOWN_S else ""
        except (ValueError, KeyError, TypeError):
            return ""

    def close(self, timeout_s: float = 3.0) -> None:
        """Write what waits and close; gives up after `timeout_s`. Blocks: call it when the loop has nothing to do."""
        self._orders.put(_Stop())
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("state file is still busy", path=str(self._path))
        if self._lock is not None:
            self._lock.close()

    # Opening

    def _begin(self, sinks: Sequence[str]) -> None:
        """Take up what there is, or, where it is damaged, begin as if nothing could be read."""
        try:
            self._load(sinks)
        except sqlite3.Error as error:
            if not statefile.is_damaged(self._path, error):
                raise
            self._notes = {}
            self._begin_anew(error)
        self._commit()

    def _begin_anew(self, error: Exception) -> None:
        """Set the damaged file aside; the next commit makes another. Raises OSError."""
        self._telemetry.persist_failures += 1
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        now = self._clock.now()
        aside = statefile.set_aside(self._path, now)
        self._anew_again_at = time.monotonic() + ANEW_AGAIN_S
        self._is_settled = False
        self._notes_kept = {}
        self._notes[_ANEW] = orjson.dumps({"at": now, "aside": str(aside)}).decode()
        words = "state file is damaged; it was set aside, and another is begun"
        log.error(words, path=str(self._path), aside=str(aside), error=str(error))

    def _take_hold(self) -> sqlite3.Connection:
        """Lock and open the file, as far as that is not done. Raises OSError, sqlite3.Error and UserError."""
        if self._lock is None:
            self._lock = statefile.lock(self._path)
        if self._db is None:
            self._db = statefile.connect(self._path, self._max_pages)
        return self._db

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
        if self._lock is not None:
            self._lock.close()

    def _load(self, sinks: Sequence[str]) -> None:
        """Take up what the file says; nothing is written yet, so that a full disk does not make it forgotten."""
        db = self._take_hold()
        known: dict[str, int] = {}
        newest, salt, alerts = 0, self.restored.salt, []
        if db.execute("PRAGMA user_version").fetchone()[0]:
            known = dict(db.execute("SELECT sink, sequence FROM cursor"))
            newest = db.execute("SELECT max(sequence) FROM message").fetchone()[0] or 0
            (salt,) = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
            notes = dict(db.execute("SELECT name, value FROM meta WHERE name != 'salt'"))
            # Of a sink that was not there in the last run, what it noted before is about a world that is gone.
            self._notes = {name: text for name, text in notes.items() if name in _OWN_NOTES or name in known}
            alerts = db.execute("SELECT step, serial, at, payload FROM alert ORDER BY key").fetchall()
        # A number that any sink has seen is never given to another message, whatever became of the row.
        self.sequence = self.saved = max([newest, *known.values()])
        self.cursors = {sink: known.get(sink, self.sequence) for sink in sinks}
        self.new_sinks = frozenset(self.cursors.keys() - known.keys())
        self.restored = Restored(
            salt,
            tuple(alert for row in alerts if (alert := _alert(*row)) is not None),
            _read_silences(self._notes.get(_SILENCES, "[]")),
        )
        self._reached = dict(self.cursors)

    # The thread

    def _run(self) -> None:
        stopping = False
        while not stopping:
            orders = self._take()
            stopping = any(isinstance(order, _Stop) for order in orders)
            for order in orders:
                if isinstance(order, list):
                    self._unsaved += order
            if stopping or time.monotonic() >= self._retry_at:
                self._save()
            for order in orders:
                if isinstance(order, _Read | _History):
                    self._answer(order)
        try:
            if self._db is not None:
                self._db.close()
        except sqlite3.Error as error:
            log.warning("state file was not closed cleanly", path=str(self._path), error=str(error))

    def _take(self) -> list[_Order]:
        """Wait for orders and take all there are; with something unsaved, wait no longer than until the next try."""
        timeout = max(0.0, self._retry_at - time.monotonic()) if self._has_work() else None
        orders: list[_Order] = []
        with suppress(Empty):
            orders.append(self._orders.get(timeout=timeout))
            while True:
                orders.append(self._orders.get_nowait())
        # First this, then a look at `_reached`: what is written there later leaves an order of its own.
        self._is_told = False
        with self._gate:
            self._waiting -= sum(len(order) for order in orders if isinstance(order, list))
        return orders

    def _has_work(self) -> bool:
        return bool(self._unsaved) or not self._is_settled or bool(self._moved()) or self._notes != self._notes_kept

    def _moved(self) -> dict[str, int]:
        """Cursors to be saved; none passes the messages that are saved with it, which others may still need."""
        newest = self._unsaved[-1].sequence if self._unsaved else self.saved
        reached = {sink: min(sequence, newest) for sink, sequence in self._reached.copy().items()}
        return {sink: sequence for sink, sequence in reached.items() if sequence != self._kept.get(sink)}

    def _save(self) -> None:
        if not self._has_work():
            return
        self._busy_since = self._clock.now()
        try:
            self._commit()
        except (sqlite3.Error, OSError, UserError) as error:
            self._mend_or_note(error)
        finally:
            self._busy_since = None

    def _mend_or_note(self, error: Exception) -> None:
        """After an error: begin anew where the file is damaged, and wait otherwise."""
        is_damaged = isinstance(error, sqlite3.Error) and statefile.is_damaged(self._path, error)
        if not is_damaged or time.monotonic() < self._anew_again_at:
            self._note_failure(error)
            return
        try:
            self._begin_anew(error)
        except OSError as worse:
            self._note_failure(worse)

    def _commit(self) -> None:
        """Write everything that waits, in one transaction."""
        # Notes after the cursors: what a sink noted before it moved on is saved with that move.
        db, moved, notes = self._take_hold(), self._moved(), self._notes.copy()
        with db:
            db.execute("BEGIN IMMEDIATE")
            if not self._is_settled:
                self._settle(db)
            self._write(db, moved)
            new = [note for note in notes.items() if self._notes_kept.get(note[0]) != note[1]]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new)
        self._notes_kept = notes
        self._is_settled = True
        if self._unsaved:
            self.saved = self._unsaved[-1].sequence
        self._unsaved.clear()
        self._kept.update(moved)
        self._retry_at = 0.0
        if self._failing_since is not None:
            self._failing_since = None
            log.info("state file is written again", path=str(self._path))

    def _settle(self, db: sqlite3.Connection) -> None:
        """Make the file that of this run: its tables, its salt, and the cursors of the sinks that it has."""
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _SCHEMA:
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('salt', ?)", (self.restored.salt,))
        db.execute("DELETE FROM cursor")
        db.executemany("INSERT INTO cursor VALUES (?, ?)", self.cursors.items())
        self._kept = dict(self.cursors)

    def _note_failure(self, error: Exception) -> None:
        self._telemetry.persist_failures += 1
        self._retry_at = time.monotonic() + RETRY_S
        excess = len(self._unsaved) - UNSAVED_MAX
        if excess > 0:
            with self._gate:
                self._drop(excess)
            del self._unsaved[:excess]
        lost = f"; {self.dropped} alerts were not saved" if self.dropped else ""
        self._detail = f"{error if isinstance(error, UserError) else f'{self._path}: {error}'}{lost}"
        if self._failing_since is None:
            self._failing_since = self._clock.now()
            log.error("state file cannot be written; alerts still leave", path=str(self._path), error=str(error))

    def _write(self, db: sqlite3.Connection, moved: Mapping[str, int]) -> None:
        for envelope in self._unsaved:
            alert = envelope.alert
            if alert.step is Step.REPEATED:
                # A newer repeat says all that an older one said: a sink that is away for days does not get thousands.
                db.execute("DELETE FROM message WHERE id = ? AND step = ?", (alert.id, alert.step.value))
            row = (alert.step.value, alert.serial, alert.at, envelope.payload)
            db.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?)", (envelope.sequence, alert.id, *row))
            db.execute("INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?)", (alert.key, *row))
        db.executemany("INSERT OR REPLACE INTO cursor VALUES (?, ?)", moved.items())
        self._since_prune += len(self._unsaved)
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            _prune(db)

    def _answer(self, order: _Read | _History) -> None:
        with self._gate:
            self._asked -= 1
        if not order.answer.set_running_or_notify_cancel():
            return  # whoever asked gave up, and a future that is cancelled takes no answer
        try:
            if isinstance(order, _Read):
                order.answer.set_result(self._rows(order.after, order.limit))
            else:
                order.answer.set_result(self._newest(order.limit))
        except sqlite3.Error as error:
            if statefile.is_damaged(self._path, error):
                self._mend_or_note(error)
            order.answer.set_exception(SinkError(f"{self._path} cannot be read: {error}"))

    def _newest(self, limit: int) -> list[bytes]:
        """Newest first: what waits for the disk, then what is on it."""
        waiting = [each.payload for each in reversed(self._unsaved) if each.alert.step is not Step.REPEATED][:limit]
        if self._db is None or not self._is_settled:
            return waiting
        query = "SELECT payload FROM message WHERE step != ? ORDER BY sequence DESC LIMIT ?"
        rows = self._db.execute(query, (Step.REPEATED.value, limit - len(waiting))).fetchall()
        return waiting + [payload for (payload,) in rows]

    def _rows(self, after: int, limit: int) -> list[Envelope]:
        if self._db is None or self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            return []
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


def _read_silences(text: str) -> tuple[Silence, ...]:
    try:
        found = [read_silence(fields) for fields in orjson.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        # Without them somebody is disturbed; the other way round nobody would be warned.
        log.warning("the saved silences cannot be read and are left out", error=repr(error))
        return ()
    return tuple(silence for silence in found if silence is not None)


def _prune(db: sqlite3.Connection) -> None:
    newest = db.execute("SELECT max(sequence) FROM message").fetchone()[0] or 0
    slowest = db.execute("SELECT min(sequence) FROM cursor").fetchone()[0]
    delivered = newest if slowest is None else slowest
    db.execute("DELETE FROM message WHERE sequence <= ?", (min(delivered, newest - HISTORY_ROWS),))
    db.execute("DELETE FROM message WHERE sequence <= ?", (newest - ROWS_MAX,))
