"""The state file as a file: opened for its owner alone, locked; and what to do about each of its errors.

One may pass by itself, as a full disk does; damage has the file set aside; and the rest is for a person to mend.
"""

import errno
import fcntl
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from monitor.errors import Fault, UserError

SCHEMA_VERSION = 1
BUSY_S = 2.0

MAGIC = b"SQLite format 3\0"
"""How a SQLite file begins (its file format, 1.3)."""
_LOOKED_AT_BYTES = 4096
_BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file, and what belongs to it."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_PASSING_CODES = (*_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL)
_PASSING_ERRNOS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.ETIMEDOUT, errno.ESTALE, errno.EROFS, errno.EBADMSG,
    getattr(errno, "EUCLEAN", errno.EIO),  # Linux alone has it, for a file system that is damaged itself
)  # fmt: skip


class DamagedError(sqlite3.DatabaseError):
    """The file can be opened, but is not whole."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def connect(path: Path, max_pages: int | None) -> sqlite3.Connection:
    """Open the file, which can be read then, all of it. Raises OSError, sqlite3.Error, UserError for one too new.

    It is read through, which takes a second for hundreds of megabytes: a sink that comes upon damage later, in what it
    has yet to say, would come upon it for ever.
    """
    # It holds balances and positions: for the user that runs the monitor, nobody else.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # Opened here, so that a bad path is told before anything starts, and then used by the writing thread alone.
    try:
        return _open(path, max_pages)
    except sqlite3.Error as error:
        if code_of(error) not in _FULL:
            raise
    # A full disk has no room for the index that connections share, without which not even reading goes. We are the
    # only ones that need one (see `lock`), and an exclusive connection keeps it in memory.
    return _open(path, max_pages, exclusive=True)


def _open(path: Path, max_pages: int | None, *, exclusive: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
        if connection.execute("PRAGMA user_version").fetchone()[0] > SCHEMA_VERSION:
            raise unusable(path, "was written by a newer marginwatch; use that one or name another path")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(" ".join(found.split()))
    except (sqlite3.Error, UserError):
        connection.close()
        raise
    return connection


def code_of(error: Exception) -> int:
    """SQLite's primary result code, 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def may_pass(path: Path, error: OSError | sqlite3.Error) -> bool:
    """Whether time, or room on the disk, may mend it; otherwise a person must change something."""
    if isinstance(error, OSError):
        return error.errno in _PASSING_ERRNOS
    code = code_of(error)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and _is_read_only(path.parent):
        return True
    # The file itself was opened before: one beside it cannot be, for want of room or else of permission.
    allowed = code != sqlite3.SQLITE_CANTOPEN or os.access(path.parent, os.W_OK)
    return allowed and code in _PASSING_CODES


def _is_read_only(directory: Path) -> bool:
    """Whether nobody may write there, as the kernel decides for a disk with errors; permissions are another matter."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def is_damaged(path: Path, error: Exception) -> bool:
    """Whether the file was a state file and is none any more, so that only another one helps."""
    return code_of(error) in _DAMAGED and not is_foreign(path)


def is_foreign(path: Path) -> bool:
    """Whether it begins as a text does: then it is somebody's file under a wrong name, and not a damaged database."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT_BYTES)
    except OSError:
        return False
    if head.startswith(MAGIC) or b"\0" in head:
        return False
    try:
        head[: -3 if len(head) == _LOOKED_AT_BYTES else None].decode()
    except UnicodeDecodeError:
        return False
    return bool(head)


def set_aside(path: Path, now: float) -> Path:
    """Give the file a name with the time; returns that. Raises OSError.

    What stood beside it SQLite has taken into it when it was closed; where something is left, it goes along.
    """
    name = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    aside, number = path.with_name(name), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{name}-{number}")
    path.rename(aside)
    for ending in _BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{ending}").rename(f"{aside}{ending}")
    return aside


def lock(path: Path) -> IO[str]:
    """Hold ``<path>.lock`` for as long as the file returned is open, which the system ends with the process."""
    lock_path = path.with_name(f"{path.name}.lock")
    if not path.parent.is_dir():
        raise unusable(path, f"the directory {path.parent} does not exist")
    if path.is_dir():
        raise unusable(path, "is a directory; name a file")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _PASSING_ERRNOS:
            raise
        raise unusable(path, f"cannot be used: {lock_path}: {error.strerror}") from None
    held = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            held.close()
            raise
        holder = held.read(32).strip()
        held.close()
        owner = f"process {holder}" if holder.isdigit() else "another process"
        problem = f"is in use by another marginwatch ({owner}); stop it or name another path"
        raise unusable(path, problem, retry=True) from None
    # Who holds it is a courtesy: there may be no room for it.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return held


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a state file at the moment. Makes no file, and keeps nothing."""
    try:
        with path.with_name(f"{path.name}.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def unusable(path: Path, problem: str, *, retry: bool = False) -> UserError:
    """The error for a file that only a person can make usable, or, with `retry`, one that another process has now."""
    return UserError(str(path), [Fault("", problem)], retry=retry)
