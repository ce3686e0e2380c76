"""From what is seen to what is said: rules and lifecycle over every pool, feed, sink and notice. Pure; time is given.

Keys are ``rule:subject``: the pool id, ``venue/account/stream``, the sink's name or ``venue/account/kind/instrument``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from alerts import lifecycle, succession
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
)
from alerts.config import AlertsConfig
from alerts.lifecycle import Status
from alerts.rules import ALL_RULES, POOL_RULES, RULES_CHANGED, SINK_FAILURE, STALE_FEED, VENUE_NOTICE, Rule, stale_feed
from alerts.rules.sink_failure import SinkFailure
from alerts.silences import Silences
from alerts.speech import Speech
from alerts.thresholds import ANY, Thresholds
from alerts.timers import Timers
from alerts.track import (
    OUT_OF_SIGHT,
    RECOVERED,
    Track,
    account_of,
    names_of,
    policy_of,
)
from monitor.model.assessment import Blindness, PoolAssessment
from monitor.model.events import VenueNotice
from monitor.model.rulechange import RulesChanged

_OF_POOLS: tuple[Rule[Any], ...] = (*POOL_RULES, RULES_CHANGED)
_MOMENTS: tuple[Rule[Any], ...] = (VENUE_NOTICE, RULES_CHANGED)
"""Rules about what happens once, and not about what lasts."""
_RULES = {rule.name: rule for rule in ALL_RULES}


class Engine:
    """Decides what is said. Every method returns the alerts that leave now, in order; hand them to the dispatcher.

    The engine keeps no clock and does no I/O. Call `due` whenever `deadline` is reached. `escalations` says how often
    an alert can be passed on: to how many there is to turn to after the first.
    """

    def __init__(
        self, config: AlertsConfig, host: str, *, salt: str = "", escalations: Callable[[Alert], int] = lambda alert: 0
    ) -> None:
        self._speech = Speech(host, salt)
        self._escalations = escalations
        self._silences = Silences()
        self._tracks: dict[str, Track] = {}
        self._timers = Timers()
        self._unseen_pools: set[str] = set()
        self._blind: set[str] = set()
        self._use(config)

    def _use(self, config: AlertsConfig) -> None:
        self._config = config
        # The margin ratio is first: `ratio_only` takes it alone.
        self._pool_rules = [(rule, config.rule(rule.name)) for rule in POOL_RULES]
        self._policies = {rule.name: policy_of(config, rule.name) for rule in ALL_RULES}
        self._thresholds = Thresholds(config.margin_ratio)

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
        while (key := self._timers.take(now)) is not None:
            track = self._tracks[key]
            said += self._see(track, track.subject, track.verdict, now)
        return said

    def deadline(self) -> float | None:
        """When `due` must be called at the latest; None for never."""
        timer, silence = self._timers.next(), self._silences.next_end()
        return timer if silence is None else silence if timer is None else min(timer, silence)

    def thresholds(self, pool: str) -> tuple[float, float]:
        """Margin ratios (down, up): below `down`, or at or above `up`, `on_pool` must be called at once; nan for none.

        They change with every `on_pool`, `due` and `reconfigure`. While the pool's figures are unknown, any known one
        is news.
        """
        if pool in self._unseen_pools:
            return ANY
        track = self._tracks.get(f"margin_ratio:{pool}")
        if track is None or track.status.idle:
            return self._thresholds.safe
        value = track.verdict.value
        return ANY if value is None or isnan(value) else self._thresholds.around(value)

    # What is kept

    def firing(self) -> list[Alert]:
        """The last word about everything that fires."""
        tracks = self._tracks.values()
        return [track.last for track in tracks if track.status.severity is not None and track.last is not None]

    def restore(self, restored: Restored, now: float) -> None:
        """Take up what earlier runs said, before anything is seen. Firing alerts keep firing until they are judged."""
        self._speech.salt = restored.salt
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
            track.status = succession.given_up(seen)
        for word in words:
            self._take_up(word, now)
        for key, serial in (spoken or {}).items():
            if (known := self._tracks.get(key)) is not None:
                known.status = succession.not_below(known.status, serial)
        said: list[Alert] = []
        for track, seen in own.values():
            is_known = track.key in said_elsewhere and track.key not in doubtful
            if owed := succession.owed(seen, track.status if is_known else succession.unheard(track.status)):
                before, severity = owed
                track.status, step = lifecycle.raise_to(before, severity, now)
                said.append(self._say(track, before, step, track.verdict.reason, now))
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
        self._speech.shared_salt = salt

    def share_silences(self, silences: Sequence[Silence], now: float) -> list[Alert]:
        """Take these silences, and no others, from the other monitor."""
        self._silences = Silences(silences)
        return self._resilence(now)

    def _take_up(self, alert: Alert, now: float) -> None:
        rule = _RULES.get(alert.rule)
        if rule is None:
            return
        track = self._track(alert.key, rule)
        track.status = succession.standing(alert, now)
        track.last = alert
        self._extend(track, alert)
        if rule is STALE_FEED:
            self._blind.add(track.key)
        elif rule in _MOMENTS and (severity := track.status.severity) is not None:
            # Nothing will judge it again: what is left of its calm runs on.
            track.accused = Verdict(severity, severity, alert.reason, alert.value, alert.threshold)
            track.verdict, track.status = RECOVERED, replace(track.status, calm_since=track.status.said_at)
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

    def _schedule(self, track: Track) -> None:
        self._timers.set(track.key, lifecycle.deadline(track.status, track.policy))

    def _say(self, track: Track, before: Status, step: Step, reason: Reason, now: float) -> Alert:
        alert = track.last = self._speech.word(track, before, step, reason, self._silences, now)
        if alert.state is State.RESOLVED:
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
