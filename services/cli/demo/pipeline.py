"""The steps of the demo, from folders to answers, all through the command line and the public client."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcoss.client import Client
from services.cli.demo.plan import CLASSIFIER, SEGMENTER, STAGES, Stage, buffer_spec, pretrain_spec
from services.cli.demo.recorder import Recorder, Step, curl_file, curl_get, curl_json, curl_upload, shown

ANSWERS_PER_CLASS = 2


@dataclass
class Made:
    """What the demo has made so far: identifiers by modality, jobs, steps by what they show."""

    datasets: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    encoder: str = ""

    def note(self, topic: str, step: Step) -> None:
        """Remember a step that a figure of `topic` rests on."""
        self.steps.setdefault(topic, []).append(step)


class Pipeline:
    """`data` holds the sample data, `out` takes what is fetched."""

    def __init__(self, recorder: Recorder, client: Client, data: Path, out: Path) -> None:
        self.recorder, self.client, self.data, self.out = recorder, client, data, out
        self.made = Made()

    def prepare(self) -> None:
        """Write the sample data, upload a folder of each modality, and preprocess it."""
        if not (self.data / "README.md").exists():
            self.recorder.run("sample data", ["sample-data", shown(self.data)], "", "upload")
        for stage in STAGES:
            folder, name = self.data / stage.folder, f"demo-{stage.modality}"
            arguments = ["datasets", "upload", shown(folder), "--name", name, "--modality", stage.modality]
            line = curl_upload(self.recorder.url, name, stage.modality, folder)
            raw = self.recorder.run(f"upload {stage.modality}", arguments, line, "upload")
            job = self._job(
                f"preprocess {stage.modality}", "preprocess", {"dataset": raw["id"], "recipe": stage.recipe}
            )
            self.made.datasets[stage.modality] = job["result"]["outputs"]["dataset"]

    def pretrain(self) -> None:
        """One stage a modality; before each next one, the rehearsal buffer of the last."""
        model: str | None = None
        buffers: list[str] = []
        for number, stage in enumerate(STAGES, start=1):
            dataset = self.made.datasets[stage.modality]
            title = f"pretrain stage {number}: {stage.modality}"
            job = self._job(title, "pretrain", pretrain_spec(stage, dataset, model, buffers))
            self.made.note(f"reconstruction {stage.modality}", self.recorder.steps[-1])
            self.made.note("curves", self.recorder.steps[-1])
            self._fetch(f"reconstruction {stage.modality}", job, stage.modality)
            model = job["result"]["outputs"]["model"]
            if stage is not STAGES[-1]:
                buffers = [*buffers, self._buffer(stage, dataset, model)]
        assert model is not None
        self.made.encoder = model

    def _buffer(self, stage: Stage, dataset: str, model: str) -> str:
        job = self._job(f"buffer of {stage.modality}", "build_buffer", buffer_spec(stage, dataset, model))
        return str(job["result"]["outputs"]["dataset"])

    def finetune(self) -> None:
        """A classifier on pathology and a segmenter on MR, both scored on samples that no training saw."""
        for topic, modality, settings in (("classifier", "pathology", CLASSIFIER), ("segmenter", "mr", SEGMENTER)):
            dataset = self.made.datasets[modality]
            spec = settings | {"dataset": dataset, "init_model": self.made.encoder}
            job = self._job(f"finetune {topic}", "finetune", spec)
            self.made.note("curves", self.recorder.steps[-1])
            model = job["result"]["outputs"]["model"]
            self.made.note(topic, self.recorder.steps[-1])
            scores = {"model": model, "dataset": dataset, "split": "test"}
            evaluation = self._job(f"evaluate {topic}", "evaluate", scores)
            self.made.note(topic, self.recorder.steps[-1])
            self._fetch(topic, evaluation, topic)

    def export(self) -> None:
        """Serve the classifier, the segmenter and the encoder."""
        models = {topic: self.made.jobs[f"finetune {topic}"] for topic in ("classifier", "segmenter")}
        exports = {topic: {"model": job["result"]["outputs"]["model"]} for topic, job in models.items()}
        exports["encoder"] = {"model": self.made.encoder, "modality": "pathology"}
        names = {"classifier": "demo-tissue", "segmenter": "demo-atrium", "encoder": "demo-encoder"}
        for topic, spec in exports.items():
            self._job(f"export {names[topic]}", "export", spec | {"name": names[topic]})
            self.made.note(topic, self.recorder.steps[-1])

    def classify(self) -> list[tuple[Path, str, dict[str, float]]]:
        """Class probabilities of some test images over HTTP: (file, true class, probabilities)."""
        answers = []
        for folder in sorted(p for p in (self.data / "pathology" / "test").iterdir() if p.is_dir()):
            for image in sorted(folder.glob("*.png"))[:ANSWERS_PER_CLASS]:
                found = self._ask("classify", "demo-tissue", image, "answers")
                answers.append((image, folder.name, found["probabilities"]))
        return answers

    def segment(self) -> tuple[Path, Path, dict[str, Any]]:
        """The mask of a test volume over HTTP: the volume's file, the mask's file, what was answered."""
        scores = json.loads((self.out / "artifacts" / "segmenter" / "evaluation.json").read_text())
        volume = self.data / "mr" / f"{scores['cases'][0]['case']}.nii.gz"
        mask = self.out / "mask.nii.gz"
        answer = self._ask("segment", "demo-atrium", volume, "overlay", mask)
        return volume, mask, answer

    def embed(self, model: str) -> tuple[NDArray[np.float64], list[str]]:
        """Embeddings (N, d) and classes of all tiles of the validation and test folders, over HTTP."""
        images = [
            p for split in ("validation", "test") for p in sorted((self.data / "pathology" / split).glob("*/*.png"))
        ]
        self._ask("embed", model, images[0], "scatter")
        answers = [self.client.inference.embed(model, image).embedding for image in images]
        return np.array(answers), [image.parent.name for image in images]

    def _ask(self, call: str, model: str, file: Path, topic: str, output: Path | None = None) -> dict[str, Any]:
        url = f"{self.recorder.gateway_url}/v1/models/{model}/{call}"
        arguments = [call, model, shown(file), *(["--out", shown(output)] if output else [])]
        answer: dict[str, Any] = self.recorder.run(
            f"{call} {file.parent.name}/{file.name} ({model})", arguments, curl_file(url, file, output), "inference"
        )
        self.made.note(topic, self.recorder.steps[-1])
        return answer

    def _job(self, title: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        path = self.out / "specs" / f"{len(self.recorder.steps):02d}-{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(spec, indent=1) + "\n")
        arguments = ["jobs", "submit", kind, "--name", title, "--spec", shown(path), "--watch"]
        line = curl_json(f"{self.recorder.url}/v1/jobs", {"kind": kind, "name": title, "spec": spec})
        job: dict[str, Any] = self.recorder.run(title, arguments, line, kind)
        self.recorder.steps[-1].job_id = job["id"]
        self.made.jobs[title] = job
        return job

    def _fetch(self, topic: str, job: dict[str, Any], name: str) -> None:
        """Fetch the files that a job kept into `artifacts/<name>`."""
        folder = self.out / "artifacts" / name
        arguments = ["jobs", "artifacts", job["id"], "--download", shown(folder)]
        line = curl_get(f"{self.recorder.url}/v1/jobs/{job['id']}/artifacts")
        self.recorder.run(f"pictures of {job['name']}", arguments, line)
        self.made.note(topic, self.recorder.steps[-1])
