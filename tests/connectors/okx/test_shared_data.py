"""Every frame and answer of OKX's in the collection of real venue data: read, or knowingly left."""

import gzip
from collections import Counter
from collections.abc import Iterator
from random import Random

import orjson
import pytest

from connectors import FeedSettings
from connectors.okx import answers
from connectors.okx.market import MarketFeed
from connectors.okx.parse import AccountRow, private_frame
from connectors.wire import BadFrame
from monitor.model.instrument import ContractKind
from monitor.telemetry import Telemetry
from tests.support.shared_data import ROOT, needs_shared_data

pytestmark = needs_shared_data

WATCHED = frozenset(
    {"LTC-USD-190628", "BTC-USD-SWAP", "BTC-USDT-SWAP", "index:BTCUSDT", "index:FILUSDT", "index:WNCGUSDT"}
)

# What each file holds: kinds of values that the private stream's parser makes of it and defects that it finds, then the
# events and the defects of a market session that watches `WATCHED`. Old frames (V3, "table") have no channel; other
# channels are not subscribed to.
FILES = {
    "okx_docs_frames.jsonl": (
        {"AccountRow": 1, "Changed": 1, "Positions": 2, "unknown_event": 7},
        {"Marks": 2},
        {"unknown_event": 9},
    ),
    "tardis_okex-swap.jsonl": ({"shape": 8, "unknown_event": 5}, {"Marks": 1}, {"shape": 8, "unknown_event": 4}),
    "tardis_okex-futures.jsonl": (
        {"Reply": 1, "shape": 14, "unknown_event": 12},
        {"Marks": 1},
        {"shape": 14, "unknown_event": 9},
    ),
    "cryptofeed_OKX.ws.1.0.txt.gz": ({"Reply": 18, "unknown_event": 392}, {}, {"unknown_event": 392}),
}


def frames(name: str) -> Iterator[bytes]:
    """The frames that came, in order."""
    body = (ROOT / "ws" / name).read_bytes()
    for line in (gzip.decompress(body) if name.endswith(".gz") else body).splitlines():
        if not name.startswith("cryptofeed"):
            yield line
        elif not line.startswith(b"wss"):  # those were sent
            yield line.partition(b": ")[2]


@pytest.mark.parametrize("name", FILES)
def test_frames(name: str) -> None:
    """None surprises, and each yields what it should."""
    telemetry = Telemetry()
    session = MarketFeed("okx", "wss://market.test", FeedSettings(), telemetry, Random(1), "okx")
    session.start(1e9)
    session.watch(WATCHED, 1e9)
    (connection,) = (action.connection for action in session.actions if hasattr(action, "url"))
    session.opened(connection, 1e9)
    told: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for frame in frames(name):
        try:
            told[type(private_frame(orjson.loads(frame))).__name__] += 1
        except BadFrame as bad:
            told[bad.defect.value] += 1
        seen.update(type(event).__name__ for event in session.received(connection, frame, 2e9))
    bad_frames = {labels[2]: count for labels, count in telemetry.bad_frames.items().items()}
    assert (dict(told), dict(seen), bad_frames) == FILES[name]


def test_every_file_is_looked_at() -> None:
    """Of frames, and the one of REST answers."""
    found = {path.name for path in (ROOT / "ws").iterdir() if "ok" in path.name.lower()}
    assert found == {*FILES, "cryptofeed_OKX.0.txt.gz"}


def nautilus(name: str) -> bytes:
    """A document of another project's tests."""
    return (ROOT / "raw" / "nautilus" / f"okx_{name}.json").read_bytes()


def test_what_becomes_of_every_recorded_answer() -> None:
    """All that was asked were contracts, five times, and all of them are read; coins are none."""
    asked, read = Counter[str](), Counter[tuple[str, int]]()
    for line in gzip.decompress((ROOT / "ws" / "cryptofeed_OKX.0.txt.gz").read_bytes()).splitlines():
        question, _, body = line.partition(b": ")
        kind = question.partition(b" -> ")[0].rpartition(b"instType=")[2].decode()
        asked[kind] += 1
        if kind != "configuration":  # the recorder's own
            read[kind, len(answers.contracts(body))] += 1
    contracts = {"SPOT": 0, "SWAP": 166, "FUTURES": 104, "OPTION&uly=BTC-USD": 346, "OPTION&uly=ETH-USD": 350}
    assert asked == {**dict.fromkeys(contracts, 5), "configuration": 1}
    assert read == dict.fromkeys(contracts.items(), 5)


def test_real_contracts() -> None:
    """Of 2022, without fee groups: inverse ones count dollars."""
    lines = gzip.decompress((ROOT / "ws" / "cryptofeed_OKX.0.txt.gz").read_bytes()).splitlines()
    (body, *_) = (line.partition(b": ")[2] for line in lines if b"instType=SWAP ->" in line)
    found = {symbol: contract.instrument for symbol, contract in answers.contracts(body).items()}
    assert len(found) == 166
    inverse, linear = found["BTC-USD-SWAP"], found["BTC-USDT-SWAP"]
    assert (inverse.kind, inverse.margin_coin, inverse.multiplier) == (ContractKind.INVERSE, "BTC", 100.0)
    assert (linear.kind, linear.margin_coin, linear.multiplier, linear.tick_size) == (
        ContractKind.LINEAR,
        "USDT",
        0.01,
        0.1,
    )
    assert {"BTC-USD-SWAP", "ETH-USDT-SWAP"} <= answers.contracts(nautilus("http_get_instruments_swap")).keys()


def test_a_recorded_futures_mode_account() -> None:
    """Nothing over all currencies, and empty ratios without a cross position."""
    account = private_frame(orjson.loads(nautilus("ws_account")))
    assert isinstance(account, AccountRow)
    assert (account.adjusted_equity, account.maintenance_margin, account.venue_ratio) == (None, None, None)
    assert [(coin.coin, coin.cash, coin.venue_ratio) for coin in account.coins] == [
        ("USDT", 100.52768569797846, None),
        ("BTC", 5.1e-09, None),
        ("ETH", 1.85e-07, None),
    ]


def test_other_documents() -> None:
    """Made-up positions and tiers are read; orders and funding are other channels."""
    (held,), others = answers.positions(nautilus("http_get_positions"))
    assert (held.instrument, held.size, held.margin, others) == ("BTC-USDT-SWAP", 0.5, 0.5, frozenset())
    ((tier,),) = answers.tiers(nautilus("http_get_position_tiers")).values()
    assert (tier.rate, tier.cap) == (0.03, None)
    for name in ("ws_orders_adl", "ws_funding_rate"):
        with pytest.raises(BadFrame, match="not a channel known here"):
            private_frame(orjson.loads(nautilus(name)))
