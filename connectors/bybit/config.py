"""The ``[[account]]`` keys of Bybit."""

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field, field_validator

from connectors.config import BaseAccountConfig, HttpUrl, WebSocketUrl
from monitor.credential import Secret

REST_URL = "https://api.bybit.com"
MARKET_URL = "wss://stream.bybit.com/v5/public"
PRIVATE_URL = "wss://stream.bybit.com/v5/private"


class AccountConfig(BaseAccountConfig):
    """One Bybit unified account.

    A key works only where it was made: for bybit.eu, .nl, .kz and the others, the test network and demo trading, set
    all three addresses. `market_url` is the part that all categories share; ``/linear``, ``/inverse`` and ``/spot``
    follow it.
    """

    venue: Literal["bybit"] = "bybit"
    api_key: Secret = Field(repr=False)
    api_secret: Secret = Field(repr=False)
    rest_url: HttpUrl = REST_URL
    market_url: WebSocketUrl = MARKET_URL
    private_url: WebSocketUrl = PRIVATE_URL

    @field_validator("api_secret")
    @classmethod
    def _hmac_only(cls, secret: Secret) -> Secret:
        if secret.reveal().startswith("-----BEGIN"):
            raise ValueError("RSA keys are not supported; make a system-generated (HMAC) API key on Bybit")
        return secret

    def settings(self, feed: str) -> "AccountSettings":
        """Everything but the credentials."""
        return AccountSettings(
            name=self.name,
            feed=feed,
            rest_url=self.rest_url,
            market_url=self.market_url,
            private_url=self.private_url,
            allow_dangerous_key=self.allow_dangerous_key,
            reconcile_s=self.reconcile_s,
        )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What a session needs to know of an account: everything but its credentials."""

    name: str
    feed: str
    rest_url: str
    market_url: str
    private_url: str
    allow_dangerous_key: bool
    reconcile_s: float

    def header(self) -> dict[str, object]:
        """For a recording."""
        return asdict(self)
