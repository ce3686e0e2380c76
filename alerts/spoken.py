"""What this monitor has said, and what it has to keep to itself while another one speaks. Pure.

Of two monitors that share accounts one speaks; the other goes on from its last words when it has to.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from alerts.alert import Alert, State
from alerts.message import encode
from alerts.sink import Envelope


class Spoken:
    """The last word by key. `restored` are those of earlier runs."""

    def __init__(self, restored: Sequence[Alert]) -> None:
        self.speaks: Callable[[Alert], bool] = lambda alert: True
        """Whether an alert may leave at this moment; asked again right before it does. What may not is passed over."""
        self.serials = {alert.key: alert.serial for alert in restored}
        """The highest serial that this monitor ever said, by key."""
        self._firing = _firing(restored)
        self._passed_over: dict[str, Envelope] = {}
        self._only: dict[int, frozenset[str]] = {}
        """Sequence to the sinks that are to have it, where not all are; until all have passed it."""

    def add(self, envelope: Envelope, only: Collection[str] | None = None) -> None:
        """Note a word, in order. `only` names the sinks that are to have it, None for all."""
        alert = envelope.alert
        if only is not None:
            self._only[envelope.sequence] = frozenset(only)
        if alert.state is State.FIRING:
            self._firing[alert.key] = envelope
        else:
            self._firing.pop(alert.key, None)
        if alert.serial > self.serials.get(alert.key, 0):
            self.serials[alert.key] = alert.serial

    def sift(self, sink: str, found: Sequence[Envelope]) -> list[Envelope]:
        """Those that this sink is to have and that may leave now.

        What may not leave is remembered by its key, of which there is one for each alert.
        """
        found = [each for each in found if sink in self._only.get(each.sequence, (sink,))]
        passed_over = [envelope for envelope in found if not self.speaks(envelope.alert)]
        if not passed_over:
            return list(found)
        self._passed_over |= {envelope.alert.key: envelope for envelope in passed_over}
        return [envelope for envelope in found if envelope not in passed_over]

    def speakable(self) -> list[Envelope]:
        """The last word about everything that fires, as far as it may leave now."""
        return [envelope for envelope in self._firing.values() if self.speaks(envelope.alert)]

    def take_over(self, venue: str, account: str, words: Sequence[Alert], everywhere: int) -> None:
        """Go on from these last words about an account: nothing of them is said now.

        `everywhere` is the sequence up to which every sink has everything.
        """
        self._only = {sequence: sinks for sequence, sinks in self._only.items() if sequence > everywhere}
        for alert in [each.alert for each in (*self._firing.values(), *self._passed_over.values())]:
            if (alert.venue, alert.account) == (venue, account):
                self._firing.pop(alert.key, None)
                self._passed_over.pop(alert.key, None)
        self._firing |= _firing(words)

    def last_words(self, venue: str, account: str) -> list[Alert]:
        """What this monitor itself said last about an account, to go on from when nobody else spoke in between.

        What was passed over counts as not said; of an end that was passed over, as if what ended still fired.
        """
        said = [each.alert for each in self.last_said(venue, account)]
        ends = [each.alert for each in self._passed_over.values() if each.alert.state is State.RESOLVED]
        said += [replace(alert, state=State.FIRING) for alert in ends]
        return [alert for alert in said if (alert.venue, alert.account) == (venue, account)]

    def last_said(self, venue: str, account: str) -> list[Envelope]:
        """The last words about what fires for an account and was not passed over."""
        return [
            each
            for each in self._firing.values()
            if each.alert.key not in self._passed_over and (each.alert.venue, each.alert.account) == (venue, account)
        ]


def _firing(words: Iterable[Alert]) -> dict[str, Envelope]:
    """What fires of words that this run has not said: they have no place in its order."""
    return {alert.key: Envelope(0, alert, encode(alert)) for alert in words if alert.state is State.FIRING}
