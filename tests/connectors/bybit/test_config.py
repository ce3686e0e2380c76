"""The keys of a Bybit account."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.bybit import feed_name
from connectors.bybit.config import MARKET_URL, AccountConfig
from monitor.credential import Secret


def account(**changes: Any) -> AccountConfig:
    """An account with no more than it needs."""
    values = {"name": "main", "api_key": Secret("the-key"), "api_secret": Secret("the-secret")}
    return AccountConfig.model_validate(values | changes)


def test_an_account_needs_only_a_name_and_keys() -> None:
    """Everything else is production."""
    assert account().rest_url == "https://api.bybit.com"
    assert account().market_url == "wss://stream.bybit.com/v5/public"
    assert account().private_url == "wss://stream.bybit.com/v5/private"


def test_feeds_elsewhere_are_named_by_their_address() -> None:
    """Accounts of other sites read other streams."""
    assert feed_name(MARKET_URL) == "bybit"
    assert feed_name("wss://stream.bybit.eu/v5/public") == "bybit@stream.bybit.eu/v5/public"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_secret": Secret("-----BEGIN PRIVATE KEY-----")}, "RSA keys are not supported"),
        ({"rest_url": "http://api.bybit.com"}, "in the clear"),
        ({"passphrase": "x"}, "passphrase"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    """And never with the secret."""
    with pytest.raises(ValidationError) as refused:
        account(**changes)
    assert words in str(refused.value)


def test_an_account_does_not_print_its_keys() -> None:
    """Nor do its settings."""
    text = repr(account()) + repr(account().settings("bybit"))
    assert "the-key" not in text
    assert "the-secret" not in text
