"""An account at one of the loopback exchanges."""

from typing import Any

from connectors.ccxt.config import AccountConfig
from monitor.credential import Secret
from tests.support.ccxt_server import CcxtServer


def account(server: CcxtServer, **changes: Any) -> AccountConfig:
    """Its configuration."""
    given = server.dialect.credentials
    keys: dict[str, Any] = {name: value if name == "uid" else Secret(value) for name, value in given.items()}
    values = {
        "name": "main", "venue": "ccxt", "exchange": server.dialect.name, "rest_url": server.rest_url,
        "stream_url": server.stream_url, "allow_dangerous_key": True, "reconcile_s": 5.0, **keys,
    }  # fmt: skip
    return AccountConfig.model_validate(values | changes)
