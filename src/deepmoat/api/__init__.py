"""The HTTP API: one file a noun; ``server.build`` puts them together."""
