"""Actions in the state: every order ever given, and who ended it early."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, String, Table, Text, insert, select, update

from deepmoat.model import Action
from deepmoat.store.state.database import METADATA, State
from deepmoat.store.state.moment import microseconds

_TABLE = Table(
    "actions",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("cause", Text, nullable=False, index=True),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False, index=True),
    Column("ended_by", Text, nullable=False, default=""),
    Column("whole", Text, nullable=False),
)
_DECODER = msgspec.json.Decoder(Action)


class Kept(msgspec.Struct, frozen=True):
    """An action and who ended it before its time; ``ended_by`` is "" for one that ends by itself."""

    action: Action
    ended_by: str = ""


class Actions:
    """Put, get, list, end. Thread-safe; a put is durable when it returns."""

    def __init__(self, state: State) -> None:
        self._engine = state.engine

    def put(self, *actions: Action) -> None:
        """Keep each as it is now; one that a person ended stays ended."""
        with self._engine.begin() as connection:
            for action in actions:
                row = _row(action)
                done = connection.execute(
                    update(_TABLE).where(_TABLE.c.id == action.id, _TABLE.c.ended_by == "").values(row)
                )
                there = select(_TABLE.c.id).where(_TABLE.c.id == action.id)
                if not done.rowcount and connection.execute(there).scalar() is None:
                    connection.execute(insert(_TABLE).values(id=action.id, **row))

    def get(self, action: str) -> Kept | None:
        """The action with that id."""
        return next(iter(self._select(_TABLE.c.id == action)), None)

    def of(self, cause: str) -> Sequence[Kept]:
        """The actions of one incident (or person), newest first."""
        return self._select(_TABLE.c.cause == cause)

    def in_force(self, now: datetime) -> Sequence[Action]:
        """What has not ended at ``now``, newest first."""
        return [kept.action for kept in self._select(_TABLE.c.end > microseconds(now), limit=100_000)]

    def list(self, *, before: str = "", limit: int = 100) -> Sequence[Kept]:
        """All, newest first; the next page is ``before`` the last id."""
        return self._select(*([_TABLE.c.id < before] if before else []), limit=limit)

    def end(self, action: str, now: datetime, by: str) -> Action | None:
        """End an action early; the action as ended, or None where none with that id is in force.

        Nothing brings it back: a later ``put`` of it is without effect.
        """
        moment = microseconds(now)
        with self._engine.begin() as connection:
            mark = update(_TABLE).where(_TABLE.c.id == action, _TABLE.c.end > moment)
            if not connection.execute(mark.values(end=moment, ended_by=by)).rowcount:
                return None
            whole = connection.execute(select(_TABLE.c.whole).where(_TABLE.c.id == action)).scalar_one()
            ended = msgspec.structs.replace(_DECODER.decode(whole), end=now)
            connection.execute(update(_TABLE).where(_TABLE.c.id == action).values(_row(ended)))
        return ended

    def _select(self, *conditions: ColumnElement[bool], limit: int = 1_000) -> Sequence[Kept]:
        wanted = select(_TABLE.c.whole, _TABLE.c.ended_by).order_by(_TABLE.c.id.desc()).limit(limit)
        for condition in conditions:
            wanted = wanted.where(condition)
        with self._engine.connect() as connection:
            return [Kept(_DECODER.decode(whole), by) for whole, by in connection.execute(wanted)]


def _row(action: Action) -> dict[str, object]:
    return {
        "kind": action.kind,
        "cause": action.cause,
        "start": microseconds(action.start),
        "end": microseconds(action.end),
        "whole": msgspec.json.encode(action).decode(),
    }
