"""Identity over a real state database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmoat.identity.identity import Identity
from deepmoat.identity.settings import IdentitySettings
from deepmoat.store.state.database import State, StateSettings


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(StateSettings(), folder=tmp_path)
    yield state
    state.close()


@pytest.fixture
def identity(state: State) -> Identity:
    return Identity(IdentitySettings(), state)
