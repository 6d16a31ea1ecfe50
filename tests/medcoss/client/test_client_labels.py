"""Filters, tags, notes, search and batches through the client."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client
from medcoss.specs import ImageFolder, PreprocessSpec
from tests.medcoss.client.control_plane import KEY, ControlPlane, Relay


@pytest.fixture(scope="module")
def raw(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("raw")
    (folder / "a.png").write_bytes(b"x")
    with Client(plane.url, KEY) as client:
        return client.datasets.upload(folder, name="labelled", modality="xray", tags=["Ward"]).id


def spec(raw: str) -> PreprocessSpec:
    return PreprocessSpec(dataset=raw, recipe=ImageFolder())


def test_lists_are_filtered_sorted_and_cut(client: Client, raw: str) -> None:
    made = [
        client.jobs.submit("preprocess", spec(raw), name=name, tags=["listed", name], notes="by hand").id
        for name in ("zeta", "Alpha", "mid")
    ]  # fmt: skip
    client.jobs.cancel(made[2])
    found = [job.name for job in client.jobs.list(tag="listed", state=["queued", "paused"])]
    assert found == ["Alpha", "zeta"]
    assert [job.id for job in client.jobs.list(name="alp", project="default")] == [made[1]]
    assert list(client.jobs.select("id", "notes", tag=["listed", "mid"])) == [{"id": made[2], "notes": "by hand"}]
    future = datetime(2100, 1, 1, tzinfo=UTC)
    assert list(client.jobs.list(created_after=future)) == []
    assert raw in [d.id for d in client.datasets.list(tag="ward", sort="-total_bytes", created_before=future)]
    assert list(client.models.list(metric="auc>=0.8", sort="-metric.auc")) == []
    with pytest.raises(TypeError, match="there is no filter 'sate'; expected some of created_after"):
        client.jobs.list(sate="queued")  # type: ignore[call-arg]
    with pytest.raises(ApiError, match="no order 'size'"):
        next(client.jobs.list(sort="size"))


def test_tags_and_notes(client: Client, raw: str) -> None:
    job = client.jobs.submit("preprocess", spec(raw), tags=["a"])
    assert client.jobs.change(job.id, notes="seen", priority=4, name="new").priority == 4
    assert client.jobs.tag(job.id, "b", "C", remove=["A"]).tags == ["b", "c"]
    assert client.datasets.change(raw, description="of the ward").description == "of the ward"
    assert client.datasets.tag(raw, "north").tags == ["north", "ward"]
    with pytest.raises(ApiError) as caught:
        client.jobs.change(job.id, notes="mine", if_match='"old-etag"')
    assert caught.value.status == 412
    hits = client.search("labelled north", type=["dataset"])
    assert [(hit.id, hit.type, hit.detail) for hit in hits] == [(raw, "dataset", "raw")]


def test_tags_given_at_once_all_stay(plane: ControlPlane, client: Client, raw: str) -> None:
    job, names = client.jobs.submit("preprocess", spec(raw)).id, ["p", "q", "r"]
    threads = [threading.Thread(target=client.jobs.tag, args=(job, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.jobs.get(job).tags == names


def test_many_jobs_at_once(client: Client, raw: str) -> None:
    jobs = [
        {"kind": "preprocess", "spec": spec(raw), "ref": "first", "tags": ["batch"]},
        {"kind": "preprocess", "spec": spec(raw).model_dump(mode="json"), "depends_on": ["first"]},
    ]
    first, second = client.jobs.submit_many(jobs).jobs
    assert first is not None and second is not None
    assert (first.state, second.state, second.depends_on) == ("queued", "waiting", [first.id])
    wrong = [*jobs, {"kind": "preprocess", "spec": {"dataset": "ds_00000000000000000000"}}]
    with pytest.raises(ApiError) as caught:
        client.jobs.submit_many(wrong)
    assert [error.pointer for error in caught.value.errors] == ["/jobs/2/spec/recipe"]
    partly = client.jobs.submit_many(wrong, all_or_nothing=False)
    assert [job is None for job in partly.jobs] == [False, False, True]
    assert partly.errors[0].pointer == "/jobs/2/spec/recipe"


def test_a_lost_answer_does_nothing_twice(plane: ControlPlane, raw: str, tmp_path: Path) -> None:
    relay = Relay(plane.url.removeprefix("http://"))
    with Client(f"http://{relay.address}", KEY) as client:
        job = client.jobs.submit("preprocess", spec(raw)).id
        for act, state in (
            (client.jobs.pause, "paused"),
            (client.jobs.resume, "queued"),
            (client.jobs.cancel, "cancelled"),
        ):
            relay.drops = 1
            assert act(job).state == state
        relay.drops = 1
        made = client.jobs.submit_many([{"kind": "preprocess", "spec": spec(raw), "name": "lost", "tags": ["lost"]}])
        assert [j.id for j in client.jobs.list(tag="lost")] == [made.jobs[0].id]  # type: ignore[union-attr]
    assert relay.dropped == 4
