"""Which contracts a question is known to ask for: what is not known to be is named."""

from typing import Any

import pytest

from connectors.ccxt.facts import facts
from connectors.ccxt.kinds import Kind, Params, Question, everything, in_words, kind_of, kinds_of, named, unasked
from tests.connectors.ccxt.offline import market

USDT, USDC = Kind("swap", "linear", "USDT"), Kind("swap", "linear", "USDC")
BTC, ETH = Kind("swap", "inverse", "BTC"), Kind("swap", "inverse", "ETH")
DATED, DATED_BTC = Kind("future", "linear", "USDT"), Kind("future", "inverse", "BTC")
ALL = {USDT, USDC, BTC, ETH, DATED, DATED_BTC}


def future(symbol: str, name: str, **more: Any) -> dict[str, Any]:
    """A delivery contract."""
    return market(symbol, name, 1.0, type="future", swap=False, future=True, **more)


def test_kinds_are_read_from_the_markets() -> None:
    """By type, form and settlement coin; what is not traded, spot and options are none."""
    markets = [
        market("A/USDT:USDT", "A", 1.0),
        market("B/USDT:USDT", "B", 1.0),
        market("B/USD:BTC", "C", 1.0, kind="inverse"),
        market("Q/USD:BTC", "Q", 1.0, kind="quanto"),
        future("A/USDC:USDC-270326", "D", settle="USDC"),
        future("A/EUR:EUR-270326", "E", settle="EUR", active=False),
        market("A/USDT", "F", 1.0, type="spot", contract=False),
        market("A/USD:A-1-C", "G", 1.0, type="option"),
    ]
    assert kinds_of(markets) == {USDT, BTC, Kind("swap", "quanto", "BTC"), Kind("future", "linear", "USDC")}
    assert kind_of(markets[-1]) is None


ANY_EXCHANGE: dict[str, tuple[Params, set[Kind]]] = {
    "nothing, of which the answer may be any part": ({}, set()),
    "ccxt's word for inverse contracts": ({"subType": "inverse"}, {BTC, ETH}),
    "linear ones, which have several coins": ({"subType": "linear"}, set()),
    "a coin, under whatever name": ({"marginCoin": "usdc"}, {USDC}),
    "a coin of one form": ({"settle": "BTC", "subType": "linear"}, set()),
    "delivery contracts, which are of two forms": ({"type": "future"}, set()),
    "delivery contracts of the one form left": ({"type": "future", "subType": "linear"}, {DATED}),
    "an account of another name": ({"subaccount": 7}, set()),
}


@pytest.mark.parametrize(("params", "asked"), ANY_EXCHANGE.values(), ids=ANY_EXCHANGE)
def test_a_question_asks_for_what_its_words_name(params: Params, asked: set[Kind]) -> None:
    """And for no more: an answer without the rest looks like one of an account that holds none."""
    assert {kind for kind in ALL if named(params, kind, ALL)} == asked


def test_the_only_kind_need_not_be_named() -> None:
    """Of swaps, which are asked for unless another type is."""
    assert named({}, USDT, {USDT})
    assert named({}, USDT, {USDT, DATED})
    assert not named({}, DATED, {USDT, DATED})
    assert everything({}, DATED, ALL)


def test_what_no_question_asks_for_is_unasked_until_a_position_in_it_is_told() -> None:
    """Then it is proved to be asked for."""
    questions = [Question.of({"settle": "usdt"}), Question.of({"subType": "inverse"})]
    assert unasked(ALL, questions, named, ()) == [DATED_BTC, DATED, USDC]
    assert unasked(ALL, questions, named, {USDC}) == [DATED_BTC, DATED]
    assert unasked(ALL, [Question()], everything, ()) == []


def test_the_kinds_of_known_exchanges() -> None:
    """Bitget's by product, inverse ones by coin; Gate's by settlement coin; Kraken Futures has one answer for all."""
    bitget, gate, kraken = (facts(name) for name in ("bitget", "gate", "krakenfutures"))
    markets = {
        "BTC/USD:BTC": market(
            "BTC/USD:BTC", "BTCUSD", 1.0, kind="inverse", info={"supportMarginCoins": ["BTC", "USDC"]}
        ),
        "ETH/USD:ETH": market("ETH/USD:ETH", "ETHUSD", 1.0, kind="inverse"),
        "A/USDT:USDT": market("A/USDT:USDT", "AUSDT", 1.0),
    }
    asked = bitget.questions(markets)
    assert [each.positions for each in asked] == [
        {"productType": "USDT-FUTURES"},
        {"productType": "USDC-FUTURES"},
        *({"productType": "COIN-FUTURES", "marginCoin": coin} for coin in ("BTC", "ETH", "USDC")),
    ]
    assert {str(each.balance) for each in asked[2:]} == {"{'productType': 'COIN-FUTURES'}"}
    swaps = {USDT, USDC, BTC, ETH}
    assert unasked(swaps, asked, bitget.asks, ()) == []
    assert unasked(swaps, asked[:2], bitget.asks, ()) == [BTC, ETH]
    # Without a coin ccxt asks for those in USDT, and there are none.
    assert unasked(swaps, [*asked[:2], Question.of({"productType": "COIN-FUTURES"})], bitget.asks, ()) == [BTC, ETH]
    assert unasked({USDT, BTC, DATED}, gate.questions({}), gate.asks, ()) == [DATED]
    assert unasked(ALL, kraken.questions({}), kraken.asks, ()) == []


def test_rows_of_another_coin_belong_to_another_question() -> None:
    """A unified account answers each question for a product with all that is held in it."""
    asked = Question({}, {}, "BTC")
    assert asked.owns({"info": {"marginCoin": "BTC"}})
    assert not asked.owns({"info": {"marginCoin": "ETH"}})
    assert asked.owns({"info": {}})
    assert Question().owns({"info": {"marginCoin": "ETH"}})


def test_kinds_in_words() -> None:
    """By type and form; of many coins the first are named."""
    many = [Kind("swap", "inverse", coin) for coin in ("ADA", "BTC", "ETH", "XRP")]
    assert in_words(many) == ["inverse swaps in ADA, BTC, ETH and 1 more coin"]
    assert in_words([DATED, BTC, USDC]) == ["linear futures in USDT", "inverse swaps in BTC", "linear swaps in USDC"]
    assert in_words([]) == []
