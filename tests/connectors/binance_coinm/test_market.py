"""COIN-M's marks: rows of its own, and a path that is found by trying."""

from connectors.session import Connect
from monitor.model.events import Marks
from tests.connectors.binance_coinm.stage import market_stage, raw


def test_marks_of_perpetual_and_quarterly_arrive() -> None:
    """One object each on their own streams; a pair's array without the rows of USD-M."""
    stage, _ = market_stage("BTCUSD_PERP", "BTCUSD_270326", "BTCUSDT")
    assert stage.said()[0]["params"] == [
        "btcusd_270326@markPrice@1s",
        "btcusd_perp@markPrice@1s",
        "btcusdt@markPrice@1s",
    ]
    for name in ("ws_mark_price", "ws_mark_price_delivery", "ws_mark_price_pair"):
        stage.frame(raw(name))
    told = [list(zip(event.instruments, event.prices, strict=True)) for event in stage.of(Marks)]
    assert told == [
        [("BTCUSD_PERP", 72010.5)],
        [("BTCUSD_270326", 72600.0)],
        [("BTCUSD_PERP", 72011.0), ("BTCUSD_270326", 72601.0)],
    ]


def test_a_path_that_connects_and_says_nothing_gives_way_to_the_other() -> None:
    """Until one delivers, which is then kept."""
    stage, _ = market_stage("BTCUSD_PERP")
    stage.pass_s(60.0)
    urls = [connect.url for connect in stage.did(Connect)]
    assert urls[:3] == ["wss://market.test/ws", "wss://market.test/market/ws", "wss://market.test/ws"]
    while not stage.open:
        stage.pass_s(0.5)
    delivering = stage.did(Connect)[-1].url
    stage.frame(raw("ws_mark_price"))
    seen = len(stage.did(Connect))
    stage.lose()
    while len(stage.did(Connect)) == seen:
        stage.pass_s(0.5)
    assert stage.did(Connect)[seen].url == delivering


def test_a_refused_path_gives_way_too() -> None:
    """A host without it answers with an error."""
    stage, _ = market_stage("BTCUSD_PERP")
    stage.connecting = False
    stage.lose()
    stage.pass_s(20.0)
    assert {connect.url for connect in stage.did(Connect)} == {"wss://market.test/ws", "wss://market.test/market/ws"}


def test_there_is_no_stream_of_all_marks_for_fewer_than_a_connection_carries() -> None:
    """COIN-M's host documents one for each pair only."""
    stage, feed = market_stage(*(f"C{i}USD_PERP" for i in range(150)))
    stage.pass_s(3.0)
    assert "!markPrice@arr@1s" not in {name for said in stage.said() for name in said["params"]}
    assert feed.venue == "binance-coinm"
