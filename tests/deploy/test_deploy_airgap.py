"""The air-gapped installer gathers all images in a folder that tells damage, and carries no secrets along.

docker and pip are stand-ins here: what they do is theirs, and it takes minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.compose import DEPLOY

DOCKER = """#!/bin/sh
echo "$*" >> "$SAID"
case "$*" in
    *"config --images") printf 'redis:7\\nmedcoss/api:0.1.0\\n' ;;
    "save "*) printf 'image %s' "$2" ;;
    load) cat >> "$SAID"; echo >> "$SAID" ;;
esac
"""
PYTHON = f"""#!/bin/sh
case "$*" in
    *--report*) echo '{{"install": [{{"metadata": {{"name": "rich", "version": "14.1"}}}}]}}' ;;
    -c*) exec {sys.executable} "$@" ;;
esac
while [ $# -gt 0 ]; do [ "$1" = --wheel-dir ] && : > "$2/medcoss-0.1.0-py3-none-any.whl"; shift; done
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that is used, with the tools that `airgap.sh` calls."""
    for name, text in (("docker", DOCKER), ("python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv(name.upper(), str(tmp_path / name))
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    subprocess.run(["cp", "-a", str(DEPLOY), str(tmp_path / "clone-deploy")], check=True)
    root = tmp_path / "clone"
    root.mkdir()
    (tmp_path / "clone-deploy").rename(root / "deploy")
    (root / "pyproject.toml").touch()
    (root / "deploy" / "secrets" / "admin_key").write_text("mk_secret")
    (root / "deploy" / ".env").write_text("API_PORT=1\n")
    return root


def run(script: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", str(script), *arguments], capture_output=True, text=True, env=os.environ)


def test_what_is_saved_on_one_machine_is_loaded_on_another(clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    told = run(clone / "deploy" / "airgap.sh", "list", "--gpu")
    assert told.stdout.split() == ["medcoss/api:0.1.0", "redis:7", "rich==14.1"], told.stderr
    saved = run(clone / "deploy" / "airgap.sh", "save", str(folder), "--gpu")
    assert saved.returncode == 0, saved.stderr
    said = (tmp_path / "said").read_text()
    assert "--profile gpu build" in said and "pull redis:7" not in said, "an image that is there is not pulled"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {"airgap.sh", "SHA256SUMS", "images/redis_7.tar.gz", "images/medcoss_api_0.1.0.tar.gz",
            "wheels/medcoss-0.1.0-py3-none-any.whl", "deploy/docker-compose.yml"} <= names  # fmt: skip
    assert not {"deploy/secrets/admin_key", "deploy/.env"} & names
    assert not any(p.is_symlink() for p in folder.rglob("*")), "links of the chart would lead nowhere"

    told = run(folder / "airgap.sh", "list")
    assert told.stdout.split() == ["medcoss/api:0.1.0", "redis:7", "medcoss-0.1.0-py3-none-any.whl"], told.stderr

    loaded = run(folder / "airgap.sh", "load", str(folder))
    assert loaded.returncode == 0, loaded.stderr
    assert "image redis:7" in (tmp_path / "said").read_text()
    pushed = run(folder / "airgap.sh", "push", str(folder), "registry.example/mirror")
    assert pushed.returncode == 0, pushed.stderr
    said = (tmp_path / "said").read_text()
    # as examples/air-gapped.yaml asks for them
    assert "push registry.example/mirror/redis:7" in said and "push registry.example/mirror/medcoss/api:0.1.0" in said


def test_a_damaged_or_foreign_folder_is_refused(clone: Path, tmp_path: Path) -> None:
    folder, script = tmp_path / "disk", clone / "deploy" / "airgap.sh"
    assert run(script, "save", str(folder)).returncode == 0
    again = run(script, "save", str(folder))
    assert again.returncode == 1 and "is not empty; name a new folder" in again.stderr
    (folder / "images" / "redis_7.tar.gz").write_bytes(b"damaged")
    refused = run(script, "load", str(folder))
    assert refused.returncode == 1 and "is damaged: copy it again" in refused.stderr
    assert "load" not in (tmp_path / "said").read_text().split("\n")
    foreign = run(script, "load", str(tmp_path))
    assert foreign.returncode == 1 and "was not written by 'airgap.sh save'" in foreign.stderr
    assert run(script, "save", str(tmp_path / "other"), "--gpus").returncode != 0
