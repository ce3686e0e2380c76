"""Recorded and documented frames of the collection through ccxt's handlers and ours: how many marks each file yields.

None of the recordings holds a private stream, and there is none of Kraken Futures. Frames that are no tickers go
through ccxt as well, which makes of them what we never ask for.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.ccxt import translate
from tests.connectors.ccxt.offline import Listener, catalogue, client, market
from tests.support.shared_data import ROOT, needs_shared_data

pytestmark = needs_shared_data


def linear(names: str, form: str) -> list[dict[str, Any]]:
    """Markets of these base coins, their names made by `form`."""
    return [market(f"{base}/USDT:USDT", form.format(base), 1.0) for base in names.split()]


GATE = [
    *linear("BSV ZRX DIA RDNT LIT WOO QUICK OMG FRONT PHB SFP BCH TRX COMP HT XRP ETH BTC ALICE BSW", "{}_USDT"),
    market("ETC/USD:BTC", "ETC_USD", 1.0, kind="inverse"),
]
BITGET = linear("BTC APE IP", "{}USDT")

FILES = {
    "tardis_bitget-futures-v3.jsonl": (
        "bitget",
        BITGET,
        {"publicTrade": 2, "books": 2, "books1": 1, "ticker": 1, "liquidation": 1},
        {"trade": 2, "orderbook": 2, "bidask": 1, "ticker": 1, "mark": 1},
    ),
    "tardis_gate-io-futures.jsonl": (
        "gate",
        GATE,
        {"futures.order_book": 11, "futures.tickers": 5, "futures.trades": 4, "futures.book_ticker": 2},
        {"ticker": 4, "mark": 4, "trades": 5, "bidask": 2, "unreadable": 1},
    ),
    "cryptofeed_GATEIO_FUTURES.ws.1.0.txt.gz": (
        "gate",
        GATE,
        {
            "futures.candlesticks": 11, "futures.trades": 1, "futures.order_book_update": 362,
            "futures.book_ticker": 76,
        },
        {"candles": 1, "bidask": 75},
    ),
}  # fmt: skip
"""Of each file the exchange, its contracts, frames by channel, and what ccxt and we made of them."""

BOOK_UPDATES = {"books", "futures.order_book_update"}
"""Changes of order books, which ccxt takes only after a whole one that it asks for, and which nobody here wants."""


def frames(name: str) -> Iterator[Any]:
    """What the exchange sent, frame by frame."""
    path = ROOT / "ws" / name
    if path.suffix == ".jsonl":
        yield from (json.loads(line) for line in path.read_text().splitlines() if line.strip())
        return
    with gzip.open(path, "rt") as lines:
        for line in lines:
            _, sent, text = line.partition(": ")
            if sent and "<-" not in line.split("{")[0]:
                yield json.loads(text)


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_handled(name: str) -> None:
    """Counted by what it is, and every ticker with a mark becomes one."""
    exchange, markets, channels, results = FILES[name]
    made = client(exchange, markets)
    heard: Counter[str] = Counter()
    made_of_it: Counter[str] = Counter()
    for message in frames(name):
        argument = message.get("arg", {})
        channel = message.get("channel") or argument.get("channel") or argument["topic"]
        heard[channel] += 1
        if channel in BOOK_UPDATES and (message.get("event") or message.get("action")) == "update":
            continue
        listener = Listener("wss://fx-ws.gateio.ws/v4/ws/usdt")
        try:
            made.handle_message(listener, message)
        except TypeError:  # tickers in a list in a list: ccxt gives up the connection, see `gateway.guard_loop`
            made_of_it["unreadable"] += 1
        for key, result in listener.resolved:
            kind = key.partition(":")[0]
            made_of_it[kind] += 1
            if kind == "ticker" and translate.mark(result, catalogue(made)) is not None:
                made_of_it["mark"] += 1
    assert dict(heard) == channels
    assert dict(made_of_it) == results
