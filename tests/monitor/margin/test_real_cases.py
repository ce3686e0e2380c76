"""The collection of real positions as a whole: no figure of it is excused without a reason, and no case left out."""

import pytest

from tests.support.inexact import INEXACT
from tests.support.shared_data import all_cases, needs_shared_data

pytestmark = needs_shared_data

LAST_PLACE = 4e-16
"""Relative; two units of a double's last place, which is the last digit of those who print doubles."""

LOOKED_AT = {
    "binance-coinm": "test_venue_binance_coinm",
    "binance-portfolio-margin": "test_venue_binance",
    "binance-usdm": "test_venue_binance",
    "bitget": "connectors.ccxt.test_translate",
    "bybit": "test_venue_bybit",
    "gate": "connectors.ccxt.test_translate",
    "hyperliquid": "test_venue_hyperliquid",
    "okx": "test_venue_okx",
}
"""Where the cases of each venue are held against the rules."""


def test_the_figures_excused_are_those_that_the_collection_calls_inexact() -> None:
    """None is excused that can be had to the last digit, none is forgotten, and none by more than it needs."""
    found = {
        (case["id"], figure): check["rel_err"]
        for case in all_cases()
        for figure, check in case["check"].items()
        if case["derivable"].get(figure) and not check.get("within_last_digit", True) and check["rel_err"] > LAST_PLACE
    }
    assert found.keys() == INEXACT.keys()
    assert [key for key, error in found.items() if error > INEXACT[key].bound] == []


def test_the_cases_of_every_venue_are_looked_at() -> None:
    """A case of a venue that nobody looks at would be one that proves nothing."""
    assert {case["venue"] for case in all_cases()} == LOOKED_AT.keys()


@pytest.mark.parametrize("key", INEXACT, ids="/".join)
def test_every_reason_is_a_sentence_of_its_own(key: tuple[str, str]) -> None:
    """Not only a number that makes a test pass."""
    assert len(INEXACT[key].reason.split()) > 5
