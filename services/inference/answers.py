"""An inference from its admission to its answer, at once or with its progress as server-sent events."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from medcoss.run import BadInput
from services.core.errors import MedcossError
from services.core.scope import Scope
from services.inference import metrics
from services.inference.formats import JSON, STREAM, Answer, wants_stream
from services.inference.gateway import Gateway
from services.inference.inputs import Input
from services.inference.predict import Predictor
from services.inference.problems import as_error, document
from services.inference.timing import Timing
from services.inference.watch import GivenUp, Step, Watch

Work = Callable[[Predictor, Input, Timing, Watch], Answer]

log = structlog.get_logger(__name__)


async def answered(
    gateway: Gateway, request: Request, scope: Scope, name: str, call: str, given: Input, work: Work
) -> Response:
    """The answer of `work` by the model `name`; with `Accept: text/event-stream` told step by step."""

    def whole(watch: Watch) -> Answer:
        timing = Timing(queue=(time.perf_counter() - watch.entered) * 1000)
        predictor = gateway.predictor(scope, name, call)
        result = "failed"
        try:
            found = work(predictor, gateway.references.fetched(scope, given, timing, watch), timing, watch)
            result = "answered"
            return found
        except GivenUp:
            result = "given_up"
            raise
        except (BadInput, MedcossError) as error:
            result = "refused" if as_error(error).status < 500 else "failed"
            raise
        finally:
            metrics.ended(name, call, result)

    if wants_stream(request.headers.get("accept", "")):
        # a proxy that keeps pieces back would keep the progress back
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(gateway, whole), media_type=STREAM, headers=headers)
    answer = await gateway.admission.run(request, whole)
    return Response(answer.content, media_type=answer.media_type, headers=answer.headers)


async def _events(gateway: Gateway, whole: Callable[[Watch], Answer]) -> AsyncIterator[bytes]:
    """`progress` events, then one `answer` or `problem`."""
    try:
        async for found in gateway.admission.steps(whole):
            if found is None:
                yield format_sse_event(comment="alive")
            elif isinstance(found, Step):
                yield _event("progress", {"stage": found.stage, "done": found.done, "total": found.total})
            else:
                yield _event("answer", _told(found))
    except (BadInput, MedcossError) as error:
        yield _event("problem", document(as_error(error)))
    except Exception:
        log.exception("unexpected error in a stream")
        yield _event("problem", document(MedcossError("something went wrong; the log has it under the request id")))


def _told(answer: Answer) -> dict[str, Any]:
    """An answer as JSON: `json` of one that is JSON, else its bytes as `base64`."""
    told: dict[str, Any] = {"media_type": answer.media_type, "headers": answer.headers}
    if answer.media_type == JSON:
        return told | {"json": json.loads(answer.content)}
    return told | {"base64": base64.b64encode(answer.content).decode()}


def _event(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data))
