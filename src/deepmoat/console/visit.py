"""Visit: who looks at a page, and from where."""

import msgspec
from fastapi import Request

from deepmoat.identity.roles import Visitor
from deepmoat.identity.secret import form_token


class Visit(msgspec.Struct, frozen=True):
    """One page view. ``theme`` is dark, light or "" (what the browser prefers)."""

    visitor: Visitor
    address: str
    form_token: str
    theme: str = ""


def visit_of(request: Request) -> Visit:
    """The visit behind a request that passed the gate."""
    return Visit(
        request.state.visitor,
        request.client.host if request.client else "",
        form_token(request.state.secret),
        request.cookies.get("moat_theme", ""),
    )
