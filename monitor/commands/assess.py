"""`marginwatch assess`: the calculator, without any network."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import DocumentError, Fault

DOCUMENT_BYTES_MAX = 64_000_000


def assess(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The JSON document, - for standard input.")],
) -> None:
    """Compute each pool of an account described in a JSON document, and print it as JSON.

    The document names venue, collateral, instruments with their tiers, positions and marks; README shows one whole.
    Printed are margin balance, maintenance margin, margin ratio, and for each position liquidation price, bankruptcy
    price and distance; null where there is none.

    Examples:

        marginwatch assess account.json

        marginwatch assess - < account.json | jq '.pools[].margin_ratio'
    """
    from monitor.assess import assess_account
    from monitor.document import read_document, write_pools

    source = "standard input" if file == "-" else file
    account, marks, rules = read_document(_read(file, source), source)
    sys.stdout.buffer.write(write_pools(assess_account(account, marks, rules)) + b"\n")


def _read(file: str, source: str) -> bytes:
    try:
        if file == "-":
            text = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise DocumentError(source, [Fault("", f"cannot be read: {error.strerror or error}")]) from None
    if len(text) > DOCUMENT_BYTES_MAX:
        raise DocumentError(source, [Fault("", f"larger than {DOCUMENT_BYTES_MAX:,} bytes")])
    return text
