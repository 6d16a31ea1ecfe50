"""Masks in the format that was asked for."""

import io
import json
from typing import Any, Literal

import numpy as np
from PIL import Image

from medcoss.preprocess.volumes import to_label_map
from services.inference import contours, dicom_seg, overlays
from services.inference.deployments import Served
from services.inference.formats import CONTOURS, DICOM, JSON, NIFTI, PNG, Answer, header_json, server_timing
from services.inference.inputs import invalid
from services.inference.predict import Segmented, SegmentedVolume
from services.inference.schemas import ClassFound, SegmentedVolumes, TimingMs

MaskFormat = Literal["file", "json", "nifti", "png", "dicom-seg", "overlay", "contours"]
OF_VOLUMES = {"nifti": NIFTI, "json": JSON, "dicom-seg": DICOM, "overlay": PNG, "contours": CONTOURS}
OF_IMAGES = {"png": PNG, "json": JSON, "dicom-seg": DICOM, "overlay": PNG, "contours": CONTOURS}


def named(offered: dict[str, str], form: str | None) -> str | None:
    """The format that the caller named; `file` is the label map. Raises ValidationFailed for one of another input."""
    if form == "file":
        return next(iter(offered))
    if form is not None and form not in offered:
        raise invalid(
            "query:format", f"this model's masks are not given as {form}; expected one of {', '.join(offered)}"
        )
    return form


def body_of(found: Segmented, served: Served, form: str, number: int | None) -> tuple[bytes, dict[str, str]]:
    """The masks in a format other than json, and headers of their own; `number` is the slice of an overlay.

    Raises ValidationFailed for a format that this input cannot be given in.
    """
    if form == "dicom-seg":
        return dicom_seg.of(found, served), {}
    classes = served.info.classes or []
    if form == "contours":
        if isinstance(found, SegmentedVolume):
            outlines = contours.of_volume(found, classes)
        else:
            outlines = contours.of_image(found, classes)
        about: dict[str, Any] = {"model": served.info.name, "version": served.info.version}
        return json.dumps(about | outlines).encode(), {}
    if isinstance(found, SegmentedVolume):
        if form == "overlay":
            picture, chosen = overlays.of_volume(found, number)
            return picture, {"X-Slice": str(chosen)}
        return found.request.to_nifti(found.masks), {}
    if form == "overlay":
        return overlays.of_image(found), {}
    png = io.BytesIO()
    Image.fromarray(to_label_map(found.masks)).save(png, format="PNG")
    return png.getvalue(), {}


def told(found: Segmented, served: Served, spent: TimingMs) -> SegmentedVolumes:
    """What each class covers."""
    classes, info = served.info.classes or [], served.info
    amounts = dict(zip(classes, found.amounts(), strict=True))
    volume = isinstance(found, SegmentedVolume)
    return SegmentedVolumes(
        model=info.name, version=info.version,
        volume_ml=amounts if volume else None,
        pixels=None if volume else {name: int(n) for name, n in amounts.items()},
        found=[
            ClassFound(name=name, label=number, voxels=int(np.count_nonzero(mask)), highest_probability=highest)
            for number, (name, mask, highest) in enumerate(zip(classes, found.masks, found.highest, strict=True), 1)
        ],
        timing_ms=spent,
    )  # fmt: skip


def answer_of(body: bytes, media_type: str, own: dict[str, str], of: SegmentedVolumes, classes: list[str]) -> Answer:
    """A file of masks; what is known of it beside stands in the headers."""
    amounts = {"X-Volume-Ml": header_json(of.volume_ml)} if of.pixels is None else {"X-Pixels": header_json(of.pixels)}
    headers = {
        "X-Model-Version": str(of.version),
        "X-Class-Names": header_json(classes),
        "Server-Timing": server_timing(of.timing_ms),
    }
    return Answer(body, media_type, headers | amounts | own)
