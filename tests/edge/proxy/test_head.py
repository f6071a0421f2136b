"""Heads: only what was meant goes on, whatever the values are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.edge.proxy.forwarders import Forwarders
from deepmoat.edge.proxy.head import HeadReader, origin_form, write_head
from deepmoat.edge.proxy.refusal import STATUS, Refused, refusal, refused_answer, written
from deepmoat.kit.addresses import canonical

NAMES = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,20}\Z").map(str.encode)
VALUES = st.binary(max_size=40).map(lambda v: re.sub(rb"[\x00-\x1f\x7f]", b"", v))
READER = HeadReader(("authorization",), most=100)
NEVER = {b"x-forwarded-for", b"x_forwarded_for", b"forwarded", b"x-real-ip", b"keep-alive", b"upgrade", b"te"}

# target, Host, what goes to the backend or why not
TARGETS = (
    (b"/a?b", b"h", b"/a?b"),
    (b"*", b"h", "bad_target"),
    (b"http://h/a", b"h", b"/a"),
    (b"HTTP://H:80/a", b"h:80", b"/a"),
    (b"http://h", b"h", b"/"),
    (b"http://h?a=b", b"h", b"/?a=b"),
    (b"http://other/a", b"h", "host_mismatch"),
    (b"http://h@other/a", b"other", "host_mismatch"),
    (b"ftp://h/a", b"h", "bad_target"),
    (b"a", b"h", "bad_target"),
    (b"/a#b", b"h", "bad_target"),
    (b"", b"h", "bad_target"),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=20), st.booleans())
def test_every_line_goes_on_unchanged_or_not_at_all(lines: list[tuple[bytes, bytes]], trusted: bool) -> None:
    raw = b"\r\n".join([b"GET / HTTP/1.1", b"Host: h", *(n + b": " + v for n, v in lines)])
    try:
        head = READER.read(raw, trusted=trusted)
    except Refused as exc:
        assert exc.reason in STATUS
        return
    sent = write_head(head, b"h", [b"X-Ours: 1"])
    assert sent.startswith(b"GET / HTTP/1.1\r\nHost: h\r\n") and sent.count(b"\r\n\r\n") == 1
    given_lines = {n + b": " + v for n, v in lines}
    for line in sent.split(b"\r\n")[2:-2]:
        assert (
            line in given_lines or line == b"X-Ours: 1" or line.startswith((b"Content-Length", b"Transfer-"))
        )
        name = line.partition(b":")[0].lower()
        assert name not in NEVER or (trusted and name in (b"forwarded", b"x-real-ip"))


def test_targets_are_brought_to_one_form_or_refused() -> None:
    for target, host, wanted in TARGETS:
        if isinstance(wanted, bytes):
            assert origin_form(target, host, "GET") == wanted
            continue
        with pytest.raises(Refused, match=wanted):
            origin_form(target, host, "GET")
    assert origin_form(b"*", b"h", "OPTIONS") == b"*"
    assert len(TARGETS) == 12


@given(st.binary(max_size=80))
def test_whatever_a_forwarder_sends_the_client_is_an_address(forwarded_for: bytes) -> None:
    client = Forwarders(("192.0.2.0/24",)).client("192.0.2.1", forwarded_for)
    assert canonical(client) == client


def test_every_reason_has_a_status_and_an_answer_of_its_length() -> None:
    for reason, status in STATUS.items():
        raw = written(refused_answer(refusal(reason), "id"), close=True, head_only=False)
        head, _, body = raw.partition(b"\r\n\r\n")
        assert (
            head.startswith(b"HTTP/1.1 %d " % status)
            and b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
        )
        assert b"Refused" not in head, reason
