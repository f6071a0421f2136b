"""Identity opened beside or without a running core: links and keys from the command line.

SQLite takes several processes, so ``deepmoat link`` works while core runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from deepmoat.app.folder import made
from deepmoat.app.settings import Place
from deepmoat.identity.identity import Identity
from deepmoat.store.state.database import State


@contextmanager
def open_identity(place: Place) -> Iterator[Identity]:
    """The identity of one data folder."""
    state = State(place.moat.store.state, folder=made(place.data))
    try:
        yield Identity(place.moat.identity, state)
    finally:
        state.close()
