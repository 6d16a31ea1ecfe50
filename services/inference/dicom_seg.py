"""Masks as a DICOM segmentation object that refers to the images that were segmented (PS3.3 A.51)."""

import io
import warnings

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medcoss import __version__
from medcoss.modalities import Kind
from services.inference.deployments import Served
from services.inference.inputs import Input, invalid
from services.inference.predict import Segmented, SegmentedVolume

SERIES_NUMBER = 900
_NO_SERIES = "a DICOM SEG refers to DICOM images; the input is none: send a DICOM series"
_NO_IMAGE = "a DICOM SEG refers to a DICOM image; the input is none: send a DICOM file"
# what classes are called here, by the words in their names, as SNOMED CT has it; whatever else is a tissue by its name
_KNOWN = {
    "tumour": ("MorphologicallyAbnormalStructure", CodedConcept("108369006", "SCT", "Neoplasm")),
    "lesion": ("MorphologicallyAbnormalStructure", CodedConcept("52988006", "SCT", "Lesion")),
    "liver": ("AnatomicalStructure", CodedConcept("10200004", "SCT", "Liver")),
    "left atrium": ("AnatomicalStructure", CodedConcept("82471001", "SCT", "Left atrium")),
    "heart": ("AnatomicalStructure", CodedConcept("80891009", "SCT", "Heart")),
    "lung": ("AnatomicalStructure", CodedConcept("39607008", "SCT", "Lung")),
    "kidney": ("AnatomicalStructure", CodedConcept("64033007", "SCT", "Kidney")),
    "spleen": ("AnatomicalStructure", CodedConcept("78961009", "SCT", "Spleen")),
    "pancreas": ("AnatomicalStructure", CodedConcept("15776009", "SCT", "Pancreas")),
    "brain": ("AnatomicalStructure", CodedConcept("12738006", "SCT", "Brain")),
}
_SYNONYMS = {"tumor": "tumour", "neoplasm": "tumour", "schwannoma": "tumour", "lungs": "lung", "kidneys": "kidney"}
_CATEGORIES = {
    "MorphologicallyAbnormalStructure": CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure"),
    "AnatomicalStructure": CodedConcept("123037004", "SCT", "Anatomical Structure"),
}
_TISSUE = CodedConcept("85756007", "SCT", "Tissue")


def of(found: Segmented, served: Served) -> bytes:
    """The object as a DICOM file, a segment for each class; segments may overlap.

    Its frames refer to the instances, and frames, that the input came as. Raises ValidationFailed for an input that did
    not come as DICOM, or whose header lacks what the object has to repeat.
    """
    headers, masks = _sources(found)
    # frames, rows, columns, segments
    pixels = np.moveaxis(masks, 0, -1).astype(np.uint8)
    info = served.info
    try:
        with warnings.catch_warnings():
            # of values in the headers of others, and of segments without a pixel
            warnings.simplefilter("ignore")
            made = hd.seg.Segmentation(
                source_images=headers, pixel_array=pixels, segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=[_segment(n, name, served) for n, name in enumerate(info.classes or [], 1)],
                series_instance_uid=hd.UID(), series_number=SERIES_NUMBER, sop_instance_uid=hd.UID(),
                instance_number=1, manufacturer="medcoss", manufacturer_model_name="medcoss gateway",
                software_versions=__version__, device_serial_number=served.id,
                series_description=f"{info.name} version {info.version}"[:64], content_label="SEGMENTATION",
                content_description=f"{info.name} version {info.version}"[:64], omit_empty_frames=bool(pixels.any()),
            )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # of the missing attribute the name is told, of others the type: texts may carry header values
        told = error.name if isinstance(error, AttributeError) and error.name else type(error).__name__
        detail = f"the headers of the input cannot be referred to by a DICOM SEG ({told}); ask for nifti or contours"
        raise invalid("/file", detail) from error
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def check(given: Input, kind: Kind) -> None:
    """Refuse what a DICOM SEG cannot refer to, before it is segmented: files that are neither DICOM nor an archive."""
    data = given.files[0].data
    if given.text is None and data[128:132] != b"DICM" and not data.startswith(b"PK"):
        raise invalid("query:format", _NO_SERIES if kind is Kind.VOLUME3D else _NO_IMAGE)


def _sources(found: Segmented) -> tuple[list[Dataset], NDArray[np.bool_]]:
    """The headers of the input and the masks (K, frames, rows, columns) of its frames."""
    if isinstance(found, SegmentedVolume):
        if found.volume.series is None:
            raise invalid("query:format", _NO_SERIES)
        series = found.volume.series
        own = np.stack([found.request.own(mask) for mask in found.masks])
        return series.headers, series.frames(own)
    if found.header is None:
        raise invalid("query:format", _NO_IMAGE)
    return [found.header], found.masks[:, None]


def _segment(number: int, name: str, served: Served) -> SegmentDescription:
    category, kind = _coded(name)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=served.info.name, version=str(served.info.version), family=codes.cid7162.ArtificialIntelligence
    )
    return SegmentDescription(
        segment_number=number, segment_label=name[:64], segmented_property_category=category,
        segmented_property_type=kind, algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )  # fmt: skip


def _coded(name: str) -> tuple[CodedConcept, CodedConcept]:
    """Category and type of a class by the words of its name."""
    plain = name.lower().replace("_", " ")
    plain = _SYNONYMS.get(plain, plain)
    if plain in _KNOWN:
        category, kind = _KNOWN[plain]
        return _CATEGORIES[category], kind
    return _TISSUE, CodedConcept(plain.upper()[:16] or "CLASS", "99MEDCOSS", name[:64])
