"""`medcoss deployments` from the request to the version that answers."""

from collections.abc import Callable, Iterator

import pytest

from medcoss.client import Client, DeploymentFailed
from services.core.registry import register_deployment
from services.core.tables import DEFAULT_PROJECT
from tests.api.calls import trained
from tests.api.test_api_registry import deployment_info
from tests.cli.conftest import Done
from tests.core.steps import swept
from tests.medcoss.client.control_plane import KEY, ControlPlane

MODEL = "mdl_cliserved1"


@pytest.fixture(scope="module", autouse=True)
def model(plane: ControlPlane) -> Iterator[str]:
    """A model that is on record alone, and is removed again: other tests look for what has no files."""
    yield trained(plane.database, None, MODEL, recipe={"name": "image_folder"})
    with Client(plane.url, KEY) as client:
        for deployment in [*client.deployments.list(model_id=[MODEL])]:
            client.deployments.delete(deployment.id)
        client.models.delete(MODEL)


def test_deploy_and_give_up(medcoss: Callable[..., Done], client: Client, plane: ControlPlane) -> None:
    made = medcoss("deployments", "create", MODEL, "chest-cli", "--beside", "--set", "max_batch_size=4")
    assert (made.code, made.out.startswith("dep_")) == (0, True)
    found = client.deployments.get(made.out.strip())
    assert (found.state, found.name, found.model_id) == ("loading", "chest-cli", MODEL)
    assert found.job_id is not None
    spec = client.jobs.get(found.job_id).spec
    assert (spec["activate"], spec["max_batch_size"]) == (False, 4)
    client.jobs.cancel(found.job_id)
    swept(plane.database)
    with pytest.raises(DeploymentFailed, match="was cancelled") as caught:
        client.deployments.wait(found.id, timeout=10)
    assert caught.value.deployment.state == "failed"
    assert "was cancelled" in medcoss("deployments", "show", found.id).out
    assert medcoss("deployments", "list", "--state", "failed", "--json").json[0]["id"] == found.id
    assert medcoss("deployments", "delete", found.id).err == f"deleted {found.id}\n"


def test_switch_and_go_back(medcoss: Callable[..., Done], plane: ControlPlane) -> None:
    for number in (1, 2):
        with plane.database.session() as session:
            register_deployment(
                session, f"dep_cli{number}", info=deployment_info("lungs-cli", number), model_id=MODEL, job_id="job_x",
                project_id=DEFAULT_PROJECT,
            )  # fmt: skip
    assert medcoss("deployments", "rollback", "lungs-cli").out == "lungs-cli: version 1 (dep_cli1) answers\n"
    again = medcoss("deployments", "rollback", "lungs-cli")
    assert (again.code, "no other version has answered" in again.err) == (1, True)
    assert medcoss("deployments", "activate", "dep_cli2").out == "lungs-cli: version 2 (dep_cli2) answers\n"
    assert medcoss("deployments", "reload", "dep_cli2").out == "dep_cli2 is ready\n"
    listed = medcoss("deployments", "list", "--name", "lungs-cli").out
    assert next(line.split()[3] for line in listed.splitlines() if "dep_cli" in line) == "yes"
