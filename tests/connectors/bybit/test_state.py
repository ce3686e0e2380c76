"""Figures that Bybit does not state, and which of two states is the newer."""

from dataclasses import replace
from math import isnan
from typing import Any

import pytest

from connectors.bybit.answers import Mode, WalletAnswer
from connectors.bybit.isolated import isolated_wallet
from connectors.bybit.parse import CoinRow, PositionRow, PositionUpdate, Totals, WalletUpdate, position
from connectors.bybit.state import AccountState, Answers, effective_balance
from monitor.model.account import MarginMode
from monitor.model.events import PoolReport
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier
from tests.connectors.bybit.stage import load
from tests.support.stage import START_MS

LONG = position(load("ws_position_long")["data"][0])
CONTRACT = Instrument("SOLUSDT", ContractKind.LINEAR, "USDT", 1.0, (Tier(0.0, None, 0.005, 0.0),), 0.01, 0.000649)
INVERSE = replace(CONTRACT, symbol="BTCUSD", kind=ContractKind.INVERSE, margin_coin="BTC")
INVERSE_ROW = replace(LONG, symbol="BTCUSD", size=30_000.0, mark_price=75_000.0, unrealized_pnl=-0.01)


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


# The wallet's answer is of a mark 0.2 % below that of the positions': profit was 0.1 less, and maintenance 0.0002.
ROW = replace(LONG, unrealized_pnl=0.5, maintenance_margin=0.2602)
DOLLARS_HELD = CoinRow("USDT", 11.0, 11.4, 11.4, True, unrealized_pnl=0.4, maintenance_margin=0.26, owed=0.0)
TOTALS = Totals(11.4, 0.26, 0.0228, 0.4)


def reported(
    *rows: PositionRow, totals: Totals = TOTALS, coins: tuple[CoinRow, ...] = (DOLLARS_HELD,), **changes: Any
) -> tuple[PoolReport, ...]:
    """What is made of answers of an account with these rows (one by default), of which the contracts are known."""
    taken = replace(answers(*rows or (ROW,)), wallet=WalletAnswer(totals, coins), **changes)
    state = AccountState(instruments={"SOLUSDT": CONTRACT, "BTCUSD": INVERSE})
    state.absorb(taken)
    return state.reports(taken)


def figures(*reports: PoolReport) -> tuple[float, float]:
    """Margin balance and maintenance of the one pool."""
    (report,) = reports
    return report.margin_balance, report.maintenance_margin


def test_a_report_is_true_at_the_marks_of_the_positions() -> None:
    """The wallet's answer was made at another mark: its profit and maintenance are moved to that of the positions."""
    assert figures(*reported()) == pytest.approx((11.5, 0.2602))


def test_a_difference_that_marks_do_not_explain_is_none_of_theirs() -> None:
    """More than a per cent of the value in profit, or of the maintenance itself: the venue's figures stand."""
    assert figures(*reported(totals=replace(TOTALS, perp_pnl=9.0)))[0] == pytest.approx(11.4)
    assert figures(*reported(totals=replace(TOTALS, perp_pnl=None)))[0] == pytest.approx(11.4)
    assert figures(*reported(replace(ROW, maintenance_margin=0.2627)))[1] == pytest.approx(0.26)
    assert figures(*reported(replace(ROW, maintenance_margin=0.2573)))[1] == pytest.approx(0.26)


def test_maintenance_of_options_stays_in_the_report() -> None:
    """However little it is beside the value of the positions, which is 46.6 here."""
    more = replace(DOLLARS_HELD, maintenance_margin=0.46)
    balance, maintenance = figures(*reported(totals=replace(TOTALS, maintenance_margin=0.46), coins=(more,)))
    assert (balance, maintenance) == pytest.approx((11.5, 0.46))


def test_a_loss_of_options_stays_in_the_report() -> None:
    """A coin's profit may have it, ``totalPerpUPL`` has not: the difference between the two is not the marks'."""
    less = replace(DOLLARS_HELD, unrealized_pnl=0.1)
    assert figures(*reported(totals=replace(TOTALS, margin_balance=11.1), coins=(less,)))[0] == pytest.approx(11.2)


@pytest.mark.parametrize("hidden", [{"maintenance_margin": 0.2}, {"unrealized_pnl": -0.1}])
@pytest.mark.parametrize(("row_pnl", "balance"), [(0.5, 11.4), (0.3, 11.3)], ids=["for the better", "for the worse"])
def test_a_coin_with_margin_and_no_position_makes_corrections_frighten_only(
    hidden: dict[str, float], row_pnl: float, balance: float
) -> None:
    """Its positions may be where nobody looks, and the profit that is missing theirs."""
    other = CoinRow("EURC", 0.0, None, None, True, owed=0.0, **hidden)
    told = reported(replace(ROW, unrealized_pnl=row_pnl), coins=(DOLLARS_HELD, other))
    assert figures(*told)[0] == pytest.approx(balance)


def test_nothing_is_corrected_while_a_contract_is_not_described() -> None:
    """Its margin coin is not known, so its share of no difference is."""
    told = reported(ROW, replace(ROW, symbol="NEWUSDT", unrealized_pnl=-0.1, maintenance_margin=0.0))
    assert figures(*told) == (11.4, 0.26)


def test_what_bybit_takes_off_for_a_hedge_stays_off_the_report() -> None:
    """The model counts both sides; how much less Bybit asks for is the difference that is to be seen."""
    sides = replace(ROW, slot=Slot.LONG), replace(ROW, slot=Slot.SHORT, size=-0.2, unrealized_pnl=-0.1)
    hedged = replace(DOLLARS_HELD, maintenance_margin=0.30)
    told = reported(*sides, totals=replace(TOTALS, maintenance_margin=0.30), coins=(hedged,))
    assert figures(*told) == pytest.approx((11.4, 0.30))


def wallet_event(balance: float, at_ms: int, owed: float | None = 0.0) -> WalletUpdate:
    """The coin's new balance, less what is owed."""
    return WalletUpdate(at_ms, None, (replace(DOLLARS_HELD, balance=balance, owed=owed),))


@pytest.mark.parametrize(
    ("event", "agrees"),
    [
        (PositionUpdate(START_MS + 59_500, (ROW,)), True),
        (PositionUpdate(START_MS + 59_500, (replace(ROW, size=0.4, seq=ROW.seq + 1),)), False),
        (PositionUpdate(START_MS + 59_500, (replace(ROW, symbol="ETHUSDT"),)), False),
        (wallet_event(11.0, START_MS + 59_500), True),
        (wallet_event(10.9, START_MS + 59_500), False),
        (wallet_event(10.0, START_MS + 59_500, owed=1.0), False),
        (wallet_event(11.0, START_MS + 59_500, owed=None), True),
        (wallet_event(10.9, START_MS + 50_000), True),
    ],
    ids=["same", "size", "another position", "same balance", "balance", "debt", "debt not told", "long ago"],
)
def test_a_report_is_taken_when_the_answers_tell_what_is_held(
    event: PositionUpdate | WalletUpdate, agrees: bool
) -> None:
    """An event shortly before them is no reason against it; that they do not know it yet is one."""
    state = AccountState(instruments={"SOLUSDT": CONTRACT})
    taken = replace(answers(ROW), wallet=WalletAnswer(TOTALS, (DOLLARS_HELD,)))
    state.absorb(replace(taken, sent_ms=START_MS))
    state.move(event) if isinstance(event, PositionUpdate) else state.pay(event)
    state.absorb(taken)
    assert state.agrees(taken) is agrees
    assert bool(state.reports(taken)) is agrees


def test_a_coin_that_one_answer_lacks_must_be_empty() -> None:
    """Coins of which nothing is held are left out of answers; one of which an event just told is held all the same."""
    state = AccountState(instruments={"SOLUSDT": CONTRACT})
    taken = replace(answers(ROW), wallet=WalletAnswer(TOTALS, (DOLLARS_HELD,)))
    state.absorb(replace(taken, sent_ms=START_MS))
    for balance in (0.0, 5.0):
        row = replace(DOLLARS_HELD, coin="USDC", balance=balance)
        state.pay(WalletUpdate(START_MS + 59_500, None, (row,)))
        state.absorb(taken)
        assert state.agrees(taken) is (balance == 0.0)
        assert state.wallets["USDC"].balance == balance
    state.absorb(replace(taken, sent_ms=START_MS + 120_000))
    assert state.wallets.keys() == {"USDT"}


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        (Totals(11.4, 0.26, 0.0228, 0.4), (11.4, 0.26)),
        (Totals(None, 0.26, 0.0228, 0.4), (None, 0.26)),
        (Totals(11.4, None, 0.0228, 0.4), (11.4, None)),
        (Totals(None, None, None, None), (None, None)),
    ],
)
def test_under_portfolio_margin_there_is_always_a_report(
    totals: Totals, told: tuple[float | None, float | None]
) -> None:
    """A figure that Bybit leaves empty is not known any more, whatever it was before."""
    row = replace(ROW, unrealized_pnl=0.4, maintenance_margin=None)
    found = figures(*reported(row, totals=totals, mode=Mode.PORTFOLIO))
    assert [None if isnan(figure) else figure for figure in found] == [*told]
    assert bool(reported(row, totals=totals)) is (None not in told)


def test_under_portfolio_margin_a_report_is_taken_that_does_not_know_the_last_event() -> None:
    """The requirement of before is no better. Nothing is corrected then."""
    state = AccountState(instruments={"SOLUSDT": CONTRACT})
    taken = replace(answers(ROW), wallet=WalletAnswer(TOTALS, (DOLLARS_HELD,)), mode=Mode.PORTFOLIO)
    state.absorb(replace(taken, sent_ms=START_MS))
    state.move(PositionUpdate(START_MS + 59_500, (replace(ROW, size=0.4, seq=ROW.seq + 1),)))
    state.absorb(taken)
    assert figures(*state.reports(taken)) == (11.4, 0.26)


def test_a_row_is_the_report_of_an_isolated_position() -> None:
    """One row tells all of it, whether an answer or an event has it; nothing else has to agree."""
    row = isolated(unrealized_pnl=-100.0)
    state = AccountState(Mode.ISOLATED, instruments={"SOLUSDT": CONTRACT})
    taken = replace(answers(row), mode=Mode.ISOLATED)
    state.absorb(replace(taken, sent_ms=START_MS))
    news = replace(row, size=2.0, initial_margin=1643.12, maintenance_margin=443.12, seq=row.seq + 1)
    state.move(PositionUpdate(START_MS + 59_500, (news,)))
    state.absorb(taken)
    assert figures(*state.reports(taken)) == (1543.12, 443.12)


@pytest.mark.parametrize("mode", [Mode.CROSS, Mode.ISOLATED, Mode.PORTFOLIO])
def test_inverse_contracts_that_are_held_apart_are_unknown(mode: Mode) -> None:
    """Unified account 1.0 has another account for them: the collateral here is not theirs."""
    state = AccountState(instruments={"SOLUSDT": CONTRACT, "BTCUSD": INVERSE})
    taken = replace(
        answers(ROW, INVERSE_ROW), wallet=WalletAnswer(TOTALS, (DOLLARS_HELD,)), mode=mode, inverse_apart=True
    )
    state.absorb(taken)
    assert state.apart() == {"BTCUSD"}
    (apart,) = (held for held in state.positions() if held.instrument == "BTCUSD")
    assert (apart.margin_mode, isnan(apart.isolated_wallet)) == (MarginMode.ISOLATED, True)
    assert [dict(report.marks).keys() for report in state.reports(taken)] == [{"SOLUSDT"}]
    state.absorb(replace(taken, inverse_apart=False))
    assert state.apart() == frozenset()


def test_an_inverse_contract_tells_the_price_of_its_coin() -> None:
    """Where the account holds nothing of it and no index is known yet."""
    state = AccountState(instruments={"BTCUSD": INVERSE})
    state.move(PositionUpdate(START_MS, (replace(LONG, symbol="BTCUSD", mark_price=75_000.0),)))
    assert [(wallet.coin, wallet.balance, wallet.price) for wallet in state.empty_wallets()] == [("BTC", 0.0, 75_000.0)]
