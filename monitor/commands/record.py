"""`marginwatch record`: raw frames and snapshots with their times of receipt, to be replayed."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.run import DEFAULT_CONFIG, ConfigFile, run_loop


def record(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The recording to write; .gz packs it.")],
    config: ConfigFile = DEFAULT_CONFIG,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after so long; without it, on Ctrl-C.")] = None,
) -> None:
    """Write down what the venue sends about the accounts of a configuration, as it arrives.

    The recording holds raw frames and snapshots with their times of receipt, no keys and no secrets, but all of the
    accounts' figures: treat it as you would an account statement. Warns nobody; a daemon may run beside it.

    Examples:

        marginwatch record monday.jsonl.gz --config marginwatch.toml --seconds 3600

        marginwatch replay monday.jsonl.gz
    """
