"""Binance USD-M futures."""

from connectors.binance.config import AccountConfig

__all__ = ["AccountConfig"]
