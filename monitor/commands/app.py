"""Registers the commands. Their own imports stay inside their functions: `--help` must not load NumPy."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from monitor.commands.assess import assess
from monitor.commands.check import check
from monitor.commands.demo import demo
from monitor.commands.handle import ack, silence, silences, unsilence
from monitor.commands.record import record
from monitor.commands.replay import replay
from monitor.commands.run import run
from monitor.commands.top import top
from monitor.commands.watch import watch

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("marginwatch")
        except PackageNotFoundError:
            number = "unknown (not installed)"
        typer.echo(f"marginwatch {number}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watches leveraged perpetual-futures accounts and warns before the venue liquidates.

    Start with `marginwatch demo`, or `marginwatch watch hyperliquid 0x...`, which needs neither key nor configuration.
    Then write a marginwatch.toml and try it with `marginwatch check`.

    Exit codes: 0 good, 1 failed, 2 unusable input or configuration.
    """


for command in (run, check, watch, demo, top, ack, silence, silences, unsilence, assess, replay, record):
    app.command()(command)
