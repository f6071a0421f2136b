"""/api/actions: what the edge is told to refuse; order one by hand, or end one now."""

from typing import Annotated

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from deepmoat.api.audit import Entry, write
from deepmoat.api.errors import answer, documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.services import Services
from deepmoat.api.small import read_object
from deepmoat.identity.roles import Visitor
from deepmoat.kit.errors import PeerError


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Block these client addresses for ``minutes`` (at most a week)."""

    addresses: tuple[str, ...]
    minutes: float = 60
    reason: str = "by hand"


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["actions"])
    see = Depends(guard(services, "incidents"))
    act = Depends(guard(services, "act"))

    @router.get("/api/actions", summary="List actions", responses=documented())
    async def listed(
        visitor: Annotated[Visitor, see],
        ended: Annotated[bool, Query(description="the ended ones too")] = False,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Actions in force; with ``ended``, the newest ones whether in force or not."""
        if ended:
            return answer({"actions": await to_thread.run_sync(services.orders.recent, limit)})
        return answer({"actions": services.orders.in_force(services.moment())[:limit]})

    @router.post("/api/actions", status_code=201, summary="Block by hand", responses=documented())
    async def order(request: Request, visitor: Annotated[Visitor, act]) -> Response:
        """Block client addresses. Never an allow-listed one; always with an end."""
        new = await read_object(request, Order)
        action = await services.orders.block(
            new.addresses, visitor.name, new.reason[:500], new.minutes, services.moment()
        )
        await write(services, _entry(visitor, "block", action.id, request))
        return answer(action, 201)

    @router.delete("/api/actions/{id}", summary="End an action now", responses=documented(404))
    async def end(request: Request, visitor: Annotated[Visitor, act], id: str) -> Response:
        """The edge lets the targets pass again within a second."""
        if not await services.orders.end(id, visitor.name, services.moment()):
            raise PeerError("no such action is in force", status=404, where=id[:60])
        await write(services, _entry(visitor, "unblock", id, request))
        return answer({"ended": id})

    return router


def _entry(visitor: Visitor, action: str, id: str, request: Request) -> Entry:
    return Entry(visitor.name, action, address_of(request) or "::", attributes={"action": id})
