"""The stage of the demo: what it writes for the daemon, and that its processes end."""

import tomllib
from pathlib import Path

import psutil
import pytest

from monitor.commands.stage import StageError, _accounts, _toml, stage

GIVEN = [
    {"name": "a", "venue": "okx", "rest_url": "http://h:1", "api_key": "k", "api_secret": "s", "passphrase": "p"},
    {"name": "b", "venue": "hyperliquid", "rest_url": "http://h:2", "address": "0x1"},
    {"name": "c", "venue": "bybit", "rest_url": "http://h:3", "api_key": "k3", "api_secret": "s3"},
]


def test_secrets_stand_in_the_environment_and_not_in_the_file() -> None:
    """Each account's own, whatever secrets its venue has; everything else stays as it is."""
    tables, secrets = _accounts(GIVEN)
    read = tomllib.loads("\n".join(map(_toml, tables)))["account"]
    for given, table in zip(GIVEN, read, strict=True):
        for key, value in given.items():
            found = table[key]
            assert value == (secrets[found.removeprefix("env:")] if found.startswith("env:") else found)
    assert sorted(secrets.values()) == ["k", "k3", "p", "s", "s3"]
    assert read[1]["address"] == "0x1"


@pytest.mark.integration
async def test_an_exchange_that_does_not_come_up_is_said(tmp_path: Path) -> None:
    """With its last words, and nothing stays."""
    with pytest.raises(StageError, match="neither a built-in scenario"):
        async with stage(tmp_path, ["--scenario", "nothing"]):
            pass
    assert psutil.Process().children() == []
