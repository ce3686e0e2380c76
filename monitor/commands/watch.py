"""`marginwatch watch`: the daemon for a public address, without a configuration file."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.run import run_loop

if TYPE_CHECKING:
    from monitor.config import Config

SHORT_CHARACTERS = 12


class PublicVenue(StrEnum):
    """Venues on which everybody may read every account."""

    HYPERLIQUID = "hyperliquid"


def watch(
    venue: Annotated[PublicVenue, typer.Argument(metavar="VENUE", help="hyperliquid; its accounts are public.")],
    addresses: Annotated[
        list[str],
        typer.Argument(metavar="ADDRESS", help="0x and 40 hexadecimal digits; several are watched at once."),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the board and the metrics are; port 0 takes any free one.")
    ] = "127.0.0.1:0",
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Remember alerts here; without it they are forgotten at the end."),
    ] = None,
    rest_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this address instead of the venue's.")
    ] = None,
    ws_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Read this stream address instead of the venue's (wss://HOST/ws).")
    ] = None,
) -> None:
    """Watch any account of a public venue and warn, until told to stop. Needs no key and no configuration file.

    Shows where the board and the metrics are and every pool once; from then on a line for each warning, all on standard
    output. An address is called by its two ends. Thresholds are the default ones; for others, and for Redis, MQTT and
    keyed venues, write a configuration and use `marginwatch run`. Ends on Ctrl-C and SIGTERM, and with its terminal.

    Examples:

        marginwatch watch hyperliquid 0x0123456789abcdef0123456789abcdef01234567
    """
    from tempfile import TemporaryDirectory

    from monitor import logs
    from monitor.commands import greeting
    from monitor.logs import LogConfig, LogLevel

    urls = {"rest_url": rest_url, "market_url": ws_url, "private_url": ws_url}
    with TemporaryDirectory(prefix="marginwatch-") as directory:
        path = state or Path(directory) / "marginwatch.sqlite"
        config = _configuration(venue.value, addresses, listen, path, {k: url for k, url in urls.items() if url})
        logs.configure(LogConfig(level=LogLevel.WARNING))
        for account in config.accounts:
            typer.echo(f"{account.name} is {getattr(account, 'address', '')}")
        run_loop(greeting.serve(config, typer.echo, source="marginwatch watch"))


def _configuration(venue: str, addresses: list[str], listen: str, state: Path, urls: dict[str, str]) -> "Config":
    """What a file would say. Raises ConfigurationError with every fault; an address given twice is watched once."""
    from pydantic import ValidationError

    from connectors import venues
    from monitor.config import Config, StateConfig
    from monitor.errors import ConfigurationError, Fault
    from monitor.faults import faults_of
    from monitor.http import HttpConfig

    model, accounts, faults = venues()[venue].AccountConfig, {}, []
    for address in addresses:
        given = {"name": _short(address, addresses), "address": address, **urls}
        try:
            account = model.model_validate(given)
        except ValidationError as error:
            # The name is made of the address: what is wrong with it is said once.
            faults += [fault for fault in faults_of(error, model) if fault.key != "name"]
        else:
            accounts[account.name] = account
    http = HttpConfig()
    try:
        http = HttpConfig(listen=listen)
    except ValidationError as error:
        faults += faults_of(error, HttpConfig)
    if faults:
        options = {"rest_url": "--rest-url", "market_url": "--ws-url", "private_url": "--ws-url", "listen": "--listen"}
        named = [Fault(options.get(fault.key, fault.key), fault.problem) for fault in faults]
        raise ConfigurationError("marginwatch watch", list(dict.fromkeys(named)))
    return Config(accounts=tuple(accounts.values()), http=http, state=StateConfig(path=state))


def _short(address: str, others: list[str]) -> str:
    """``0x0123..4567``, by which a person tells addresses apart; the whole of it where two would look alike."""

    def shortened(whole: str) -> str:
        return f"{whole[:6]}..{whole[-4:]}".lower()

    alike = {other.lower() for other in others if shortened(other) == shortened(address)}
    return shortened(address) if len(address) > SHORT_CHARACTERS and len(alike) == 1 else address.lower()
