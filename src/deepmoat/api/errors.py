"""Errors as every sender and analyst sees them: ``{"error": {"code", "message", "hint", "where"}}``."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from deepmoat.kit.errors import ConfigError, MoatError, PeerError, QueryError, TransientError

RETRY_SECONDS = 5
"""What a sender is told to wait when it may work later."""

CODES = {
    400: "bad_request",
    401: "no_credential",
    403: "not_allowed",
    404: "not_found",
    405: "wrong_method",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "wrong_type",
    429: "too_many",
    500: "our_fault",
    503: "not_now",
    507: "disk_full",
}


class Problem(msgspec.Struct, frozen=True):
    """What went wrong: ``code`` for machines, the rest for people; ``where`` may point into a query."""

    code: str
    message: str
    hint: str = ""
    where: str = ""


class Failure(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: Problem


def status_of(error: MoatError) -> int:
    """The HTTP status that tells whose fault it is."""
    if isinstance(error, PeerError | TransientError):
        return error.status
    return 400 if isinstance(error, QueryError | ConfigError) else 500


def problem(error: MoatError) -> Problem:
    """``error`` for the one who sent the request; a query's line and caret go to ``where``."""
    code = "bad_query" if isinstance(error, QueryError) else CODES.get(status_of(error), "error")
    message, _, caret = error.message.partition("\n")
    return Problem(code, message, error.hint, caret or error.where)


def headers_of(status: int) -> dict[str, str]:
    """Headers that belong to an error of this status."""
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="deepmoat"'}
    if status in (429, 503, 507):
        return {"Retry-After": str(RETRY_SECONDS)}
    return {}


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON."""
    body = msgspec.json.encode(value)
    return Response(body, status, dict(headers or {}), media_type="application/json")


def failure(error: MoatError) -> Response:
    """The answer to a request that failed with ``error``."""
    status = status_of(error)
    return answer(Failure(problem(error)), status, headers_of(status))


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error in our shape."""

    async def ours(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, MoatError)  # noqa: S101 - registered for nothing else
        return failure(exc)

    async def framework(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101 - registered for nothing else
        problem = Problem(CODES.get(exc.status_code, "error"), str(exc.detail))
        return answer(
            Failure(problem), exc.status_code, {**headers_of(exc.status_code), **(exc.headers or {})}
        )

    async def parameters(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)  # noqa: S101 - registered for nothing else
        first: dict[str, Any] = dict(exc.errors()[0])
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(Failure(Problem("bad_request", first["msg"], where=where)), 400)

    async def bug(_: Request, __: Exception) -> Response:
        return answer(Failure(Problem("our_fault", "something went wrong on our side")), 500)

    app.add_exception_handler(MoatError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(Exception, bug)


_PROBLEMS = {
    400: "The request cannot be understood",
    401: "No valid API key or session",
    403: "The role does not allow it",
    429: "Too many at once: try again after Retry-After seconds",
}


def documented(*more: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for OpenAPI: the ones every route can give, and ``more`` statuses."""
    schema = {"$ref": "#/components/schemas/Failure"}
    texts = _PROBLEMS | {status: CODES[status].replace("_", " ") for status in more}
    return {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, text in sorted(texts.items())
    }
