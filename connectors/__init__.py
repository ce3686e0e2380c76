"""Connectors: one folder per venue, bytes in and normalised events out."""
