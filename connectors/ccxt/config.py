"""The ``[[account]]`` keys of an exchange that is read through ccxt.

``venue = "ccxt"`` chooses the connector and ``exchange`` the venue, under ccxt's name for it. From then on the
account's venue is the exchange: its pools are ``bitget/main/USDT``, not ``ccxt/main/USDT``, because what is liquidated
lies at Bitget, and an account that later gets a connector of its own keeps its names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import Field, field_validator, model_validator

from connectors import FeedSettings
from connectors.ccxt import library
from connectors.config import BaseAccountConfig, HttpUrl, WebSocketUrl
from monitor.credential import Secret

CONNECTOR = "ccxt"

OWN = {
    "binance": "binance",
    "binanceusdm": "binance",
    "binancecoinm": "binance-coinm",
    "bybit": "bybit",
    "okx": "okx",
    "hyperliquid": "hyperliquid",
}
"""ccxt's names of exchanges that may have a connector of their own here, which says more than ccxt can."""

_ASKED_AS = {"apiKey": "api_key", "secret": "api_secret", "password": "passphrase", "walletAddress": "address"}
"""What ccxt calls a credential, and what the configuration does."""

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What a session needs to know of its account; none of it is secret."""

    name: str
    exchange: str
    reconcile_s: float
    mark_s: float
    late_s: float

    def header(self) -> dict[str, object]:
        """For a recording."""
        return {
            "name": self.name,
            "exchange": self.exchange,
            "reconcile_s": self.reconcile_s,
            "mark_s": self.mark_s,
            "late_s": self.late_s,
        }

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> "AccountSettings":
        """From a recording. Raises KeyError, TypeError or ValueError for what is none."""
        figures = (float(header[key]) for key in ("reconcile_s", "mark_s", "late_s"))
        return cls(str(header["name"]), str(header["exchange"]), *figures)


class AccountConfig(BaseAccountConfig):
    """One account at an exchange that is read through ccxt.

    `params` are handed to ccxt with every question for positions and balances, one question for each table: exchanges
    that keep accounts apart (by margin coin, by product) must be asked for each. Exchanges that are known to this
    connector have them by default. What they are not known to ask for is named, see `kinds.named`. `options` are ccxt's
    options of the exchange.
    """

    venue: str = CONNECTOR
    exchange: str = Field(pattern=r"^[a-z0-9]{2,40}$")
    api_key: Secret | None = Field(default=None, repr=False)
    api_secret: Secret | None = Field(default=None, repr=False)
    passphrase: Secret | None = Field(default=None, repr=False)
    uid: str | None = None
    address: str | None = None
    sandbox: bool = False
    rest_url: HttpUrl | None = None
    stream_url: WebSocketUrl | None = None
    params: tuple[dict[str, Scalar], ...] = ()
    options: dict[str, Scalar] = Field(default_factory=dict)
    reconcile_s: float = Field(default=15.0, ge=5.0, le=3600.0, allow_inf_nan=False)
    """REST snapshot, the only source of what the venue requires: more often than where it is computed."""

    @property
    def connector(self) -> str:
        """Always this package."""
        return CONNECTOR

    @model_validator(mode="before")
    @classmethod
    def _venue_is_the_exchange(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("venue", CONNECTOR) == CONNECTOR and "exchange" in values:
            return {**values, "venue": values["exchange"]}
        return values

    @field_validator("exchange")
    @classmethod
    def _known(cls, exchange: str) -> str:
        from connectors import venues

        if OWN.get(exchange, exchange) in venues():
            raise ValueError(f'it has a connector of its own; write venue = "{OWN.get(exchange, exchange)}"')
        known = library.exchanges()
        if exchange not in known:
            near = get_close_matches(exchange, sorted(known), n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"ccxt has no streams of an exchange of this name{hint}")
        if not library.make(exchange, {}).has.get("fetchPositions"):
            raise ValueError("ccxt cannot read positions there")
        return exchange

    @model_validator(mode="after")
    def _credentials(self) -> "AccountConfig":
        required = library.make(self.exchange, {}).requiredCredentials
        missing = [ours for theirs, ours in _ASKED_AS.items() if required.get(theirs) and getattr(self, ours) is None]
        if missing:
            raise ValueError(f"{self.exchange} asks for {', '.join(missing)}")
        return self

    def settings(self, limits: FeedSettings) -> AccountSettings:
        """What its session needs."""
        return AccountSettings(self.name, self.exchange, self.reconcile_s, limits.mark_s, limits.late_s)

    def credentials(self) -> dict[str, str]:
        """What ccxt is given to sign with. Never printed."""
        secrets = {"apiKey": self.api_key, "secret": self.api_secret, "password": self.passphrase}
        plain = {"uid": self.uid, "walletAddress": self.address}
        found = {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
        return found | {name: value for name, value in plain.items() if value is not None}
