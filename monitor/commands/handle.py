"""`marginwatch ack`, `silence`, `silences`, `unsilence`: orders to the running daemon, over its HTTP door."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from monitor.commands.run import DEFAULT_CONFIG
from monitor.errors import Fault, MarginwatchError, UserError

if TYPE_CHECKING:
    from urllib.error import HTTPError

Found = TypeVar("Found")

ANSWER_S = 10.0
NO_ANSWER = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading a document that is none of marginwatch's ends in."""
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
    _ask(
        config,
        url,
        ("POST", "/api/v1/acknowledgements"),
        lambda answer: _same(answer["acknowledged"], key),
        {"key": key, "by": by or _me()},
    )
    typer.echo(f"acknowledged: {key}")


def silence(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="POOL",
            help="A pool, venue/account for all of it, a key, or a pattern with * (bybit/*: all of a venue).",
        ),
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
    until, identifier, fits_now = _ask(
        config, url, ("POST", "/api/v1/silences"), _made, {**order, "emergency": emergency}
    )
    typer.echo(f"silent until {until}: {subject} (id {identifier})")
    if not fits_now:
        typer.echo(
            "it fits no pool and no alert that there is now; is it spelled as `marginwatch top` shows it?", err=True
        )


def silences(config: Config = DEFAULT_CONFIG, url: Url = None) -> None:
    """List the silences in force.

    Examples:

        marginwatch silences
    """
    found = _ask(
        config, url, ("GET", "/api/v1/silences"), lambda answer: [_listed(each) for each in answer["silences"]]
    )
    for line in found or ["no silence is in force"]:
        typer.echo(line)


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
    order = "DELETE", f"/api/v1/silences/{ended}?by={who}"
    _ask(config, url, order, lambda answer: _same(answer["ended"], identifier))
    typer.echo(f"ended: {identifier}")


def seconds_of(duration: str) -> float:
    """``1h30m`` in seconds. Raises UserError with a sentence."""
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

    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise UserError("--url", [Fault("", "must begin with http:// or https://")])
        return url.rstrip("/")
    return base_of(*load_door(config)[0].address)


def base_of(host: str, port: int) -> str:
    """The URL at which to ask a server that listens so."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked here, not listened on
    host = everywhere.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class AskError(MarginwatchError):
    """Who was asked did not answer as a daemon does; `why` is that without the address."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


def no_marginwatch(base: str, code: int = 200) -> AskError:
    """What to raise for an answer that is none of a daemon's."""
    said = "" if code == 200 else f" (it answered {code})"
    return AskError(f"{base} is not a marginwatch{said}", f"who answers is not a marginwatch{said}")


def answer_of(
    base: str,
    path: str,
    order: bytes | None = None,
    *,
    method: str = "GET",
    token: str = "",
    timeout_s: float = ANSWER_S,
) -> Any:
    """What the daemon at `base`, an address that was checked, answers to a request, made legible.

    It is asked directly: the token is not for a proxy that the environment names. Raises UserError with its reason when
    it refuses, AskError when it is not there, or is another program.
    """
    import json
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    from monitor.legible import legible, legible_all

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        request = Request(f"{base}{path}", order, headers, method=method)  # noqa: S310 - see `place`
        with build_opener(ProxyHandler({})).open(request, timeout=timeout_s) as answer:
            body = answer.read()
    except HTTPError as error:
        raise _refusal(base, error) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _nobody(base, legible(str(getattr(error, "reason", error))) or type(error).__name__) from None
    try:
        return legible_all(json.loads(body))
    except NO_ANSWER:
        raise no_marginwatch(base) from None


def _nobody(base: str, why: str) -> AskError:
    return AskError(f"{base} does not answer ({why}); is marginwatch running there?", why)


def _refusal(base: str, error: "HTTPError") -> MarginwatchError:
    """What an answer that is no success means: the daemon's own reason is its one member `error`."""
    import json
    from http.client import HTTPException

    from monitor.legible import legible

    try:
        found = json.load(error)
    except (OSError, HTTPException, *NO_ANSWER):
        found = None
    if isinstance(found, dict) and found.keys() == {"error"} and isinstance(found["error"], str):
        reason = legible(found["error"])
        return UserError(base, [Fault("", reason)]) if error.code < 500 else AskError(f"{base}: {reason}", reason)
    # What stands before a daemon that is gone speaks for it.
    return _nobody(base, f"it answered {error.code}") if error.code >= 500 else no_marginwatch(base, error.code)


def _ask(
    config: Path,
    url: str | None,
    order: tuple[str, str],
    read: Callable[[Any], Found],
    body: dict[str, Any] | None = None,
) -> Found:
    """What `read` finds in the daemon's answer to an order, a method and a path. Raises as `answer_of` does."""
    import json

    base, token = door(config, url)
    method, path = order
    sent = None if body is None else json.dumps(body).encode()
    answer = answer_of(base, path, sent, method=method, token=token)
    try:
        return read(answer)
    except NO_ANSWER:
        raise no_marginwatch(base) from None


def _same(answered: object, asked: str) -> None:
    """Raises ValueError where something else was answered than what was asked for."""
    from monitor.legible import legible

    if answered != legible(asked):
        raise ValueError


def _made(answer: dict[str, Any]) -> tuple[str, str, bool]:
    """When a silence that was made ends, its id, and whether it fits anything."""
    made, fits_now = answer["silence"], answer["fits_now"]
    if not isinstance(fits_now, bool):
        raise TypeError
    return _until(made), made["id"], fits_now


def _listed(silence: dict[str, Any]) -> str:
    even = " · even emergencies" if silence["emergency"] else ""
    until, by = _until(silence), silence["by"]
    return f"{silence['id']}  until {until}  {silence['subject']}  {silence['reason']} ({by}){even}"


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
