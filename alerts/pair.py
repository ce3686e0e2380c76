"""Two monitors on the same accounts, through the Redis they share: who speaks, and what was said so far.

One lease an account (`alerts.lease`). What every sink of the speaker has acknowledged is noted beside it, under the
lease's token; whoever takes over goes on from there: what was noted is not said again, what was not is. Both make the
same ids, so a receiver can fold what was said twice because the first speaker died in between.

In Redis, below ``<prefix>:pair:``: hash ``lease:<venue>/<account>`` (holder, token, till), hash
``words:<venue>/<account>`` (alert key to the last word), ``members`` (who lives), ``salt``, ``silences``, hash ``acks``
(alert key to who has seen it, left by one monitor for the one that speaks), ``seen:<venue>/<account>`` (what fires and
is acknowledged, left by the one that speaks for those that follow, so that they show it too).
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Annotated, Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field

from alerts.alert import Alert, Silence
from alerts.lease import Account, Grant, Leases, Voice
from alerts.message import pack, read_silence, silence_fields, unpack
from alerts.redis_link import RedisLink
from alerts.sink import Stamp
from monitor.clock import Clock
from monitor.errors import SinkError

BEATS_PER_LEASE = 3.0
NOTE_S = 0.05
"""How soon after the last sink's acknowledgement the other monitor may know of it."""
RETRY_S = 0.2
ORDER_S = 60.0
"""An acknowledgement that nobody could carry out for so long is dropped: what fires under its key later is news."""

_BEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'NX')
local out = {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3])}
for i = 4, #KEYS do
  local lease = redis.call('HMGET', KEYS[i], 'holder', 'token', 'till')
  local holder, token = lease[1], tonumber(lease[2] or '0')
  if holder ~= ARGV[1] and tonumber(lease[3] or '0') <= now then
    holder, token = ARGV[1], token + 1
  end
  if holder == ARGV[1] then
    redis.call('HSET', KEYS[i], 'holder', holder, 'token', token, 'till', now + ARGV[2])
  end
  out[i] = {holder, token}
end
return out
"""
_NOTE = """
local lease = redis.call('HMGET', KEYS[1], 'holder', 'token')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
return 1
"""
_RELEASE = """
for i = 1, #KEYS do
  if redis.call('HGET', KEYS[i], 'holder') == ARGV[1] then redis.call('HSET', KEYS[i], 'till', 0) end
end
return 1
"""
_ORDER = """
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], t[1] .. ' ' .. ARGV[2])
return 1
"""
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
local wanted, out = {}, {}
for i = 2, #ARGV do wanted[ARGV[i]] = true end
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  local at, by = string.match(found[i + 1], '^(%d+) (.*)$')
  local good = at and tonumber(at) + ARGV[1] >= now
  if wanted[found[i]] or not good then redis.call('HDEL', KEYS[1], found[i]) end
  if wanted[found[i]] and good then
    out[#out + 1] = found[i]
    out[#out + 1] = by
  end
end
return out
"""

log = structlog.get_logger(__name__)

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class PairConfig(BaseModel):
    """``[pair]``: share the accounts with another monitor that has the same ``[sinks.redis]``.

    The other one takes over within about `lease_s` and a third. `alone_s` is how long a monitor that is cut off from
    Redis leaves it to the other one to speak.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = False
    lease_s: Annotated[float, Field(ge=0.5, le=60, allow_inf_nan=False)] = 3.0
    alone_s: Seconds = 30.0


class Words:
    """What was said and is not noted yet: of each key the last word. Bounded by the number of keys."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, Alert]] = {}

    def add(self, sequence: int, alert: Alert) -> None:
        """A word on its way to the sinks."""
        if alert.account is not None:
            self._waiting[alert.key] = (sequence, alert)

    def done(self, everywhere: int) -> list[tuple[int, Alert]]:
        """The words that every sink has."""
        return [word for word in self._waiting.values() if word[0] <= everywhere]

    def noted(self, words: Collection[tuple[int, Alert]]) -> None:
        """These are noted; a newer word of the same key still waits."""
        for sequence, alert in words:
            if self._waiting.get(alert.key, (0, alert))[0] == sequence:
                del self._waiting[alert.key]

    def forget(self, account: Account) -> None:
        """We do not speak for this account any more."""
        self._waiting = {
            key: word for key, word in self._waiting.items() if (word[1].venue, word[1].account) != account
        }


class Pair:
    """This monitor's part. `run` keeps the leases; everything else is quick and never blocks.

    `begin(account, words)` is called when this monitor starts to speak for an account: `words` are what others said so
    far, as far as is known, None when this monitor itself was the last that spoke. `everywhere` says up to which
    sequence every sink has everything, `firing` what fires, also for accounts that another one speaks for.
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
        self._salt = secrets.token_hex(8)
        self._silences_heard = ""
        self._silences_to_tell: str | None = None
        self._acknowledged: dict[str, tuple[float, str]] = {}
        """Alert key to when and by whom, as long as Redis has not been told."""
        self._seen_told: dict[Account, str] = {}
        """What Redis was told last of what is acknowledged, by account that we speak for."""
        self._beginning: dict[Account, bool] = {}
        """Accounts that we speak for now, with `begin` still to be called; whether nobody else spoke in between."""
        self._is_lost = False
        self.begin: Callable[[Account, Sequence[Alert] | None], None] = lambda account, words: None
        self.share_salt: Callable[[str], None] = lambda salt: None
        self.share_silences: Callable[[Sequence[Silence]], None] = lambda silences: None
        self.acknowledge: Callable[[str, str], None] = lambda key, by: None
        self.firing: Callable[[], Collection[Alert]] = tuple
        self.everywhere: Callable[[], int] = lambda: 0

    def watch(self, accounts: Collection[Account]) -> None:
        """Share these accounts and no others; from the next beat on."""
        self._leases.watch(accounts)

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
        """An alert is on its way to the sinks; it is noted when all of them have it."""
        self._words.add(sequence, alert)

    def tell_silences(self, silences: Sequence[Silence]) -> None:
        """Let the other monitor have the silences."""
        self._silences_to_tell = orjson.dumps([silence_fields(silence) for silence in silences]).decode()

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
        fixed = [f"{self._prefix}:members", f"{self._prefix}:salt", f"{self._prefix}:silences"]
        keys = fixed + [self._key("lease", account) for account in accounts]
        lease_ms = int(self._config.lease_s * 1000)
        commands: list[tuple[str | bytes | int, ...]] = []
        if self._silences_to_tell is not None:
            commands.append(("SET", fixed[2], self._silences_to_tell))
        self._acknowledged = {key: (at, by) for key, (at, by) in self._acknowledged.items() if asked_at < at + ORDER_S}
        for key, (_, by) in self._acknowledged.items():
            commands.append(("EVAL", _ORDER, 1, f"{self._prefix}:acks", key, by))
        seen = {account: self._seen(account) for account in accounts if self.speaks_for(account)}
        news = {account: text for account, text in seen.items() if self._seen_told.get(account) != text}
        commands += [("SET", self._key("seen", account), text) for account, text in news.items()]
        # The salt is there because there must be a key, also without any account.
        commands.append(("MGET", fixed[1], *(self._key("seen", account) for account in accounts)))
        commands.append(("EVAL", _BEAT, len(keys), *keys, self.me, lease_ms, self._salt))
        told, passed = self._silences_to_tell, dict(self._acknowledged)
        *_, (_, *seen_there), (members, salt, silences, *grants) = await self._link.ask(commands)
        self._seen_told = seen
        self._silences_to_tell = None if self._silences_to_tell == told else self._silences_to_tell
        self._acknowledged = {key: order for key, order in self._acknowledged.items() if passed.get(key) != order}
        self._hear(salt.decode(), "" if silences is None else silences.decode())
        found = {
            account: Grant(holder.decode(), int(token))
            for account, (holder, token) in zip(accounts, grants, strict=True)
        }
        for account, continues in self._leases.answered(found, int(members) - 1, asked_at, self._clock.now()).items():
            self._beginning[account] = continues and self._beginning.get(account, True)
        for account in accounts:
            if self._leases.holder(account) != self.me:
                self._words.forget(account)
                self._beginning.pop(account, None)
        # Where this breaks off the rest is for the next beat: nobody else has these accounts by then.
        for account, continues in list(self._beginning.items()):
            words = None if continues else await self._read(account)
            del self._beginning[account]
            log.info("speaks", account="/".join(account), token=self._leases.token(account))
            self._begin(account, words)
        await self._take_acknowledgements()
        for account, text in zip(accounts, seen_there, strict=True):
            if text is not None and self._leases.holder(account) != self.me:
                self._show_seen(text)

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

    def _begin(self, account: Account, words: Sequence[Alert] | None) -> None:
        # While we did not speak the sinks passed over what was ours: of that nothing may be noted as said.
        self._words.forget(account)
        try:
            self.begin(account, words)
            # What people ordered here while another one spoke is ours to carry out now.
            for key in self._ours() & self._acknowledged.keys():
                self.acknowledge(key, self._acknowledged.pop(key)[1])
        except Exception:
            log.exception("what was said so far could not be taken up", account="/".join(account))

    def _hear(self, salt: str, silences: str) -> None:
        if salt != self._salt:
            self._salt = salt
        self.share_salt(self._salt)
        if silences and silences != self._silences_heard and self._silences_to_tell is None:
            self._silences_heard = silences
            with suppress(ValueError, KeyError, TypeError):
                found = [read_silence(fields) for fields in orjson.loads(silences)]
                self.share_silences([silence for silence in found if silence is not None])

    async def _take_acknowledgements(self) -> None:
        """Carry out what was ordered at the other monitor, for the accounts that we speak for."""
        if not any(map(self.speaks_for, self._leases.accounts)):
            return
        # Not those of an account that the other one speaks for: taken from here, they would never reach it.
        keys = self._ours()
        (found,) = await self._link.ask([("EVAL", _TAKE, 1, f"{self._prefix}:acks", int(ORDER_S), *keys)])
        orders = [part.decode(errors="replace") for part in found]
        for key, by in zip(orders[::2], orders[1::2], strict=True):
            self.acknowledge(key, by)

    def _ours(self) -> set[str]:
        """The keys of what fires and is ours to say."""
        return {alert.key for alert in self.firing() if self.speaks(alert)}

    async def _read(self, account: Account) -> list[Alert]:
        """The last words about an account."""
        (found,) = await self._link.ask([("HVALS", self._key("words", account))])
        return [alert for payload in found if (alert := _read_word(payload)) is not None]

    async def _note_or_lose(self) -> None:
        if self._sayings():
            await self._or_lose(self._note())

    def _sayings(self) -> list[tuple[int, Alert]]:
        """What every sink has. While we do not speak they pass over what comes, which is not said by that."""
        return [word for word in self._words.done(self.everywhere()) if self.speaks(word[1])]

    async def _note(self) -> None:
        words = self._sayings()
        if words:
            await self._link.ask([self._noting(alert) for _, alert in words])
            self._words.noted(words)

    def _noting(self, alert: Alert) -> tuple[str | bytes | int, ...]:
        account = (alert.venue or "", alert.account or "")
        token = self._leases.token(account)
        keys = (self._key("lease", account), self._key("words", account))
        return ("EVAL", _NOTE, 2, *keys, self.me, token, alert.key, pack(alert))

    async def _lose(self, error: Exception) -> None:
        await self._link.close()
        refused = any(isinstance(cause, ConnectionRefusedError) for cause in _chain(error))
        if not self._is_lost:
            self._is_lost = True
            log.warning("redis cannot be asked who speaks", error=str(error) or "no answer", refused=refused)
        for account, continues in self._leases.unreachable(self._clock.now(), refused=refused).items():
            log.warning("speaks alone, without redis", account="/".join(account))
            own = self._beginning.pop(account, True) and continues
            self._begin(account, None if own else ())

    async def _leave(self) -> None:
        keys = [self._key("lease", account) for account in self._leases.accounts]
        with suppress(SinkError, TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._note()
                await self._link.ask(
                    [("ZREM", f"{self._prefix}:members", self.me), ("EVAL", _RELEASE, len(keys), *keys, self.me)]
                )
        await self._link.close()

    def _key(self, kind: str, account: Account) -> str:
        return f"{self._prefix}:{kind}:{'/'.join(account)}"

    def _shown(self) -> dict[str, str]:
        return {"/".join(account): voice.value for account, voice in self.voices().items()}


def _read_word(payload: bytes) -> Alert | None:
    try:
        return unpack(payload)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("a word in redis cannot be read and is left out", error=repr(error))
        return None


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
