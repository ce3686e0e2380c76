"""What Binance's kinds of futures have in common: no venue of its own, but what its venues are made of.

A venue adds its `Product`: addresses, questions, and how their answers are read.
"""
