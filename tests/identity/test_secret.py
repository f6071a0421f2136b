import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.identity.secret import digest, form_token, matches, mint, prefix_of, same

KINDS = ("key", "link", "session", "form")


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_256_random_bits_and_its_store_holds_none_of_them(kind: str) -> None:
    made = [mint(kind) for _ in range(50)]  # type: ignore[arg-type]
    assert len({m.text for m in made}) == len({m.prefix for m in made}) == 50
    for one in made:
        bits = one.text.rsplit("_", 1)[1]
        assert len(bytes.fromhex(bits)) == 32
        assert bits not in one.hash
        assert bits not in one.prefix
        assert matches(one.text, one.hash)
        assert prefix_of(kind, one.text) == one.prefix  # type: ignore[arg-type]


def test_a_secret_of_one_kind_is_none_of_another() -> None:
    for kind in KINDS:
        text = mint(kind).text  # type: ignore[arg-type]
        assert [k for k in KINDS if prefix_of(k, text)] == [kind]  # type: ignore[arg-type]


@given(st.text(max_size=200))
def test_no_text_but_a_secret_has_a_prefix(text: str) -> None:
    assert all(prefix_of(kind, text) is None for kind in KINDS)  # type: ignore[arg-type]
    assert not matches(text, digest("another" + text))


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []
    real = hmac.compare_digest

    def watch(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    one = mint("key")
    assert matches(one.text, one.hash)
    assert not matches(one.text, "0" * 64)
    assert same("a", "a")
    assert compared == [(one.hash, one.hash), (one.hash, "0" * 64), (b"a", b"a")]


def test_form_tokens_differ_by_session_and_empty_ones_never_match() -> None:
    assert form_token("a") != form_token("b")
    assert same(form_token("a"), form_token("a"))
    assert not same("", "")
    assert not same("a", "b")
