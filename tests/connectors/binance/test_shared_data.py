"""Real frames and answers of Binance: each is parsed or knowingly passed over, and none is a fault."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import orjson
import pytest

from connectors.binance import answers
from connectors.binance_coinm import answers as coin_answers
from connectors.binance_common.parse import AccountUpdate, ForcedKind, ForcedOrder, user_event
from connectors.wire import BadFrame, Defect
from monitor.model.events import Marks
from monitor.model.ids import Slot
from tests.connectors.binance.stage import market_stage
from tests.support.shared_data import ROOT, needs_shared_data

pytestmark = needs_shared_data


def tardis_frames() -> Iterable[bytes]:
    """Documented frames of several generations of the API."""
    return (ROOT / "ws" / "tardis_binance-futures.jsonl").read_bytes().splitlines()


def recorded_frames() -> Iterator[bytes]:
    """A real recording: trades, books, candles; no marks."""
    for line in gzip.decompress((ROOT / "ws" / "cryptofeed_BINANCE_FUTURES.ws.1.0.txt.gz").read_bytes()).splitlines():
        if not line.startswith(b"wss:"):
            yield line.split(b": ", 1)[1]


def test_marks_of_every_generation_are_read() -> None:
    """Without ``st``, without ``i``, delivery contracts, in the envelope."""
    found = {}
    for frame in tardis_frames():
        stage, _ = market_stage("BTCUSDT", "BTCBUSD_210129")
        for event in stage.frame(frame):
            assert isinstance(event, Marks)
            found |= zip(event.instruments, event.prices, strict=True)
        assert stage.bad("mark", "json") == stage.bad("mark", "number") == 0
    assert found == {
        "BTCUSDT": 8291.34697815,
        "BTCBUSD_210129": 31799.2773,
    }


@pytest.mark.parametrize(
    ("frames", "channels", "marks", "market", "private"),
    [
        pytest.param(
            tardis_frames,
            {"trade": 2, "markPrice": 2, "aggTrade": 1, "depth": 1, "depthSnapshot": 1, "openInterest": 1},
            2,
            {"unknown_event": 4, "shape": 2},
            {"unknown_event": 6, "shape": 2},
            id="documented",
        ),
        pytest.param(
            recorded_frames,
            {"depth": 764, "bookTicker": 613, "aggTrade": 91, "kline_1m": 67},
            0,
            {"unknown_event": 1535},
            {"unknown_event": 1535},
            id="recorded",
        ),
    ],
)
def test_what_becomes_of_every_frame(
    frames: Callable[[], Iterable[bytes]],
    channels: dict[str, int],
    marks: int,
    market: dict[str, int],
    private: dict[str, int],
) -> None:
    """Counted by channel: marks, and what a market and a private stream pass over by name.

    The two without a shape are no frames of Binance's, but what the recorder asked by REST.
    """
    heard, passed, told, on_private = Counter[str](), Counter[str](), 0, Counter[str]()
    for frame in frames():
        heard[orjson.loads(frame)["stream"].split("@")[1]] += 1
        stage, _ = market_stage("BTCUSDT", "BTCBUSD_210129")
        told += len(stage.frame(frame))
        for labels, count in stage.telemetry.bad_frames.items().items():
            passed[labels[2]] += count
        with pytest.raises(BadFrame) as refused:
            user_event(orjson.loads(frame))
        on_private[refused.value.defect.value] += 1
    assert (dict(heard), told, dict(passed), dict(on_private)) == (channels, marks, market, private)


def nautilus(name: str) -> bytes:
    """A document of the venue's documentation."""
    return (ROOT / "raw" / "nautilus" / f"binance_{name}.json").read_bytes()


def test_the_documented_account_update_has_three_rows() -> None:
    """Flat, long and short."""
    update = user_event(orjson.loads(nautilus("account_update")))
    assert isinstance(update, AccountUpdate)
    assert update.balances == (("USDT", 100.12345678),)
    assert [(row.slot, row.size, row.isolated_wallet) for row in update.positions] == [
        (Slot.BOTH, 0.0, 0.0),
        (Slot.LONG, 20.0, 13200.70726908),
        (Slot.SHORT, -10.0, 6570.42511771),
    ]


def test_the_documented_adl_order_is_one() -> None:
    """Its client id begins with adl_autoclose."""
    order = user_event(orjson.loads(nautilus("order_update_adl")))
    assert isinstance(order, ForcedOrder)
    assert (order.kind, order.symbol) == (ForcedKind.ADL, "BTCUSDT")


def test_the_documented_mark_is_one_and_the_ticker_is_not() -> None:
    """Two frames that look alike."""
    stage, _ = market_stage("BTCUSDT")
    assert len(stage.frame(nautilus("mark_price_stream"))) == 1
    assert stage.frame(nautilus("ticker_stream")) == []
    assert stage.bad("mark", "unknown_event") == 1


def test_a_position_of_version_two_is_read_as_far_as_it_goes() -> None:
    """It lacks the margin coin, which the instrument tells."""
    (row,) = answers.position_risk(nautilus("position_risk"))
    assert (row.symbol, row.size, row.mark_price, row.margin_coin) == ("BTCUSDT", 0.001, 51000.0, None)


def test_an_account_of_version_two_is_read_while_it_is_flat() -> None:
    """Its positions lack what version 3 tells of open ones."""
    account = answers.account(nautilus("account_info_v2"))
    assert account.holdings == ()
    assert [(row.coin, row.cross_wallet) for row in account.assets] == [("USDT", 23.72469206)]


def recorded_answers() -> list[tuple[str, bytes]]:
    """What was asked by REST, and the answer."""
    lines = gzip.decompress((ROOT / "ws" / "cryptofeed_BINANCE_FUTURES.0.txt.gz").read_bytes()).splitlines()
    parts = [line.partition(b": ") for line in lines]
    return [(question.partition(b" -> ")[0].decode(), body) for question, _, body in parts]


def test_what_becomes_of_every_recorded_answer() -> None:
    """One is of contracts, all of which are read: perpetuals and quarterlies, and none that is inverse."""
    (asked, body), (recorder, _) = recorded_answers()
    assert (asked, recorder) == ("https://fapi.binance.com/fapi/v1/exchangeInfo", "configuration")
    found = answers.exchange(body).symbols
    assert len(found) == len(orjson.loads(body)["symbols"]) == 122
    assert Counter((it.margin_coin, it.funding_interval_s) for it in found.values()) == {
        ("USDT", 28_800.0): 117,
        ("USDT", None): 3,
        ("BUSD", 28_800.0): 2,
    }
    assert coin_answers.instruments(body) == {}


def test_a_real_exchange_info_is_read() -> None:
    """As it was in 2021; fields that are new since are absent."""
    (_, body), _ = recorded_answers()
    exchange = answers.exchange(body)
    found = exchange.symbols["BTCUSDT"]
    assert (found.margin_coin, found.tick_size, found.funding_interval_s) == ("USDT", 0.01, 28_800.0)
    assert "BNB" not in exchange.margin_coins
    with pytest.raises(BadFrame) as refused:
        answers.exchange(body[:-100])
    assert refused.value.defect is Defect.JSON
