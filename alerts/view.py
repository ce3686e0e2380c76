"""What those who only show, metrics and HTTP, may ask of the alerting side."""

from collections.abc import Mapping, Sequence

from alerts.alert import Alert, Severity, Silence
from alerts.config import AlertsConfig
from alerts.dispatch import Dispatcher
from alerts.engine import Engine
from alerts.lease import Voice
from alerts.pair import Pair


class AlertView:
    """See `alerts.sinks.prometheus.AlertSource`. `pair` is there where accounts are shared with another monitor."""

    def __init__(self, dispatcher: Dispatcher, engine: Engine, config: AlertsConfig) -> None:
        self._dispatcher = dispatcher
        self._engine = engine
        self.pair: Pair | None = None
        self.config = config

    def firing(self) -> Sequence[Alert]:
        """The alerts that fire now, also those about which another monitor speaks."""
        return self._engine.firing()

    def pending(self) -> Mapping[str, int]:
        """Messages that a sink does not have yet, by sink."""
        return self._dispatcher.pending()

    def voices(self) -> Mapping[tuple[str, str], bool]:
        """Where accounts are shared with another monitor: (venue, account) to whether this one speaks for it."""
        return (
            {} if self.pair is None else {key: voice is not Voice.FOLLOWS for key, voice in self.pair.voices().items()}
        )

    def working(self) -> Mapping[str, bool]:
        """Whether a sink, one of its destinations or the state file takes what it is given."""
        return {sink.sink: sink.failing_since is None for sink in self._dispatcher.health()}

    def silences(self) -> Sequence[Silence]:
        """The silences in force."""
        return self._engine.silences()

    def rungs(self) -> Mapping[tuple[str, str], float]:
        """(rule, severity) to threshold."""
        ladders = {"margin_ratio": self.config.margin_ratio, "distance": self.config.distance}
        rungs = {(name, severity.label): rung for name, ladder in ladders.items() for severity, rung in ladder.rungs()}
        return rungs | {("model_error", Severity.WARNING.label): self.config.model_error.tolerance}
