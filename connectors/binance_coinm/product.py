"""COIN-M: its addresses, and the questions that make a snapshot."""

from collections.abc import Mapping
from dataclasses import replace

from connectors.binance_coinm import answers
from connectors.binance_coinm.config import STREAM_URL
from connectors.binance_common.parse import AccountUpdate, PositionRow
from connectors.binance_common.product import Listing, fee_request, fee_symbol
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.state import Answers
from connectors.session import Request, Security
from monitor.model.instrument import Instrument

_STATE = {
    "account": ("/dapi/v1/account", 5),
    "risk": ("/dapi/v1/positionRisk", 1),
}
_DEFINITIONS = {
    "exchange": ("/dapi/v1/exchangeInfo", 1),
    "brackets": ("/dapi/v2/leverageBracket", 2),
}
_FUNDING = {
    "funding": ("/dapi/v1/fundingInfo", 1),
}
_PUBLIC = frozenset({"exchange", "funding"})


class CoinM:
    """See `connectors.binance_common.product.Product`."""

    venue = "binance-coinm"
    feed = "binance-coinm"
    stream_url = STREAM_URL
    time_path = "/dapi/v1/time"
    listen_path = "/dapi/v1/listenKey"
    # Whether this host has moved to routed paths is told both ways, and a path that it does not feed connects all the
    # same: the documented one first, then the other.
    private_paths = ("/ws/{key}", "/private/ws?listenKey={key}")
    market_paths = ("/ws", "/market/ws")
    single_streams_max = 200
    foreign = 1
    definitions = frozenset(_DEFINITIONS)
    funding = frozenset(_FUNDING)
    state = frozenset(_STATE)
    multi_asset = frozenset[str]()

    def public_url(self, rest_url: str) -> str:
        """The same."""
        return rest_url

    def request(self, settings: AccountSettings, kind: str) -> Request:
        """The question of this kind."""
        if fee_symbol(kind) is not None:
            return fee_request(kind, settings.rest_url, "/dapi/v1/commissionRate")
        path, weight = (_STATE | _DEFINITIONS | _FUNDING)[kind]
        security = Security.NONE if kind in _PUBLIC else Security.SIGNED
        return Request(kind, "GET", settings.rest_url, path, security, weight=weight)

    def another(self, kind: str, body: bytes) -> str | None:
        """No answer raises a question."""
        return None

    def answers(self, bodies: Mapping[str, bytes], sent_ms: int, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers together."""
        listed = answers.risk_rows(bodies["risk"])
        risk = answers.position_risk(listed, instruments)
        return Answers(
            sent_ms=sent_ms,
            modes=answers.modes(listed),
            configs=answers.symbol_configs(listed),
            account=answers.account(bodies["account"], risk, instruments),
            risk=risk,
            indexes={},
        )

    def listing(self, kind: str, body: bytes) -> Listing:
        """Inverse contracts, or their tiers."""
        if kind == "brackets":
            return Listing(tiers=answers.brackets(body))
        return Listing(answers.instruments(body))

    def priced(self, update: AccountUpdate, instruments: Mapping[str, Instrument]) -> AccountUpdate:
        """The marks follow from the contract sizes."""
        return replace(update, positions=tuple(_priced(row, instruments.get(row.symbol)) for row in update.positions))


def _priced(row: PositionRow, instrument: Instrument | None) -> PositionRow:
    if instrument is None or row.unrealized_pnl is None:
        return replace(row, mark_price=None)
    mark = answers.implied_mark(row.size, row.entry_price, row.unrealized_pnl, instrument.multiplier)
    return replace(row, mark_price=mark)


COIN_M = CoinM()
