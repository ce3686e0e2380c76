"""Margin rules, one module per venue, one line each in `RULES`."""

from collections.abc import Mapping

from monitor.margin.reported import ReportedRules
from monitor.margin.rules import VenueRules
from monitor.margin.venues import binance, binance_coinm, bybit, hyperliquid, okx

RULES: Mapping[str, VenueRules] = {
    "binance": binance.RULES,
    "binance-coinm": binance_coinm.RULES,
    "bybit": bybit.RULES,
    "hyperliquid": hyperliquid.RULES,
    "okx": okx.RULES,
}


def rules_of(venue: str) -> VenueRules:
    """A venue's rules; the pools of a venue that has none here are held as it reports them."""
    return RULES.get(venue) or ReportedRules(venue)
