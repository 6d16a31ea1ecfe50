"""An `evaluate` job: the scores of a fine-tuned model on one split, with pictures and what comparisons need."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcoss.data import patients
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.bootstrap import (
    LEVEL,
    Floats,
    Statistics,
    classification_statistics,
    draws_of,
    intervals_of,
    resampled,
    weighted_means,
)
from medcoss.evaluation.calibration import reliability
from medcoss.evaluation.gallery import Gallery, draw_dice
from medcoss.evaluation.metrics import class_report, classification_scores, confusion, dice, surface_scores
from medcoss.evaluation.pictures import draw_confusion, draw_reliability, draw_roc
from medcoss.evaluation.predict import Case, class_probabilities, segmented_cases
from medcoss.evaluation.windows import Sliding
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.registry import load_model
from medcoss.run import BadInput, RunContext, Stopped, refuse
from medcoss.specs import fit
from medcoss.specs.postprocess import Steps
from medcoss.specs.records import Bootstrap, EvaluationInfo
from medcoss.specs.training import EvaluateSpec

Row = dict[str, Any]
Indices = NDArray[np.int64]
PICTURES = {
    "classification": ("confusion.png", "roc.png", "reliability.png"), "segmentation": ("overlay.png", "dice.png"),
}  # fmt: skip


def evaluate(
    spec: EvaluateSpec, model_dir: Path, dataset_dir: Path, output_dir: Path, context: RunContext
) -> EvaluationInfo:
    """Score the model and write `evaluation.json`, pictures, which are artifacts, too, and `draws.json` to
    `output_dir`.

    Raises BadInput when model and dataset do not fit each other.
    """
    model, info = load_model(model_dir)
    reader = ShardReader(dataset_dir)
    refuse(fit.evaluation(spec, reader.info, info))
    leakage = []
    if spec.split in patients.HELD_OUT:
        seen = patients.of_model(model_dir)
        measured = [(spec.dataset, dataset_dir)]
        leakage = patients.check_leakage(seen, measured, spec.allow_leakage, context, [spec.split])
    indices = reader.indices(spec.split)
    if isinstance(model, Classifier):
        indices = indices[[reader.label(int(i)) >= 0 for i in indices]]
    if len(indices) == 0:
        raise BadInput(f"the dataset has no labelled samples in the split '{spec.split}'", "split")
    output_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        result = _classification(spec, model, model_dir, reader, indices, output_dir, context)
    else:
        how = Sliding(tuple(info.sample_shape[1:]), spec.batch_size, spec.overlap, spec.mirror)
        steps = info.postprocess if spec.postprocess is None else spec.postprocess
        result = _segmentation(spec, model, how, steps, reader, indices, output_dir, context)
    result.leakage += leakage
    path = output_dir / "evaluation.json"
    path.write_text(result.model_dump_json(indent=1))
    context.artifact(path, path.name, "application/json")
    for name in PICTURES[info.task]:
        context.artifact(output_dir / name, name, "image/png")
    context.metrics(0, result.metrics)
    return result


def _classification(spec: EvaluateSpec, model: Classifier, model_dir: Path, reader: ShardReader, indices: Indices,
                    folder: Path, context: RunContext) -> EvaluationInfo:  # fmt: skip
    vocabulary = model_dir / "vocab.txt"
    tokenizer = Tokenizer(vocabulary) if vocabulary.is_file() else None
    context.progress(0, len(indices), f"scoring {spec.split}")
    probabilities = class_probabilities(model, reader, indices, spec.batch_size, tokenizer)
    labels = np.array([reader.label(int(i)) for i in indices])
    classes = reader.info.classes or []
    table = confusion(probabilities, labels)
    context.progress(len(indices), len(indices), f"scored {spec.split}")
    samples = [reader.rows[int(i)] for i in indices]
    cases = [
        {"source": sample.source, "label": classes[label], "predicted": classes[int(p.argmax())],
         "probabilities": [round(float(v), 6) for v in p]}
        for sample, label, p in zip(samples, labels, probabilities, strict=True)
    ]  # fmt: skip
    units = [sample.patient or sample.group or sample.id for sample in samples]
    drawn, how = _drawn(spec, classification_statistics(probabilities, labels, classes), units)
    metrics = classification_scores(probabilities, labels)
    per_class = class_report(probabilities, labels, classes)
    told = {*metrics, *(f"{name}/{row['class']}" for row in per_class for name, value in row.items()
                        if value is not None)}  # fmt: skip
    ends = {n: v for n, v in intervals_of(drawn).items() if n in told}
    _write_draws(spec, drawn, metrics, zip(units, (sample.id for sample in samples), strict=True), folder)
    bins = reliability(probabilities, labels)
    draw_confusion(table, classes, folder / "confusion.png")
    draw_roc(probabilities, labels, classes, ends, folder / "roc.png")
    draw_reliability(bins, metrics["ece"], folder / "reliability.png")
    return EvaluationInfo(
        schema_version=2, metrics=metrics, intervals=ends, bootstrap=how, classes=classes, per_class=per_class,
        confusion=table, calibration=bins, cases=cases,
    )  # fmt: skip


def _segmentation(spec: EvaluateSpec, model: Segmenter, how: Sliding, steps: Steps, reader: ShardReader,
                  indices: Indices, folder: Path, context: RunContext) -> EvaluationInfo:  # fmt: skip
    classes = reader.info.classes or []
    rows: list[Row] = []
    grids: set[bool] = set()
    # whose a case is, by its name
    patients = {(row := reader.rows[int(i)]).group: row.patient or row.group for i in indices}
    # image files carry no pixel size that could be trusted
    unit = "mm" if reader.info.kind is Kind.VOLUME3D else "px"
    gallery = Gallery(classes, unit, folder)
    for case in segmented_cases(model, reader, indices, how, steps):
        if context.should_stop():
            raise Stopped
        of_case = _case_rows(case, classes, unit)
        grids.add(case.original)
        gallery.add(case, of_case)
        rows += of_case
        context.progress(len(rows) // max(len(classes), 1), len(patients), case.name)
    gallery.draw(folder / "overlay.png")
    draw_dice({of: [row["dice"] for row in rows if row["class"] == of] for of in classes}, folder / "dice.png")
    names = ("dice", f"hd95_{unit}", f"assd_{unit}")
    columns = {name: [row[name] for row in rows] for name in names}
    for of in classes:
        columns |= {f"{name}/{of}": [r[name] if r["class"] == of else None for r in rows] for name in names}
    known_as = [(patients[row["case"]], row["case"], row["class"]) for row in rows]
    drawn, bootstrap = _drawn(spec, weighted_means(columns), [unit for unit, *_ in known_as])
    _write_draws(spec, drawn, columns, known_as, folder)
    means = {name: float(np.mean(known)) for name, c in columns.items() if (known := [v for v in c if v is not None])}
    # a prediction without any voxel has no surface distance; it must not vanish from the mean unseen
    undefined = {"hd95_undefined": float(sum(row[names[1]] is None for row in rows))}
    flat = {name: value for name, value in means.items() if len(classes) > 1 or "/" not in name}
    return EvaluationInfo(
        schema_version=2, metrics=flat | undefined, intervals=intervals_of(drawn), bootstrap=bootstrap, classes=classes,
        per_class=[_class_row(rows, of, names, means) for of in classes], cases=rows,
        grid="original" if all(grids) else "stored",
    )  # fmt: skip


def _case_rows(case: Case, classes: list[str], unit: str) -> list[Row]:
    """The scores of one case, a row a class; `empty` tells which masks have no voxel of it."""
    rows: list[Row] = []
    for name, predicted, reference in zip(classes, case.predicted_masks, case.reference_masks, strict=True):
        found = surface_scores(predicted, reference, case.spacing)
        missing = [which for which, mask in (("predicted", predicted), ("reference", reference)) if not mask.any()]
        rows.append(
            {"case": case.name, "class": name, "dice": dice(predicted, reference),
             f"hd95_{unit}": found and found.hd95, f"assd_{unit}": found and found.assd,
             "empty": "both" if len(missing) == 2 else "".join(missing) or None}
        )  # fmt: skip
    return rows


def _class_row(rows: list[Row], of: str, names: tuple[str, ...], means: dict[str, float]) -> Row:
    own = [row for row in rows if row["class"] == of]
    empty = {
        f"empty_{which}": sum(row["empty"] == which for row in own) for which in ("predicted", "reference", "both")
    }
    return {"class": of, "cases": len(own), **{name: means.get(f"{name}/{of}") for name in names}, **empty}


def _drawn(spec: EvaluateSpec, statistics: Statistics, units: list[str]) -> tuple[dict[str, Floats], Bootstrap | None]:
    """The scores in the draws of a bootstrap, and how that was made."""
    found = resampled(statistics, units, spec.bootstrap, spec.seed)
    how = Bootstrap(resamples=spec.bootstrap, seed=spec.seed, level=LEVEL, units=len(set(units)))
    return found, how if intervals_of(found) else None


def _write_draws(spec: EvaluateSpec, drawn: dict[str, Floats], names: Iterable[str], cases: Iterable[Sequence[str]],
                 folder: Path) -> None:  # fmt: skip
    """What a comparison with another model needs."""
    draws = draws_of(drawn, names, cases, spec.bootstrap, spec.seed)
    if draws is not None:
        (folder / "draws.json").write_text(draws.model_dump_json())
