"""The chart's manifests, rendered by helm."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "medcoss"
HELM = Path(sys.executable).with_name("helm")
# the values of the chart itself, and every example
FILES = [CHART / "values.yaml", *sorted((CHART / "examples").glob("*.yaml"))]
Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """helm's answer."""
    return subprocess.run([str(HELM), *arguments], capture_output=True, text=True, timeout=60)


@cache
def rendered(values: Path, *options: str) -> list[Manifest]:
    """All objects of an installation with these values."""
    found = helm("template", "clinic", str(CHART), "-n", "imaging", "-f", str(values), *options)
    assert found.returncode == 0, found.stderr
    return [document for document in yaml.load_all(found.stdout, yaml.CSafeLoader) if document]


def pods(objects: list[Manifest]) -> dict[str, Manifest]:
    """The specs of all pods, by kind and name of what makes them."""
    found = {}
    for item in objects:
        spec = item["spec"] if item["kind"] == "Pod" else (item.get("spec") or {}).get("template", {}).get("spec")
        if item["kind"] == "TrainingRuntime":
            spec = item["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
            found[f"TrainingRuntime/{item['metadata']['name']}"] = spec
        if item["kind"] in {"Pod", "Deployment", "StatefulSet", "Job"}:
            found[f"{item['kind']}/{item['metadata']['name']}"] = spec
    return found
