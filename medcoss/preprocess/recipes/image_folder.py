"""Any folder of images: class folders make labels, a file-name suffix marks masks.

Expected layout: `[train|validation|test]/[class]/image.{png,jpg,tif,dcm}`, every folder
level optional. Samples are uint8 (1, H, W) for X-ray and (3, H, W) for pathology; masks
uint8 (1, H, W) with 1 where the mask image is not black.
"""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Kind, get_modality
from medcoss.preprocess.inputs import Report, assign_splits, raw_files, step
from medcoss.preprocess.io import read_image
from medcoss.run import BadInput, RunContext
from medcoss.specs.preprocess import ImageFolder, PreprocessOptions
from medcoss.specs.raw import IMAGE_SUFFIXES, SPLIT_NAMES, class_of, has_suffix, images_of, mask_of
from medcoss.specs.records import DatasetInfo


def fitted(image: NDArray[np.uint8], recipe: ImageFolder) -> NDArray[np.uint8]:
    """Colour and size of the recipe: uint8 (C, H, W), bicubic."""
    mode = "L" if get_modality(recipe.modality).channels == 1 else "RGB"
    height, width = recipe.size
    resized = np.asarray(Image.fromarray(image).convert(mode).resize((width, height), Image.Resampling.BICUBIC))
    return resized[None] if resized.ndim == 2 else np.ascontiguousarray(resized.transpose(2, 0, 1))


def _fitted_mask(mask: NDArray[np.uint8], shape: tuple[int, ...], recipe: ImageFolder, path: str) -> NDArray[np.uint8]:
    if mask.shape[:2] != shape[:2]:
        raise BadInput(
            f"the mask is {mask.shape[0]} x {mask.shape[1]} pixels, its image {shape[0]} x {shape[1]}; "
            "expected the same size",
            path,
        )
    grey = mask if mask.ndim == 2 else mask.max(axis=2)
    height, width = recipe.size
    binary = Image.fromarray((grey > 0).astype(np.uint8))
    return np.asarray(binary.resize((width, height), Image.Resampling.NEAREST))[None]


def _class_of(path: str) -> str:
    found = class_of(path)
    if found is None:
        raise BadInput("the image lies in no class folder; expected <split>/<class>/image, or labels 'none'", path)
    return found


def build(spec: PreprocessOptions, recipe: ImageFolder, raw: Path, writer: ShardWriter, report: Report,
          context: RunContext) -> DatasetInfo:  # fmt: skip
    """Write one sample for each image below `raw` and describe the dataset."""
    files = raw_files(raw)
    images = images_of(files, recipe)
    report.inputs = len(images)
    report.ignored = [path for path in files if not has_suffix(path, IMAGE_SUFFIXES)]
    known = set(files)
    splits = assign_splits({path: path for path in images}, recipe.splits, spec.seed)
    classes: list[str] = []
    if recipe.labels == "folders":
        folders = (PurePosixPath(path).parent.name for path in images)
        classes = sorted({name for name in folders if name and name.lower() not in SPLIT_NAMES})
    for done, path in enumerate(images):
        step(context, done, len(images), path)
        try:
            label = classes.index(_class_of(path)) if recipe.labels == "folders" else -1
            image = read_image((raw / path).read_bytes(), path)
            mask = None
            if recipe.mask_suffix:
                mask_path = mask_of(path, recipe.mask_suffix, known)
                if mask_path is None:
                    raise BadInput(f"there is no mask with the suffix '{recipe.mask_suffix}' beside it", path)
                mask = _fitted_mask(
                    read_image((raw / mask_path).read_bytes(), mask_path), image.shape, recipe, mask_path
                )
        except BadInput as error:
            report.reject(error.where or path, error)
            continue
        sample = Sample(id=f"{len(writer):07d}", split=splits[path], source=path, group=path, label=label)
        writer.add(sample, fitted(image, recipe), mask)
    return DatasetInfo(
        modality=recipe.modality,
        kind=Kind.IMAGE2D,
        samples=len(writer),
        splits=writer.split_counts(),
        labelled=writer.labelled_counts(),
        classes=(["foreground"] if recipe.mask_suffix else classes) or None,
        has_masks=bool(recipe.mask_suffix),
        sample_shape=[get_modality(recipe.modality).channels, *recipe.size],
        recipe=recipe.model_dump(mode="json"),
    )
