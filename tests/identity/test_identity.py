import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from deepmoat.identity.identity import REMEMBERED, TOUCH, Identity
from deepmoat.identity.roles import MAY, ROLES, Visitor
from deepmoat.identity.settings import IdentitySettings
from deepmoat.kit.errors import PeerError, TransientError
from deepmoat.store.state.database import State
from deepmoat.store.state.keys import Keys
from deepmoat.store.state.users import User

NOW = 1_769_482_800.0
HERE = "192.0.2.1"


def signed_in(identity: Identity, now: float = NOW) -> str:
    return identity.sign_in(identity.link("admin", now), HERE, now)[0]


def test_the_first_start_makes_an_administrator_and_one_link_and_the_second_nothing(
    identity: Identity, state: State
) -> None:
    link = identity.first_start(NOW)
    assert link is not None
    assert [(u.name, u.role) for u in identity.users.all()] == [("admin", "admin")]
    assert identity.first_start(NOW + 1) is None
    assert Identity(IdentitySettings(), state).first_start(NOW + 2) is None
    assert identity.sign_in(link, HERE, NOW + 3599)[1].role == "admin"


def test_a_link_works_once(identity: Identity) -> None:
    link = identity.link("admin", NOW)
    identity.sign_in(link, HERE, NOW)
    with pytest.raises(PeerError, match="used before") as caught:
        identity.sign_in(link, HERE, NOW)
    assert caught.value.status == 403


def test_a_link_ends_after_an_hour(identity: Identity) -> None:
    link = identity.link("admin", NOW)
    with pytest.raises(PeerError, match="too old"):
        identity.sign_in(link, HERE, NOW + 3600)


def test_of_many_who_use_one_link_at_once_exactly_one_gets_in(state: State) -> None:
    settings = IdentitySettings(address_burst=1000, total_burst=1000)
    identities = [Identity(settings, state) for _ in range(8)]
    link = identities[0].link("admin", NOW)

    def use(identity: Identity) -> str:
        try:
            return identity.sign_in(link, HERE, NOW)[0]
        except PeerError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        got = [secret for secret in pool.map(use, identities * 4) if secret]
    assert len(got) == 1


WRONG_LINKS = (
    "",
    "moatlink",
    "moatlink_0123456789ab_" + "0" * 64,
    "moatkey_0123456789ab_" + "0" * 64,
    "moatlink_0123456789ab_" + "0" * 65,
    "moatlink_' or 1=1 --_" + "0" * 64,
    "\x00",
    "ü" * 4000,
    "\ud800",
)


@pytest.mark.parametrize("link", WRONG_LINKS)
def test_a_wrong_link_is_refused_and_counts_as_a_failure(identity: Identity, link: str) -> None:
    with pytest.raises(PeerError) as caught:
        identity.sign_in(link, HERE, NOW)
    assert caught.value.status == 403
    assert len(identity.attempts) == 1


def test_the_right_prefix_with_another_secret_is_refused(identity: Identity) -> None:
    link = identity.link("admin", NOW)
    with pytest.raises(PeerError):
        identity.sign_in(link[:-1] + ("0" if link[-1] != "0" else "1"), HERE, NOW)
    identity.sign_in(link, HERE, NOW)


def test_too_many_failures_shut_the_door_for_that_address_only(identity: Identity) -> None:
    for _ in range(identity.settings.address_burst):
        with pytest.raises(PeerError, match="wrong"):
            identity.sign_in("x", HERE, NOW)
    link = identity.link("admin", NOW)
    with pytest.raises(PeerError, match="too many") as caught:
        identity.sign_in(link, HERE, NOW)
    assert caught.value.status == 429
    identity.sign_in(link, "203.0.113.7", NOW)


def test_a_session_ends_when_it_is_idle(identity: Identity) -> None:
    secret, idle = signed_in(identity), identity.settings.session_idle
    assert identity.session(secret, NOW + idle - 1) is not None
    assert identity.session(secret, NOW + 2 * idle - 2) is not None
    assert identity.session(secret, NOW + 3 * idle) is None
    assert identity.session(secret, NOW) is None, "it stays ended"


def test_a_page_that_only_refreshes_itself_does_not_keep_the_session_alive(identity: Identity) -> None:
    secret, idle = signed_in(identity), identity.settings.session_idle
    for step in range(100):
        at = NOW + idle * step / 100
        assert identity.session(secret, at, active=False) is not None
    assert identity.session(secret, NOW + idle, active=False) is None


def test_a_look_that_refreshes_does_not_hide_a_click_from_the_clock(identity: Identity) -> None:
    secret, idle = signed_in(identity), identity.settings.session_idle
    at = NOW + TOUCH + 1
    assert identity.session(secret, at, active=False) is not None
    assert identity.session(secret, at + 0.1) is not None
    assert identity.session(secret, NOW + idle + TOUCH, active=False) is not None


def test_a_session_ends_a_week_after_sign_in_however_busy(identity: Identity) -> None:
    secret, end = signed_in(identity), NOW + identity.settings.session_absolute
    at = NOW
    while at < end - 3600:
        assert identity.session(secret, at) is not None
        at += 3600
    assert identity.session(secret, end - 1) is not None
    assert identity.session(secret, end) is None


def test_sign_out_ends_the_session_at_once_and_no_other(identity: Identity) -> None:
    one, other = signed_in(identity), signed_in(identity)
    assert identity.session(one, NOW) is not None
    identity.sign_out(one)
    assert identity.session(one, NOW) is None
    assert identity.session(other, NOW) is not None
    identity.sign_out("moatsession_nonsense")


def test_what_another_process_ends_is_ended_here_soon(identity: Identity, state: State) -> None:
    secret = signed_in(identity)
    key = identity.make_key("nginx", "ingest", "admin", NOW)
    assert identity.session(secret, NOW) is not None
    assert identity.key(key[1], NOW) is not None
    other = Identity(IdentitySettings(), state)
    other.sign_out(secret)
    assert other.revoke_key(key[0].prefix, NOW)
    assert identity.session(secret, NOW + REMEMBERED) is None
    assert identity.key(key[1], NOW + REMEMBERED) is None


def test_a_disabled_user_has_no_session_and_gets_no_link(identity: Identity) -> None:
    identity.users.add(User("U1", "eve", "analyst", NOW, disabled=True))
    with pytest.raises(PeerError, match="disabled"):
        identity.link("eve", NOW)


def test_a_key_is_shown_once_and_only_its_hash_is_stored(identity: Identity, tmp_path: Path) -> None:
    key, secret = identity.make_key("nginx on web-1", "ingest", "admin", NOW)
    assert identity.key(secret, NOW) == Visitor(key.prefix, "nginx on web-1", "ingest", "key")
    session = signed_in(identity)
    with sqlite3.connect(tmp_path / "state.db") as state:
        dump = "\n".join(state.iterdump())
    assert key.hash in dump
    for hidden in (secret, session):
        assert hidden.rsplit("_", 1)[1] not in dump


def test_a_revoked_key_is_none_at_once_and_cannot_be_revoked_again(identity: Identity) -> None:
    key, secret = identity.make_key("nginx", "ingest", "admin", NOW)
    assert identity.key(secret, NOW) is not None
    assert identity.revoke_key(key.prefix, NOW)
    assert identity.key(secret, NOW) is None
    assert not identity.revoke_key(key.prefix, NOW)
    assert not identity.revoke_key("nonsense", NOW)


def test_the_last_use_of_a_key_is_known_to_the_minute(identity: Identity) -> None:
    key, secret = identity.make_key("nginx", "ingest", "admin", NOW)
    for at in (NOW, NOW + 5, NOW + TOUCH - 1):
        identity.key(secret, at)
    assert identity.keys.all()[0].used == NOW
    identity.key(secret, NOW + TOUCH + 5)
    assert identity.keys.all()[0].used == NOW + TOUCH + 5
    assert identity.keys.all()[0].prefix == key.prefix


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\nb", "a\x00b"])
def test_a_name_must_fit_on_a_line(identity: Identity, name: str) -> None:
    with pytest.raises(PeerError, match="printable"):
        identity.make_key(name, "ingest", "admin", NOW)


def test_an_unknown_role_is_refused_with_the_known_ones(identity: Identity) -> None:
    with pytest.raises(PeerError) as caught:
        identity.make_key("x", "root", "admin", NOW)
    assert "admin, analyst, ingest" in caught.value.hint


def test_what_is_remembered_is_bounded(identity: Identity) -> None:
    secrets = [identity.make_key(f"k{n}", "ingest", "admin", NOW)[1] for n in range(20)]
    limit = 8
    import deepmoat.identity.identity as module

    before, module._MOST_REMEMBERED = module._MOST_REMEMBERED, limit
    try:
        assert all(identity.key(secret, NOW) for secret in secrets)
        assert len(identity._checked) == limit
    finally:
        module._MOST_REMEMBERED = before


def test_each_role_may_do_what_the_table_says_and_nothing_else() -> None:
    asked = 0
    everything = frozenset().union(*MAY.values())
    for role in ROLES:
        visitor = Visitor("x", "x", role, "key")
        for permission in everything:
            asked += 1
            if permission in MAY[role]:
                visitor.require(permission)
                continue
            with pytest.raises(PeerError) as caught:
                visitor.require(permission)
            assert caught.value.status == 403
    assert asked == len(ROLES) * len(everything) > 20
    assert MAY["ingest"] == {"ingest"}, "an ingestion key reads nothing"


def test_a_clock_set_back_remembers_no_key_for_longer(identity: Identity, state: State) -> None:
    key, secret = identity.make_key("a sender", "ingest", "me", 10_000.0)
    assert identity.key(secret, 10_000.0)
    Keys(state).revoke(key.prefix, 10_000.5)  # another process does
    assert identity.key(secret, 6_400.0) is None


@pytest.fixture
def full(state: State) -> Iterator[State]:
    """A state whose disk takes nothing more: every write fails, every read works."""
    state.engine.dispose()

    def refuse(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    event.listen(state.engine, "connect", refuse)
    yield state
    event.remove(state.engine, "connect", refuse)


def test_a_key_works_when_its_use_cannot_be_noted(
    identity: Identity, state: State, request: pytest.FixtureRequest
) -> None:
    _, secret = identity.make_key("a sender", "ingest", "me", NOW)
    session = signed_in(identity)
    request.getfixturevalue("full")
    assert identity.key(secret, NOW)
    assert identity.session(session, NOW + 2 * TOUCH)


def test_what_cannot_be_written_is_said_as_something_to_try_again(
    identity: Identity, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("full")
    with pytest.raises(TransientError) as caught:
        identity.make_key("a sender", "ingest", "me", NOW)
    assert caught.value.status in (503, 507) and caught.value.where == "store.state"
    assert "a sender" not in str(caught.value), "no values in an error"
