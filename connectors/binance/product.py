"""USD-M: its addresses, and the questions that make a snapshot."""

from collections.abc import Mapping

from connectors.binance import answers
from connectors.binance.config import STREAM_URL
from connectors.binance_common.market import INDIVIDUAL_STREAMS_MAX
from connectors.binance_common.parse import AccountUpdate
from connectors.binance_common.product import Listing, fee_request, fee_symbol
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.state import Answers
from connectors.session import Request, Security
from monitor.model.account import AccountMode
from monitor.model.instrument import Instrument

_STATE = {
    "modes": ("/fapi/v1/accountConfig", 5),
    "configs": ("/fapi/v1/symbolConfig", 5),
    "account": ("/fapi/v3/account", 5),
    "risk": ("/fapi/v3/positionRisk", 5),
}
_DEFINITIONS = {
    "exchange": ("/fapi/v1/exchangeInfo", 1),
    "brackets": ("/fapi/v1/leverageBracket", 1),
}
_FUNDING = {
    "funding": ("/fapi/v1/fundingInfo", 1),
}
_INDEXES = {
    "indexes": ("/fapi/v1/assetIndex", 10),
}
_PUBLIC = frozenset({"exchange", "funding", "indexes"})


class UsdM:
    """See `connectors.binance_common.product.Product`."""

    venue = "binance"
    feed = "binance"
    stream_url = STREAM_URL
    time_path = "/fapi/v1/time"
    listen_path = "/fapi/v1/listenKey"
    private_paths = ("/private/ws?listenKey={key}",)
    # The un-routed path accepts the same subscriptions, acknowledges them and then stays silent.
    market_paths = ("/market/ws",)
    single_streams_max = INDIVIDUAL_STREAMS_MAX
    foreign = 2
    definitions = frozenset(_DEFINITIONS)
    funding = frozenset(_FUNDING)
    state = frozenset(_STATE)
    multi_asset = frozenset(_INDEXES)

    def public_url(self, rest_url: str) -> str:
        """The same."""
        return rest_url

    def request(self, settings: AccountSettings, kind: str) -> Request:
        """The question of this kind."""
        if fee_symbol(kind) is not None:
            return fee_request(kind, settings.rest_url, "/fapi/v1/commissionRate")
        path, weight = (_STATE | _DEFINITIONS | _FUNDING | _INDEXES)[kind]
        security = Security.NONE if kind in _PUBLIC else Security.SIGNED
        return Request(kind, "GET", settings.rest_url, path, security, weight=weight)

    def another(self, kind: str, body: bytes) -> str | None:
        """The indexes, once the mode is known to need them."""
        multi = kind == "modes" and answers.modes(body).account_mode is AccountMode.MULTI_ASSET
        return "indexes" if multi else None

    def answers(self, bodies: Mapping[str, bytes], sent_ms: int, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers together."""
        indexes = bodies.get("indexes")
        return Answers(
            sent_ms=sent_ms,
            modes=answers.modes(bodies["modes"]),
            configs=answers.symbol_configs(bodies["configs"]),
            account=answers.account(bodies["account"]),
            risk=answers.position_risk(bodies["risk"]),
            indexes=answers.asset_indexes(indexes) if indexes is not None else {},
        )

    def listing(self, kind: str, body: bytes) -> Listing:
        """Linear contracts, or their tiers."""
        if kind == "brackets":
            return Listing(tiers=answers.brackets(body))
        exchange = answers.exchange(body)
        return Listing(exchange.symbols, margin_coins=exchange.margin_coins)

    def priced(self, update: AccountUpdate, instruments: Mapping[str, Instrument]) -> AccountUpdate:
        """Its marks follow without the contract: one contract is one unit of the base."""
        return update


USD_M = UsdM()
