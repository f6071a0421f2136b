"""/healthz and /readyz: is the process alive, and can it do its work? Open to all: they say little."""

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import Response

from deepmoat.api.errors import answer
from deepmoat.api.services import Services


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Response:
        """200 while the process answers at all."""
        return answer({"alive": True})

    @router.get(
        "/readyz",
        summary="Can it do its work?",
        responses={503: {"description": "Not now; `reasons` says why"}},
    )
    async def readyz() -> Response:
        """200 when everything behind the API works, else 503 with the reasons."""
        reasons = list(await to_thread.run_sync(services.health))
        return answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    return router
