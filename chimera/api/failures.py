"""Every error as `{"error": {"code", "message"}}`, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from chimera.errors import BadCursor, Rebuild, Refuse, Retry, Skip, StaleCursor, Unreachable

BAD_PARAMETER = "bad_parameter"


class Failure(Exception):
    """An answer that is an error, raised where it is found."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def bad_parameter(name: str, expectation: str) -> Failure:
    """Blame one parameter of the request."""
    return Failure(HTTPStatus.UNPROCESSABLE_ENTITY, BAD_PARAMETER, f"{name}: {expectation}")


def install(app: FastAPI) -> None:
    """Let `app` answer every error in the one shape."""
    app.add_exception_handler(Failure, _on_failure)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for error in (BadCursor, StaleCursor, Refuse, Skip, Retry, Rebuild, Unreachable):
        app.add_exception_handler(error, _on_chimera)
    app.add_exception_handler(Exception, _on_crash)


def _answer(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)


async def _on_failure(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)  # noqa: S101  (this handler is installed for it)
    return _answer(error.status, error.code, error.message)


async def _on_chimera(_request: Request, error: Exception) -> Response:
    match error:
        case BadCursor():
            message = f"cursor: {error}" if str(error) else "cursor: not one of this daemon"
            return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, BAD_PARAMETER, message)
        case StaleCursor():
            message = "cursor: its block has left memory; begin again without it"
            return _answer(HTTPStatus.GONE, "stale_cursor", message)
        case Refuse():
            return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, BAD_PARAMETER, str(error))
        case Skip():
            return _answer(HTTPStatus.CONFLICT, "not_now", str(error))
        case _:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (this handler is installed for it)
    status = HTTPStatus(error.status_code)
    code = status.name.lower()
    message = f"{request.method} {request.url.path}: {status.phrase.lower()}"
    return _answer(status, code, message, error.headers)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  (installed for it)
    message = "; ".join(_complaint(fault) for fault in error.errors())
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, BAD_PARAMETER, message)


async def _on_crash(_request: Request, _error: Exception) -> Response:
    # The server logs the traceback; the client learns nothing of our insides.
    message = "the daemon failed to answer; its log says why"
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message)


def _complaint(fault: Mapping[str, Any]) -> str:
    where: Sequence[int | str] = fault["loc"]
    kind: str = fault["type"]
    if kind == "json_invalid" or len(where) == 1:
        return "body: expected a JSON object"
    if kind == "extra_forbidden":
        return f"{where[1]}: there is no such parameter"
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where[1]}: {said[:1].lower()}{said[1:]}"
