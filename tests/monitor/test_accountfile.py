"""Accounts described in TOML."""

from pathlib import Path

import pytest

from alerts.config import AlertsConfig
from monitor.accountfile import read_account_file, read_alerts
from monitor.errors import DocumentError
from monitor.model.account import MarginMode
from tests.support.replayed import LONG, account_file


def test_the_last_tier_has_no_end(tmp_path: Path) -> None:
    """TOML cannot say null: a tier without a cap is the last."""
    tiers = read_account_file(account_file(tmp_path)).account.instruments["BTCUSDT"].tiers
    assert [tier.cap for tier in tiers] == [300_000, None]


def test_a_position_without_an_entry_opens_at_the_first_price(tmp_path: Path) -> None:
    """Only the positions that left it out are opened at the file's first price."""
    hedged = LONG.replace('venue = "binance"', 'venue = "binance"\nposition_mode = "hedge"')
    short = hedged + LONG.partition("[[positions]]")[2].join(["[[positions]]\nentry_price = 31000", ""])
    described = read_account_file(
        account_file(tmp_path, short.replace("31000\n", "31000\n", 1).replace('"long"', '"short"', 1))
    )
    opened = described.opened({"BTCUSDT": 30_000.0})
    assert [position.entry_price for position in opened.positions] == [30_000.0, 31_000.0]
    assert opened.positions[0].margin_mode is MarginMode.ISOLATED


def test_rungs_may_stand_in_the_file(tmp_path: Path) -> None:
    """`[alerts.*]` of the account file is what warns about it."""
    described = read_account_file(account_file(tmp_path, f"{LONG}\n[alerts.margin_ratio]\nnotice = 0.2\n"))
    assert described.alerts.margin_ratio.notice == 0.2
    assert read_account_file(account_file(tmp_path)).alerts == AlertsConfig()


def test_rungs_are_taken_from_a_configuration_without_its_secrets(tmp_path: Path) -> None:
    """A configuration serves for its rungs even where its secrets are not at hand."""
    text = '[[account]]\napi_key = "env:NOT_SET"\n[alerts.distance]\nwarning = 0.3\n'
    assert read_alerts(account_file(tmp_path, text)).distance.warning == 0.3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("venue =", "line 1, column 8: not TOML: Invalid value"),
        ("", "venue: missing; it has no default"),
        (LONG.replace('"long"', '"up"'), 'positions[0].side: found "up"; must be "long" or "short"'),
        (LONG.replace("size = 1", "size = nan"), "positions[0].size: must be a number"),
        (LONG.replace("size = 1", "sise = 1"), "positions[0].sise: unknown key; did you mean size?"),
        (LONG.replace('instrument = "BTCUSDT"', 'instrument = "ETHUSDT"'), "it is not among the instruments"),
        (LONG.partition("[[positions]]")[0], "positions: missing; without a position there is nothing to replay"),
        (LONG + "[alerts.margin_ratio]\nnotice = 3\n", "alerts.margin_ratio.notice: found 3; must be at most 1"),
        ("positions = 3\ninstruments = [1]", "positions: "),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the key and what is allowed."""
    path = account_file(tmp_path, text)
    with pytest.raises(DocumentError) as caught:
        read_account_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    with pytest.raises(DocumentError, match="cannot be read: No such file or directory"):
        read_account_file(tmp_path / "absent.toml")
