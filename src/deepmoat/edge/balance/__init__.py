"""Which backend is asked: round robin over those that are healthy."""
