#!/usr/bin/env python3
"""Makes the environment that the Makefile works in. Runs on the bare system Python: standard library only.

    environment.py install [--dev] VENV    create VENV if need be and install marginwatch into it, editable
    environment.py lock                    write constraints.txt anew from pyproject.toml

Every step can be repeated, and a lock keeps two runs at the same time from treading on each other.
"""

# ruff: noqa: S603 - every command is spelt out here

import argparse
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHON_MIN = (3, 11)
BUILD_REQUIREMENTS = ("hatchling", "editables")
LOCK_HEADER = """\
# Every package of the environment at the version it was tested with; `make lock` writes this file.
"""


def main() -> int:
    """Do what the arguments ask; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    install_parser = commands.add_parser("install")
    install_parser.add_argument("--dev", action="store_true")
    install_parser.add_argument("venv", type=Path)
    commands.add_parser("lock")
    arguments = parser.parse_args()
    if sys.version_info < PYTHON_MIN:  # an older Python is told by this file
        say(f"marginwatch needs Python {'.'.join(map(str, PYTHON_MIN))} or newer; this is {sys.version.split()[0]}")
        return 1
    try:
        if arguments.command == "install":
            install(arguments.venv, dev=arguments.dev)
        else:
            lock()
    except subprocess.CalledProcessError as error:
        say(f"failed: {' '.join(map(str, error.cmd))}")
        return 1
    return 0


def install(venv: Path, *, dev: bool) -> None:
    """An environment at `venv` with marginwatch in it, and what its tests need if `dev`."""
    with alone():
        stamp = venv / (".installed-dev" if dev else ".installed")
        if is_newer(stamp, ROOT / "pyproject.toml", CONSTRAINTS):
            return  # another run made it while this one waited for the lock
        create(venv)
        pip = [venv / "bin" / "python", "-m", "pip", "--quiet", "install", "--constraint", CONSTRAINTS]
        say(f"installing into {venv} (a minute or two the first time)")
        # The build tools are installed like everything else, so that they too come at a known version.
        run(*pip, *BUILD_REQUIREMENTS)
        editable = [*pip, "--no-build-isolation", "--editable"]
        if dev:
            run(*editable, f"{ROOT}[dev]")
            (venv / ".installed").touch()
        elif subprocess.run([*editable, f"{ROOT}[fast,push]"], check=False).returncode != 0:
            say("this Python cannot have the compiled kernel; going on with the plain one, which does the same")
            run(*editable, f"{ROOT}[push]")
        stamp.touch()


def create(venv: Path) -> None:
    """A virtual environment at `venv`, unless there is a whole one."""
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    if importlib.util.find_spec("ensurepip") is None:
        install_ensurepip()
    run(sys.executable, "-m", "venv", "--clear", venv)


def install_ensurepip() -> None:
    """Debian and its children ship Python without what `venv` needs."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {package} (this Python has no ensurepip)")
        run("apt-get", "-qq", "update")
        run("apt-get", "-qq", "install", "-y", "--no-install-recommends", package)
        importlib.invalidate_caches()
        return
    say(f"this Python has no ensurepip, which `python3 -m venv` needs: sudo apt-get install {package}")
    raise SystemExit(1)


def lock() -> None:
    """Resolve pyproject.toml without constraints and write down what came out."""
    with tempfile.TemporaryDirectory(prefix="marginwatch-lock-") as directory:
        venv = Path(directory) / "venv"
        create(venv)
        python = venv / "bin" / "python"
        run(python, "-m", "pip", "--quiet", "install", *BUILD_REQUIREMENTS)
        run(python, "-m", "pip", "--quiet", "install", "--no-build-isolation", "--editable", f"{ROOT}[dev]")
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze", "--exclude-editable"], check=True, capture_output=True, text=True
        ).stdout
    CONSTRAINTS.write_text(LOCK_HEADER + frozen, encoding="utf-8")
    say(f"wrote {CONSTRAINTS.name}")


@contextmanager
def alone() -> Iterator[None]:
    """Hold a lock on the project's directory; it goes away with the process, however that ends."""
    directory = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def is_newer(stamp: Path, *sources: Path) -> bool:
    """Whether `stamp` was written after each of `sources`."""
    return stamp.exists() and all(stamp.stat().st_mtime >= source.stat().st_mtime for source in sources)


def run(*command: str | Path) -> None:
    """Run `command`, output shown. Raises CalledProcessError when it fails."""
    subprocess.run([str(part) for part in command], check=True)


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
