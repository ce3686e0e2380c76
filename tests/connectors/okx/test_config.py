"""The ``[[account]]`` keys of OKX."""

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.okx import feed_name
from connectors.okx.config import AccountConfig
from monitor.credential import Secret


def account(**changes: Any) -> AccountConfig:
    """An account that needs nothing but its keys."""
    keys = {"api_key": Secret("k" * 36), "api_secret": Secret("s" * 32), "passphrase": Secret("p" * 12)}
    return AccountConfig(**{"name": "main", **keys} | changes)


@pytest.mark.parametrize(
    ("chosen", "rest", "stream"),
    [
        ({}, "https://www.okx.com", "wss://ws.okx.com:8443"),
        ({"demo": True}, "https://www.okx.com", "wss://wspap.okx.com:8443"),
        ({"region": "eea"}, "https://eea.okx.com", "wss://wseea.okx.com:8443"),
        ({"region": "eea", "demo": True}, "https://eea.okx.com", "wss://wseeapap.okx.com:8443"),
        ({"region": "us"}, "https://us.okx.com", "wss://wsus.okx.com:8443"),
        ({"region": "us", "demo": True}, "https://us.okx.com", "wss://wsuspap.okx.com:8443"),
    ],
)
def test_region_and_demo_choose_the_addresses(chosen: dict[str, Any], rest: str, stream: str) -> None:
    """A key works only where it was made."""
    made = account(**chosen)
    assert made.rest_url == rest
    assert (made.market_url, made.private_url) == (f"{stream}/ws/v5/public", f"{stream}/ws/v5/private")


def test_addresses_that_are_given_stand() -> None:
    """Each by itself."""
    made = account(region="eea", rest_url="https://rest.test")
    assert (made.rest_url, made.market_url) == ("https://rest.test", "wss://wseea.okx.com:8443/ws/v5/public")


def test_feeds_are_named_by_their_address() -> None:
    """So that accounts of two sites do not mix their marks."""
    assert feed_name(account().market_url) == "okx"
    assert feed_name(account(demo=True).market_url) == "okx@wspap.okx.com:8443/ws/v5/public"


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"region": "mars"}, "region"), ({"rest_url": "http://rest.test"}, "rest_url"), ({"passfrase": "x"}, "passfrase")],
)
def test_faults_name_their_key(changes: dict[str, Any], key: str) -> None:
    """And nothing else."""
    with pytest.raises(ValidationError) as found:
        account(**changes)
    assert [error["loc"][0] for error in found.value.errors()] == [key]


def test_a_passphrase_is_needed_and_not_printed() -> None:
    """Like the key and its secret."""
    with pytest.raises(ValidationError, match="passphrase"):
        AccountConfig(name="main", api_key=Secret("k"), api_secret=Secret("s"))  # type: ignore[call-arg]
    printed = repr(account()) + repr(account().settings("okx").header())
    assert not any(letter * 12 in printed for letter in "ksp")
