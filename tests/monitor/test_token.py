"""The token beside the state file."""

from pathlib import Path

import pytest

from monitor.errors import UserError
from monitor.token import given_token, own_token, read_token, token_path


def test_the_first_start_makes_a_token_that_only_the_user_can_read(tmp_path: Path) -> None:
    """Later starts, and the command, find the same."""
    state = tmp_path / "state.sqlite"
    token = own_token(state)
    assert token_path(state).stat().st_mode & 0o777 == 0o600
    assert own_token(state) == token == read_token(token_path(state))
    assert len(token.reveal()) >= 32
    assert token.reveal() not in repr(token)


@pytest.mark.parametrize("content", ["", "two\nlines", "two words", "t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken"])
def test_a_file_without_a_token_is_made_anew(tmp_path: Path, content: str) -> None:
    """What a full disk left behind, or no header bears, must not keep the monitor from starting, nor be a token."""
    state = tmp_path / "state.sqlite"
    token_path(state).write_text(content)
    with pytest.raises(UserError, match=r"empty|one line of ASCII"):
        read_token(token_path(state))
    assert len(own_token(state).reveal()) >= 32
    assert own_token(state) == read_token(token_path(state))


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around it does not belong to it, none is none, and what no header bears is refused unrepeated."""
    monkeypatch.delenv("THE_TOKEN", raising=False)
    assert given_token("THE_TOKEN").reveal() == ""
    monkeypatch.setenv("THE_TOKEN", " good-token\n")
    assert given_token("THE_TOKEN").reveal() == "good-token"
    for bad in ("good\ntoken", "good\r\nX-Evil: 1", "t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken", "\x1b[2J"):
        monkeypatch.setenv("THE_TOKEN", bad)
        with pytest.raises(UserError, match=r"^THE_TOKEN: a token is one line") as raised:
            given_token("THE_TOKEN")
        assert bad not in str(raised.value)


def test_a_directory_that_takes_no_file_leaves_a_token_that_nobody_knows(tmp_path: Path) -> None:
    """Watching goes on."""
    state = tmp_path / "missing" / "state.sqlite"
    assert own_token(state) != own_token(state)
    with pytest.raises(UserError, match="cannot read"):
        read_token(token_path(state))
