"""From what the demo has done to its report."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from services.cli.demo.figures import (
    Series,
    draw_answers,
    draw_curves,
    draw_scatter,
    draw_segmentation,
    draw_timeline,
)
from services.cli.demo.pipeline import Pipeline
from services.cli.demo.plan import STAGES
from services.cli.demo.recorder import Step
from services.cli.demo.report import Figure, Report, Section, rows_of, write_report

CURVE_NAMES = ("loss", "distill/", "loss/")


def make_report(pipeline: Pipeline, out: Path, facts: dict[str, str], setup: str) -> None:
    """Ask the served models, draw every picture and write `out/index.html`."""
    sections = [
        _curves(pipeline, out),
        _reconstructions(pipeline, out),
        _classifier(pipeline, out),
        _segmenter(pipeline, out),
        _scatter(pipeline, out),
    ]
    steps = pipeline.recorder.steps
    draw_timeline(steps, out / "timeline.png")
    timeline = Section(
        "Timeline",
        "Every step is a call of the command line or of the HTTP interface, as anybody's own would be; jobs run one "
        "after the other on one worker.",
        [Figure("timeline.png", "What ran when; a job's time includes the start of its process.", [])],
    )
    write_report(Report(facts, [timeline, *sections], steps, setup), out / "index.html")


def _series(pipeline: Pipeline, step: Step) -> dict[str, Series]:
    """The losses of a job by name: (steps, values)."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in pipeline.client.jobs.metrics(step.job_id):
        for name, value in row.values.items():
            if name.startswith(CURVE_NAMES):
                points.setdefault(name, []).append((row.step, value))
    return {name: (np.array([s for s, _ in p]), np.array([v for _, v in p])) for name, p in points.items()}


def _curves(pipeline: Pipeline, out: Path) -> Section:
    steps = pipeline.made.steps["curves"]
    draw_curves({step.title: _series(pipeline, step) for step in steps}, out / "curves.png")
    metrics = [
        Step(
            f"metrics of {step.title}", f"medcoss jobs metrics {step.job_id}",
            f'curl -sS -H "Authorization: Bearer $MEDCOSS_KEY" {pipeline.recorder.url}/v1/jobs/{step.job_id}/metrics',
            0,
        )
        for step in steps
    ]  # fmt: skip
    caption = (
        "Loss of the new modality (solid) and distance to the previous encoder on the rehearsed ones (dotted, own "
        "logarithmic axis), by training step."
    )
    text = "Five stages of pre-training on one encoder, then two fine-tunings of it."
    return Section("Training", text, [Figure("curves.png", caption, [*steps, *metrics])])


def _reconstructions(pipeline: Pipeline, out: Path) -> Section:
    figures, table = [], []
    for stage in STAGES:
        steps = pipeline.made.steps[f"reconstruction {stage.modality}"]
        folder = Path("artifacts") / stage.modality
        if stage.modality == "report":
            table = json.loads((out / folder / "reconstruction_report.json").read_text())
            report_steps = steps
        else:
            caption = f"{stage.modality}: masked, reconstructed, original; samples that were not trained on."
            figures.append(Figure(f"{folder}/reconstruction_{stage.modality}.png", caption, steps))
    rows = rows_of(table, {"masked": "masked", "predicted": "reconstructed", "original": "original"})
    text = (
        "What the encoder and its decoder make of what they do not see: three quarters of an image's patches, or "
        "15 % of a report's words. Each patch is predicted relative to its own mean and contrast."
    )
    return Section("Masked, reconstructed, original", text, figures, rows, report_steps)


def _scores(job: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    metrics = job["result"]["metrics"]
    return [["score", "value"], *([title, f"{metrics[name]:.3f}"] for name, title in names.items() if name in metrics)]


def _classifier(pipeline: Pipeline, out: Path) -> Section:
    draw_answers(pipeline.classify(), out / "answers.png")
    steps = pipeline.made.steps
    figures = [
        Figure("artifacts/classifier/confusion.png", "Confusion matrix on the test split.", steps["classifier"]),
        Figure("answers.png", "Answers over HTTP: the true class is green.", steps["answers"]),
    ]
    names = {"accuracy": "accuracy", "auc": "AUC (one against the rest)", "f1": "F1 (macro)"}
    table = _scores(pipeline.made.jobs["evaluate classifier"], names)
    text = "Three classes of synthetic tissue; the test tiles were in no training."
    return Section("Classification", text, figures, table)


def _segmenter(pipeline: Pipeline, out: Path) -> Section:
    volume, mask, answer = pipeline.segment()
    reference = volume.with_name(volume.name.replace(".nii.gz", "_label.nii.gz"))
    dice = draw_segmentation(volume, reference, mask, out / "overlay.png")
    millilitres = ", ".join(f"{name} {value:.1f} ml" for name, value in (answer.get("volume_ml") or {}).items())
    caption = (
        f"{volume.name}, in no training: the served mask (filled) and the reference (line). Dice {dice:.2f} on the "
        f"volume's own grid; measured: {millilitres}."
    )
    steps = pipeline.made.steps
    figures = [
        Figure("overlay.png", caption, steps["overlay"]),
        Figure("artifacts/segmenter/overlay.png", "The picture that the evaluation job kept.", steps["segmenter"]),
    ]
    names = {"dice": "Dice", "hd95_mm": "HD95 (mm)"}
    table = _scores(pipeline.made.jobs["evaluate segmenter"], names)
    return Section("Segmentation", "The left atrium in synthetic MR volumes.", figures, table)


def _scatter(pipeline: Pipeline, out: Path) -> Section:
    panels = {
        "encoder: no label was seen": pipeline.embed("demo-encoder"),
        "classifier: fine-tuned": pipeline.embed("demo-tissue"),
    }
    draw_scatter(panels, out / "scatter.png")
    count = len(next(iter(panels.values()))[1])
    caption = (
        f"Embeddings of {count} tiles of the validation and test folders over HTTP, standardised, on their two main "
        "axes, coloured by class. The line below shows the call for the first image; the others differ in the file."
    )
    steps = pipeline.made.steps
    figures = [Figure("scatter.png", caption, [*steps["encoder"], *steps["scatter"]])]
    return Section("Embeddings", "What the gateway returns as the feature of an image.", figures)
