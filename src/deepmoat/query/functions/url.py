"""Parts of URLs (RFC 3986)."""

from typing import ClassVar

from deepmoat.query import tree
from deepmoat.query.function import Example, Function, Functions
from deepmoat.query.kinds import INTEGER, TEXT
from deepmoat.query.tree import call

_URL = "'http://www.example.com:80/product/a?user=7#top'"


def _one(name: str, build: str, value: str) -> Function:
    return Function(
        name=name, takes=(TEXT,), gives=TEXT, build=build, example=Example(f"{name}({_URL})", value)
    )


class Urls(Functions):
    """Parts of URLs."""

    ABOUT = "Parts of URLs. A part that is not there is ''."
    FUNCTIONS: ClassVar[tuple[Function, ...]] = (
        _one("url_extract_protocol", "protocol", "http"),
        _one("url_extract_host", "domain", "www.example.com"),
        _one("url_extract_path", "path", "/product/a"),
        _one("url_extract_query", "queryString", "user=7"),
        _one("url_extract_fragment", "fragment", "top"),
        Function(
            name="url_extract_port",
            takes=(TEXT,),
            gives=INTEGER,
            build=lambda url: call("nullIf", call("port", url), tree.number(0)),
            example=Example(f"url_extract_port({_URL})", 80),
        ),
        Function(
            name="url_extract_parameter",
            takes=(TEXT, TEXT),
            gives=TEXT,
            build=lambda url, name: call(
                "nullIf",
                call("decodeURLFormComponent", call("extractURLParameter", url, name)),
                tree.text(""),
            ),
            example=Example(f"url_extract_parameter({_URL}, 'user')", "7"),
        ),
        Function(
            name="url_decode",
            takes=(TEXT,),
            gives=TEXT,
            build="decodeURLFormComponent",
            example=Example("url_decode('a%2Fb+c')", "a/b c"),
        ),
        Function(
            name="url_encode",
            takes=(TEXT,),
            gives=TEXT,
            build="encodeURLFormComponent",
            example=Example("url_encode('a/b c')", "a%2Fb+c"),
        ),
    )
