"""Scenarios from TOML, and the built-in ones."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.simulator.engine import pools
from connectors.simulator.exchange import Exchange
from connectors.simulator.scenario import BUILT_IN, Scenario, ScenarioFault, by_name, load
from connectors.simulator.server import Simulator
from monitor.clock import ManualClock

TOML = """
name = "two accounts"
tick_s = 0.5
start = "manual"

[marks]
BTCUSDT = "60000"
DOGEUSDT = 0.1

[path]
weights = { DOGEUSDT = 2.0 }

[[path.segments]]
duration_s = 10
move = -0.1
noise = 0.001

[venue]
listen_key_life_s = 60

[[accounts]]
name = "one"
hedge = true
wallets = { USDT = "1000" }

[[accounts.positions]]
symbol = "BTCUSDT"
position_side = "LONG"
size = "0.1"
isolated_wallet = "600"

[[accounts]]
name = "two"
"""


def test_toml_is_read_whole() -> None:
    """Accounts, positions, marks, path and the venue's settings; numbers may be text."""
    scenario = load(TOML, "two.toml")
    exchange = Exchange(scenario, 1, ManualClock())
    assert scenario.duration_s() == 10.0
    assert scenario.venue.listen_key_life_s == 60
    assert exchange.market.marks["DOGEUSDT"] == Decimal("0.1")
    [holding] = exchange.account("one").open_holdings()
    assert (holding.amount, holding.entry_price, holding.isolated_wallet) == (Decimal("0.1"), 60000, 600)
    assert exchange.account("two").api_key != exchange.account("one").api_key


def test_every_fault_is_said_with_its_key() -> None:
    """All at once: an unknown key, a wrong type, a value out of range."""
    wrong = TOML.replace("tick_s = 0.5", "tick_s = 0").replace('name = "two"', 'nome = "two"')
    with pytest.raises(ScenarioFault) as fault:
        load(wrong, "two.toml")
    lines = str(fault.value).splitlines()
    assert {line.split(": ")[1] for line in lines} == {"tick_s", "accounts.1.name", "accounts.1.nome"}
    assert all(line.startswith("two.toml: ") for line in lines)


def test_text_that_is_no_toml_is_said() -> None:
    """With the line that the parser names."""
    with pytest.raises(ScenarioFault, match=r"two\.toml: .*line 1"):
        load("= 1", "two.toml")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('size = "0.1"', 'size = "-0.1"'), "account one: .*LONG position"),
        (('name = "two"', 'name = "one"'), "same name"),
        (("DOGEUSDT = 0.1\n", "DOGEUSDT = 0\n"), "marks.DOGEUSDT"),
        (("DOGEUSDT = 0.1\n", "DOGEEUR = 0.1\n"), "DOGEEUR"),
        (('USDT = "1000"', 'EUR = "1000"'), "EUR is not a margin asset"),
    ],
)
def test_what_the_venue_could_not_hold_is_said(change: tuple[str, str], problem: str) -> None:
    """Positions, names, marks and assets that cannot be."""
    with pytest.raises(ScenarioFault, match=problem):
        Exchange(load(TOML.replace(*change), "two.toml"), 1, ManualClock())


def test_names_are_built_in_or_files(tmp_path: Path) -> None:
    """A file in TOML or JSON, or a name that is known; else both are said."""
    (tmp_path / "a.toml").write_text(TOML, encoding="utf-8")
    (tmp_path / "a.json").write_text(load(TOML, "").model_dump_json(), encoding="utf-8")
    assert by_name(str(tmp_path / "a.toml")) == by_name(str(tmp_path / "a.json"))
    assert by_name("demo") is BUILT_IN["demo"]
    with pytest.raises(ScenarioFault, match="neither a built-in scenario"):
        by_name("nothing")
    (tmp_path / "b.json").write_text("{]", encoding="utf-8")
    with pytest.raises(ScenarioFault, match=r"b\.json"):
        by_name(str(tmp_path / "b.json"))


def played(scenario: Scenario, seed: int) -> Exchange:
    """A scenario played to its end, without waiting."""
    clock = ManualClock()
    exchange = Exchange(scenario, seed, clock)
    while exchange.step():
        clock.advance(scenario.tick_s)
    return exchange


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_the_demo_passes_every_rung_before_the_end(seed: int) -> None:
    """The isolated long passes each rung several ticks before the next, and only it is liquidated."""
    exchange = played(BUILT_IN["demo"], seed)
    [liquidation] = exchange.liquidations
    assert liquidation.scope == "SOLUSDT:long"
    rungs = [rung["step"] for rung in exchange.peaks[("demo", "SOLUSDT:long")].rungs.values()]
    steps = [*rungs, liquidation.step]
    assert len(rungs) == 4
    assert all(later - earlier >= 3 for earlier, later in pairwise(steps))


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_the_demo_worries_about_the_pair_only(seed: int) -> None:
    """The cross pair becomes critical and lives; the USDC pool is never in danger."""
    exchange = played(BUILT_IN["demo"], seed)
    assert Decimal("0.85") <= exchange.peaks[("demo", "USDT")].ratio < Decimal("0.95")
    assert exchange.peaks[("demo", "USDC")].ratio < Decimal("0.05")
    kinds = {(entry["kind"], entry.get("scope")) for entry in exchange.log}
    assert {("margin_call", "USDT"), ("margin_call", "SOLUSDT:long")} <= kinds


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_at_all_venues_every_rung_is_passed_before_the_end(seed: int) -> None:
    """By each venue's own figures: one pool of each account ends, several ticks after each of its four rungs."""
    simulator = Simulator(BUILT_IN["all-venues"], seed, clock=ManualClock())
    exchange = simulator.exchange
    passed: dict[tuple[str, str], dict[float, int]] = {}
    while exchange.step():
        seen = [(f.account, risk.scope, risk.ratio) for f in simulator.followers for risk in f.risks()]
        for account in exchange.accounts.values():
            seen += [(account.name, pool.scope, float(pool.ratio)) for pool in pools(account, exchange.market)]
        for name, scope, ratio in seen:
            for rung in (0.5, 0.7, 0.85, 0.95):
                if ratio >= rung:
                    passed.setdefault((name, scope), {}).setdefault(rung, exchange.step_number)
    ends = {(each.account, each.scope): each.step for each in exchange.liquidations}
    assert {name for name, _ in ends} == {spec.name for spec in BUILT_IN["all-venues"].accounts}
    assert len(ends) == 5
    assert set(passed) == set(ends)  # what is not liquidated is never in danger
    for pool, end in ends.items():
        steps = [*passed[pool].values(), end]
        assert len(steps) == 5, pool
        assert all(later - earlier >= 3 for earlier, later in pairwise(steps)), (pool, steps)


def test_what_only_binance_has_here_is_refused_elsewhere() -> None:
    """Hedge mode, position sides and permissions."""
    for more in ("hedge = true", "permissions = { enableReading = true }"):
        with pytest.raises(ScenarioFault, match="cannot be set at okx"):
            load(f'[[accounts]]\nname = "a"\nvenue = "okx"\n{more}\n', "one.toml")


@pytest.mark.parametrize("name", ["demo", "all-venues"])
def test_a_demo_takes_about_fifty_seconds(name: str) -> None:
    """Its path, without start and end."""
    duration = BUILT_IN[name].duration_s()
    assert duration is not None
    assert 45 <= duration <= 55


def test_a_seed_decides_everything() -> None:
    """Marks, keys and liquidations are the same again."""
    one, two = (played(BUILT_IN["demo"], 7) for _ in range(2))
    assert one.market.marks == two.market.marks
    assert one.account("demo").api_secret == two.account("demo").api_secret
    assert [each.to_json() for each in one.liquidations] == [each.to_json() for each in two.liquidations]
