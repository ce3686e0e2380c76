"""The venue's REST side: who may ask, what it costs, what is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from connectors.simulator import answers, coin_answers, signing
from connectors.simulator.account import Account, Refusal
from connectors.simulator.contracts import COIN_M
from connectors.simulator.exchange import Exchange
from connectors.simulator.faults import SPOILING, RestFault, RestFaults, spoiled_body

# A request that shall never be answered is let go after this long, so that nothing outlives the simulator.
_HANG_MAX_S = 600.0
# So many requests into a limit that already answered 429 make it a ban.
_PATIENCE = 20
_BAN_S = 120


class Security(StrEnum):
    """What a request must carry."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Request:
    """A request after the checks. `account` is there unless the endpoint is public."""

    exchange: Exchange
    params: Mapping[str, str]
    account: Account | None

    @property
    def owner(self) -> Account:
        """The account that asks."""
        if self.account is None:
            raise Refusal(-1102, "This endpoint needs an API key.")
        return self.account

    @property
    def symbol(self) -> str | None:
        """The symbol asked for."""
        return self.params.get("symbol")


Handler = Callable[[Request], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path: its weight (without and with a symbol), what it needs, who answers."""

    method: str
    path: str
    weight: int
    weight_with_symbol: int
    security: Security
    handler: Handler


def _contracts(request: Request) -> list[Any]:
    market = request.exchange.market
    return [market.contract(request.symbol)] if request.symbol else list(market.tradable())


def _one_or_all(request: Request, rows: list[Any]) -> Any:
    return rows[0] if request.symbol else rows


def _brackets(request: Request) -> Any:
    return _one_or_all(request, [answers.leverage_bracket(contract) for contract in _contracts(request)])


def _symbol_config(request: Request) -> Any:
    return [answers.symbol_config(request.owner, contract) for contract in _contracts(request)]


def _account_v3(request: Request) -> Any:
    return answers.account_v3(request.owner, request.exchange.market)


def _account_v2(request: Request) -> Any:
    return answers.account_v2(request.owner, request.exchange.market)


def _multi_assets(request: Request) -> Any:
    return {"multiAssetsMargin": request.owner.multi_assets}


def _position_mode(request: Request) -> Any:
    return {"dualSidePosition": request.owner.hedge}


def _position_risk_v3(request: Request) -> Any:
    market, owner = request.exchange.market, request.owner
    shown = [h for h in answers.shown_holdings(owner) if request.symbol in (None, h.symbol)]
    return [answers.position_risk_v3(owner, market, holding) for holding in shown]


def _position_risk_v2(request: Request) -> Any:
    shown = answers.every_holding(request.owner, _contracts(request))
    return [answers.position_risk_v2(request.owner, request.exchange.market, holding) for holding in shown]


def _premium_index(request: Request) -> Any:
    market, now_ms = request.exchange.market, int(request.exchange.now() * 1000)
    rows = [answers.premium_index(c, market.marks[c.symbol], now_ms) for c in _contracts(request)]
    return _one_or_all(request, rows)


def _asset_index(request: Request) -> Any:
    market, now_ms = request.exchange.market, int(request.exchange.now() * 1000)
    rows = [answers.asset_index(market, asset, now_ms) for asset in market.assets.values()]
    if request.symbol is None:
        return rows
    for row in rows:
        if row["symbol"] == request.symbol:
            return row
    raise Refusal(-1121, "Invalid symbol.")


def _exchange_info(request: Request) -> Any:
    exchange = request.exchange
    return answers.exchange_info(exchange.market, int(exchange.now() * 1000), exchange.scenario.venue.weight_limit)


def _permissions(request: Request) -> Any:
    return dict(request.owner.permissions) | {"createTime": 1_700_000_000_000}


def _close_listen_key(request: Request) -> Any:
    request.exchange.expire_listen_key(request.owner.name)
    return {}


def _coin_exchange_info(request: Request) -> Any:
    exchange = request.exchange
    now_ms, limit = int(exchange.now() * 1000), exchange.scenario.venue.weight_limit
    return coin_answers.exchange_info(exchange.market, now_ms, limit)


def _coin_brackets(request: Request) -> Any:
    return [coin_answers.leverage_bracket(contract) for contract in request.exchange.market.tradable(COIN_M)]


def _commission(request: Request) -> Any:
    """What the market charges in its trades, from every account alike."""
    contract = request.exchange.market.contract(request.symbol or "")
    rate = format(contract.taker_fee_rate, "f")
    return {"symbol": contract.symbol, "makerCommissionRate": rate, "takerCommissionRate": rate}


def _listen_key(prefix: str) -> tuple[Endpoint, ...]:
    """Open, keep and close; the account has one key wherever it asks."""
    path = f"{prefix}/v1/listenKey"
    return (
        Endpoint("POST", path, 1, 1, Security.KEY, lambda r: {"listenKey": r.exchange.open_listen_key(r.owner)}),
        Endpoint("PUT", path, 1, 1, Security.KEY, lambda r: {"listenKey": r.exchange.keep_listen_key(r.owner)}),
        Endpoint("DELETE", path, 1, 1, Security.KEY, _close_listen_key),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/fapi/v1/ping", 1, 1, Security.NONE, lambda _: {}),
    Endpoint("GET", "/fapi/v1/time", 1, 1, Security.NONE, lambda r: {"serverTime": int(r.exchange.now() * 1000)}),
    Endpoint("GET", "/fapi/v1/exchangeInfo", 1, 1, Security.NONE, _exchange_info),
    Endpoint("GET", "/fapi/v1/premiumIndex", 10, 1, Security.NONE, _premium_index),
    Endpoint("GET", "/fapi/v1/assetIndex", 10, 1, Security.NONE, _asset_index),
    Endpoint("GET", "/fapi/v1/leverageBracket", 1, 1, Security.SIGNED, _brackets),
    Endpoint("GET", "/fapi/v1/accountConfig", 5, 5, Security.SIGNED, lambda r: answers.account_config(r.owner)),
    Endpoint("GET", "/fapi/v1/symbolConfig", 5, 5, Security.SIGNED, _symbol_config),
    Endpoint("GET", "/fapi/v3/account", 5, 5, Security.SIGNED, _account_v3),
    Endpoint("GET", "/fapi/v2/account", 5, 5, Security.SIGNED, _account_v2),
    Endpoint("GET", "/fapi/v3/positionRisk", 5, 5, Security.SIGNED, _position_risk_v3),
    Endpoint("GET", "/fapi/v2/positionRisk", 5, 5, Security.SIGNED, _position_risk_v2),
    Endpoint("GET", "/fapi/v1/multiAssetsMargin", 30, 30, Security.SIGNED, _multi_assets),
    Endpoint("GET", "/fapi/v1/positionSide/dual", 30, 30, Security.SIGNED, _position_mode),
    Endpoint("GET", "/sapi/v1/account/apiRestrictions", 1, 1, Security.SIGNED, _permissions),
    Endpoint("GET", "/fapi/v1/commissionRate", 20, 20, Security.SIGNED, _commission),
    Endpoint("GET", "/fapi/v1/fundingInfo", 1, 1, Security.NONE, lambda _: []),
    *_listen_key("/fapi"),
    Endpoint("GET", "/dapi/v1/time", 1, 1, Security.NONE, lambda r: {"serverTime": int(r.exchange.now() * 1000)}),
    Endpoint("GET", "/dapi/v1/exchangeInfo", 1, 1, Security.NONE, _coin_exchange_info),
    Endpoint("GET", "/dapi/v2/leverageBracket", 2, 1, Security.SIGNED, _coin_brackets),
    Endpoint(
        "GET", "/dapi/v1/account", 5, 5, Security.SIGNED, lambda r: coin_answers.account(r.owner, r.exchange.market)
    ),
    Endpoint(
        "GET",
        "/dapi/v1/positionRisk",
        1,
        1,
        Security.SIGNED,
        lambda r: coin_answers.position_risk(r.owner, r.exchange.market),
    ),
    Endpoint("GET", "/dapi/v1/commissionRate", 20, 20, Security.SIGNED, _commission),
    Endpoint("GET", "/dapi/v1/fundingInfo", 1, 1, Security.NONE, lambda _: []),
    *_listen_key("/dapi"),
)


class Meter:
    """The request weight used in the present minute, and what happens above the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = -1
        self._over = 0
        self._banned_until = 0.0
        self.used = 0

    def charge(self, weight: int, now: float) -> tuple[int, int] | None:
        """Count a request; None when it may pass, else the status (429 or 418) and the seconds to wait."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self.used, self._over = minute, 0, 0
        if now < self._banned_until:
            return 418, int(self._banned_until - now) + 1
        self.used += weight
        if self.used <= self._limit:
            return None
        self._over += 1
        if self._over > _PATIENCE:
            self._banned_until = now + _BAN_S
            return 418, _BAN_S
        return 429, 60 - int(now % 60)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with a JSON body."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def spoiled(self, kind: str) -> "Answer":
        """The same as a fault of this kind leaves it."""
        return replace(self, body=spoiled_body(kind, self.body)) if kind in SPOILING else self

    def response(self) -> web.Response:
        """For aiohttp."""
        return web.Response(
            status=self.status, body=self.body, content_type="application/json", headers=dict(self.headers)
        )


class RestServer:
    """Puts the endpoints behind their checks."""

    def __init__(self, exchange: Exchange, faults: RestFaults) -> None:
        self._exchange = exchange
        self._faults = faults
        self._meter = Meter(exchange.scenario.venue.weight_limit)

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [web.route(e.method, e.path, self._serve(e)) for e in ENDPOINTS]

    def _serve(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            query = request.raw_path.partition("?")[2]
            params = dict(parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))
            weight = endpoint.weight_with_symbol if "symbol" in params else endpoint.weight
            fault = self._faults.take(endpoint.path)
            self._exchange.note("request", path=endpoint.path, weight=weight, fault=fault.kind if fault else None)
            if fault is None:
                return self._answer(endpoint, request, query, body, params, weight).response()
            if fault.kind == "status":
                return self._refuse(fault.status, fault.code, fault.msg, fault.retry_after).response()
            await _misbehave(fault, request)
            return self._answer(endpoint, request, query, body, params, weight).spoiled(fault.kind).response()

        return handle

    def _answer(
        self, endpoint: Endpoint, request: web.Request, query: str, body: str, params: Mapping[str, str], weight: int
    ) -> Answer:
        over = self._meter.charge(weight, self._exchange.now())
        if over is not None:
            return self._refuse(over[0], -1003, "Too many requests; current limit is exceeded.", over[1])
        try:
            account = self._admit(endpoint, request, query, body, params)
            content = endpoint.handler(Request(self._exchange, params, account))
        except Refusal as refusal:
            return self._refuse(refusal.status, refusal.code, refusal.msg)
        return Answer(200, orjson.dumps(content), self._headers())

    def _admit(
        self, endpoint: Endpoint, request: web.Request, query: str, body: str, params: Mapping[str, str]
    ) -> Account | None:
        if endpoint.security is Security.NONE:
            return None
        api_key = request.headers.get("X-MBX-APIKEY")
        account = signing.check_key(api_key, self._exchange.account_of_key(api_key or ""))
        if endpoint.security is Security.SIGNED:
            signing.check_signed(account, query, body, params, int(self._exchange.now() * 1000))
        return account

    def _refuse(self, status: int, code: int, msg: str, retry_after: int | None = None) -> Answer:
        headers = self._headers()
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return Answer(status, orjson.dumps({"code": code, "msg": msg}), headers)

    def _headers(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self._meter.used)}


async def _misbehave(fault: RestFault, request: web.Request) -> None:
    """What a fault does before the answer."""
    match fault.kind:
        case "delay":
            await asyncio.sleep(fault.delay_s)
        case "hang":
            await asyncio.sleep(_HANG_MAX_S)
        case "close" if request.transport is not None:
            request.transport.abort()
