"""`marginwatch ack`, `silence`, `silences`, `unsilence`: orders to the running daemon, over its HTTP door."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.run import DEFAULT_CONFIG

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request

ANSWER_S = 10.0
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")

Config = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="MARGINWATCH_CONFIG",
        help="The daemon's configuration: where it listens, and its token.",
        show_envvar=True,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="MARGINWATCH_URL",
        help="Ask this daemon; its token comes from MARGINWATCH_TOKEN, and no configuration is read.",
        show_envvar=True,
    ),
]
By = Annotated[str | None, typer.Option(help="Who you are; user and machine unless told.", show_default=False)]


def ack(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The alert's key, as it stands in messages and on the board.")
    ],
    by: By = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Acknowledge an alert: it is not repeated and not passed on any more, until it worsens.

    Examples:

        marginwatch ack margin_ratio:binance/main/BTCUSDT:long
    """
    _ask(config, url, "POST", "/api/v1/acknowledgements", {"key": key, "by": by or _me()})
    typer.echo(f"acknowledged: {key}")


def silence(
    subject: Annotated[
        str,
        typer.Argument(metavar="POOL", help="A pool, venue/account for all of it, a key, or a pattern with *."),
    ],
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 30m, 2h, 1d, 1h30m.")],
    reason: Annotated[str, typer.Option(help="Why; everybody who looks sees it.")],
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Keep even emergencies quiet. Without this they are heard.")
    ] = False,
    by: By = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """Do not disturb people about a pool for a time. Records (Redis, MQTT, metrics, board) go on, and show it.

    Examples:

        marginwatch silence binance/main/BTCUSDT:long --for 2h --reason "adding margin"

        marginwatch silence binance/main --for 30m --reason "moving collateral"
    """
    order = {"subject": subject, "for_s": seconds_of(duration), "reason": reason, "by": by or _me()}
    answer = _ask(config, url, "POST", "/api/v1/silences", {**order, "emergency": emergency})
    made = answer["silence"]
    typer.echo(f"silent until {_until(made)}: {subject} (id {made['id']})")
    if not answer["fits_now"]:
        typer.echo(
            "it fits no pool and no alert that there is now; is it spelled as `marginwatch top` shows it?", err=True
        )


def silences(config: Config = DEFAULT_CONFIG, url: Url = None) -> None:
    """List the silences in force.

    Examples:

        marginwatch silences
    """
    found = _ask(config, url, "GET", "/api/v1/silences")["silences"]
    for each in found:
        even = " · even emergencies" if each["emergency"] else ""
        typer.echo(f"{each['id']}  until {_until(each)}  {each['subject']}  {each['reason']} ({each['by']}){even}")
    if not found:
        typer.echo("no silence is in force")


def unsilence(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As `marginwatch silences` shows it.")],
    by: By = None,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
) -> None:
    """End a silence before its time; what fires under it is heard again.

    Examples:

        marginwatch unsilence 1f0c2b7a
    """
    from urllib.parse import quote

    ended, who = (quote(text, safe="", errors="replace") for text in (identifier, by or _me()))
    _ask(config, url, "DELETE", f"/api/v1/silences/{ended}?by={who}")
    typer.echo(f"ended: {identifier}")


def seconds_of(duration: str) -> float:
    """``1h30m`` in seconds. Raises UserError with a sentence."""
    from monitor.errors import Fault, UserError

    text = duration.replace(" ", "").lower()
    if not _DURATION.fullmatch(text):
        raise UserError("--for", [Fault("", f'found "{duration}"; must be a time such as 90s, 30m, 2h, 1d or 1h30m')])
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def door(config: Path, url: str | None) -> tuple[str, str]:
    """Where the daemon listens and the token it wants. Raises UserError.

    Only `[http]` and `[state]` are read: whoever acknowledges need not have the account's keys at hand.
    """
    from monitor.config import load_door
    from monitor.token import given_token, read_token, token_path

    base = place(config, url)
    if url is not None:
        return base, given_token("MARGINWATCH_TOKEN").reveal()
    http, state = load_door(config)
    token = http.token or read_token(token_path(state.path))
    return base, token.reveal()


def place(config: Path, url: str | None) -> str:
    """Where the daemon listens, without a slash at the end. Raises UserError."""
    from monitor.config import load_door
    from monitor.errors import Fault, UserError

    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise UserError("--url", [Fault("", "must begin with http:// or https://")])
        return url.rstrip("/")
    host, port = load_door(config)[0].address
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked here, not listened on
    host = everywhere.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def opened(request: "Request", timeout_s: float = ANSWER_S) -> "HTTPResponse":
    """The daemon's answer, asked directly: the token is not for a proxy that the environment names."""
    from urllib.request import ProxyHandler, build_opener

    answer: HTTPResponse = build_opener(ProxyHandler({})).open(request, timeout=timeout_s)
    return answer


def _ask(config: Path, url: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The daemon's answer. Raises UserError with its reason when it refuses, MarginwatchError when it is not there."""
    import json
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    from monitor.errors import Fault, MarginwatchError, UserError
    from monitor.legible import legible, legible_all

    base, token = door(config, url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    try:
        with opened(Request(f"{base}{path}", sent, headers, method=method)) as answer:  # noqa: S310 - it was checked
            return legible_all(json.load(answer))
    except HTTPError as error:
        try:
            reason = legible(str(json.load(error)["error"]))
        except (ValueError, KeyError, TypeError):
            reason = f"answered {error.code}"
        raise UserError(base, [Fault("", reason)]) from None
    except (OSError, HTTPException, ValueError) as error:
        why = legible(str(getattr(error, "reason", error)))
        raise MarginwatchError(f"{base} does not answer ({why}); is marginwatch running there?") from None


def _until(silence: dict[str, Any]) -> str:
    """When a silence ends, on the clock of whoever reads it."""
    from datetime import datetime
    from time import time

    from monitor.commands.show import local_time

    return local_time(datetime.fromisoformat(silence["until"]).timestamp(), time())


def _me() -> str:
    import getpass
    import socket

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()
