"""Text to a tree of terms.

    query  := notseq ("or" notseq)*
    notseq := ["not"] andseq ("not" andseq)*      A not B = A and not B
    andseq := atom (["and"] atom)*                side by side = and

So ``and`` binds tighter than ``not``, and ``not`` tighter than ``or``, as documented for SLS.
"""

from deepmoat.kit.errors import QueryError
from deepmoat.query import tree
from deepmoat.query.place import refusal
from deepmoat.query.search.terms import (
    All,
    Any,
    Compare,
    Everything,
    Not,
    Phrase,
    Present,
    Term,
    Wild,
    Within,
    Words,
)
from deepmoat.query.search.tokens import Token, tokens

DEEPEST = 50
MOST = 300  # terms in one search


def parse(query: str) -> Term:
    """The tree of a search; QueryError with the place of what is wrong."""
    return _Parser(query).whole()


class _Parser:
    def __init__(self, query: str) -> None:
        self.query = query
        self.tokens = list(tokens(query))
        self.at = self.depth = self.terms = 0

    def whole(self) -> Term:
        if self._is("end"):
            return Everything()
        term = self._or()
        if not self._is("end"):
            raise self._unexpected()
        return term

    def _or(self) -> Term:
        parts = [self._not()]
        while self._now.says("or"):
            self._take()
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _not(self) -> Term:
        parts = list[Term]()
        if not self._now.says("not"):
            parts.append(self._and())
        while self._now.says("not"):
            self._take()
            parts.append(Not(self._and()))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _and(self) -> Term:
        parts = [self._atom()]
        while not self._is("end", ")") and not self._now.says("or", "not"):
            if self._now.says("and"):
                self._take()
                if self._now.says("not"):  # A and not B
                    break
            parts.append(self._atom())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _atom(self) -> Term:
        if self._is("("):
            return self._group()
        if self._now.says("and", "or", "not") or not self._is("word", "quoted", "phrase"):
            raise self._unexpected()
        self.terms += 1
        if self.terms > MOST:
            raise QueryError("the search has too many terms", hint=f"at most {MOST}")
        token = self._take()
        if self._is("colon") and token.kind != "phrase":
            return self._value(token)
        if self._is("sign") and token.kind != "phrase":
            return self._compared(token)
        if self._is("word") and self._now.text == "in" and self._next.kind in {"[", "("}:
            return self._range(token)
        return _words(token)

    def _group(self) -> Term:
        opened = self._take()
        self.depth += 1
        if self.depth > DEEPEST:
            raise refusal("nested too deeply", self.query, opened.at, hint=f"at most {DEEPEST} levels")
        term = self._or()
        if not self._is(")"):
            raise refusal("the parenthesis never closes", self.query, opened.at)
        self._take()
        self.depth -= 1
        return term

    def _value(self, key: Token) -> Term:
        self._take()
        token = self._take()
        if token.kind not in {"word", "quoted", "phrase"}:
            raise refusal(f"{key.text}: wants a value", self.query, token.at, hint=f"such as {key.text}:word")
        if token.kind == "quoted" and not token.text:
            return Present(key.text, empty=True, at=key.at, bare=_bare(key))
        if token.pattern == (Wild.MANY,):
            return Present(key.text, at=key.at, bare=_bare(key))
        return _words(token, key)

    def _compared(self, key: Token) -> Term:
        sign, token = self._take(), self._take()
        if token.kind not in {"word", "quoted"}:
            raise refusal(f"{key.text} {sign.text} wants a number", self.query, token.at)
        if sign.text == "=" and not _number(token.text):
            return _words(token, key)
        return Compare(key.text, sign.text, self._number(token), key.at, _bare(key))  # type: ignore[arg-type]

    def _range(self, key: Token) -> Term:
        self._take()
        opening, low, high = self._take(), self._take(), self._take()
        closing = self._take()
        if closing.kind not in {"]", ")"}:
            raise refusal(
                "a range wants two numbers", self.query, opening.at, hint=f"{key.text} in [200 299]"
            )
        numbers = self._number(low), self._number(high)
        return Within(key.text, *numbers, opening.kind == "[", closing.kind == "]", key.at, _bare(key))

    def _number(self, token: Token) -> str:
        if not _number(token.text):
            hint = "quote text; write not key:value for what is not so"
            raise refusal(f"{token.text[:40]!r} is no number", self.query, token.at, hint=hint)
        return token.text

    def _is(self, *kinds: str) -> bool:
        return self._now.kind in kinds

    @property
    def _now(self) -> Token:
        return self.tokens[self.at]

    @property
    def _next(self) -> Token:
        return self.tokens[min(self.at + 1, len(self.tokens) - 1)]

    def _take(self) -> Token:
        token = self._now
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def _unexpected(self) -> QueryError:
        token = self._now
        if token.kind == "end":
            return refusal("the search ends too early", self.query, token.at, hint="a term is missing")
        hint = 'put it in quotes to search for it: "' + token.text[:20] + '"'
        return refusal(f"unexpected {token.text[:40]!r}", self.query, token.at, hint=hint)


def _words(token: Token, key: Token | None = None) -> Term:
    name, bare = (key.text, _bare(key)) if key else ("", -1)
    if token.kind == "phrase":
        return Phrase(token.text, name, token.at, bare)
    if not key and (token.pattern in {(Wild.MANY,), ()}):
        return Everything()
    return Words(token.pattern, name, token.at, bare)


def _bare(key: Token) -> int:
    return key.at if key.kind == "word" else -1


def _number(text: str) -> bool:
    return bool(tree.NUMBER.fullmatch(text.removeprefix("-")))
