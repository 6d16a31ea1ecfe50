"""Outlines of masks as JSON: of volumes slice by slice, in mm in the patient; of images in pixels."""

from typing import Any

import numpy as np

from medcoss.preprocess.outlines import Polygon, image_outlines, volume_outlines
from services.inference.predict import SegmentedImage, SegmentedVolume

_DIGITS = 3


def of_image(found: SegmentedImage, classes: list[str]) -> dict[str, Any]:
    """Polygons of each class in pixels (x, y): (0, 0) is the middle of the first pixel of the first row."""
    return {
        "unit": "pixel",
        "classes": [
            {"name": name, "polygons": [*map(_told, image_outlines(mask))]}
            for name, mask in zip(classes, found.masks, strict=True)
        ],
    }


def of_volume(found: SegmentedVolume, classes: list[str]) -> dict[str, Any]:
    """Polygons of each class in mm (x, y, z), LPS, as in DICOM; slices are those of the file or of the series."""
    series, request = found.volume.series, found.request
    instances = series.instances if series else []
    told = []
    for name, mask in zip(classes, found.masks, strict=True):
        slices = [
            {"slice": number, "polygons": [*map(_told, polygons)]}
            | ({"sop_instance_uid": instances[number]} if instances else {})
            for number, polygons in volume_outlines(request.own(mask), request.original)
        ]
        told.append({"name": name, "slices": slices})
    return {"unit": "mm", "space": "LPS", "classes": told}


def _told(polygon: Polygon) -> dict[str, Any]:
    return {"hole": polygon.hole, "points": np.round(polygon.points, _DIGITS).tolist()}
