"""The collection of real positions as a whole: no figure of it is excused without a reason, and no case left out."""

from pathlib import Path

import pytest

from tests.support.inexact import INEXACT, excused
from tests.support.shared_data import all_cases, needs_shared_data

pytestmark = needs_shared_data

TESTS = Path(__file__).parents[2]

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
    """Or that are printed by another rule. None is excused that can be had to the last digit, and none is forgotten."""
    found = {
        (case["id"], figure)
        for case in all_cases()
        for figure, check in case["check"].items()
        if case["derivable"].get(figure) and not check.get("within_last_digit", True) and check["rel_err"] > LAST_PLACE
    }
    assert found == {key for key, inexact in INEXACT.items() if not inexact.other_rule}


def test_none_is_excused_by_more_than_it_needs() -> None:
    """Of whatever venue: what its tests let pass goes through `excused`, which fails for a bound that is too loose."""
    ways = {LOOKED_AT[case["venue"]] for case in all_cases() if any(case["id"] == name for name, _ in INEXACT)}
    for way in ways:
        folder = TESTS if "." in way else TESTS / "monitor" / "margin"
        assert "excused(" in (folder / f"{way.replace('.', '/')}.py").read_text(), way
    assert excused("okx-cross-doge-short-20230412", "liquidation_price", 1.0 + 1.5e-7, "1")
    assert not excused("okx-cross-doge-short-20230412", "liquidation_price", 1.0 + 1.7e-7, "1")
    assert not excused("okx-cross-doge-short-20230412", "liquidation_price", 1.0 - 0.7e-7, "1")
    assert not excused("okx-cross-doge-short-20230412", "liquidation_price", None, "1")


def test_the_cases_of_every_venue_are_looked_at() -> None:
    """A case of a venue that nobody looks at would be one that proves nothing."""
    assert {case["venue"] for case in all_cases()} == LOOKED_AT.keys()


@pytest.mark.parametrize("key", INEXACT, ids="/".join)
def test_every_reason_is_a_sentence_of_its_own(key: tuple[str, str]) -> None:
    """Not only a number that makes a test pass."""
    assert len(INEXACT[key].reason.split()) > 5
