"""The data of a curriculum's five stages, generated and real, and faults of the platform that learns them."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from medcoss.client import Client, Pipeline, ServerUnreachable, local_platform
from medcoss.phantoms import ct, mr, pathology, reports, xray
from medcoss.phantoms.common import Item
from services.worker.child import NAME
from tests.worker.work import until

ORDER = ["report", "xray", "ct", "mr", "pathology"]
HALVES = {"method": "random", "val_fraction": 0.5, "test_fraction": 0.0}
IMAGES = {"name": "image_folder", "size": [32, 32], "labels": "folders", "splits": HALVES}
VOLUMES = {"name": "volume_folder", "size": [16, 32, 32], "stride": 16, "splits": HALVES}
RECIPES: dict[str, dict[str, Any]] = {
    "report": {"name": "openi_reports"},
    "xray": IMAGES | {"modality": "xray"},
    "ct": VOLUMES | {"modality": "ct"},
    "mr": VOLUMES | {"modality": "mr", "label_suffix": "_label", "label_names": ["atrium"]},
    "pathology": IMAGES | {"modality": "pathology"},
}
GENERATED: dict[str, tuple[ModuleType, str]] = {
    "report": (reports, "reports"), "xray": (xray, "xray"), "ct": (ct, "ct"), "mr": (mr, "mr"),
    "pathology": (pathology, "pathology"),
}  # fmt: skip
# where the real files of each modality are, and how many of each folder are taken
REAL = {
    "report": ("reports/reports.csv", 1), "xray": ("xray/train/*/*.jpg", 8), "ct": ("ct/totalseg_*.nii.gz", 3),
    "mr": ("la_mr/*.nii.gz", 6), "pathology": ("path/nct_layout/train/*/*.jp*g", 8),
}  # fmt: skip
ROWS = 160


def generated(root: Path) -> dict[str, Path]:
    """A folder of a few generated files of each modality, of each class some."""
    found = {}
    for modality, (module, folder) in GENERATED.items():
        of_folder: dict[str, list[Item]] = defaultdict(list)
        for item in module.items(0):
            of_folder[str(Path(item.path).parent)].append(item)
        few = 2 if modality in {"ct", "mr"} else 4
        for items in of_folder.values():
            for item in items[:few]:
                item.write(root)
        found[modality] = root / folder
    return found


def real(data: Path, root: Path) -> dict[str, Path]:
    """A folder of a few real files of each modality."""
    found = {}
    for modality, (pattern, count) in REAL.items():
        of_folder: dict[Path, list[Path]] = defaultdict(list)
        for path in sorted(data.glob(pattern)):
            of_folder[path.parent].append(path)
        found[modality] = root / modality
        for folder, paths in of_folder.items():
            for path in paths[:count]:
                target = found[modality] / folder.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    table = root / "report" / "reports" / "reports.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(lines[: ROWS + 1]), encoding="utf-8")
    return found


def stages(client: Client, folders: dict[str, Path], name: str) -> list[dict[str, Any]]:
    """The stages of a curriculum, each from the raw data that are uploaded for it."""
    made = []
    for modality in ORDER:
        raw = client.datasets.upload(folders[modality], name=f"{name}-{modality}", modality=modality)
        made.append({"modality": modality, "dataset": raw.id, "prepare": {"recipe": RECIPES[modality]}})
    return made


@dataclass(frozen=True)
class Faults:
    """Ends parts of a platform at once; it starts them again."""

    folder: Path

    def part(self, name: str) -> psutil.Process:
        """The process of a part as it is now."""
        platform = local_platform(self.folder)
        assert platform is not None
        pids = {part.name: part.pid for part in platform.parts}
        return psutil.Process(pids[name])

    def trainer(self) -> psutil.Process | None:
        """The process that runs an attempt now, inside a step of whatever kind."""
        try:
            return next((one for one in self.part("worker").children(recursive=True) if one.name() == NAME), None)
        except psutil.Error:
            return None

    def kill(self, name: str) -> None:
        """SIGKILL for a part as it is now, or for the `trainer`; that, and what it needs, is struck inside a stage."""
        process = self.part(name) if name != "trainer" else None
        if name in {"trainer", "redis", "s3"}:
            trainer = until(self.trainer, 120, "a trainer")
            process = process or trainer
        assert process is not None
        process.kill()


def reached(client: Client, made: Pipeline, of: Callable[[Pipeline], object], seconds: float, what: str) -> None:
    """Wait until something is so of a pipeline that goes on; a control plane that is away says nothing."""

    def look() -> bool:
        try:
            now = client.pipelines.get(made.id)
            assert now.state not in {"failed", "cancelled"}, [(each.name, each.state, each.error) for each in now.steps]
            return bool(of(now))
        except ServerUnreachable:
            return False

    # each look costs the control plane a part of the core that the training would have
    until(look, seconds, what, every_s=0.2)


def check_each_step_was_done_once(client: Client, done: Pipeline) -> None:
    """All steps have succeeded, each once, and each has made one thing."""
    assert done.state == "succeeded", [(each.name, each.state, each.error) for each in done.steps]
    for step in done.steps:
        told = Counter(event.type for event in client.jobs.events(step.job_id))
        assert (told["succeeded"], told["queued"] >= 1) == (1, True), step.name
        assert told["running"] == 1 + told["attempt_failed"], f"{step.name}: {told}"
        rows = [*client.models.list(job_id=step.job_id), *client.datasets.list(job_id=step.job_id)]
        rows += [*client.evaluations.list(job=step.job_id)]
        assert len(rows) == 1, f"{step.name} made {rows}"
