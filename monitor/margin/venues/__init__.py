"""Margin rules, one module per venue."""
