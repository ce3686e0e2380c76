"""An account described in TOML, for the replay of a price path: the assess document without its marks.

The same keys as the JSON document (README, "The calculator"), in TOML. The last tier has no `cap`; a position without
an `entry_price` is opened at the file's first price. `[alerts.*]` as in the configuration may stand beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from alerts.config import AlertsConfig
from monitor import tomlfile
from monitor.document import read_document
from monitor.errors import DocumentError, Fault
from monitor.faults import faults_of
from monitor.model.account import Account

REPLAYED_ACCOUNT = "replay"
_PLACEHOLDER_PRICE = "1"


@dataclass(frozen=True, slots=True)
class AccountFile:
    """An account to replay, the positions (by index) that are opened at the first price, and what warns about it."""

    account: Account
    opened_at_start: frozenset[int]
    alerts: AlertsConfig

    def opened(self, first_prices: Mapping[str, float]) -> Account:
        """The account with every position opened."""
        positions = tuple(
            replace(position, entry_price=first_prices[position.instrument]) if i in self.opened_at_start else position
            for i, position in enumerate(self.account.positions)
        )
        return replace(self.account, positions=positions)


def read_account_file(path: Path) -> AccountFile:
    """Read the file at `path`. Raises DocumentError with every fault."""
    source = str(path)
    document = tomlfile.read(path, DocumentError)
    faults: list[Fault] = []
    alerts = _alerts(document.pop("alerts", {}), faults)
    opened_at_start = _complete(document)
    try:
        account, _, _ = read_document(orjson.dumps(document), source)
    except DocumentError as error:
        raise DocumentError(source, [*faults, *error.faults]) from None
    if not account.positions:
        faults.append(Fault("positions", "missing; without a position there is nothing to replay"))
    if faults:
        raise DocumentError(source, faults)
    return AccountFile(replace(account, name=REPLAYED_ACCOUNT), opened_at_start, alerts)


def read_alerts(path: Path) -> AlertsConfig:
    """The `[alerts.*]` of a file, of which nothing else is looked at. Raises DocumentError with every fault."""
    faults: list[Fault] = []
    alerts = _alerts(tomlfile.read(path, DocumentError).get("alerts", {}), faults)
    if faults:
        raise DocumentError(str(path), faults)
    return alerts


def _alerts(found: object, faults: list[Fault]) -> AlertsConfig:
    try:
        return AlertsConfig.model_validate(found)
    except ValidationError as error:
        faults += faults_of(error, AlertsConfig, "alerts")
        return AlertsConfig()


def _complete(document: dict[str, Any]) -> frozenset[int]:
    """Add what only the JSON document must have; returns the positions whose entry price is not given."""
    document.setdefault("collateral", [])
    document.setdefault("positions", [])
    for instrument in _tables(document.get("instruments")):
        for tier in _tables(instrument.get("tiers")):
            tier.setdefault("cap", None)
    opened_at_start = set()
    marks = document.setdefault("marks", {})
    for index, position in enumerate(_tables(document["positions"])):
        if "entry_price" not in position:
            opened_at_start.add(index)
            position["entry_price"] = _PLACEHOLDER_PRICE
        if isinstance(marks, dict) and isinstance(position.get("instrument"), str):
            marks.setdefault(position["instrument"], _PLACEHOLDER_PRICE)
    return frozenset(opened_at_start)


def _tables(value: Any) -> list[dict[str, Any]]:
    """The tables in a list or table, whatever else stands there; what is wrong with it the checks say later."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict)]
