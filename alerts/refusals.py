"""What one sink refuses, and whether the message is to blame or the sink. Pure.

After a lasting refusal messages are offered one at a time. One that is refused too often is passed over. Whether it is
to blame, or the sink refuses everything (which a person can mend, and nothing must be lost then), shows when a later
one is taken and this one, tried for the last time after it, is not.
"""

from collections.abc import Sequence

from alerts.sink import Envelope

REFUSALS_MAX = 3
"""A sink that refused one message so often, takes a later one, and refuses it again, does not get it any more."""
PROBES_MAX = 8
"""So many messages are tried past one that is refused, to find out whether the sink refuses everything."""
GIVEN_UP_MAX = 1_000
"""Ids of messages given up that are remembered; past it the oldest are forgotten, and tried anew."""


class Refusals:
    """Of one sink. `given_up` are the ids of messages that it does not get."""

    def __init__(self) -> None:
        self.given_up: dict[str, None] = {}
        self._counts: dict[str, int] = {}
        """How often each message was refused, by id; while there are any, messages go one at a time."""
        self._ahead: set[int] = set()
        """Those taken while an earlier one waits for its last try."""

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def is_open(self) -> bool:
        """Whether it is still to be found out which message it is."""
        return any(count < REFUSALS_MAX for count in self._counts.values())

    def is_doubtful(self, envelope: Envelope) -> bool:
        """Whether this message was refused so often that others go first."""
        identifier = envelope.alert.id
        return identifier in self.given_up or self._counts.get(identifier, 0) >= REFUSALS_MAX

    def offer(self, batch: Sequence[Envelope]) -> Sequence[Envelope]:
        """What to hand over of the messages that come next."""
        if not self._counts:
            return batch
        if self._ahead:
            return batch[:1]
        return [next((each for each in batch[:PROBES_MAX] if not self.is_doubtful(each)), batch[0])]

    def refused(self, offered: Sequence[Envelope]) -> Envelope | None:
        """The sink refuses these, and will again. Returns the message that it is to be given up on for."""
        for envelope in offered:
            before = self._counts.get(envelope.alert.id, 0)
            self._counts[envelope.alert.id] = before + 1 if len(offered) == 1 else before
        if len(offered) == 1 and (self._ahead or offered[0].alert.id in self.given_up):
            return offered[0]
        return None

    def taken(self, batch: Sequence[Envelope], offered: Sequence[Envelope]) -> int | None:
        """The sink took these of a batch. Returns up to where it has everything, None while an earlier one waits.

        What was passed over gets a last try first: now the sink takes things.
        """
        for envelope in offered:
            self._counts.pop(envelope.alert.id, None)
            self.given_up.pop(envelope.alert.id, None)
        if offered[0].sequence > batch[0].sequence:
            self._ahead.add(offered[0].sequence)
            return None
        # Taken after all: what went ahead of it is said again, so that the order is right in the end.
        self._ahead.clear()
        return offered[-1].sequence

    def past(self, sequence: int) -> int:
        """Up to where the sink has everything, when it has it up to `sequence`: what went ahead may follow it."""
        while sequence + 1 in self._ahead:
            sequence += 1
        self._ahead = {each for each in self._ahead if each > sequence}
        return sequence

    def give_up(self, envelope: Envelope) -> None:
        """The sink does not get this message."""
        self._counts.pop(envelope.alert.id, None)
        self.given_up[envelope.alert.id] = None
        if len(self.given_up) > GIVEN_UP_MAX:
            del self.given_up[next(iter(self.given_up))]
