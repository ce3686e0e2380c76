"""Alerts: rules, lifecycle, outbox, delivery."""
