"""The keys of an account, and what is made of several."""

import pytest
from pydantic import ValidationError

from connectors import FeedSettings
from connectors import hyperliquid as venue
from connectors.hyperliquid import STREAMED_MAX
from connectors.hyperliquid.config import REST_URL, STREAM_URL, AccountConfig
from monitor.clock import ManualClock
from monitor.config import parse
from monitor.errors import ConfigurationError
from monitor.telemetry import Telemetry

ADDRESS = "0x" + "aB" * 20


def account(n: int = 0, **changes: object) -> AccountConfig:
    """An account."""
    return AccountConfig.model_validate({"name": f"a{n}", "address": f"0x{n:040x}", **changes})


def test_an_address_is_all_it_takes() -> None:
    """In lower case from here on, because the venue's frames have it so."""
    loaded = parse(f'[[account]]\nname = "hl"\nvenue = "hyperliquid"\naddress = "{ADDRESS}"\n', "here")
    (config,) = loaded.accounts
    assert isinstance(config, AccountConfig)
    assert config.address == ADDRESS.lower()
    assert (config.rest_url, config.market_url, config.private_url) == (REST_URL, STREAM_URL, STREAM_URL)


@pytest.mark.parametrize("address", ["", "0x12", "ab" * 20, "0x" + "gg" * 20, ADDRESS + "0", f" {ADDRESS}"])
def test_what_is_no_address_is_said(address: str) -> None:
    """A digit too few would be another account, or none."""
    with pytest.raises(ValidationError, match="an address is 0x and 40 hexadecimal digits"):
        account(address=address)


def test_a_key_is_not_asked_for_and_not_taken() -> None:
    """Whoever writes one believes something that is not so."""
    with pytest.raises(ConfigurationError, match="api_key: unknown key"):
        parse(f'[[account]]\nname = "x"\nvenue = "hyperliquid"\naddress = "{ADDRESS}"\napi_key = "env:K"\n', "here")


def test_addresses_beyond_the_venues_limit_are_polled() -> None:
    """Ten addresses and ten connections a machine: eight streams, one for the market, one to replace another with."""
    built = venue.build(
        [account(n) for n in range(STREAMED_MAX + 3)],
        lambda event, received: None,
        ManualClock(),
        Telemetry(),
        FeedSettings(),
    )
    assert [runner.name for runner in built][:2] == ["hyperliquid/mark", "hyperliquid/a0"]
    assert [each.streamed for each in venue.settings_of([account(n) for n in range(10)])] == [True] * 8 + [False] * 2
    assert STREAMED_MAX + 1 < 10


def test_addresses_share_what_the_machine_may_ask() -> None:
    """Alike, whether they have a stream or not; another network counts for itself."""
    own = [account(n) for n in range(9)]
    test = account(9, rest_url="https://api.hyperliquid-testnet.xyz")
    found = venue.settings_of([*own, test])
    assert [each.weight_per_minute for each in found] == [1200 * 0.9 / 9] * 9 + [1200 * 0.9]


def test_a_feed_elsewhere_has_another_name() -> None:
    """Marks of the test network are not those of the main one."""
    assert venue.feed_name(STREAM_URL) == "hyperliquid"
    assert venue.feed_name("wss://api.hyperliquid-testnet.xyz/ws") == "hyperliquid@api.hyperliquid-testnet.xyz/ws"


def test_a_recording_is_revived_from_its_header() -> None:
    """The same sessions; what is not a header is refused."""
    plan = venue.arrange([account().settings("f")], FeedSettings(), Telemetry(), 1)
    again = venue.revive(plan.header, Telemetry())
    assert [session.name for session in again.sessions()] == [session.name for session in plan.sessions()]
    for wrong in ({}, {**plan.header, "accounts": [{"name": "x"}]}):
        with pytest.raises(ValueError):  # noqa: PT011 - the recorder prints whatever it says
            venue.revive(wrong, Telemetry())
