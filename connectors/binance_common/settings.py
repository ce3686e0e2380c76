"""The ``[[account]]`` keys that all of Binance's futures have, and what a session needs to know of an account."""

from dataclasses import asdict, dataclass

from pydantic import Field, field_validator, model_validator

from connectors.config import BaseAccountConfig, HttpUrl, WebSocketUrl
from monitor.credential import Secret

PERMISSIONS_URL = "https://api.binance.com"


class FuturesAccountConfig(BaseAccountConfig):
    """One account. Each venue adds its name and the defaults of its addresses.

    `permissions_url` is where the key's permissions are asked. It defaults to Binance's main host in production, and
    to `rest_url` elsewhere, because a test key is unknown to the main host.
    """

    api_key: Secret = Field(repr=False)
    api_secret: Secret = Field(repr=False)
    rest_url: HttpUrl
    market_url: WebSocketUrl
    private_url: WebSocketUrl
    permissions_url: HttpUrl = ""

    def is_portfolio(self) -> bool:
        """Whether the account is under portfolio margin."""
        return False

    @field_validator("api_secret")
    @classmethod
    def _hmac_only(cls, secret: Secret) -> Secret:
        if secret.reveal().startswith("-----BEGIN"):
            raise ValueError(
                "RSA and Ed25519 keys are not supported; make a system-generated (HMAC) API key on Binance"
            )
        return secret

    @model_validator(mode="before")
    @classmethod
    def _default_permissions_url(cls, values: object) -> object:
        if isinstance(values, dict) and not values.get("permissions_url"):
            known = cls.production()
            rest_url = values.get("rest_url", known[0])
            production = isinstance(rest_url, str) and rest_url.rstrip("/") in known
            return {**values, "permissions_url": PERMISSIONS_URL if production else rest_url}
        return values

    @classmethod
    def production(cls) -> tuple[str, ...]:
        """REST addresses whose keys Binance's main host knows, the default first."""
        return (str(cls.model_fields["rest_url"].default),)

    def settings(self, feed: str) -> "AccountSettings":
        """Everything but the credentials."""
        return AccountSettings(
            name=self.name,
            feed=feed,
            rest_url=self.rest_url,
            market_url=self.market_url,
            private_url=self.private_url,
            permissions_url=self.permissions_url,
            allow_dangerous_key=self.allow_dangerous_key,
            reconcile_s=self.reconcile_s,
            portfolio=self.is_portfolio(),
        )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What a session needs to know of an account: everything but its credentials."""

    name: str
    feed: str
    rest_url: str
    market_url: str
    private_url: str
    permissions_url: str
    allow_dangerous_key: bool
    reconcile_s: float
    portfolio: bool = False

    def header(self) -> dict[str, object]:
        """For a recording."""
        return asdict(self)
