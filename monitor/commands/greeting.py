"""What `run` and `watch` tell a person at a terminal: what is watched, where, how it stands, and how to end it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from monitor.legible import legible

if TYPE_CHECKING:
    from alerts.alert import Alert
    from monitor.config import Config
    from monitor.daemon import Daemon
    from monitor.model.assessment import PoolAssessment

FIRST_LOOK_S = 0.1
PATIENCE_S = 60.0
POOLS_MAX = 20
"""Pools and accounts that are told one by one; the board shows the others."""
LEGS_MAX = 4

Say = Callable[[str], None]
"""Shows a line."""


async def serve(config: "Config", say: Say, *, source: str, reread: "Callable[[], Config] | None" = None) -> None:
    """Run the daemon as `monitor.daemon.serve` does; say where it is, every pool once it is known, and the end."""
    from monitor import daemon

    looking: list[asyncio.Task[None]] = []

    def started(running: "Daemon") -> None:
        for line in places(config, running.urls):
            say(line)
        said_before = {alert.key for alert in running.view.firing()}
        looking.append(asyncio.create_task(_first_look(running, say, said_before), name="first look"))

    try:
        await daemon.serve(config, source=source, reread=reread, started=started)
    finally:
        for task in looking:
            task.cancel()
    say("stopped")


def places(config: "Config", urls: list[str]) -> list[str]:
    """What is watched, where to look, who is told, how to end it."""
    accounts = [f"{account.venue}/{account.name}" for account in config.accounts]
    return [
        *(f"watching {account}" for account in accounts[:POOLS_MAX]),
        *([f"watching {len(accounts) - POOLS_MAX} more"] if len(accounts) > POOLS_MAX else []),
        *(f"board {url}/  metrics {url}/metrics" for url in urls),
        f"warnings go to {_ways(config)}",
        "Ctrl-C ends it",
    ]


def _ways(config: "Config") -> str:
    from alerts.sinks import sections

    push = config.sinks.push
    words = {"console": "this terminal"}
    if push is not None:
        words["push"] = f"push ({', '.join(route.name for route in push.route)})"
    return ", ".join(words.get(name, name) for name in sections(config.sinks)) or "nobody: no sink is on"


async def _first_look(running: "Daemon", say: Say, said_before: set[str]) -> None:
    """Every pool as soon as nothing is missing, or what is missing after a while; then what went on from before."""
    pipeline, view = running.pipeline, running.view
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not pipeline.ready()[0]:  # noqa: ASYNC110 - the pipeline decides by itself, about once a second
                await asyncio.sleep(FIRST_LOOK_S)
    except TimeoutError:
        for reason in pipeline.ready()[1]:
            say(f"not yet seen: {reason}")
    for line in pools(list(pipeline.assessments().values())):
        say(line)
    for (venue, account), speaks in sorted(view.voices().items()):
        say(f"{venue}/{account}: {'this monitor speaks' if speaks else 'standing by: another monitor speaks'}")
    for alert in view.firing():
        if alert.key in said_before:
            say(still(alert))


def pools(found: "list[PoolAssessment]") -> list[str]:
    """A line for each pool, the most dangerous first, as far as there is room."""
    worst = sorted(found, key=lambda pool: (pool.margin_ratio == pool.margin_ratio, -pool.margin_ratio, pool.pool))
    more = len(worst) - POOLS_MAX
    lines = [line(pool) for pool in worst[:POOLS_MAX]]
    return [*lines, f"{more} more with less risk"] if more > 0 else lines or ["no open positions"]


def still(alert: "Alert") -> str:
    """An alert that an earlier run has told and that still fires."""
    seen = "" if alert.acknowledged is None else f" · acknowledged by {alert.acknowledged.by}"
    text = f"fires since an earlier run: {alert.severity.label} {alert.text}{seen}"
    return legible(text)


def line(pool: "PoolAssessment") -> str:
    """A pool in one line, its figures as the board has them."""
    from alerts.rules import _words
    from monitor.views import percent

    if pool.unknown:
        return f"{pool.pool}: margin ratio unknown ({', '.join(pool.unknown)})"
    legs = _words.listing(tuple(f"{leg.instrument} {leg.side.value} {leg.size:g}" for leg in pool.legs), LEGS_MAX)
    away = "" if pool.distance is None else f", liquidation {percent(pool.distance)} away"
    return f"{pool.pool}: margin ratio {percent(pool.margin_ratio)} ({pool.basis.value}){away}: {legs}"
