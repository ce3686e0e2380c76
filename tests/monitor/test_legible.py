"""Text that others wrote does not play with whatever shows it."""

import io

import pytest

from monitor.legible import legible, legible_all, never_fail


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("binance/main/BTCUSDT:long", "binance/main/BTCUSDT:long"),
        ("Zo\N{LATIN SMALL LETTER E WITH DIAERESIS} \N{CJK UNIFIED IDEOGRAPH-5E01}", "Zo\u00eb \u5e01"),
        ("\x1b[2J\x1b]0;own\x07", "?[2J?]0;own?"),
        ("\x9b31m red", "?31m red"),
        ("a\r\nb\tc\x7f", "a??b?c?"),
        ("gro\N{RIGHT-TO-LEFT OVERRIDE}pu", "gro?pu"),
        ("\udcff", "?"),
    ],
)
def test_what_cannot_be_printed_is_a_question_mark(text: str, shown: str) -> None:
    """Escape sequences, line ends, and what turns others around; letters of every script stay."""
    assert legible(text) == shown


def test_some_may_be_kept() -> None:
    """A traceback has lines."""
    assert legible("one\n\ttwo\x1b", "\n\t") == "one\n\ttwo?"


def test_everywhere_in_what_was_json() -> None:
    """Names of members too; what is no text stays what it is."""
    assert legible_all({"\x1b": ["\x07", 1.5, None, True, {"a": "b"}]}) == {"?": ["?", 1.5, None, True, {"a": "b"}]}


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"##:. 0.9 . a~ - ? ??"),
        ("latin-1", b"##:\xb7 0.9 \xb7 a~ - \xeb ??"),
        ("utf-8", "██┊· 0.9 · a… ─ ë 币?".encode()),
    ],
)
def test_an_output_that_cannot_hold_it_all(encoding: str, written: bytes) -> None:
    """What it cannot hold is replaced, by what looks alike if anything does, and the rest is not lost with it."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    never_fail(stream, None)
    stream.write("██┊· 0.9 · a… ─ ë 币\udcff")
    stream.flush()
    assert raw.getvalue() == written
