"""Recorded and documented frames of the collection through ccxt's handlers and ours: how many marks each file yields.

None of the recordings holds a private stream; frames that are no tickers are knowingly left to ccxt, which resolves
what we never ask for.
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
    "tardis_bitget-futures-v3.jsonl": ("bitget", BITGET, {"frames": 7, "tickers": 1, "marks": 1, "unreadable": 0}),
    "tardis_gate-io-futures.jsonl": ("gate", GATE, {"frames": 22, "tickers": 4, "marks": 4, "unreadable": 1}),
    "cryptofeed_GATEIO_FUTURES.ws.1.0.txt.gz": (
        "gate",
        GATE,
        {"frames": 450, "tickers": 0, "marks": 0, "unreadable": 0},
    ),
}


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
    exchange, markets, expected = FILES[name]
    made = client(exchange, markets)
    counts: Counter[str] = Counter(frames=0, tickers=0, marks=0, unreadable=0)
    for message in frames(name):
        counts["frames"] += 1
        listener = Listener("wss://fx-ws.gateio.ws/v4/ws/usdt")
        kind = message.get("channel") or message.get("arg", {}).get("topic")
        if kind not in ("futures.tickers", "ticker") or message.get("event") == "subscribe":
            continue
        counts["tickers"] += 1
        try:
            made.handle_message(listener, message)
        except TypeError:  # tickers in a list in a list: ccxt gives up the connection, see `gateway.guard_loop`
            counts["unreadable"] += 1
        told = [result for key, result in listener.resolved if key.startswith("ticker")]
        counts["marks"] += sum(translate.mark(ticker, catalogue(made)) is not None for ticker in told)
    assert dict(counts) == expected
