"""Parameters of the recipe `labelled_image_folder`."""

from typing import ClassVar, Literal

from pydantic import model_validator

from medcoss.specs.base import documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import OR_DECLARED, ImageModality, PatientsByPath, Pixels, Splits


class LabelledImageFolder(PatientsByPath):
    """Any images with classes: a CSV table of labels, or class folders."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    expected: ClassVar[str] = "PNG, JPEG, TIFF or DICOM images"

    name: Literal["labelled_image_folder"] = documented(
        "always labelled_image_folder", default="labelled_image_folder"
    )  # fmt: skip
    modality: ImageModality = documented(
        "modality of the images: xray or pathology" + OR_DECLARED % "image2d", default="xray"
    )
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    table: str | None = documented(
        "path of the CSV table in the dataset; null: the folder that directly holds an image is its class",
        default="labels.csv",
        max_length=1024,
    )
    file_column: str = documented(
        "column with the path of an image, seen from the folder of the table", default="file", max_length=64
    )
    label_column: str = documented("column with the class name", default="label", max_length=64)
    patient_column: str | None = documented(
        "column with the patient, who stays in one split; null: patient_pattern finds the patient",
        default=None,
        max_length=64,
    )
    split_column: str | None = documented(
        "column with train, val or test, empty to leave it to splits; null: splits divides all",
        default=None,
        max_length=64,
    )
    splits: Splits = documented("division into train, val and test", default=Splits(method="random"))

    @model_validator(mode="after")
    def _one_way_to_patients(self) -> "LabelledImageFolder":
        if self.patient_column and self.patient_pattern:
            raise ValueError("patient_column and patient_pattern both tell the patient; give one of them")
        if self.patient_column and self.table is None:
            raise ValueError("patient_column is a column of the table, but table is null; give patient_pattern")
        return self
