"""Frames of the user stream: every documented key, and the venue's own sample of a margin call."""

from decimal import Decimal
from typing import Any

import pytest

from connectors.simulator import actions, engine, events
from connectors.simulator.liquidator import CALL_RATIO
from tests.connectors.simulator.stage import NOW_MS, account, context, flat_table, hold, market

ORDER_KEYS = {
    **dict.fromkeys(["s", "c", "S", "o", "f", "q", "p", "ap", "sp", "x", "X", "l", "z", "L", "n", "N", "b", "a"], str),
    **dict.fromkeys(["wt", "ot", "ps", "rp", "V", "pm", "er"], str),
    **dict.fromkeys(["i", "T", "t", "si", "ss", "gtd"], int),
    **dict.fromkeys(["m", "R", "cp", "pP"], bool),
}


def types(row: dict[str, Any]) -> dict[str, type]:
    """Each key's JSON type."""
    return {key: type(value) for key, value in row.items()}


def test_an_order_update_has_every_key() -> None:
    """Texts, integers and booleans as documented."""
    ctx = context(account(USDT="1000"), market())
    frames = actions.fill(ctx, symbol="BTCUSDT", side="BUY", quantity=Decimal("0.01"))
    for frame in (frames[0], frames[-1]):
        assert types(frame) == {"e": str, "E": int, "T": int, "o": dict}
        assert types(frame["o"]) == ORDER_KEYS


def test_an_account_update_has_every_key() -> None:
    """Balances and positions are lists of rows of text."""
    ctx = context(account(USDT="1000"), market())
    hold(ctx, "BTCUSDT", "0.01", "76000", wallet="100")
    frame = actions.isolated_margin(ctx, symbol="BTCUSDT", amount=Decimal(1))[0]
    assert types(frame) == {"e": str, "E": int, "T": int, "a": dict}
    assert types(frame["a"]) == {"m": str, "B": list, "P": list}
    assert types(frame["a"]["B"][0]) == dict.fromkeys(("a", "wb", "cw", "bc"), str)
    assert types(frame["a"]["P"][0]) == dict.fromkeys(("s", "pa", "ep", "cr", "up", "mt", "iw", "ps", "ma", "bep"), str)


def test_the_documented_margin_call() -> None:
    """B-V8: the sample's maintenance margin and its ratio, just past the call."""
    place = market({"ETHUSDT": "187.17127"}, {"ETHUSDT": flat_table("0.0065")})
    owner = account(hedge=True, USDT="3.16812045")
    entry = Decimal("187.17127") + Decimal("1.166074") / Decimal("1.327")
    hold(context(owner, place), "ETHUSDT", "1.327", str(entry), side="LONG")
    [pool] = engine.pools(owner, place)
    frame = events.margin_call(pool, owner, place, NOW_MS)
    assert frame["cw"] == "3.16812045"
    [row] = frame["p"]
    assert types(row) == dict.fromkeys(("s", "ps", "pa", "mt", "iw", "mp", "up", "mm"), str)
    assert (row["ps"], row["mt"], row["mm"][:8]) == ("LONG", "CROSSED", "1.614445")
    assert float(row["up"]) == pytest.approx(-1.166074, abs=1e-8)
    assert float(pool.ratio) == pytest.approx(0.8064, abs=5e-5)
    assert pool.ratio >= CALL_RATIO


def test_funding_falls_on_full_eight_hours() -> None:
    """The next one, never the present one."""
    eight_hours = 8 * 3600 * 1000
    assert events.next_funding_ms(eight_hours - 1) == eight_hours
    assert events.next_funding_ms(eight_hours) == 2 * eight_hours


def test_listen_keys_look_like_the_venues() -> None:
    """64 letters and digits; another serial or account, another key."""
    keys = {events.listen_key_text(name, serial) for name in ("a", "b") for serial in (1, 2)}
    assert len(keys) == 4
    assert all(len(key) == 64 and key.isalnum() for key in keys)
