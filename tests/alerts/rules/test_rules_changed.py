"""A change of the venue's rules, as a severity and as a sentence."""

from dataclasses import replace

import pytest

from alerts.alert import Reason, Severity
from alerts.rules.rules_changed import RulesChangedConfig, describe, judge
from monitor.model.ids import Side
from monitor.model.rulechange import MovedPrice, RuleChange, RuleInput, RulesChanged
from tests.support.pools import a_pool

CONFIG = RulesChangedConfig()
BTC = MovedPrice("BTCUSDT", Side.LONG, 60_810.2, 62_150.5, 0.0876, 0.0675)
ETH = MovedPrice("ETHUSDT", Side.LONG, 2_100.0, 2_150.0, 0.30, 0.28)
RATE = RuleChange("BTCUSDT", RuleInput.MAINTENANCE_RATE, 0.005, 0.01)
CHANGE = RulesChanged(a_pool(0.1), (BTC,), (RATE,))


def text_of(change: RulesChanged) -> str:
    """What a phone shows."""
    return describe(change, judge(change, CONFIG)).text


@pytest.mark.parametrize(
    ("moved", "severity"),
    [
        pytest.param(BTC, Severity.WARNING, id="nearer to the mark"),
        pytest.param(replace(BTC, distance_before=0.05), Severity.NOTICE, id="farther from the mark"),
        pytest.param(replace(BTC, distance=0.025), Severity.CRITICAL, id="as near as critical"),
        pytest.param(replace(BTC, distance=-0.001), Severity.CRITICAL, id="passed"),
        pytest.param(replace(BTC, distance_before=0.01, distance=0.02), Severity.NOTICE, id="near, but farther"),
        pytest.param(replace(BTC, before=None, distance_before=None), Severity.WARNING, id="where there was none"),
        pytest.param(replace(BTC, after=None, distance=None), Severity.NOTICE, id="there is none any more"),
    ],
)
def test_severity_goes_by_the_way_the_price_moved(moved: MovedPrice, severity: Severity) -> None:
    """Value and threshold of the message are the price after and the price before."""
    verdict = judge(replace(CHANGE, moved=(moved,)), CONFIG)
    assert (verdict.demands, verdict.holds, verdict.reason) == (severity, severity, Reason.RULES_CHANGED)
    assert (verdict.value, verdict.threshold) == (moved.after, moved.before)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(
            CHANGE,
            "62,150.5 liquidation price, was 60,810.2 · BTCUSDT long · binance/main/USDT"
            " · maintenance rate 0.5 % -> 1 %",
            id="one position",
        ),
        pytest.param(
            replace(CHANGE, moved=(BTC, ETH)),
            "62,150.5 liquidation price, was 60,810.2 · BTCUSDT long · binance/main/USDT"
            " · also ETHUSDT long 2,150 (was 2,100) · maintenance rate 0.5 % -> 1 %",
            id="two positions",
        ),
        pytest.param(
            replace(CHANGE, moved=(BTC, *(replace(ETH, instrument=f"S{k}") for k in range(5))), changes=()),
            "62,150.5 liquidation price, was 60,810.2 · BTCUSDT long · binance/main/USDT"
            " · also S0 long 2,150 (was 2,100), S1 long 2,150 (was 2,100), S2 long 2,150 (was 2,100) and 2 more",
            id="many positions fit on a phone",
        ),
        pytest.param(
            replace(CHANGE, moved=(replace(BTC, before=None, distance_before=None),), changes=()),
            "62,150.5 liquidation price, was none · BTCUSDT long · binance/main/USDT",
            id="where there was none",
        ),
        pytest.param(
            replace(CHANGE, moved=(replace(BTC, after=None, distance=None),), changes=()),
            "no liquidation price, was 60,810.2 · BTCUSDT long · binance/main/USDT",
            id="there is none any more",
        ),
        pytest.param(
            replace(
                CHANGE,
                changes=(
                    RuleChange("BTCUSDT", RuleInput.TIERS, None, None),
                    RuleChange("BTCUSDT", RuleInput.TAKER_FEE_RATE, None, 0.00055),
                    RuleChange("ETHUSDT", RuleInput.MULTIPLIER, 1.0, 10.0),
                    RuleChange("BTC", RuleInput.HAIRCUT, 0.05, 0.075),
                    RuleChange("BTCUSDT", RuleInput.TICK_SIZE, 0.1, 0.5),
                ),
            ),
            "62,150.5 liquidation price, was 60,810.2 · BTCUSDT long · binance/main/USDT · another tier table,"
            " taker fee unknown -> 0.055 %, ETHUSDT contract multiplier 1 -> 10, BTC haircut 5 % -> 7.5 % and 1 more",
            id="every kind of rule",
        ),
    ],
)
def test_the_number_is_first_and_the_cause_last(change: RulesChanged, text: str) -> None:
    """One line that can be read without knowing what was on the screen before."""
    assert text_of(change) == text


def test_only_what_is_worse_asks_for_something() -> None:
    """The advice says whose doing it was, and the way out where the ratio asks for one."""
    near = replace(CHANGE, pool=a_pool(0.6))
    assert "Add at least 123.456 USDT of margin" in describe(near, judge(near, CONFIG)).advice
    assert describe(CHANGE, judge(CHANGE, CONFIG)).advice.endswith("has changed.")
    better = replace(CHANGE, moved=(replace(BTC, distance_before=0.05),))
    assert describe(better, judge(better, CONFIG)).advice == ""
