"""A sign of life to a dead-man's switch: a URL that expects to be asked every minute and calls a person when it is not.

Nothing is said to people while all is well. The sign is withheld while the monitor does not do its job, so the switch
also tells of a blindness that no other way out could tell.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, Field

from monitor.clock import Clock
from monitor.credential import Secret
from monitor.telemetry import Telemetry

NAME = "heartbeat"
"""Under which its failures are reported, as a sink's are."""

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
        """Beat until cancelled. The first beat leaves at once."""
        timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if self._is_well():
                    await self._beat(session)
                else:
                    self._telemetry.heartbeats.add("withheld")
                await asyncio.sleep(self._config.every_s)

    async def _beat(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self._url.reveal(), allow_redirects=False) as answer:
                problem = "" if answer.status < 300 else f"the dead-man's switch answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Not the error's own text: it may repeat the address.
            timed_out = isinstance(error, TimeoutError)
            why = f"no answer within {self._config.timeout_s:g} s" if timed_out else "cannot be reached"
            problem = f"the dead-man's switch: {why}"
        self._telemetry.heartbeats.add("failed" if problem else "sent")
        if problem and self.failing_since is None:
            self.failing_since = self._clock.now()
            log.warning("heartbeat fails", problem=problem)
        elif not problem and self.failing_since is not None:
            self.failing_since = None
            log.info("heartbeat goes through again")
        self.detail = problem
