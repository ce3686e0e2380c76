"""ccxt's own readers without a network: clients with markets that we made up."""

from collections.abc import Sequence
from typing import Any

from connectors.ccxt import library
from connectors.ccxt.translate import Catalogue


def market(
    symbol: str, name: str, size: float, *, kind: str = "linear", taker: float = 0.0006, **more: Any
) -> dict[str, Any]:
    """A perpetual contract as ccxt describes one."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    return {
        "id": name, "symbol": symbol, "base": base, "quote": quote, "settle": settle, "baseId": base, "quoteId": quote,
        "settleId": settle, "type": "swap", "spot": False, "margin": False, "swap": True, "future": False,
        "option": False, "active": True, "contract": True, "linear": kind == "linear", "inverse": kind == "inverse",
        "contractSize": size, "taker": taker, "maker": taker, "expiry": None, "strike": None, "optionType": None,
        "precision": {"amount": 0.0001, "price": 0.1}, "limits": {}, "info": {}, **more,
    }  # fmt: skip


def client(exchange: str, markets: Sequence[dict[str, Any]]) -> Any:
    """A client that knows these markets and opens nothing."""
    made = library.make(exchange, {"options": {"defaultType": "swap"}})
    made.set_markets(list(markets))
    return made


def catalogue(made: Any) -> Catalogue:
    """The client's contracts."""
    return Catalogue.of(made.markets)


class Listener:
    """Stands where ccxt's connection would: hears what a frame resolves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.futures: dict[str, Any] = {}
        self.subscriptions: dict[str, Any] = {}
        self.resolved: list[tuple[str, Any]] = []
        self.lastPong = None

    def resolve(self, result: Any, key: str) -> Any:
        """A frame said something to whoever waits for `key`."""
        self.resolved.append((key, result))
        return result

    def reject(self, result: Any, key: str | None = None) -> Any:
        """A frame refused something."""
        self.resolved.append(("rejected", result))
        return result
