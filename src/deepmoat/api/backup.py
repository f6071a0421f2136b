"""/api/backup: a copy of everything deepmoat knows, made while it runs.

It always goes to ``backups`` in the data folder, never to a place the caller names; ``deepmoat backup DIR``
moves it from there.
"""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from deepmoat.api.errors import answer, documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.services import Services
from deepmoat.identity.audit import Entry
from deepmoat.identity.roles import Visitor


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["backup"])
    may = Depends(guard(services, "backup"))

    @router.post("/api/backup", status_code=201, summary="Make a backup", responses=documented(507))
    async def make(request: Request, visitor: Annotated[Visitor, may]) -> Response:
        """Load what was acknowledged, then copy logs, state and key; the folder it is in."""
        folder, manifest = await to_thread.run_sync(services.backup)
        entry = Entry(visitor.name, "backup", address_of(request), attributes={"folder": folder})
        await services.desk.audit.write(entry)
        return answer({"folder": folder, "made": manifest.made, "records": manifest.records}, 201)

    return router
