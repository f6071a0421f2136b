"""Incidents in the state: what is filtered on as columns, the whole struct as JSON."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, insert, select, update

from deepmoat.model import Incident
from deepmoat.store.state.database import METADATA, State
from deepmoat.store.state.moment import microseconds

_TABLE = Table(
    "incidents",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("cause", Text, nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("severity", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False, index=True),
    Column("told", Integer, nullable=False, default=0),
    Column("whole", Text, nullable=False),
)
_DECODER = msgspec.json.Decoder(Incident)


class Incidents:
    """Put, get, list. Thread-safe; a put is durable when it returns."""

    def __init__(self, state: State) -> None:
        self._engine = state.engine

    def put(self, *incidents: Incident) -> None:
        """Keep each as it is now, whether it was there or not; all of them or none."""
        with self._engine.begin() as connection:
            for incident in incidents:
                row = _row(incident)
                done = connection.execute(update(_TABLE).where(_TABLE.c.id == incident.id).values(row))
                if not done.rowcount:
                    connection.execute(insert(_TABLE).values(id=incident.id, **row))

    def get(self, incident: str) -> Incident | None:
        """The incident with that id."""
        with self._engine.connect() as connection:
            whole = connection.execute(select(_TABLE.c.whole).where(_TABLE.c.id == incident)).scalar()
        return None if whole is None else _DECODER.decode(whole)

    def list(
        self,
        *,
        status: Literal["open", "closed"] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: str = "",
        limit: int = 100,
    ) -> Sequence[Incident]:
        """Newest first: those with records in ``[since, until)``; the next page is ``before`` the last id."""
        wanted = select(_TABLE.c.whole).order_by(_TABLE.c.id.desc()).limit(limit)
        if status:
            wanted = wanted.where(_TABLE.c.status == status)
        if since:
            wanted = wanted.where(_TABLE.c.last >= microseconds(since))
        if until:
            wanted = wanted.where(_TABLE.c.first < microseconds(until))
        if before:
            wanted = wanted.where(_TABLE.c.id < before)
        with self._engine.connect() as connection:
            return _decoded(connection.execute(wanted).scalars())

    def told(self, incident: str, severity: int) -> None:
        """Note that people were told of the incident at ``severity``."""
        change = update(_TABLE).where(_TABLE.c.id == incident, _TABLE.c.told < severity)
        with self._engine.begin() as connection:
            connection.execute(change.values(told=severity))

    def untold(self) -> Sequence[Incident]:
        """Open incidents whose severity nobody is known to have been told of, oldest first."""
        wanted = select(_TABLE.c.whole).where(_TABLE.c.status == "open", _TABLE.c.told < _TABLE.c.severity)
        with self._engine.connect() as connection:
            return _decoded(connection.execute(wanted.order_by(_TABLE.c.id)).scalars())


def _row(incident: Incident) -> dict[str, object]:
    return {
        "cause": incident.cause,
        "status": incident.status,
        "severity": int(incident.severity),
        "first": microseconds(incident.first),
        "last": microseconds(incident.last),
        "whole": msgspec.json.encode(incident).decode(),
    }


def _decoded(rows: Iterable[str]) -> Sequence[Incident]:
    return [_DECODER.decode(whole) for whole in rows]
