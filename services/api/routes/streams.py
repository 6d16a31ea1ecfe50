"""Streams of server-sent events: one job, or the state changes of all."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlalchemy.orm import Session

from services.api.dependencies import PartsOf, ReaderOf, Viewer
from services.api.pages import InProject
from services.api.schemas_streams import Part
from services.api.streaming.hub import Hub
from services.api.streaming.sources import FeedSource, JobSource
from services.api.streaming.wire import EventStream
from services.core import jobs, projects
from services.core.errors import FieldError, ValidationFailed
from services.core.feed import Choice
from services.core.keys import Identity
from services.core.reports import LARGEST, Position

router = APIRouter(prefix="/v1", tags=["streams"])

ALL_PARTS: tuple[Part, ...] = get_args(Part)
LastEventId = Annotated[
    str | None,
    Header(max_length=80, description="the id of the last event that was received; goes before `after`"),
]
Include = Annotated[
    str | None,
    Query(max_length=64, description="what to send, by commas: events, metrics, logs, progress; left out: everything"),
]
_JOB_EXAMPLE = """retry: 1873
id: e0.m0.l0

event: event
data: {"seq":12,"attempt":1,"type":"running","data":{"worker":"gpu-1"},"at":"2026-03-02T09:14:07Z"}
id: e12.m0.l0

event: metric
data: {"seq":340,"attempt":1,"step":50,"values":{"loss/xray":0.413},"at":"2026-03-02T09:14:31Z"}
id: e12.m340.l0

event: progress
data: {"state":"running","attempt":1,"done":50,"total":2000,"fraction":0.025,"message":null,"eta_s":936.0}

: alive
id: e12.m340.l0

event: end
data: {"state":"succeeded"}
id: e15.m380.l77.end

"""
_FEED_EXAMPLE = """retry: 2210
id: 41

event: event
data: {"seq":42,"job_id":"job_0198c1d2e3f4a5b6c7d8e","project_id":"prj_default","kind":"pretrain","name":"chest",\
"attempt":1,"type":"succeeded","data":{},"at":"2026-03-02T10:02:11Z"}
id: 42

"""


_HEARTBEAT = {
    "description": "a stream without news shows so often that it is alive, in seconds", "schema": {"type": "number"},
}  # fmt: skip


def _described(text: str, example: str) -> dict[int | str, dict[str, Any]]:
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": text, "content": content, "headers": {"X-Heartbeat-S": _HEARTBEAT}}}


def hub(request: Request) -> Hub:
    """The hub of this process."""
    found = request.app.state.hub
    assert isinstance(found, Hub)
    return found


HubOf = Annotated[Hub, Depends(hub)]


def _wrong(field: str, value: str, expected: str) -> ValidationFailed:
    return ValidationFailed(f"'{value}': {expected}", [FieldError(field, expected)])


def _parts(include: str | None) -> Sequence[Part]:
    if include is None:
        return ALL_PARTS
    wanted = [word.strip() for word in include.split(",")]
    for word in wanted:
        if word not in ALL_PARTS:
            raise _wrong("query:include", word, f"expected some of {', '.join(ALL_PARTS)}, by commas")
    return [part for part in ALL_PARTS if part in wanted]


@router.get(
    "/jobs/{job_id}/stream",
    response_class=EventStream,
    responses=_described("Server-sent events: `event`, `metric`, `log`, `progress`, at last `end`", _JOB_EXAMPLE)
    | {204: {"description": "`Last-Event-ID` is that of the end: there is nothing more, do not connect again"}},
)
def stream_job(
    job_id: str,
    request: Request,
    parts: PartsOf,
    streams: HubOf,
    session: ReaderOf,
    caller: Viewer,
    include: Include = None,
    after: Annotated[
        str | None, Query(max_length=80, description="the id of an event: only what comes after it")
    ] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """What a job reports, as it comes: state changes, metrics, log lines, each row once, and its progress.

    It begins with what is there already. When the job has ended and everything is sent, the last event is `end`. An
    event `closed` says why a stream ends before its time; it holds a problem document.
    """
    jobs.get(session, caller.scope, job_id)
    position = Position()
    for field, value in (("query:after", after), ("header:Last-Event-ID", last_event_id)):
        if value:
            try:
                position = Position.parse(value)
            except ValueError as error:
                raise _wrong(field, value, str(error)) from None
    if position.ended:
        return Response(status_code=204)
    authorization = request.headers.get("Authorization")
    source = JobSource(streams, caller, authorization, job_id, position, _parts(include))
    return EventStream(source, parts.settings.stream_stall_s, parts.settings.stream_heartbeat_s)


@router.get(
    "/events",
    response_class=EventStream,
    responses=_described("Server-sent events: `event`", _FEED_EXAMPLE),
)
def stream_events(
    request: Request,
    parts: PartsOf,
    streams: HubOf,
    session: ReaderOf,
    caller: Viewer,
    project: InProject = None,
    job: Annotated[str | None, Query(max_length=64, description="only this job")] = None,
    kind: Annotated[str | None, Query(max_length=32, description="only jobs of this kind")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=LARGEST, description="the id of an event: also what came after it; 0: all there is")
    ] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """State changes of all jobs that the key sees, as they come, each once, in one order. It does not end.

    Left out, `after` is this moment. A change is sent once all that were being written before it are settled.
    """
    choice = _choice(session, caller, project, job, kind)
    if last_event_id:
        if not (last_event_id.isascii() and last_event_id.isdecimal()):
            raise _wrong("header:Last-Event-ID", last_event_id, "expected the id of an event of this stream, a number")
        after = min(int(last_event_id), LARGEST)
    source = FeedSource(streams, caller, request.headers.get("Authorization"), choice, after)
    return EventStream(source, parts.settings.stream_stall_s, parts.settings.stream_heartbeat_s)


def _choice(session: Session, caller: Identity, project: str | None, job: str | None, kind: str | None) -> Choice:
    if job is not None:
        jobs.get(session, caller.scope, job)
    return Choice(projects.narrowed(session, caller.scope, project), job, kind)
