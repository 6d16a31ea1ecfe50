"""`medcoss indexes` and `client.indexes` against a real control plane: asked for, looked at, deleted."""

from collections.abc import Callable

import pytest

from medcoss.client import ApiError, Client
from tests.api.calls import prepared, trained
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane

DATASET, MODEL = "ds_cli00index", "mdl_cli00index"


def test_an_index_is_asked_for_looked_at_and_deleted(
    medcoss: Callable[..., Done], client: Client, plane: ControlPlane
) -> None:
    prepared(plane.database, DATASET)
    trained(plane.database, None, MODEL)
    asked = ("indexes", "create", "films", "--encoder", MODEL, "--dataset", DATASET)
    made = medcoss(*asked, "--projection", "0", "--json")
    assert (made.json["state"], made.json["version"], made.json["encoder"]) == ("building", 0, MODEL)
    job = client.jobs.get(made.json["build"]["job_id"])
    assert (job.kind, job.spec["projection"]) == ("build_index", 0)
    listed = medcoss("indexes", "list", "--encoder", MODEL)
    assert [line.split()[:3] for line in listed.out.splitlines() if "films" in line] == [["films", "building", MODEL]]
    assert medcoss("indexes", "list", "--encoder", MODEL, "--fields", "name,version", "--json").json == [
        {"name": "films", "version": 0}
    ]
    shown = medcoss("indexes", "show", "films").out
    assert job.id in shown and DATASET in shown
    taken = medcoss(*asked)
    assert taken.code != 0 and "an index 'films' is there already" in taken.err
    building = medcoss("indexes", "rebuild", "films")
    assert building.code != 0 and "is being built by job" in building.err
    client.jobs.cancel(job.id)
    assert client.indexes.get("films").state == "failed"
    assert client.indexes.rebuild("films").state == "building"
    assert medcoss("indexes", "delete", "films").code == 0
    with pytest.raises(ApiError, match="there is no index 'films'"):
        client.indexes.get("films")
    both = medcoss("indexes", "search", "films", "--text", "clear lungs", "--sample", f"{DATASET}/1")
    assert both.code != 0 and "give one of a FILE, --text and --sample" in both.err
