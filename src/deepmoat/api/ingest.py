"""POST /ingest/{logstore}: NDJSON, or lines of a log format.

Good lines are kept whatever their neighbours are. An answer is given once every accepted line would
survive a power cut: 200 when all were accepted, 400 that lists the refused ones by line otherwise.
"""

from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from deepmoat.api.body import Budget, read
from deepmoat.api.errors import Problem, answer, documented
from deepmoat.api.guard import guard
from deepmoat.api.services import Checked, Receives, Services
from deepmoat.collect.readers import PARSERS
from deepmoat.identity.roles import Visitor
from deepmoat.kit.errors import PeerError
from deepmoat.kit.meters import count, drop
from deepmoat.kit.spool import Stream
from deepmoat.model import LOGSTORES

OURS = frozenset({"audit", "rejected"})
"""Logstores only deepmoat itself writes."""

SHOWN = 100
"""Refused lines that an answer lists."""

_ON_LOOP = 65_536
_JSON = frozenset(
    {"application/x-ndjson", "application/jsonl", "application/json", "application/x-jsonlines"}
)
_FORM = "application/x-www-form-urlencoded"  # what curl and urllib say when nobody tells them
_TEXT = frozenset({"text/plain", "application/octet-stream", _FORM, ""})


class Line(msgspec.Struct, frozen=True):
    """One refused line, counted from 1."""

    line: int
    reason: str


class Accepted(msgspec.Struct, frozen=True):
    """How many records are safe on disk."""

    accepted: int


class Refusal(msgspec.Struct, frozen=True):
    """What was kept and what was not: ``refused`` are the first of ``refused_total``."""

    accepted: int
    refused: list[Line]
    refused_total: int
    error: Problem


def routes(services: Services, budget: Budget) -> APIRouter:
    """The router of this noun."""
    router = APIRouter(tags=["ingest"])
    may = Depends(guard(services, "ingest"))

    @router.post(
        "/ingest/{logstore}",
        summary="Send log lines",
        responses=documented(404, 408, 413, 415, 507) | _EXAMPLES,
        openapi_extra=_BODY,
    )
    async def ingest(
        request: Request,
        logstore: str,
        visitor: Annotated[Visitor, may],
        parser: Annotated[str, Query(description="combined, common, sshd, plain …; none: NDJSON")] = "",
    ) -> Response:
        """Send NDJSON (one object a line), or raw lines with ``?parser=``; gzip is welcome."""
        writable(logstore)
        name = known(parser) if parser else _by_type(request)
        reader = services.readers.get(name)
        with budget.hold() as held:
            body = await read(request, services.settings, held)
            few(body, services.settings.lines)
            checked = await check(reader, body, services.now(), logstore)
            await keep(services, Stream(name, logstore, visitor.name), checked)
        if not checked.refused:
            return answer(Accepted(checked.records))
        return answer(_refusal(checked), 400)

    return router


def few(body: bytes, most: int) -> None:
    """PeerError 413 for a body of more than ``most`` lines.

    Its bytes do not bound the work: 58 kB of gzip are 20 million lines of ``{}``.
    """
    if body.count(b"\n") > most:
        raise PeerError(f"the body has more than {most} lines", status=413, hint="send smaller batches")


async def check(reader: Receives, body: bytes, now: float, logstore: str = "app") -> Checked:
    """``reader.check``, off the loop when the body is large."""
    if len(body) < _ON_LOOP:
        return reader.check(body, now, logstore)
    return await to_thread.run_sync(reader.check, body, now, logstore)


async def keep(services: Services, stream: Stream, checked: Checked) -> None:
    """Make the good records durable and count them, and the refused ones."""
    if checked.refused:
        drop(stream.receiver, "refused", len(checked.refused))
    if checked.records:
        await services.committer.commit(stream, checked.good)
        count("deepmoat_api_accepted_records_total", checked.records, receiver=stream.receiver)


def writable(logstore: str) -> None:
    """PeerError 404 for a logstore that is not there, 403 for one of our own."""
    if logstore not in LOGSTORES:
        raise PeerError(
            f"no such logstore: {logstore[:60]!r}",
            status=404,
            where="logstore",
            hint="known: " + ", ".join(n for n in LOGSTORES if n not in OURS),
        )
    if logstore in OURS:
        raise PeerError(f"only deepmoat itself writes {logstore!r}", status=403, where="logstore")


def known(parser: str) -> str:
    """``parser``, when it is one for senders (our own segments' formats are not); else PeerError 400."""
    names = sorted({*PARSERS.names(), "ndjson"})
    if parser in names:
        return parser
    close = get_close_matches(parser, names, 1)
    hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
    raise PeerError(f"no such parser: {parser[:60]!r}", where="parser", hint=hint)


def content_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _by_type(request: Request) -> str:
    kind = content_type(request)
    if kind in _JSON or kind in _TEXT:
        return "ndjson"
    raise PeerError(
        f"cannot read {kind[:60]!r}",
        status=415,
        where="Content-Type",
        hint="send application/x-ndjson, or name a ?parser= for other lines",
    )


def _refusal(checked: Checked) -> Refusal:
    lines = [Line(r.position, r.reason) for r in checked.refused[:SHOWN]]
    total = len(checked.refused)
    message = f"{total} of {total + checked.records} records refused; the others are kept"
    problem = Problem(
        "refused_records", message, "mend the lines named and send only those again", f"line {lines[0].line}"
    )
    return Refusal(checked.records, lines, total, problem)


_EXAMPLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All records are safe on disk",
        "content": {"application/json": {"example": {"accepted": 2}}},
    },
    400: {
        "description": "Some records were refused, and the others kept; or the request cannot be understood",
        "content": {
            "application/json": {
                "example": msgspec.to_builtins(
                    Refusal(
                        2,
                        [Line(3, "no JSON object")],
                        1,
                        Problem("refused_records", "1 of 3 records refused; the others are kept"),
                    )
                )
            }
        },
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"time": 1785204000.5, "client_address": "192.0.2.1", "url_path": "/v1/chat"}\n',
            },
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}
