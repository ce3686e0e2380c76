"""The board: one live page that the daemon serves from its own files, and the stream of events behind it."""
