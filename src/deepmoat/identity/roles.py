"""Roles and what each may do: the whole table on one screen."""

from typing import Literal, get_args

import msgspec

from deepmoat.kit.errors import PeerError

Role = Literal["admin", "analyst", "ingest"]
Permission = Literal["ingest", "query", "metrics", "incidents", "act", "keys", "backup"]

ROLES: tuple[Role, ...] = get_args(Role)

MAY: dict[Role, frozenset[Permission]] = {
    "admin": frozenset(get_args(Permission)),
    "analyst": frozenset({"query", "metrics", "incidents"}),
    "ingest": frozenset({"ingest"}),
}


class Visitor(msgspec.Struct, frozen=True):
    """Who makes a request: a user in a session, or the holder of an API key.

    ``id`` is the session's or key's prefix, ``name`` the user's or key's name.
    """

    id: str
    name: str
    role: Role
    by: Literal["session", "key"]

    def may(self, permission: Permission) -> bool:
        """Does the role allow it?"""
        return permission in MAY[self.role]

    def require(self, permission: Permission) -> None:
        """PeerError 403 when the role does not allow it."""
        if not self.may(permission):
            raise PeerError(
                f"the role {self.role!r} may not do this ({permission})",
                status=403,
                where=self.name,
                hint="ask an administrator for a key or an account with another role",
            )
