"""From what is seen to what is said: rules and lifecycle over every pool, feed, sink and notice. Pure; time is given.

Keys are ``rule:subject``: the pool id, ``venue/account/stream``, the sink's name or ``venue/account/kind/instrument``.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from math import inf, isnan, nan
from typing import Any

from alerts import lifecycle
from alerts.alert import (
    STATE_FILE,
    Acknowledgement,
    Alert,
    Reason,
    Restored,
    Severity,
    Silence,
    State,
    Step,
    Verdict,
    alert_id,
)
from alerts.config import AlertsConfig
from alerts.lifecycle import Status
from alerts.rules import POOL_RULES, RULES_CHANGED, SINK_FAILURE, STALE_FEED, VENUE_NOTICE, Rule, stale_feed
from alerts.rules.sink_failure import SinkFailure
from alerts.silences import Silences
from alerts.substance import substance_again, substance_kept, substance_of
from alerts.track import (
    OUT_OF_SIGHT,
    RECOVERED,
    Track,
    account_of,
    names_of,
    policy_of,
    verdict_for,
)
from monitor.model.assessment import Blindness, PoolAssessment
from monitor.model.events import VenueNotice
from monitor.model.rulechange import RulesChanged

TIMERS_SLACK = 64

_ALL_RULES: tuple[Rule[Any], ...] = (*POOL_RULES, STALE_FEED, SINK_FAILURE, VENUE_NOTICE, RULES_CHANGED)
_OF_POOLS: tuple[Rule[Any], ...] = (*POOL_RULES, RULES_CHANGED)
_MOMENTS: tuple[Rule[Any], ...] = (VENUE_NOTICE, RULES_CHANGED)
"""Rules about what happens once, and not about what lasts."""
_RULES = {rule.name: rule for rule in _ALL_RULES}
_ESCALATES_FROM = (Step.ESCALATED, Step.HEARD_AGAIN)
"""Words that begin the time to the next escalation anew."""


class Engine:
    """Decides what is said. Every method returns the alerts that leave now, in order; hand them to the dispatcher.

    The engine keeps no clock and does no I/O. Call `due` whenever `deadline` is reached. `escalations` says how often
    an alert can be passed on: to how many there is to turn to after the first.
    """

    def __init__(
        self, config: AlertsConfig, host: str, *, salt: str = "", escalations: Callable[[Alert], int] = lambda alert: 0
    ) -> None:
        self._host = host
        self._salt = salt
        self._escalations = escalations
        self._silences = Silences()
        self._shared_salt: str | None = None
        self._tracks: dict[str, Track] = {}
        self._timers: list[tuple[float, str]] = []
        self._unseen_pools: set[str] = set()
        self._blind: set[str] = set()
        self._use(config)

    def _use(self, config: AlertsConfig) -> None:
        self._config = config
        # The margin ratio is first: `ratio_only` takes it alone.
        self._pool_rules = [(rule, config.rule(rule.name)) for rule in POOL_RULES]
        self._policies = {rule.name: policy_of(config, rule.name) for rule in _ALL_RULES}
        levels = {rung for _, rung in config.margin_ratio.rungs()}
        levels |= {config.margin_ratio.release(rung) for rung in levels}
        self._levels = sorted(levels)
        self._first_rung = min((rung for _, rung in config.margin_ratio.rungs()), default=nan)

    # What is seen

    def on_pool(self, assessment: PoolAssessment, now: float, *, ratio_only: bool = False) -> list[Alert]:
        """Judge one pool by every pool rule. A safe pool about which nothing fires costs next to nothing.

        `ratio_only`: by its margin ratio alone, when a tick cannot wait for the rest, which must follow soon.
        """
        if isnan(assessment.margin_ratio):
            self._unseen_pools.add(assessment.pool)
        else:
            self._unseen_pools.discard(assessment.pool)
        said: list[Alert] = []
        for rule, section in self._pool_rules[:1] if ratio_only else self._pool_rules:
            verdict = rule.judge(assessment, section)
            key = f"{rule.name}:{assessment.pool}"
            track = self._tracks.get(key)
            if verdict.demands is None and (track is None or track.status.idle):
                continue
            said += self._see(self._track(key, rule), assessment, verdict, now)
        return said

    def on_pool_gone(self, pool: str, now: float) -> list[Alert]:
        """The pool has no open position any more: whatever fires for it is over at once."""
        self._unseen_pools.discard(pool)
        said: list[Alert] = []
        for rule in _OF_POOLS:
            track = self._tracks.get(f"{rule.name}:{pool}")
            if track is not None:
                said += self._end(track, Reason.POOL_CLOSED, now)
        return said

    def on_account(self, venue: str, account: str, pools: Collection[str], now: float) -> list[Alert]:
        """The account is in sync and `pools` are all it has: what fires for others (from an earlier run) is over."""
        gone = {
            track.last.pool
            for track in self._tracks.values()
            if track.status.severity is not None
            and track.last is not None
            and track.last.pool is not None
            and (track.last.venue, track.last.account) == (venue, account)
            and track.last.pool not in pools
        }
        return [alert for pool in sorted(gone) for alert in self.on_pool_gone(pool, now)]

    def on_blind(
        self, blindness: Sequence[Blindness], now: float, unknown: Collection[tuple[str, str]] = ()
    ) -> list[Alert]:
        """Everything that cannot be seen at the moment. What was blind before and is absent now has recovered.

        `unknown`: accounts (venue, name) that are not in sync, about whose streams nothing can be said: what fires for
        them neither eases nor resolves.
        """
        said: list[Alert] = []
        seen: set[str] = set()
        for blind in blindness:
            key = f"{STALE_FEED.name}:{blind.venue}/{blind.account}/{blind.stream}"
            seen.add(key)
            track = self._track(key, STALE_FEED)
            track.policy = replace(track.policy, hold_s=stale_feed.hold_s(blind, self._config.stale_feed))
            self._blind.add(key)
            verdict = STALE_FEED.judge(blind, self._config.stale_feed)
            if (blind.venue, blind.account) in unknown:
                verdict = replace(verdict, holds=Severity.EMERGENCY, unknown=True)
            said += self._see(track, blind, verdict, now)
        for key in self._blind - seen:
            track = self._tracks[key]
            # What only waits to fire may go: an account that is not in sync is blindness of its own.
            unseen = track.status.severity is not None and account_of(track) in unknown
            said += self._see(track, track.subject, OUT_OF_SIGHT if unseen else RECOVERED, now)
            if track.status.idle:
                self._blind.discard(key)
        return said

    def on_sink(
        self, sink: str, failing_since: float | None, pending: int, detail: str, now: float, refused: str = ""
    ) -> list[Alert]:
        """How a sink does; call it about once a second for each. `failing_since` is None while it works.

        `refused` names an alert that it was given up on for a short while ago.
        """
        key = f"{SINK_FAILURE.name}:{sink}"
        track = self._tracks.get(key)
        failure = SinkFailure(sink, failing_since, pending, detail, now, refused)
        failure = failure.after(None if track is None else track.subject)
        verdict = SINK_FAILURE.judge(failure, self._config.sink_failure)
        if verdict.demands is None and (track is None or track.status.idle):
            return []
        return self._see(self._track(key, SINK_FAILURE), failure, verdict, now)

    def on_notice(self, notice: VenueNotice, now: float) -> list[Alert]:
        """What the venue said. The same words while it fires prolong it; other words are a change of their own."""
        key = f"{VENUE_NOTICE.name}:{notice.venue}/{notice.account}/{notice.kind}/{notice.instrument}"
        track = self._track(key, VENUE_NOTICE)
        verdict = VENUE_NOTICE.judge(notice, self._config.venue_notice)
        news = VENUE_NOTICE.describe(notice, verdict).text
        if track.status.severity is not None and track.last is not None and track.last.text != news:
            said = [self._say_again(track, notice, verdict, now)]
        else:
            said = self._see(track, notice, verdict, now)
        # A notice is a moment, not a condition: calm begins right after it.
        return said + self._see(track, notice, RECOVERED, now)

    def on_rules_changed(self, change: RulesChanged, now: float) -> list[Alert]:
        """The venue's rules have moved liquidation prices of a pool; each change is said, and is over by itself.

        While an earlier one still fires, a milder one is said at the severity of the former: it corrects what was said.
        """
        track = self._track(f"{RULES_CHANGED.name}:{change.pool.pool}", RULES_CHANGED)
        verdict = RULES_CHANGED.judge(change, self._config.rules_changed)
        firing = track.status.severity
        if firing is not None and verdict.demands is not None and verdict.demands <= firing:
            said = [self._say_again(track, change, verdict, now)]
        else:
            said = self._see(track, change, verdict, now)
        return said + self._see(track, change, RECOVERED, now)

    # What people do about it

    def acknowledge(self, key: str, by: str, now: float) -> list[Alert]:
        """Somebody has seen the alert `key`: it is not said again until it worsens. Nothing when it does not fire."""
        track = self._tracks.get(key)
        if track is None or track.status.severity is None:
            return []
        before = track.status
        track.status, step = lifecycle.acknowledge(before, Acknowledgement(by, now), now)
        self._schedule(track)
        return [self._say(track, before, step, Reason.ACKNOWLEDGED, now)]

    def silence(self, silence: Silence, now: float) -> list[Alert]:
        """Keep people from hearing of a subject. Raises ValueError when too many silences are in force."""
        self._silences.add(silence)
        return self._resilence(now)

    def end_silence(self, identifier: str, now: float) -> list[Alert]:
        """End a silence before its time; what fires under it is heard again."""
        return self._resilence(now) if self._silences.end(identifier) is not None else []

    def silences(self) -> list[Silence]:
        """The silences in force, the one that ends first first."""
        return sorted(self._silences, key=lambda silence: silence.until)

    def _resilence(self, now: float) -> list[Alert]:
        """Say of what fires that it became silent, or is to be heard again."""
        said: list[Alert] = []
        for track in self._tracks.values():
            last, severity = track.last, track.status.severity
            if last is None or severity is None:
                continue
            names = names_of(track.key, {"pool": last.pool, "venue": last.venue, "account": last.account})
            silence = self._silences.covering(names, severity, now)
            if silence == last.silenced:
                continue
            before = track.status
            track.status = lifecycle.silence(before, now, silenced=silence is not None)
            step, reason = (
                (Step.HEARD_AGAIN, Reason.SILENCE_OVER) if silence is None else (Step.SILENCED, Reason.SILENCED)
            )
            self._schedule(track)
            said.append(self._say(track, before, step, reason, now))
        return said

    # What time brings

    def due(self, now: float) -> list[Alert]:
        """What time alone brings: holds and calms that end, repeats."""
        said: list[Alert] = []
        if self._silences.expire(now):
            said += self._resilence(now)
        while (at := self._next_timer()) is not None and at <= now:
            track = self._tracks[heappop(self._timers)[1]]
            track.deadline = None
            said += self._see(track, track.subject, track.verdict, now)
        return said

    def deadline(self) -> float | None:
        """When `due` must be called at the latest; None for never."""
        timer, silence = self._next_timer(), self._silences.next_end()
        return timer if silence is None else silence if timer is None else min(timer, silence)

    def _next_timer(self) -> float | None:
        while self._timers:
            at, key = self._timers[0]
            if self._tracks[key].deadline == at:
                return at
            heappop(self._timers)
        return None

    def thresholds(self, pool: str) -> tuple[float, float]:
        """Margin ratios (down, up): below `down`, or at or above `up`, `on_pool` must be called at once; nan for none.

        They change with every `on_pool`, `due` and `reconfigure`. While the pool's figures are unknown, any known one
        is news.
        """
        if pool in self._unseen_pools:
            return nan, 0.0
        track = self._tracks.get(f"margin_ratio:{pool}")
        if track is None or track.status.idle:
            return nan, self._first_rung
        value = track.verdict.value
        if value is None or isnan(value):
            return nan, 0.0
        place = bisect_right(self._levels, value)
        down = self._levels[place - 1] if place > 0 else nan
        up = self._levels[place] if place < len(self._levels) else nan
        return down, up

    # What is kept

    def firing(self) -> list[Alert]:
        """The last word about everything that fires."""
        tracks = self._tracks.values()
        return [track.last for track in tracks if track.status.severity is not None and track.last is not None]

    def restore(self, restored: Restored, now: float) -> None:
        """Take up what earlier runs said, before anything is seen. Firing alerts keep firing until they are judged."""
        self._salt = restored.salt
        self._silences = Silences(restored.silences)
        for alert in restored.alerts:
            self._take_up(alert, now)

    def take_over(
        self,
        venue: str,
        account: str,
        words: Sequence[Alert],
        now: float,
        spoken: Mapping[str, int] | None = None,
        doubtful: Collection[str] = (),
    ) -> list[Alert]:
        """Go on from what another monitor said about an account: the last word about each of its keys.

        `spoken` are the highest serials that this monitor itself ever said by key: whatever the other one counted, no
        serial goes back, or a sink would take what is new for something it has heard. `doubtful` are keys whose word
        may have been followed by others that nobody knows of any more: what still is the case is said once more.
        Said is what this one saw and the other had not said. Judge every pool of the account anew afterwards.
        """
        said_elsewhere = {word.key for word in words}
        own = {
            track.key: (track, track.status)
            for track in self._tracks.values()
            if track.key in said_elsewhere or account_of(track) == (venue, account)
        }
        for track, seen in own.values():
            track.status = Status(serial=seen.serial if seen.severity is None else 0)
        for word in words:
            self._take_up(word, now)
        for key, serial in (spoken or {}).items():
            if (known := self._tracks.get(key)) is not None and known.status.serial < serial:
                known.status = replace(known.status, serial=serial)
        said: list[Alert] = []
        for track, seen in own.values():
            was = track.status
            if track.key in doubtful or track.key not in said_elsewhere:
                was = Status(serial=was.serial, said_at=-inf)
            # A word that is younger than what we saw knew of it.
            newer = seen.severity is not None and seen.raised_at > was.said_at
            if newer and (was.severity is None or seen.severity > was.severity):  # type: ignore[operator]
                # Counted as whoever spoke counted: what it said, and we did not hear of, has this very id.
                was = replace(was, serial=max(was.serial, seen.serial - 1))
                track.status, step = lifecycle.raise_to(was, seen.severity, now)  # type: ignore[arg-type]
                said.append(self._say(track, was, step, track.verdict.reason, now))
            self._schedule(track)
        return said

    def follow(self, alerts: Sequence[Alert]) -> None:
        """Count as another monitor does, which said this: the same change then has the same id, whoever says it."""
        for alert in alerts:
            rule = _RULES.get(alert.rule)
            if rule is None:
                continue
            track = self._track(alert.key, rule)
            if track.status.severity == (alert.severity if alert.state is State.FIRING else None):
                track.status = replace(track.status, serial=alert.serial)

    def share_salt(self, salt: str) -> None:
        """Make the ids of alerts about accounts as the other monitor does."""
        self._shared_salt = salt

    def share_silences(self, silences: Sequence[Silence], now: float) -> list[Alert]:
        """Take these silences, and no others, from the other monitor."""
        self._silences = Silences(silences)
        return self._resilence(now)

    def _take_up(self, alert: Alert, now: float) -> None:
        rule = _RULES.get(alert.rule)
        if rule is None:
            return
        track = self._track(alert.key, rule)
        # A wall clock that was set back between the runs must not put off the repeats.
        said_at = min(alert.at, now)
        severity = alert.severity if alert.state is State.FIRING else None
        track.status = Status(
            alert.serial,
            severity,
            raised_at=alert.raised_at,
            said_at=said_at,
            acknowledged=alert.acknowledged,
            seen=None if alert.acknowledged is None else alert.severity,
            escalation=alert.escalation,
            escalate_from=said_at if alert.step in _ESCALATES_FROM else min(alert.raised_at, now),
        )
        track.last = alert
        self._extend(track, alert)
        if rule is STALE_FEED:
            self._blind.add(track.key)
        elif rule in _MOMENTS and severity is not None:
            # Nothing will judge it again: what is left of its calm runs on.
            track.accused = Verdict(severity, severity, alert.reason, alert.value, alert.threshold)
            track.verdict, track.status = RECOVERED, replace(track.status, calm_since=said_at)
        self._schedule(track)

    def retain(self, accounts: Collection[tuple[str, str]], sinks: Collection[str], now: float) -> list[Alert]:
        """End what belongs to an account (venue, name) or sink that is no longer configured; after start and reload.

        A destination of a sink is a sink of its own here: ``push.phone``.
        """
        said: list[Alert] = []
        for track in self._tracks.values():
            alert = track.last
            if alert is None:
                continue
            if track.rule is SINK_FAILURE:
                kept = track.key.partition(":")[2] in (*sinks, STATE_FILE)
            else:
                kept = alert.account is None or (alert.venue, alert.account) in accounts
            if not kept:
                said += self._end(track, Reason.NOT_CONFIGURED, now)
        return said

    def reconfigure(self, config: AlertsConfig, now: float) -> list[Alert]:
        """Judge everything tracked by new rules. Read `thresholds` of every pool again afterwards."""
        self._use(config)
        said: list[Alert] = []
        for track in list(self._tracks.values()):
            track.policy = replace(self._policies[track.rule.name], escalations_max=track.policy.escalations_max)
            if isinstance(track.subject, PoolAssessment):
                verdict = track.rule.judge(track.subject, getattr(config, track.rule.name))
                said += self._see(track, track.subject, verdict, now)
            else:
                self._schedule(track)
        return said

    # Inside

    def _track(self, key: str, rule: Rule[Any]) -> Track:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = Track(key, rule, self._policies[rule.name])
        return track

    def _see(self, track: Track, subject: Any, verdict: Verdict, now: float) -> list[Alert]:
        before = track.status
        track.subject = subject
        track.verdict = verdict
        if verdict.demands is not None:
            track.accused = verdict
        track.status, step = lifecycle.advance(before, verdict, track.policy, now)
        self._schedule(track)
        if track.status.idle:
            track.subject = None if step is None else subject
        reason = Reason.UNACKNOWLEDGED if step is Step.ESCALATED else verdict.reason
        return [] if step is None else [self._say(track, before, step, reason, now)]

    def _say_again(self, track: Track, subject: Any, verdict: Verdict, now: float) -> Alert:
        before = track.status
        track.subject, track.verdict, track.accused = subject, verdict, verdict
        track.status, step = lifecycle.again(before, now)
        self._schedule(track)
        return self._say(track, before, step, verdict.reason, now)

    def _end(self, track: Track, reason: Reason, now: float) -> list[Alert]:
        before = track.status
        track.subject = None
        track.verdict = Verdict(None, None, reason)
        track.status, step = lifecycle.end(before, now)
        self._schedule(track)
        return [] if step is None else [self._say(track, before, step, reason, now)]

    def _salt_of(self, substance: Mapping[str, Any]) -> str:
        """Ids of what two monitors may both say are the same; a sink's failure is each one's own."""
        return self._salt if self._shared_salt is None or substance["account"] is None else self._shared_salt

    def _schedule(self, track: Track) -> None:
        at = lifecycle.deadline(track.status, track.policy)
        if at is not None and at != track.deadline:
            heappush(self._timers, (at, track.key))
        track.deadline = at
        if len(self._timers) > TIMERS_SLACK + 2 * len(self._tracks):
            # Deadlines that moved leave their old entries behind; a value that trembles would pile them up.
            self._timers = [(each.deadline, each.key) for each in self._tracks.values() if each.deadline is not None]
            heapify(self._timers)

    def _say(self, track: Track, before: Status, step: Step, reason: Reason, now: float) -> Alert:
        severity = track.status.severity or before.severity or Severity.NOTICE
        state = State.FIRING if track.status.severity is not None else State.RESOLVED
        verdict = verdict_for(track, state)
        if verdict is not track.verdict and reason is track.verdict.reason:
            reason = verdict.reason
        last = track.last
        said_at = None if now == track.status.raised_at else now
        if step.is_handling and last is not None:
            substance, said_at = substance_kept(last), last.said_at
        elif track.subject is not None:
            substance = substance_of(track.rule, track.subject, verdict, state)
        elif last is not None:
            substance = substance_again(last, state, reason)
            said_at = said_at if state is State.RESOLVED else last.said_at
        else:
            raise AssertionError("an alert without a subject was never said before")
        silenced = self._silences.covering(names_of(track.key, substance), severity, now)
        alert = Alert(
            id=alert_id(self._salt_of(substance), track.key, track.status.serial, severity, state),
            key=track.key,
            rule=track.rule.name,
            severity=severity,
            state=state,
            reason=reason,
            raised_at=track.status.raised_at,
            host=self._host,
            step=step,
            serial=track.status.serial,
            at=now,
            acknowledged=track.status.acknowledged,
            silenced=silenced,
            escalation=track.status.escalation,
            said_at=said_at,
            **substance,
        )
        track.last = alert
        if state is State.RESOLVED:
            track.subject = None
        self._extend(track, alert)
        return alert

    def _extend(self, track: Track, alert: Alert) -> None:
        """What an alert's words decide about its way: who there is to turn to, and whether it is silent."""
        silenced, escalations = alert.silenced is not None, self._escalations(alert)
        if silenced != track.status.silenced or escalations != track.policy.escalations_max:
            track.status = replace(track.status, silenced=silenced)
            track.policy = replace(track.policy, escalations_max=escalations)
            self._schedule(track)
