"""Accounts and price paths for replays, written as a user writes them."""

from pathlib import Path

LONG = """
venue = "binance"

[instruments.BTCUSDT]
kind = "linear"
margin_coin = "USDT"
multiplier = 1
tiers = [
  { floor = 0, cap = 300000, rate = 0.004, deduction = 0 },
  { floor = 300000, rate = 0.005, deduction = 300 },
]

[[positions]]
instrument = "BTCUSDT"
side = "long"
size = 1
margin_mode = "isolated"
isolated_margin = 7600
"""
MINUTE_MS = 60_000
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS


def account_file(directory: Path, text: str = LONG) -> Path:
    """An account file holding `text`."""
    path = directory / "account.toml"
    path.write_text(text, encoding="utf-8")
    return path


def price_path(directory: Path, *bars: tuple[float, float, float, float], symbol: str = "BTCUSDT") -> Path:
    """A price path of one-minute bars (open, high, low, close)."""
    rows = (f"{START_MS + i * MINUTE_MS},{symbol},{','.join(map(str, bar))}" for i, bar in enumerate(bars))
    path = directory / "path.csv"
    path.write_text("\n".join(["ts_ms,symbol,open,high,low,close", *rows, ""]), encoding="utf-8")
    return path
