"""What `run` and `watch` tell a person at a terminal: what is watched, where, how it stands, and how to end it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from monitor.legible import legible

if TYPE_CHECKING:
    from alerts.alert import Alert
    from alerts.pair import Pair
    from monitor.config import Config
    from monitor.daemon import Daemon
    from monitor.model.assessment import PoolAssessment
    from monitor.pipeline import Pipeline

FIRST_LOOK_S = 0.1
SOON_S, PATIENCE_S = 3.0, 60.0
"""After so long what is known of the pools is said although something is missing; and then what is missing."""
POOLS_MAX = 20
"""Pools and accounts that are told one by one; the board shows the others."""
LEGS_MAX = 4
WAITING = "waiting one lease: no other monitor is known yet"

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
    """Every pool as soon as it is known, or what is missing after a while; then what went on from before."""
    pipeline, view = running.pipeline, running.view
    told: set[str] = set()

    def tell(*, unknown: bool) -> None:
        found = {each.pool: each for each in pipeline.assessments().values() if unknown or not each.unknown}
        news = [each for pool, each in found.items() if pool not in told]
        told.update(found)
        for line in pools(news):
            say(line)

    if not await _ready(pipeline, SOON_S):
        tell(unknown=False)
        await _ready(pipeline, PATIENCE_S - SOON_S, meanwhile=lambda: tell(unknown=False))
    is_ready, reasons = pipeline.ready()
    for reason in reasons:
        say(f"not yet seen: {reason}")
    tell(unknown=True)
    if is_ready and not told:
        say("no open positions")
    for alert in view.firing():
        if alert.key in said_before:
            say(still(alert))
    if view.pair is not None:
        await tell_voices(view.pair, say)


async def _ready(pipeline: "Pipeline", patience_s: float, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Wait until nothing is missing; whether that was within `patience_s`."""
    try:
        async with asyncio.timeout(patience_s):
            while not pipeline.ready()[0]:  # it decides by itself, about once a second
                meanwhile()
                await asyncio.sleep(FIRST_LOOK_S)
    except TimeoutError:
        return False
    return True


async def tell_voices(pair: "Pair", say: Say) -> None:
    """Who speaks for each account, until that is known of all of them."""
    told: dict[tuple[str, str], str] = {}
    while True:
        now = {account: voice(pair, account) for account in sorted(pair.voices())}
        for (venue, account), words in now.items():
            if told.get((venue, account)) != words:
                say(f"{venue}/{account}: {words}")
        told = now
        if WAITING not in now.values():
            return
        await asyncio.sleep(FIRST_LOOK_S)


def voice(pair: "Pair", account: tuple[str, str]) -> str:
    """How this monitor stands for an account. That another one speaks is said when one is known to, not before."""
    if pair.speaks_for(account):
        return "this monitor speaks"
    return WAITING if pair.speaker(account) in ("", pair.me) else "standing by: another monitor speaks"


def pools(found: "list[PoolAssessment]") -> list[str]:
    """A line for each pool, the most dangerous first, as far as there is room."""
    worst = sorted(found, key=lambda pool: (pool.margin_ratio == pool.margin_ratio, -pool.margin_ratio, pool.pool))
    more = len(worst) - POOLS_MAX
    lines = [line(pool) for pool in worst[:POOLS_MAX]]
    return [*lines, f"{more} more with less risk"] if more > 0 else lines


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
