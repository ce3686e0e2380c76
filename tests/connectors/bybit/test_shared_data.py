"""Real and documented frames of Bybit: each is parsed or knowingly passed over."""

import gzip
from collections import Counter
from collections.abc import Iterable

import orjson
import pytest

from connectors.bybit import answers
from connectors.bybit.parse import PositionUpdate, WalletUpdate, position, private_frame
from connectors.wire import BadFrame
from monitor.model.events import Marks
from tests.connectors.bybit.stage import Stage, market_stage
from tests.support.shared_data import ROOT, needs_shared_data

pytestmark = needs_shared_data


def lines(name: str) -> list[bytes]:
    """One frame a line."""
    return (ROOT / "ws" / name).read_bytes().splitlines()


def recorded() -> list[bytes]:
    """A real recording of an older API; its lines bear a time before the frame."""
    text = gzip.decompress((ROOT / "ws" / "cryptofeed_BYBIT.ws.26.0.txt.gz").read_bytes())
    return [line.split(b": ", 1)[1] for line in text.splitlines() if b": {" in line and not line.startswith(b"wss:")]


def market_kinds(frames: Iterable[bytes]) -> tuple[Counter[str], dict[str, float]]:
    """What market sessions make of frames: events and defects, and the last mark of every name.

    Each symbol has a session of its own, because the frames are years apart.
    """
    kinds: Counter[str] = Counter()
    found: dict[str, float] = {}
    stages: dict[str, Stage] = {}
    for frame in frames:
        data = orjson.loads(frame).get("data")
        row = data if isinstance(data, dict) else {}
        name = f"index:{row['symbol'][:-4]}USD" if "usdIndexPrice" in row else row.get("symbol", "BTCUSDT")
        stage = stages[name] = stages.get(name) or market_stage(name)[0]
        before = sum(stage.telemetry.bad_frames.items().values())
        events = stage.frame(frame)
        counted = sum(stage.telemetry.bad_frames.items().values()) - before
        kinds["marks" if events else "counted" if counted else "passed over"] += 1
        for event in events:
            assert isinstance(event, Marks)
            found |= zip(event.instruments, event.prices, strict=True)
    for stage in stages.values():
        for labels, n in stage.telemetry.bad_frames.items().items():
            kinds[labels[2]] += n
    return kinds, found


def test_documented_tickers() -> None:
    """Snapshots and deltas of four categories; two deltas have no mark, and one of them a time of the year 1975."""
    kinds, found = market_kinds(lines("bybit_tickers_v5.jsonl"))
    assert kinds == {"marks": 7, "counted": 1, "out_of_order": 1}
    assert found == {
        "index:BTCUSD": 21120.2400136,
        "BTC-28JUN24-60000-P": 3502.0715721,
        "BTCUSDT": 61875.06,
        "BTCPERP": 61943.58,
        "BTCUSD": 61894.0,
    }


def test_frames_of_every_generation() -> None:
    """Those of version 5 are read; older ones and other topics are passed over by name."""
    kinds, found = market_kinds(lines("tardis_bybit.jsonl"))
    assert found == {"BTCUSD": 28560.0}
    assert kinds == {"marks": 2, "passed over": 1, "counted": 29, "unknown_event": 28, "shape": 1}


def test_a_real_recording_of_an_older_api() -> None:
    """Trades and books: no frame is taken for garbage."""
    frames = recorded()
    kinds, found = market_kinds(frames)
    assert found == {}
    assert len(frames) > 1000
    assert kinds["unknown_event"] + kinds["shape"] == len(frames)
    assert kinds["shape"] == sum(b'"success"' in frame for frame in frames)


def test_documented_private_frames() -> None:
    """Position, two wallets, two ordinary orders, greeks, an ordinary fill."""
    found = [private_frame(orjson.loads(line)) for line in lines("bybit_private_docs_frames.jsonl")]
    kinds = Counter(type(event).__name__ for event in found)
    assert kinds == {"PositionUpdate": 1, "WalletUpdate": 2, "NoneType": 4}
    (update,) = [event for event in found if isinstance(event, PositionUpdate)]
    (held,) = update.positions
    assert (held.symbol, held.size, held.entry_price, held.maintenance_margin) == ("XRPUSDT", 75.0, 0.3615, 0.28576575)
    whole, sparse = [event for event in found if isinstance(event, WalletUpdate)]
    assert whole.totals is not None
    assert (whole.totals.maintenance_margin, len(whole.coins)) == (39.42876721, 6)
    assert (sparse.totals, [(row.coin, row.balance) for row in sparse.coins]) == (None, [("BREAK", 201.34882644)])


def nautilus(name: str) -> bytes:
    """A document of the venue's documentation or of the kind."""
    return (ROOT / "raw" / "nautilus" / f"bybit_{name}.json").read_bytes()


def test_documents_of_the_venue() -> None:
    """Positions (long, short, flat), a wallet with a debt, contracts, frames."""
    assert [row.size for row in answers.positions(nautilus("http_get_positions"))] == [0.5, -5.0]
    wallet = answers.wallet(nautilus("http_get_wallet_balance"))
    assert [(row.coin, row.balance) for row in wallet.coins] == [("BTC", 0.0), ("USDT", 1000.5), ("ETH", -0.06142)]
    assert [*answers.contracts(nautilus("http_get_instruments_linear"))] == ["BTCUSDT", "ETHUSDT"]
    (inverse,) = answers.contracts(nautilus("http_get_instruments_inverse")).values()
    assert (inverse.symbol, inverse.margin_coin) == ("BTCUSD", "BTC")
    assert position(orjson.loads(nautilus("ws_account_position_with_open_time"))).size == 0.1
    assert isinstance(private_frame(orjson.loads(nautilus("ws_account_wallet"))), WalletUpdate)
    stage, _ = market_stage("BTCUSDT")
    (event,) = stage.frame(nautilus("ws_ticker_linear"))
    assert isinstance(event, Marks)
    assert event.prices == (17217.33,)
    with pytest.raises(BadFrame):
        answers.positions(nautilus("http_get_positions")[:-50])
