"""API keys: their hashes, never themselves."""

import msgspec
from sqlalchemy import Column, Float, String, Table, insert, select, update

from deepmoat.store.state.database import METADATA, State

_keys = Table(
    "api_keys",
    METADATA,
    Column("prefix", String, primary_key=True),
    Column("hash", String, nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("used", Float),
    Column("revoked", Float),
)


class Key(msgspec.Struct, frozen=True):
    """One key. ``hash`` is its SHA-256; times are seconds since 1970, None where it never happened."""

    prefix: str
    hash: str
    name: str
    role: str
    created: float
    created_by: str
    used: float | None = None
    revoked: float | None = None


class Keys:
    """The table of API keys."""

    def __init__(self, state: State) -> None:
        """Create the table where it is missing."""
        self._engine = state.engine
        METADATA.create_all(self._engine, tables=[_keys])

    def add(self, key: Key) -> None:
        """Write a new key."""
        with self._engine.begin() as connection:
            connection.execute(insert(_keys).values(msgspec.structs.asdict(key)))

    def get(self, prefix: str) -> Key | None:
        """The key with this public prefix, revoked or not."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_keys).where(_keys.c.prefix == prefix)).mappings().first()
        return Key(**row) if row else None

    def all(self) -> list[Key]:
        """Every key, the newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_keys).order_by(_keys.c.created.desc())).mappings().all()
        return [Key(**row) for row in rows]

    def touch(self, prefix: str, now: float) -> None:
        """Remember that the key was used."""
        with self._engine.begin() as connection:
            connection.execute(update(_keys).where(_keys.c.prefix == prefix).values(used=now))

    def revoke(self, prefix: str, now: float) -> bool:
        """End the key; False where there is none, or it was revoked before."""
        change = update(_keys).where(_keys.c.prefix == prefix, _keys.c.revoked.is_(None)).values(revoked=now)
        with self._engine.begin() as connection:
            return connection.execute(change).rowcount == 1
