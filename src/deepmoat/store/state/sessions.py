"""Sessions of signed-in users: their hashes, never themselves."""

import msgspec
from sqlalchemy import Column, Float, String, Table, delete, insert, or_, select, update

from deepmoat.store.state.database import METADATA, State

_sessions = Table(
    "sessions",
    METADATA,
    Column("prefix", String, primary_key=True),
    Column("hash", String, nullable=False),
    Column("user", String, nullable=False),
    Column("address", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("seen", Float, nullable=False),
)


class Session(msgspec.Struct, frozen=True):
    """One signed-in browser of the user with id ``user``; times are seconds since 1970."""

    prefix: str
    hash: str
    user: str
    address: str
    created: float
    seen: float


class Sessions:
    """The table of sessions."""

    def __init__(self, state: State) -> None:
        """Create the table where it is missing."""
        self._engine = state.engine
        METADATA.create_all(self._engine, tables=[_sessions])

    def add(self, session: Session) -> None:
        """Write a new session."""
        with self._engine.begin() as connection:
            connection.execute(insert(_sessions).values(msgspec.structs.asdict(session)))

    def get(self, prefix: str) -> Session | None:
        """The session with this prefix."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_sessions).where(_sessions.c.prefix == prefix)).mappings().first()
        return Session(**row) if row else None

    def touch(self, prefix: str, now: float) -> None:
        """Remember that the session is alive."""
        with self._engine.begin() as connection:
            connection.execute(update(_sessions).where(_sessions.c.prefix == prefix).values(seen=now))

    def end(self, prefix: str) -> None:
        """Forget the session."""
        with self._engine.begin() as connection:
            connection.execute(delete(_sessions).where(_sessions.c.prefix == prefix))

    def prune(self, *, seen_before: float, created_before: float) -> int:
        """Forget sessions that are over; how many."""
        over = or_(_sessions.c.seen < seen_before, _sessions.c.created < created_before)
        with self._engine.begin() as connection:
            return connection.execute(delete(_sessions).where(over)).rowcount
