"""The configuration file: TOML in, one checked value out, or every fault at once.

Each table is a model beside what it configures; this module only puts them together. Relative paths, the state's and
those of ``file:PATH`` secrets, count from the directory the command was started in.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alerts.config import AlertsConfig
from alerts.pair import PairConfig
from alerts.silences import fits
from alerts.sinks import SinksConfig
from alerts.sinks.prometheus import MetricsConfig
from alerts.sinks.push import RouteConfig
from connectors import venues
from connectors.config import BaseAccountConfig
from monitor import tomlfile
from monitor.credential import Secret
from monitor.errors import ConfigurationError, Fault
from monitor.faults import Loc, dotted, faults_of, known_keys, nearest, unknown_key
from monitor.heartbeat import HeartbeatConfig
from monitor.http import HttpConfig
from monitor.logs import LogConfig

ACCOUNTS_KEY = "account"
NAMED_MAX = 10
"""Accounts named in one sentence."""
EXPLAINED = "README.md, Configure; deploy/marginwatch.example.toml has every key"


class StateConfig(BaseModel):
    """``[state]``: where alerts and deliveries are remembered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("marginwatch.sqlite")


class Sections(BaseModel):
    """Everything in the file but the accounts, whose keys depend on their venue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    sinks: SinksConfig = SinksConfig()
    http: HttpConfig = HttpConfig()
    state: StateConfig = StateConfig()
    pair: PairConfig = PairConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. Everything but the accounts has a default."""

    accounts: tuple[BaseAccountConfig, ...]
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    sinks: SinksConfig = field(default_factory=SinksConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    state: StateConfig = field(default_factory=StateConfig)
    pair: PairConfig = field(default_factory=PairConfig)
    heartbeat: HeartbeatConfig = field(default_factory=HeartbeatConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    log: LogConfig = field(default_factory=LogConfig)


def load(path: Path | str, *, without: Iterable[str] = ()) -> Config:
    """Read and check the file at `path`. Raises ConfigurationError with every fault found in it.

    `without`: sections that are left as if the file had none, for who needs neither them nor their secrets.
    """
    document = _read(path, f"write one ({EXPLAINED}), or name another: --config FILE")
    return _checked({key: value for key, value in document.items() if key not in without}, str(path))


def load_door(path: Path | str) -> tuple[HttpConfig, StateConfig]:
    """Where the daemon of the file at `path` listens and keeps its state; nothing else of the file is looked at."""
    document = _read(path, "name the daemon's with --config FILE, or the daemon itself with --url URL")
    door = {name: document[name] for name in ("http", "state") if name in document}
    try:
        sections = Sections.model_validate(door)
    except ValidationError as error:
        raise ConfigurationError(str(path), faults_of(error, Sections)) from None
    return sections.http, sections.state


def _read(path: Path | str, hint: str) -> dict[str, Any]:
    """The document at `path`. A file that is not there is what a beginner has: `hint` says what to do."""
    if not Path(path).exists():
        raise ConfigurationError(str(path), [Fault("", f"there is no such file; {hint}")])
    return tomlfile.read(path, ConfigurationError)


def parse(text: str, source: str) -> Config:
    """Check the TOML document `text`; `source` is what its errors call it."""
    return _checked(tomlfile.parse(text, source, ConfigurationError), source)


def _checked(document: dict[str, Any], source: str) -> Config:
    faults: list[Fault] = list(_numbers_that_are_none(document))
    accounts = _accounts(document.get(ACCOUNTS_KEY), faults)
    rest = {key: value for key, value in document.items() if key != ACCOUNTS_KEY}
    sections = Sections.model_construct()
    try:
        sections = Sections.model_validate(rest)
    except ValidationError as error:
        faults.extend(_with_accounts_key(fault, rest) for fault in faults_of(error, Sections))
    _check_names(_at(rest, "sinks", "push", "route"), "sinks.push.route", faults)
    if sections.sinks.push is not None and len(accounts) == len(document[ACCOUNTS_KEY]):
        silent = (each for each in unheard(sections.sinks.push.route, accounts) if each.is_certain)
        faults.extend(Fault(f"sinks.push.{each.key}", f'found "{each.pattern}"; {each.problem}') for each in silent)
    if _at(rest, "pair", "enabled") is True and _at(rest, "sinks", "redis") is None:
        faults.append(Fault("pair.enabled", "needs [sinks.redis]: through it two monitors agree who speaks"))
    if faults:
        raise ConfigurationError(source, [Fault(_by_name(each.key, document), each.problem) for each in _once(faults)])
    return Config(accounts=accounts, **{name: getattr(sections, name) for name in Sections.model_fields})


def _numbers_that_are_none(document: Mapping[str, Any]) -> Iterator[Fault]:
    """TOML can write ``nan`` and ``inf``, and no bound holds those: refused everywhere."""

    def walk(value: Any, loc: Loc) -> Iterator[Fault]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, [*loc, key])
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from walk(inner, [*loc, index])
        elif isinstance(value, float) and not math.isfinite(value):
            yield Fault(dotted(loc), f"found {value}; must be a finite number")

    return walk(document, [])


def _accounts(found: Any, faults: list[Fault]) -> tuple[BaseAccountConfig, ...]:
    """Every account, each checked by its venue's own model."""
    if isinstance(found, dict):
        faults.append(Fault(ACCOUNTS_KEY, f"must be a list of tables; write [[{ACCOUNTS_KEY}]], not [{ACCOUNTS_KEY}]"))
        return ()
    if not isinstance(found, list) or not found:
        faults.append(Fault(ACCOUNTS_KEY, f"missing; name at least one account in a table [[{ACCOUNTS_KEY}]]"))
        return ()
    accounts = tuple(_account(entry, index, faults) for index, entry in enumerate(found))
    _check_names(found, ACCOUNTS_KEY, faults)
    return tuple(account for account in accounts if account is not None)


def _account(entry: Any, index: int, faults: list[Fault]) -> BaseAccountConfig | None:
    where = f"{ACCOUNTS_KEY}[{index}]"
    if not isinstance(entry, dict):
        faults.append(Fault(where, "must be a table"))
        return None
    registry = venues()
    venue = entry.get("venue")
    names = ", ".join(sorted(registry))
    model: type[BaseAccountConfig] | None = None
    if isinstance(venue, str) and venue in registry:
        model = registry[venue].AccountConfig
    elif venue is None:
        faults.append(Fault(f"{where}.venue", f"missing; must be one of: {names}"))
    else:
        near = nearest(venue, sorted(registry)) if isinstance(venue, str) else []
        hint = f" (did you mean {near[0]}?)" if near else ""
        found = f'"{venue}"' if isinstance(venue, str) else venue
        faults.append(Fault(f"{where}.venue", f"found {found}; must be one of: {names}{hint}"))
        if near:
            model, entry = registry[near[0]].AccountConfig, {**entry, "venue": near[0]}
    try:
        if model is not None:
            return model.model_validate(entry)
        _check_without_venue(entry, where, faults)
    except ValidationError as error:
        faults.extend(faults_of(error, model or _AnyAccount, where, given=entry))
    return None


class _AnyAccount(BaseAccountConfig):
    """What can be said of an account of which the venue is not known."""

    venue: str = ""
    api_key: Secret | None = None
    api_secret: Secret | None = None
    passphrase: Secret | None = None


def _check_without_venue(entry: Mapping[str, Any], where: str, faults: list[Fault]) -> None:
    """What would be wrong with an account at every venue. Raises ValidationError for values."""
    allowed = sorted({key for each in venues().values() for key in known_keys(each.AccountConfig)})
    faults.extend(Fault(f"{where}.{key}", unknown_key(key, allowed)) for key in entry if key not in allowed)
    common = known_keys(_AnyAccount)
    _AnyAccount.model_validate({key: value for key, value in entry.items() if key in common and key != "venue"})


def _check_names(entries: Any, place: str, faults: list[Fault]) -> None:
    """An account's name is part of every pool's id, a route's of what it remembers: two of one name cannot be told
    apart."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = _at(entry, "name")
        if not isinstance(name, str):
            continue
        first = seen.setdefault(name, index)
        if first != index:
            problem = f'found "{name}"; already the name of {place} #{first + 1}; must be unique'
            faults.append(Fault(f"{place}[{index}].name", problem))


@dataclass(frozen=True, slots=True)
class Unheard:
    """A pattern of a push route that fits no account there is, and no pool that one may have: it waits for ever.

    `key` is its place below ``sinks.push``, `names` are what it might have meant.
    """

    route: str
    key: str
    pattern: str
    names: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        """Whether it names one thing. With ``*`` it may be meant for accounts to come."""
        return "*" not in self.pattern

    @property
    def problem(self) -> str:
        """What would have been right."""
        some = ", ".join(self.names[:NAMED_MAX]) + (" ..." if len(self.names) > NAMED_MAX else "")
        near = get_close_matches("/".join(self.pattern.split("/")[:2]), self.names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"must be, or fit with *, {'a pool' if '.pools' in self.key else 'one'} of: {some}{hint}"


def unheard(routes: Sequence[RouteConfig], accounts: Sequence[BaseAccountConfig]) -> Iterator[Unheard]:
    """Every pattern of these routes that fits none of these accounts."""
    names = tuple(account.name for account in accounts)
    owners = tuple(f"{account.venue}/{account.name}" for account in accounts)
    for index, route in enumerate(routes):
        for number, pattern in enumerate(route.accounts):
            if not any(fits(pattern, name) for name in names):
                yield Unheard(route.name, f"route[{index}].accounts[{number}]", pattern, names)
        for number, pattern in enumerate(route.pools):
            if not any(_may_fit(pattern, f"{owner}/") for owner in owners):
                yield Unheard(route.name, f"route[{index}].pools[{number}]", pattern, owners)


def _may_fit(pattern: str, owner: str) -> bool:
    """Whether the pattern fits a pool of the account with this beginning, whatever its scope, which has no slash."""
    first, star, _ = pattern.partition("*")
    if not star:
        return f"{pattern}/" == owner or (pattern.startswith(owner) and pattern != owner)
    if first.startswith(owner):
        return True
    # What is left behind some place of the pattern must do for a scope.
    places = range(len(first) + 1, len(pattern) + pattern.endswith("*"))
    return any("/" not in pattern[place:] and fits(pattern[:place], owner) for place in places)


def _at(document: Any, *keys: str) -> Any:
    """What stands at a place of the document, None for nothing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _by_name(key: str, document: Mapping[str, Any]) -> str:
    """The place with its list entries as people tell them apart: by their names, else counted from the first."""
    before, bracket, rest = key.partition("[")
    if not bracket:
        return key
    index, _, after = rest.partition("]")
    entries = _at(document, *before.split("."))
    names = [_at(entry, "name") for entry in entries] if isinstance(entries, list) else []
    name = names[int(index)] if int(index) < len(names) else None
    own = isinstance(name, str) and _PLAIN_NAME.fullmatch(name) is not None and names.count(name) == 1
    told = f'"{name}"' if own else f"#{int(index) + 1}"
    return f"{before} {told}{_LATER_INDEX.sub(lambda found: f' #{int(found[1]) + 1}', after)}"


_PLAIN_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_LATER_INDEX = re.compile(r"\[(\d+)\]")


def _with_accounts_key(fault: Fault, document: Mapping[str, Any]) -> Fault:
    """An unknown table at the top may be a misspelt `account`, which is not among the other tables' names."""
    if fault.key in document and fault.key not in known_keys(Sections):
        return Fault(fault.key, unknown_key(fault.key, [ACCOUNTS_KEY, *known_keys(Sections)]))
    return fault


def _once(faults: list[Fault]) -> list[Fault]:
    """The first fault found for each key, in the order found."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.key, fault)
    return list(first.values())
