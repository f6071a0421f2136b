r"""Redaction: secrets and personal data become a keyed HMAC of themselves, inside the load.

A cheap search for the words that secrets come with decides whether a record is looked at closely at
all; on most records nothing else is spent. In the others each match becomes ``hmac:`` and 16 hex
digits of HMAC-SHA256 under the installation's key: equal secrets stay equal, so they can be counted
and followed, and nobody reads them.

``replaceRegexpAll`` cannot replace a match by a function of itself. So matches are fenced by the byte
01, with the byte 02 before or behind them, the text is split at the fences, and the parts that hold
the byte 02 are hashed.

*Secret*: credentials after ``Bearer`` and ``Basic``, values of fields named like a password, token or
key, cookies, private keys, JSON web tokens, and keys known by their prefix (OpenAI and Anthropic
``sk-``, AWS ``AKIA``, Alibaba Cloud ``LTAI``, GitHub ``gh?_``, Slack ``xox?-``, Google ``AIza``).
*Personal*: e-mail addresses, and card numbers that pass the Luhn check (ISO/IEC 7812-1).
"""

import re
from typing import NamedTuple

from sqlglot import exp

_FIELD = (
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credential|cookie|authorization|session[_-]?id|signature)"
)
_ASSIGN = rf"{_FIELD}\\?[\"']?\s*(?:=>|=|:|%3[aAdD])\s*"
# (what stands before a secret, the secret): a header to the end of its line, then quoted, then bare values.
_FIELDS = (
    (r"\b(?:set-)?cookie\s*:\s*|\bauthorization\s*:\s*", r"[^\r\n\"'\x01\x02]+"),
    (rf"{_ASSIGN}\\?\"", r"(?:\\[^\x01\x02]|[^\"\\\x01\x02])+"),
    (rf"{_ASSIGN}\\?'", r"(?:\\[^\x01\x02]|[^'\\\x01\x02])+"),
    (rf"{_ASSIGN}(?:(?:bearer|basic)\s+)?", r"[^\s\"'&;<>\x01\x02]+"),
)
_TOKENS = (
    r"(?i:\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"AKIA[0-9A-Z]{16}",
    r"LTAI[0-9A-Za-z]{12,}",
    r"gh[pousr]_[A-Za-z0-9]{20,}",
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"AIza[0-9A-Za-z_-]{30,}",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
)
_EMAIL = r"[A-Za-z0-9._%+-]+(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z]+"
_CARD = r"[2-6][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{1,7}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"

# One of these stands in everything above, in any case.
_SECRET_WORDS = (
    *("passw", "passphrase", "pwd", "secret", "token", "api_key", "api-key", "apikey", "access_key"),
    *("access-key", "accesskey", "private", "credential", "cookie", "authorization", "session"),
    *("signature", "bearer", "basic", "sk-", "akia", "ltai", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat_", "xox", "aiza", "eyj"),
)
_PERSONAL_WORDS = ("@", "%40")
_NUMBER = r"\b[2-6][0-9]{3}[ -]?[0-9]{4,6}[ -]?[0-9]{4}"
_SENSITIVE_NAME = rf"(?i)(?:^|[._-]){_FIELD}$"


class Redaction(NamedTuple):
    """Which kinds are redacted. Its methods give ClickHouse expressions."""

    secrets: bool = True
    personal: bool = True

    def hot(self, text: str) -> str:
        """A condition: may ``text`` hold anything to redact? A false positive costs time, nothing else."""
        words = (_SECRET_WORDS if self.secrets else ()) + (_PERSONAL_WORDS if self.personal else ())
        if not words:
            return "0"
        patterns = [f"(?i){re.escape(word)}" for word in words] + ([_NUMBER] if self.personal else [])
        return f"multiMatchAny({text}, [{', '.join(map(literal, patterns))}])"

    def texts(self, texts: str, names: int) -> str:
        """The array ``texts`` with each match hashed; the first ``names`` keep what is personal."""
        secret = f"if({Redaction(personal=False).hot('text')}, {_secret('text')}, text)"
        found = f"arrayMap(text -> {secret}, {texts})" if self.secrets else texts
        if not self.personal:
            return found
        hot = Redaction(secrets=False).hot("text")
        clean = f"if(place > {names} AND {hot}, {_personal('text')}, text)"
        return f"arrayMap((text, place) -> {clean}, {found}, arrayEnumerate({texts}))"

    def values(self, names: str, values: str, clean: str) -> str:
        """The array ``clean`` of redacted ``values``; those of sensitive ``names`` are hashed wholly."""
        if not self.secrets:
            return clean
        sensitive = f"value != '' AND match(name, {literal(_SENSITIVE_NAME)})"
        chosen = f"if({sensitive}, {_hash('value')}, text)"
        return f"arrayMap((name, value, text) -> {chosen}, {names}, {values}, {clean})"


def literal(text: str) -> str:
    """``text`` as a ClickHouse string.

    >>> literal("it's")
    "'it''s'"
    """
    return exp.Literal.string(text).sql("clickhouse")


def _secret(text: str) -> str:
    fields = "|".join(f"((?i:{prefix}))({value})" for prefix, value in _FIELDS)
    named = _hash_fenced(_unfenced(text), fields, "\\1\\3\\5\\7\x01\x02\\2\\4\\6\\8\x01")
    return _hash_fenced(named, "|".join(_TOKENS), "\x01\x02\\0\x01")


def _personal(text: str) -> str:
    pattern = f"({_EMAIL})|(\\b(?:{_CARD})\\b)"
    return _hash_fenced(_unfenced(text), pattern, "\x01\\2\x02\\1\x01", cards=True)


def _unfenced(text: str) -> str:
    return f"translate({text}, '\x01\x02', '  ')"


def _hash(text: str) -> str:
    return f"concat('hmac:', lower(hex(substring(HMAC('sha256', {text}, {{redaction_key:String}}), 1, 8))))"


def _hash_fenced(text: str, pattern: str, fenced: str, *, cards: bool = False) -> str:
    """``text`` with what ``pattern`` matches hashed: byte 02 before a secret, behind a card's digits."""
    split = f"splitByChar('\x01', replaceRegexpAll({text}, {literal(pattern)}, {literal(fenced)}))"
    bare = "replaceOne(part, '\x02', '')"
    plain = "position(part, '\x02') = 0"
    if cards:
        plain += f" OR (NOT startsWith(part, '\x02') AND NOT {_LUHN})"
    return f"arrayStringConcat(arrayMap(part -> if({plain}, {bare}, {_hash(bare)}), {split}))"


_DIGITS = "arrayReverse(extractAll(part, '[0-9]'))"
_LUHN = (
    "(arraySum((digit, place) -> if(place % 2 = 1, toUInt8(digit), "
    "if(digit > '4', 2 * toUInt8(digit) - 9, 2 * toUInt8(digit))), "
    f"{_DIGITS}, arrayEnumerate({_DIGITS})) % 10 = 0)"
)
