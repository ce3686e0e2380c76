"""What one account of the simulated venue holds, and the market it is valued at."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from connectors.simulator.contracts import COIN_M, USD_M, Asset, Contract
from connectors.simulator.wire import ONE, ZERO

# Read-only is the state in which a monitor's key should be; see the venue's apiRestrictions.
READ_ONLY: Mapping[str, bool] = {
    "ipRestrict": True,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "permitsUniversalTransfer": False,
    "enableMargin": False,
    "enableFutures": False,
    "enableSpotAndMarginTrading": False,
    "enableVanillaOptions": False,
    "enablePortfolioMarginTrading": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": False,
}


class Refusal(Exception):  # noqa: N818 - the venue's own word: it is an answer, not a failure of ours
    """What the venue answers instead of doing it: an HTTP status and its ``{"code", "msg"}``."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(f"{code}: {msg}")
        self.code = code
        self.msg = msg
        self.status = status


class PositionSide(StrEnum):
    """Which of the symbol's positions: BOTH in one-way mode, LONG and SHORT in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


@dataclass(slots=True)
class Holding:
    """One position; `amount` is signed. It stays in the book at zero so that its row can still be shown once."""

    symbol: str
    side: PositionSide
    amount: Decimal = ZERO
    entry_price: Decimal = ZERO
    isolated: bool = False
    isolated_wallet: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    updated_ms: int = 0

    @property
    def scope(self) -> str:
        """Name of its own pool: symbol and direction."""
        return f"{self.symbol}:{'long' if self.amount > ZERO else 'short'}"


@dataclass(slots=True)
class Settings:
    """An account's settings for one symbol."""

    leverage: int = 20
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A resting limit order."""

    order_id: int
    client_id: str
    symbol: str
    buy: bool
    position_side: PositionSide
    quantity: Decimal
    price: Decimal


@dataclass(slots=True)
class Account:
    """One account, of USD-M or COIN-M. `cross_wallets` holds what is not locked in isolated positions, by asset."""

    name: str
    api_key: str
    api_secret: str
    universe: int = USD_M
    hedge: bool = False
    multi_assets: bool = False
    cross_wallets: dict[str, Decimal] = field(default_factory=dict)
    wallet_updated_ms: dict[str, int] = field(default_factory=dict)
    holdings: dict[tuple[str, PositionSide], Holding] = field(default_factory=dict)
    settings: dict[str, Settings] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    permissions: dict[str, bool] = field(default_factory=lambda: dict(READ_ONLY))
    called: set[str] = field(default_factory=set)

    def setting(self, symbol: str) -> Settings:
        """The symbol's settings, made on first use."""
        return self.settings.setdefault(symbol, Settings())

    def holding(self, symbol: str, side: PositionSide) -> Holding:
        """The position, made (empty) on first use."""
        key = (symbol, side)
        if key not in self.holdings:
            self.holdings[key] = Holding(symbol, side, isolated=self.setting(symbol).isolated)
        return self.holdings[key]

    def open_holdings(self) -> list[Holding]:
        """Positions that are not flat."""
        return [holding for holding in self.holdings.values() if holding.amount != ZERO]

    def held(self, symbol: str) -> list[Holding]:
        """Open positions of one symbol."""
        return [holding for holding in self.open_holdings() if holding.symbol == symbol]

    def credit(self, asset: str, change: Decimal, now_ms: int) -> None:
        """Change a cross wallet."""
        self.cross_wallets[asset] = self.cross_wallets.get(asset, ZERO) + change
        self.wallet_updated_ms[asset] = now_ms

    def sides(self) -> tuple[PositionSide, ...]:
        """The position sides that exist in the present position mode."""
        return (PositionSide.LONG, PositionSide.SHORT) if self.hedge else (PositionSide.BOTH,)


@dataclass(slots=True)
class Market:
    """Contracts, assets and their present prices."""

    contracts: dict[str, Contract]
    assets: dict[str, Asset]
    marks: dict[str, Decimal]
    unlisted: set[str] = field(default_factory=set)
    """Contracts that can be held and are left out of ``exchangeInfo``, like those before or after their trading."""

    def contract(self, symbol: str) -> Contract:
        """The contract, or the venue's -1121."""
        contract = self.contracts.get(symbol)
        if contract is None:
            raise Refusal(-1121, "Invalid symbol.")
        return contract

    def tradable(self, universe: int = USD_M) -> Iterator[Contract]:
        """The contracts that accounts of a universe can hold."""
        return (contract for contract in self.contracts.values() if contract.universe == universe)

    def listed(self, universe: int = USD_M) -> Iterator[Contract]:
        """Those of them that ``exchangeInfo`` tells."""
        return (contract for contract in self.tradable(universe) if contract.symbol not in self.unlisted)

    def margin_assets(self, universe: int) -> list[str]:
        """What accounts of a universe can be funded with: the catalogue's assets, or the coins of COIN-M."""
        if universe == USD_M:
            return list(self.assets)
        return list(dict.fromkeys(contract.margin_asset for contract in self.tradable(COIN_M)))

    def index(self, asset: Asset) -> Decimal:
        """The asset's USD price: that of the contract it follows, or its constant."""
        return self.marks.get(asset.follows, asset.index)

    def rate(self, asset_name: str, quantity: Decimal) -> Decimal:
        """USD for one unit in multi-assets mode: below the index for what is owned, above it for what is owed."""
        asset = self.assets[asset_name]
        buffer = -asset.bid_buffer if quantity >= ZERO else asset.ask_buffer
        return self.index(asset) * (ONE + buffer)

    def pnl(self, holding: Holding) -> Decimal:
        """Unrealized profit of a position at the present mark."""
        return self.pnl_at(holding, self.marks[holding.symbol])

    def pnl_at(self, holding: Holding, mark: Decimal) -> Decimal:
        """Unrealized profit of a position at a mark."""
        return self.contracts[holding.symbol].pnl(holding.amount, holding.entry_price, mark)

    def notional(self, holding: Holding) -> Decimal:
        """Absolute notional of a position at the present mark."""
        return self.contracts[holding.symbol].notional(holding.amount, self.marks[holding.symbol])

    def maintenance(self, holding: Holding) -> Decimal:
        """Maintenance margin of a position at the present mark."""
        return self.contracts[holding.symbol].maintenance(self.notional(holding))

    def margined_in(self, holdings: Iterable[Holding], asset: str) -> list[Holding]:
        """Those of `holdings` whose contract is margined in `asset`."""
        return [holding for holding in holdings if self.contracts[holding.symbol].margin_asset == asset]

    def wallet_balance(self, account: Account, asset: str) -> Decimal:
        """The whole wallet of an asset: cross wallet plus the isolated wallets margined in it."""
        locked = sum((h.isolated_wallet for h in self.margined_in(account.open_holdings(), asset)), ZERO)
        return account.cross_wallets.get(asset, ZERO) + locked
