"""The kinds of contracts that an exchange lists, and which of them a question for positions is known to ask for. Pure.

Exchanges keep accounts apart, by margin coin, by product, by subaccount, and what ccxt asks for unless it is told more
is often one part of several. The answer looks the same whether the rest is empty or was not asked for, so what is not
known to be asked for is named, and never passed over as flat.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.ccxt.config import Scalar

Params = Mapping[str, Scalar]

NAMED_MAX = 3
"""So many coins of a kind are named; the rest are counted."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """Contracts of one sort, in ccxt's words: `type` is ``swap`` or ``future``; `form` ``linear``, ``inverse``, ..."""

    type: str
    form: str
    coin: str


@dataclass(frozen=True, slots=True)
class Question:
    """What ccxt is asked with, for positions and for balances. Rows that name another `coin` are another question's."""

    positions: Params = field(default_factory=dict)
    balance: Params = field(default_factory=dict)
    coin: str | None = None

    @staticmethod
    def of(params: Params) -> "Question":
        """The same for both."""
        return Question(params, params)

    def owns(self, row: Mapping[str, Any]) -> bool:
        """Whether a position belongs to this question's answer; one that cannot be read does, to be refused there."""
        info = row.get("info")
        told = info.get("marginCoin") if isinstance(info, dict) else None
        return self.coin is None or not isinstance(told, str) or told.upper() == self.coin.upper()


Asks = Callable[[Params, Kind, Collection[Kind]], bool]
"""Whether a question with these params asks for a kind, one of those that the exchange has."""


def kind_of(market: Mapping[str, Any]) -> Kind | None:
    """The kind of a market; None for one that is neither a swap nor a future."""
    if market.get("type") not in ("swap", "future"):
        return None
    form = "inverse" if market.get("inverse") else "linear" if market.get("linear") else "quanto"
    return Kind(str(market["type"]), form, str(market.get("settle")))


def kinds_of(markets: Iterable[Mapping[str, Any]]) -> frozenset[Kind]:
    """Every kind that is traded."""
    found = (kind_of(market) for market in markets if market.get("active") is not False)
    return frozenset(kind for kind in found if kind is not None)


def everything(params: Params, kind: Kind, kinds: Collection[Kind]) -> bool:
    """Of an exchange where one question is answered with all that is held."""
    return True


def named(params: Params, kind: Kind, kinds: Collection[Kind]) -> bool:
    """Whether the words of a question name a kind, as far as that can be said of any exchange.

    ``type`` and ``subType`` are ccxt's own words, and a question without ``type`` is for swaps (`gateway`). A
    settlement coin is named by being a value of any of the words, as exchanges call it differently. A kind need not be
    named that is the only one left. Inverse contracts need no coin: each is settled in its own.
    """
    form = params.get("subType")
    if params.get("type", "swap") != kind.type or form not in (None, kind.form):
        return False
    coins = {each.coin.upper() for each in kinds} & {str(value).upper() for value in params.values()}
    if coins:
        return kind.coin.upper() in coins
    left = [each for each in kinds if each.type == kind.type and form in (None, each.form)]
    return form == "inverse" or len(left) == 1


def unasked(kinds: Collection[Kind], questions: Iterable[Question], asks: Asks, seen: Collection[Kind]) -> list[Kind]:
    """Kinds that no question is known to ask for, and of which no answer has had a position."""
    asked = list(questions)
    return sorted(k for k in kinds if k not in seen and not any(asks(each.positions, k, kinds) for each in asked))


def in_words(kinds: Iterable[Kind]) -> list[str]:
    """``inverse swaps in BTC, ETH, XRP and 9 more coins``, for each type and form."""
    coins: dict[str, list[str]] = {}
    for kind in kinds:
        coins.setdefault(f"{kind.form} {kind.type}s", []).append(kind.coin)
    return [f"{what} in {_listed(names)}" for what, names in coins.items()]


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    listed = ", ".join(names[:NAMED_MAX])
    return listed if more <= 0 else f"{listed} and {more} more coin{'s' if more > 1 else ''}"
