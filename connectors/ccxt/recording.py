"""A session through ccxt whose inputs are written down, and sessions made again from what was written.

ccxt keeps the frames to itself, so a recording holds the structures that it makes of them, with the venue's own answer
inside (`info`). What ccxt is asked beside that, to sign and to subscribe, comes near no session.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connectors.ccxt.asks import Ask
from connectors.ccxt.config import AccountSettings
from connectors.ccxt.session import DEFINITIONS, SNAPSHOT, AccountFeed, Answers, Contract, Row
from connectors.plan import Plan
from connectors.recorder import Recorder
from monitor.errors import VenueError
from monitor.model.events import Event, Marks
from monitor.telemetry import Telemetry


def header(accounts: Sequence[AccountSettings]) -> dict[str, object]:
    """The line that describes the sessions."""
    return {"venue": "ccxt", "accounts": [account.header() for account in accounts]}


def revive(said: Mapping[str, object], telemetry: Telemetry) -> Plan:
    """See `connectors.VenueModule.revive`. There are no market sessions: each account reads its marks itself."""
    accounts = said.get("accounts")
    try:
        settings = [AccountSettings.read(account) for account in (accounts if isinstance(accounts, list) else ())]
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or misshaped: {error}") from None
    if not settings:
        raise ValueError("accounts are missing")
    return Plan({}, [AccountFeed(each, telemetry) for each in settings], header(settings))


def text(value: object) -> str:
    """JSON, whatever ccxt put into a structure; what JSON cannot say becomes null, which is unknown."""
    try:
        return orjson.dumps(value, _unknown, orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a whole number of more than 64 bits
        return json.dumps(value, default=_unknown)


def _unknown(value: object) -> None:
    return None


class RecordedFeed(AccountFeed):
    """Writes every input down before it is taken."""

    def __init__(self, settings: AccountSettings, telemetry: Telemetry, recorder: Recorder) -> None:
        super().__init__(settings, telemetry)
        self._recorder = recorder

    def _write(self, kind: str, now: float, **arguments: object) -> None:
        self._recorder.write({"t": now, "s": self.name, "k": kind, **arguments})

    def start(self, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("start", now)
        return super().start(now)

    def defined(self, contracts: Mapping[str, Contract], sent_ms: int, now: float) -> Sequence[Event]:
        """Recorded."""
        said = {s: {"name": c.name, "market": c.market, "tiers": list(c.tiers)} for s, c in contracts.items()}
        self._write("responded", now, r=DEFINITIONS, m=sent_ms, d=text(said))
        return super().defined(contracts, sent_ms, now)

    def answered(self, answers: Answers, sent_ms: int, now: float) -> Sequence[Event]:
        """Recorded."""
        said: dict[str, Any] = {
            "reason": answers.reason.value,
            "positions": list(answers.positions),
            "balances": list(answers.balances),
            "tickers": list(answers.tickers),
            "remarks": list(answers.remarks),
        }
        self._write("responded", now, r=SNAPSHOT, m=sent_ms, d=text(said))
        return super().answered(answers, sent_ms, now)

    def failed(self, request: str, error: VenueError, now: float) -> Sequence[Event]:
        """Recorded."""
        wish = error.retry_after_s
        self._write("failed", now, r=request, d=str(error), retry=error.retry, after=wish, code=error.code)
        return super().failed(request, error, now)

    def opened(self, connection: str, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("opened", now, c=connection)
        return super().opened(connection, now)

    def closed(self, connection: str, reason: str, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("closed", now, c=connection, d=reason)
        return super().closed(connection, reason, now)

    def told(self, news: object, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("received", now, c=Ask.WATCH_POSITIONS.value, d=text(news))
        return super().told(news, now)

    def marked(self, tickers: Sequence[Row], source: Ask, now: float) -> Sequence[Marks]:
        """Recorded."""
        self._write("received", now, c=source.value, d=text(tickers))
        return super().marked(tickers, source, now)

    def tick(self, now: float) -> Sequence[Event]:
        """Recorded."""
        self._write("tick", now)
        return super().tick(now)
