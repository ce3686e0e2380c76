"""What people asked not to be disturbed about, and until when. Pure; time is given."""

from collections.abc import Collection, Iterable, Iterator

from alerts.alert import Severity, Silence

SILENCES_MAX = 1_000
"""Silences in force at once; a person has a handful, and a program that makes more is at fault."""


class Silences:
    """The silences in force, by id."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._silences = {silence.id: silence for silence in silences}

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._silences.values())

    def add(self, silence: Silence) -> None:
        """Put a silence in force. Raises ValueError past `SILENCES_MAX`."""
        if len(self._silences) >= SILENCES_MAX and silence.id not in self._silences:
            raise ValueError(f"{SILENCES_MAX} silences are in force; end some first")
        self._silences[silence.id] = silence

    def end(self, identifier: str) -> Silence | None:
        """End the silence with this id; None when there is none."""
        return self._silences.pop(identifier, None)

    def expire(self, now: float) -> list[Silence]:
        """Take out what is over."""
        over = [silence for silence in self._silences.values() if silence.until <= now]
        for silence in over:
            del self._silences[silence.id]
        return over

    def next_end(self) -> float | None:
        """When the next silence is over; None without one."""
        return min((silence.until for silence in self._silences.values()), default=None)

    def covering(self, names: Collection[str], severity: Severity, now: float) -> Silence | None:
        """The silence, of several the longest, that covers an alert known by any of these `names`."""
        found = [silence for silence in self._silences.values() if covers(silence, names, severity, now)]
        return max(found, key=lambda silence: silence.until, default=None)


def covers(silence: Silence, names: Collection[str], severity: Severity, now: float) -> bool:
    """Whether an alert of this severity, known by any of these names, is silent. Emergencies only when it says so."""
    if now >= silence.until or (severity is Severity.EMERGENCY and not silence.emergency):
        return False
    return any(fits(silence.subject, name) for name in names)


def silence_over(pool: str, silences: Iterable[Silence], now: float) -> Silence | None:
    """The silence, of several the longest, that keeps a whole pool quiet."""
    found = [each for each in silences if covers(each, (pool,), Severity.NOTICE, now)]
    return max(found, key=lambda each: each.until, default=None)


def fits(subject: str, name: str) -> bool:
    """Whether `subject` means `name`: ``venue/account`` fits its pools, ``*`` stands for anything, case counts.

    Takes time in proportion to the name, whatever the subject: it runs at every alert, and subjects come from outside.
    """
    if "*" not in subject:
        return name == subject or name.startswith(f"{subject}/")
    first, *middle, last = subject.split("*")
    place, end = len(first), len(name) - len(last)
    if place > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        place = name.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True
