"""A `predict` job: a fine-tuned model over a whole dataset, with nothing known of what is right."""

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import ShardReader
from medcoss.evaluation.batch_masks import Group, groups, mask_of
from medcoss.evaluation.embed import chosen, tokenizer_of
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, OfClassifier, Segmenter
from medcoss.models.registry import load_model
from medcoss.preprocess.dicom_items import dicom_files, planned_stacks
from medcoss.preprocess.dicom_series import Stack
from medcoss.preprocess.dicom_volume import read_stack
from medcoss.preprocess.postprocess import postprocessed
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.received import File, received_image, received_volume
from medcoss.preprocess.recipe import Rejected
from medcoss.preprocess.serving import ServingPipeline
from medcoss.preprocess.volumes import to_label_map
from medcoss.run import BadInput, RunContext, Stopped, refuse
from medcoss.specs import fit
from medcoss.specs.inference import PredictSpec
from medcoss.specs.names import IMAGE_SUFFIXES, VOLUME_SUFFIXES, stem_of
from medcoss.specs.records import ModelInfo
from medcoss.training.features import features, identity
from medcoss.training.precision import pick_device, precision

Row = dict[str, Any]
TABLE = "predictions.parquet"
PARQUET = "application/vnd.apache.parquet"
_TYPES = {"volume_ml": pa.float64(), "pixels": pa.int64()}
# files of which a segmenter's work is kept when the job is set aside
_STATE = "rows.json"
_CHECKPOINT_S = 600.0


def predict(spec: PredictSpec, model_dir: Path, dataset_dir: Path, folder: Path, context: RunContext) -> int:
    """Predict; `predictions.parquet`, and the masks of a segmenter as `masks/...`, become artifacts. How many rows.

    Goes on from a checkpoint. Raises BadInput when model and dataset do not fit each other, or when too many files
    cannot be used, and Stopped, with a checkpoint written, when the context asks to stop.
    """
    model, info = load_model(model_dir)
    reader = ShardReader(dataset_dir) if (dataset_dir / "meta.json").is_file() else None
    refuse(fit.predicting(None if reader is None else reader.info, info))
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        assert reader is not None
        table = _classified(spec, model, info, model_dir, reader, folder, context)
    else:
        assert isinstance(model, Segmenter)
        table = (_segmented(spec, model, info, Raw(dataset_dir), folder, context) if reader is None
                 else _segmented_samples(spec, model, info, reader, folder, context))  # fmt: skip
    pq.write_table(table, folder / TABLE)
    context.artifact(folder / TABLE, TABLE, PARQUET)
    return table.num_rows


def _classified(spec: PredictSpec, model: Classifier, info: ModelInfo, model_dir: Path, reader: ShardReader,
                work: Path, context: RunContext) -> pa.Table:  # fmt: skip
    """A row a sample: what is predicted, the probability of each class, and the label where the dataset has one."""
    indices = chosen(reader, spec.split)
    of_input = f"{identity(model_dir, reader.root, spec.batch_size)} {spec.split} probabilities"
    found = features(
        OfClassifier(model, probabilities=True), reader, indices, work / "probabilities", context,
        batch_size=spec.batch_size, tokenizer=tokenizer_of(model_dir, reader), identity=of_input,
    )  # fmt: skip
    classes, known = info.classes or [], reader.info.classes or []
    rows = [reader.rows[int(i)] for i in indices]
    columns: dict[str, Any] = {
        "sample": [row.id for row in rows], "group": [row.group for row in rows],
        "source": [row.source for row in rows], "split": [row.split for row in rows],
        "patient": [row.patient for row in rows],
        "label": [known[row.label] if 0 <= row.label < len(known) else None for row in rows],
        "predicted": [classes[int(p.argmax())] for p in found],
    }  # fmt: skip
    columns |= {f"probability {name}": np.asarray(found[:, k]) for k, name in enumerate(classes)}
    return pa.table(columns, pa.schema([(n, pa.float32() if n.startswith("probability ") else pa.string())
                                        for n in columns]))  # fmt: skip


@dataclass(frozen=True)
class _Input:
    """A file, or a series of files, of a raw dataset: its first `path`, and what its mask is called."""

    path: str
    mask: str
    stack: Stack | None = None
    problem: str = ""


def _segmented(spec: PredictSpec, model: Segmenter, info: ModelInfo, raw: Raw, work: Path,
               context: RunContext) -> pa.Table:  # fmt: skip
    """A row a file and class: what it covers, or why the file could not be used."""
    asked, rows = list(_inputs(raw, info)), _restored(work, context)
    if not asked:
        what = "images" if info.kind is Kind.IMAGE2D else "volumes or DICOM series"
        raise BadInput(f"the dataset holds no {what} that this model reads", "dataset")
    model.to(pick_device()).eval()
    pipeline = ServingPipeline(info.recipe, info.kind, info.findings)
    steps = {one.path: partial(_of_file, one, model, info, pipeline, raw, work, spec.batch_size, context)
             for one in asked}  # fmt: skip
    _through(steps, "path", rows, work, context)
    bad = {row["path"]: row["problem"] for row in rows if row.get("problem")}
    if len(bad) > spec.max_bad_fraction * len(asked):
        first = next(iter(bad))
        raise BadInput(f"{len(bad)} of {len(asked)} files cannot be used, more than max_bad_fraction allows; the first "
                       f"one: {bad[first]}", first)  # fmt: skip
    names = ("path", "mask", "class", "volume_ml", "pixels", "problem")
    return pa.Table.from_pylist(rows, pa.schema([(name, _TYPES.get(name, pa.string())) for name in names]))


def _segmented_samples(spec: PredictSpec, model: Segmenter, info: ModelInfo, reader: ShardReader, work: Path,
                       context: RunContext) -> pa.Table:  # fmt: skip
    """A row a case of a prepared dataset and class."""
    rows, volume = _restored(work, context), info.kind is Kind.VOLUME3D

    def made(group: Group) -> list[Row]:
        content, amounts = mask_of(group, reader, model, info, spec.batch_size)
        _store(content, group.mask, volume, work, context)
        first = group.first
        told = {"path": first.source, "group": first.group, "split": first.split, "patient": first.patient or None}
        return [told | row for row in _amounts(group.mask, info, amounts)]

    _through({one.first.group: partial(made, one) for one in groups(reader, spec)}, "group", rows, work, context)
    names = ("path", "group", "split", "patient", "mask", "class", "volume_ml" if volume else "pixels")
    return pa.Table.from_pylist(rows, pa.schema([(name, _TYPES.get(name, pa.string())) for name in names]))


def _through(steps: Mapping[str, Callable[[], list[Row]]], key: str, rows: list[Row], work: Path,
             context: RunContext) -> None:  # fmt: skip
    """Gather the rows of all inputs but those that have some already, which their `key` names; raises Stopped."""
    done = {row[key] for row in rows}
    context.progress(len(done), len(steps), "segmenting")
    kept_at = time.monotonic()
    for number, (name, step) in enumerate(steps.items()):
        if name in done:
            continue
        if context.should_stop():
            _keep(rows, work, context)
            raise Stopped
        rows += step()
        if time.monotonic() - kept_at >= _CHECKPOINT_S:
            _keep(rows, work, context)
            kept_at = time.monotonic()
        context.progress(number + 1, len(steps), "segmenting")


def _inputs(raw: Raw, info: ModelInfo) -> Iterator[_Input]:
    """What of a raw dataset the model is for; label maps that lie beside volumes are none."""
    suffix = info.recipe.get("label_suffix") or ""
    if info.kind is Kind.IMAGE2D:
        for path in raw.files(IMAGE_SUFFIXES):
            yield _Input(path, f"masks/{path}.png")
        return
    for path in raw.files(VOLUME_SUFFIXES):
        if not (suffix and stem_of(path).endswith(suffix)):
            yield _Input(path, f"masks/{stem_of(path)}.nii.gz")
    for number, found in enumerate(planned_stacks(raw, info.modality.upper(), dicom_files(raw))):
        if isinstance(found, Stack):
            path = found.slices[0].path
            yield _Input(path, f"masks/{Path(path).parent.as_posix()}/series-{number:04}.nii.gz", found)
        elif isinstance(found, Rejected):
            yield _Input(found.path, "", problem=found.reason)


def _of_file(one: _Input, model: Segmenter, info: ModelInfo, pipeline: ServingPipeline, raw: Raw, work: Path,
             batch_size: int, context: RunContext) -> list[Row]:  # fmt: skip
    try:
        if one.problem:
            raise BadInput(one.problem, one.path)
        content, amounts = _mask(one, model, info, pipeline, raw, batch_size)
    except BadInput as error:
        context.log(f"{one.path}: {error.message}", "warning")
        return [{"path": one.path, "problem": error.message}]
    _store(content, one.mask, info.kind is Kind.VOLUME3D, work, context)
    return [{"path": one.path} | row for row in _amounts(one.mask, info, amounts)]


def _store(content: bytes, name: str, volume: bool, work: Path, context: RunContext) -> None:
    with tempfile.NamedTemporaryFile(dir=work) as file:
        file.write(content)
        file.flush()
        context.artifact(Path(file.name), name, "application/gzip" if volume else "image/png")


def _amounts(mask: str, info: ModelInfo, amounts: list[float]) -> list[Row]:
    """What each class covers: ml of a volume, pixels of an image."""
    volume = info.kind is Kind.VOLUME3D
    return [
        {"mask": mask, "class": of, "volume_ml" if volume else "pixels": amount if volume else int(amount)}
        for of, amount in zip(info.classes or [], amounts, strict=True)
    ]


def _mask(one: _Input, model: Segmenter, info: ModelInfo, pipeline: ServingPipeline, raw: Raw,
          batch_size: int) -> tuple[bytes, list[float]]:  # fmt: skip
    """The label map as a file on the input's own grid, and what each class covers: ml of a volume, pixels of an
    image. The masks go through the steps that the model was fine-tuned with, as those of evaluations do.
    """
    classes = info.classes or []
    if pipeline.kind is Kind.IMAGE2D:
        pixels, _ = received_image([File(one.path, raw.read(one.path))])
        pipeline.check_colours(pixels, one.path)
        masks = pipeline.image_masks(_probabilities(model, pipeline.pixels(pixels))[0], pixels.shape[:2])
        masks = postprocessed(masks, classes, info.postprocess, (1.0, 1.0))
        png = io.BytesIO()
        Image.fromarray(to_label_map(masks)).save(png, format="PNG")
        return png.getvalue(), [float(np.count_nonzero(mask)) for mask in masks]
    if one.stack is not None:
        image = read_stack(one.stack, raw.root)
    else:
        image = received_volume([File(one.path, raw.read(one.path))], info.modality).image
    request = pipeline.segmented(image, tuple(info.sample_shape[1:]))
    masks = request.restore(_probabilities(model, windows) for windows in request.batches(batch_size))
    masks = postprocessed(masks, classes, info.postprocess, request.spacing)
    return request.to_nifti(masks), request.volume_ml(masks)


def _probabilities(model: Segmenter, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (N, K, ...) of windows (N, C, ...)."""
    device = pick_device()
    with torch.inference_mode(), precision(device):
        logits = model(torch.from_numpy(np.ascontiguousarray(windows)).to(device))
    found: NDArray[np.float32] = torch.sigmoid(logits.float()).cpu().numpy()
    return found


def _keep(rows: list[Row], work: Path, context: RunContext) -> None:
    """Write what is known so far as a checkpoint; the masks are stored already."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        (Path(name) / _STATE).write_text(json.dumps(rows))
        context.checkpoints.save(len(rows), Path(name))


def _restored(work: Path, context: RunContext) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=work) as name:
        found = Path(name)
        if context.checkpoints.latest(found) is None or not (found / _STATE).is_file():
            return []
        rows: list[Row] = json.loads((found / _STATE).read_text())
        context.log(f"resumed after {len({row['path'] for row in rows})} files")
        return rows
