"""/api/actions: what the edge is told to refuse; order one by hand, or end one now."""

from typing import Annotated, Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from deepmoat.api.errors import answer, documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.services import Services
from deepmoat.api.small import read_object
from deepmoat.identity.desk import Aim, Kind
from deepmoat.identity.roles import Visitor
from deepmoat.store.state.actions import Kept


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Block (or limit, or challenge) for ``minutes`` (at most a week).

    ``addresses`` are single client addresses; each of ``targets`` is what a request must have, all of it.
    """

    addresses: tuple[str, ...] = ()
    targets: tuple[dict[str, str], ...] = ()
    kind: Kind = "block"
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
        before: Annotated[str, Query(description="with ended: the next page after this id")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Actions in force; with ``ended``, the newest ones whether in force or not."""
        if ended:
            kept = await to_thread.run_sync(lambda: services.actions.list(before=before, limit=limit))
            return answer({"actions": [_shown(k) for k in kept]})
        found = await to_thread.run_sync(services.actions.in_force, services.moment())
        return answer({"actions": [_shown(Kept(action)) for action in found[:limit]]})

    @router.post(
        "/api/actions", status_code=201, summary="Block, limit or challenge by hand", responses=documented()
    )
    async def order(request: Request, visitor: Annotated[Visitor, act]) -> Response:
        """Block, limit or challenge what is named. Never an allow-listed address; always with an end.

        `targets` are objects such as `{"client_country": "XX", "url_path": "/login"}`: a request is hit when
        all of one are equal. `client_address` there may be a network.
        """
        new = await read_object(request, Order)
        wanted: tuple[Aim, ...] = (*new.addresses, *new.targets)
        action = await services.desk.block(
            visitor, address_of(request), wanted, new.reason, new.minutes, services.now(), new.kind
        )
        return answer(action, 201)

    @router.delete("/api/actions/{id}", summary="End an action now", responses=documented(404))
    async def end(request: Request, visitor: Annotated[Visitor, act], id: str) -> Response:
        """The edge lets the targets pass again within a second."""
        await services.desk.end(visitor, address_of(request), id, services.now())
        return answer({"ended": id})

    return router


def _shown(kept: Kept) -> dict[str, Any]:
    """The action's fields, and who ended it before its time."""
    return {**msgspec.to_builtins(kept.action), "ended_by": kept.ended_by}
