"""Filters, tags, notes, search and batches on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

from medcoss.client import Client
from tests.cli.conftest import Done

Medcoss = Callable[..., Done]


def submitted(client: Client, raw: str, **options: object) -> str:
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}}
    return client.jobs.submit("preprocess", spec, **options).id  # type: ignore[arg-type]


def test_tags_notes_and_search(medcoss: Medcoss, client: Client, raw: str) -> None:
    job = submitted(client, raw, name="spine")
    assert medcoss("tag", job, "Nightly", "site:north").out == "nightly site:north\n"
    assert medcoss("tag", job, "--remove", "nightly", "--json").json == ["site:north"]
    assert medcoss("note", job, "all films readable").code == 0
    assert medcoss("note", raw, "of the ward").code == 0
    assert medcoss("rename", job, "lumbar spine").out == f"{job} lumbar spine\n"
    assert medcoss("jobs", "priority", job, 7).out == f"{job} queued, priority 7\n"
    assert job in medcoss("search", "lumb", "readable").out
    assert [hit["id"] for hit in medcoss("search", "ward", "--type", "dataset", "--json").json] == [raw]
    found = client.jobs.get(job)
    assert (found.notes, found.tags, found.name) == ("all films readable", ["site:north"], "lumbar spine")
    wrong = medcoss("tag", "key_1", "x")
    assert (wrong.code, "expected job_..., ds_... or mdl_..." in wrong.err) == (1, True)
    assert "letters, digits" in medcoss("tag", job, "two words").err


def test_lists(medcoss: Medcoss, client: Client, raw: str) -> None:
    first = submitted(client, raw, name="beta", tags=["cli-list"])
    second = submitted(client, raw, name="alpha", tags=["cli-list"])
    both = medcoss("jobs", "list", "--tag", "cli-list", "--state", "queued", "--state", "running", "--json").json
    assert [job["id"] for job in both] == [second, first]
    cut = medcoss("jobs", "list", "--tag", "cli-list", "--fields", "id,name")
    assert cut.out.split()[:2] == ["id", "name"] and first in cut.out and "preprocess" not in cut.out
    assert medcoss("jobs", "list", "--name", "alph", "--fields", "name", "--json").json == [{"name": "alpha"}]
    assert medcoss("jobs", "list", "--since", "2100-01-01", "--json").json == []
    assert medcoss("datasets", "list", "--sort", "name", "--name", "raw-x", "--json").json[0]["id"] == raw
    assert medcoss("models", "list", "--metric", "auc>=0.8", "--sort=-metric.auc", "--json").json == []
    wrong = medcoss("jobs", "list", "--fields", "colour")
    assert (wrong.code, "there is no field 'colour'; expected some of id" in wrong.err) == (1, True)


def test_many_jobs_from_a_file(medcoss: Medcoss, client: Client, raw: str, tmp_path: Path) -> None:
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}}
    jobs = [
        {"kind": "preprocess", "spec": spec, "ref": "a"},
        {"kind": "preprocess", "spec": spec, "depends_on": ["a"], "name": "second"},
    ]
    file = tmp_path / "batch.json"
    file.write_text(json.dumps(jobs))
    first, second = medcoss("jobs", "submit-many", file).out.split()
    assert client.jobs.get(second).depends_on == [first]
    file.write_text(json.dumps({"jobs": [*jobs, {"kind": "prepare", "spec": {}}]}))
    wrong = medcoss("jobs", "submit-many", file)
    assert (wrong.code, "/jobs/2/kind: expected one of preprocess" in wrong.err) == (1, True)
    partly = medcoss("jobs", "submit-many", file, "--partly")
    assert (partly.code, len(partly.out.split())) == (1, 2)
    assert "/jobs/2/kind" in partly.err
    file.write_text("{}")
    assert "holds no list of jobs" in medcoss("jobs", "submit-many", file).err
