"""`marginwatch demo`: the real daemon against a simulated exchange, on this machine, for about a minute."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import ClientSession
    from rich.console import Console

    from monitor.commands.demo_screen import Scene
    from monitor.commands.stage import Stage

REFRESH_S = 0.125
PICTURE_WIDTH = 132
ANSWER_S = 2.0
SLACK_S = 60.0
"""Beyond the length of the price path: starting two processes, and the exchange's last moments."""


def demo(
    seconds: Annotated[float, typer.Option(min=10, max=3600, help="How long the prices take, about.")] = 48,
    all_venues: Annotated[
        bool, typer.Option("--all-venues", help="Five venues at once: Binance, its COIN-M, OKX, Bybit and Hyperliquid.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the prices; the same seed gives the same path.")] = 1,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw what happened, as an SVG.", hidden=True)
    ] = None,
) -> None:
    """Watch a crash: the real daemon against a simulated exchange that liquidates on its own judgement.

    The account holds a position that does not survive the crash, a pair that nearly does not, and one that is never in
    danger. With --all-venues one configuration file has an account at each of five simulated venues, and each venue
    liquidates by its own rules. At the end stands when each warning left, when the exchange liquidated, and the time
    between. Exit code 1 if a rung was missed. Needs no key, no Redis and no broker, and leaves nothing running.

    Examples:

        marginwatch demo

        marginwatch demo --all-venues

        marginwatch demo --seconds 20 --seed 7
    """
    import asyncio

    from monitor.commands.show import PipedConsole

    scenario, console = "all-venues" if all_venues else "demo", PipedConsole(highlight=False)
    good = asyncio.run(_interruptible(_demo(scenario, seconds, seed, picture, console)))
    if good is None:
        console.print("Interrupted. Nothing was left running.")
        raise KeyboardInterrupt
    if not good:
        raise typer.Exit(1)


async def _interruptible(work: "Coroutine[Any, Any, bool]") -> bool | None:
    """Run `work`; a signal that asks to end cancels it, so that what it started is ended too. None: interrupted."""
    import asyncio
    import signal

    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def _demo(scenario: str, seconds: float, seed: int, picture: Path | None, console: "Console") -> bool:
    """The whole demo; returns whether every account's warnings came before the liquidation they were about."""
    import tempfile

    from connectors.simulator.scenario import by_name
    from monitor.commands.demo_screen import Scene
    from monitor.commands.stage import stage

    speed = (by_name(scenario).duration_s() or seconds) / seconds
    arguments = ["--scenario", scenario, "--seed", str(seed), "--speed", f"{speed:.6f}"]
    arguments += ["--max-seconds", f"{seconds + SLACK_S:.0f}"]
    scene = Scene(width=console.width)
    exchanges = "simulated exchanges" if scenario == "all-venues" else "a simulated exchange"
    console.print(f"Starting {exchanges} and marginwatch ...")
    with tempfile.TemporaryDirectory(prefix="marginwatch-demo-") as directory:
        async with stage(Path(directory), arguments) as on_stage:
            _introduce(console, on_stage)
            scene.accounts = tuple(f"{table['venue']}/{table['name']}" for table in on_stage.tables)
            await _watch(on_stage, scene, console, seconds + SLACK_S)
    console.print("\nEach pool at its most dangerous:", scene.worst(), scene.summary(), sep="\n")
    good = scene.good()
    every = "Every rung of the margin ratio left before the liquidation."
    console.print(every if good else "[bold red]A rung was missed.[/]")
    console.print("Nothing was left running. Next, with any address and without a key:")
    console.print(f"  {_command()} watch hyperliquid 0x...", soft_wrap=True)
    console.print("With an account of your own, what README.md says under A read-only key and Configure.")
    if picture is not None:
        _draw(picture, scene)
    return good


def _command() -> str:
    """This program as it can be called from here."""
    import shutil
    import sys

    own = Path(sys.executable).parent / "marginwatch"
    found = shutil.which("marginwatch")
    if found is not None and Path(found).resolve() == own.resolve():
        return "marginwatch"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def _introduce(console: "Console", on_stage: "Stage") -> None:
    for table in on_stage.tables:
        console.print(f"  exchange   {table['rest_url']}  ({table['venue']}, simulated)")
    console.print(f"  board      {on_stage.http_url}/")
    console.print(f"  metrics    {on_stage.http_url}/metrics")
    console.print(f"  health     {on_stage.http_url}/readyz")
    console.print("  state      SQLite in a temporary directory; warnings go to this terminal")
    console.print("  times      UTC\n")


async def _watch(on_stage: "Stage", scene: "Scene", console: "Console", limit_s: float) -> None:
    """Follow both processes until the exchange has played its prices."""
    import asyncio
    import time

    from aiohttp import ClientSession, ClientTimeout

    from monitor.commands.demo_screen import Screen

    reading = asyncio.create_task(_read_lines(on_stage, scene), name="lines")
    closing = asyncio.create_task(on_stage.exchange.process.wait(), name="exchange")
    try:
        async with asyncio.timeout(limit_s), ClientSession(timeout=ClientTimeout(total=ANSWER_S)) as http:
            with Screen(console, scene) as screen:
                while not closing.done():
                    if reading.done() and not closing.done():
                        await reading
                        raise on_stage.daemon.failed("ended before the demo did")
                    await _look(http, on_stage, scene)
                    screen.refresh(time.time())
                    await asyncio.wait([closing, reading], timeout=REFRESH_S, return_when=asyncio.FIRST_COMPLETED)
                screen.refresh(time.time())
    except TimeoutError:
        raise on_stage.daemon.failed("did not see the exchange to its end in time") from None
    finally:
        for task in (reading, closing):
            task.cancel()
        await asyncio.gather(reading, closing, return_exceptions=True)


async def _read_lines(on_stage: "Stage", scene: "Scene") -> None:
    """Every alert that the daemon's console prints, with the time at which it was out of the process."""
    import time

    import orjson

    from monitor.commands.demo_screen import Line

    while line := await on_stage.daemon.line():
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        scene.lines.append(Line(time.time(), message))


async def _look(http: "ClientSession", on_stage: "Stage", scene: "Scene") -> None:
    """Ask the daemon for its pools and the exchange for what it liquidated. Either may be gone or not there yet."""
    pools = await _get(http, f"{on_stage.http_url}/api/v1/pools")
    liquidations = await _get(http, f"{on_stage.control_url}/liquidations")
    for each in liquidations or ():
        scene.liquidations.setdefault(f"{each['venue']}/{each['account']}/{each['scope']}", each["at"])
    if pools is not None:
        scene.see({pool["pool"]: pool for pool in pools["pools"]})


async def _get(http: "ClientSession", url: str) -> Any:
    from aiohttp import ClientError

    try:
        async with http.get(url) as response:
            return await response.json() if response.status == 200 else None
    except (ClientError, TimeoutError, OSError):
        return None


def _draw(picture: Path, scene: "Scene") -> None:
    """The demo as one picture: each pool at its most dangerous, the warnings, the outcome."""
    import io
    import re

    from rich.console import Console

    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(
        "Each pool at its most dangerous:\n", scene.worst(PICTURE_WIDTH), "", "The warnings (UTC):\n", sep="\n"
    )
    for line in scene.lines:
        console.print(line.wrapped())
    console.print()
    console.print(scene.summary())
    drawn = console.export_svg(title="marginwatch demo")
    # Fonts from other hosts are neither needed nor loaded where pictures are shown safely.
    picture.write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.DOTALL), encoding="utf-8")
