"""An `evaluate` job: the scores of a fine-tuned model on one split, with pictures."""

from pathlib import Path

import numpy as np

from medcoss.data import patients
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.metrics import classification_scores, confusion, dice, hd95
from medcoss.evaluation.pictures import draw_confusion, draw_overlay
from medcoss.evaluation.predict import Case, class_probabilities, segmented_cases
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier
from medcoss.models.registry import load_model
from medcoss.run import BadInput, RunContext, Stopped, refuse
from medcoss.specs import fit
from medcoss.specs.records import EvaluationInfo
from medcoss.specs.training import EvaluateSpec


def evaluate(
    spec: EvaluateSpec, model_dir: Path, dataset_dir: Path, output_dir: Path, context: RunContext
) -> EvaluationInfo:
    """Score the model and write `evaluation.json` and a picture as artifacts.

    Raises BadInput when model and dataset do not fit each other.
    """
    model, info = load_model(model_dir)
    reader = ShardReader(dataset_dir)
    refuse(fit.evaluation(spec, reader.info, info))
    leakage = None
    if spec.split in patients.HELD_OUT:
        seen = patients.of_model(model_dir)
        leakage = patients.check_leakage(seen, dataset_dir, spec.dataset, spec.allow_leakage, context, [spec.split])
    indices = reader.indices(spec.split)
    if isinstance(model, Classifier):
        indices = indices[[reader.label(int(i)) >= 0 for i in indices]]
    if len(indices) == 0:
        raise BadInput(f"the dataset has no labelled samples in the split '{spec.split}'", "split")
    output_dir.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        result = _classification(spec, model, model_dir, reader, indices, output_dir, context)
    else:
        result = _segmentation(spec, model, reader, indices, output_dir, context)
    result.leakage += [leakage] if leakage else []
    path = output_dir / "evaluation.json"
    path.write_text(result.model_dump_json(indent=1))
    context.artifact(path, path.name, "application/json")
    context.metrics(0, result.metrics)
    return result


def _classification(spec, model, model_dir, reader, indices, folder,  # type: ignore[no-untyped-def]
                    context) -> EvaluationInfo:  # fmt: skip
    vocabulary = model_dir / "vocab.txt"
    tokenizer = Tokenizer(vocabulary) if vocabulary.is_file() else None
    context.progress(0, len(indices), f"scoring {spec.split}")
    probabilities = class_probabilities(model, reader, indices, spec.batch_size, tokenizer)
    labels = np.array([reader.label(int(i)) for i in indices])
    classes = reader.info.classes or []
    table = confusion(probabilities, labels)
    draw_confusion(table, classes, folder / "confusion.png")
    context.artifact(folder / "confusion.png", "confusion.png", "image/png")
    context.progress(len(indices), len(indices), f"scored {spec.split}")
    cases = [
        {"source": reader.rows[int(i)].source, "label": classes[label], "predicted": classes[int(p.argmax())],
         "probabilities": [round(float(v), 6) for v in p]}
        for i, label, p in zip(indices, labels, probabilities, strict=True)
    ]  # fmt: skip
    return EvaluationInfo(
        metrics=classification_scores(probabilities, labels), classes=classes, confusion=table, cases=cases
    )


def _segmentation(spec, model, reader, indices, folder, context) -> EvaluationInfo:  # type: ignore[no-untyped-def]
    classes = reader.info.classes or []
    rows: list[dict[str, object]] = []
    total = len({reader.rows[int(i)].group for i in indices})
    drawn: Case | None = None
    # image files carry no pixel size that could be trusted
    distance = "hd95_mm" if reader.info.kind is Kind.VOLUME3D else "hd95_px"
    for case in segmented_cases(model, reader, indices, spec.batch_size):
        if context.should_stop():
            raise Stopped
        drawn = drawn or case
        for value, name in enumerate(classes, start=1):
            predicted, reference = case.predicted == value, case.reference == value
            rows.append(
                {"case": case.name, "class": name, "dice": dice(predicted, reference),
                 distance: hd95(predicted, reference, case.spacing)}
            )  # fmt: skip
        context.progress(len(rows) // max(len(classes), 1), total, case.name)
    if drawn is not None:
        draw_overlay(drawn, classes, folder / "overlay.png")
        context.artifact(folder / "overlay.png", "overlay.png", "image/png")
    return EvaluationInfo(metrics=_means(rows, classes, distance), classes=classes, cases=rows)


def _means(rows: list[dict[str, object]], classes: list[str], distance: str) -> dict[str, float]:
    def mean(name: str, of: str | None = None) -> float | None:
        values = [float(str(r[name])) for r in rows if of in (None, r["class"]) and r[name] is not None]
        return float(np.mean(values)) if values else None

    found = {"dice": mean("dice"), distance: mean(distance)}
    if len(classes) > 1:
        found |= {f"dice/{name}": mean("dice", name) for name in classes}
        found |= {f"{distance}/{name}": mean(distance, name) for name in classes}
    scores = {name: value for name, value in found.items() if value is not None}
    # a prediction without any voxel has no surface distance; it must not vanish from the mean unseen
    return scores | {"hd95_undefined": float(sum(r[distance] is None for r in rows))}
