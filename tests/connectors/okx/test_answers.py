"""Answers of OKX's REST endpoints."""

from typing import Any

import orjson
import pytest

from connectors.okx import answers, snapshot
from connectors.okx.answers import Contract
from connectors.wire import BadFrame
from monitor.model.account import AccountMode, PositionMode
from monitor.model.instrument import ContractKind, Instrument, Tier

CONFIG = {"acctLv": "2", "posMode": "net_mode", "perm": "read_only", "liquidationGear": "3"}


def body(*rows: Any) -> bytes:
    """An answer."""
    return orjson.dumps({"code": "0", "msg": "", "data": rows})


@pytest.mark.parametrize(
    ("level", "mode"),
    [
        ("1", AccountMode.SINGLE_ASSET),
        ("2", AccountMode.SINGLE_ASSET),
        ("3", AccountMode.MULTI_ASSET),
        ("4", AccountMode.PORTFOLIO),
    ],
)
def test_account_levels(level: str, mode: AccountMode) -> None:
    """Spot and futures, multi-currency, portfolio margin."""
    found = answers.config(body(CONFIG | {"acctLv": level, "posMode": "long_short_mode"}))
    assert (found.account_mode, found.position_mode) == (mode, PositionMode.HEDGE)


@pytest.mark.parametrize("changes", [{"acctLv": "5"}, {"acctLv": None}, {"posMode": "both"}])
def test_a_mode_that_is_not_known_is_not_guessed(changes: dict[str, Any]) -> None:
    """It may have other rules."""
    with pytest.raises(BadFrame):
        answers.config(body(CONFIG | changes))


@pytest.mark.parametrize(
    ("perm", "granted", "dangerous"),
    [
        ("read_only", ("read_only",), ()),
        ("read_only,trade", ("read_only", "trade"), ("trade",)),
        ("withdraw, read_only", ("read_only", "withdraw"), ("withdraw",)),
        ("read_only,something_new", ("read_only", "something_new"), ("something_new",)),
        ("", (), ()),
        (None, (), ()),
    ],
)
def test_what_the_key_may_do(perm: str | None, granted: tuple[str, ...], dangerous: tuple[str, ...]) -> None:
    """Anything but reading is dangerous, also what is not known here."""
    found = answers.config(body(CONFIG | {"perm": perm}))
    assert (found.permissions, found.dangerous) == (granted, dangerous)


@pytest.mark.parametrize(("gear", "warns"), [("3", True), ("-1", True), ("0", False), ("", True)])
def test_whether_okx_warns(gear: str, warns: bool) -> None:
    """Only zero switches it off."""
    assert answers.config(body(CONFIG | {"liquidationGear": gear})).warns is warns


def contract(**changes: Any) -> dict[str, Any]:
    """A row of the contracts."""
    return {
        "instId": "BTC-USDT-SWAP",
        "ctType": "linear",
        "ctVal": "0.01",
        "ctMult": "10",
        "settleCcy": "USDT",
        "tickSz": "0.1",
        "groupId": "2",
    } | changes


def test_contracts() -> None:
    """Contracts are ctVal * ctMult; a row that cannot be used costs only itself; no tick is no tick."""
    inverse = contract(instId="BTC-USD-SWAP", ctType="inverse", ctVal="100", ctMult="1", settleCcy="BTC", tickSz="")
    found = answers.contracts(
        body(contract(), inverse, contract(instId="X", ctType=""), contract(instId="Y", ctVal=""))
    )
    assert found == {
        "BTC-USDT-SWAP": Contract(Instrument("BTC-USDT-SWAP", ContractKind.LINEAR, "USDT", 0.1, (), 0.1), "2"),
        "BTC-USD-SWAP": Contract(Instrument("BTC-USD-SWAP", ContractKind.INVERSE, "BTC", 100.0, ()), "2"),
    }


def test_tiers_join_and_the_last_has_no_end() -> None:
    """OKX counts contracts; it begins a tier one after the last one's end, and sizes can be fractions."""
    rows = [
        {"instFamily": "BTC-USDT", "minSz": "1001", "maxSz": "5000", "mmr": "0.0065"},
        {"instFamily": "BTC-USDT", "minSz": "0", "maxSz": "1000", "mmr": "0.004"},
        {"instFamily": "ETH-USDT", "minSz": "0", "maxSz": "3000", "mmr": "0.005"},
    ]
    assert answers.tiers(body(*rows)) == {
        "BTC-USDT": (Tier(0.0, 1000.0, 0.004, 0.0), Tier(1000.0, None, 0.0065, 0.0)),
        "ETH-USDT": (Tier(0.0, None, 0.005, 0.0),),
    }


def test_a_table_whose_end_is_left_open() -> None:
    """The last tier may have no limit; one below others that has none, or a rate that is none, spoils its family."""
    last = {"instFamily": "BTC-USDT", "minSz": "1001", "maxSz": "", "mmr": "0.0065"}
    first = {"instFamily": "BTC-USDT", "minSz": "0", "maxSz": "1000", "mmr": "0.004"}
    good = {"instFamily": "ETH-USDT", "minSz": "0", "maxSz": "3000", "mmr": "0.005"}
    table = (Tier(0.0, 1000.0, 0.004, 0.0), Tier(1000.0, None, 0.0065, 0.0))
    assert answers.tiers(body(first, last, good))["BTC-USDT"] == table
    for spoilt in (first | {"maxSz": ""}, first | {"mmr": ""}, first | {"minSz": "x"}):
        assert answers.tiers(body(spoilt, last, good)).keys() == {"ETH-USDT"}


def test_indexes() -> None:
    """Coins that have one in USD."""
    rows = [{"instId": name, "idxPx": "1", "ts": "1"} for name in ("BTC-USD", "USDT-USD", "BTC-USDT", "")]
    assert answers.indexes(body(*rows)) == {"BTC", "USDT"}


def test_contracts_that_expire() -> None:
    """A future is like a swap; an option, whose price is told in its coin, is linear in it."""
    future = contract(instType="FUTURES", instId="BTC-USD-261225", ctType="inverse", ctVal="100", settleCcy="BTC")
    option = contract(
        instType="OPTION", instId="BTC-USD-261225-90000-C", ctType="", ctVal="1", ctMult="0.01", settleCcy="BTC"
    )
    found = [each.instrument for each in answers.contracts(body(future, option)).values()]
    assert [(it.kind, it.margin_coin, it.multiplier) for it in found] == [
        (ContractKind.INVERSE, "BTC", 1000.0),
        (ContractKind.LINEAR, "BTC", 0.01),
    ]


def test_fees_are_charged_when_negative() -> None:
    """By the contract's group; by OKX's older way of telling where there is none."""
    told = {"taker": "-0.0005", "takerU": "-0.0004", "takerUSDC": "0.0001"}
    groups = [{"groupId": "2", "taker": "-0.0003", "maker": "-0.0001"}, {"groupId": "3", "taker": ""}]
    fees = answers.fees(body(told | {"feeGroup": groups}))
    rows = [
        contract(),
        contract(instId="A", groupId="3"),
        contract(instId="B", groupId="", ctType="inverse", settleCcy="BTC"),
        contract(instId="C", groupId="", settleCcy="USDC"),
    ]
    found = answers.contracts(body(*rows))
    assert [fees.rate(each) for each in found.values()] == [0.0003, 0.0004, 0.0005, 0.0]
    assert answers.fees(body({"taker": "", "feeGroup": []})).rate(found["B"]) is None


def test_questions() -> None:
    """Tiers are public and asked for a few families at a time; all else is signed."""
    tiers = snapshot.request("https://r.test", "tiers/cross/BTC-USDT,ETH-USDT")
    assert (tiers.path, tiers.security.value) == ("/api/v5/public/position-tiers", "none")
    assert tiers.params == (("instType", "SWAP"), ("tdMode", "cross"), ("instFamily", "BTC-USDT,ETH-USDT"))
    assert snapshot.request("https://r.test", "positions").params == ()
    assert snapshot.request("https://r.test", "fees").security.value == "signed"
    swaps, options = (snapshot.request("r", f"contracts/{rest}").params for rest in ("SWAP", "OPTION/BTC-USD"))
    assert swaps == (("instType", "SWAP"),)
    assert options == (("instType", "OPTION"), ("instFamily", "BTC-USD"))
    indexes = snapshot.request("https://r.test", "indexes")
    assert (indexes.path, indexes.params) == ("/api/v5/market/index-tickers", (("quoteCcy", "USD"),))
    names = ("BTC-USDT-SWAP", "BTC-USD_UM-SWAP", "BTC-USD-261225", "BTC-USD-261225-90000-C")
    assert [answers.family(name) for name in names] == ["BTC-USDT", "BTC-USD_UM", "BTC-USD", "BTC-USD"]
