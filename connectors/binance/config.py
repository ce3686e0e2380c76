"""The ``[[account]]`` keys of Binance USD-M futures."""

from typing import Literal

from pydantic import model_validator

from connectors.binance_common.settings import FuturesAccountConfig
from connectors.config import HttpUrl, WebSocketUrl

REST_URL = "https://fapi.binance.com"
STREAM_URL = "wss://fstream.binance.com"


PORTFOLIO_URL = "https://papi.binance.com"
PORTFOLIO_POLL_S = 10.0
"""Under portfolio margin the requirement is only known from polls, so they are frequent."""


class AccountConfig(FuturesAccountConfig):
    """One Binance USD-M account, or with `portfolio` one under portfolio margin, COIN-M positions included."""

    portfolio: bool = False
    venue: Literal["binance"] = "binance"
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = STREAM_URL
    private_url: WebSocketUrl = STREAM_URL

    def is_portfolio(self) -> bool:
        """As configured."""
        return self.portfolio

    @classmethod
    def production(cls) -> tuple[str, ...]:
        """Both hosts."""
        return REST_URL, PORTFOLIO_URL

    @model_validator(mode="before")
    @classmethod
    def _portfolio_defaults(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("portfolio") is True:
            return {"rest_url": PORTFOLIO_URL, "reconcile_s": PORTFOLIO_POLL_S, **values}
        return values
