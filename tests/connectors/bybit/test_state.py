"""Figures that Bybit does not state, and which of two states is the newer."""

from dataclasses import replace
from math import isnan

import pytest

from connectors.bybit.answers import Mode, WalletAnswer
from connectors.bybit.isolated import isolated_wallet
from connectors.bybit.parse import CoinRow, PositionRow, PositionUpdate, Totals, position
from connectors.bybit.state import AccountState, Answers, effective_balance
from monitor.model.instrument import ContractKind, Instrument, Tier
from tests.connectors.bybit.stage import load
from tests.support.stage import START_MS

LONG = position(load("ws_position_long")["data"][0])
CONTRACT = Instrument("SOLUSDT", ContractKind.LINEAR, "USDT", 1.0, (Tier(0.0, None, 0.005, 0.0),), 0.01, 0.000649)


def test_a_rate_above_the_plain_quotient_shows_what_it_leaves_out() -> None:
    """Haircut and order losses are not stated; the rate is cut off, so the balance is at least this low."""
    assert effective_balance(100.0, 50.0, 0.5) == 100.0
    assert effective_balance(100.0, 50.0, 0.6250) == pytest.approx(50 / 0.6251)
    assert effective_balance(11.48691986, 0.26041992, 0.0226) == 11.48691986
    assert effective_balance(100.0, 50.0, None) == 100.0
    assert effective_balance(-1.0, 50.0, 9.0) == -1.0


def isolated(**changes: float | None) -> PositionRow:
    """The help centre's long: 1 BTC at 40,000 with leverage 50."""
    row = replace(
        LONG, size=1.0, entry_price=40_000.0, mark_price=40_000.0, initial_margin=821.56, maintenance_margin=221.56,
        liquidation_price=None,
    )  # fmt: skip
    return replace(row, **changes)


def test_the_wallet_of_an_isolated_position() -> None:
    """The initial margin, unless the liquidation price shows that there is more (3,000 / (1 - fee rate) here)."""
    assert isolated_wallet(isolated(), CONTRACT) == 821.56
    assert isolated_wallet(isolated(liquidation_price=39_396.98), CONTRACT) == 821.56
    more = isolated_wallet(isolated(liquidation_price=36_380.25), CONTRACT)
    assert more == pytest.approx(821.56 + 3000 / (1 - 0.00055), abs=0.01)


def test_an_isolated_wallet_that_nobody_tells_is_unknown() -> None:
    """Not zero, and not a guess."""
    assert isnan(isolated_wallet(isolated(initial_margin=None), CONTRACT))
    assert isnan(isolated_wallet(isolated(initial_margin=None), None))


def test_an_inverse_isolated_wallet() -> None:
    """The help centre's short: 30,000 at 60,000 with leverage 10, liquidated at 66,333.33; its margin told too low."""
    inverse = replace(CONTRACT, kind=ContractKind.INVERSE, tick_size=0.5)
    row = replace(
        LONG, size=-30_000.0, entry_price=60_000.0, mark_price=60_000.0, initial_margin=0.04,
        maintenance_margin=0.0027475, liquidation_price=66_333.33,
    )  # fmt: skip
    assert isolated_wallet(row, inverse) == pytest.approx(0.0502475, abs=1e-7)


def answers(*rows: PositionRow, sent_ms: int = START_MS + 60_000) -> Answers:
    """A snapshot with these positions."""
    return Answers(sent_ms, Mode.CROSS, rows, WalletAnswer(Totals(None, None, None), ()), {}, {})


def test_a_newer_sequence_wins_over_an_answer_that_lags() -> None:
    """Bybit says that its reads lag when markets are wild; an old event does not win for ever."""
    state = AccountState()
    state.absorb(answers(LONG, sent_ms=START_MS))
    closed = replace(LONG, size=0.0, seq=LONG.seq + 1)
    state.move(PositionUpdate(START_MS + 59_500, (closed,)))
    assert state.absorb(answers(LONG)) == []
    assert state.rows == {}
    assert state.absorb(answers(LONG, sent_ms=START_MS + 120_000)) == [("SOLUSDT", LONG.slot)]


def test_a_position_that_is_no_longer_listed_is_closed() -> None:
    """By settle coin only open positions are listed."""
    state = AccountState()
    state.absorb(answers(LONG, sent_ms=START_MS))
    assert state.absorb(answers()) == [("SOLUSDT", LONG.slot)]


def test_a_report_is_true_at_the_marks_of_the_positions() -> None:
    """The wallet's answer was made at another mark: its profit and maintenance are moved to that of the positions."""
    state = AccountState(instruments={"SOLUSDT": CONTRACT})
    row = replace(LONG, unrealized_pnl=0.5, maintenance_margin=0.30)
    dollars = CoinRow("USDT", 11.0, 11.4, 11.4, True, unrealized_pnl=0.4, maintenance_margin=0.26)
    taken = replace(answers(row), wallet=WalletAnswer(Totals(11.4, 0.26, 0.0228), (dollars,)))
    state.absorb(taken)
    (report,) = state.reports(taken)
    assert (report.margin_balance, report.maintenance_margin) == pytest.approx((11.5, 0.30))
    # So much is no matter of marks: there are options in this coin.
    strange = replace(dollars, unrealized_pnl=9.0)
    taken = replace(taken, wallet=WalletAnswer(Totals(11.4, 0.26, 0.0228), (strange,)))
    assert state.reports(taken)[0].margin_balance == pytest.approx(11.4)


def test_an_inverse_contract_tells_the_price_of_its_coin() -> None:
    """Where the account holds nothing of it and no index is known yet."""
    inverse = replace(CONTRACT, symbol="BTCUSD", kind=ContractKind.INVERSE, margin_coin="BTC")
    state = AccountState(instruments={"BTCUSD": inverse})
    state.move(PositionUpdate(START_MS, (replace(LONG, symbol="BTCUSD", mark_price=75_000.0),)))
    assert [(wallet.coin, wallet.balance, wallet.price) for wallet in state.empty_wallets()] == [("BTC", 0.0, 75_000.0)]
