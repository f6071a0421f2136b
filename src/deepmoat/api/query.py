"""/api/query: ask the logs. ``search | select …`` in, JSON, NDJSON or CSV out."""

from datetime import datetime
from typing import Annotated

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from deepmoat.api.errors import documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.render import MEDIA, Format, render
from deepmoat.api.services import Services
from deepmoat.api.small import read_object
from deepmoat.identity.roles import Visitor
from deepmoat.kit.moments import moment
from deepmoat.model import LOGSTORES, Result
from deepmoat.model import Query as Ask


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query as it is sent. ``since`` and ``until``: ISO 8601, seconds since 1970, or -15m."""

    text: str = "*"
    logstore: str = "access"
    since: str | int | float = ""
    until: str | int | float = ""
    limit: int = 100
    format: Format = "json"
    zone: str = "UTC"
    spreadsheet: bool = False


def routes(services: Services) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["query"])
    may = Depends(guard(services, "query"))

    async def ask(asked: Asked, visitor: Visitor, request: Request) -> Response:
        query = as_query(asked, services.moment())
        result = await services.desk.ask(visitor, address_of(request), query, services.now())
        body = await to_thread.run_sync(lambda: render(result, asked.format, spreadsheet=asked.spreadsheet))
        return Response(body, media_type=MEDIA[asked.format], headers=_headers(asked, result))

    @router.post("/api/query", summary="Ask the logs", responses=_ANSWERS, openapi_extra=_BODY)
    async def post(request: Request, visitor: Annotated[Visitor, may]) -> Response:
        """Run a query; a mistake in it comes back as 400 with a hint and the place."""
        return await ask(await read_object(request, Asked), visitor, request)

    @router.get("/api/query", summary="Ask the logs", responses=_ANSWERS)
    async def get(
        request: Request,
        visitor: Annotated[Visitor, may],
        text: Annotated[str, Query(description="search | select …", examples=["status >= 500"])] = "*",
        logstore: Annotated[str, Query(description=", ".join(LOGSTORES))] = "access",
        since: Annotated[str, Query(description="ISO 8601, seconds since 1970, or -15m")] = "",
        until: Annotated[str, Query(description="likewise; not included")] = "",
        limit: Annotated[int, Query(description="rows, where the text names no limit")] = 100,
        format: Annotated[Format, Query(description="json, ndjson or csv")] = "json",
        zone: Annotated[str, Query(description="IANA time zone of the query")] = "UTC",
        spreadsheet: Annotated[bool, Query(description="csv whose cells no spreadsheet runs")] = False,
    ) -> Response:
        """The same as a link."""
        asked = Asked(text, logstore, since, until, limit, format, zone, spreadsheet)
        return await ask(asked, visitor, request)

    return router


def as_query(asked: Asked, now: datetime) -> Ask:
    """The model's Query; QueryError for times that are none."""
    since = moment(str(asked.since), now, where="since")
    until = moment(str(asked.until), now, where="until")
    return Ask(asked.text, asked.logstore, since, until, asked.limit, asked.zone)


def _headers(asked: Asked, result: Result) -> dict[str, str]:
    """What the query cost, for the formats that have no place for it."""
    headers = {
        "X-Deepmoat-Rows-Read": str(result.rows_read),
        "X-Deepmoat-Elapsed": f"{result.elapsed:.6f}",
        "X-Deepmoat-Limited": result.limited.encode("ascii", "replace").decode(),
    }
    if asked.format == "csv":
        headers["Content-Disposition"] = f'attachment; filename="{asked.logstore}.csv"'
    return headers


_EXAMPLE = {
    "rows": [{"status": 503, "n": 17}],
    "columns": ["status", "n"],
    "rows_read": 120_000,
    "bytes_read": 480_000,
    "elapsed": 0.012,
    "limited": "",
}
_ANSWERS = documented() | {
    200: {
        "description": "The rows, in SELECT order",
        "content": {
            "application/json": {"example": _EXAMPLE},
            "application/x-ndjson": {"example": '{"status":503,"n":17}\n'},
            "text/csv": {"example": "status,n\r\n503,17\r\n"},
        },
    }
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Asked"},
                "example": {
                    "text": "status >= 500 | select status, count(*) as n group by status",
                    "logstore": "access",
                    "since": "-15m",
                },
            }
        },
    }
}
