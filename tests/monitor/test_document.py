"""The assess document: its worked example, every fault named at once, and what JSON cannot say by itself."""

from copy import deepcopy
from typing import Any

import orjson
import pytest

from monitor.assess import assess_account
from monitor.document import read_document, write_pools
from monitor.errors import DocumentError
from tests.support.digits import agrees

EXAMPLE: dict[str, Any] = {
    "venue": "binance",
    "account_mode": "single-asset",
    "position_mode": "one-way",
    "collateral": [{"coin": "USDT", "balance": "1000", "price": "1", "haircut": "0"}],
    "instruments": {
        "BTCUSDT": {
            "kind": "linear",
            "margin_coin": "USDT",
            "multiplier": "1",
            "tick_size": "0.1",
            "taker_fee_rate": "0.0005",
            "tiers": [{"floor": "0", "cap": None, "rate": "0.004", "deduction": "0"}],
        }
    },
    "positions": [
        {
            "instrument": "BTCUSDT",
            "side": "long",
            "size": "0.5",
            "entry_price": "60000",
            "margin_mode": "isolated",
            "isolated_margin": "1500",
            "leverage": "20",
        }
    ],
    "marks": {"BTCUSDT": "59000"},
}


def assess(document: Any) -> list[dict[str, Any]]:
    """The answer's pools."""
    account, marks, rules = read_document(orjson.dumps(document), "account.json")
    pools: list[dict[str, Any]] = orjson.loads(write_pools(assess_account(account, marks, rules)))["pools"]
    return pools


def changed(path: str, value: Any) -> dict[str, Any]:
    """The example with one thing changed; the path is dotted, `...` takes the key away."""
    document = deepcopy(EXAMPLE)
    *where, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = document
    for part in where:
        target = target[part]
    if value is ...:
        del target[last]
    elif isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value
    return document


def test_the_worked_example() -> None:
    """One isolated long: balance 1,000, maintenance 118, liquidated at 57,228.9156..., bankrupt at 57,000."""
    (pool,) = assess(EXAMPLE)
    assert set(pool) == {
        "pool", "basis", "unit", "margin_balance", "maintenance_margin", "margin_ratio", "venue_margin_ratio", "legs",
    }  # fmt: skip
    assert pool["pool"].startswith("binance/")
    assert pool["pool"].endswith("/BTCUSDT:long")
    assert (pool["basis"], pool["unit"]) == ("computed", "USDT")
    assert (pool["margin_balance"], pool["maintenance_margin"]) == (1000.0, 118.0)
    assert pool["margin_ratio"] == pool["venue_margin_ratio"] == 0.118
    (leg,) = pool["legs"]
    assert set(leg) == {
        "instrument", "side", "size", "notional", "unrealized_pnl", "maintenance_margin", "liquidation_price",
        "full_liquidation_price", "bankruptcy_price", "distance",
    }  # fmt: skip
    assert (leg["side"], leg["size"], leg["notional"], leg["unrealized_pnl"]) == ("long", 0.5, 29_500.0, -500.0)
    assert leg["liquidation_price"] == pytest.approx(57_000 / 0.996, rel=1e-15)
    assert leg["full_liquidation_price"] == leg["liquidation_price"]
    assert leg["bankruptcy_price"] == 57_000.0
    assert leg["distance"] == pytest.approx(1 - 57_000 / 0.996 / 59_000)


def test_numbers_may_be_numbers_and_defaults_may_be_left_out() -> None:
    """The same answer without strings and without what the venue's rules do not need."""
    document = orjson.loads(
        orjson.dumps(EXAMPLE).replace(b'"0.5"', b"0.5").replace(b'"60000"', b"60000").replace(b'"59000"', b"59000.0")
    )
    for key in ("account_mode", "position_mode"):
        del document[key]
    for key in ("tick_size", "taker_fee_rate"):
        del document["instruments"]["BTCUSDT"][key]
    del document["positions"][0]["leverage"]
    del document["collateral"][0]["price"], document["collateral"][0]["haircut"]
    assert assess(document) == assess(EXAMPLE)


def test_there_is_none_is_null_and_a_ratio_without_end_is_infinity() -> None:
    """A fully paid long has no liquidation price; a balance below zero is not null, which would read as safe."""
    (paid,) = assess(changed("positions.0.isolated_margin", "60000"))
    assert paid["legs"][0]["liquidation_price"] is None
    assert paid["legs"][0]["distance"] is None
    (broke,) = assess(changed("positions.0.isolated_margin", "100"))
    assert broke["margin_ratio"] == "Infinity"
    assert float(broke["margin_ratio"]) == float("inf")
    assert broke["legs"][0]["distance"] < 0


def test_a_wallet_without_a_position_is_no_pool() -> None:
    """Only what can be liquidated is a pool."""
    assert assess(changed("positions", [])) == []


def test_cross_pools_by_coin_and_a_hedge_pair() -> None:
    """Long and short share one liquidation price in the coin's pool (B-V19: 40,713.3244)."""
    document = changed("position_mode", "hedge")
    document["collateral"][0]["balance"] = "5000"
    document["positions"] = [
        {"instrument": "BTCUSDT", "side": "long", "size": 1, "entry_price": 50_000, "margin_mode": "cross"},
        {"instrument": "BTCUSDT", "side": "short", "size": 0.4, "entry_price": 52_000, "margin_mode": "cross"},
    ]
    (pool,) = assess(document)
    assert pool["pool"].endswith("/USDT")
    assert all(agrees(leg["liquidation_price"], "40713.3244") for leg in pool["legs"])


def test_multi_asset_mode_counts_every_coin_at_its_price() -> None:
    """One pool in USD: 0.1 BTC at 50,000 less 5 % beside 1,000 USDT."""
    document = changed("account_mode", "multi-asset")
    document["collateral"].append({"coin": "BTC", "balance": "0.1", "price": "50000", "haircut": "0.05"})
    document["positions"][0] |= {"margin_mode": "cross", "isolated_margin": None}
    (pool,) = assess(document)
    assert (pool["pool"].rpartition("/")[2], pool["unit"]) == ("multi", "USD")
    assert pool["margin_balance"] == pytest.approx(1000 + 0.1 * 50_000 * 0.95 - 500)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("venue", "binanse", 'venue: found "binanse"; must be'),
        ("venue", ..., "venue: missing"),
        ("colateral", [], "colateral: unknown key; did you mean collateral?"),
        ("positions.0.size", "0", 'positions[0].size: found "0"; must be greater than 0'),
        ("positions.0.size", "-1", 'positions[0].size: found "-1"; must be greater than 0'),
        ("positions.0.size", "nan", "positions[0].size: found"),
        ("positions.0.size", "1e999", "must be a finite number"),
        ("positions.0.size", True, "must be a number"),
        ("positions.0.entry_price", "sixty", "positions[0].entry_price: found"),
        ("positions.0.side", "buy", 'positions[0].side: found "buy"; must be "long" or "short"'),
        ("positions.0.instrument", "BTCUSD", "positions[0].instrument: found"),
        ("positions.0.isolated_margin", ..., "positions[0].isolated_margin: missing"),
        ("positions.0.levarage", "20", "positions[0].levarage: unknown key; did you mean leverage?"),
        ("positions.1", EXAMPLE["positions"][0], "positions[1]: the same position as positions[0]"),
        ("positions.0.margin_mode", "cross", "positions[0].isolated_margin: a cross position has none"),
        ("marks", {}, "marks.BTCUSDT: missing"),
        ("marks.BTCUSDT", 0, "marks.BTCUSDT: found 0; must be greater than 0"),
        ("instruments.BTCUSDT.tiers", [], "instruments.BTCUSDT.tiers: "),
        ("instruments.BTCUSDT.tiers.0.floor", "5", "tiers[0].floor: found 5; the first tier starts at 0"),
        ("instruments.BTCUSDT.tiers.0.rate", "1.5", "rate: found"),
        ("instruments.BTCUSDT.tiers.1", EXAMPLE["instruments"]["BTCUSDT"]["tiers"][0], "tiers[0].cap: missing"),
        ("instruments.BTCUSDT.multiplier", ..., "instruments.BTCUSDT.multiplier: missing"),
        ("collateral.0.coin", "", "collateral[0].coin: "),
        ("collateral.1", {"coin": "USDT", "balance": 1}, "collateral[1].coin: found"),
        ("account_mode", "portfolio", "account_mode: found"),
    ],
)
def test_a_fault_names_its_key(path: str, value: Any, fault: str) -> None:
    """Where, what was found, what is allowed."""
    with pytest.raises(DocumentError) as caught:
        assess(changed(path, value))
    assert fault in str(caught.value)
    assert str(caught.value).startswith("account.json: ")


def test_all_faults_at_once() -> None:
    """Two typing mistakes are two lines."""
    document = changed("positions.0.size", "x")
    document["marks"]["BTCUSDT"] = "y"
    with pytest.raises(DocumentError) as caught:
        assess(document)
    assert len(caught.value.faults) == 2


def test_a_cross_position_needs_its_coin() -> None:
    """Without a wallet for its margin coin nothing is known about a cross position's risk."""
    document = changed("collateral", [])
    document["positions"][0] |= {"margin_mode": "cross", "isolated_margin": None}
    with pytest.raises(DocumentError, match="collateral: no USDT"):
        assess(document)


def test_a_price_that_is_needed_is_asked_for() -> None:
    """Multi-asset mode cannot count a coin without its price."""
    document = changed("account_mode", "multi-asset")
    document["collateral"].append({"coin": "BTC", "balance": "0.1"})
    with pytest.raises(DocumentError, match=r"collateral\[1\]\.price: missing"):
        assess(document)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}'])
def test_what_is_not_a_document(text: bytes) -> None:
    """Anything else is a sentence, never a traceback."""
    with pytest.raises(DocumentError):
        read_document(text, "-")
