"""`marginwatch check`: try everything that the daemon will rely on, before relying on it."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.handle import base_of
from monitor.commands.run import DEFAULT_CONFIG, ConfigFile, run_loop

if TYPE_CHECKING:
    from alerts.sink import Sink
    from alerts.sinks import SinksConfig
    from alerts.sinks.push import PushConfig
    from connectors import CheckLine
    from connectors.config import BaseAccountConfig
    from monitor.config import Config
    from monitor.credential import Secret
    from monitor.heartbeat import HeartbeatConfig
    from monitor.model.assessment import PoolAssessment
    from monitor.model.events import Event

PROBE = "check"
"""Name under which a sink is tried: never an account's."""
TOKEN_CHARACTERS = 16
"""A token of people's own that is shorter can be guessed."""
RUNTIME_SECRETS = Path("/run/secrets")
"""Where a container finds its secrets; whoever is in there with them is marginwatch."""
HEALTH_S = 3.0
"""How long whoever holds our port may take to say that it is a marginwatch."""


def check(
    config: ConfigFile = DEFAULT_CONFIG,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each account and sink.")] = 30,
    push: Annotated[bool, typer.Option("--push", help="Send one test message through every push route.")] = False,
) -> None:
    """Try the file, each key's permissions, the clock, a snapshot of each account, and every sink.

    Prints a line for each: ok, careful, failed, or unknown, with what to do about it. Changes nothing at the venue.
    Each sink is given one value under a name of its own (marginwatch:check, marginwatch/check), which is then taken
    away again; an MQTT broker keeps the status of that name, offline. Push routes are tried with --push alone, since
    somebody is at their end. The dead-man's switch is given one sign of life when nothing has failed; else it is only
    connected to.

    Exit code 1 if something failed, 2 if the file cannot be used.

    Examples:

        marginwatch check --config marginwatch.toml
        marginwatch check --push
    """
    from monitor import logs
    from monitor.config import load

    loaded = load(config)
    logs.configure(logs.LogConfig(level=logs.LogLevel.WARNING))
    if any(line.ok is False for line in run_loop(_check_all(loaded, config, timeout_s, push=push))):
        raise typer.Exit(1)


async def _check_all(config: "Config", path: Path, timeout_s: float, *, push: bool) -> "list[CheckLine]":
    """Check everything at the same time; print in the order of the file."""
    from rich.console import Console
    from rich.markup import escape

    from connectors import CheckLine

    console = Console(highlight=False, soft_wrap=True)
    lines: list[CheckLine] = []

    def show(found: "Iterable[CheckLine]") -> None:
        for line in found:
            console.print(f"{_mark(line)} {escape(line.subject)}: {escape(line.text)}")
            lines.append(line)

    waiting: list[Awaitable[list[CheckLine]]] = [_bounded("http", _check_http(config), timeout_s)]
    waiting += [
        _bounded(account.name, _check_account(account, config.alerts.model_error.tolerance), timeout_s)
        for account in config.accounts
    ]
    waiting += [_bounded(f"sink {name}", _check_sink(name, sink), timeout_s) for name, sink in _probes(config.sinks)]
    if config.sinks.push is not None:
        waiting.append(_bounded("sink push", _check_push(config, config.sinks.push, push=push), timeout_s))
    tasks = [asyncio.ensure_future(each) for each in waiting]
    accounts = "1 account" if len(config.accounts) == 1 else f"{len(config.accounts)} accounts"
    show([CheckLine(True, "configuration", f"{path}: {accounts}"), *_check_secrets(config), *_check_state(config)])
    for task in tasks:
        show(await task)
    if config.heartbeat.url is not None:
        well = all(line.ok is not False for line in lines)
        show(
            await _bounded("heartbeat", _check_heartbeat(config.heartbeat, config.heartbeat.url, well=well), timeout_s)
        )
    return lines


def _mark(line: "CheckLine") -> str:
    if line.careful:
        return "[yellow]careful[/]"
    return {True: "[green]ok     [/]", False: "[bold red]failed [/]", None: "[yellow]unknown[/]"}[line.ok]


async def _bounded(subject: str, work: "Awaitable[list[CheckLine]]", timeout_s: float) -> "list[CheckLine]":
    """The lines of `work`, or one that says why there are none."""
    from connectors import CheckLine
    from monitor.credential import conceal
    from monitor.errors import MarginwatchError

    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        return [CheckLine(False, subject, f"no answer within {timeout_s:g} s; is the address right and reachable?")]
    except (MarginwatchError, OSError) as error:
        return [CheckLine(False, subject, conceal(str(error)).removeprefix(f"{subject.removeprefix('sink ')}: "))]


# -- this machine ---------------------------------------------------------------------------------


def _check_secrets(config: "Config") -> "Iterator[CheckLine]":
    """Whether others on this machine can read, or guess, what is secret."""
    from connectors import CheckLine

    for account in config.accounts:
        if account.allow_dangerous_key:
            text = "allow_dangerous_key is set: a key that may trade, transfer or withdraw is not refused"
            yield CheckLine(True, account.name, text, careful=True)
    for path in dict.fromkeys(_secret_files(config)):
        if _is_open_to_others(path):
            text = f"{path} can be read by every user of this machine; chmod 600 {path}"
            yield CheckLine(True, "secrets", text, careful=True)
    token = config.http.token
    if token is not None and len(token.reveal()) < TOKEN_CHARACTERS:
        text = f"shorter than {TOKEN_CHARACTERS} characters, so it can be guessed; make one: openssl rand -hex 24"
        yield CheckLine(True, "http.token", text, careful=True)


def _secret_files(found: object) -> "Iterator[Path]":
    """The files that secrets were read from, anywhere in a configuration."""
    from dataclasses import fields, is_dataclass

    from pydantic import BaseModel

    from monitor.credential import Secret

    if isinstance(found, Secret):
        kind, _, rest = found.source.partition(":")
        if kind == "file":
            yield Path(rest).absolute()
    elif isinstance(found, BaseModel):
        for _, value in found:
            yield from _secret_files(value)
    elif is_dataclass(found):
        for each in fields(found):
            yield from _secret_files(getattr(found, each.name))
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _secret_files(value)


def _is_open_to_others(path: Path) -> bool:
    """Whether everybody may read the file and pass through all directories above it."""
    if path.is_relative_to(RUNTIME_SECRETS):
        return False
    try:
        real = path.resolve()
        return bool(real.stat().st_mode & stat.S_IROTH) and all(
            above.stat().st_mode & stat.S_IXOTH for above in real.parents
        )
    except OSError:
        return False


def _check_state(config: "Config") -> "Iterator[CheckLine]":
    """Whether the state file can be used, without opening it as the daemon does: one may be using it."""
    from connectors import CheckLine

    path = config.state.path.absolute()
    if path.is_dir():
        yield CheckLine(False, "state", f"{path} is a directory; name a file in it")
    elif not path.parent.is_dir():
        yield CheckLine(False, "state", f"there is no directory {path.parent}; make it, or change state.path")
    elif not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        yield CheckLine(False, "state", f"{path} may not be written by this user")
    elif path.exists() and (problem := _unusable_state(path)):
        yield CheckLine(False, "state", f"{path} {problem}; name another path in state.path")
    elif path.exists() and _is_damaged_state(path):
        yield CheckLine(True, "state", f"{path} is damaged; it will be set aside and begun anew", careful=True)
    else:
        yield CheckLine(True, "state", f"{path} can be written")


def _unusable_state(path: Path) -> str:
    """Why a file is no state file, empty if it may be one: an empty file becomes one."""
    from alerts.statefile import MAGIC, SCHEMA_VERSION, is_foreign

    if is_foreign(path):
        return "is another kind of file"
    head = _head(path)
    if head.startswith(MAGIC) and int.from_bytes(head[60:64], "big") > SCHEMA_VERSION:
        return "was written by a newer marginwatch"
    return ""


def _is_damaged_state(path: Path) -> bool:
    """Whether it begins as neither a state file nor somebody's text does."""
    from alerts.statefile import MAGIC

    head = _head(path)
    return bool(head) and not head.startswith(MAGIC)


def _head(path: Path) -> bytes:
    """The header of a SQLite file (its file format, 1.3); the user version is at byte 60."""
    with path.open("rb") as file:
        return file.read(100)


async def _check_http(config: "Config") -> "list[CheckLine]":
    """Whether the address can be listened on, or this configuration's own daemon does already."""
    from connectors import CheckLine
    from monitor.errors import words_of

    listen, (host, port) = config.http.listen, config.http.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return [CheckLine(False, "http", f"{listen}: {words_of(error) or error}; change http.listen")]
        if not await _is_marginwatch(host, port):
            return [CheckLine(False, "http", f"{listen} is in use by another program; change http.listen")]
        if not await _is_own(config):
            text = f"{listen} is in use by a marginwatch with another configuration; change http.listen"
            return [CheckLine(False, "http", text)]
        return [CheckLine(True, "http", f"{listen}: this configuration's marginwatch is running there already")]
    return [CheckLine(True, "http", f"{listen} is free")]


async def _is_own(config: "Config") -> bool:
    """Whether the marginwatch at our address is the one that has our state file, and takes our token.

    It is asked to end a silence that cannot be (ids are hexadecimal), which changes nothing and needs the token.
    """
    import aiohttp

    from alerts.statefile import is_held
    from monitor.errors import UserError
    from monitor.token import read_token, token_path

    if not is_held(config.state.path):
        return False
    try:
        token = config.http.token or read_token(token_path(config.state.path))
    except UserError:
        return False
    order, headers = (
        f"{base_of(*config.http.address)}/api/v1/silences/none",
        {"Authorization": f"Bearer {token.reveal()}"},
    )
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEALTH_S)) as session,
            session.delete(order, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status == HTTPStatus.NOT_FOUND
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _is_marginwatch(host: str, port: int) -> bool:
    """Whether what listens there answers /healthz as we do."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEALTH_S)) as session,
            session.get(f"{base_of(host, port)}/healthz", allow_redirects=False) as answer,
        ):
            body = await answer.json()
            return isinstance(body, dict) and "loop_lag_seconds" in body
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False


async def _check_heartbeat(config: "HeartbeatConfig", url: "Secret", *, well: bool) -> "list[CheckLine]":
    """One sign of life when all is well. When it is not, nobody must be led to believe so: connect, and no more."""
    import aiohttp

    from connectors import CheckLine
    from monitor.heartbeat import ask, reach

    if not well:
        problem = await reach(url, config.timeout_s)
        text = problem or "connected, and gave no sign of life, since something has failed"
        return [CheckLine(not problem, "heartbeat", text)]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=config.timeout_s)) as session:
        problem = await ask(session, url, config.timeout_s)
    return [CheckLine(not problem, "heartbeat", problem or "took a sign of life")]


# -- venues ---------------------------------------------------------------------------------------


async def _check_account(account: "BaseAccountConfig", tolerance: float) -> "list[CheckLine]":
    """What the venue's connector finds, and the pools of the snapshot it took held against the venue's own figures."""
    from connectors import CheckLine, connector_of
    from monitor.clock import SystemClock
    from monitor.model.ids import pool_id

    found: list[CheckLine] = []
    compared: set[str] = set()
    for line in await connector_of(account).check(account, SystemClock()):
        pools = list(compare_pools(account, line.events, tolerance))
        compared |= {pool.subject for pool in pools}
        scope = line.subject.removeprefix("pool ")
        # What the venue reports of a pool stands in the line that compares it, unless there is more to say.
        told = scope != line.subject and pool_id(account.venue, account.name, scope) in compared
        if not told or line.ok is not True:
            found.append(replace(line, subject=f"{account.name}: {line.subject}", events=()))
        found += pools
    return found


def compare_pools(account: "BaseAccountConfig", events: "Iterable[Event]", tolerance: float) -> "Iterator[CheckLine]":
    """One line for each pool of a snapshot: its margin ratio, and what is computed beside what the venue reports."""
    from connectors import CheckLine
    from monitor.book import Book
    from monitor.kernel import plain_kernel
    from monitor.margin.venues import rules_of
    from monitor.model.events import AccountSnapshot, InstrumentsLoaded

    book = Book(plain_kernel())
    book.add_account(account.venue, account.name, rules_of(account.venue))
    for event in events:
        if isinstance(event, InstrumentsLoaded):
            book.load_instruments(event)
        elif isinstance(event, AccountSnapshot):
            book.apply_snapshot(event)
    for row in book.rows():
        pool = book.assess(row)
        yield CheckLine(_agreement(pool, tolerance), pool.pool, _compared(pool))


def _agreement(pool: "PoolAssessment", tolerance: float) -> bool | None:
    if pool.unknown or pool.margin_ratio != pool.margin_ratio or pool.model_error is None:
        return None
    return abs(pool.model_error) <= tolerance


def _compared(pool: "PoolAssessment") -> str:
    from alerts.rules import _words

    if pool.unknown:
        return f"margin ratio unknown: {', '.join(pool.unknown)}"
    positions = "1 position" if len(pool.legs) == 1 else f"{len(pool.legs)} positions"
    balance, maintenance = _words.amount(pool.margin_balance), _words.amount(pool.maintenance_margin)
    figures = f"maintenance margin {maintenance} {pool.unit} of a margin balance of {balance} {pool.unit}"
    # The two balances are of two moments: prices may move between the answers that a snapshot is made of.
    text = f"margin ratio {_words.ratio(pool.margin_ratio)}, {positions}, {figures} at the snapshot's marks"
    if pool.model_error is None:
        return f"{text}; the venue reports nothing to compare it with"
    differs = f"{text}; at its own marks the venue's report differs by {abs(pool.model_error) * 100:.2f} %"
    if (found := pool.disagreement) is None:
        return differs
    computed, reported = _words.amount(found.computed), _words.amount(found.reported)
    return f"{differs} ({found.figure} {computed} {pool.unit} computed, {reported} {pool.unit} reported)"


# -- sinks ----------------------------------------------------------------------------------------


def _probes(config: "SinksConfig") -> "Iterator[tuple[str, Sink]]":
    """Every sink that is on, but console and push, under a name of its own: a running daemon is not disturbed."""
    from alerts import sinks
    from monitor.clock import SystemClock

    apart = config.model_copy(
        update={
            "console": config.console.model_copy(update={"enabled": False}),
            "redis": config.redis and config.redis.model_copy(update={"prefix": f"{config.redis.prefix}:{PROBE}"}),
            **{
                name: section and section.model_copy(update={"prefix": f"{section.prefix}/{PROBE}", "client_id": None})
                for name, section in (("mqtt", config.mqtt), ("homeassistant", config.homeassistant))
            },
            "push": None,
        }
    )
    from alerts.sink import Surroundings

    for sink in sinks.build(apart, Surroundings(SystemClock(), socket.gethostname())):
        yield sink.name, sink


async def _check_sink(name: str, sink: "Sink") -> "list[CheckLine]":
    """Connect, write a value, take it away again."""
    from connectors import CheckLine

    probe = _probe()
    try:
        async with asyncio.timeout(sink.config.timeout_s):
            await sink.connect()
        async with asyncio.timeout(sink.config.timeout_s):
            await sink.publish_state([probe], [])
            await sink.publish_state([], [probe])
    except TimeoutError:
        return [CheckLine(False, f"sink {name}", f"no answer within {sink.config.timeout_s:g} s; is it running?")]
    finally:
        await sink.close()
    return [CheckLine(True, f"sink {name}", "connected, and took a value")]


async def _check_push(whole: "Config", config: "PushConfig", *, push: bool) -> "list[CheckLine]":
    """A line for each route, and for each pattern that fits nothing. Tried only when asked to: somebody is there."""
    from alerts.sink import Surroundings
    from alerts.sinks.push import build
    from connectors import CheckLine
    from monitor.clock import SystemClock
    from monitor.config import unheard

    sink = build(config, Surroundings(SystemClock(), socket.gethostname()))
    lines = [
        CheckLine(True, f"sink push.{each.route}", f'"{each.pattern}" fits nothing; it {each.problem}', careful=True)
        for each in unheard(config.route, whole.accounts)
    ]
    if not push:
        text = "not tried; use --push to send a test message"
        return lines + [CheckLine(None, f"sink push.{route.name}", text) for route in config.route]
    for name, answers in (await sink.test()).items():
        wrong = [answer.detail for answer in answers if not answer.ok]
        took = f"{len(answers) - len(wrong)} of {len(answers)} took" if len(answers) > 1 else "took"
        text = "; ".join(dict.fromkeys(wrong)) if wrong else f"{took} a test message; did it arrive?"
        if wrong and len(answers) > 1:
            text = f"{took} a test message, the others: {text}"
        lines.append(CheckLine(not wrong, f"sink push.{name}", text))
    return lines


def _probe() -> "PoolAssessment":
    """A pool that nobody has."""
    from monitor.model.assessment import Basis, PoolAssessment
    from monitor.model.ids import pool_id

    return PoolAssessment(
        pool=pool_id(PROBE, PROBE, PROBE),
        venue=PROBE,
        account=PROBE,
        scope=PROBE,
        basis=Basis.COMPUTED,
        unit="USDT",
        margin_balance=0.0,
        maintenance_margin=0.0,
        margin_ratio=0.0,
        venue_margin_ratio=None,
        legs=(),
    )
