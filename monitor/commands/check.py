"""`marginwatch check`: try everything that the daemon will rely on, before relying on it."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.run import DEFAULT_CONFIG, ConfigFile, run_loop

if TYPE_CHECKING:
    from alerts.sink import Sink
    from alerts.sinks import SinksConfig
    from alerts.sinks.push import PushConfig
    from connectors import CheckLine
    from connectors.config import BaseAccountConfig
    from monitor.config import Config
    from monitor.model.assessment import PoolAssessment
    from monitor.model.events import Event

PROBE = "check"
"""Name under which a sink is tried: never an account's."""
_MARKS = {True: "[green]ok     [/]", False: "[bold red]failed [/]", None: "[yellow]unknown[/]"}


def check(
    config: ConfigFile = DEFAULT_CONFIG,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds for each account and sink.")] = 30,
    push: Annotated[bool, typer.Option("--push", help="Send one test message through every push route.")] = False,
) -> None:
    """Try the file, each key's permissions, the clock, a snapshot of each account, and every sink.

    Prints a line for each: ok, failed, or unknown, with what to do about it. Changes nothing at the venue. Each sink is
    given one value under a name of its own (marginwatch:check, marginwatch/check), which is then taken away again; an
    MQTT broker keeps the status of that name, offline. Push routes are tried with --push alone, since somebody is at
    their end.

    Exit code 1 if something failed, 2 if the file cannot be used.

    Examples:

        marginwatch check --config marginwatch.toml
        marginwatch check --push
    """
    from monitor.config import load

    loaded = load(config)
    if any(line.ok is False for line in run_loop(_check_all(loaded, config, timeout_s, push=push))):
        raise typer.Exit(1)


async def _check_all(config: "Config", path: Path, timeout_s: float, *, push: bool) -> "list[CheckLine]":
    """Check everything at the same time; print in the order of the file."""
    from rich.console import Console
    from rich.markup import escape

    from connectors import CheckLine

    console = Console(highlight=False, soft_wrap=True)
    accounts = "1 account" if len(config.accounts) == 1 else f"{len(config.accounts)} accounts"
    lines = [CheckLine(True, "configuration", f"{path}: {accounts}"), *_check_state(config), *_check_http(config)]
    waiting: list[Awaitable[list[CheckLine]]] = [
        _bounded(account.name, _check_account(account, config.alerts.model_error.tolerance), timeout_s)
        for account in config.accounts
    ]
    waiting += [_bounded(f"sink {name}", _check_sink(name, sink), timeout_s) for name, sink in _probes(config.sinks)]
    if config.sinks.push is not None:
        waiting.append(_bounded("sink push", _check_push(config.sinks.push, push=push), timeout_s))
    tasks = [asyncio.ensure_future(each) for each in waiting]
    for line in lines:
        console.print(f"{_MARKS[line.ok]} {escape(line.subject)}: {escape(line.text)}")
    for task in tasks:
        for line in await task:
            console.print(f"{_MARKS[line.ok]} {escape(line.subject)}: {escape(line.text)}")
            lines.append(line)
    return lines


async def _bounded(subject: str, work: "Awaitable[list[CheckLine]]", timeout_s: float) -> "list[CheckLine]":
    """The lines of `work`, or one that says why there are none."""
    from connectors import CheckLine
    from monitor.errors import MarginwatchError

    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        return [CheckLine(False, subject, f"no answer within {timeout_s:g} s; is the address right and reachable?")]
    except (MarginwatchError, OSError) as error:
        return [CheckLine(False, subject, str(error))]


# -- this machine ---------------------------------------------------------------------------------


def _check_state(config: "Config") -> "Iterator[CheckLine]":
    """Whether the state file can be written, without opening it: a daemon may be using it."""
    from connectors import CheckLine

    path = config.state.path.absolute()
    if path.is_dir():
        yield CheckLine(False, "state", f"{path} is a directory; name a file in it")
    elif not path.parent.is_dir():
        yield CheckLine(False, "state", f"there is no directory {path.parent}; make it, or change state.path")
    elif not os.access(path if path.exists() else path.parent, os.R_OK | os.W_OK):
        yield CheckLine(False, "state", f"{path} may not be written by this user")
    else:
        yield CheckLine(True, "state", f"{path} can be written")


def _check_http(config: "Config") -> "Iterator[CheckLine]":
    """Whether the address can be listened on."""
    from connectors import CheckLine

    host, port = config.http.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        reason = f"{config.http.listen}: {error.strerror or error}"
        yield CheckLine(None, "http", f"{reason}; that is as it should be if marginwatch is running already")
    else:
        yield CheckLine(True, "http", f"{config.http.listen} is free")


# -- venues ---------------------------------------------------------------------------------------


async def _check_account(account: "BaseAccountConfig", tolerance: float) -> "list[CheckLine]":
    """What the venue's connector finds, and the pools of the snapshot it took held against the venue's own figures."""
    from connectors import CheckLine, connector_of
    from monitor.clock import SystemClock

    found: list[CheckLine] = []
    for line in await connector_of(account).check(account, SystemClock()):
        found.append(CheckLine(line.ok, f"{account.name}: {line.subject}", line.text))
        found += compare_pools(account, line.events, tolerance)
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
    if pool.unknown:
        return f"margin ratio unknown: {', '.join(pool.unknown)}"
    positions = "1 position" if len(pool.legs) == 1 else f"{len(pool.legs)} positions"
    text = f"margin ratio {pool.margin_ratio:.4f}, {positions}"
    if pool.model_error is None:
        return f"{text}; the venue reports nothing to compare it with"
    differs = f"{text}; differs from what the venue reports by {abs(pool.model_error):.2%}"
    if (found := pool.disagreement) is None:
        return differs
    return f"{differs} ({found.figure} {found.computed:.10g} {pool.unit} computed, {found.reported:.10g} reported)"


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


async def _check_push(config: "PushConfig", *, push: bool) -> "list[CheckLine]":
    """A line for each route. Only when asked to: none can be tried without disturbing whoever is at its end."""
    from alerts.sink import Surroundings
    from alerts.sinks.push import build
    from connectors import CheckLine
    from monitor.clock import SystemClock

    sink = build(config, Surroundings(SystemClock(), socket.gethostname()))
    if not push:
        text = "not tried; use --push to send a test message"
        return [CheckLine(None, f"sink push.{route.name}", text) for route in config.route]
    lines = []
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
