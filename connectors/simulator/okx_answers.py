"""What the simulated OKX says of its account and market: rows of REST, frames of the streams. Every number a string.

Pure; time is given. `query` is that of the request.
"""

from collections.abc import Mapping
from typing import Any

from connectors.simulator.okx_account import FEE, Position, State
from connectors.simulator.okx_contracts import coin_of, contract_row, family_of, kind_of

Rows = list[dict[str, Any]]
Frame = dict[str, Any]


def config(state: State) -> Rows:
    """``account/config``."""
    return [
        {
            "uid": "1", "mainUid": "1", "acctLv": state.level, "posMode": state.position_mode, "ip": "",
            "perm": state.permissions, "ctIsoMode": "automatic", "liquidationGear": state.gear, "level": "Lv1",
        }
    ]  # fmt: skip


def contracts(state: State, query: Mapping[str, str]) -> Rows:
    """``account/instruments``: those that are listed, of a kind and perhaps a family."""
    kind, family = query["instType"], query.get("instFamily")
    listed = sorted(symbol for symbol in state.marks.keys() - state.unlisted if kind_of(symbol) == kind)
    return [contract_row(symbol) for symbol in listed if family in (None, family_of(symbol))]


def fees(state: State) -> Rows:
    """``account/trade-fee``."""
    taker = state.taker
    groups = [{"groupId": "1", "maker": "-0.0002", "taker": taker}]
    return [{"instType": "SWAP", "taker": taker, "takerU": taker, "takerUSDC": taker, "feeGroup": groups}]


def tiers(state: State, query: Mapping[str, str]) -> Rows:
    """``public/position-tiers`` of several families, in a margin mode."""
    return [
        {
            "instFamily": family, "uly": family, "tier": str(i + 1), "maxSz": str(last), "mmr": f"{rate:.12g}",
            "minSz": str(steps[i - 1][0] + 1 if i else 0), "imr": f"{rate * 2:.12g}", "maxLever": "50",
        }
        for family in query["instFamily"].split(",")
        for steps in (state.tiers_of(family, query["tdMode"]),)
        for i, (last, rate) in enumerate(steps)
    ]  # fmt: skip


def funding(state: State, now_ms: int) -> Rows:
    """``public/funding-rate``: the next is at the full hour."""
    coming = now_ms // 3_600_000 * 3_600_000 + 3_600_000
    following = coming + int(state.funding_interval_s * 1000)
    return [
        {"instId": symbol, "fundingRate": "0.0001", "fundingTime": str(coming), "nextFundingTime": str(following)}
        for symbol in state.marks
    ]


def position_row(state: State, held: Position, now_ms: int) -> dict[str, Any]:
    """A position as REST and the stream tell it."""
    notional, profit, rate = state.figures(held)
    isolated, coin = held.mode == "isolated", coin_of(held.symbol)
    ratio = (held.margin + profit) / (notional * (rate + FEE)) if isolated and held.size else None
    mark = state.marks[held.symbol]
    row = {
        "instType": kind_of(held.symbol), "instId": held.symbol, "mgnMode": held.mode, "posId": "1",
        "posSide": held.side,
        "pos": f"{held.size if held.side == 'net' else abs(held.size):g}", "ccy": coin, "posCcy": "",
        "avgPx": f"{held.entry}" if held.size else "", "markPx": f"{mark}", "lever": "10",
        "margin": f"{held.margin!r}" if isolated else "", "imr": "" if isolated else f"{notional / 10!r}",
        "mmr": f"{notional * rate!r}", "mgnRatio": "" if ratio is None else f"{ratio!r}", "upl": f"{profit!r}",
        "liqPx": "", "notionalUsd": f"{notional}", "usdPx": f"{state.usd.get(coin, 0.0) or ''}", "adl": "1",
        "cTime": "1789999000000",
        "uTime": str(now_ms),
    }  # fmt: skip
    return row | held.changes


def balance(state: State, now_ms: int) -> dict[str, Any]:
    """The account as REST and the stream tell it. Figures over all coins are empty in futures mode."""
    rows = [_coin_row(state, coin) for coin in state.cash]
    owned = [row for row in rows if float(row["cashBal"]) or float(row["eq"])]
    coins = [row | dict.fromkeys(state.empty.get(row["ccy"], ()), "") for row in owned]
    totals = dict.fromkeys(("adjEq", "imr", "mmr", "mgnRatio"), "")
    if state.level in ("3", "4") and state.totals:
        equity, required, with_fees = state.whole()
        totals = {"adjEq": f"{equity!r}", "imr": "1", "mmr": f"{required!r}"}
        totals["mgnRatio"] = f"{equity / with_fees!r}" if with_fees else ""
    return {"uTime": str(now_ms), "totalEq": "1", "isoEq": "0", **totals, "details": coins}


def _coin_row(state: State, coin: str) -> dict[str, Any]:
    isolated = state.isolated_equity(coin)
    profit, required, with_fees = state.cross(coin)
    cash, price = state.cash[coin], state.usd[coin]
    equity, futures = cash + profit + isolated, state.level == "2"
    return {
        "ccy": coin, "cashBal": f"{cash!r}", "eq": f"{equity!r}", "isoEq": f"{isolated!r}", "upl": f"{profit!r}",
        "availEq": f"{cash + profit!r}", "uTime": "1789999000000", "coinUsdPrice": f"{price!r}",
        "eqUsd": f"{(equity - isolated) * price!r}", "liab": "", "twap": "0",
        "disEq": "0" if futures else f"{state.worth(coin)!r}",
        "mmr": f"{required!r}" if futures and required else "", "imr": "",
        "mgnRatio": f"{(cash + profit) / with_fees!r}" if futures and with_fees else "",
    }  # fmt: skip


def index_row(state: State, coin: str, now_ms: int) -> dict[str, Any]:
    """What a coin costs in USD, as REST and the stream tell it."""
    return {"instId": f"{coin}-USD", "idxPx": f"{state.usd[coin]}", "ts": str(now_ms)}


def index_frame(state: State, coin: str, now_ms: int) -> Frame:
    """A frame of the index-tickers channel."""
    return {
        "arg": {"channel": "index-tickers", "instId": f"{coin}-USD"},
        "data": [index_row(state, coin, now_ms)],
    }


def mark_frame(state: State, symbol: str, now_ms: int) -> Frame:
    """A frame of the mark-price channel."""
    row = {"instType": "SWAP", "instId": symbol, "markPx": f"{state.marks[symbol]}", "ts": str(now_ms)}
    return {"arg": {"channel": "mark-price", "instId": symbol}, "data": [row]}


def push(channel: str, data: list[Any], **fields: Any) -> Frame:
    """A frame of a private channel."""
    return {"arg": {"channel": channel, "uid": "1"}, **fields, "data": data}


def position_pages(state: State, now_ms: int) -> list[Frame]:
    """The whole set of positions as the stream repeats it, page after page."""
    stamp = {"pTime": str(now_ms)}
    rows = [position_row(state, held, now_ms) | stamp for held in state.positions if held.size]
    return _pages("positions", _split(rows, state.page))


def account_pages(state: State, now_ms: int) -> list[Frame]:
    """All currencies with a balance, as the stream repeats them."""
    told = balance(state, now_ms)
    return _pages("account", [[told | {"details": coins}] for coins in _split(told["details"], state.page)])


def _split(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)] or [[]]


def _pages(channel: str, pages: list[list[Any]]) -> list[Frame]:
    return [
        push(channel, page, eventType="snapshot", curPage=i + 1, lastPage=i + 1 == len(pages))
        for i, page in enumerate(pages)
    ]
