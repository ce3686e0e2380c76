"""The environment is the same on every machine."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def name_of(requirement: str) -> str:
    """The normalised name of a requirement or a pin."""
    return re.split(r"[\[<>=!;~ ]", requirement.strip())[0].lower().replace("_", "-")


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml asks for, constraints.txt has at one exact version, from the registry and nowhere else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {name_of(line): line for line in lines if not line.startswith("#")}
    assert {name_of(requirement) for requirement in asked} - {"marginwatch"} <= set(pins)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins.values())


def test_make_lists_what_there_is() -> None:
    """`make help` names the targets that README and .ci/run use."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    used = set(re.findall(r"(?m)^ *make (\w+)", (ROOT / ".ci" / "run").read_text() + (ROOT / "README.md").read_text()))
    assert used
    for target in used - {"help"}:
        assert f"make {target} " in listed
