"""The collection of frames as a whole: every file of a venue that is watched is fed to its connector by some test."""

import gzip
from pathlib import Path

import pytest

from tests.support.shared_data import ROOT, needs_shared_data

pytestmark = needs_shared_data

FED = {
    "binance": ("cryptofeed_BINANCE_FUTURES.0", "cryptofeed_BINANCE_FUTURES.ws.1.0", "tardis_binance-futures"),
    "bybit": ("bybit_private_docs_frames", "bybit_tickers_v5", "cryptofeed_BYBIT.ws.26.0", "tardis_bybit"),
    "ccxt": ("cryptofeed_GATEIO_FUTURES.ws.1.0", "tardis_bitget-futures-v3", "tardis_gate-io-futures"),
    "hyperliquid": ("tardis_hyperliquid",),
    "okx": ("cryptofeed_OKX.0", "cryptofeed_OKX.ws.1.0", "okx_docs_frames", "tardis_okex-futures", "tardis_okex-swap"),
}
"""By connector, whose ``test_shared_data.py`` counts what becomes of every frame."""

OF_NO_CONNECTOR = {"tardis_aster-futures", "tardis_bitmex", "tardis_dydx-v4", "tardis_huobi-dm-linear-swap"}
"""Exchanges that nothing here speaks to by itself."""


ANSWERS = {"cryptofeed_BINANCE_FUTURES.0": 2, "cryptofeed_OKX.0": 26}
"""Files of REST answers, and how many lines they have; every other one is of frames."""


def stem(name: str) -> str:
    """Without what says how it is written down."""
    for ending in (".gz", ".txt", ".jsonl"):
        name = name.removesuffix(ending)
    return name


def test_every_file_is_fed_to_a_connector_or_of_none() -> None:
    """A file that comes new to the collection is noticed here."""
    found = {stem(path.name) for path in (ROOT / "ws").iterdir()}
    assert found == {name for names in FED.values() for name in names} | OF_NO_CONNECTOR


@pytest.mark.parametrize("name", ANSWERS)
def test_a_file_of_answers_is_looked_at_line_by_line(name: str) -> None:
    """Its connector's test says what becomes of each; one that comes new is noticed here and there."""
    assert len(gzip.decompress((ROOT / "ws" / f"{name}.txt.gz").read_bytes()).splitlines()) == ANSWERS[name]


@pytest.mark.parametrize("connector", FED)
def test_the_connectors_tests_read_the_files(connector: str) -> None:
    """By name."""
    text = (Path(__file__).parent / connector / "test_shared_data.py").read_text()
    assert [name for name in FED[connector] if name not in text] == []
