"""The token beside the state file."""

from pathlib import Path

import pytest

from monitor.errors import UserError
from monitor.token import own_token, read_token, token_path


def test_the_first_start_makes_a_token_that_only_the_user_can_read(tmp_path: Path) -> None:
    """Later starts, and the command, find the same."""
    state = tmp_path / "state.sqlite"
    token = own_token(state)
    assert token_path(state).stat().st_mode & 0o777 == 0o600
    assert own_token(state) == token == read_token(token_path(state))
    assert len(token.reveal()) >= 32
    assert token.reveal() not in repr(token)


def test_an_empty_file_is_made_anew(tmp_path: Path) -> None:
    """What a full disk left behind must not keep the monitor from starting, nor be a token."""
    state = tmp_path / "state.sqlite"
    token_path(state).write_text("")
    assert len(own_token(state).reveal()) >= 32


def test_a_directory_that_takes_no_file_leaves_a_token_that_nobody_knows(tmp_path: Path) -> None:
    """Watching goes on."""
    state = tmp_path / "missing" / "state.sqlite"
    assert own_token(state) != own_token(state)
    with pytest.raises(UserError, match="cannot read"):
        read_token(token_path(state))
