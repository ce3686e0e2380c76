"""The ``[[account]]`` keys of Binance."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.binance.config import AccountConfig
from connectors.binance.product import USD_M
from connectors.binance_common.assembly import feed_name
from connectors.binance_common.settings import PERMISSIONS_URL
from monitor.credential import Secret


def account(**changes: Any) -> AccountConfig:
    """An account that needs nothing but its keys."""
    return AccountConfig(**{"name": "main", "api_key": Secret("k" * 64), "api_secret": Secret("s" * 64)} | changes)


def test_an_account_needs_only_a_name_and_keys() -> None:
    """Production addresses, a snapshot a minute, no dangerous key."""
    made = account()
    assert (made.venue, made.reconcile_s, made.allow_dangerous_key) == ("binance", 60.0, False)
    assert made.permissions_url == PERMISSIONS_URL
    assert feed_name(USD_M, made.market_url) == "binance"


def test_elsewhere_permissions_are_asked_where_the_account_is() -> None:
    """A test key is unknown to the main host."""
    assert account(rest_url="https://demo.test/").permissions_url == "https://demo.test"
    assert account(rest_url="https://demo.test", permissions_url="https://p.test").permissions_url == "https://p.test"


def test_feeds_elsewhere_are_named_by_their_address() -> None:
    """So that accounts of two networks do not mix their marks."""
    assert feed_name(USD_M, "wss://stream.test:9443/x") == "binance@stream.test:9443/x"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a/b"}, "name"),
        ({"rest_url": "fapi.binance.com"}, "https://host"),
        ({"rest_url": "http://fapi.binance.com"}, "in the clear"),
        ({"rest_url": "https://u:p@fapi.binance.com"}, "no place in it"),
        ({"market_url": "https://fstream.binance.com"}, "wss://host"),
        ({"market_url": "wss://host:notaport"}, "not an address"),
        ({"private_url": "ws://192.0.2.1"}, "in the clear"),
        ({"reconcile_s": 1}, "reconcile_s"),
        ({"reconcile_s": float("nan")}, "reconcile_s"),
        ({"api_secret": Secret("-----BEGIN PRIVATE KEY-----")}, "HMAC"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    """Each fault says where it is and what is allowed."""
    with pytest.raises(ValidationError) as refused:
        account(**changes)
    assert words in str(refused.value)
    assert "k" * 64 not in str(refused.value)
    assert "PRIVATE KEY" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_this_machine_may_be_spoken_to_in_the_clear(url: str) -> None:
    """For the simulator."""
    assert account(rest_url=url).rest_url == url


def test_an_account_does_not_print_its_keys() -> None:
    """Neither whole nor in part."""
    assert "kkk" not in repr(account())
    assert "sss" not in repr(account())
