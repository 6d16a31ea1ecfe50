"""The page of one served model: what it takes, what it gives, how to call it."""

import shlex

from medcoss.modalities import Kind
from medcoss.preprocess.received import SERVED_PIXELS, SERVED_VOXELS
from services.core.settings import Settings
from services.inference.deployments import Served
from services.inference.formats import VECTORS
from services.inference.inputs import MAX_TEXT
from services.inference.masks import OF_IMAGES, OF_VOLUMES
from services.inference.schemas import CallPage, LabelPage, ModelPage, Tensor

_ACCEPTS = {
    Kind.TEXT: ["JSON with a text", "plain text in UTF-8"],
    Kind.IMAGE2D: ["PNG", "JPEG", "TIFF", "a DICOM image"],
    Kind.VOLUME3D: ["NIfTI", "NRRD", "MHA", "an enhanced DICOM CT or MR", "a zip archive of one DICOM series"],
}
_STORED = ["a file of a dataset", "an object of the platform's bucket"]
_BY_REFERENCE = {Kind.TEXT: _STORED, Kind.IMAGE2D: [*_STORED, "an instance by DICOMweb"],
                 Kind.VOLUME3D: [*_STORED, "a study, series or instance by DICOMweb"]}  # fmt: skip
_EXAMPLES = {Kind.IMAGE2D: "image.png", Kind.VOLUME3D: "scan.nii.gz"}
_ENDINGS = {"segment": {Kind.VOLUME3D: "mask.nii.gz", Kind.IMAGE2D: "mask.png"}}


def page_of(served: Served, settings: Settings) -> ModelPage:
    """The page of a served model."""
    info = served.info
    return ModelPage(
        name=info.name, version=info.version, task=info.task, modality=info.modality, kind=info.kind,
        classes=info.classes, sample_shape=info.sample_shape, calls=served.calls, model_id=served.model_id,
        accepts=_ACCEPTS[info.kind] + _BY_REFERENCE[info.kind],
        inputs=[Tensor(name=name, shape=info.sample_shape) for name in info.input_names],
        outputs=[Tensor(name=name, shape=_shape(served, name)) for name in info.output_names],
        # 0 is what no class covers
        labels=[LabelPage(label=place, name=name)
                for place, name in enumerate(info.classes or [], 1 if info.task == "segmentation" else 0)],
        recipe=info.recipe, postprocess=[step.model_dump(mode="json") for step in info.postprocess],
        limits=_limits(info.kind, settings),
        endpoints=[_call(served, call, settings.gateway_url.rstrip("/")) for call in served.calls],
    )  # fmt: skip


def _shape(served: Served, output: str) -> list[int] | None:
    """Axes of one sample's output."""
    info = served.info
    if output != "logits" or info.classes is None:
        return None
    return [len(info.classes), *(info.sample_shape[1:] if info.task == "segmentation" else [])]


def _limits(kind: Kind, settings: Settings) -> dict[str, float]:
    own = {Kind.TEXT: {"characters": MAX_TEXT}, Kind.IMAGE2D: {"pixels": SERVED_PIXELS},
           Kind.VOLUME3D: {"voxels": SERVED_VOXELS}}  # fmt: skip
    return {"bytes": settings.max_inference_bytes, "seconds": settings.inference_timeout_s, **own[kind]}


def _call(served: Served, call: str, gateway: str) -> CallPage:
    info = served.info
    url = f"{gateway}/v1/models/{info.name}/{call}"
    formats = VECTORS if call != "segment" else OF_VOLUMES if info.kind is Kind.VOLUME3D else OF_IMAGES
    if info.kind is Kind.TEXT:
        sent = "-H 'Content-Type: application/json' -d '{\"text\": \"No focal consolidation. Heart size is normal.\"}'"
    else:
        sent = f"-F file=@{_EXAMPLES[info.kind]}"
    target = _ENDINGS.get(call, {}).get(info.kind)
    kept = f" -o {target}" if target else ""
    curl = f'curl -H "Authorization: Bearer $MEDCOSS_KEY" {sent}{kept} {shlex.quote(url)}'
    return CallPage(call=call, url=url, formats=formats, curl=curl)
