"""Users: who may sign in, and as what."""

import msgspec
from sqlalchemy import Boolean, Column, Float, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from deepmoat.store.state.database import METADATA, State

_users = Table(
    "users",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
)


class User(msgspec.Struct, frozen=True):
    """One person. ``created`` is in seconds since 1970."""

    id: str
    name: str
    role: str
    created: float
    disabled: bool = False


class Users:
    """The table of users."""

    def __init__(self, state: State) -> None:
        """Create the table where it is missing."""
        self._engine = state.engine
        METADATA.create_all(self._engine, tables=[_users])

    def add(self, user: User) -> bool:
        """Write a new user; False when the name or id is taken."""
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_users).values(msgspec.structs.asdict(user)))
        except IntegrityError:
            return False
        return True

    def get(self, id: str) -> User | None:
        """The user with this id."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_users).where(_users.c.id == id)).mappings().first()
        return User(**row) if row else None

    def named(self, name: str) -> User | None:
        """The user of this name."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_users).where(_users.c.name == name)).mappings().first()
        return User(**row) if row else None

    def all(self) -> list[User]:
        """Every user, in order of creation."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_users).order_by(_users.c.created)).mappings().all()
        return [User(**row) for row in rows]
