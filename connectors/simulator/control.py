"""The control interface: move prices, act on accounts, let things go wrong, read what happened.

Below ``/control``, JSON in and out::

    GET    state                                now, step, path_ended, marks, accounts, number of liquidations
    GET    accounts/NAME                        the venue's view: pools, worst ratios, first time of each rung
    GET    liquidations                         each with time, step, amounts, legs (mark at decision, price of closing)
    GET    log[?kind=KIND]                      event, margin_call, liquidation, connected, fault, request, ...
    GET    connections                          open WebSockets
    POST   marks {SYMBOL: price, ...}           set marks: engine, then every stream
    POST   step {"steps": n}                    along the price path
    POST   path {"action": "pause"|"resume"}
    POST   accounts/NAME/ACTION {...}           `ACTIONS`, arguments as in `actions`; "silent": true sends no events
    POST   accounts/NAME/permissions {...}      flags of apiRestrictions; "read_only": true resets them first
    POST   accounts/NAME/expire_listen_key {"silent": bool}
    POST   contracts/SYMBOL/brackets {"brackets": [[floor, rate, max leverage], ...], "top": cap}
    POST   clock {"offset_ms": n}               the venue's clock against the machine's
    POST   faults {"fault": "rest"|"stream"|"frame", ...}   `faults.RestFault`, `StreamFault`, `FrameFault`
    DELETE faults                               take them back
    POST   stop
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from connectors.simulator import actions
from connectors.simulator.account import READ_ONLY, Refusal
from connectors.simulator.actions import Context
from connectors.simulator.events import Frame
from connectors.simulator.exchange import Exchange, totals
from connectors.simulator.faults import FrameFault, RestFault, RestFaults, StreamFault
from connectors.simulator.streams import Hub
from connectors.simulator.wire import decimal

Answer = dict[str, Any] | list[Any]
Handler = Callable[[web.Request, Any], Answer]

ACTIONS: dict[str, Callable[..., list[Frame]]] = {
    "transfer": actions.transfer,
    "fill": actions.fill,
    "set_position": actions.set_position,
    "leverage": actions.leverage,
    "margin_type": actions.margin_type,
    "position_mode": actions.position_mode,
    "multi_assets": actions.multi_assets,
    "isolated_margin": actions.isolated_margin,
    "funding": actions.funding,
    "deleverage": actions.deleverage,
    "place_order": actions.place_order,
    "cancel_orders": actions.cancel_orders,
}
_FAULT: TypeAdapter[RestFault | StreamFault | FrameFault] = TypeAdapter(
    Annotated[RestFault | StreamFault | FrameFault, Field(discriminator="fault")]
)
_BRACKETS: TypeAdapter[list[tuple[str, str, int]]] = TypeAdapter(list[tuple[str, str, int]])


def _arguments(function: Callable[..., Any]) -> type[BaseModel]:
    """A model of an action's keyword arguments, so that JSON is checked and converted before it runs."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    fields: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default) for p in parameters
    }
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


_ARGUMENTS = {name: _arguments(function) for name, function in ACTIONS.items()}


class Player(Protocol):
    """What the control interface may do with the price path."""

    def command(self, action: Literal["pause", "resume"]) -> None:
        """Let the path stand still or go on."""
        ...

    def stop(self) -> None:
        """End the simulator."""
        ...


class Control:
    """Handlers under ``/control``. Every answer is JSON; what cannot be done is a 4xx with ``{"code", "msg"}``."""

    def __init__(self, exchange: Exchange, hub: Hub, rest_faults: RestFaults, player: Player) -> None:
        self._exchange = exchange
        self._hub = hub
        self._rest_faults = rest_faults
        self._player = player

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "state", lambda _, __: dict(totals(self._exchange))),
            ("GET", "log", self._log),
            ("GET", "liquidations", lambda _, __: [each.to_json() for each in self._exchange.liquidations]),
            ("GET", "connections", lambda _, __: [c.describe() for c in self._hub.connections.values()]),
            ("GET", "accounts/{account}", lambda r, _: self._exchange.view(r.match_info["account"])),
            ("POST", "accounts/{account}/permissions", self._permissions),
            ("POST", "accounts/{account}/expire_listen_key", self._expire_listen_key),
            ("POST", "accounts/{account}/{action}", self._act),
            ("POST", "marks", self._marks),
            ("POST", "step", self._step),
            ("POST", "path", self._path),
            ("POST", "contracts/{symbol}/brackets", self._brackets),
            ("POST", "clock", self._clock),
            ("POST", "faults", self._fault),
            ("DELETE", "faults", self._heal),
            ("POST", "stop", self._stop),
        ]
        return [web.route(method, f"/control/{path}", _json(handler)) for method, path, handler in table]

    def _log(self, request: web.Request, _: Any) -> Answer:
        kind = request.query.get("kind")
        return [entry for entry in self._exchange.log if kind in (None, entry["kind"])]

    def _act(self, request: web.Request, body: Any) -> Answer:
        name = request.match_info["action"]
        if name not in ACTIONS:
            raise Refusal(-1102, f"There is no action {name!r}; there are {sorted(ACTIONS)}.", status=404)
        arguments = dict(body)
        silent = bool(arguments.pop("silent", False))
        model = _ARGUMENTS[name].model_validate(arguments)
        values = {key: getattr(model, key) for key in type(model).model_fields}

        def action(ctx: Context) -> list[Frame]:
            return ACTIONS[name](ctx, **values)

        return {"frames": self._exchange.act(request.match_info["account"], name, action, silent=silent)}

    def _permissions(self, request: web.Request, body: Any) -> Answer:
        """Set flags of apiRestrictions; ``{"read_only": true}`` puts the harmless set back first."""
        account = self._exchange.account(request.match_info["account"])
        flags = dict(body)
        if flags.pop("read_only", False):
            account.permissions = dict(READ_ONLY)
        unknown = sorted(set(flags) - set(READ_ONLY))
        if unknown:
            raise Refusal(-1102, f"There are no permissions {unknown}; there are {sorted(READ_ONLY)}.")
        account.permissions.update({name: bool(value) for name, value in flags.items()})
        return dict(account.permissions)

    def _expire_listen_key(self, request: web.Request, body: Any) -> Answer:
        account = self._exchange.account(request.match_info["account"])
        return {"expired": self._exchange.expire_listen_key(account.name, silent=bool(body.get("silent", False)))}

    def _marks(self, _: web.Request, body: Any) -> Answer:
        self._exchange.apply_marks({str(symbol): decimal(price) for symbol, price in body.items()})
        return dict(totals(self._exchange))

    def _step(self, _: web.Request, body: Any) -> Answer:
        for _step in range(int(body.get("steps", 1))):
            if not self._exchange.step():
                break
        return dict(totals(self._exchange))

    def _path(self, _: web.Request, body: Any) -> Answer:
        action = body.get("action")
        if action not in ("pause", "resume"):
            raise Refusal(-1102, f"action is {action!r}; it can be 'pause' or 'resume'.")
        self._player.command(action)
        return {"action": action}

    def _brackets(self, request: web.Request, body: Any) -> Answer:
        rows = _BRACKETS.validate_python(body.get("brackets"))
        self._exchange.set_brackets(request.match_info["symbol"], rows, str(decimal(body.get("top"))))
        return {"levels": len(rows)}

    def _clock(self, _: web.Request, body: Any) -> Answer:
        self._exchange.offset_s = float(decimal(body.get("offset_ms", 0))) / 1000
        return {"now": self._exchange.now()}

    def _fault(self, _: web.Request, body: Any) -> Answer:
        fault = _FAULT.validate_python(body)
        self._exchange.note("fault", **fault.model_dump(exclude={"kind"}), what=fault.kind)
        match fault:
            case RestFault():
                self._rest_faults.add(fault)
                return {"connections": 0}
            case StreamFault():
                return {"connections": self._hub.apply(fault)}
            case FrameFault():
                return {"connections": self._hub.inject(fault)}

    def _heal(self, _: web.Request, __: Any) -> Answer:
        self._rest_faults.clear()
        self._hub.heal()
        return {}

    def _stop(self, _: web.Request, __: Any) -> Answer:
        self._player.stop()
        return {}


def _json(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    return partial(_serve, handler)


def _object(raw: bytes) -> dict[str, Any]:
    body = orjson.loads(raw) if raw else {}
    if not isinstance(body, dict):
        raise Refusal(-1102, "The body must be a JSON object.")
    return body


async def _serve(handler: Handler, request: web.Request) -> web.Response:
    """Run a handler on the JSON of a request; faults of the caller become 4xx."""
    try:
        answer, status = handler(request, _object(await request.read())), 200
    except Refusal as refusal:
        answer, status = {"code": refusal.code, "msg": refusal.msg}, refusal.status
    except (ValidationError, ValueError, TypeError) as error:
        answer, status = {"code": -1102, "msg": str(error)}, 400
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")
