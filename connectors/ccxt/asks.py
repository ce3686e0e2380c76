"""What ccxt is asked: the whole list."""

from enum import StrEnum


class Ask(StrEnum):
    """Every method of ccxt that is ever called, by its Python name. All of them only read."""

    LOAD_MARKETS = "load_markets"
    FETCH_POSITIONS = "fetch_positions"
    FETCH_BALANCE = "fetch_balance"
    FETCH_LEVERAGE_TIERS = "fetch_leverage_tiers"
    FETCH_MARKET_LEVERAGE_TIERS = "fetch_market_leverage_tiers"
    FETCH_MARK_PRICES = "fetch_mark_prices"
    FETCH_TICKERS = "fetch_tickers"
    WATCH_POSITIONS = "watch_positions"
    WATCH_BALANCE = "watch_balance"
    WATCH_MARK_PRICES = "watch_mark_prices"
    WATCH_TICKERS = "watch_tickers"
    WATCH_TICKER = "watch_ticker"

    @property
    def capability(self) -> str:
        """ccxt's name for it in `has`."""
        first, *others = self.value.split("_")
        return first + "".join(word.capitalize() for word in others)

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes when there is something to say, and not within a time."""
        return self.value.startswith("watch_")
