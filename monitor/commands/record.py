"""`marginwatch record`: raw frames and snapshots with their times of receipt, to be replayed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.run import DEFAULT_CONFIG, ConfigFile, run_loop

if TYPE_CHECKING:
    from connectors.recorder import Recorder
    from monitor.config import Config

NOT_NEEDED = ("sinks", "http", "state", "pair", "heartbeat", "metrics")
"""Sections of a daemon that warns: their secrets need not be at hand."""
FAILURE_S = 0.25
"""How often is looked whether the recording can still be written."""


def record(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The recording to write; .gz packs it.")],
    config: ConfigFile = DEFAULT_CONFIG,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after so long; without it, on Ctrl-C.")] = None,
) -> None:
    """Write down what the venue sends about the accounts of a configuration, as it arrives.

    The recording holds raw frames and snapshots with their times of receipt, no keys and no secrets, but all of the
    accounts' figures: treat it as you would an account statement. Warns nobody, and asks for no secret of a sink; a
    daemon may run beside it.

    Examples:

        marginwatch record monday.jsonl.gz --config marginwatch.toml --seconds 3600

        marginwatch replay monday.jsonl.gz
    """
    from connectors.recorder import Recorder
    from monitor import logs
    from monitor.commands.show import counted
    from monitor.config import load
    from monitor.errors import ConfigurationError, Fault, MarginwatchError

    loaded = load(config, without=NOT_NEEDED)
    logs.configure(loaded.log)
    try:
        recorder = Recorder(out)
    except OSError as error:
        raise ConfigurationError(str(out), [Fault("", f"cannot be written: {error.strerror or error}")]) from None
    try:
        snapshots, frames = run_loop(_record(loaded, recorder, seconds))
    finally:
        recorder.close()
    if recorder.failure is not None:
        reason = recorder.failure.strerror or recorder.failure
        raise MarginwatchError(f"{out}: {reason}; the recording ends there, and what is in it can be replayed")
    counts = f"{counted(snapshots, 'snapshot')}, {counted(frames, 'frame')} of prices"
    typer.echo(f"{out}: {counted(out.stat().st_size, 'byte')}, {counts}", err=True)
    if not snapshots:
        raise MarginwatchError(f"{out}: no account was seen; try marginwatch check --config {config}")


async def _record(config: "Config", recorder: "Recorder", seconds: float | None) -> tuple[int, int]:
    """Run every account's connector into the recorder until told to stop, or until nothing can be written any more.

    Returns how many snapshots of accounts and how many frames of prices there were.
    """
    import asyncio
    import signal
    from contextlib import suppress

    from connectors import FeedSettings, Runner, connector_of
    from monitor.clock import SystemClock
    from monitor.model.events import AccountSnapshot, Event, Marks
    from monitor.telemetry import Telemetry

    snapshots = frames = 0

    def count(event: Event, received: float) -> None:
        nonlocal snapshots, frames
        snapshots += isinstance(event, AccountSnapshot)
        frames += isinstance(event, Marks)

    clock, telemetry = SystemClock(), Telemetry()
    settings = FeedSettings(mark_s=config.alerts.stale_feed.mark_s)
    runners: list[Runner] = []
    for venue in sorted({account.venue for account in config.accounts}):
        accounts = [account for account in config.accounts if account.venue == venue]
        runners += connector_of(accounts[0]).build(accounts, count, clock, telemetry, settings, recorder)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(runner.run(), name=f"runner {runner.name}") for runner in runners]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    broken = asyncio.create_task(_until_broken(recorder), name="recorder")
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                done, _ = await asyncio.wait([*tasks, stopping, broken], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
    finally:
        for task in (*tasks, stopping, broken):
            task.cancel()
        await asyncio.gather(*tasks, stopping, broken, return_exceptions=True)
    return snapshots, frames


async def _until_broken(recorder: "Recorder") -> None:
    """Until the recorder has failed: it says so to nobody, because a watch goes on without it."""
    import asyncio

    while recorder.failure is None:  # noqa: ASYNC110 - it is set by whoever writes, in the middle of a frame
        await asyncio.sleep(FAILURE_S)
