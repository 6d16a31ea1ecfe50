"""The calls that infer."""

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response

from medcoss.modalities import Kind
from services.inference import dicom_seg, masks
from services.inference.answers import answered
from services.inference.bodies import BODY, MASK_ANSWERS, VECTOR_ANSWERS
from services.inference.dependencies import Caller, GatewayDep, InputDep, caller, no_others
from services.inference.formats import (
    ARROW,
    JSON,
    NPY,
    VECTORS,
    Answer,
    arrow_embedding,
    arrow_probabilities,
    chosen,
    header_json,
    npy,
    server_timing,
)
from services.inference.inputs import Input
from services.inference.masks import MaskFormat
from services.inference.predict import Predictor
from services.inference.schemas import Classification, Embedding, SegmentedVolumes, TimingMs
from services.inference.timing import Timing
from services.inference.watch import Watch

VectorFormat = Literal["json", "npy", "arrow"] | None

calls = APIRouter(prefix="/v1/models", dependencies=[Depends(caller), Depends(no_others)])


@calls.post("/{name}/embed", openapi_extra=BODY, response_model=Embedding, responses=VECTOR_ANSWERS)
async def embed(
    name: str, given: InputDep, gateway: GatewayDep, caller: Caller, request: Request, format: VectorFormat = None
) -> Response:
    """The embedding of an image, a volume (mean over its windows) or a report."""
    form = chosen(VECTORS, format, request.headers.get("accept", ""), "an embedding")

    def work(predictor: Predictor, given: Input, timing: Timing, watch: Watch) -> Answer:
        values, info = predictor.embed(given, timing, watch), predictor.served.info
        told, spent = {"model": info.name, "version": str(info.version)}, timing.told(name)
        headers = _headers(info.version, spent)
        if form == "npy":
            return Answer(npy(values), NPY, headers)
        if form == "arrow":
            return Answer(arrow_embedding(values, told), ARROW, headers)
        found = Embedding(model=info.name, version=info.version, embedding=values.tolist(), timing_ms=spent)
        return Answer(found.model_dump_json().encode(), JSON)

    return await answered(gateway, request, caller.scope, name, "embed", given, work)


@calls.post("/{name}/classify", openapi_extra=BODY, response_model=Classification, responses=VECTOR_ANSWERS)
async def classify(
    name: str, given: InputDep, gateway: GatewayDep, caller: Caller, request: Request, format: VectorFormat = None
) -> Response:
    """The probability of every class."""
    form = chosen(VECTORS, format, request.headers.get("accept", ""), "a classification")

    def work(predictor: Predictor, given: Input, timing: Timing, watch: Watch) -> Answer:
        probabilities, info = predictor.classify(given, timing, watch), predictor.served.info
        values, spent = [*probabilities.values()], timing.told(name)
        headers = _headers(info.version, spent) | {"X-Class-Names": header_json(predictor.classes)}
        if form == "npy":
            return Answer(npy(np.array(values)), NPY, headers)
        if form == "arrow":
            told = {"model": info.name, "version": str(info.version)}
            return Answer(arrow_probabilities(predictor.classes, values, told), ARROW, headers)
        best = max(probabilities, key=lambda class_name: probabilities[class_name])
        found = Classification(
            model=info.name, version=info.version, prediction=best, probabilities=probabilities, timing_ms=spent
        )
        return Answer(found.model_dump_json().encode(), JSON)

    return await answered(gateway, request, caller.scope, name, "classify", given, work)


@calls.post("/{name}/segment", openapi_extra=BODY, response_model=SegmentedVolumes, responses=MASK_ANSWERS)
async def segment(
    name: str, given: InputDep, gateway: GatewayDep, caller: Caller, request: Request,
    format: MaskFormat | None = None, slice: Annotated[int | None, Query(ge=0)] = None,
) -> Response:  # fmt: skip
    """The masks on the input's own grid: a label map (NIfTI for a volume, PNG for an image), a DICOM SEG, outlines, a
    picture, or what each class covers alone.
    """
    accept = request.headers.get("accept", "")

    def work(predictor: Predictor, given: Input, timing: Timing, watch: Watch) -> Answer:
        offered = masks.OF_VOLUMES if predictor.served.info.kind is Kind.VOLUME3D else masks.OF_IMAGES
        form = masks.named(offered, format) or chosen(offered, None, accept, "a segmentation")
        if form == "dicom-seg":
            dicom_seg.check(given, predictor.served.info.kind)
        found = predictor.segment(given, timing, watch)
        if form == "json":
            told = masks.told(found, predictor.served, timing.told(name))
            return Answer(told.model_dump_json().encode(), JSON)
        with timing.stage("postprocess"):
            body, own = masks.body_of(found, predictor.served, form, slice)
        told = masks.told(found, predictor.served, timing.told(name))
        return masks.answer_of(body, offered[form], own, told, predictor.classes)

    return await answered(gateway, request, caller.scope, name, "segment", given, work)


def _headers(version: int, spent: TimingMs) -> dict[str, str]:
    return {"X-Model-Version": str(version), "Server-Timing": server_timing(spent)}
