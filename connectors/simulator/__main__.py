"""``python -m connectors.simulator``: venues on loopback until their scenario ends."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from connectors.simulator.prices import PathFault
from connectors.simulator.scenario import BUILT_IN, Scenario, ScenarioFault, by_name
from connectors.simulator.server import Simulator


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 0 good, 1 failed, 2 unusable input."""
    options = _options(argv)
    try:
        scenario = by_name(options.scenario)
        given = {"tick_s": options.tick, "speed": options.speed}
        scenario = scenario.model_copy(update={key: value for key, value in given.items() if value is not None})
        asyncio.run(_serve(scenario, options))
    except (ScenarioFault, PathFault) as fault:
        print(fault, file=sys.stderr)  # noqa: T201 - the command's own output
        return 2
    except OSError as error:
        print(f"cannot listen or write: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m connectors.simulator", description=__doc__)
    parser.add_argument("--scenario", default="demo", help=f"{', '.join(sorted(BUILT_IN))}, or a TOML file")
    parser.add_argument("--seed", type=int, default=1, help="of prices, keys and secrets")
    parser.add_argument("--port", type=int, default=0, help="of the exchange on 127.0.0.1; 0: a free one")
    parser.add_argument("--tick", type=_positive, default=None, help="seconds between steps, instead of the scenario's")
    parser.add_argument("--speed", type=_positive, default=None, help="play the same steps so many times faster")
    parser.add_argument("--max-seconds", type=_positive, default=3600.0, help="end at the latest after so long")
    parser.add_argument("--ready-file", type=Path, default=None, help="write the ready line there, else to stdout")
    return parser.parse_args(argv)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


async def _serve(scenario: Scenario, options: argparse.Namespace) -> None:
    """Listen, say so, play, stop."""
    simulator = Simulator(scenario, options.seed, options.port)
    await simulator.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, simulator.player.stop)
    try:
        _say_ready(simulator, options.ready_file)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.max_seconds):
                await simulator.run()
    finally:
        await simulator.close()


def _say_ready(simulator: Simulator, ready_file: Path | None) -> None:
    """One line of JSON. The file appears whole or not at all, readable by its owner only: it holds the made secrets."""
    line = orjson.dumps(simulator.address(os.getpid()).to_json())
    if ready_file is None:
        print(line.decode(), flush=True)  # noqa: T201 - the command's own output
        return
    partial = ready_file.with_name(f".{ready_file.name}.partial")
    partial.touch(mode=0o600)
    partial.write_bytes(line + b"\n")
    partial.replace(ready_file)


if __name__ == "__main__":
    sys.exit(main())
