"""IP addresses: networks and countries."""

from collections.abc import Sequence
from typing import ClassVar

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.context import Context
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import ADDRESS, ANY, BOOLEAN, TEXT
from deepmoat.query.tree import Node, call
from deepmoat.query.values import Value, convert, network

COUNTRIES = ("moat.countries", "code")
_PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


def _within(values: Sequence[Value], context: Context) -> Value:
    literal = values[0].literal
    ends = network(literal) if literal is not None else None
    if ends is None:
        raise QueryError("is_subnet_of wants a network first, in quotes", hint="such as '192.0.2.0/24'")
    return Value(tree.between(convert(values[1], ADDRESS, context), *ends), BOOLEAN)


def _country(node: Node, language: Node | None = None) -> Node:
    """What is no address has no country: ''."""
    place, what = (tree.text(t) for t in COUNTRIES)
    known = call("ifNull", node, call("toIPv6", tree.text("::")))
    return call("dictGetOrDefault", place, what, call("tuple", known), tree.text(""))


def _private(node: Node) -> Node:
    """RFC 1918, RFC 6598, RFC 3927, loopback and RFC 4193."""
    ends = [e for r in _PRIVATE if (e := network(r))]
    inside = tree.some(tree.between(node, *e) for e in ends)
    assert inside is not None  # noqa: S101
    return call("if", inside, tree.text("intranet"), tree.text("internet"))


class Addresses(Functions):
    """IP addresses."""

    ABOUT = "IP addresses. Countries are ISO 3166-1 alpha-2 codes; '' where none is known."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        Function(
            name="ip_to_country",
            takes=(ADDRESS, ANY),
            optional=1,
            gives=TEXT,
            build=_country,
            example=Example("ip_to_country('8.8.8.8')", "US"),
        ),
        Function(
            name="ip_to_country_code",
            takes=(ADDRESS,),
            gives=TEXT,
            build=_country,
            example=Example("ip_to_country_code('no address')", ""),
        ),
        Function(
            name="ip_to_domain",
            takes=(ADDRESS,),
            gives=TEXT,
            build=_private,
            example=Example("ip_to_domain('192.168.1.1')", "intranet"),
        ),
        Function(
            name="is_subnet_of",
            takes=(TEXT, ADDRESS),
            gives=BOOLEAN,
            raw=_within,
            example=Example("is_subnet_of('192.0.2.0/24', '192.0.2.7')", True),
        ),
    )
