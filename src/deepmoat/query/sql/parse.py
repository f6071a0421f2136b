"""Text to Presto's tree, by a sqlglot dialect that knows no functions: each call stays as written."""

from collections.abc import Sequence
from typing import Any

from sqlglot import ParseError, TokenError, TokenType, exp
from sqlglot.dialects.presto import Presto
from sqlglot.parsers.presto import PrestoParser

from deepmoat.kit.errors import QueryError
from deepmoat.query.place import refusal

DEEPEST = 30
MOST = 10_000  # tokens
BRACKETS = 200  # the parser takes seconds for thousands in a row
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.CASE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.END}
_SYNTAX = ("CAST", "TRY_CAST", "EXTRACT", "SUBSTRING", "POSITION")


class Sls(Presto):
    """Presto as SLS writes it."""

    class Parser(PrestoParser):
        """Knows syntax, not functions."""

        FUNCTIONS = {}
        FUNCTION_PARSERS = {k: v for k, v in PrestoParser.FUNCTION_PARSERS.items() if k in _SYNTAX}


def parse(text: str) -> exp.Query:
    """The one SELECT of ``text``; QueryError for anything else."""
    dialect = Sls()
    try:
        tokens = dialect.tokenize(text)
    except TokenError as exc:
        raise QueryError("cannot read the SQL", hint="is a quote missing?") from exc
    _bounded(text, tokens)
    try:
        statements = dialect.parser().parse(tokens, text)
    except ParseError as exc:
        raise _explained(text, exc) from exc
    except (RecursionError, ValueError, TypeError, AttributeError, IndexError, KeyError) as exc:
        raise QueryError("cannot read the SQL", hint="docs/queries.md shows what is known") from exc
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise QueryError("wants one SELECT", hint="write: * | select …")
    return statements[0]


def _bounded(text: str, tokens: Sequence[Any]) -> None:
    """Refuse what would nest too deeply for the parser, before it meets it."""
    if len(tokens) > MOST:
        raise QueryError(f"the SQL is too long: {len(tokens)} words", hint=f"at most {MOST}")
    depth = brackets = 0
    for token in tokens:
        brackets += token.token_type is TokenType.L_BRACKET
        if brackets > BRACKETS:
            raise refusal("too many brackets", text, token.start, hint=f"at most {BRACKETS}")
        if token.token_type is TokenType.SEMICOLON:
            raise refusal("one statement only", text, token.start, hint="leave out the semicolon")
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        if depth > DEEPEST:
            raise refusal("nested too deeply", text, token.start, hint=f"at most {DEEPEST} levels")


def _explained(text: str, exc: ParseError) -> QueryError:
    first = exc.errors[0] if exc.errors else {}
    line, column = int(first.get("line") or 1), int(first.get("col") or 1)
    lines = text.split("\n")
    word = str(first.get("highlight") or "")
    at = sum(len(x) + 1 for x in lines[: line - 1]) + column - len(word)
    message = f"cannot read the SQL at {word[:40]!r}" if word else "cannot read the SQL"
    return refusal(message, text, at, hint="docs/queries.md shows what is known")
