"""The silences that two monitors share, each by itself: in force, or ended before its time. Pure; time is given.

A silence never changes but for its end, and what was ended stays ended. So it does not matter in which order two
monitors hear of each other's: both come to the same. What was ended is remembered until it would have been over anyway.
"""

from collections.abc import Iterable, Mapping

import orjson

from alerts.alert import Silence
from alerts.message import read_silence, silence_fields

ENDED_MAX = 1_000
"""Silences ended before their time that are remembered; past it those that would be over first are forgotten."""
OVER_S = 3600.0
"""So long after it is over a silence is still left where both look: the clocks of two machines differ."""


class SharedSilences:
    """What one monitor knows of them: those in force, and those ended, with the time when they would have been over."""

    def __init__(self) -> None:
        self._present: dict[str, Silence] = {}
        self._ended: dict[str, float] = {}
        self._untold: set[str] = set()

    def present(self) -> list[Silence]:
        """Those in force."""
        return list(self._present.values())

    def ended(self) -> dict[str, float]:
        """Those ended before their time, for the next run to `recall`."""
        return dict(self._ended)

    def recall(self, ended: Mapping[str, float]) -> None:
        """Go on from what another run remembered as ended."""
        self._ended = {str(identifier): float(until) for identifier, until in ended.items()}
        self._untold |= self._ended.keys()

    def take(self, silences: Iterable[Silence], now: float) -> None:
        """These, and no others, are in force here. One that is missing before its time was ended by somebody."""
        wanted = {silence.id: silence for silence in silences if silence.id not in self._ended}
        for identifier, silence in self._present.items():
            if identifier not in wanted and silence.until > now:
                self._ended[identifier] = silence.until
                self._untold.add(identifier)
        self._untold |= wanted.keys() - self._present.keys()
        self._present = wanted

    def untold(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """What the other one has not been told, by id, as `meet` reads it: what is in force, and what was ended.

        The latter outweighs whatever the other one says; the former does not.
        """
        begun = {each: _write(self._present[each]) for each in self._untold & self._present.keys()}
        return begun, {each: _write_ended(self._ended[each]) for each in self._untold & self._ended.keys()}

    def meet(self, found: Mapping[str, bytes], now: float) -> list[str]:
        """Take up all that both have told. What is ours and not in it is untold. Returns what is to be forgotten there.

        What cannot be read is left as it is.
        """
        untold: set[str] = set()
        over: list[str] = []
        for identifier, text in found.items():
            try:
                until, silence = _read(text)
            except (ValueError, KeyError, TypeError):
                continue
            if until + OVER_S <= now:
                over.append(identifier)
            elif silence is None:
                self._present.pop(identifier, None)
                self._ended[identifier] = until
            elif identifier in self._ended:
                untold.add(identifier)
            else:
                self._present[identifier] = silence
        self._present = {each: silence for each, silence in self._present.items() if silence.until > now}
        self._ended = {each: until for each, until in self._ended.items() if until > now}
        excess = sorted(self._ended, key=self._ended.__getitem__)[: max(0, len(self._ended) - ENDED_MAX)]
        for identifier in excess:
            del self._ended[identifier]
        self._untold = (untold & self._ended.keys()) | ((self._present.keys() | self._ended.keys()) - found.keys())
        return over + excess


def _write(silence: Silence) -> bytes:
    return orjson.dumps(silence_fields(silence))


def _write_ended(until: float) -> bytes:
    return orjson.dumps({"ended": until})


def _read(text: bytes) -> tuple[float, Silence | None]:
    """Until when it lasts, and the silence; None for one that was ended."""
    fields = orjson.loads(text)
    if "ended" in fields:
        return float(fields["ended"]), None
    silence = read_silence(fields)
    if silence is None:
        raise ValueError("no silence")
    return silence.until, silence
