"""The whole set of synthetic sample data: five folders that the recipes of preprocessing read, and a README."""

from collections.abc import Callable
from pathlib import Path

from medcoss.phantoms import ct, mr, pathology, reports, xray

FOLDERS = ("reports", "xray", "ct", "mr", "pathology")

_README = """\
# Synthetic sample data

Every file in this folder was made by software (`medcoss sample-data`, seed {seed}). No patient, no scanner and no
real image or report went into it. It shows how data has to be laid out and lets the whole platform run; it is not
fit for diagnosis, nor for judging how good a model is. The images carry no marker of being synthetic, because a
model could learn it: this file and the DICOM headers (PatientName SYNTHETIC^PHANTOM, ImageComments) say it.

The same seed with the same versions of NumPy, SciPy, SimpleITK, Pillow and pydicom gives the same bytes.

- `reports/reports.csv`: {reports} radiology reports from a grammar, with the columns study_id, findings, impression,
  indication, label (normal, pneumonia, effusion) and split. Recipe `openi_reports` with label_column `label`.
- `xray/<split>/<class>/`: chest radiographs, the projection of a model chest. Classes normal, pneumonia (patchy
  opacities) and effusion (fluid at the lung bases), in one lung or both. 8-bit PNG, and {dicoms} DICOM files in test.
  Recipe `image_folder` with labels `folders`.
- `ct/`: {ct} volumes of the upper abdomen in Hounsfield units. Label maps `_label`: 1 liver, 2 tumour in the liver.
  Recipe `volume_folder` with modality `ct`, label_suffix `_label`, label_names `liver`, `tumour`.
- `mr/`: {mr} volumes of the heart, bright blood, in several orientations, some oblique. Label maps `_label`: 1 left
  atrium. Recipe `volume_folder` with modality `mr`, label_suffix `_label`, label_names `left_atrium`.
- `pathology/<split>/<class>/`: tiles as if stained with haematoxylin and eosin, 0.5 um a pixel. Classes tumour, stroma
  and normal (glands). Recipe `image_folder` with modality `pathology` and labels `folders`.

Free to use for any purpose, without conditions (CC0 1.0: https://creativecommons.org/publicdomain/zero/1.0/).
"""


def _refuse_occupied(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; expected a new or empty directory: choose another path")
    if directory.is_dir() and any(directory.iterdir()):
        raise ValueError(
            f"the directory {directory} is not empty; expected a new or empty one: choose another directory, "
            "or remove this one first"
        )


def write_sample_data(
    directory: Path, *, seed: int = 0, progress: Callable[[int, int, str], None] | None = None
) -> list[Path]:
    """Write the sample data of all five modalities below `directory` and return the five folders, in the order
    reports, xray, ct, mr, pathology.

    `progress(done, total, file)` is called before each file and once at the end. Raises
    ValueError when `directory` is a file or not empty.
    """
    _refuse_occupied(directory)
    directory.mkdir(parents=True, exist_ok=True)
    readme = _README.format(
        seed=seed,
        reports=len(reports.CLASSES) * sum(reports.COUNTS.values()),
        dicoms=len(xray.CLASSES),
        ct=ct.COUNT,
        mr=mr.COUNT,
    )
    items = [item for module in (reports, xray, ct, mr, pathology) for item in module.items(seed)]
    for done, item in enumerate(items):
        if progress:
            progress(done, len(items), item.path)
        item.write(directory)
    # last, so that it stands for a whole set
    (directory / "README.md").write_text(readme, encoding="utf-8")
    if progress:
        progress(len(items), len(items), "")
    return [directory / name for name in FOLDERS]
