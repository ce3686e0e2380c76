"""`marginwatch run`: the daemon."""

import sys
from asyncio import AbstractEventLoop, Runner
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Result = TypeVar("Result")

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="MARGINWATCH_CONFIG",
        help="The configuration (TOML).",
        show_envvar=True,
    ),
]
DEFAULT_CONFIG = Path("marginwatch.toml")


def run(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Watch the accounts of a configuration and warn, until told to stop.

    Ends in bounded time on SIGTERM and Ctrl-C, and with the terminal that it runs in; takes a changed configuration
    over on any other SIGHUP, tells systemd how it is.
    Warnings go to standard output (and to Redis and MQTT where they are configured), logs to standard error; on a
    terminal also what is watched, where the board is, and each pool once.
    Exit code 2 if only a person can mend it, 1 if the same may go well later, as when the address is in use.

    Examples:

        marginwatch run --config /etc/marginwatch/marginwatch.toml

        BINANCE_KEY=... BINANCE_SECRET=... marginwatch run
    """
    from monitor import daemon, logs
    from monitor.commands import greeting
    from monitor.config import load

    loaded = load(config)
    logs.configure(loaded.log)
    how: dict[str, Any] = {"source": str(config), "reread": lambda: load(config)}
    if sys.stderr.isatty():
        run_loop(greeting.serve(loaded, lambda line: typer.echo(line, err=True), **how))
    else:
        run_loop(daemon.serve(loaded, **how))


def run_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end on the fast event loop, where the platform has it."""
    from importlib.util import find_spec

    factory: Callable[[], AbstractEventLoop] | None = None
    if find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with Runner(loop_factory=factory) as runner:
        return runner.run(work)
