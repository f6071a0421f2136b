"""/api/incidents: what was found, and the evidence for it."""

from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from deepmoat.api.errors import answer, documented
from deepmoat.api.guard import guard
from deepmoat.api.services import Services
from deepmoat.identity.roles import Visitor
from deepmoat.kit.errors import PeerError


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["incidents"])
    may = Depends(guard(services, "incidents"))

    @router.get("/api/incidents", summary="List incidents", responses=documented())
    async def listed(
        visitor: Annotated[Visitor, may],
        status: Annotated[Literal["open", "closed"] | None, Query(description="none: both")] = None,
        before: Annotated[str, Query(description="the next page after this id")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Incidents, the newest first."""
        found = await to_thread.run_sync(
            lambda: services.incidents.list(status=status, before=before, limit=limit)
        )
        return answer({"incidents": found})

    @router.get("/api/incidents/{id}", summary="One incident", responses=documented(404))
    async def one(visitor: Annotated[Visitor, may], id: str) -> Response:
        """One incident with its timeline, subjects and evidence queries."""
        found = await to_thread.run_sync(services.incidents.get, id)
        if found is None:
            raise PeerError("no such incident", status=404, where=id[:60])
        return answer(found)

    return router
