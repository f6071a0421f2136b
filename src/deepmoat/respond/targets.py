"""targets: what an action is aimed at, checked before it becomes an order."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

import msgspec

from deepmoat.kit.errors import QueryError
from deepmoat.kit.ids import stable_id
from deepmoat.model import Action, Target
from deepmoat.respond.settings import Allowed, single

FIELD = "client_address"
LONGEST_MINUTES = 7 * 24 * 60
Kind = Literal["block", "limit", "challenge"]
_LONGEST_VALUE = 2_048
_MAPPED = 96


def target(address: str) -> Target:
    """Whatever comes from one client address."""
    return ((FIELD, address),)


def clients(action: Action | None) -> frozenset[str]:
    """The client addresses an action is aimed at."""
    pairs = (pair for aim in (action.targets if action else ()) for pair in aim)
    return frozenset(value for field, value in pairs if field == FIELD)


def spared(action: Action, allowed: Allowed) -> Action | None:
    """``action`` without allow-listed clients: the list may have grown since; None where nothing is left."""
    targets = tuple(t for t in action.targets if not any(f == FIELD and _touches(v, allowed) for f, v in t))
    if len(targets) == len(action.targets):
        return action
    return msgspec.structs.replace(action, targets=targets) if targets else None


def by_hand(
    wanted: Sequence[str | Mapping[str, str]],
    who: str,
    reason: str,
    now: datetime,
    minutes: float,
    allowed: Allowed,
    kind: Kind = "block",
) -> Action:
    """What a person orders; it ends within a week.

    ``wanted`` are single addresses, and conjunctions by field name, such as ``{"client_country": "XX",
    "url_path": "/login"}``, where ``client_address`` may be a network. Raises QueryError (its message is for
    that person) for what cannot be matched, would hit an allow-listed address, or has no end.
    """
    if not wanted or not 0 < minutes <= LONGEST_MINUTES:
        raise QueryError(f"a {kind} wants an address and an end", hint="1 to 10080 minutes, a week")
    found = tuple(dict.fromkeys(_aim(one, allowed) for one in wanted))
    names = (value if field == FIELD else f"{field}={value}" for aim in found for field, value in aim)
    return Action(
        id=stable_id(now.timestamp(), *([] if kind == "block" else [kind]), "by hand", who, *names),
        kind=kind,
        targets=found,
        cause=who,
        reason=reason,
        start=now,
        end=now + timedelta(minutes=minutes),
    )


def _aim(wanted: str | Mapping[str, str], allowed: Allowed) -> Target:
    if isinstance(wanted, str):
        return target(_blockable(wanted, allowed))
    if not wanted:
        raise QueryError("an empty target would be every request", hint="name a field: " + ", ".join(FIELDS))
    pairs = ((field, _checked(field, value.strip(), allowed)) for field, value in wanted.items())
    return tuple(sorted(pairs))


def _checked(field: str, value: str, allowed: Allowed) -> str:
    """``value`` as ``field`` has it in a request."""
    if field not in FIELDS:
        close = get_close_matches(field, FIELDS, 1)
        hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(FIELDS)
        raise QueryError(f"no field {field[:60]!r} to aim at", hint=hint)
    if field == FIELD:
        return _network(value, allowed) if "/" in value else _blockable(value, allowed)
    pattern, spell, hint = FIELDS[field]
    value = spell(value)
    if not pattern.fullmatch(value) or len(value) > _LONGEST_VALUE:
        raise QueryError(f"{value[:60]!r} is no {field}", hint=hint)
    return value


def _network(text: str, allowed: Allowed) -> str:
    network = _as_network(text)
    if network is None or not network.prefixlen:
        raise QueryError(f"{text[:60]!r} is no network", hint="write 192.0.2.0/24 or 2001:db8::/48")
    spared = allowed.within(network)
    if spared:
        raise QueryError(f"{network} has addresses of the allow-list: {spared}", hint="see respond.allow")
    return str(network)


def _as_network(text: str) -> IPv4Network | IPv6Network | None:
    """A network in one spelling: IPv4 for one of IPv4-mapped addresses; None for what is none."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED))


def _touches(value: str, allowed: Allowed) -> bool:
    """Is an allow-listed address in the address or network ``value``?"""
    if "/" not in value:
        return value in allowed
    network = _as_network(value)
    return network is not None and allowed.within(network) is not None


def _asn(text: str) -> str:
    return text.upper().removeprefix("AS")


_TEXT = re.compile(r"[^\x00-\x1f\x7f]+")
_Spelling = tuple[re.Pattern[str], Callable[[str], str], str]
FIELDS: dict[str, _Spelling] = {
    FIELD: (_TEXT, str, "write 192.0.2.1 or 192.0.2.0/24"),
    "client_country": (re.compile("[A-Z]{2}"), str.upper, "write the two letters of ISO 3166-1, such as NL"),
    "client_asn": (re.compile("[1-9][0-9]{0,9}"), _asn, "write 64496 or AS64496"),
    "key_hash": (re.compile("[0-9a-f]{16}"), str.lower, "write the 16 letters that the logs have"),
    "session": (re.compile("[0-9a-f]{16}"), str.lower, "write the 16 letters that the logs have"),
    "tls_client_ja4": (
        re.compile("[A-Za-z0-9_]{1,64}"),
        str.lower,
        "such as t13d1516h2_8daaf6152771_02713d6af862",
    ),
    "url_path": (re.compile(r"/[^\x00-\x20\x7f?#]*"), str, "the whole path, such as /login, without a query"),
    "server_address": (re.compile(r"[a-z0-9._:\[\]-]+"), str.lower, "a host name without its port"),
    "user_agent_original": (_TEXT, str, "the whole user agent"),
    "http_request_method": (re.compile("[A-Z]{1,20}"), str.upper, "such as POST"),
}
"""What a target may name, how a value is spelled, and what to write instead of one that is none."""


def _blockable(text: str, allowed: Allowed) -> str:
    address = single(text.strip())
    if address is None:
        raise QueryError(f"{text!r} is not one address", hint="write 192.0.2.1 or 2001:db8::1")
    if address in allowed:
        raise QueryError(f"{address} is on the allow-list", hint="see respond.allow")
    return address
