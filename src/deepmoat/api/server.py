"""The API as one FastAPI app. Routes in the order they are matched are ``build``'s."""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from deepmoat import __version__
from deepmoat.api import actions, backup, errors, health, incidents, ingest, keys, metrics, otlp, query
from deepmoat.api.body import Budget
from deepmoat.api.headers import Headers
from deepmoat.api.services import Services
from deepmoat.kit.errors import PeerError

ABOUT = """Send logs, ask them, see what was found and what was done about it.

Every route but the health checks wants `Authorization: Bearer moatkey_…` (make a key in the console's
settings, by `POST /api/keys`, or with `deepmoat key`). Errors are
`{"error": {"code", "message", "hint", "where"}}`.
"""

OPEN = frozenset({"/healthz", "/readyz", "/api/openapi.json"})
"""The API's routes that need no credential. ``/metrics`` needs none from this machine itself."""

_SCHEMAS = (errors.Failure, query.Asked, keys.NewKey, keys.ShownKey, actions.Order, ingest.Refusal)


def build(services: Services) -> FastAPI:
    """The app. The console, where it runs, is mounted on it afterwards."""
    app = FastAPI(
        title="deepmoat",
        version=__version__,
        description=ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    errors.install(app)
    app.add_middleware(Headers)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)
    budget = Budget(services.settings.in_flight_bytes)
    for router in (
        health.routes(services),
        metrics.routes(services),
        otlp.routes(services, budget),
        ingest.routes(services, budget),
        query.routes(services),
        incidents.routes(services),
        actions.routes(services),
        keys.routes(services),
        backup.routes(services),
        _nothing_else(),
    ):
        app.include_router(router)
    app.openapi = _described(app)  # type: ignore[method-assign]
    return app


def _nothing_else() -> APIRouter:
    """What is under our prefixes and matched nothing is 404 here, and never reaches the console."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    @router.api_route("/v1/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def missing(rest: str) -> None:
        """Say so."""
        raise PeerError("there is nothing here", status=404, hint="see /api/openapi.json")

    return router


def _described(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """OpenAPI with our structs and how to present a key."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        _, parts = msgspec.json.schema_components(_SCHEMAS, ref_template="#/components/schemas/{name}")
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).update(parts)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
        return schema

    return openapi
