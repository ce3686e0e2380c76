"""House rules: who imports whom, the same tree in tests, complete registries, nothing left over."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("monitor", "connectors", "alerts")
BASE = (
    "monitor.model",
    "monitor.clock",
    "monitor.errors",
    "monitor.telemetry",
    "monitor.credential",
    "monitor.legible",
    "monitor.tasks",
)

# Downwards only. The first prefix that fits a module says what of the project it may import; "*" is everything.
ALLOWED: list[tuple[str, tuple[str, ...]]] = [
    ("monitor.__main__", ("*",)),
    ("monitor.commands", ("*",)),
    ("monitor.daemon", ("*",)),
    ("monitor.config", ("*",)),
    ("monitor.replay", ("*",)),
    ("monitor.accountfile", ("*",)),
    (
        "monitor.http",
        ("alerts", "monitor.board", "monitor.handling", "monitor.token", "monitor.turns", "monitor.views", *BASE),
    ),
    ("monitor.board", ("alerts", "monitor.board", "monitor.turns", "monitor.views", *BASE)),
    ("monitor.turns", ()),
    ("monitor.handling", ("alerts", *BASE)),
    ("monitor.heartbeat", BASE),
    ("monitor.token", BASE),
    ("monitor.vitality", ()),
    ("monitor.views", ("alerts", *BASE)),
    ("monitor.accounts", ("connectors", "monitor.pipeline", *BASE)),
    ("monitor.sharing", ("alerts", "monitor.pipeline", *BASE)),
    (
        "monitor.pipeline",
        ("monitor.book", "monitor.pools", "monitor.margin", "alerts.engine", "alerts.outbox", "alerts.alert", *BASE),
    ),
    ("monitor.document", ("monitor.faults", "monitor.margin", *BASE)),
    ("monitor.faults", BASE),
    ("monitor.logs", BASE),
    ("monitor.pricepath", BASE),
    ("monitor.sdnotify", BASE),
    ("monitor.tomlfile", BASE),
    ("monitor.anchoring", ("monitor.margin", "monitor.model")),
    (
        "monitor.anchored",
        ("monitor.anchoring", "monitor.kernel", "monitor.pools", "monitor.margin", "monitor.model"),
    ),
    (
        "monitor.pools",
        ("monitor.anchoring", "monitor.ledger", "monitor.kernel", "monitor.assess", "monitor.margin", *BASE),
    ),
    (
        "monitor.book",
        (
            "monitor.anchored",
            "monitor.pools",
            "monitor.ledger",
            "monitor.kernel",
            "monitor.assess",
            "monitor.margin",
            *BASE,
        ),
    ),
    ("monitor.ledger", ("monitor.columns", "monitor.kernel", "monitor.margin", *BASE)),
    ("monitor.columns", ("monitor.kernel", *BASE)),
    ("monitor.kernel", ("monitor.margin", *BASE)),
    ("monitor.assess", ("monitor.margin", "monitor.model")),
    ("monitor.margin", ("monitor.margin", "monitor.model")),
    ("monitor.model", ("monitor.model",)),
    ("monitor", ()),
    (
        "alerts.sinks",
        (
            "alerts.redis_link",
            "alerts.alert",
            "alerts.batches",
            "alerts.danger",
            "alerts.message",
            "alerts.orders",
            "alerts.paging",
            "alerts.rules",
            "alerts.silences",
            "alerts.sink",
            "alerts.sinks",
            *BASE,
        ),
    ),
    ("alerts.statefile", BASE),
    ("alerts.handling", ("alerts", *BASE)),
    ("alerts.orders", ("alerts.sink", "monitor.faults", *BASE)),
    ("alerts.sink", ("alerts.alert", *BASE)),
    ("alerts.outbox", ("alerts.alert", "alerts.message", "alerts.sink", "alerts.statefile", *BASE)),
    ("alerts.condition", BASE),
    ("alerts.spoken", ("alerts.alert", "alerts.message", "alerts.sink")),
    ("alerts.backlog", ("alerts.alert", "alerts.message", "alerts.outbox", "alerts.sink", *BASE)),
    ("alerts.showing", ("alerts.batches", "alerts.sink", *BASE)),
    (
        "alerts.delivery",
        (
            "alerts.alert",
            "alerts.backlog",
            "alerts.batches",
            "alerts.condition",
            "alerts.refusals",
            "alerts.showing",
            "alerts.sink",
            "alerts.spoken",
            *BASE,
        ),
    ),
    ("alerts.batches", ()),
    ("alerts.refusals", ("alerts.sink",)),
    ("alerts.redis_link", ("alerts.sink", *BASE)),
    (
        "alerts.pair",
        (
            "alerts.alert",
            "alerts.batches",
            "alerts.lease",
            "alerts.redis_link",
            "alerts.scripts",
            "alerts.shared_silences",
            "alerts.sink",
            "alerts.standing",
            "alerts.words",
            *BASE,
        ),
    ),
    ("alerts.scripts", ()),
    ("alerts.shared_silences", ("alerts.alert", "alerts.message")),
    ("alerts.standing", ("alerts.lease",)),
    ("alerts.words", ("alerts.alert", "alerts.lease", "alerts.message")),
    (
        "alerts.dispatch",
        (
            "alerts.alert",
            "alerts.backlog",
            "alerts.condition",
            "alerts.delivery",
            "alerts.outbox",
            "alerts.sink",
            "alerts.spoken",
            *BASE,
        ),
    ),
    ("alerts.config", ("alerts.alert", "alerts.rules", "monitor.model")),
    ("alerts", ("alerts", "monitor.model")),
    ("connectors.simulator", ("connectors.simulator", "monitor.clock")),  # its margin rules are its own
    ("connectors", ("connectors", *BASE)),
]

PURE = ("monitor.margin", "monitor.model", "monitor.assess", "monitor.book", "monitor.pools", "monitor.anchored",
        "monitor.anchoring",
        "monitor.ledger", "monitor.columns",
        "monitor.kernel", "monitor.vitality", "alerts.silences", "alerts.substance", "alerts.danger", "alerts.refusals",
        "alerts.batches", "alerts.condition", "alerts.lease", "alerts.speech", "alerts.spoken", "alerts.standing",
        "alerts.succession", "alerts.thresholds", "alerts.timers",
        "alerts.scripts", "alerts.shared_silences", "alerts.words",
        "alerts.track", "alerts.rules",
        "alerts.lifecycle", "alerts.engine", "alerts.message", "alerts.paging",
        "alerts.sinks._entities")  # fmt: skip
IMPURE_MODULES = {"asyncio", "socket", "time", "logging", "structlog", "threading", "sqlite3", "os", "random"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the project with its file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # `from package import module` names a module too.
            yield from (
                f"{node.module}.{alias.name}"
                for alias in node.names
                if node.module.split(".")[0] in PACKAGES and _is_module(f"{node.module}.{alias.name}")
            )


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_imports_go_downwards(module: str, path: Path) -> None:
    """A module imports only what stands below it."""
    allowed = next(allowed for prefix, allowed in ALLOWED if _below(module, prefix))
    if "*" in allowed:
        return
    for name in imports(path):
        if name.split(".")[0] not in PACKAGES or name in PACKAGES or _below(module, name):
            continue
        assert any(_below(name, prefix) for prefix in (*allowed, module)), f"{module} imports {name}"


@pytest.mark.parametrize(
    ("module", "path"), [pytest.param(m, p, id=m) for m, p in modules() if any(_below(m, pure) for pure in PURE)]
)
def test_pure_modules_have_no_clock_no_socket_no_log(module: str, path: Path) -> None:
    """Values in, values out."""
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE_MODULES


def test_no_venue_imports_another() -> None:
    """A venue's connector stands alone, and so do its margin rules.

    A folder ``<house>_common`` is what the venues of one house share: they may import it, it imports none of them.
    """
    for parent in (ROOT / "connectors", ROOT / "monitor" / "margin" / "venues"):
        names = {p.stem if p.is_file() else p.name for p in parent.iterdir() if not p.name.startswith("_")}
        prefix = ".".join(parent.relative_to(ROOT).parts)
        flat = parent.name == "venues"  # a file each; connectors have a folder each, and shared files beside them
        members = [p for p in parent.iterdir() if p.suffix == ".py" or (p.is_dir() and p.name != "__pycache__")]
        for member in (p for p in members if not p.name.startswith("_") and (flat or p.is_dir())):
            own = {n for n in names if n.endswith("_common") and member.stem.startswith(n.removesuffix("_common"))}
            for path in [member] if member.is_file() else member.rglob("*.py"):
                others = {
                    name
                    for name in imports(path)
                    for other in names - {member.stem} - own
                    if _below(name, f"{prefix}.{other}") and (flat or (parent / other).is_dir())
                }
                assert not others, f"{path} imports {others}"


def test_nobody_imports_the_root() -> None:
    """The daemon and the commands are wiring; only the commands use the daemon."""
    for module, path in modules():
        if _below(module, "monitor.commands") or module in {"monitor.__main__", "monitor.daemon"}:
            continue
        assert not {"monitor.daemon", "monitor.__main__"} & set(imports(path)), module


def test_registries_are_complete() -> None:
    """Every venue, rule and sink that has a file has its line in a registry."""
    from alerts.rules import POOL_RULES, RULES_CHANGED, SINK_FAILURE, STALE_FEED, VENUE_NOTICE
    from alerts.sinks import SINKS
    from connectors import venues
    from monitor.margin.venues import RULES

    def files(folder: str) -> set[str]:
        return {p.stem for p in (ROOT / folder).glob("*.py") if not p.name.startswith("_")}

    def modules_of(names: Iterable[str]) -> set[str]:
        """A venue's name may hold a hyphen; its module's cannot."""
        return {name.replace("-", "_") for name in names}

    assert modules_of(RULES) == files("monitor/margin/venues")
    folders = {
        p.name for p in (ROOT / "connectors").iterdir() if (p / "session.py").exists() or (p / "config.py").exists()
    }
    assert modules_of(venues()) == folders
    assert set(SINKS) == files("alerts/sinks") - {"prometheus"}  # read at scrape, not delivered to
    rules = (*POOL_RULES, STALE_FEED, SINK_FAILURE, VENUE_NOTICE, RULES_CHANGED)
    assert {rule.name for rule in rules} == files("alerts/rules")


def test_monitor_package_stays_empty() -> None:
    """Importing one part of the core loads no other."""
    assert (ROOT / "monitor" / "__init__.py").read_text() == ""


def test_every_test_file_has_its_subject() -> None:
    """Tests stand in the same tree as what they test."""
    for folder in PACKAGES:
        for path in (ROOT / "tests" / folder).rglob("test_*.py"):
            where = ROOT / folder / path.parent.relative_to(ROOT / "tests" / folder)
            assert where.is_dir(), f"{path} tests nothing that exists"


def test_nothing_is_left_to_do() -> None:
    """No marks of unfinished work, and no path of anybody's machine."""
    pattern = re.compile(r"TODO|FIXME|XXX|NotImplementedError|/work/|/root/|/home/")
    for package in (*PACKAGES, "deploy", "tests"):
        for path in (ROOT / package).rglob("*"):
            if not path.is_file() or "__pycache__" in path.parts or path == Path(__file__) or path.suffix == ".gz":
                continue
            found = pattern.search(path.read_text(errors="replace"))
            assert found is None, f"{path}: {found and found.group()}"
