"""The ``[[account]]`` keys of Bybit."""

from typing import Literal

from pydantic import field_validator

from connectors.config import HttpUrl, KeyedAccountConfig, WebSocketUrl
from monitor.credential import Secret

REST_URL = "https://api.bybit.com"
MARKET_URL = "wss://stream.bybit.com/v5/public"
PRIVATE_URL = "wss://stream.bybit.com/v5/private"


class AccountConfig(KeyedAccountConfig):
    """One Bybit unified account.

    A key works only where it was made: for bybit.eu, .nl, .kz and the others, the test network and demo trading, set
    all three addresses. `market_url` is the part that all categories share; ``/linear``, ``/inverse`` and ``/spot``
    follow it.
    """

    venue: Literal["bybit"] = "bybit"
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = MARKET_URL
    private_url: WebSocketUrl = PRIVATE_URL

    @field_validator("api_secret")
    @classmethod
    def _hmac_only(cls, secret: Secret) -> Secret:
        if secret.reveal().startswith("-----BEGIN"):
            raise ValueError("RSA keys are not supported; make a system-generated (HMAC) API key on Bybit")
        return secret
