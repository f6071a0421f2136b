"""Values as literals of the query language: whatever a client calls itself, it stays one literal."""

import re

_PLACE = re.compile(r"\{([a-z_]+)\}")


def quote(text: str) -> str:
    """``text`` as one string literal of the SQL part of a query (SQL-92: a quote is doubled).

    What no stored text can hold, a NUL character or half of a surrogate pair, becomes U+FFFD and "?".

    >>> quote("o'neil' or 1=1 --")
    "'o''neil'' or 1=1 --'"
    """
    stored = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return "'" + stored.replace("'", "''") + "'"


def fill(query: str, **values: str | float) -> str:
    """``query`` with each ``{name}`` replaced by the value of that name, as a literal.

    One pass: what a value holds is never looked at again. Other braces stay as they are.

    >>> fill("select {a} where b > {n}", a="{n}'", n=3)
    "select '{n}''' where b > 3"
    """

    def literal(place: re.Match[str]) -> str:
        value = values.get(place[1])
        if value is None:
            return place[0]
        return quote(value) if isinstance(value, str) else repr(value)

    return _PLACE.sub(literal, query)
