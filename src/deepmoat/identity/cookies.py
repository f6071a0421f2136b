"""Cookies of the console. Over https they carry the ``__Host-`` prefix, which no other host can set."""

from collections.abc import Mapping

_SESSION = "moat_session"
_FORM = "moat_form"


def name_of(kind: str, *, secure: bool) -> str:
    """The cookie's name for ``kind`` "session" or "form"."""
    name = {"session": _SESSION, "form": _FORM}[kind]
    return f"__Host-{name}" if secure else name


def session_cookie(cookies: Mapping[str, str]) -> str:
    """The session's secret among a request's cookies; "" where there is none."""
    return cookies.get(f"__Host-{_SESSION}") or cookies.get(_SESSION) or ""


def form_cookie(cookies: Mapping[str, str]) -> str:
    """The form's token among a request's cookies; "" where there is none."""
    return cookies.get(f"__Host-{_FORM}") or cookies.get(_FORM) or ""
