"""The HTTP server over a desk, with a clock that runs, as a browser would meet it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alerts.sinks.prometheus import Build, Exposition, MetricsConfig
from monitor.clock import Clock, SystemClock
from monitor.credential import Secret
from monitor.http import HttpConfig, HttpServer
from tests.support.desk import Desk, busy_telemetry

TOKEN = "the-token"


@asynccontextmanager
async def served(desk: Desk, listen: str = "127.0.0.1:0", clock: Clock | None = None) -> AsyncIterator[str]:
    """The address of a server over `desk`, without a slash at its end."""
    metrics = Exposition(desk, busy_telemetry(), desk, Build("0.1.0", "3.11", "plain"), MetricsConfig())
    config = HttpConfig(listen=listen)
    server = HttpServer(config, desk, desk, metrics, clock or SystemClock(), desk, Secret(TOKEN))
    await server.start()
    try:
        yield server.urls[0]
    finally:
        await server.stop()
