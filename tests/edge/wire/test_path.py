import contextlib
import re
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepmoat.edge.wire import path as module
from deepmoat.edge.wire.path import BadPath, normal_path

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

NORMAL: dict[bytes, bytes] = {
    # As they are.
    b"/": b"/",
    b"*": b"*",
    b"/v1/chat/completions": b"/v1/chat/completions",
    b"/v1/chat/completions/": b"/v1/chat/completions/",
    b"/.well-known/acme-challenge/x": b"/.well-known/acme-challenge/x",
    b"/...": b"/...",
    b"/a/.b/..c/...": b"/a/.b/..c/...",
    b"/v1beta/models/gemini-pro:generateContent": b"/v1beta/models/gemini-pro:generateContent",
    b"/a!$&'()*+,;=:@~_-.": b"/a!$&'()*+,;=:@~_-.",
    b"/a;x=1/b": b"/a;x=1/b",
    b"/a%20b": b"/a%20b",
    b"/%25": b"/%25",
    b"/%2525": b"/%2525",
    # Escapes (RFC 3986, section 6.2.2.1 and 6.2.2.2).
    b"/%7Euser": b"/~user",
    b"/%61%2d%2D%5f%30": b"/a--_0",
    b"/v1/%63hat/%63ompletions": b"/v1/chat/completions",
    b"/caf%c3%a9": b"/caf%C3%A9",
    b"/a%3ab": b"/a%3Ab",
    b"/model/a-v1%3A0/invoke": b"/model/a-v1%3A0/invoke",
    b"/a%2fb": b"/a%2Fb",
    b"/a%5cb": b"/a%5Cb",
    b"/a%3fb%23": b"/a%3Fb%23",
    b"/%0d%0a": b"/%0D%0A",
    b"/%252e%252e/": b"/%252e%252e/",
    b"/%25%32%65": b"/%252e",
    b"/latin%e9": b"/latin%E9",
    # Raw bytes that no URI holds.
    b"/caf\xc3\xa9": b"/caf%C3%A9",
    b"/\xff": b"/%FF",
    b'/"<>[]^`{|}': b"/%22%3C%3E%5B%5D%5E%60%7B%7C%7D",
    # Dot segments (RFC 3986, section 5.2.4; its example first).
    b"/a/b/c/./../../g": b"/a/g",
    b"/./a": b"/a",
    b"/a/.": b"/a/",
    b"/a/..": b"/",
    b"/a/../": b"/",
    b"/a/b/..": b"/a/",
    b"/.": b"/",
    b"/./": b"/",
    b"/a/%2e%2E/b": b"/b",
    b"/a/%2e/b": b"/a/b",
    b"/a/.%2e/b/%2e./c": b"/c",
    b"/a/./b/../c/": b"/a/c/",
    # Slashes.
    b"//": b"/",
    b"//a": b"/a",
    b"/a//b///": b"/a/b/",
    b"/a//../b": b"/b",
    b"//a/..//b": b"/b",
}

BAD: dict[bytes, str] = {
    b"": "begins with a slash",
    b"a": "begins with a slash",
    b"%2fa": "begins with a slash",
    b"**": "begins with a slash",
    b"http://a/": "begins with a slash",
    b"/%": "b'%' in",
    b"/%4": "b'%4' in",
    b"/%4g": "b'%4g' in",
    b"/%%41": "b'%' in",
    b"/%u002e": "b'%u0' in",
    b"/%00": "b'%00' in",
    b"/a%00.txt": "b'%00' in",
    b"/\x00": "in a path",
    b"/a b": "b' ' in",
    b"/a\tb": "in a path",
    b"/a\r\nb": "in a path",
    b"/a\n": "in a path",
    b"/\x7f": "in a path",
    b"/a\\b": "in a path",
    b"/..\\..\\a": "in a path",
    b"/a?b": "in a path",
    b"/a#b": "in a path",
    # Above the root.
    b"/..": "above the root",
    b"/../a": "above the root",
    b"/a/../..": "above the root",
    b"/a/../../a": "above the root",
    b"/%2e%2e/": "above the root",
    b"//..": "above the root",
    b"/./../a": "above the root",
    # Overlong UTF-8.
    b"/%c0%af": "overlong",
    b"/%C0%AE%C0%AE/": "overlong",
    b"/%c1%9c": "overlong",
    b"/%c0.": "overlong",
    b"/\xc0\xaf": "overlong",
    b"/%e0%80%af": "overlong",
    b"/%E0%9F%BF": "overlong",
    b"/%f0%80%80%af": "overlong",
    b"/\xf0\x8f\xbf\xbf": "overlong",
    # What is a dot segment only to some.
    b"/a/..%2fb": "hidden",
    b"/a/%2e%2e%2Fb": "hidden",
    b"/a/..%5cb": "hidden",
    b"/a%2f../b": "hidden",
    b"/a%2f..": "hidden",
    b"/a%2F.": "hidden",
    b"/a%2f..%2fb": "hidden",
    b"/a%5c.%5cb": "hidden",
    b"/a/..;/b": "hidden",
    b"/a/..;x=1/b": "hidden",
    b"/a/.;/b": "hidden",
    b"/a/..%3bx/b": "hidden",
}


@pytest.mark.parametrize("path", NORMAL)
def test_a_path_is_brought_to_its_normal_form(path: bytes) -> None:
    assert normal_path(path) == NORMAL[path]


@pytest.mark.parametrize("path", BAD)
def test_a_path_that_two_could_read_differently_is_refused(path: bytes) -> None:
    with pytest.raises(BadPath, match=BAD[path]) as caught:
        normal_path(path)
    assert caught.value.reason == "bad_path"
    assert isinstance(caught.value, ValueError)


def test_the_cases_are_really_there() -> None:
    assert (len(NORMAL), len(BAD)) == (46, 50)


def test_an_ordinary_path_is_not_even_copied() -> None:
    long = b"/" + b"a" * 1000
    assert normal_path(long) is long


def test_only_short_paths_are_remembered() -> None:
    module._known.cache_clear()
    normal_path(b"/a/./" + b"b" * 1000)
    assert module._known.cache_info().currsize == 0
    normal_path(b"/a/./b")
    assert module._known.cache_info().currsize == 1


def test_a_refusal_is_not_remembered_as_an_answer() -> None:
    for _ in range(2):
        with pytest.raises(BadPath):
            normal_path(b"/..")


@pytest.mark.parametrize(
    "hostile", [b"/..", b"/a/..", b"//", b"/%2e", b"/%", b"/.", b"/a;", b"/%2f..", b"/%c3%28"]
)
def test_32_kilobytes_of_anything_end(hostile: bytes) -> None:
    path = b"/" + hostile * (32_768 // len(hostile))
    with contextlib.suppress(BadPath):
        assert len(normal_path(path)) <= 3 * len(path)


PIECES = st.sampled_from(
    rb"/ // . .. %2e %2E%2e %2f %5C %25 % a %61 ~ %7e ; : %3A %C3%a9 %c0 \ | %7C %00 b.c %0a *".split()
    + [b"\x00", b"\xc3\xa9", b" "]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda parts: b"/" + b"".join(parts)) | st.binary(max_size=40)


def normal(path: bytes) -> bytes | None:
    try:
        return normal_path(path)
    except BadPath:
        return None


@given(PATHS)
@example(b"/%25%32%65")
def test_a_normal_path_is_the_normal_form_of_itself(path: bytes) -> None:
    once = normal(path)
    assert once is None or normal(once) == once


@given(PATHS)
def test_a_normal_path_is_visible_ascii_below_the_root_without_dot_segments(path: bytes) -> None:
    once = normal(path)
    if once is None or once == b"*":
        return
    assert re.fullmatch(rb"/[!-~]*", once)
    assert not set(once) & set(b'"<>[]\\^`{|}?#')
    assert b"//" not in once
    for decoded in (once, unquote_to_bytes(once), unquote_to_bytes(once).replace(b"\\", b"/")):
        assert not {b".", b".."} & set(decoded.split(b"/"))
    for escape in re.findall(rb"%(..)", once):
        assert escape == escape.upper()
        assert bytes((int(escape, 16),)) not in [bytes((b,)) for b in UNRESERVED]


@given(PATHS, st.randoms(use_true_random=False))
def test_two_spellings_of_one_path_have_one_normal_form(path: bytes, random: object) -> None:
    """Any unreserved character may come as an escape, any escape in any case."""
    once = normal(path)
    if once is None or once == b"*":
        return

    def respelled(match: re.Match[bytes]) -> bytes:
        text = match[0]
        way = random.randrange(3)  # type: ignore[attr-defined]
        if text[:1] == b"%":
            return text.lower() if way else text
        return (b"%%%02x" % text[0], b"%%%02X" % text[0], text)[way]

    assert normal(re.sub(rb"%..|[A-Za-z0-9._~-]", respelled, once)) == once


@given(PATHS, st.integers(0, 40), st.sampled_from([b"/.", b"/%2e", b"/x/..", b"/%78/%2E."]))
def test_detours_change_nothing(path: bytes, at: int, detour: bytes) -> None:
    once = normal(path)
    if once is None or once == b"*":
        return
    slashes = [i for i, byte in enumerate(once) if byte == ord("/")]
    cut = slashes[at % len(slashes)]
    assert normal(once[:cut] + detour + once[cut:]) == once


@given(st.text(min_size=1, max_size=20))
def test_text_that_a_client_escapes_is_still_that_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return
    escaped = quote(text, safe="").encode()
    once = normal(b"/files/" + escaped + b"/content")
    if once is None:
        assert re.search(r"(?:^|[/\\])\.\.?(?:$|[/\\;])|^\.\.?$", text)
        return
    if text not in (".", ".."):
        assert unquote_to_bytes(once) == b"/files/" + text.encode() + b"/content"
