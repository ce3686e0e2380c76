"""Accounts that another monitor watches as well: what this one knows and says, in step with the pair."""

from collections.abc import Callable, Collection, Sequence

from alerts.alert import Alert, Silence
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.outbox import Outbox
from alerts.pair import Pair
from alerts.words import Word
from monitor.clock import Clock
from monitor.pipeline import Pipeline


class Sharing:
    """Connects the pair with who decides (`engine`), who says it (`dispatcher`) and who keeps it (`outbox`).

    `deliver` says what the engine has decided, as far as this monitor speaks.
    """

    def __init__(
        self,
        pair: Pair,
        engine: Engine,
        dispatcher: Dispatcher,
        outbox: Outbox,
        pipeline: Pipeline,
        clock: Clock,
        deliver: Callable[[Sequence[Alert]], None],
    ) -> None:
        self._pair = pair
        self._engine = engine
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._pipeline = pipeline
        self._clock = clock
        self._deliver = deliver

    async def join(self, accounts: Collection[tuple[str, str]]) -> None:
        """Share these accounts, and know who speaks for them before anything is seen. Run the pair afterwards."""
        pair, engine = self._pair, self._engine
        pair.begin, pair.reached = self._begin_to_speak, self._dispatcher.reached
        pair.follow, pair.firing = engine.follow, engine.firing
        pair.share_salt, pair.share_silences = engine.share_salt, self._share_silences
        pair.acknowledge = lambda key, by: self._deliver(engine.acknowledge(key, by, self._clock.now()))
        self._dispatcher.spoken.speaks, self._dispatcher.noted = pair.speaks, pair.said
        pair.watch(accounts)
        pair.recall(self._outbox)
        pair.tell_silences(engine.silences())
        await pair.first_beat()

    def _begin_to_speak(self, account: tuple[str, str], words: Sequence[Word] | None) -> None:
        """Go on from what others said; without `words`, from what this monitor itself said last."""
        now, spoken = self._clock.now(), self._dispatcher.spoken
        if words is None:
            for each in spoken.last_said(*account):
                self._pair.said(each.sequence, each.alert)
        own = spoken.last_words(*account)
        alerts = own if words is None else [word.alert for word in words]
        # What this monitor said and nobody knows of any more: as far as it goes it fires, so that its end is not lost.
        doubtful = {alert.key for alert in own} - {alert.key for alert in alerts}
        alerts = [*alerts, *(alert for alert in own if alert.key in doubtful)]
        self._dispatcher.take_over(*account, alerts)
        for word in words or ():
            if lacking := word.lacking & self._dispatcher.reached().keys():
                self._dispatcher.submit([word.alert], only=lacking)
        self._deliver(self._engine.take_over(*account, alerts, now, spoken.serials, doubtful))
        self._pipeline.rejudge(*account, now)

    def _share_silences(self, silences: Sequence[Silence]) -> None:
        self._deliver(self._engine.share_silences(silences, self._clock.now()))
        self._outbox.keep_silences(silences)
