"""enforce."""
