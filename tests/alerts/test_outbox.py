"""The state file: what survives, in which order, and what happens when it cannot be used."""

import asyncio
import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from alerts import outbox as module
from alerts import statefile
from alerts.alert import Alert, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.message import encode
from alerts.outbox import Outbox
from alerts.sink import Envelope
from monitor.clock import ManualClock
from monitor.errors import SinkError, UserError
from monitor.telemetry import Telemetry
from tests.support.pools import a_pool
from tests.support.server_process import until


def alerts(count: int) -> list[Alert]:
    """That many alerts about as many pools."""
    engine = Engine(AlertsConfig(), "box")
    return [alert for n in range(count) for alert in engine.on_pool(a_pool(0.75, scope=f"P{n}"), 1_790_000_000.0 + n)]


def envelopes(said: Iterable[Alert], after: int = 0) -> list[Envelope]:
    """Numbered from `after` + 1."""
    return [Envelope(number, alert, encode(alert)) for number, alert in enumerate(said, after + 1)]


def opened(path: Path, *sinks: str, telemetry: Telemetry | None = None, max_pages: int | None = None) -> Outbox:
    """The state file with a manual clock."""
    return Outbox.open(path, sinks, ManualClock(), telemetry or Telemetry(), max_pages=max_pages)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file that does not exist yet."""
    return tmp_path / "state.sqlite"


def test_messages_come_back_in_order_and_past_the_cursor(path: Path) -> None:
    """What was saved is read as it was, by the same run and by the next."""
    sent = envelopes(alerts(5))
    with opened(path, "redis") as outbox:
        outbox.append(sent[:3])
        outbox.append(sent[3:])
        assert outbox.read(1, 3).result(5) == sent[1:4]
    with opened(path, "redis") as outbox:
        assert outbox.sequence == 5
        assert outbox.read(0, 100).result(5) == sent
        assert outbox.read(5, 100).result(5) == []


def test_the_last_word_about_every_alert_is_restored(path: Path) -> None:
    """One alert a key, with what the lifecycle needs to go on; the salt stays the same."""
    engine = Engine(AlertsConfig(), "box")
    said = engine.on_pool(a_pool(0.75), 0.0) + engine.on_pool(a_pool(0.96), 1.0)
    with opened(path) as outbox:
        outbox.append(envelopes(said))
        salt = outbox.restored.salt
    with opened(path) as outbox:
        assert outbox.restored.alerts == (said[-1],)
        assert outbox.restored.salt == salt


def test_cursors_survive_and_only_for_sinks_that_are_configured(path: Path) -> None:
    """A sink that is new begins at the end; one that was removed holds nothing back."""
    with opened(path, "redis", "mqtt") as outbox:
        assert outbox.new_sinks == {"redis", "mqtt"}
        outbox.append(envelopes(alerts(3)))
        outbox.advance("redis", 2)
    with opened(path, "redis", "console") as outbox:
        assert outbox.cursors == {"redis": 2, "console": 3}
        assert outbox.new_sinks == {"console"}


def test_notes_survive_and_only_of_sinks_that_were_there(path: Path) -> None:
    """The last note of each; what a sink noted is forgotten when it was away for a run, as its cursor is.

    What a pair of monitors noted is not.
    """
    with opened(path, "push", "redis") as outbox:
        assert outbox.note("push") is None
        outbox.keep("push", "one")
        outbox.keep("push", "two")
        outbox.keep("redis", "three")
        outbox.keep("pair", "four")
        assert outbox.note("push") == "two"
    with opened(path, "push") as outbox:
        assert (outbox.note("push"), outbox.note("redis")) == ("two", "three")
    with opened(path, "push", "redis") as outbox:
        assert (outbox.note("push"), outbox.note("redis")) == ("two", None)
        assert outbox.note("pair") == "four"


def test_a_newer_repeat_takes_the_place_of_an_older_one(path: Path) -> None:
    """A sink that is away for days is not owed every repeat, but the alert itself it is."""
    (raised,) = alerts(1)
    repeat = replace(raised, step=Step.REPEATED)
    with opened(path, "redis") as outbox:
        outbox.append(envelopes([raised, repeat, repeat, repeat]))
        kept = outbox.read(0, 10).result(5)
        assert [(envelope.sequence, envelope.alert.step) for envelope in kept] == [(1, Step.RAISED), (4, Step.REPEATED)]
        assert len(outbox.history(10).result(5)) == 1


def test_what_all_sinks_have_is_pruned_but_for_the_history(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slowest sink decides; the newest messages stay for people to look at."""
    monkeypatch.setattr(module, "HISTORY_ROWS", 3)
    monkeypatch.setattr(module, "PRUNE_EVERY", 1)
    sent = envelopes(alerts(10))
    with opened(path, "redis", "mqtt") as outbox:
        outbox.append(sent)
        outbox.advance("redis", 10)
        outbox.advance("mqtt", 6)
        outbox.append(envelopes(alerts(1), after=10))
        assert [envelope.sequence for envelope in outbox.read(0, 100).result(5)] == [7, 8, 9, 10, 11]
        outbox.advance("mqtt", 11)
        outbox.append(envelopes(alerts(1), after=11))
        assert [envelope.sequence for envelope in outbox.read(0, 100).result(5)] == [10, 11, 12]


def test_numbers_are_not_used_again_when_their_rows_are_gone(path: Path) -> None:
    """A cursor beyond the last row keeps its number for ever."""
    with opened(path, "redis") as outbox:
        outbox.append(envelopes(alerts(3)))
        outbox.advance("redis", 3)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM message")
    with opened(path, "redis") as outbox:
        assert outbox.sequence == 3


def test_whether_somebody_has_a_state_file(path: Path) -> None:
    """For as long as it is open; asking makes no file."""
    assert not statefile.is_held(path)
    assert list(path.parent.iterdir()) == []
    with closing(opened(path, "redis")):
        assert statefile.is_held(path)
    assert not statefile.is_held(path)


def test_a_second_monitor_is_refused_and_told_who_holds_the_file(path: Path) -> None:
    """Two monitors on one state file would take each other's numbers."""
    with (
        opened(path),
        pytest.raises(UserError, match=f"in use by another marginwatch .process {os.getpid()}") as raised,
    ):
        opened(path)
    assert raised.value.retry  # the other one may end
    opened(path).close()


@pytest.mark.parametrize("fault", ["no directory", "directory", "not a database", "newer", "lock is a directory"])
def test_an_unusable_path_is_told_in_a_sentence(path: Path, fault: str) -> None:
    """One sentence that names the file; afterwards nothing is left locked, and nobody's file has moved."""
    foreign = "this is not a database, and long enough to be seen as such" * 20
    sentence = {
        "no directory": "does not exist",
        "directory": "is a directory",
        "not a database": "is not a usable state file",
        "newer": "written by a newer marginwatch",
        "lock is a directory": "cannot be used",
    }[fault]
    if fault == "no directory":
        path = path.parent / "absent" / "state.sqlite"
    elif fault == "directory":
        path.mkdir()
    elif fault == "not a database":
        path.write_text(foreign)
    elif fault == "newer":
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        path.with_name("state.sqlite.lock").mkdir()
    for _ in range(2):
        with pytest.raises(UserError, match=sentence) as caught:
            opened(path)
        assert not caught.value.retry
        assert str(path) in str(caught.value)
    assert fault != "not a database" or path.read_text() == foreign


def damage(path: Path, how: str) -> bytes:
    """Damage a state file as a failing disk does; what it is then."""
    whole = path.read_bytes()
    begin, page = whole[:4096], 4096
    broken = {
        "pages": begin + b"\xaa" * (len(whole) - page),
        "one page": whole[: 4 * page] + b"\xaa" * page + whole[5 * page :],
        "lost blocks": bytes(page) + whole[page:],
        "first page": b"\xaa" * page + whole[page:],
        "cut off": whole[: 3 * page],
    }[how]
    path.write_bytes(broken)
    return broken


@pytest.mark.parametrize("how", ["pages", "one page", "lost blocks", "first page", "cut off"])
def test_a_damaged_file_is_set_aside_and_begun_anew(path: Path, how: str) -> None:
    """Watching matters most. Nothing is deleted, no number is given twice, and a day long people are told."""
    clock = ManualClock(1_790_000_000.0)

    def begun() -> Outbox:
        return Outbox.open(path, ["redis"], clock, Telemetry())

    with begun() as outbox:
        outbox.append(envelopes(alerts(40)))
        salt = outbox.restored.salt
        assert outbox.begun_anew(clock.now()) == ""
    broken = damage(path, how)
    aside = path.with_name("state.sqlite.damaged-20260921T141320Z")
    with capture_logs() as logs, begun() as outbox:
        assert outbox.trouble(clock.now()) is None
        assert outbox.restored.alerts == ()
        assert outbox.restored.salt != salt
        assert outbox.sequence >= 1_790_000_000_000
        assert outbox.begun_anew(clock.now()) == f"the damaged one is now {aside}"
        sent = envelopes(alerts(2), after=outbox.sequence)
        outbox.append(sent)
    assert aside.read_bytes() == broken
    assert [entry["event"] for entry in logs] == ["state file is damaged; it was set aside, and another is begun"]
    clock.advance(3600.0)
    with begun() as outbox:
        assert outbox.read(0, 10).result(5) == sent
        assert outbox.begun_anew(clock.now()) == f"the damaged one is now {aside}"
        assert outbox.begun_anew(clock.now() + 86_400.0) == ""


def test_two_files_that_are_damaged_at_once_are_both_kept(path: Path) -> None:
    """Under names of their own."""
    kept = []
    for _ in range(2):
        with opened(path) as outbox:
            outbox.append(envelopes(alerts(40), after=outbox.sequence))
        kept.append(damage(path, "first page"))
        with capture_logs(), opened(path):
            pass
    found = sorted(path.parent.glob("state.sqlite.damaged-*"))
    assert [each.read_bytes() for each in found] == kept


@pytest.mark.parametrize("noticed_by", ["write", "read"])
async def test_a_file_that_is_damaged_while_it_is_used_is_set_aside_too(
    path: Path, monkeypatch: pytest.MonkeyPatch, noticed_by: str
) -> None:
    """Silences and cursors are known and saved anew; what the file alone held is lost, and new messages are not."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    sent = envelopes(alerts(80))
    with capture_logs(), opened(path, "redis") as outbox:
        outbox.append(sent[:60])
        outbox.keep("pair", "known")
        outbox.advance("redis", 60)
        assert len(await asyncio.wrap_future(outbox.read(0, 100))) == 60
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(path, "pages")
        outbox._db.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
        if noticed_by == "read":
            with pytest.raises(SinkError):
                await asyncio.wrap_future(outbox.read(0, 100))
        outbox.append(sent[60:])
        await until(lambda: outbox.saved == 80, "saved")
        assert outbox.trouble(0.0) is None
        assert "state.sqlite.damaged-" in outbox.begun_anew(1_790_000_000.0)
        assert await asyncio.wrap_future(outbox.read(0, 100)) == sent[60:]
    with opened(path, "redis") as outbox:
        assert (outbox.cursors, outbox.note("pair")) == ({"redis": 60}, "known")


async def test_a_disk_that_damages_everything_is_not_filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once an hour a file is set aside; damage that comes sooner is a file that cannot be written."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    sent = envelopes(alerts(120))
    with capture_logs(), opened(path, "redis") as outbox:
        for part, is_told in ((sent[:60], False), (sent[60:], True)):
            outbox.append(part)
            await until(lambda part=part: outbox.saved == part[-1].sequence, "saved")  # type: ignore[misc]
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            damage(path, "pages")
            outbox._db.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
            with pytest.raises(SinkError):
                await asyncio.wrap_future(outbox.read(0, 100))
            assert (outbox.trouble(0.0) is not None) is is_told
    assert len(list(path.parent.glob("state.sqlite.damaged-*"))) == 1


@pytest.mark.parametrize(
    ("error", "is_read_only", "passes"),
    [
        (OSError(errno.EROFS, ""), True, True),
        (OSError(errno.EIO, ""), False, True),
        (OSError(errno.ENOSPC, ""), False, True),
        (OSError(errno.EACCES, ""), False, False),
        (OSError(errno.ENOENT, ""), False, False),
        (sqlite3.SQLITE_READONLY, True, True),
        (sqlite3.SQLITE_READONLY, False, False),
        (sqlite3.SQLITE_CANTOPEN, True, True),
        (sqlite3.SQLITE_IOERR, False, True),
        (sqlite3.SQLITE_ERROR, True, False),
    ],
)
def test_what_may_pass_by_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | int, is_read_only: bool, passes: bool
) -> None:
    """A disk that fails, is full, or that the kernel made read-only; not what somebody must allow or name anew."""
    real = os.statvfs(path.parent)
    fields = [*real[:8], os.ST_RDONLY if is_read_only else 0, *real[9:]]
    monkeypatch.setattr(statefile.os, "statvfs", lambda where: os.statvfs_result(fields))
    monkeypatch.setattr(statefile.os, "access", lambda where, mode: not is_read_only)
    if isinstance(error, int):
        code, error = error, sqlite3.OperationalError()
        error.sqlite_errorcode = code
    assert statefile.may_pass(path, error) is passes


async def test_a_full_disk_is_counted_told_and_recovered_from(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be saved is kept, and saved when there is room again."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    telemetry = Telemetry()
    sent = envelopes(alerts(300))
    with opened(path, "redis", telemetry=telemetry, max_pages=40) as outbox:
        outbox.append(sent)
        await until(lambda: outbox.trouble(0.0) is not None, "the failure is noticed")
        trouble = outbox.trouble(0.0)
        assert trouble is not None
        assert "full" in trouble[1]
        assert telemetry.persist_failures >= 1
        assert outbox.saved == 0
        outbox._db.execute("PRAGMA max_page_count = 100000")
        await until(lambda: outbox.trouble(0.0) is None, "the file is written again")
        assert await asyncio.wrap_future(outbox.read(0, 1000)) == sent


async def test_a_disk_that_stays_full_does_not_keep_the_monitor_from_stopping(path: Path) -> None:
    """Closing is bounded, and the next run finds a sound file."""
    outbox = opened(path, max_pages=40)
    outbox.append(envelopes(alerts(300)))
    await until(lambda: outbox.trouble(0.0) is not None, "the failure is noticed")
    outbox.close()
    with opened(path) as again:
        assert again.sequence == 0


@contextmanager
def disk_full() -> Iterator[None]:
    """No file of this process may grow, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with capture_logs():  # standard output may be a file, too
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("is_left_open", [True, False])
async def test_a_full_disk_at_the_start_forgets_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_left_open: bool
) -> None:
    """What earlier runs said is read, whether they ended well or were killed, and new messages are saved later."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    sent = envelopes(alerts(4))
    with opened(path, "redis") as outbox:
        salt = outbox.restored.salt
        outbox.append(sent[:3])
        outbox.advance("redis", 2)
        outbox.read(0, 1).result(5)
        if is_left_open:  # what a killed run leaves: the newest is in the file beside
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{path}{suffix}.copy")
    if is_left_open:
        for suffix in ("", "-wal"):
            shutil.move(f"{path}{suffix}.copy", f"{path}{suffix}")
    with disk_full():
        outbox = opened(path, "redis", "mqtt")
        trouble = outbox.trouble(0.0)
        assert trouble is not None
        assert str(path) in trouble[1]
        assert outbox.restored.salt == salt
        assert len(outbox.restored.alerts) == 3
        assert (outbox.sequence, outbox.cursors) == (3, {"redis": 2, "mqtt": 3})
        assert await asyncio.wrap_future(outbox.read(2, 10)) == sent[2:3]
        outbox.append(sent[3:])
        outbox.advance("redis", 4)
    with outbox:
        await until(lambda: outbox.trouble(0.0) is None, "the file is written again")
        assert outbox.saved == 4
    with opened(path, "redis") as outbox:
        assert outbox.read(0, 10).result(5) == sent
        assert outbox.cursors == {"redis": 4}


@pytest.mark.parametrize("fault", ["full", "lock file", "locked", "read-only"])
async def test_a_file_that_cannot_be_made_at_the_start_is_made_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The run begins in memory, with ids and numbers that no earlier run used, and takes the file when it can."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(statefile, "BUSY_S", 0.01)
    clock = ManualClock(1_790_000_000.0)
    with ExitStack() as trouble:
        if fault == "full":
            trouble.enter_context(disk_full())
        elif fault == "locked":
            with opened(path, "redis") as earlier:
                earlier.append(envelopes(alerts(2)))
            other = trouble.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
        else:
            real = os.open

            def no_room(name: str, *rest: int, **more: int) -> int:
                if str(name).endswith(".lock"):
                    number = errno.EROFS if fault == "read-only" else errno.ENOSPC
                    raise OSError(number, os.strerror(number))
                return real(name, *rest, **more)

            patched = trouble.enter_context(pytest.MonkeyPatch.context())
            patched.setattr(statefile.os, "open", no_room)
        outbox = Outbox.open(path, ["redis"], clock, Telemetry())
        assert outbox.trouble(0.0) is not None
        sent = envelopes(alerts(3), after=outbox.sequence)
        assert sent[0].sequence > 1_790_000_000_000
        outbox.append(sent)
        outbox.advance("redis", sent[1].sequence)
        assert await asyncio.wrap_future(outbox.read(outbox.sequence, 10)) == []
        assert len(await asyncio.wrap_future(outbox.history(10))) == 3
        salt = outbox.restored.salt
    with outbox:
        await until(lambda: outbox.trouble(0.0) is None, "the file is written")
    with opened(path, "redis") as outbox:
        assert outbox.read(sent[0].sequence - 1, 10).result(5) == sent
        assert (outbox.cursors, outbox.restored.salt) == ({"redis": sent[1].sequence}, salt)


async def test_what_is_dropped_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses for long keeps the newest messages, and says how many it lost."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "UNSAVED_MAX", 10)
    telemetry = Telemetry()
    sent = envelopes(alerts(30))
    with opened(path, "redis", telemetry=telemetry) as outbox:
        outbox._db.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]
        for start in range(0, 30, 5):
            outbox.append(sent[start : start + 5])
            outbox.history(1).result(5)
        await until(lambda: outbox.dropped == 20, "dropped")
        trouble = outbox.trouble(0.0)
        assert trouble is not None
        await until(lambda: "20 alerts were not saved" in (outbox.trouble(0.0) or (0, ""))[1], "told")
        assert telemetry.deliveries.get("state", "dropped") == 20
        outbox._db.execute("PRAGMA query_only = OFF")  # type: ignore[union-attr]
        await until(lambda: outbox.trouble(0.0) is None, "written again")
        assert outbox.read(0, 100).result(5) == sent[20:]


async def test_a_disk_that_hangs_gathers_no_orders(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a commit hangs, cursors make one order, messages and questions are refused past a bound."""
    monkeypatch.setattr(module, "UNSAVED_MAX", 10)
    monkeypatch.setattr(module, "READS_MAX", 3)
    hangs, goes_on = Event(), Event()
    sent = envelopes(alerts(20))
    with opened(path, "redis") as outbox:

        def commit() -> None:
            hangs.set()
            goes_on.wait(10)
            Outbox._commit(outbox)

        monkeypatch.setattr(outbox, "_commit", commit)
        outbox.append(sent[:1])
        assert hangs.wait(5)
        for envelope in sent[1:]:
            outbox.append([envelope])
            outbox.advance("redis", envelope.sequence)
        asked = [outbox.read(0, 1) for _ in range(5)]
        assert outbox._orders.qsize() == 10 + 1 + 3
        assert outbox.dropped == 9
        for refused in asked[3:]:
            with pytest.raises(SinkError, match="does not answer"):
                refused.result(0)
        assert asked[0].cancel()
        goes_on.set()
        assert asked[1].result(5) == sent[:1]
        await until(lambda: outbox.saved == 11, "saved")
    with opened(path, "redis") as outbox:
        assert outbox.cursors == {"redis": 11}


def test_a_cursor_never_passes_what_is_saved(path: Path) -> None:
    """A sink may be ahead of the disk; the file must not say so, or the others would miss what lies between."""
    sent = envelopes(alerts(3))
    with opened(path, "redis", "mqtt") as outbox:
        outbox.append(sent[:1])
        outbox.advance("redis", 3)
        outbox.read(0, 1).result(5)
        with closing(sqlite3.connect(path)) as database:
            (cursor,) = database.execute("SELECT sequence FROM cursor WHERE sink = 'redis'").fetchone()
            assert cursor == 1
        outbox.append(sent[1:])
        outbox.read(0, 1).result(5)
    with opened(path, "redis", "mqtt") as outbox:
        assert outbox.cursors == {"redis": 3, "mqtt": 0}


def test_a_row_that_cannot_be_read_is_left_out(path: Path) -> None:
    """One spoilt message does not keep the others from being delivered."""
    sent = envelopes(alerts(3))
    with opened(path) as outbox:
        outbox.append(sent)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE message SET payload = '{}' WHERE sequence = 2")
        database.execute("UPDATE alert SET payload = 'x' WHERE key = ?", (sent[1].alert.key,))
    with opened(path) as outbox:
        assert outbox.read(0, 10).result(5) == [sent[0], sent[2]]
        assert len(outbox.restored.alerts) == 2


@pytest.mark.integration
def test_what_was_saved_survives_a_kill(path: Path) -> None:
    """A process that says it saved and is then killed has saved."""
    script = (
        "import sys; from pathlib import Path; from tests.alerts.test_outbox import *\n"
        "outbox = opened(Path(sys.argv[1]), 'redis')\n"
        "outbox.append(envelopes(alerts(50)))\n"
        "outbox.advance('redis', 20)\n"
        "outbox.read(0, 1).result(30)\n"
        "print('saved', flush=True)\n"
        "sys.stdin.read()\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"saved\n"
        process.send_signal(signal.SIGKILL)
    with opened(path, "redis") as outbox:
        assert outbox.sequence == 50
        assert outbox.cursors == {"redis": 20}
        assert all(alert.state is State.FIRING for alert in outbox.restored.alerts)
