"""A venue on loopback that speaks Binance USD-M's protocol, for the demo and for the tests.

Run it with ``python -m connectors.simulator``. It is a separate process with books, margin arithmetic and a liquidation
engine of its own (`decimal.Decimal`, written from the venue's documents and sharing nothing with `monitor.margin`),
so that it can contradict the monitor.

From the inside out::

    wire, contracts, account        numbers as the venue prints them; contracts and brackets; what an account holds
    engine, liquidator, actions     pools and liquidation prices; who is liquidated; what can happen to an account
    answers, events                 bodies of REST answers; frames of the two streams
    prices, scenario                price paths; a whole stage from TOML or from code
    exchange                        all of the above as one object without I/O
    signing, faults                 keys and signatures; what goes wrong on request
    rest, streams, control, server  the sockets
"""
