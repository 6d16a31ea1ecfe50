"""Requests that are looked over: what is wrong with a field is an answer, not a refusal."""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from services.api.problems import MOST_ERRORS, field_errors
from services.core.errors import FieldError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def is_job(body: Any) -> bool:
    """Whether a body asks for a job at all, however wrong its fields are."""
    return isinstance(body, dict) and isinstance(body.get("kind"), str) and isinstance(body.get("spec"), dict)


def is_batch(body: Any) -> bool:
    """Whether a body asks for a batch at all."""
    jobs = body.get("jobs") if isinstance(body, dict) else None
    return isinstance(jobs, list) and len(jobs) > 0 and all(is_job(job) for job in jobs)


def is_pipeline(body: Any) -> bool:
    """Whether a body asks for a pipeline at all."""
    if not isinstance(body, dict):
        return False
    steps = body.get("steps")
    asked = isinstance(steps, dict) and len(steps) > 0 and all(is_job(step) for step in steps.values())
    return asked or isinstance(body.get("curriculum"), dict)


def _is_text(body: Any) -> bool:
    # JSON can spell half a character, which no answer can repeat; a body of another type has never been JSON
    try:
        return bool(json.dumps(body, ensure_ascii=False).encode())
    except (UnicodeEncodeError, TypeError):
        return False


def looked_over(
    is_request: Callable[[Any], bool], shown: Callable[[Any, Sequence[FieldError]], BaseModel]
) -> type[APIRoute]:
    """A class of routes that answer 200 with `shown` where fields of a body that `is_request` are wrong."""

    class LookedOver(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def look(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    found = error.errors()
                    if not (_is_text(error.body) and is_request(error.body)) or any(
                        each["loc"][0] != "body" for each in found
                    ):
                        raise
                    inner = [each | {"loc": each["loc"][1:]} for each in found[:MOST_ERRORS]]
                    said = field_errors(inner)
                    if len(found) > MOST_ERRORS:
                        said.append(FieldError("", f"and {len(found) - MOST_ERRORS} more"))
                    answer = await run_in_threadpool(shown, error.body, said)
                    return JSONResponse(answer.model_dump(mode="json"))

            return look

    return LookedOver
