"""The one way into ccxt: what may be asked, and what failures become."""

import ast
import asyncio
import inspect
import logging
from pathlib import Path
from typing import Any

import ccxt
import ccxt.pro
import pytest

import connectors.ccxt
from connectors import FeedSettings
from connectors.ccxt import library
from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountConfig
from connectors.ccxt.gateway import Gateway, guard_loop
from monitor.errors import VenueError
from tests.connectors.ccxt.stage import account
from tests.support.ccxt_server import ccxt_server

SETTINGS = FeedSettings(request_s=2.0)

FOLDER = Path(connectors.ccxt.__file__).parent

READS = ("load_markets", "fetch_", "watch_")
"""Every method of ccxt that begins so reads, and no other is asked for."""


def test_only_reading_is_on_the_list() -> None:
    """Each of them exists, in every exchange, and none can place, move or change anything."""
    assert all(ask.value.startswith(READS) for ask in Ask)
    for ask in Ask:
        assert inspect.isroutine(getattr(ccxt.pro.bitget, ask.value)), ask
    assert Ask.FETCH_MARKET_LEVERAGE_TIERS.capability == "fetchMarketLeverageTiers"


TOUCHED = {
    "clients", "close", "futures", "has", "last_response_headers", "logger", "markets", "on_rest_response",
    "set_sandbox_mode", "tickers", "urls",
}  # fmt: skip
"""All else that is taken from a client, or set in it."""


def test_nothing_else_of_a_client_is_touched() -> None:
    """A client is made and held in one module, and its methods are called by the list alone."""
    touched = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "library.make":
                assert path.name in ("gateway.py", "config.py"), path  # config only looks at what ccxt says of itself
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in ("_client", "client"):
                assert path.name == "gateway.py", path
                touched.add(node.attr)
    assert touched == TOUCHED
    lines = [line.strip() for line in (FOLDER / "gateway.py").read_text().splitlines()]
    assert [line for line in lines if "attr(" in line and "_client" in line] == [
        "setattr(self._client, name, getattr(other._client, name))",  # the names of markets, see `_MARKETS`
        "method = getattr(self._client, Ask(ask).value)",
    ]


async def test_what_is_not_on_the_list_is_not_asked() -> None:
    """Even if somebody tried."""
    async with ccxt_server("bitget") as server:
        gateway = Gateway(account(server), SETTINGS, keys=True)
        for name in ("create_order", "withdraw", "set_leverage", "private_mix_post_v2_mix_order_place_order"):
            with pytest.raises(VenueError) as caught:
                await gateway.call(name)  # type: ignore[arg-type]
            assert not caught.value.retry
        await gateway.close()
        assert server.requests == []


ERRORS = {
    ccxt.AuthenticationError: (False, None),
    ccxt.PermissionDenied: (False, None),
    ccxt.AccountNotEnabled: (False, 404),
    ccxt.NotSupported: (False, None),
    ccxt.ArgumentsRequired: (False, None),
    ccxt.RateLimitExceeded: (True, 429),
    ccxt.DDoSProtection: (True, 429),
    ccxt.NetworkError: (True, None),
    ccxt.RequestTimeout: (True, None),
    ccxt.ExchangeNotAvailable: (True, None),
    ccxt.ExchangeError: (True, None),
    KeyError: (True, None),
    TypeError: (True, None),
    OSError: (True, None),
}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
async def test_an_error_knows_whether_trying_again_helps(kind: type[Exception]) -> None:
    """By its type; its text, which may hold an address with a signature, goes no further."""
    async with ccxt_server("bitget") as server:
        gateway = Gateway(account(server), SETTINGS, keys=True)

        async def fail(*arguments: object) -> None:
            raise kind("https://host/?signature=s3cr3t")

        gateway._client.fetch_positions = fail
        with pytest.raises(VenueError) as caught:
            await gateway.call(Ask.FETCH_POSITIONS)
        await gateway.close()
    assert (caught.value.retry, caught.value.code) == ERRORS[kind]
    assert "s3cr3t" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None
    assert "bitget" in str(caught.value)


async def test_every_question_has_a_deadline_of_ours() -> None:
    """Whatever ccxt's own are."""
    async with ccxt_server("bitget") as server:
        gateway = Gateway(account(server), SETTINGS, keys=True)

        async def never(*arguments: object) -> None:
            await asyncio.Event().wait()

        gateway._client.fetch_balance = never
        with pytest.raises(VenueError) as caught:
            await gateway.call(Ask.FETCH_BALANCE, within_s=0.05)
        assert caught.value.retry
        await gateway.close()


async def test_a_future_that_ccxt_cancels_is_an_error_and_not_our_end() -> None:
    """ccxt cancels what waits on a connection that it closes."""
    async with ccxt_server("bitget") as server:
        gateway = Gateway(account(server), SETTINGS, keys=True)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wait(*arguments: object) -> None:
            await future

        gateway._client.watch_positions = wait
        asyncio.get_running_loop().call_soon(future.cancel)
        with pytest.raises(VenueError):
            await gateway.call(Ask.WATCH_POSITIONS)
        await gateway.close()


async def test_a_client_for_marks_has_no_keys() -> None:
    """It cannot sign anything, whatever it is asked."""
    async with ccxt_server("gate") as server:
        gateway = Gateway(account(server), SETTINGS, keys=False)
        made = gateway._client
        assert not any((made.apiKey, made.secret, made.password, made.uid))
        assert not made.verbose
        await gateway.close()


async def test_ccxt_says_nothing(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """At level DEBUG it would print the headers of every request, with the key in them."""
    caplog.set_level(logging.DEBUG)
    async with ccxt_server("krakenfutures") as server:
        gateway = Gateway(account(server), SETTINGS, keys=True)
        await gateway.call(Ask.LOAD_MARKETS)
        await gateway.call(Ask.FETCH_POSITIONS)
        await gateway.close()
        secrets = list(server.dialect.credentials.values())
    out, err = capfd.readouterr()
    printed = out + err + "\n".join(record.getMessage() for record in caplog.records)
    assert not any(secret in printed for secret in secrets)


async def test_errors_of_nobodys_tasks_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """ccxt leaves futures behind that fail unheard; others' errors go on to the loop's own handler."""
    loop = asyncio.get_running_loop()
    heard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: heard.append(context))
    guard_loop(loop)
    guard_loop(loop)
    loop.call_exception_handler({"message": "m", "exception": ccxt.NetworkError("wss://host/?token=t0ken")})
    assert heard == []
    loop.call_exception_handler({"message": "m", "exception": ValueError("ours")})
    assert len(heard) == 1
    assert "t0ken" not in "".join(capfd.readouterr())


def test_addresses_are_those_of_the_configuration() -> None:
    """Scheme and host of each are replaced, its path stays."""
    settings = AccountConfig.model_validate(
        {
            "name": "main",
            "venue": "ccxt",
            "exchange": "gate",
            "rest_url": "https://gateway.example/gate",
            "stream_url": "wss://streams.example",
            "api_key": "env:HOME",
            "api_secret": "env:HOME",
        }
    )
    made = Gateway(settings, SETTINGS, keys=False)._client
    assert made.urls["api"]["public"]["futures"] == "https://gateway.example/gate/api/v4"
    assert made.urls["api"]["swap"]["usdt"] == "wss://streams.example/v4/ws/usdt"


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""

    def missing(name: str) -> None:
        raise ImportError(name)

    library.streaming.cache_clear()
    monkeypatch.setattr(library, "import_module", missing)
    try:
        with pytest.raises(library.LibraryMissingError, match=r"pip install -c constraints\.txt ccxt"):
            library.exchanges()
    finally:
        library.streaming.cache_clear()


async def test_an_exchange_that_is_not_there_is_said_in_words() -> None:
    """What the system says, not the name of ccxt's class for it."""
    async with ccxt_server("bitget") as server:
        configured = account(server)
    gateway = Gateway(configured, SETTINGS, keys=True)
    with pytest.raises(VenueError, match="bitget fetch_balance: the exchange cannot be reached: connection refused"):
        await gateway.call(Ask.FETCH_BALANCE)
    await gateway.close()
