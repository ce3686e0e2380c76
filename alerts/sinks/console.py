"""Console: one line an alert, on standard output."""

from alerts.sink import SinkConfig


class ConsoleConfig(SinkConfig):
    """``[sinks.console]``."""

    enabled: bool = True
