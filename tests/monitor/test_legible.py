"""Text that others wrote does not play with whatever shows it."""

import pytest

from monitor.legible import legible, legible_all


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
