"""One key has one hash, each secret its own, and a changed secret still finds the old ones."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.llm.key import key_hasher, session_hasher


def test_one_key_has_one_hash_in_any_header_and_each_secret_its_own() -> None:
    hash_key = key_hasher(b"a" * 32)
    assert hash_key(b"sk-1") == hash_key(b"Bearer sk-1") == hash_key(b"bearer  sk-1 ")
    assert hash_key(b"sk-1") == hmac.new(b"a" * 32, b"sk-1", hashlib.sha256).hexdigest()[:16]
    assert hash_key(b"sk-1") != hash_key(b"sk-2")
    assert hash_key(b"sk-1") != key_hasher(b"b" * 32)(b"sk-1")
    assert len(hash_key(b"sk-1")) == 16 and hash_key(b"") == hash_key(b"Bearer ") == ""


def test_after_a_change_of_the_secret_new_hashes_are_written_and_old_ones_found() -> None:
    old, new = key_hasher(b"old"), key_hasher([b"new", b"old"])
    assert new(b"Bearer sk-1") == key_hasher(b"new")(b"sk-1") != old(b"sk-1")
    assert new.hashes(b"sk-1") == (new(b"sk-1"), old(b"sk-1"))
    assert old.hashes(b"sk-1") == (old(b"sk-1"),)
    assert new.hashes(b"") == () and new.many and not old.many
    with pytest.raises(ValueError, match="no secret"):
        key_hasher([])


def test_a_session_is_never_taken_for_a_key_and_keeps_its_words() -> None:
    sessions, keys = session_hasher([b"new", b"old"]), key_hasher([b"new", b"old"])
    assert sessions(b"abc") != keys(b"abc") and sessions(b"") == ""
    assert sessions(b"token abc") != sessions(b"abc")
    assert sessions.hashes(b" abc ")[1] == session_hasher(b"old")(b"abc")


@given(st.binary(max_size=100))
def test_any_value_has_a_hash_that_does_not_show_it(value: bytes) -> None:
    for hasher in (key_hasher(b"s"), session_hasher(b"s")):
        digest = hasher(value)
        assert digest == "" or (len(digest) == 16 and int(digest, 16) >= 0)
        assert hasher.hashes(value) == ((digest,) if digest else ())
