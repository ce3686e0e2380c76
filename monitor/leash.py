"""Runs another module as a process that ends when its standard input closes.

Whoever starts it holds the other end, so nothing is left running, not even when that one is killed.

    python -m monitor.leash MODULE [ARGUMENT...]
"""

import os
import runpy
import signal
import sys
import threading

GRACE_S = 5.0
"""From asking the process to stop until it is ended."""


def main() -> None:
    """Run the module that the arguments name, as ``python -m`` would."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m monitor.leash MODULE [ARGUMENT...]")
    threading.Thread(target=_watch, daemon=True).start()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch() -> None:
    """Wait for the end of standard input, then ask this process to stop, and insist."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
