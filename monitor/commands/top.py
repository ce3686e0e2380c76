"""`marginwatch top`: the board in a terminal, over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.handle import NO_ANSWER, AskError, Config, Url, answer_of, no_marginwatch
from monitor.commands.run import DEFAULT_CONFIG
from monitor.errors import MarginwatchError

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.commands.top_view import Look

ANSWER_S = 3.0
"""How long the daemon may take; then what is shown counts as old."""
PICTURE_WIDTH = 144
PICTURE_HEIGHT = 24


def top(
    once: Annotated[bool, typer.Option("--once", help="Print the pools once and end, as it does in a pipe.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, max=60, help="How often to ask.")] = 1.0,
    config: Config = DEFAULT_CONFIG,
    url: Url = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it once, as an SVG.", hidden=True)] = None,
) -> None:
    """Show the pools of a running daemon, the most dangerous first, with its alerts and the health of its streams.

    Works over SSH and in narrow terminals. What is shown turns grey, and says how old it is, when the daemon does not
    answer. Ends on q and Ctrl-C. Exit code 1 if there was no answer with --once.

    Examples:

        marginwatch top

        marginwatch top --url http://desk:9464 --once
    """
    import sys
    import time

    from rich.console import Console

    from monitor.commands.handle import place
    from monitor.commands.show import PipedConsole
    from monitor.commands.top_view import Look

    look = Look(place(config, url))
    if picture is not None:
        _fetch(look, time.monotonic())
        _fetch_history(look, PICTURE_WIDTH, time.monotonic())
        _draw(picture, look)
        return
    console: Console = PipedConsole(highlight=False)
    # rich calls a pipe a terminal where FORCE_COLOR or TTY_COMPATIBLE asks for colours.
    terminal = sys.stdout.isatty()
    if once or not terminal:
        _once(look, console, terminal=terminal)
    else:
        _live(look, console, every)


def _once(look: "Look", console: "Console", *, terminal: bool) -> None:
    import os
    import time

    from monitor.commands.top_view import UNCUT

    if (error := _fetch(look, time.monotonic())) is not None:
        raise error
    # What reads a pipe wants whole names and whole sentences.
    if not terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = UNCUT
    _fetch_history(look, console.width, time.monotonic())
    console.print(look.screen(console.width, None, time.monotonic()))


def _live(look: "Look", console: "Console", every_s: float) -> None:
    """Ask and show until told to end."""
    import time

    from rich.live import Live

    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                _fetch(look, time.monotonic())
                live.update(look.screen(console.width, console.height, time.monotonic()), refresh=True)
                _fetch_history(look, console.width, time.monotonic())
                if pressed(every_s) in ("q", "Q", "\x03", "\x04"):
                    return
        except KeyboardInterrupt:
            return


def _fetch(look: "Look", now: float) -> MarginwatchError | None:
    """Ask for the state once; returns why it did not come."""
    try:
        document = answer_of(look.url, "/api/v1/board", timeout_s=ANSWER_S)
        try:
            look.take(document, now)
        except NO_ANSWER:
            raise no_marginwatch(look.url) from None
    except MarginwatchError as error:
        look.trouble = error.why if isinstance(error, AskError) else str(error)
        return error
    look.trouble = ""
    return None


def _fetch_history(look: "Look", width: int, now: float) -> None:
    """Ask for the history when its time has come. Without it everything else is shown."""
    from contextlib import suppress

    from monitor.commands.top_view import HISTORY_AGAIN_S

    if look.trouble or not look.wants_history(width, now):
        return
    look.history_due_at = now + HISTORY_AGAIN_S
    with suppress(MarginwatchError, *NO_ANSWER):
        look.remember(answer_of(look.url, "/api/v1/history", timeout_s=ANSWER_S), now)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key for so many seconds; without a terminal to read from it only waits."""
    import sys
    import time
    from importlib.util import find_spec

    def wait(seconds: float) -> str:
        time.sleep(seconds)
        return ""

    if find_spec("termios") is None or not sys.stdin.isatty():
        yield wait
        return
    import os
    import select
    import termios
    import tty

    terminal = sys.stdin.fileno()

    def pressed(seconds: float) -> str:
        if select.select([terminal], [], [], seconds)[0]:
            return os.read(terminal, 1).decode(errors="replace") or "q"  # nothing to read: the terminal is gone
        return ""

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _draw(picture: Path, look: "Look") -> None:
    import io
    import re
    import time

    from rich.console import Console

    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(look.screen(PICTURE_WIDTH, PICTURE_HEIGHT, time.monotonic()))
    drawn = console.export_svg(title="marginwatch top")
    # Fonts from other hosts are neither needed nor loaded where pictures are shown safely.
    picture.write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.DOTALL), encoding="utf-8")
