"""/api/keys: API keys. A key is shown once, when it is made; only its hash is kept."""

from typing import Annotated

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from deepmoat.api.errors import answer, documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.services import Services
from deepmoat.api.small import read_object
from deepmoat.identity.audit import Entry
from deepmoat.identity.roles import Role, Visitor
from deepmoat.kit.errors import PeerError
from deepmoat.store.state.keys import Key


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key is for, and what it may do: ``ingest``, ``analyst`` (queries) or ``admin``."""

    name: str
    role: Role = "ingest"


class ShownKey(msgspec.Struct, frozen=True):
    """A key as lists show it; times in seconds since 1970. ``key`` is only in the answer that made it."""

    prefix: str
    name: str
    role: str
    created: float
    created_by: str
    used: float | None
    revoked: float | None
    key: str | None = None


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["keys"])
    may = Depends(guard(services, "keys"))
    identity = services.identity

    @router.get("/api/keys", summary="List API keys", responses=documented())
    async def listed(visitor: Annotated[Visitor, may]) -> Response:
        """All keys, the newest first, by their public prefix."""
        return answer({"keys": [_shown(key) for key in await to_thread.run_sync(identity.keys.all)]})

    @router.post("/api/keys", status_code=201, summary="Make an API key", responses=documented())
    async def make(request: Request, visitor: Annotated[Visitor, may]) -> Response:
        """Make a key: its secret is in this answer and nowhere else, ever."""
        new = await read_object(request, NewKey)
        key, secret = await to_thread.run_sync(
            identity.make_key, new.name, new.role, visitor.name, services.now()
        )
        await services.desk.audit.write(_entry(visitor, "key_create", key.prefix, request))
        return answer(_shown(key, secret), 201)

    @router.delete("/api/keys/{prefix}", summary="Revoke an API key", responses=documented(404))
    async def revoke(request: Request, prefix: str, visitor: Annotated[Visitor, may]) -> Response:
        """End a key at once."""
        if not await to_thread.run_sync(identity.revoke_key, prefix, services.now()):
            raise PeerError("no such key, or it was revoked before", status=404, where=prefix[:60])
        await services.desk.audit.write(_entry(visitor, "key_revoke", prefix, request))
        return answer({"revoked": prefix})

    return router


def _shown(key: Key, secret: str | None = None) -> ShownKey:
    return ShownKey(
        key.prefix, key.name, key.role, key.created, key.created_by, key.used, key.revoked, secret
    )


def _entry(visitor: Visitor, action: str, prefix: str, request: Request) -> Entry:
    return Entry(visitor.name, action, address_of(request), attributes={"key": prefix})
