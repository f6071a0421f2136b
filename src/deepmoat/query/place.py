"""Where in a query's text an error is: a caret under the character."""

from deepmoat.kit.errors import QueryError

WIDTH = 100


def refusal(message: str, query: str, at: int, *, hint: str = "") -> QueryError:
    """A QueryError that shows the line and a caret under position ``at``.

    >>> print(refusal("what is this?", "status:200 )", 11).message)
    what is this? (line 1, column 12)
    status:200 )
               ^
    """
    at = max(0, min(at, len(query)))
    start = query.rfind("\n", 0, at) + 1
    end = query.find("\n", at)
    line = query[start : end if end >= 0 else len(query)]
    column = at - start
    shift = max(0, column - WIDTH // 2)
    shown = line[shift : shift + WIDTH].replace("\t", " ")
    number = query.count("\n", 0, start) + 1
    caret = " " * (column - shift) + "^"
    return QueryError(f"{message} (line {number}, column {column + 1})\n{shown}\n{caret}", hint=hint)
