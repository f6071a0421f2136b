"""Where things are kept: ``logs`` (ClickHouse) and ``state`` (SQLAlchemy)."""
