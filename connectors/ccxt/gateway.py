"""The only way from this project into ccxt: what may be asked, within what time, and what a failure means.

ccxt can trade, transfer and withdraw with every object it makes. So nothing outside this module holds such an object,
and this one calls no method that is not in `Ask`. The rest of ccxt is not trusted either: its own deadlines lie inside
ours, its errors are known by type (their texts hold addresses with signatures, and are never shown), and its loggers
and its verbose mode are off.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from connectors import FeedSettings
from connectors.ccxt import library
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.facts import facts
from monitor.errors import VenueError, words_of

CLOSE_S = 3.0

_MARKETS = ("markets", "markets_by_id", "symbols", "ids", "currencies", "currencies_by_id", "codes")

NOT_OPENED = 404
"""Code of the error for an account that the exchange keeps apart and that its owner never opened."""

UNREADABLE = 422
"""Code of the error for a frame that ccxt could not read, which ended its connection."""

_NO_SNAPSHOTS = {"watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False}}
"""At some exchanges ccxt would answer for the stream of positions by a request, as if it were open already."""

# At level DEBUG ccxt prints the headers of every request, key and signature included; it is never to.
_quiet = logging.getLogger("connectors.ccxt.quiet")
_quiet.setLevel(logging.CRITICAL)
_quiet.propagate = False


_ALLOWED = frozenset(Ask)


class Gateway:
    """One ccxt client. `keys` False makes one that cannot sign, for what is public."""

    def __init__(self, account: AccountConfig, settings: FeedSettings, *, keys: bool) -> None:
        self.exchange = account.exchange
        self._request_s = request_s = settings.request_s
        config: dict[str, Any] = {
            "enableRateLimit": True,
            "timeout": int(request_s * 1000),
            "verbose": False,
            # Half-open connections are found by pings, which ccxt sends far apart unless it is told.
            "streaming": {
                "keepAlive": int(settings.ping_s * 1000),
                "maxPingPongMisses": (settings.ping_s + settings.pong_s) / settings.ping_s,
            },
            "options": {"defaultType": "swap", **_NO_SNAPSHOTS, **facts(account.exchange).options, **account.options},
            **(account.credentials() if keys else {}),
        }
        client = library.make(account.exchange, config)
        client.logger = _quiet
        client.on_rest_response = _only_json
        if account.sandbox:
            client.set_sandbox_mode(True)
        _point(client.urls, account.rest_url, account.stream_url)
        self._client = client

    @property
    def markets(self) -> Mapping[str, Mapping[str, Any]]:
        """Every market by ccxt's symbol; empty before they were asked for."""
        return self._client.markets or {}

    @property
    def tickers(self) -> Mapping[str, Mapping[str, Any]]:
        """What the streams of tickers last told of each symbol."""
        return self._client.tickers or {}

    @property
    def is_connected(self) -> bool:
        """Whether connections of streams were asked for and all of them stand; what they carry is not said by that."""
        connections = list((self._client.clients or {}).values())
        return bool(connections) and all(each.isConnected and not each.closed() for each in connections)

    def adopt(self, other: "Gateway") -> None:
        """Take another client's markets over instead of asking again: the same objects, for they are thousands."""
        for name in _MARKETS:
            setattr(self._client, name, getattr(other._client, name))

    def can(self, ask: Ask) -> bool:
        """Whether ccxt has this for the exchange."""
        return bool(self._client.has.get(ask.capability))

    async def call(self, ask: Ask, *arguments: object, within_s: float | None = None) -> Any:
        """Ask. Raises VenueError and nothing else. A stream may be silent for ever; anything else has a deadline."""
        if ask not in _ALLOWED:
            raise VenueError(f"{self.exchange}: {ask} is not asked", retry=False)
        method = getattr(self._client, Ask(ask).value)
        deadline_s = None if ask.is_stream else within_s or self._request_s + 1.0
        try:
            async with asyncio.timeout(deadline_s):
                return await method(*arguments)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # ccxt cancels its own futures when a connection ends; that is not for us to end by.
            raise VenueError(f"{self.exchange} {ask.value}: the connection ended", retry=True) from None
        except Exception as error:  # noqa: BLE001 - whatever ccxt trips over, the watch goes on
            raise self._failure(ask, error) from None

    def _failure(self, ask: Ask, error: Exception) -> VenueError:
        """By type only: the text of an error may hold an address, and an address a signature."""
        ccxt = library.streaming()
        kind = type(error).__name__
        said = f"{self.exchange} {ask.value}: {kind}"
        if isinstance(error, ccxt.AccountNotEnabled):
            return VenueError(f"{said}; there is no such account", retry=False, code=NOT_OPENED)
        if isinstance(error, ccxt.AuthenticationError):
            return VenueError(f"{said}; check that key, secret and passphrase are right and may read", retry=False)
        if isinstance(error, ccxt.NotSupported | ccxt.ArgumentsRequired):
            return VenueError(f"{said}; ccxt cannot ask this of {self.exchange} as configured", retry=False)
        if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
            return VenueError(said, retry=True, retry_after_s=self._wished_pause(), code=429)
        if isinstance(error, TimeoutError):
            return VenueError(f"{self.exchange} {ask.value}: no answer in time", retry=True)
        if isinstance(error, ccxt.BaseError | OSError):
            unreadable = getattr(error, "is_unreadable", False)  # the one error that is ours, see `guard_loop`
            words = None if unreadable else words_of(error)
            reached = f"{self.exchange} {ask.value}: the exchange cannot be reached: {words}" if words else said
            return VenueError(reached, retry=True, code=UNREADABLE if unreadable else None)
        return VenueError(f"{said} while ccxt read the answer", retry=True)

    def _wished_pause(self) -> float:
        headers = self._client.last_response_headers or {}
        wished = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
        return float(wished) if str(wished).isascii() and str(wished).isdigit() else 10.0

    async def close(self) -> None:
        """Let go of every socket, in bounded time."""
        for client in list((self._client.clients or {}).values()):
            for future in client.futures.values():
                future.add_done_callback(_swallow)
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await self._client.close()


def _only_json(status: int, reason: str, url: str, method: str, headers: object, body: str, *request: object) -> str:
    """ccxt's hook for answers. Of one that is not JSON it would make an empty one: an account without positions."""
    text = body.strip()
    if 200 <= status < 300 and not text.startswith(("{", "[")):
        raise ValueError("not JSON")
    return text


def _swallow(future: "asyncio.Future[object]") -> None:
    """What nobody waits for any more must not be printed when it fails: the error may hold an address."""
    if not future.cancelled():
        future.exception()


def _point(urls: dict[str, Any], rest_url: str | None, stream_url: str | None) -> None:
    """Send everything to other hosts: scheme and host of each address are replaced, its path stays."""
    for name, value in urls.items():
        if isinstance(value, dict):
            _point(value, rest_url, stream_url)
        elif isinstance(value, str):
            base = stream_url if value.startswith("ws") else rest_url
            parts = urlsplit(value)
            if base is not None and parts.scheme in ("http", "https", "ws", "wss"):
                urls[name] = base + parts.path + (f"?{parts.query}" if parts.query else "")


def guard_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Take care of what ccxt lets fall in tasks and callbacks that nobody waits for.

    A frame that ccxt cannot read ends its reading of that connection, in silence and for ever, with an error that only
    the loop hears of: here it ends the connection, so that whoever listens is told. And none of ccxt's errors is
    printed, because their texts hold addresses.
    """
    before = loop.get_exception_handler()
    if getattr(before, "guards_ccxt", False):
        return
    base = library.streaming().BaseError
    connection = library.connection()

    def handler(running: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        owner = None if error is None else _owner(error, connection)
        if owner is not None:
            fault = library.streaming().NetworkError("a frame could not be read")
            fault.is_unreadable = True
            owner.on_error(fault)
        elif isinstance(error, base):
            return
        elif before is not None:
            before(running, context)
        else:
            running.default_exception_handler(context)

    handler.guards_ccxt = True  # type: ignore[attr-defined]
    loop.set_exception_handler(handler)


def _owner(error: BaseException, connection: type[Any]) -> Any:
    """The connection of ccxt in whose handling an error arose, None for any other error."""
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, connection):
            return owner
        trace = trace.tb_next
    return None
