"""Two monitors, one voice: which of them speaks for an account. Pure; time is given.

A lease in Redis names the one that may speak, until a time; whoever holds it renews it in good time. A monitor that was
stopped, hung or cut off finds its own lease over, by its own clock, before anybody else's begins, and is silent.

A Redis that was emptied, or restarted without a disk, knows of no lease: whoever speaks puts its own there again, under
the same token, and the others wait for as long as that lease may last.

Without Redis nobody can know. A monitor that cannot reach it goes on alone: at once where it spoke last and no server
is there at all, or where no other monitor was the last time; after one lease where no server is there (a restart takes
about a second), or none has answered yet; otherwise after `alone_s`, because the other one may well reach it and speak.
To be loud twice is better than to be silent.

The one that speaks, told that another one could do better (`alerts.standing`), falls silent first and then hands the
lease over: never do both speak because an answer was late.
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
    """What Redis said about one account: who holds the lease (empty: nobody), and the token that goes with it.

    `heir`, while we hold it, is another one that could speak better.
    """

    holder: str
    token: int
    heir: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """We take a lease of which Redis knows nothing, under this token; 0: that is for another one to do.

    `waited`: only if Redis has known of us ever since we began to wait, and so has not forgotten everything again.
    `yields`: what we hold is to go to one that could speak better, if there still is one.
    """

    token: int = 0
    waited: bool = False
    yields: bool = False


@dataclass(slots=True)
class _Seat:
    """One account: the lease as we know it. `until` is by our own clock; 0 without one.

    `vacant_since` is since when Redis has been found without a lease, None while there is one. `heir_since` is since
    when another one could speak better, None while none could; `yields` that we have fallen silent for it.
    """

    token: int = 0
    holder: str = ""
    until: float = 0.0
    vacant_since: float | None = None
    heir_since: float | None = None
    yields: bool = False
    voice: Voice = Voice.FOLLOWS


class Leases:
    """The leases of one monitor, called `me`."""

    def __init__(self, me: str, lease_s: float, alone_s: float) -> None:
        self._me = me
        self._lease_s = lease_s
        self._alone_s = alone_s
        self._seats: dict[Account, _Seat] = {}
        self._has_company: bool | None = None
        """Whether another monitor lives; None as long as Redis has not answered."""
        self._nobody_since: float | None = None
        self._lost_at: float | None = None
        self._is_refused = False

    def watch(self, accounts: Collection[Account]) -> None:
        """Hold seats for these accounts and no others."""
        self._seats = {account: self._seats.get(account, _Seat()) for account in accounts}

    @property
    def accounts(self) -> list[Account]:
        """Those with a seat, in the order in which they are asked for."""
        return sorted(self._seats)

    def claim(self, account: Account, now: float) -> Claim:
        """Whether we take a lease of which Redis knows nothing: we speak, or whoever did has had a lease's time."""
        seat = self._seats[account]
        speaks = self.speaks(account, now)
        if not speaks and (seat.vacant_since is None or now < seat.vacant_since + self._lease_s):
            return Claim(yields=seat.yields)
        return Claim(seat.token if seat.holder == self._me else seat.token + 1, waited=not speaks)

    def answered(
        self, grants: Mapping[Account, Grant], others: int, asked_at: float, now: float, *, is_new: bool = False
    ) -> dict[Account, bool]:
        """Redis answered a question of `asked_at`. Returns the accounts for which we speak from now on, or again.

        With each whether nobody else spoke in between. `is_new`: Redis did not know of us any more, or yet.
        """
        self._lost_at, self._is_refused = None, False
        self._count(others, now)
        begins: dict[Account, bool] = {}
        for account, grant in grants.items():
            seat = self._seats.get(account)
            if seat is None:
                continue
            seat.yields = False
            seat.heir_since = None if not grant.heir else now if seat.heir_since is None else seat.heir_since
            if not grant.holder:
                if is_new or seat.vacant_since is None:
                    seat.vacant_since = now
                continue
            spoke = self.speaks(account, now)
            continues = (seat.holder, seat.token) == (grant.holder, grant.token)
            seat.token, seat.holder, seat.vacant_since = grant.token, grant.holder, None
            # Counted from before the question: however long the answer took, ours is over first.
            seat.until = asked_at + self._lease_s if grant.holder == self._me else 0.0
            seat.voice = Voice.SPEAKS if seat.until > now else Voice.FOLLOWS
            if seat.voice is Voice.SPEAKS and not spoke:
                begins[account] = continues
        return begins

    def heirs(self, now: float) -> dict[Account, float]:
        """The accounts that we speak for and another one could do so better, with since when that has been so."""
        return {
            account: seat.heir_since
            for account, seat in self._seats.items()
            if seat.heir_since is not None and seat.voice is Voice.SPEAKS and self.speaks(account, now)
        }

    def give_way(self, account: Account) -> None:
        """Fall silent for an account, to hand its lease over with the next question.

        Where that does not come to pass we speak again with the answer. Where no answer comes the lease ends.
        """
        seat = self._seats[account]
        seat.voice, seat.until, seat.heir_since, seat.yields = Voice.FOLLOWS, 0.0, None, True

    def _count(self, others: int, now: float) -> None:
        """An emptied Redis knows of nobody until they have asked again; that does not mean that nobody is there."""
        if others:
            self._nobody_since, self._has_company = None, True
            return
        self._nobody_since = now if self._nobody_since is None else self._nobody_since
        if self._has_company is None or now >= self._nobody_since + self._lease_s:
            self._has_company = False

    def unreachable(self, now: float, *, refused: bool) -> dict[Account, bool]:
        """Redis cannot be asked; `refused`: no server is there. Returns the accounts for which we speak alone now.

        With each whether we were the last that spoke, as far as we know.
        """
        if self._lost_at is None:
            self._lost_at = now
        self._is_refused = self._is_refused or refused
        self._nobody_since = None
        begins: dict[Account, bool] = {}
        for account, seat in self._seats.items():
            seat.vacant_since, seat.heir_since, seat.yields = None, None, False
            if seat.voice is Voice.ALONE or self.speaks(account, now) or now < self._lost_at + self._patience_s(seat):
                continue
            seat.voice = Voice.ALONE
            begins[account] = seat.holder == self._me
        return begins

    def _patience_s(self, seat: _Seat) -> float:
        """How long without Redis it is left to another monitor to speak."""
        if self._has_company is False:
            return 0.0
        if not self._is_refused and self._has_company:
            return self._alone_s
        return 0.0 if seat.holder == self._me else self._lease_s

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
