"""The mathematics of margin, pure."""
