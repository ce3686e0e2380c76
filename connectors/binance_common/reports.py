"""What Binance says about each pool, taken where its answers tell the sizes and wallets that are held. Pure.

Where they tell others, an event is newer than the answers, or something moved between two of them, and a comparison
with the model would show a difference that is not there. It is the contents that are compared and not whether an event
came: of an account that trades each second one always has.
"""

from collections.abc import Iterable, Mapping, Sequence

from connectors.binance_common.answers import AssetRow, HoldingRow
from connectors.binance_common.parse import INDEX_PREFIX
from connectors.binance_common.state import AccountState, Answers, Key, balance_of, same_amount
from monitor.model.account import AccountMode, MarginMode, Position
from monitor.model.events import PoolReport
from monitor.model.ids import MULTI_SCOPE, isolated_scope, side_of
from monitor.model.instrument import Instrument

Holdings = Mapping[Key, HoldingRow]


def pool_reports(
    state: AccountState, answers: Answers, instruments: Mapping[str, Instrument]
) -> tuple[PoolReport, ...]:
    """The reports of an account on which these answers have been laid.

    Under portfolio margin there is nothing else to go by, so that the venue's word stands whatever moved meanwhile.
    """
    if not state.positions:
        return ()
    if state.account_mode is AccountMode.PORTFOLIO:
        return (_whole_report(state, answers),)
    told = {(row.symbol, row.slot): row for row in answers.account.holdings}
    if state.account_mode is AccountMode.MULTI_ASSET:
        return (_whole_report(state, answers),) if _all_agree(state, answers, told) else ()
    return (*_isolated_reports(state, told), *_cross_reports(state, answers, told, instruments))


def _all_agree(state: AccountState, answers: Answers, told: Holdings) -> bool:
    listed = {row.coin: row.cross_wallet for row in answers.account.assets}
    return (
        told.keys() == state.positions.keys()
        and all(_is_held(row, state.positions[key]) for key, row in told.items())
        and all(
            same_amount(listed.get(coin, 0.0), balance_of(state.wallets.get(coin)))
            for coin in listed.keys() | state.wallets.keys()
        )
    )


def _whole_report(state: AccountState, answers: Answers) -> PoolReport:
    """Of the account as one pool."""
    wanted = state.needs()
    indexes = ((f"{INDEX_PREFIX}{name}", index.index) for name, index in answers.indexes.items())
    return PoolReport(
        MULTI_SCOPE,
        answers.account.total_margin_balance,
        answers.account.total_maintenance_margin,
        answers.uni_mmr,
        _marks(answers.account.holdings) + tuple(mark for mark in indexes if mark[0] in wanted),
    )


def _isolated_reports(state: AccountState, told: Holdings) -> list[PoolReport]:
    """Isolated: balance = isolated wallet + unrealized PnL."""
    return [
        PoolReport(
            isolated_scope(row.symbol, side_of(row.size)),
            row.isolated_wallet + row.unrealized_pnl,
            row.maintenance_margin,
            None,
            _marks([row]),
        )
        for key, row in told.items()
        if _margin_mode(state, key) is MarginMode.ISOLATED and _is_held(row, state.positions.get(key))
    ]


def _cross_reports(
    state: AccountState, answers: Answers, told: Holdings, instruments: Mapping[str, Instrument]
) -> list[PoolReport]:
    """Cross, per margin coin: what is held and what the answers tell must be the same, wallet and every position.

    None while a contract is not described, because nobody knows which coin's figures its position is in.
    """
    by_coin: dict[str, list[Key]] = {}
    for key in (*told, *(state.positions.keys() - told.keys())):
        if _margin_mode(state, key) is MarginMode.CROSS:
            if key[0] not in instruments:
                return []
            by_coin.setdefault(instruments[key[0]].margin_coin, []).append(key)
    return [
        _cross_report(asset, [told[key] for key in by_coin[asset.coin]])
        for asset in answers.account.assets
        if asset.coin in by_coin
        and same_amount(asset.cross_wallet, balance_of(state.wallets.get(asset.coin)))
        and all(key in told and _is_held(told[key], state.positions.get(key)) for key in by_coin[asset.coin])
    ]


def _cross_report(asset: AssetRow, rows: Sequence[HoldingRow]) -> PoolReport:
    """Balance = cross wallet + cross unrealized PnL, maintenance = sum over the positions."""
    return PoolReport(
        asset.coin,
        asset.cross_wallet + asset.cross_pnl,
        sum(row.maintenance_margin for row in rows),
        None,
        _marks(rows),
    )


def _margin_mode(state: AccountState, key: Key) -> MarginMode:
    """Of a position as it is held, else as its contract is configured."""
    if (held := state.positions.get(key)) is not None:
        return held.margin_mode
    config = state.configs.get(key[0])
    return MarginMode.CROSS if config is None else config.margin_mode


def _is_held(row: HoldingRow, held: Position | None) -> bool:
    """Whether a position stands in the account's answer as it is held.

    An answer without a mark prices its position at zero, and its pool with it.
    """
    return (
        held is not None
        and row.mark_price > 0.0
        and same_amount(row.size, held.size)
        and (held.margin_mode is MarginMode.CROSS or same_amount(row.isolated_wallet, held.isolated_wallet))
    )


def _marks(holdings: Iterable[HoldingRow]) -> tuple[tuple[str, float], ...]:
    """The marks behind an answer, as far as it tells them."""
    return tuple({row.symbol: row.mark_price for row in holdings if row.mark_price > 0.0}.items())
