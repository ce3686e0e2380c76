"""The command `marginwatch`: runs a command and turns every error into a sentence and an exit code.

0 good; 1 failed, and the same may go well later; 2 unusable input or configuration, which only a person can mend; 130
interrupted. Results go to standard output, everything else to standard error.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from monitor.commands.app import app
from monitor.errors import MarginwatchError, UserError
from monitor.legible import never_fail

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name. Leaves the process; never with a traceback for what a person caused."""
    never_fail(sys.stdout, sys.stderr)
    try:
        try:
            app(prog_name="marginwatch")
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter complains once more while it leaves.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - what nobody foresaw is shown, without secrets
        _leave(error)


def _leave(error: BaseException) -> NoReturn:
    """Say what went wrong and leave with its code; of an error that nobody could have caused, where it came from."""
    from monitor.credential import conceal

    causes = list(_leaves(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        sys.exit(EXIT_INTERRUPTED)
    if not all(isinstance(cause, MarginwatchError | OSError) for cause in causes):
        sys.stderr.write(conceal("".join(traceback.format_exception(error))))
        sys.exit(EXIT_FAILED)
    for cause in causes:
        sys.stderr.write(conceal(f"{_sentence(cause)}\n"))
    sys.exit(
        EXIT_UNUSABLE if all(isinstance(cause, UserError) and not cause.retry for cause in causes) else EXIT_FAILED
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside nested groups, which a TaskGroup makes."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return (
            f"marginwatch: {error.filename}: {error.strerror}" if error.filename else f"marginwatch: {error.strerror}"
        )
    return str(error) if isinstance(error, UserError) else f"marginwatch: {error}"


if __name__ == "__main__":
    main()
