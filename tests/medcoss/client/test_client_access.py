"""Projects, keys and the audit log through the client."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client
from tests.medcoss.client.control_plane import ADMIN_KEY, ControlPlane


@pytest.fixture
def admin(plane: ControlPlane) -> Iterator[Client]:
    with Client(plane.url, ADMIN_KEY) as made:
        yield made


def test_a_key_for_a_project(admin: Client, plane: ControlPlane, tmp_path: Path) -> None:
    project = admin.projects.create("north", "the north")
    assert admin.projects.get(project.id) == project
    end = datetime.now(UTC) + timedelta(days=1)
    made = admin.keys.create("scanner", "operator", owner="ada", projects=["north"], expires_at=end)
    assert (made.key.projects, made.key.expires_at) == (["north"], end)
    (tmp_path / "a.png").write_bytes(b"x")
    with Client(plane.url, made.secret) as client:
        me = client.me()
        assert (me.owner, me.role, [p.name for p in me.projects]) == ("ada", "operator", ["north"])
        dataset = client.datasets.upload(tmp_path, name="raw", modality="xray")
        spec = {"dataset": dataset.id, "recipe": {"name": "image_folder"}}
        job = client.jobs.submit("preprocess", spec, project="north")
        assert (dataset.project_id, job.project_id, job.created_by) == (project.id, project.id, "ada")
        with pytest.raises(ApiError, match="no project 'default'"):
            client.jobs.submit("preprocess", spec, project="default")
        assert [j.id for j in admin.jobs.list(project="north")] == [job.id]
        second = admin.keys.rotate(made.key.id, grace_s=0)
        with pytest.raises(ApiError, match="not known"):
            client.me()
    with Client(plane.url, second.secret) as client:
        assert client.me().key_id == made.key.id
        admin.keys.revoke(made.key.id)
        with pytest.raises(ApiError, match="was revoked"):
            client.me()
    assert admin.keys.get(made.key.id).state == "revoked"
    assert made.key.id in [key.id for key in admin.keys.list()]
    assert admin.projects.change(project.id, description="cold").description == "cold"
    assert {e.route for e in admin.audit.list(actor="ada", outcome="done")} >= {"/v1/jobs", "/v1/datasets"}
