"""Margin rules, one module per venue, one line each in `RULES`."""

from collections.abc import Mapping

from monitor.margin.rules import VenueRules
from monitor.margin.venues import binance, binance_coinm

RULES: Mapping[str, VenueRules] = {
    "binance": binance.RULES,
    "binance-coinm": binance_coinm.RULES,
}
