"""Two monitors, one voice: which of them speaks for an account. Pure; time is given.

A lease in Redis names the one that may speak, until a time; whoever holds it renews it in good time. A monitor that was
stopped, hung or cut off finds its own lease over, by its own clock, before anybody else's begins, and is silent.

Without Redis nobody can know. A monitor that cannot reach it goes on alone: at once where no server is there at all, or
no other monitor was the last time; otherwise after `alone_s`, because the other one may well reach it and speak. To
be loud twice is better than to be silent.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

Account = tuple[str, str]
"""(venue, name)."""


class Voice(StrEnum):
    """Whether this monitor speaks for an account."""

    FOLLOWS = "follows"
    SPEAKS = "speaks"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Grant:
    """What Redis said about one account: who holds the lease, and the token that goes with it."""

    holder: str
    token: int


@dataclass(slots=True)
class _Seat:
    """One account: the lease as we know it. `until` is by our own clock; 0 without one."""

    token: int = 0
    holder: str = ""
    until: float = 0.0
    voice: Voice = Voice.FOLLOWS


class Leases:
    """The leases of one monitor, called `me`."""

    def __init__(self, me: str, lease_s: float, alone_s: float) -> None:
        self._me = me
        self._lease_s = lease_s
        self._alone_s = alone_s
        self._seats: dict[Account, _Seat] = {}
        self._others = 0
        self._lost_at: float | None = None
        self._is_refused = False

    def watch(self, accounts: Collection[Account]) -> None:
        """Hold seats for these accounts and no others."""
        self._seats = {account: self._seats.get(account, _Seat()) for account in accounts}

    @property
    def accounts(self) -> list[Account]:
        """Those with a seat, in the order in which they are asked for."""
        return sorted(self._seats)

    def answered(
        self, grants: Mapping[Account, Grant], others: int, asked_at: float, now: float
    ) -> dict[Account, bool]:
        """Redis answered a question of `asked_at`. Returns the accounts for which we speak from now on, or again.

        With each whether nobody else spoke in between.
        """
        self._lost_at, self._is_refused, self._others = None, False, others
        begins: dict[Account, bool] = {}
        for account, grant in grants.items():
            seat = self._seats.get(account)
            if seat is None:
                continue
            spoke = self.speaks(account, now)
            continues = (seat.holder, seat.token) == (grant.holder, grant.token)
            seat.token, seat.holder = grant.token, grant.holder
            # Counted from before the question: however long the answer took, ours is over first.
            seat.until = asked_at + self._lease_s if grant.holder == self._me else 0.0
            seat.voice = Voice.SPEAKS if seat.until > now else Voice.FOLLOWS
            if seat.voice is Voice.SPEAKS and not spoke:
                begins[account] = continues
        return begins

    def unreachable(self, now: float, *, refused: bool) -> dict[Account, bool]:
        """Redis cannot be asked; `refused`: no server is there. Returns the accounts for which we speak alone now.

        With each whether we were the last that spoke, as far as we know.
        """
        if self._lost_at is None:
            self._lost_at = now
        self._is_refused = self._is_refused or refused
        patient = self._others > 0 and not self._is_refused and now < self._lost_at + self._alone_s
        begins: dict[Account, bool] = {}
        for account, seat in self._seats.items():
            if seat.voice is Voice.ALONE or self.speaks(account, now) or patient:
                continue
            seat.voice = Voice.ALONE
            begins[account] = seat.holder == self._me
        return begins

    def speaks(self, account: Account, now: float) -> bool:
        """Whether we may speak for this account at this moment. One that has no seat is nobody else's business."""
        seat = self._seats.get(account)
        if seat is None or seat.voice is Voice.ALONE:
            return True
        return seat.voice is Voice.SPEAKS and now < seat.until

    def token(self, account: Account) -> int:
        """The token of the lease as last heard."""
        seat = self._seats.get(account)
        return 0 if seat is None else seat.token

    def holder(self, account: Account) -> str:
        """Who speaks, as last heard; empty for nobody known."""
        seat = self._seats.get(account)
        return "" if seat is None else seat.holder

    def voices(self, now: float) -> dict[Account, Voice]:
        """How we stand for every account."""
        return {
            account: seat.voice if self.speaks(account, now) else Voice.FOLLOWS for account, seat in self._seats.items()
        }
