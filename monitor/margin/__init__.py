"""The mathematics of margin: pure functions from values to values.

One linear form serves every venue. With v(p) = p for linear contracts and -1/p for inverse ones, q the signed quantity
(contracts * multiplier) and notional n = |q| * |v(p)|:

* unrealized PnL = q * (v(p) - v(entry price))                                       (`pnl`)
* maintenance margin = alpha * n + beta, with alpha and beta constant between two notionals   (`risk`, `tiers`)

A venue supplies alpha, beta and the notionals between which they hold (`venues`); nothing else knows a venue.
"""
