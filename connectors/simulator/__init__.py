"""Venues on loopback that speak the protocols of Binance, OKX, Bybit and Hyperliquid, for the demo and for the tests.

Run them with ``python -m connectors.simulator``. It is a separate process with books, margin arithmetic and a
liquidation engine of its own (written from the venues' documents and sharing nothing with `monitor.margin`), so that it
can contradict the monitor. The exchange proper is Binance, USD-M and COIN-M; it has the price path and computes in
`decimal.Decimal`. The other venues follow its prices, with one account each.

From the inside out::

    wire, contracts, account        numbers as the venue prints them; contracts and brackets; what an account holds
    engine, liquidator, actions     pools and liquidation prices; who is liquidated; what can happen to an account
    answers, events                 bodies of REST answers; frames of the two streams
    prices, scenario, scenarios/    price paths; a whole stage from TOML or from code; the built-in ones
    exchange                        all of the above as one object without I/O
    signing, faults                 keys and signatures; what goes wrong on request
    rest, streams, control          the exchange's sockets
    venue, okx, bybit, hyperliquid  what the other venues have in common; each of them
    server                          everything that a scenario needs, and the player of its prices
"""
