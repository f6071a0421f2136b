"""The playbook: who is blocked, who never is, and when a person is asked."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmoat.kit.errors import ConfigError, QueryError
from deepmoat.kit.settings import load
from deepmoat.model import Action, Incident, Severity
from deepmoat.respond.playbooks.block_clients import candidates, order
from deepmoat.respond.settings import LOOPBACK, Allowed, RespondSettings, single
from deepmoat.respond.targets import by_hand, clients, spared

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = RespondSettings(allow=(*LOOPBACK, "10.0.0.0/8", "2001:db8:a::/48", "::ffff:198.51.100.0/120"))
ALLOWED = Allowed(SETTINGS.allow)


def incident(*values: str, severity: Severity = Severity.HIGH, **more: object) -> Incident:
    fields = {
        "id": "01INCIDENT",
        "cause": "request_burst:shop",
        "detector": "request_burst",
        "title": "a burst",
        "severity": severity,
        "first": NOW,
        "last": NOW,
        "opened": NOW,
        "subjects": tuple(("client_address", v) for v in values),
        "subject_count": len(values),
    }
    return Incident(**(fields | more))  # type: ignore[arg-type]


ADDRESSES = [
    ("192.0.2.1", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("2001:DB8:0::1", "2001:db8::1"),
    ("10.1.2.3", None),
    ("::ffff:10.1.2.3", None),
    ("::ffff:0a01:0203", None),
    ("2001:db8:a::1", None),
    ("2001:0DB8:000A::1", None),
    ("198.51.100.7", None),
    ("::ffff:198.51.100.7", None),
    ("127.0.0.1", None),
    ("::1", None),
    ("::ffff:127.0.0.1", None),
    ("0.0.0.0", None),
    ("::", None),
    ("::ffff:0.0.0.0", None),
    ("224.0.0.1", None),
    ("255.255.255.255", None),
    ("ff02::1", None),
    ("192.0.2.0/24", None),
    ("192.0.2.1/32", None),
    ("fe80::1%eth0", None),
    ("192.0.2.1; drop table", None),
    ("0300.0.2.1", None),
    ("", None),
    ("*", None),
]


def test_which_addresses_may_be_blocked() -> None:
    done = 0
    for value, wanted in ADDRESSES:
        fresh = candidates(incident(value), None, ALLOWED, SETTINGS).fresh
        assert fresh == ((wanted,) if wanted else ()), value
        done += 1
    assert done == len(ADDRESSES) == 26


def test_an_allow_listed_client_among_attackers_is_named_and_spared() -> None:
    found = candidates(incident("192.0.2.1", "10.9.9.9"), None, ALLOWED, SETTINGS)
    assert (found.fresh, found.allowed) == (("192.0.2.1",), ("10.9.9.9",))


def test_only_clients_are_blocked_never_accounts_hosts_or_countries() -> None:
    subjects = (("user_name", "192.0.2.9"), ("server_address", "192.0.2.8"), ("client_country", "US"))
    assert not candidates(incident(subjects=subjects), None, ALLOWED, SETTINGS).fresh


UNFIT = [
    (incident("192.0.2.1", severity=Severity.MEDIUM), SETTINGS, ""),
    (incident("192.0.2.1", status="closed"), SETTINGS, ""),
    (incident("192.0.2.1", detector="error_surge"), SETTINGS, "error_surge do not block"),
    (incident("192.0.2.1", detector="new_country"), SETTINGS, "new_country do not block"),
    (incident("192.0.2.1"), RespondSettings(automatic=False), "automatic actions are off"),
]


def test_what_blocks_nothing_and_why() -> None:
    done = 0
    for case, settings, held in UNFIT:
        found = candidates(case, None, ALLOWED, settings)
        assert not found.fresh and held in found.held and bool(held) == bool(found.held)
        done += 1
    assert done == len(UNFIT) == 5


def test_an_action_has_one_target_a_client_the_incident_as_cause_and_an_end() -> None:
    action = order(incident("192.0.2.1"), ["192.0.2.1"], {"192.0.2.1": 4}, None, NOW, SETTINGS).action
    assert action is not None
    assert (action.kind, action.cause, action.impact) == ("block", "01INCIDENT", 4)
    assert action.targets == ((("client_address", "192.0.2.1"),),)
    assert (action.start, action.end) == (NOW, NOW + timedelta(minutes=10))


def test_growth_extends_the_same_action() -> None:
    first = order(incident(), ["192.0.2.1"], {}, None, NOW, SETTINGS).action
    assert first is not None
    later = NOW + timedelta(minutes=2)
    found = candidates(incident("192.0.2.1", "192.0.2.2"), first, ALLOWED, SETTINGS)
    assert found.fresh == ("192.0.2.2",)
    grown = order(incident(), found.fresh, {}, first, later, SETTINGS)
    assert grown.action is not None and grown.added == ("192.0.2.2",)
    assert (grown.action.id, grown.action.start) == (first.id, first.start)
    assert clients(grown.action) == {"192.0.2.1", "192.0.2.2"}
    assert grown.action.end == later + timedelta(minutes=10)


def test_news_without_new_clients_moves_the_end_only_when_half_the_time_is_gone() -> None:
    first = order(incident(), ["192.0.2.1"], {}, None, NOW, SETTINGS).action
    assert order(incident(), [], {}, first, NOW + timedelta(minutes=4), SETTINGS).action is None
    moved = order(incident(), [], {}, first, NOW + timedelta(minutes=6), SETTINGS).action
    assert moved is not None and moved.end == NOW + timedelta(minutes=16)


def test_the_client_with_too_many_good_requests_is_left_to_a_person_and_the_others_are_blocked() -> None:
    good = {"192.0.2.1": 5000, "192.0.2.2": 300, "192.0.2.3": 0}
    decided = order(incident(), list(good), good, None, NOW, SETTINGS)
    assert decided.action is not None and decided.action.impact == 300
    assert decided.added == ("192.0.2.3", "192.0.2.2")
    assert decided.held.startswith("1 clients made 5000 good requests in the day before (the limit is 1000)")


def test_when_all_are_too_good_nothing_is_blocked() -> None:
    decided = order(incident(), ["192.0.2.1"], {"192.0.2.1": 1001}, None, NOW, SETTINGS)
    assert decided.action is None and "a person must decide" in decided.held


def test_more_targets_than_fit_are_left_out_and_said() -> None:
    settings = RespondSettings(maximum_targets=2)
    found = candidates(incident("192.0.2.1", "192.0.2.2", "192.0.2.3"), None, ALLOWED, settings)
    assert len(found.fresh) == 2 and found.held == "only 2 targets fit one action"


def test_what_a_person_ended_stays_ended() -> None:
    found = candidates(incident("192.0.2.1"), None, ALLOWED, SETTINGS, released="anna")
    assert not found.fresh and found.held == "anna ended the block"


WILD = st.one_of(
    st.text(max_size=40), st.ip_addresses().map(str), st.ip_addresses(v=4).map("::ffff:{}".format)
)


@given(st.lists(WILD, max_size=20), st.integers(1, 5), st.dictionaries(WILD, st.integers(0, 3000)))
def test_whatever_a_log_holds_only_single_unlisted_addresses_are_blocked(
    values: list[str], most: int, good: dict[str, int]
) -> None:
    settings = msgspec.structs.replace(SETTINGS, maximum_targets=most)
    found = candidates(incident(*values), None, ALLOWED, settings)
    decided = order(incident(*values), found.fresh, good, None, NOW, settings)
    assert len(found.fresh) <= most and len(set(found.fresh)) == len(found.fresh)
    for address in found.fresh:
        assert single(address) == address and address not in ALLOWED
    if decided.action:
        assert decided.action.impact <= settings.impact_limit and decided.action.end > NOW
        assert clients(decided.action) <= set(found.fresh)


BY_HAND = [
    (["10.0.0.1"], 10, "allow-list"),
    (["::ffff:10.0.0.1"], 10, "allow-list"),
    (["::"], 10, "allow-list"),
    (["192.0.2.0/24"], 10, "not one address"),
    (["nonsense"], 10, "not one address"),
    ([], 10, "an address and an end"),
    (["192.0.2.1"], 0, "an address and an end"),
    (["192.0.2.1"], float("nan"), "an address and an end"),
    (["192.0.2.1"], float("inf"), "an address and an end"),
    (["192.0.2.1"], 20_000, "an address and an end"),
]


TARGETS = [
    ({"client_country": "nl", "url_path": "/login"}, (("client_country", "NL"), ("url_path", "/login"))),
    ({"client_address": "203.0.113.9/24"}, (("client_address", "203.0.113.0/24"),)),
    ({"client_address": "::ffff:203.0.113.0/120"}, (("client_address", "203.0.113.0/24"),)),
    ({"client_address": "::ffff:203.0.113.7"}, (("client_address", "203.0.113.7"),)),
    ({"client_asn": "AS64496"}, (("client_asn", "64496"),)),
    ({"server_address": "Shop.Example"}, (("server_address", "shop.example"),)),
    ({"http_request_method": "post"}, (("http_request_method", "POST"),)),
    ({"key_hash": "0123456789abcdef"}, (("key_hash", "0123456789abcdef"),)),
    ({"user_agent_original": "bad bot/1.0"}, (("user_agent_original", "bad bot/1.0"),)),
    ({}, "an empty target would be every request"),
    ({"client_adress": "203.0.113.7"}, "did you mean 'client_address'"),
    ({"xyz": "1"}, "known: client_address, client_country"),
    ({"client_address": "10.0.0.0/7"}, "allow-list: 10.0.0.0/8"),
    ({"client_address": "10.9.9.9", "url_path": "/"}, "10.9.9.9 is on the allow-list"),
    ({"client_address": "::ffff:10.0.0.0/104"}, "allow-list: 10.0.0.0/8"),
    ({"client_address": "2001:db8::/32"}, "allow-list: 2001:db8:a::/48"),
    ({"client_address": "0.0.0.0/0"}, "is no network"),
    ({"client_address": "203.0.113.0/33"}, "is no network"),
    ({"client_address": ""}, "is not one address"),
    ({"client_country": "Netherlands"}, "is no client_country"),
    ({"client_asn": "0"}, "is no client_asn"),
    ({"url_path": "/a?b=c"}, "is no url_path"),
    ({"url_path": "/" + "a" * 3000}, "is no url_path"),
    ({"key_hash": "sk-secret"}, "is no key_hash"),
    ({"user_agent_original": "a\nb"}, "is no user_agent_original"),
    ({"session": ""}, "is no session"),
]


def test_what_a_person_may_aim_at_and_how_it_is_spelled() -> None:
    done = 0
    for wanted, expected in TARGETS:
        if isinstance(expected, str):
            with pytest.raises(QueryError) as refused:
                by_hand([wanted], "anna", "why", NOW, 5, ALLOWED)
            assert expected in str(refused.value), wanted
        else:
            assert by_hand([wanted], "anna", "why", NOW, 5, ALLOWED).targets == (expected,)
        done += 1
    assert done == len(TARGETS) == 26


def test_an_order_by_hand_may_limit_or_challenge_and_the_allow_list_may_grow_under_it() -> None:
    wanted: list[str | dict[str, str]] = ["192.0.2.1", {"client_address": "203.0.113.0/24", "url_path": "/x"}]
    action = by_hand(wanted, "anna", "why", NOW, 5, ALLOWED, "challenge")
    assert action.kind == "challenge" and len(action.targets) == 2
    assert action.id != by_hand(wanted, "anna", "why", NOW, 5, ALLOWED).id
    left = spared(action, Allowed(("203.0.113.128/25",)))
    assert left is not None and left.targets == ((("client_address", "192.0.2.1"),),)
    assert spared(action, ALLOWED) is action


def test_orders_by_hand_obey_the_same_rules() -> None:
    done = 0
    for addresses, minutes, wanted in BY_HAND:
        with pytest.raises(QueryError, match=wanted):
            by_hand(addresses, "anna", "why", NOW, minutes, ALLOWED)
        done += 1
    assert done == len(BY_HAND) == 10
    action = by_hand([" 192.0.2.1 ", "::ffff:192.0.2.1"], "anna", "why", NOW, 5, ALLOWED)
    assert clients(action) == {"192.0.2.1"} and action.cause == "anna" and len(action.targets) == 1


SETTINGS_WRONG = [
    ('allow = ["10.0.0.0/8", "nonsense"]', "nonsense"),
    ("block_minutes = 0", "> 0.0"),
    ("maximum_targets = 0", ">= 1"),
    ("block_minute = 1", "did you mean 'block_minutes'"),
]


def test_wrong_settings_are_refused_with_their_place() -> None:
    done = 0
    for toml, wanted in SETTINGS_WRONG:
        with pytest.raises(ConfigError, match=wanted) as caught:
            load(RespondSettings, toml, where="moat.toml")
        assert str(caught.value).startswith("moat.toml")
        done += 1
    assert done == len(SETTINGS_WRONG) == 4


def test_the_default_allow_list_is_loopback() -> None:
    allowed = Allowed(RespondSettings().allow)
    assert "127.3.2.1" in allowed and "::1" in allowed and "8.8.8.8" not in allowed


def test_actions_are_values_that_compare() -> None:
    one = order(incident(), ["192.0.2.1"], {}, None, NOW, SETTINGS).action
    assert isinstance(one, Action) and one == order(incident(), ["192.0.2.1"], {}, None, NOW, SETTINGS).action
