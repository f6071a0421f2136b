"""/api/query: ask the logs. ``search | select …`` in, JSON, NDJSON or CSV out."""

from typing import Annotated

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from deepmoat.api.audit import Entry, write
from deepmoat.api.errors import documented
from deepmoat.api.guard import address_of, guard
from deepmoat.api.render import MEDIA, Format, render
from deepmoat.api.services import Services
from deepmoat.api.small import read_object
from deepmoat.identity.limit import Quota
from deepmoat.identity.roles import Visitor
from deepmoat.kit.errors import MoatError, PeerError
from deepmoat.kit.meters import count
from deepmoat.kit.moments import moment
from deepmoat.model import LOGSTORES, Result
from deepmoat.model import Query as Ask

MOST_ROWS = 100_000
THREADS = 8


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


def routes(services: Services, quota: Quota) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["query"])
    may = Depends(guard(services, "query"))
    threads = CapacityLimiter(THREADS)

    async def ask(asked: Asked, visitor: Visitor, request: Request) -> Response:
        query = as_query(asked, services)
        with quota.slot(visitor.id):
            outcome: Result | MoatError
            try:
                outcome = await to_thread.run_sync(
                    services.door.ask, query, services.moment(), limiter=threads
                )
            except MoatError as exc:
                outcome = exc
        failed = isinstance(outcome, MoatError)
        count("deepmoat_api_queries_total", outcome="failure" if failed else "success")
        await write(services, _entry(asked, visitor, request, failed))
        if isinstance(outcome, MoatError):
            raise outcome
        body = await to_thread.run_sync(
            lambda: render(outcome, asked.format, spreadsheet=asked.spreadsheet), limiter=threads
        )
        return Response(body, media_type=MEDIA[asked.format], headers=_headers(asked, outcome))

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


def as_query(asked: Asked, services: Services) -> Ask:
    """The model's Query; PeerError or QueryError for what cannot be meant."""
    if asked.logstore not in LOGSTORES:
        raise PeerError(
            f"no such logstore: {asked.logstore[:60]!r}", where="logstore", hint=", ".join(LOGSTORES)
        )
    if not 1 <= asked.limit <= MOST_ROWS:
        raise PeerError(f"limit wants 1 to {MOST_ROWS}, not {asked.limit}", where="limit")
    now = services.moment()
    since = moment(str(asked.since), now, where="since")
    until = moment(str(asked.until), now, where="until")
    if since and until and since >= until:
        raise PeerError("since must be before until", where="since")
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


def _entry(asked: Asked, visitor: Visitor, request: Request, failed: bool) -> Entry:
    return Entry(
        visitor.name,
        "query",
        address_of(request) or "::",
        "failure" if failed else "success",
        body=asked.text[:10_000],
        attributes={"logstore": asked.logstore, "since": str(asked.since), "until": str(asked.until)},
    )


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
