"""A sign of life to a dead-man's switch: a URL that expects to be asked every minute and calls a person when it is not.

Nothing is said to people while all is well. The sign is withheld while the monitor does not do its job, so the switch
also tells of a blindness that no other way out could tell.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from monitor.clock import Clock
from monitor.credential import Secret
from monitor.errors import words_of
from monitor.telemetry import Telemetry

RETRY_S = 5.0
"""A sign that did not arrive, or was withheld, is given again this soon: switches count from the last one that did."""

log = structlog.get_logger(__name__)

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HeartbeatConfig(BaseModel):
    """``[heartbeat]``: on when there is a `url`, which is a secret: whoever knows it can keep the switch quiet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Secret | None = None
    every_s: Seconds = 60.0
    timeout_s: Seconds = 10.0
    patience_s: Seconds = 60.0
    """How long anything may be unseen until the sign is withheld."""
    restart_s: Seconds = 300.0
    """How long nothing at all may be seen until systemd's watchdog is left to restart the monitor."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: Secret | None) -> Secret | None:
        if url is not None and _address_of(url) is None:
            problem = "the URL there must begin with http:// or https:// and name a host"
            raise PydanticCustomError("heartbeat_url", problem)
        return url


class Heartbeat:
    """Asks the URL while `is_well`; `failing_since` and `detail` say how that goes."""

    def __init__(
        self, config: HeartbeatConfig, url: Secret, is_well: Callable[[], bool], clock: Clock, telemetry: Telemetry
    ) -> None:
        self._config = config
        self._url = url
        self._is_well = is_well
        self._clock = clock
        self._telemetry = telemetry
        self.failing_since: float | None = None
        self.detail = ""

    async def run(self) -> None:
        """Beat until cancelled, from when all is well for the first time."""
        timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                is_well = self._is_well()
                if is_well:
                    await self._beat(session)
                else:
                    self._telemetry.heartbeats.add("withheld")
                every_s = self._config.every_s
                await asyncio.sleep(every_s if is_well and not self.detail else min(every_s, RETRY_S))

    async def _beat(self, session: aiohttp.ClientSession) -> None:
        problem = await ask(session, self._url, self._config.timeout_s)
        self._telemetry.heartbeats.add("failed" if problem else "sent")
        if problem and self.failing_since is None:
            self.failing_since = self._clock.now()
            log.warning("heartbeat fails", problem=problem)
        elif not problem and self.failing_since is not None:
            self.failing_since = None
            log.info("heartbeat goes through again")
        self.detail = problem


async def ask(session: aiohttp.ClientSession, url: Secret, timeout_s: float) -> str:
    """Give one sign of life; what went wrong, empty for nothing. Never the address: it is the secret."""
    try:
        async with session.get(url.reveal(), allow_redirects=False) as answer:
            return "" if answer.status < 300 else f"it answered {answer.status}{_excuse(answer.status)}"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return _problem(error, timeout_s)


async def reach(url: Secret, timeout_s: float) -> str:
    """Connect to where the URL leads, and give no sign of life; what went wrong, empty for nothing."""
    address = _address_of(url)
    if address is None:
        raise ValueError("not a URL that was checked")
    host, port, tls = address
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port, ssl=tls or None)
        writer.close()
    except (TimeoutError, OSError) as error:
        return _problem(error, timeout_s)
    return ""


def _address_of(url: Secret) -> tuple[str, int, bool] | None:
    """Host, port and whether it is TLS; None for what is no http(s) URL."""
    try:
        parts = urlsplit(url.reveal())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or port == 0 or any(each.isspace() for each in url.reveal()):
        return None
    tls = parts.scheme == "https"
    return host, port or (443 if tls else 80), tls


def _problem(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    words = words_of(error)
    return f"cannot be reached: {words}" if words else "cannot be reached"


def _excuse(status: int) -> str:
    if status < 400:
        return ", which leads to another address; write that one"
    return "; is the address whole, and does the switch still exist?" if status in (404, 410) else ""
