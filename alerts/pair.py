"""Two monitors on the same accounts, through the Redis they share: who speaks, and what was said so far.

One lease an account (`alerts.lease`). What a sink of the speaker has acknowledged is noted beside it, under the lease's
token, with the sinks that have not (`alerts.words`); whoever takes over goes on from there: what was noted is said to
those alone that lack it, what was not to all. Both make the same ids, so a receiver can fold what was said twice
because the first speaker died in between.

Redis may forget everything at any moment. Both read what is noted as it changes, so the one that speaks can put it
there again, and the other one can go on from it though Redis is empty or gone.

In Redis, below ``<prefix>:pair:``: hash ``lease:<venue>/<account>`` (holder, token, till), hash
``words:<venue>/<account>`` (alert key to the last word), sorted set ``order:<venue>/<account>`` (alert key to the
number of that word, which counts all words ever noted), ``members`` (who lives), ``salt``, hash ``silences:by-id`` (a
silence, or that it was ended), ``silences:version`` (another one after every change), hash ``acks`` (alert key to who
has seen it, left by one monitor for the one that speaks), ``seen:<venue>/<account>`` (what fires and is acknowledged,
left by the one that speaks for those that follow, so that they show it too).
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Annotated, Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field

from alerts import scripts
from alerts.alert import Alert, Silence
from alerts.batches import batches
from alerts.lease import Account, Grant, Leases, Voice
from alerts.redis_link import Command, RedisLink, serves_nobody
from alerts.shared_silences import SharedSilences
from alerts.sink import Memory, Stamp
from alerts.words import Known, Word, Words, read, write
from monitor.clock import Clock
from monitor.errors import SinkError

NAME = "pair"
"""Under which a note outlives this run."""
BEATS_PER_LEASE = 3.0
NOTE_S = 0.05
"""How soon after a sink's acknowledgement the other monitor may know of it."""
RETRY_S = 0.2
ORDER_S = 60.0
"""An acknowledgement that nobody could carry out for so long is dropped: what fires under its key later is news."""
PAGE = 64
"""Words that are read or noted in one step: a few milliseconds of ours."""
PAGES_SHARE = 0.5
"""Of the time that a beat may take, so much is for pages; what is left waits for the next, so that leases are kept."""

log = structlog.get_logger(__name__)

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class PairConfig(BaseModel):
    """``[pair]``: share the accounts with another monitor that has the same ``[sinks.redis]``.

    The other one takes over within about `lease_s` and a third. `alone_s` is how long a monitor that is cut off from
    Redis leaves it to the other one to speak; where no server is there at all it is `lease_s`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = False
    lease_s: Annotated[float, Field(ge=0.5, le=60, allow_inf_nan=False)] = 3.0
    alone_s: Seconds = 30.0


class Pair:
    """This monitor's part. `run` keeps the leases; everything else is quick and never blocks.

    `begin(account, words)` is called when this monitor starts to speak for an account: `words` are what others said so
    far, as far as is known, None when this monitor itself was the last that spoke; `said` is then to be called again
    for what it goes on from. `follow(alerts)` hands over what another one has said, as it comes. `reached` says up to
    which sequence each sink has everything, `firing` what fires, also for accounts that another one speaks for.
    """

    def __init__(
        self, config: PairConfig, link: RedisLink, prefix: str, timeout_s: float, clock: Clock, host: str
    ) -> None:
        self.me = f"{host}/{secrets.token_hex(4)}"
        self._config = config
        self._link = link
        self._prefix = f"{prefix}:pair"
        self._timeout_s = min(timeout_s, config.lease_s / BEATS_PER_LEASE)
        self._clock = clock
        self._leases = Leases(self.me, config.lease_s, config.alone_s)
        self._words = Words()
        self._known: dict[Account, Known] = {}
        self._salt = secrets.token_hex(8)
        self._silences = SharedSilences()
        self._silences_shared: set[str] = set()
        """Ids of those that this monitor keeps to."""
        self._version: bytes | None = None
        """Of the silences in Redis, as they were read last."""
        self._versions = count(1)
        self._acknowledged: dict[str, tuple[float, str]] = {}
        """Alert key to when and by whom, as long as Redis has not been told."""
        self._seen_told: dict[Account, str] = {}
        """What Redis has of what is acknowledged, by account that we speak for."""
        self._beginning: dict[Account, bool] = {}
        """Accounts that we speak for now, with `begin` still to be called; whether nobody else spoke in between."""
        self._is_lost = False
        self._memory: Memory | None = None
        self._remembered = ""
        self.begin: Callable[[Account, Sequence[Word] | None], None] = lambda account, words: None
        self.follow: Callable[[Sequence[Alert]], None] = lambda alerts: None
        self.share_salt: Callable[[str], None] = lambda salt: None
        self.share_silences: Callable[[Sequence[Silence]], None] = lambda silences: None
        self.acknowledge: Callable[[str, str], None] = lambda key, by: None
        self.firing: Callable[[], Collection[Alert]] = tuple
        self.reached: Callable[[], Mapping[str, int]] = dict

    def recall(self, memory: Memory) -> None:
        """Go on from what this monitor knew in its last run, and keep there what it comes to know."""
        self._memory = memory
        text = memory.note(NAME)
        try:
            note = {} if text is None else orjson.loads(text)
            self._silences.recall(note.get("ended", {}))
            self._salt = str(note.get("salt", self._salt))
        except (ValueError, TypeError, AttributeError) as error:
            log.warning("what was shared before cannot be read and is left out", error=repr(error))
        self.share_salt(self._salt)

    def watch(self, accounts: Collection[Account]) -> None:
        """Share these accounts and no others; from the next beat on."""
        self._leases.watch(accounts)
        self._known = {account: known for account, known in self._known.items() if account in accounts}
        self._beginning = {account: own for account, own in self._beginning.items() if account in accounts}

    def speaks(self, alert: Alert) -> bool:
        """Whether this monitor may say this alert at this moment. What belongs to no account is its own to say."""
        if alert.venue is None or alert.account is None:
            return True
        return self.speaks_for((alert.venue, alert.account))

    def speaks_for(self, account: Account) -> bool:
        """Whether this monitor speaks for an account at this moment."""
        return self._leases.speaks(account, self._clock.now())

    def speaker(self, account: Account) -> str:
        """Who speaks for an account when it is not this monitor; empty when it is, or nobody is known."""
        return "" if self._leases.speaks(account, self._clock.now()) else self._leases.holder(account)

    def voices(self) -> dict[Account, Voice]:
        """How this monitor stands for every account."""
        return self._leases.voices(self._clock.now())

    def stamp(self, alert: Alert) -> Stamp | None:
        """What Redis asks for before it takes an alert; None for one that needs no stamp."""
        if alert.venue is None or alert.account is None:
            return None
        account = (alert.venue, alert.account)
        return Stamp(self._key("lease", account), self.me, self._leases.token(account))

    def said(self, sequence: int, alert: Alert) -> None:
        """An alert is on its way to the sinks; it is noted as they come to have it."""
        self._words.add(sequence, alert)

    def tell_silences(self, silences: Sequence[Silence]) -> None:
        """Let the other monitor have the silences that are in force here, and what was ended."""
        self._silences.take(silences, self._clock.now())
        self._silences_shared = {silence.id for silence in silences}
        self._remember()

    def pass_on(self, key: str, by: str) -> None:
        """Let the one that speaks acknowledge an alert."""
        self._acknowledged[key] = self._clock.now(), by

    async def first_beat(self) -> None:
        """Ask once before anything is seen, so that the one monitor there is begins by speaking."""
        await self._beat_or_lose()

    async def run(self) -> None:
        """Keep the leases until cancelled, then give them up, so that the other one need not wait."""
        beat_s = self._config.lease_s / BEATS_PER_LEASE
        next_beat = 0.0
        try:
            while True:
                now = self._clock.now()
                if now >= next_beat:
                    reached = await self._beat_or_lose()
                    next_beat = now + (beat_s if reached else min(beat_s, RETRY_S))
                elif not self._is_lost:
                    await self._note_or_lose()
                await asyncio.sleep(NOTE_S)
        finally:
            await asyncio.shield(self._leave())

    # Inside

    async def _beat_or_lose(self) -> bool:
        if not await self._or_lose(self._beat(self._clock.now())):
            return False
        if self._is_lost:
            self._is_lost = False
            log.info("redis is back; one of us speaks", voices=self._shown())
        return True

    async def _or_lose(self, asking: Coroutine[Any, Any, None]) -> bool:
        """Whether Redis answered in time, with something that we can make sense of."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await asking
        except (SinkError, TimeoutError) as error:
            await self._lose(error)
        except Exception as error:
            # A fault here must not end the keeping of leases, which would silence this monitor for good.
            if not self._is_lost:
                log.exception("the pair failed in a way it should not")
            await self._lose(error)
        else:
            return True
        return False

    async def _beat(self, asked_at: float) -> None:
        accounts = self._leases.accounts
        self._acknowledged = {key: (at, by) for key, (at, by) in self._acknowledged.items() if asked_at < at + ORDER_S}
        passed = dict(self._acknowledged)
        acks = f"{self._prefix}:acks"
        seen = {account: self._seen(account) for account in accounts if self.speaks_for(account)}
        commands: list[Command] = self._telling_silences()
        commands += [("EVAL", scripts.ORDER, 1, acks, key, by) for key, (_, by) in passed.items()]
        news = {account: text for account, text in seen.items() if self._seen_told.get(account) != text}
        commands += [("SET", self._key("seen", account), text) for account, text in news.items()]
        commands.append(("MGET", self._version_key, *(self._key("seen", account) for account in accounts)))
        commands.append(self._beating(accounts, asked_at))
        *_, (version, *seen_there), (members, is_new, salt, *answers) = await self._link.ask(commands)
        there = dict(zip(accounts, seen_there, strict=True))
        self._seen_told = {account: text for account, text in seen.items() if there[account] == text.encode()}
        self._acknowledged = {key: order for key, order in self._acknowledged.items() if passed.get(key) != order}
        self._hear(salt.decode())
        newest = self._granted(accounts, int(members) - 1, answers, asked_at, is_new=bool(is_new))
        # Where this breaks off the rest is for the next beat: nobody else has the accounts that begin by then.
        await self._meet_silences(version)
        until = asked_at + PAGES_SHARE * self._timeout_s
        for account, continues in list(self._beginning.items()):
            if not await self._read_on(account, newest[account], until) or account not in self._beginning:
                continue
            del self._beginning[account]
            log.info("speaks", account="/".join(account), token=self._leases.token(account))
            self._begin(account, None if continues else self._known_of(account).words())
        for account in accounts:
            await self._keep_up(account, newest[account], until)
        await self._take_acknowledgements()
        for account, text in there.items():
            if text is not None and self._leases.holder(account) != self.me:
                self._show_seen(text)

    def _beating(self, accounts: Sequence[Account], now: float) -> Command:
        """Renew and take leases; see `scripts.BEAT`."""
        keys = [self._key(kind, account) for account in accounts for kind in ("lease", "order")]
        claims = [self._leases.claim(account, now) for account in accounts]
        claimed = [part for claim in claims for part in (claim.token, int(claim.waited))]
        fixed = (f"{self._prefix}:members", f"{self._prefix}:salt")
        lease_ms = int(self._config.lease_s * 1000)
        return ("EVAL", scripts.BEAT, len(keys) + 2, *fixed, *keys, self.me, lease_ms, self._salt, *claimed)

    def _granted(
        self, accounts: Sequence[Account], others: int, answers: Sequence[Any], asked_at: float, *, is_new: bool
    ) -> dict[Account, int]:
        """Take what Redis said of the leases; returns the number of each account's newest word."""
        found = {
            account: Grant(holder.decode(), int(token))
            for account, (holder, token, _) in zip(accounts, answers, strict=True)
        }
        before = {account: self._leases.holder(account) for account in accounts}
        begins = self._leases.answered(found, others, asked_at, self._clock.now(), is_new=is_new)
        for account, continues in begins.items():
            self._beginning[account] = continues and self._beginning.get(account, True)
        for account in accounts:
            holder = self._leases.holder(account)
            if holder != self.me:
                self._words.forget(account)
                self._beginning.pop(account, None)
                if holder != before[account]:
                    # It may have put there again what was forgotten, and count otherwise than whoever spoke before.
                    self._known_of(account).number = 0
        return {account: int(number) for account, (*_, number) in zip(accounts, answers, strict=True)}

    async def _keep_up(self, account: Account, newest: int, until: float) -> None:
        """Read what another one has noted; put there again what Redis has forgotten of what we noted."""
        known = self._known_of(account)
        is_ours = self._leases.holder(account) == self.me
        if is_ours and newest < known.number:
            known.owe()
            log.warning("redis has forgotten what was said; it is put there again", account="/".join(account))
        if is_ours and known.owed:
            await self._note_again(account, until)
        else:
            await self._read_on(account, newest, until)

    async def _read_on(self, account: Account, newest: int, until: float) -> bool:
        """Read what changed since we looked last, a page at least. Whether all was read, up to number `newest`."""
        known = self._known_of(account)
        keys = (self._key("words", account), self._key("order", account))
        is_first = True
        while known.number < newest and (is_first or self._clock.now() < until):
            is_first = False
            (found,) = await self._link.ask([("EVAL", scripts.CHANGED, 2, *keys, known.number, PAGE)])
            words = [word for _, payload in found if (word := _read_word(payload)) is not None]
            for word in words:
                known.put(word)
            known.number = max((int(number) for number, _ in found), default=newest)
            if words and self._leases.holder(account) != self.me:
                self._follow(words)
        return known.number >= newest

    async def _note_again(self, account: Account, until: float) -> None:
        """Let Redis have what it has forgotten, a page at least, under numbers that nobody has read yet."""
        known = self._known_of(account)
        is_first = True
        while known.owed and (is_first or self._clock.now() < until):
            is_first = False
            (number,) = await self._link.ask([self._noting(account, known.owed_next(PAGE))])
            if not number:
                return
            del known.owed[:PAGE]
            if not known.owed:
                known.number = int(number)

    def _known_of(self, account: Account) -> Known:
        return self._known.setdefault(account, Known(scripts.WORDS_MAX))

    def _follow(self, words: Sequence[Word]) -> None:
        try:
            self.follow([word.alert for word in words])
        except Exception:
            log.exception("what another monitor said could not be followed")

    def _telling_silences(self) -> list[Command]:
        """Whatever is untold, each silence by itself; that one was ended outweighs that it is in force."""
        begun, ended = self._silences.untold()
        commands: list[Command] = [("HSETNX", self._silences_key, *silence) for silence in begun.items()]
        commands += [("HSET", self._silences_key, *silence) for silence in ended.items()]
        return [*commands, ("SET", self._version_key, f"{self.me}/{next(self._versions)}")] if commands else []

    async def _meet_silences(self, version: bytes | None) -> None:
        """Take up what the other monitor told of silences, where something has changed."""
        if version == self._version:
            return
        (found,) = await self._link.ask([("HGETALL", self._silences_key)])
        told = {name.decode(errors="replace"): text for name, text in zip(found[::2], found[1::2], strict=True)}
        over = self._silences.meet(told, self._clock.now())
        if over:
            await self._link.ask([("HDEL", self._silences_key, *over)])
        self._version = version
        present = self._silences.present()
        if {silence.id for silence in present} != self._silences_shared:
            self._silences_shared = {silence.id for silence in present}
            self.share_silences(present)
        self._remember()

    def _hear(self, salt: str) -> None:
        if salt and salt != self._salt:
            self._salt = salt
            self._remember()
        self.share_salt(self._salt)

    def _remember(self) -> None:
        text = orjson.dumps({"salt": self._salt, "ended": self._silences.ended()}).decode()
        if self._memory is not None and text != self._remembered:
            self._memory.keep(NAME, text)
            self._remembered = text

    def _seen(self, account: Account) -> str:
        """What fires for an account and is acknowledged."""
        found = [each for each in self.firing() if (each.venue, each.account) == account and each.acknowledged]
        words = sorted((each.key, int(each.severity), each.acknowledged.by) for each in found if each.acknowledged)
        return orjson.dumps(words).decode()

    def _show_seen(self, text: bytes) -> None:
        """Have acknowledged here, too, what is acknowledged at the monitor that speaks and has not worsened since."""
        unseen = {alert.key: alert.severity for alert in self.firing() if alert.acknowledged is None}
        with suppress(ValueError, TypeError):
            for key, severity, by in orjson.loads(text):
                if key in unseen and unseen[key] <= severity:
                    self.acknowledge(key, by)

    def _begin(self, account: Account, words: Sequence[Word] | None) -> None:
        # While we did not speak the sinks passed over what was ours: of that nothing may be noted as said.
        self._words.forget(account)
        try:
            self.begin(account, words)
            # What people ordered here while another one spoke is ours to carry out now.
            for key in self._ours() & self._acknowledged.keys():
                self.acknowledge(key, self._acknowledged.pop(key)[1])
        except Exception:
            log.exception("what was said so far could not be taken up", account="/".join(account))

    async def _take_acknowledgements(self) -> None:
        """Carry out what was ordered at the other monitor, for the accounts that we speak for."""
        if not any(map(self.speaks_for, self._leases.accounts)):
            return
        # Not those of an account that the other one speaks for: taken from here, they would never reach it.
        keys = self._ours()
        (found,) = await self._link.ask([("EVAL", scripts.TAKE, 1, f"{self._prefix}:acks", int(ORDER_S), *keys)])
        orders = [part.decode(errors="replace") for part in found]
        for key, by in zip(orders[::2], orders[1::2], strict=True):
            self.acknowledge(key, by)

    def _ours(self) -> set[str]:
        """The keys of what fires and is ours to say."""
        return {alert.key for alert in self.firing() if self.speaks(alert)}

    async def _note_or_lose(self) -> None:
        if self._sayings():
            await self._or_lose(self._note())

    def _sayings(self) -> list[tuple[int, Word]]:
        """What sinks have come to have. While we do not speak they pass over what comes: it is not said by that."""
        return [each for each in self._words.news(self.reached()) if self.speaks(each[1].alert)]

    async def _note(self) -> None:
        by_account: dict[Account, list[tuple[int, Word]]] = {}
        for each in self._sayings():
            alert = each[1].alert
            by_account.setdefault((alert.venue or "", alert.account or ""), []).append(each)
        pages = [(account, page) for account, each in by_account.items() for page in batches(each, PAGE)]
        if not pages:
            return
        commands = [self._noting(account, [word for _, word in page]) for account, page in pages]
        for (account, page), number in zip(pages, await self._link.ask(commands), strict=True):
            if not number:
                continue  # the lease is not there, or not ours: the next beat shows which
            self._words.noted(page)
            known = self._known_of(account)
            for _, word in page:
                known.put(word)
            if number == known.number + len(page):
                known.number = int(number)

    def _noting(self, account: Account, words: Sequence[Word]) -> Command:
        keys = [self._key(kind, account) for kind in ("lease", "words", "order")]
        fields = [part for word in words for part in (word.alert.key, write(word))]
        token = self._leases.token(account)
        return ("EVAL", scripts.NOTE, 3, *keys, self.me, token, self._known_of(account).number, *fields)

    async def _lose(self, error: Exception) -> None:
        await self._link.close()
        refused = serves_nobody(error)
        if not self._is_lost:
            self._is_lost = True
            log.warning("redis cannot be asked who speaks", error=str(error) or "no answer", refused=refused)
        for account, continues in self._leases.unreachable(self._clock.now(), refused=refused).items():
            log.warning("speaks alone, without redis", account="/".join(account))
            own = self._beginning.pop(account, True) and continues
            self._begin(account, None if own else self._known_of(account).words())

    async def _leave(self) -> None:
        keys = [self._key("lease", account) for account in self._leases.accounts]
        with suppress(SinkError, TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._note()
                await self._link.ask(
                    [("ZREM", f"{self._prefix}:members", self.me), ("EVAL", scripts.RELEASE, len(keys), *keys, self.me)]
                )
        await self._link.close()

    def _key(self, kind: str, account: Account) -> str:
        return f"{self._prefix}:{kind}:{'/'.join(account)}"

    @property
    def _silences_key(self) -> str:
        return f"{self._prefix}:silences:by-id"

    @property
    def _version_key(self) -> str:
        return f"{self._prefix}:silences:version"

    def _shown(self) -> dict[str, str]:
        return {"/".join(account): voice.value for account, voice in self.voices().items()}


def _read_word(payload: bytes) -> Word | None:
    try:
        return read(payload)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("a word in redis cannot be read and is left out", error=repr(error))
        return None
