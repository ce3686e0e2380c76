"""The account's keys."""

from pathlib import Path

import pytest

from connectors import connector_of, venues
from connectors.ccxt import library
from monitor.config import Config, parse
from monitor.errors import ConfigurationError

KEYS = 'api_key = "env:HOME"\napi_secret = "env:HOME"\n'


def load(text: str) -> Config:
    """One account of these keys."""
    return parse(f'[[account]]\nname = "main"\nvenue = "ccxt"\n{text}', "test.toml")


def refused(text: str) -> str:
    """Why an account is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return str(caught.value)


def test_the_venue_is_the_exchange() -> None:
    """Pools, topics and metrics are named by where the account lies, not by how it is read."""
    (account,) = load(f'exchange = "gate"\nuid = "1"\n{KEYS}').accounts
    assert (account.venue, account.connector) == ("gate", "ccxt")
    assert connector_of(account) is venues()["ccxt"]


@pytest.mark.parametrize("exchange", ["binance", "binanceusdm"])
def test_a_venue_with_a_connector_of_its_own_is_not_read_through_ccxt(exchange: str) -> None:
    """It would be known less well; the sentence says what to write."""
    assert 'write venue = "binance"' in refused(f'exchange = "{exchange}"\n{KEYS}')


def test_names_are_checked() -> None:
    """Against what ccxt has."""
    assert "did you mean bitget?" in refused(f'exchange = "bitgett"\n{KEYS}')
    assert 'account "main".exchange' in refused(KEYS)
    assert "cannot read positions" in refused(f'exchange = "gemini"\n{KEYS}')
    assert "rest_url" in refused(f'exchange = "gate"\nrest_url = "http://example.org"\n{KEYS}')


def test_credentials_that_the_exchange_asks_for_are_asked_for() -> None:
    """By our names of them."""
    assert "bitget asks for passphrase" in refused(f'exchange = "bitget"\n{KEYS}')
    assert "gate asks for api_key, api_secret" in refused('exchange = "gate"\n')


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither by the account's text nor by an error about it."""
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    keys = f'api_key = "file:{secret}"\napi_secret = "file:{secret}"\n'
    (account,) = load(f'exchange = "gate"\n{keys}').accounts
    assert "s3cr3t" not in repr(account) + str(account)
    assert "s3cr3t" not in refused(f'exchange = "bitget"\n{keys}')


def test_parts_and_options_are_handed_on() -> None:
    """For exchanges that keep accounts apart."""
    text = f'exchange = "gate"\nparams = [{{ settle = "btc" }}]\noptions = {{ defaultSettle = "btc" }}\n{KEYS}'
    (account,) = load(text).accounts
    assert account.params == ({"settle": "btc"},)  # type: ignore[attr-defined]


def test_without_the_library_the_account_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of the configuration, without a traceback."""

    def missing(name: str) -> None:
        raise ImportError(name)

    library.streaming.cache_clear()
    monkeypatch.setattr(library, "import_module", missing)
    try:
        assert "pip install -c constraints.txt ccxt" in refused(f'exchange = "gate"\n{KEYS}')
    finally:
        library.streaming.cache_clear()
