"""The venue without sockets: what is told to whom, and in which order."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.simulator import actions
from connectors.simulator.account import Refusal
from connectors.simulator.exchange import Exchange
from connectors.simulator.prices import PathFault
from connectors.simulator.scenario import AccountSpec, PathSpec, PositionSpec, Scenario, SegmentSpec
from monitor.clock import ManualClock
from tests.connectors.simulator.stage import stage


class Ears:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.frames: list[Any] = []

    def market(self, stream: str, payload: Any) -> None:
        """A market frame."""
        self.heard.append(("market", stream))
        self.frames.append(payload)

    def private(self, account: str, listen_key: str | None, payload: Any) -> None:
        """A user frame."""
        self.heard.append((account, payload["e"]))
        self.frames.append(payload)


def open_exchange(scenario: Scenario | None = None, clock: ManualClock | None = None) -> tuple[Exchange, Ears]:
    """An exchange and its audience."""
    exchange = Exchange(scenario or stage(), 1, clock or ManualClock())
    ears = Ears()
    exchange.audience = ears
    return exchange, ears


def test_marks_are_told_before_what_follows_from_them() -> None:
    """First the prices, then the user stream."""
    long = PositionSpec(symbol="BTCUSDT", size=Decimal(1), isolated_wallet=Decimal(6000))
    exchange, ears = open_exchange(stage(AccountSpec(name="main", positions=(long,))))
    exchange.apply_marks({"BTCUSDT": Decimal(54000)})
    whom = [listener for listener, _ in ears.heard]
    assert whom == sorted(whom, key=lambda listener: listener != "market")
    assert [event for listener, event in ears.heard if listener == "main"] == [
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE",
    ]


def test_event_times_always_rise() -> None:
    """Also within one millisecond."""
    exchange, _ = open_exchange()
    stamps = [exchange.stamp_ms() for _ in range(3)]
    assert stamps == [stamps[0], stamps[0] + 1, stamps[0] + 2]


def test_coin_margined_marks_follow() -> None:
    """A COIN-M row moves with the USDT contract."""
    exchange, _ = open_exchange()
    exchange.apply_marks({"BTCUSDT": Decimal(50000)})
    assert exchange.market.marks["BTCUSD_PERP"] == Decimal(49975)


def test_an_unknown_symbol_joins_the_market() -> None:
    """With the brackets of a thin market; what is no contract is refused."""
    exchange, ears = open_exchange()
    exchange.apply_marks({"DOGEUSDT": Decimal("0.1")})
    assert ("market", "dogeusdt@markPrice@1s") in ears.heard
    with pytest.raises(Refusal, match="DOGEEUR"):
        exchange.apply_marks({"DOGEEUR": Decimal("0.1")})


def test_a_path_ends() -> None:
    """So many steps, then none; the log says when."""
    path = PathSpec(segments=(SegmentSpec(duration_s=3, move=-0.01),))
    exchange, _ = open_exchange(stage().model_copy(update={"path": path}))
    assert [exchange.step() for _ in range(5)] == [True, True, True, False, False]
    assert (exchange.step_number, exchange.path_ended) == (3, True)
    assert [entry["kind"] for entry in exchange.log][-1] == "path_ended"


def test_a_file_says_where_its_symbols_stand(tmp_path: Path) -> None:
    """Its first prices are the marks at which positions are opened, unless the scenario has marks of its own."""
    path = tmp_path / "p.csv"
    rows = "1,SOLUSDT,90,95,85,88\n1,BTCUSDT,50000,50000,50000,50000\n1,DOGEUSDT,1,1,1,1\n"
    path.write_text(f"ts_ms,symbol,open,high,low,close\n{rows}", encoding="utf-8")
    held = PositionSpec(symbol="SOLUSDT", size=Decimal(1))
    scenario = stage(AccountSpec(name="main", positions=(held,))).model_copy(update={"path": PathSpec(file=path)})
    exchange, _ = open_exchange(scenario)
    assert exchange.account("main").open_holdings()[0].entry_price == 90
    assert (exchange.market.marks["BTCUSDT"], exchange.market.marks["DOGEUSDT"]) == (60000, 1)
    assert exchange.step()
    assert exchange.market.marks["BTCUSDT"] == 50000
    path.write_text("ts_ms,symbol,open,high,low,close\n", encoding="utf-8")
    with pytest.raises(PathFault, match="no prices"):
        open_exchange(scenario)


def test_listen_keys_end_in_time() -> None:
    """At the end of their life, with an event for the sockets of that key."""
    clock = ManualClock()
    exchange, ears = open_exchange(stage(listen_key_life_s=60), clock)
    owner = exchange.account("main")
    key = exchange.open_listen_key(owner)
    clock.advance(59)
    exchange.expire_due()
    assert exchange.owner(key) == "main"
    clock.advance(1)
    with pytest.raises(Refusal, match="-1125"):
        exchange.keep_listen_key(owner)
    exchange.expire_due()
    assert exchange.owner(key) is None
    assert ears.heard == [("main", "listenKeyExpired")]
    assert not exchange.expire_listen_key("main")


def test_silent_actions_keep_their_own_frames_back() -> None:
    """What the liquidation engine makes of them is still told."""
    exchange, ears = open_exchange()

    def put(ctx: actions.Context) -> list[Any]:
        return actions.set_position(ctx, symbol="BTCUSDT", size=Decimal(1), isolated_wallet=Decimal(1))

    assert exchange.act("main", "set_position", put, silent=True) == 3
    assert [event for _, event in ears.heard] == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert len(exchange.liquidations) == 1


def test_without_audience_it_still_runs() -> None:
    """The books need no sockets."""
    exchange = Exchange(stage(), 1, ManualClock())
    exchange.apply_marks({"BTCUSDT": Decimal(50000)})
    exchange.set_brackets("BTCUSDT", [("0", "0.01", 10)], "1000")
    exchange.open_listen_key(exchange.account("main"))
    assert exchange.expire_listen_key("main")
    with pytest.raises(Refusal, match="nobody"):
        exchange.account("nobody")
