"""One-time sign-in links: their hashes, and whether they were used."""

import msgspec
from sqlalchemy import Column, Float, String, Table, delete, insert, select, update

from deepmoat.store.state.database import METADATA, State

_links = Table(
    "sign_in_links",
    METADATA,
    Column("prefix", String, primary_key=True),
    Column("hash", String, nullable=False),
    Column("user", String, nullable=False),
    Column("ends", Float, nullable=False),
    Column("used", Float),
)


class Link(msgspec.Struct, frozen=True):
    """One link for the user with id ``user``; ``ends`` and ``used`` are seconds since 1970."""

    prefix: str
    hash: str
    user: str
    ends: float
    used: float | None = None


class Links:
    """The table of sign-in links."""

    def __init__(self, state: State) -> None:
        """Create the table where it is missing."""
        self._engine = state.engine
        METADATA.create_all(self._engine, tables=[_links])

    def add(self, link: Link) -> None:
        """Write a new link."""
        with self._engine.begin() as connection:
            connection.execute(insert(_links).values(msgspec.structs.asdict(link)))

    def get(self, prefix: str) -> Link | None:
        """The link with this prefix."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_links).where(_links.c.prefix == prefix)).mappings().first()
        return Link(**row) if row else None

    def use(self, prefix: str, now: float) -> bool:
        """Use the link up. True for exactly one caller, however many try at once."""
        change = (
            update(_links)
            .where(_links.c.prefix == prefix, _links.c.used.is_(None), _links.c.ends > now)
            .values(used=now)
        )
        with self._engine.begin() as connection:
            return connection.execute(change).rowcount == 1

    def prune(self, before: float) -> int:
        """Forget links that ended before; how many."""
        with self._engine.begin() as connection:
            return connection.execute(delete(_links).where(_links.c.ends < before)).rowcount
