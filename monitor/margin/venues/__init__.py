"""Margin rules, one module per venue, one line each in `RULES`."""

from collections.abc import Mapping

from monitor.margin.rules import VenueRules
from monitor.margin.venues import binance, bybit, okx

RULES: Mapping[str, VenueRules] = {
    "binance": binance.RULES,
    "bybit": bybit.RULES,
    "okx": okx.RULES,
}
