"""The optional dependency: found when it is needed, with a sentence about it where it is not."""

from functools import cache
from importlib import import_module
from typing import Any

HOW_TO = "this needs the package ccxt; install it with: .venv/bin/pip install -c constraints.txt ccxt"


class LibraryMissingError(ValueError):
    """ccxt is not installed."""


@cache
def streaming() -> Any:
    """ccxt with its streams (``ccxt.pro``). Raises LibraryMissingError, whose text says what to do."""
    try:
        return import_module("ccxt.pro")
    except ImportError:
        raise LibraryMissingError(HOW_TO) from None


def connection() -> type[Any]:
    """The class of ccxt's WebSocket connections."""
    found: type[Any] = import_module("ccxt.async_support.base.ws.client").Client
    return found


def exchanges() -> frozenset[str]:
    """Every exchange that ccxt has streams for, by ccxt's own name. Raises LibraryMissingError."""
    return frozenset(streaming().exchanges)


def make(exchange: str, config: dict[str, Any]) -> Any:
    """A client of one exchange. It opens nothing yet."""
    return getattr(streaming(), exchange)(config)
