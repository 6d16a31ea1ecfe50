"""The Dockerfiles: linted, and built so that the containers can be locked down."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ["api", "inference", "worker"]
each_service = pytest.mark.parametrize("service", SERVICES)
HEAVY = {
    "torch",
    "torchvision",
    "monai",
    "timm",
    "onnxruntime",
    "scikit-learn",
    "matplotlib",
    "faiss-cpu",
    "umap-learn",
}
# the gateway searches indexes
NEEDED = {"api": set(), "inference": {"faiss-cpu"}}


def dockerfile(service: str) -> Path:
    return REPOSITORY / "services" / service / "Dockerfile"


def last_stage(service: str) -> str:
    return re.split(r"^FROM ", dockerfile(service).read_text(), flags=re.MULTILINE)[-1]


@each_service
def test_the_linter_finds_no_fault(service: str) -> None:
    program = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([str(program), str(dockerfile(service))], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@each_service
def test_an_image_is_built_in_stages_on_a_pinned_base_and_runs_as_nobody(service: str) -> None:
    text, last = dockerfile(service).read_text(), last_stage(service)
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-bookworm$", text, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert bases <= {"${PYTHON_IMAGE}", "${NODE_IMAGE}", "console-${CONSOLE}"}
    assert last.startswith("${PYTHON_IMAGE}\n") and re.findall(r"--from=(\S+)", last) == ["build"]
    # by number: Kubernetes cannot tell of a name that it is not root
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "services.core.alive" in re.search(r"^HEALTHCHECK .*\n.*$", last, re.MULTILINE)[0]
    for label in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{label}=" in last
    assert "pip install" not in last, "no installer is needed at run time"


@pytest.mark.parametrize("service", ["api", "inference"])
def test_control_plane_and_gateway_are_installed_without_what_trains(service: str) -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.search(r"'\.\[([a-z,]+)\]'", dockerfile(service).read_text())
    assert asked
    names, waiting = set(), asked[1].split(",")
    while waiting:
        for requirement in extras[waiting.pop()]:
            own = re.fullmatch(r"medcoss\[([a-z,]+)\]", requirement)
            if own:
                waiting += own[1].split(",")
            else:
                names.add(re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower())
    assert HEAVY & names == NEEDED[service]


# an interpreter in which modules are not installed, which then imports others
ABSENT = """
import importlib, sys
from importlib.machinery import PathFinder
hidden, find_spec = set(sys.argv[1].split(",")), PathFinder.find_spec
# some libraries look whether others are there, which is no error where they are not
def absent(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else find_spec(name, path, target)
PathFinder.find_spec = staticmethod(absent)
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
# imported by name when a request or a job asks for one
RECIPES = [
    f"medcoss.preprocess.recipes.{path.stem}"
    for path in sorted((REPOSITORY / "medcoss" / "preprocess" / "recipes").glob("[a-z]*.py"))
]
# what each image runs, and what its libraries import late
RUNS = {
    "api": ["services.api.app", "services.core.serving", "services.core.prepare", "services.cli.main",
            "services.cli.backup", "services.embedded.storage", "kombu.transport.redis", "psycopg"],
    "inference": ["services.inference.app", "services.core.serving", "psycopg", *RECIPES],
    "worker": ["services.worker.app", "services.worker.child", "services.worker.warm",
               "kombu.transport.redis", "psycopg", *RECIPES],
}  # fmt: skip


def installed_with(extras: list[str]) -> set[str]:
    """Names of all packages that pip brings along with these extras of ours."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    own, found, seen = declared["optional-dependencies"], set[str](), set[tuple[str, str]]()
    waiting = [*declared["dependencies"], *(f"medcoss[{extra}]" for extra in extras)]
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            if name == "medcoss":
                waiting += own.get(extra, [])
                continue
            found.add(name)
            try:
                needed = map(Requirement, requires(name) or [])
            except PackageNotFoundError:
                continue
            waiting += [str(one) for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return found


@each_service
def test_an_image_has_every_package_that_its_programs_import(service: str) -> None:
    asked = re.search(r"\.\[([a-z,]+)\]'", dockerfile(service).read_text())
    extras = asked[1].split(",") if asked else ["worker", "otel"]
    removed = {name for names in re.findall(r"pip uninstall .*-y ([a-z- ]+[a-z])", dockerfile(service).read_text())
               for name in names.split()}  # fmt: skip
    there = installed_with(extras) - removed | {"medcoss"}
    hidden = {
        module for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners} and not module.startswith("_")
    }  # fmt: skip
    assert "pytest" in hidden and ("torch" in hidden) == (service != "worker")
    command = [sys.executable, "-c", ABSENT, ",".join(hidden), *RUNS[service]]
    found = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert found.returncode == 0, found.stderr[-1500:]


def test_slimming_takes_out_what_no_program_reads_and_says_when_a_name_has_changed(tmp_path: Path) -> None:
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name in ("one/tests/test_one.py", "one/core.py", "one/core.pyi", "one/core.h", "one/core.so", "one/serve/a.so",
                 "one/libone.so", "one/libone.so.2", "one/libone.so.2.1", "one/libother.so.2", "one.libs/libx.so.1",
                 ):  # fmt: skip
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("other" if "other" in name else "text")
    (tmp_path / "bin").mkdir()
    strip = tmp_path / "bin" / "strip"
    strip.write_text('#!/bin/sh\nshift; for file; do echo "$file" >>"$STRIPPED"; done\n')
    strip.chmod(0o755)
    environment = {"PATH": f"{strip.parent}:/usr/bin:/bin", "STRIPPED": str(tmp_path / "stripped")}
    command = ["sh", str(REPOSITORY / "services" / "slim.sh"), str(tmp_path / "venv")]
    found = subprocess.run([*command, "one/ser*"], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    kept = {str(path.relative_to(packages)) for path in packages.rglob("*") if not path.is_dir()}
    assert kept == {"one/core.py", "one/core.pyi", "one/core.so", "one/libone.so", "one/libone.so.2",
                    "one/libone.so.2.1", "one/libother.so.2", "one.libs/libx.so.1"}  # fmt: skip
    files = [path for path in (packages / "one").glob("lib*") if not path.is_symlink()]
    assert len(files) == 2 and all(path.read_text() == "text" for path in (packages / "one").glob("libone.so*"))
    stripped = {Path(line).name for line in (tmp_path / "stripped").read_text().splitlines()}
    assert stripped == {"core.so", *(path.name for path in files)}
    again = subprocess.run([*command, "one/ser*"], capture_output=True, text=True, env=environment)
    assert again.returncode == 1 and "there is no one/ser*" in again.stderr


def test_the_console_is_built_with_the_image_or_taken_as_given() -> None:
    text = dockerfile("api").read_text()
    assert re.search(r"^ARG NODE_IMAGE=node:\d+-bookworm-slim$", text, re.MULTILINE)
    assert re.search(r"^ARG CONSOLE=built$", text, re.MULTILINE)
    for image, how in (("${NODE_IMAGE}", "built"), ("${PYTHON_IMAGE}", "given")):
        assert f"FROM {image} AS console-{how}" in text.splitlines()
    # what a clone has built for itself is never in the image beside what was asked for
    assert "rm -rf services/api/console_files && mv /console services/api/console_files" in text


def test_images_hold_the_packages_and_nothing_else() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*", "what is not named stays outside"
    assert {line for line in lines if line.startswith("!")} == {
        "!medcoss", "!services", "!pyproject.toml", "!constraints.txt", "!README.md", "!LICENSE",
    }  # fmt: skip


def test_the_healthcheck_tells_a_service_that_answers_from_one_that_does_not() -> None:
    import http.server
    import threading

    from services.core.alive import alive

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert alive(f"{url}/healthz") is None
        assert "503" in (alive(f"{url}/readyz") or "")
        server.shutdown()
    assert "refused" in (alive(url) or "")
