"""The whole venue as one object without I/O: books, prices, listenKeys, and what is told to whom."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from typing import Any, Protocol

from connectors.simulator import actions, engine, events, liquidator
from connectors.simulator.account import Account, Market, PositionSide, Refusal
from connectors.simulator.actions import Context
from connectors.simulator.contracts import (
    COIN_M,
    DEFAULT_ASSETS,
    DEFAULT_CONTRACTS,
    DEFAULT_MARKS,
    USD_M,
    ContractType,
    bracket_table,
    thin_contract,
)
from connectors.simulator.events import Frame
from connectors.simulator.liquidator import Liquidation, Peak
from connectors.simulator.prices import MadePath, Marks, PathFault
from connectors.simulator.scenario import AccountSpec, PositionSpec, Scenario, ScenarioFault
from connectors.simulator.wire import ONE, plain
from monitor.clock import Clock

# Every third mark update also goes to the streams without the ``@1s`` suffix.
_SLOW_EVERY = 3
# Enough for an hour of a busy scenario; the oldest entries go first.
_LOG_LENGTH = 20_000


class Audience(Protocol):
    """Who carries frames to the sockets."""

    def market(self, stream: str, payload: Frame | list[Frame]) -> None:
        """A frame of a market stream, named as subscribed."""
        ...

    def private(self, account: str, listen_key: str | None, payload: Frame) -> None:
        """A frame of an account's user stream; with `listen_key`, only for sockets opened with that key."""
        ...


class Follower(Protocol):
    """Another venue, whose prices follow this one's."""

    def follow(self, marks: Marks, at: float, step: int) -> list[Liquidation]:
        """Take the prices over and tell them; returns what they made the venue liquidate."""
        ...


@dataclass(slots=True)
class ListenKey:
    """An account's one valid listenKey."""

    text: str
    expires_at: float


class Exchange:
    """The venue. `clock` is the machine's; the venue's own may be set off from it."""

    def __init__(self, scenario: Scenario, seed: int, clock: Clock) -> None:
        self.scenario = scenario
        self.clock = clock
        self.offset_s = 0.0
        self.market = _market(scenario)
        self.audience: Audience | None = None
        self.followers: list[Follower] = []
        self._path = self._open_path(seed)
        self.accounts = {spec.name: self._open_account(spec, seed) for spec in scenario.accounts if spec.is_here}
        if len({spec.name for spec in scenario.accounts}) != len(scenario.accounts):
            raise ScenarioFault("two accounts have the same name")
        self.listen_keys: dict[str, ListenKey] = {}
        self.listen_key_serial = 0
        self.liquidations: list[Liquidation] = []
        self.peaks: dict[tuple[str, str], Peak] = {}
        self.log: deque[dict[str, Any]] = deque(maxlen=_LOG_LENGTH)
        self.step_number = 0
        self.path_ended = False
        self._averages = dict(self.market.marks)
        self._published = 0
        self._last_ms = 0

    # --- time and log

    def now(self) -> float:
        """The venue's time, in seconds since the epoch."""
        return self.clock.now() + self.offset_s

    def stamp_ms(self) -> int:
        """The venue's time for an event: milliseconds that rise with every call, so that order is never in doubt."""
        self._last_ms = max(int(self.now() * 1000), self._last_ms + 1)
        return self._last_ms

    def note(self, kind: str, **what: Any) -> None:
        """Write a line into the venue's log."""
        self.log.append({"at": self.now(), "step": self.step_number, "kind": kind} | what)

    # --- prices

    def step(self) -> bool:
        """Take one step along the path; False when there is none left."""
        if self.path_ended or self._path is None:
            return False
        marks = next(self._path, None)
        if marks is None:
            self.path_ended = True
            self.note("path_ended")
            return False
        self.step_number += 1
        try:
            self.apply_marks(marks)
        except Refusal as refusal:
            raise PathFault(f"step {self.step_number} of the price path: {refusal.msg}") from None
        return True

    def apply_marks(self, marks: Marks) -> None:
        """Set marks, call and liquidate, then tell: marks first, user streams after."""
        for symbol, price in marks.items():
            self._set_mark(symbol, price)
        for contract in self.market.contracts.values():
            if contract.follows in marks:
                self.market.marks[contract.symbol] = marks[contract.follows] * Decimal("0.9995")
        outcomes = [(name, self._check(account)) for name, account in self.accounts.items()]
        self.publish_marks()
        for name, frames in outcomes:
            self._tell(name, frames)

    def _set_mark(self, symbol: str, price: Decimal) -> None:
        """Take a price over; a symbol that is not in the catalogue joins it."""
        if price <= 0:
            raise Refusal(-1102, f"A mark price of {price} is impossible.")
        if symbol not in self.market.contracts:
            try:
                self.market.contracts[symbol] = thin_contract(symbol)
            except ValueError as error:
                raise Refusal(-1121, str(error)) from None
        self.market.marks[symbol] = price

    def _check(self, account: Account) -> list[Frame]:
        """Let the liquidation engine look at one account and keep what it saw."""
        at = self.now()
        pools = engine.pools(account, self.market)
        for pool in pools:
            self.peaks.setdefault((account.name, pool.scope), Peak()).see(pool.ratio, at, self.step_number)
        outcome = liquidator.check(self._context(account), pools, at, self.step_number)
        for scope in outcome.called:
            self.note("margin_call", account=account.name, scope=scope)
        self._keep(outcome.liquidations)
        return outcome.frames

    def _keep(self, liquidations: list[Liquidation]) -> None:
        for liquidation in liquidations:
            self.liquidations.append(liquidation)
            self.note("liquidation", **{k: v for k, v in liquidation.to_json().items() if k not in ("at", "step")})

    def publish_marks(self) -> None:
        """Send the present marks to every market stream that carries them, and to the venues that follow."""
        for follower in self.followers:
            self._keep(follower.follow(self.market.marks, self.now(), self.step_number))
        if self.audience is None:
            return
        now_ms = self.stamp_ms()
        self._published += 1
        speeds = ("@1s", "") if self._published % _SLOW_EVERY == 0 else ("@1s",)
        rows = {}
        for symbol, mark in self.market.marks.items():
            average = self._averages.get(symbol, mark)
            self._averages[symbol] = average + (mark - average) / 10
            rows[symbol] = events.mark_price(self.market.contracts[symbol], mark, self._averages[symbol], now_ms)
        for suffix in speeds:
            for symbol, row in rows.items():
                self.audience.market(f"{symbol.lower()}@markPrice{suffix}", row)
            for some in self._array_frames(rows):
                self.audience.market(f"!markPrice@arr{suffix}", some)
        indices = [events.asset_index(self.market, asset, now_ms) for asset in self.market.assets.values()]
        self.audience.market("!assetIndex@arr", indices)
        for row in indices:
            self.audience.market(f"{row['s'].lower()}@assetIndex", row)

    def _array_frames(self, rows: Mapping[str, Frame]) -> list[list[Frame]]:
        """The all-market array comes in two frames: TradFi contracts in one of their own."""
        split: dict[bool, list[Frame]] = {False: [], True: []}
        for symbol, row in rows.items():
            split[self.market.contracts[symbol].contract_type is ContractType.TRADIFI].append(row)
        return list(split.values())

    def set_brackets(self, symbol: str, rows: list[tuple[str, str, int]], top: str) -> None:
        """Change a contract's maintenance table, which ``!contractInfo`` announces."""
        contract = replace(self.market.contract(symbol), brackets=bracket_table(rows, top))
        self.market.contracts[symbol] = contract
        self.note("brackets", symbol=symbol)
        if self.audience is not None:
            self.audience.market("!contractInfo", events.contract_info(contract, self.stamp_ms()))

    # --- accounts

    def account(self, name: str) -> Account:
        """The account of that name, or a refusal."""
        if name not in self.accounts:
            raise Refusal(-1102, f"There is no account {name!r}; there are {sorted(self.accounts)}.", status=404)
        return self.accounts[name]

    def account_of_key(self, api_key: str) -> Account | None:
        """The account whose API key it is."""
        return next((account for account in self.accounts.values() if account.api_key == api_key), None)

    def act(self, name: str, kind: str, action: Callable[[Context], list[Frame]], *, silent: bool = False) -> int:
        """Let something happen to an account, then look whether it is liquidated for it; returns how many frames went.

        `silent` keeps the action's own frames back, as when the venue loses events.
        """
        account = self.account(name)
        frames = action(self._context(account))
        self.note(kind, account=name, silent=silent)
        sent = [] if silent else frames
        sent = sent + self._check(account)
        self._tell(name, sent)
        return len(sent)

    def _context(self, account: Account) -> Context:
        return Context(account, self.market, self.stamp_ms())

    def _tell(self, name: str, frames: list[Frame]) -> None:
        for frame in frames:
            self.note("event", account=name, event=frame["e"], frame=frame)
            if self.audience is not None:
                self.audience.private(name, None, frame)

    # --- listenKeys

    def open_listen_key(self, account: Account) -> str:
        """A listenKey: the present one with its life renewed, or a new one."""
        key = self.listen_keys.get(account.name)
        if key is None or key.expires_at <= self.now():
            self.expire_listen_key(account.name)
            self.listen_key_serial += 1
            key = ListenKey(events.listen_key_text(account.name, self.listen_key_serial), 0.0)
            self.listen_keys[account.name] = key
        key.expires_at = self.now() + self.scenario.venue.listen_key_life_s
        return key.text

    def keep_listen_key(self, account: Account) -> str:
        """Renew the life of the present listenKey, or -1125."""
        key = self.listen_keys.get(account.name)
        if key is None or key.expires_at <= self.now():
            raise Refusal(-1125, "This listenKey does not exist.")
        key.expires_at = self.now() + self.scenario.venue.listen_key_life_s
        return key.text

    def expire_listen_key(self, name: str, *, silent: bool = False) -> bool:
        """End an account's listenKey, telling its sockets unless `silent`; False when there is none."""
        key = self.listen_keys.pop(name, None)
        if key is None:
            return False
        self.note("listen_key_expired", account=name, silent=silent)
        if self.audience is not None and not silent:
            self.audience.private(name, key.text, events.listen_key_expired(key.text, self.stamp_ms()))
        return True

    def expire_due(self) -> None:
        """End the listenKeys whose life is over."""
        for name in [name for name, key in self.listen_keys.items() if key.expires_at <= self.now()]:
            self.expire_listen_key(name)

    def owner(self, listen_key: str) -> str | None:
        """The account of a valid listenKey."""
        return next((name for name, key in self.listen_keys.items() if key.text == listen_key), None)

    # --- for the control interface

    def view(self, name: str) -> dict[str, Any]:
        """The venue's own view of an account: its pools now, the worst it saw, and when each rung was passed."""
        account = self.account(name)
        return {
            "name": name,
            "hedge": account.hedge,
            "multi_assets": account.multi_assets,
            "cross_wallets": {asset: plain(value) for asset, value in account.cross_wallets.items()},
            "pools": [
                {
                    "scope": pool.scope,
                    "unit": pool.unit,
                    "margin_balance": plain(pool.balance),
                    "maintenance_margin": plain(pool.maintenance),
                    "margin_ratio": float(pool.ratio),
                }
                for pool in engine.pools(account, self.market)
            ],
            "peaks": {
                scope: {"ratio": float(peak.ratio), "rungs": peak.rungs}
                for (owner, scope), peak in self.peaks.items()
                if owner == name
            },
        }

    # --- the start

    def _open_account(self, spec: AccountSpec, seed: int) -> Account:
        key, secret = spec.keys(seed)
        universe = COIN_M if spec.venue == "binance-coinm" else USD_M
        account = Account(spec.name, key, secret, universe, hedge=spec.hedge, multi_assets=spec.multi_assets)
        account.permissions.update(spec.permissions)
        ctx = Context(account, self.market, int(self.clock.now() * 1000))
        try:
            for asset, quantity in spec.wallets.items():
                actions.transfer(ctx, asset=asset, amount=quantity)
            for position in spec.positions:
                _open_position(ctx, position)
        except (Refusal, ValueError) as fault:
            raise ScenarioFault(f"account {spec.name}: {fault}") from None
        return account

    def _open_path(self, seed: int) -> Iterator[Marks] | None:
        """The steps to come. A file's first prices are where its symbols stand, unless the scenario says otherwise."""
        if self.scenario.path is None:
            return None
        path = self.scenario.path.build()
        if isinstance(path, MadePath):
            made_from = {symbol: mark for symbol, mark in self.market.marks.items() if self._moves(symbol)}
            return path.steps(made_from, self.scenario.tick_s, seed)
        steps = path.steps()
        first = next(steps, None)
        if first is None:
            raise PathFault(f"{path.path}: there are no prices in it")
        try:
            for symbol, price in first.items():
                if symbol not in self.scenario.marks:
                    self._set_mark(symbol, price)
        except Refusal as refusal:
            raise PathFault(f"{path.path}: {refusal.msg}") from None
        return chain([first], steps)

    def _moves(self, symbol: str) -> bool:
        return self.market.contracts[symbol].universe == USD_M


def _open_position(ctx: Context, spec: PositionSpec) -> None:
    actions.set_position(
        ctx,
        symbol=spec.symbol,
        size=spec.size,
        entry_price=spec.entry_price,
        position_side=PositionSide(spec.position_side).value if spec.position_side else None,
        isolated_wallet=spec.isolated_wallet,
        leverage=spec.leverage,
    )


def _market(scenario: Scenario) -> Market:
    """The catalogue at the scenario's marks; symbols outside it get the brackets of a thin market."""
    contracts = {contract.symbol: contract for contract in DEFAULT_CONTRACTS}
    marks = dict(DEFAULT_MARKS)
    for symbol, mark in scenario.marks.items():
        if symbol not in contracts:
            try:
                contracts[symbol] = thin_contract(symbol)
            except ValueError as error:
                raise ScenarioFault(f"marks: {error}") from None
        if mark <= 0:
            raise ScenarioFault(f"marks.{symbol}: {mark} is not a price")
        marks[symbol] = mark
    for contract in contracts.values():
        if contract.follows:
            marks[contract.symbol] = marks[contract.follows] * (ONE - Decimal("0.0005"))
    return Market(contracts, {asset.name: asset for asset in DEFAULT_ASSETS}, marks)


def totals(exchange: Exchange) -> Mapping[str, Any]:
    """A short summary for the control interface."""
    return {
        "now": exchange.now(),
        "step": exchange.step_number,
        "path_ended": exchange.path_ended,
        "marks": {symbol: plain(mark) for symbol, mark in exchange.market.marks.items()},
        "accounts": sorted(exchange.accounts),
        "liquidations": len(exchange.liquidations),
    }
