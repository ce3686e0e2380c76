"""What people do about alerts: acknowledge them, silence their subjects. One door for HTTP, MQTT, command and board."""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import structlog

from alerts.alert import Alert, Silence
from alerts.engine import Engine
from alerts.silences import SILENCES_MAX
from monitor.clock import Clock
from monitor.errors import RefusedError
from monitor.legible import legible

SILENCE_S_MAX = 30 * 86_400.0
"""A silence is meant to end; what is never to be heard of is switched off in the configuration."""
TEXT_MAX = 200
"""Characters of an author or a reason."""
SHOWN_MAX = 5
_NAMING = "/:*"
"""What stands in every name of something that can be silenced, or in a pattern that fits some."""

log = structlog.get_logger(__name__)


class EngineHandling:
    """Carries orders out on the engine; what changes is said to the sinks and kept in the state file.

    `elsewhere(key, by)` says whether an acknowledgement was passed on to another monitor, which speaks for that alert.
    """

    def __init__(
        self,
        engine: Engine,
        deliver: Callable[[Sequence[Alert]], None],
        keep: Callable[[Sequence[Silence]], None],
        clock: Clock,
        elsewhere: Callable[[str, str], bool] = lambda key, by: False,
    ) -> None:
        self._engine = engine
        self._deliver = deliver
        self._keep = keep
        self._clock = clock
        self._elsewhere = elsewhere

    def acknowledge(self, key: str, by: str) -> None:
        """See `Handling`."""
        by = _line("by", by)
        if self._elsewhere(key, by):
            # Here it is carried out as well, so that whoever looks here sees it; the other monitor says it.
            log.info("acknowledgement passed on to the monitor that speaks", key=key, by=by)
        said = self._engine.acknowledge(key, by, self._clock.now())
        if not said:
            firing = sorted(alert.key for alert in self._engine.firing())
            some = ", ".join(firing[:SHOWN_MAX]) + (" ..." if len(firing) > SHOWN_MAX else "")
            raise RefusedError("key", f"nothing fires under {legible(key)}; firing now: {some or 'nothing'}")
        log.info("alert acknowledged", key=key, by=by)
        self._deliver(said)

    def silence(self, subject: str, seconds: float, by: str, reason: str, *, emergency: bool = False) -> Silence:
        """See `Handling`."""
        if not 1.0 <= seconds <= SILENCE_S_MAX:
            raise RefusedError("for", "must be between one second and 30 days; a silence has an end")
        now = round(self._clock.now(), 3)
        subject, by, reason = _line("subject", subject), _line("by", by), _line("reason", reason)
        if not set(subject) & set(_NAMING):
            # It would fit every account of a venue by that name, which people may not mean who leave an account out.
            problem = f"must be a pool, venue/account, a key, or a pattern with *; for a whole venue it is {subject}/*"
            raise RefusedError("subject", problem)
        identity = "\n".join((subject, by, reason, str(now)))
        identifier = blake2b(identity.encode(), digest_size=4).hexdigest()
        # Whole milliseconds, as they are written: a silence that was read again equals the one that was made.
        silence = Silence(identifier, subject, round(now + seconds, 3), by, reason, emergency, now)
        try:
            said = self._engine.silence(silence, now)
        except ValueError:
            raise RefusedError("subject", f"{SILENCES_MAX} silences are in force; end some first") from None
        log.info("silence begins", id=silence.id, subject=subject, by=by, reason=reason, emergency=emergency)
        self._keep(self._engine.silences())
        self._deliver(said)
        return silence

    def end_silence(self, identifier: str, by: str) -> None:
        """See `Handling`."""
        by = _line("by", by)
        if all(silence.id != identifier for silence in self._engine.silences()):
            raise RefusedError("id", f"no silence {legible(identifier)} is in force")
        log.info("silence ends", id=identifier, by=by)
        said = self._engine.end_silence(identifier, self._clock.now())
        self._keep(self._engine.silences())
        self._deliver(said)

    def silences(self) -> Sequence[Silence]:
        """See `Handling`."""
        return self._engine.silences()


def _line(key: str, text: str) -> str:
    """One line that says something, fits beside an alert, and does not play with the terminal that shows it."""
    text = " ".join(text.split())
    if not text:
        raise RefusedError(key, "must not be empty")
    if len(text) > TEXT_MAX:
        raise RefusedError(key, f"must have at most {TEXT_MAX} characters")
    if not text.isprintable():
        raise RefusedError(key, "must not contain control or other invisible characters")
    return text
