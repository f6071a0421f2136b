"""Mend: a copy of a JSON text without what only lenient readers take, so that the rest can be read.

Python's own reader, and so most backends, takes half a surrogate pair, ``NaN`` and ``Infinity``, and some
take bytes that are no UTF-8. A strict reader gives up there, and whoever wants to go unread would put one of
them into every call.
"""

import re

_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_NO_NUMBER = re.compile(rb"([:,\[]\s*)(?:NaN|-?Infinity)(?=\s*[,}\]])")


def mended(data: bytes | bytearray) -> bytes | None:
    r"""``data`` with U+FFFD for what is no Unicode and null for what is no number; None when all is well.

    Within strings it may replace the words ``NaN`` too; a text is only read, and ends where it did.

    >>> mended(b'"\\ud83d!"'), mended(b'"\\ud83d\\ude00"')
    (b'"\\ufffd!"', None)
    >>> mended(b'{"a":NaN,"b":[-Infinity]}')
    b'{"a":null,"b":[null]}'
    """
    whole = _NO_NUMBER.sub(rb"\1null", _HALF.sub(rb"\\ufffd", data))
    if not whole.isascii():
        whole = whole.decode("utf-8", "replace").encode()
    return whole if whole != data else None
