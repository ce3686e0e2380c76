"""The engine's liquidation prices against those that the venue itself reported, where the real data is at hand."""

import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator import engine
from connectors.simulator.account import PositionSide
from connectors.simulator.contracts import Bracket, thin_contract
from tests.connectors.simulator.stage import account, context, flat_table, hold, market, table_with

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("MARGINWATCH_SHARED_DATA", ROOT.parent / "shared" / "data")) / "cases"
CASES = sorted(FOLDER.glob("bn-um-iso-*.json"))


@pytest.mark.parametrize("path", CASES or [None], ids=lambda path: path.stem if path else "absent")
def test_isolated_positions_of_real_accounts(path: Path | None) -> None:
    """Within one unit of the last digit that the venue printed: its inputs are cut to eight digits as well."""
    if path is None:
        pytest.skip(f"the real venue data is absent: no cases in {FOLDER}")
    case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    inputs, printed = case["inputs"], Decimal(case["expected"]["liquidation_price"])
    symbol, size = case["symbol"], Decimal(inputs["size"])
    place = market({symbol: inputs["mark_price"]})
    place.contracts[symbol] = replace(thin_contract(symbol), brackets=brackets(inputs, size * printed))
    owner = account()
    signed = size if inputs["side"] == "long" else -size
    hold(context(owner, place), symbol, str(signed), inputs["entry_price"], wallet=inputs["isolated_wallet"])
    price = engine.liquidation_price(owner, place, owner.holdings[(symbol, PositionSide.BOTH)])
    assert price == pytest.approx(printed, abs=Decimal(1).scaleb(printed.as_tuple().exponent))


def brackets(inputs: dict[str, str], notional: Decimal) -> tuple[Bracket, ...]:
    """A table whose bracket at the liquidation price is the case's."""
    if Decimal(inputs["mm_deduction"]) == 0:
        return flat_table(inputs["mmr"])
    return table_with(inputs["mmr"], inputs["mm_deduction"], floor=str(notional / 2))
