"""What goes wrong on request: answers that the REST side gives instead of its own, and spoiled frames."""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from connectors.simulator import events
from connectors.simulator.exchange import Exchange

Route = Literal["market", "private", "public", "unrouted"]
# The kinds of REST faults that leave the answer but spoil its body.
SPOILING = frozenset({"garbage", "truncated", "empty_numbers"})
FrameKind = Literal["garbage", "truncated", "unknown_event", "empty_numbers"]


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RestFault(_Fault):
    """The next `times` requests whose path starts with `path` are answered so instead.

    `kind`: ``status`` answers `status` with the body ``{"code", "msg"}`` and perhaps ``Retry-After``; ``delay`` answers
    properly after `delay_s`; ``hang`` never answers; ``garbage`` and ``truncated`` spoil the body; ``empty_numbers``
    turns every string that holds a number into ``""``; ``close`` drops the connection.
    """

    fault: Literal["rest"] = "rest"
    path: str = "/"
    kind: Literal["status", "delay", "hang", "garbage", "truncated", "empty_numbers", "close"] = "status"
    times: int = Field(default=1, ge=1)
    status: int = Field(default=503, ge=100, le=599)
    code: int = -1000
    msg: str = "An unknown error occurred while processing the request."
    retry_after: int | None = None
    delay_s: float = Field(default=0.0, ge=0)


class StreamFault(_Fault):
    """Something happens to the connections of a route (of one account, when named).

    `kind`: ``silent`` = accept, acknowledge, say nothing else (``future``: new connections too); ``half_open`` = stop
    reading and writing without closing; ``drop`` = cut without a word; ``close`` = close with `code`; ``torn`` = half
    a WebSocket frame, then the end of the connection; ``duplicate`` = the next `times` frames go twice; ``swap`` = the
    next frame goes after the one that follows it; ``refuse`` = the next `times` handshakes get `status`.
    """

    fault: Literal["stream"] = "stream"
    route: Route = "market"
    kind: Literal["silent", "half_open", "drop", "close", "torn", "duplicate", "swap", "refuse"]
    account: str | None = None
    future: bool = False
    times: int = Field(default=1, ge=1)
    code: int = 1001
    status: int = 503


class FrameFault(_Fault):
    """One spoiled frame to every connection of a route: a made one by `kind`, or `text` as it stands."""

    fault: Literal["frame"] = "frame"
    route: Route = "market"
    kind: FrameKind | None = None
    text: str | None = None
    account: str | None = None
    symbol: str = "BTCUSDT"


class RestFaults:
    """The faults laid out for REST requests, first come first served."""

    def __init__(self) -> None:
        self._pending: list[RestFault] = []

    def add(self, fault: RestFault) -> None:
        """Lay a fault out."""
        self._pending.append(fault.model_copy())

    def clear(self) -> None:
        """Take all back."""
        self._pending.clear()

    def take(self, path: str) -> RestFault | None:
        """The fault that meets this request, if any; it counts as used."""
        for fault in self._pending:
            if path.startswith(fault.path):
                fault.times -= 1
                if fault.times == 0:
                    self._pending.remove(fault)
                return fault
        return None


def spoiled_body(kind: str, body: bytes) -> bytes:
    """A REST body as a fault leaves it."""
    if kind == "garbage":
        return b"<html><body>\xf0\x9f upstream \x00</body></html>"
    if kind == "truncated":
        return body[: max(1, len(body) * 2 // 3)]
    return orjson.dumps(_without_numbers(orjson.loads(body)))


def spoiled_frame(fault: FrameFault, exchange: Exchange, account: str | None, envelope: str | None) -> str:
    """The text of a frame fault; a made frame that is still JSON goes into the `envelope` of a combined stream."""
    if fault.text is not None:
        return fault.text
    now_ms = exchange.stamp_ms()
    sound = _sound_frame(fault, exchange, account, now_ms)
    unknown = {"e": "SOMETHING_NEW", "E": now_ms, "x": {"y": ["1.0", 2, None]}}
    match fault.kind:
        case "truncated":
            text = _text(sound, envelope)
            return text[: len(text) * 2 // 3]
        case "unknown_event":
            return _text(unknown, envelope)
        case "empty_numbers":
            return _text(_without_numbers(sound), envelope)
        case _:
            return 'garbage \u2603 {"e":'


def _text(payload: Any, envelope: str | None) -> str:
    return orjson.dumps(payload if envelope is None else {"stream": envelope, "data": payload}).decode()


def _sound_frame(fault: FrameFault, exchange: Exchange, account: str | None, now_ms: int) -> dict[str, Any]:
    market = exchange.market
    if fault.route == "private":
        owner = exchange.account(account or next(iter(exchange.accounts)))
        rows = owner.open_holdings()
        return events.account_update(owner, market, now_ms, "ORDER", changes=dict(owner.cross_wallets), holdings=rows)
    mark = market.marks[market.contract(fault.symbol).symbol]
    return events.mark_price(market.contracts[fault.symbol], mark, mark, now_ms)


def _without_numbers(value: Any) -> Any:
    """The same JSON with every string that holds a decimal emptied."""
    if isinstance(value, dict):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    return "" if isinstance(value, str) and _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
