"""What a monitor said, for the other one of its pair: the last word about each alert, and which sinks have it. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from alerts.alert import Alert
from alerts.lease import Account
from alerts.message import pack, unpack


@dataclass(frozen=True, slots=True)
class Word:
    """The last word about an alert. `lacking` are the sinks of the monitor that said it which do not have it yet."""

    alert: Alert
    lacking: frozenset[str] = frozenset()


def write(word: Word) -> bytes:
    """The alert on one line, the sinks that lack it on the next."""
    return b"%b\n%b" % (pack(word.alert), " ".join(sorted(word.lacking)).encode())


def read(payload: bytes) -> Word:
    """The word behind `write`. Raises ValueError, KeyError or TypeError for anything else."""
    alert, _, lacking = payload.partition(b"\n")
    return Word(unpack(alert), frozenset(lacking.decode().split()))


@dataclass(slots=True)
class _Waiting:
    """A word on its way; `noted` is what was noted of it as lacking, None for nothing yet."""

    sequence: int
    alert: Alert
    noted: frozenset[str] | None = None


class Words:
    """What was said and is not noted yet: of each key the last word. Bounded by the number of keys."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._looked_at: Mapping[str, int] | None = None

    def add(self, sequence: int, alert: Alert) -> None:
        """A word on its way to the sinks."""
        if alert.account is not None:
            self._waiting[alert.key] = _Waiting(sequence, alert)
            self._looked_at = None

    def news(self, reached: Mapping[str, int]) -> list[tuple[int, Word]]:
        """What is to be noted, with its sequence: words that a first sink has, or more than when it was noted.

        `reached` is up to which sequence each sink has everything.
        """
        if reached == self._looked_at:
            return []
        found = []
        for each in self._waiting.values():
            lacking = _lacking(each, reached)
            if lacking != each.noted and (len(lacking) < len(reached) or not reached):
                found.append((each.sequence, Word(each.alert, lacking)))
        if not found:
            self._looked_at = dict(reached)
        return found

    def are_settled(self, account: Account, reached: Mapping[str, int], failing: Collection[str]) -> bool:
        """Whether all that was said of an account is noted as it stands, and only sinks that fail lack any of it."""
        waiting = [each for each in self._waiting.values() if (each.alert.venue, each.alert.account) == account]
        return all(each.noted == _lacking(each, reached) and each.noted <= set(failing) for each in waiting)

    def noted(self, words: Collection[tuple[int, Word]]) -> None:
        """These are noted; a newer word of the same key still waits."""
        for sequence, word in words:
            waiting = self._waiting.get(word.alert.key)
            if waiting is None or waiting.sequence != sequence:
                continue
            waiting.noted = word.lacking
            if not word.lacking:
                del self._waiting[word.alert.key]

    def forget(self, account: Account) -> None:
        """We do not speak for this account any more."""
        self._waiting = {
            key: each for key, each in self._waiting.items() if (each.alert.venue, each.alert.account) != account
        }


def _lacking(word: _Waiting, reached: Mapping[str, int]) -> frozenset[str]:
    return frozenset(sink for sink, sequence in reached.items() if sequence < word.sequence)


class Known:
    """The last words about one account as far as they were read or noted, the one that changed last at the end.

    `number` is that of the newest one, by which Redis counts them; `owed` are the keys of those that Redis forgot. Past
    `words_max` the oldest are forgotten.
    """

    def __init__(self, words_max: int) -> None:
        self._words_max = words_max
        self._words: dict[str, Word] = {}
        self.number = 0
        self.owed: list[str] = []

    def put(self, word: Word) -> None:
        """This is the last word now."""
        self._words.pop(word.alert.key, None)
        self._words[word.alert.key] = word
        if len(self._words) > self._words_max:
            del self._words[next(iter(self._words))]

    def words(self) -> list[Word]:
        """All of them."""
        return list(self._words.values())

    def owe(self) -> None:
        """Redis has forgotten all of them."""
        self.owed = list(self._words)

    def owed_next(self, count: int) -> list[Word]:
        """The first so many of those that are owed, as they are now."""
        return [self._words[key] for key in self.owed[:count] if key in self._words]
