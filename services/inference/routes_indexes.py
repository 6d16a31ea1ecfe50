"""Searching an index: `POST /v1/indexes/{name}/search`."""

import json
import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medcoss.data.vectors import Floats
from services.core.errors import BadRequest, FieldError, ValidationFailed
from services.core.scope import Scope
from services.inference.bodies import BODY, JSON_BODY
from services.inference.dependencies import Caller, GatewayDep, admitted, caller, no_others
from services.inference.gateway import Gateway
from services.inference.indexes import Loaded
from services.inference.inputs import REFERENCES, Input, read_input
from services.inference.predict import Predictor
from services.inference.schemas import NearestStudy, SearchAnswer, SearchTimingMs
from services.inference.timing import STAGES, Timing
from services.inference.watch import Watch

MOST = 1000
router = APIRouter(prefix="/v1/indexes", dependencies=[Depends(caller), Depends(no_others)])


class StoredSample(BaseModel):
    """A study that the index holds: its dataset, and its sample's id, its group, or the file that it was made of."""

    model_config = ConfigDict(extra="forbid", str_max_length=1024)

    dataset: str
    id: str


class _ByVector(BaseModel):
    model_config = ConfigDict(extra="forbid")

    vector: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=8192)]


class _BySample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sample: StoredSample


Asked = Input | StoredSample | list[float]


async def read_query(request: Request, _: Annotated[None, Depends(admitted)]) -> Asked:
    """What is searched for. Raises ValidationFailed or BadRequest naming what is missing."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return await read_input(request)
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON ({error}); expected an object with text, vector or sample") from error
    for name, kind in (("vector", _ByVector), ("sample", _BySample)):
        if isinstance(body, dict) and name in body:
            return _parsed(kind, body)
    if isinstance(body, dict) and not {"text", *REFERENCES} & body.keys():
        detail = "expected text, vector, sample or a reference to a stored file, or a file as multipart or raw body"
        raise ValidationFailed(detail, [FieldError("", detail)])
    return await read_input(request)


def _parsed(kind: type[_ByVector | _BySample], body: dict[str, Any]) -> Asked:
    try:
        made = kind.model_validate(body)
    except ValidationError as error:
        errors = [FieldError("/" + "/".join(map(str, e["loc"])), str(e["msg"])) for e in error.errors()[:20]]
        raise ValidationFailed("; ".join(f"{e.pointer}: {e.detail}" for e in errors), errors) from None
    return made.vector if isinstance(made, _ByVector) else made.sample


QueryDep = Annotated[Asked, Depends(read_query)]
_SAMPLE = {
    "type": "object", "required": ["dataset", "id"], "additionalProperties": False,
    "properties": {"dataset": {"type": "string", "maxLength": 1024}, "id": {"type": "string", "maxLength": 1024}},
}  # fmt: skip
_VECTOR = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 8192}
_JSON: dict[str, Any] = {
    "schema": {
        "oneOf": [
            *JSON_BODY["schema"]["oneOf"],
            *(
                {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: schema}}
                for name, schema in (("sample", _SAMPLE), ("vector", _VECTOR))
            ),
        ]
    },
    "examples": {
        **JSON_BODY["examples"],
        "a stored study": {"value": {"sample": {"dataset": "ds_0199c2b4a11b2c3d4e5f6", "id": "train/normal/0001.png"}}},
        "a vector": {"value": {"vector": [0.12, -0.07, 0.31]}},
    },
}  # fmt: skip
_CONTENT = BODY["requestBody"]["content"]
QUERY = {"requestBody": {"required": True, "content": {**_CONTENT, "application/json": _JSON}}}


def _some(words: str) -> Any:
    return Query(max_length=100, description=f"only studies {words}; may be repeated")


Names = list[Annotated[str, Field(max_length=256)]]


@router.post("/{index}/search", openapi_extra=QUERY)
async def search(
    index: str, given: QueryDep, gateway: GatewayDep, caller: Caller, request: Request,
    k: Annotated[int, Query(ge=1, le=MOST, description="most studies in the answer")] = 10,
    exact: Annotated[bool, Query(description="compare with every vector, also where a graph would be walked")] = False,
    dataset: Annotated[Names | None, _some("of one of these datasets")] = None,
    modality: Annotated[Names | None, _some("of one of these modalities")] = None,
    split: Annotated[Names | None, _some("of one of these splits")] = None,
    label: Annotated[Names | None, _some("of one of these classes")] = None,
    patient: Annotated[Names | None, _some("of one of these patients, by the keyed hash")] = None,
    input: Annotated[str | None, Query(max_length=32, description="modality of the file, where the encoder reads "
                                       "files of several")] = None,
    project: Annotated[str | None, Query(max_length=64, description="project of the index, by name or id")] = None,
) -> SearchAnswer:  # fmt: skip
    """The studies nearest to an image, a volume, a report, a stored study or a vector, by the cosine of embeddings.

    A stored study is found first, with the score 1.
    """
    filters = {"dataset": dataset or [], "modality": modality or [], "split": split or [], "label": label or [],
               "patient": patient or []}  # fmt: skip

    def whole(watch: Watch) -> SearchAnswer:
        timing = Timing(queue=(time.perf_counter() - watch.entered) * 1000)
        loaded = gateway.indexes.open(caller.scope, index, project)
        version = loaded.version
        vector = _vector(gateway, caller.scope, loaded, given, input, timing, watch)
        began = time.perf_counter()
        found, among, compared = loaded.nearest(vector, k, filters, exact=exact)
        spent = {name: round(getattr(timing, name), 2) for name in STAGES}
        return SearchAnswer(
            index=version.name, version=version.number, model_id=version.model_id,
            search="exact" if compared else "approximate", among=among,
            items=[NearestStudy(score=one.score, **one.study) for one in found],
            timing_ms=SearchTimingMs(**spent, search=round((time.perf_counter() - began) * 1000, 2),
                                     total=round(timing.total, 2)),
        )  # fmt: skip

    return await gateway.admission.run(request, whole)


def _vector(gateway: Gateway, scope: Scope, loaded: Loaded, given: Asked, modality: str | None, timing: Timing,
            watch: Watch) -> Floats:  # fmt: skip
    """The vector of what is searched for: stored, given, or embedded as the studies of the index were."""
    if isinstance(given, StoredSample):
        return loaded.vectors.vector(loaded.number_of(given.dataset, given.id))
    if isinstance(given, list):
        return np.asarray(given, np.float32)
    served = gateway.indexes.encoder(loaded.version, given, modality)
    predictor = Predictor(served, gateway.deployments.preprocessing(served), gateway.triton)
    found = predictor.embed(gateway.references.fetched(scope, given, timing, watch), timing, watch)
    timing.told(served.info.name)
    return found
