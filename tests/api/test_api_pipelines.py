"""Pipelines: checked as a whole, recorded as a whole, each step done once."""

from collections.abc import Iterable

import pytest
from sqlalchemy import select

from services.core import attempts, checkpoints
from services.core.ids import new_id
from services.core.release import release
from services.core.settings import Settings
from services.core.tables import Delivery, Job, JobInput, Pipeline, Webhook
from tests.api.calls import model_info, pointers, prepared, problem, take, trained, uploaded
from tests.api.pipelining import (
    ABOUT,
    DATA,
    OTHER,
    Body,
    count,
    done,
    failed,
    posted,
    shown,
    stage,
    swept,
    three,
    with_two_datasets,
)
from tests.api.serving import Served
from tests.api.test_api_shell import Serve
from tests.core.databases import engines


@pytest.fixture
def data(served: Served) -> Served:
    """A control plane with two prepared datasets."""
    return with_two_datasets(served)


@engines
def test_steps_wait_for_what_others_make_and_get_its_identifiers(data: Served) -> None:
    made = posted(data, three(), name="line")
    assert (made["name"], made["state"], made["created_by"]) == ("line", "queued", "the operator")
    steps = {step["name"]: step for step in made["steps"]}
    assert [s["state"] for s in steps.values()] == ["queued", "waiting", "waiting"]
    assert steps["pathology"]["depends_on"] == ["xray", "buffer"]
    job = data.viewer.get(f"/v1/jobs/{steps['pathology']['job_id']}").json()
    assert job["spec"]["rehearsal"] == [{"from": f"{steps['buffer']['job_id']}.dataset"}], "no made-up identifiers"
    encoder = done(data, steps["xray"]["job_id"])
    assert [shown(data, made)[name]["state"] for name in ("buffer", "pathology")] == ["queued", "waiting"]
    problem(data.operator.delete(f"/v1/models/{encoder}"), 409)
    buffer = done(data, steps["buffer"]["job_id"])
    assert "which waits for it" not in problem(data.operator.delete(f"/v1/datasets/{buffer}"), 409)["detail"]
    with data.database.reading() as session:
        row = session.get_one(Job, steps["pathology"]["job_id"])
        named = session.scalars(select(JobInput.input_id).where(JobInput.job_id == row.id)).all()
        with data.database.session() as second:
            assert not release(second, row.id), "whoever comes later does nothing"
    assert (row.state, row.spec["init_model"], row.spec["rehearsal"]) == ("queued", encoder, [buffer])
    assert sorted(named) == sorted([OTHER, encoder, buffer])
    last = done(data, row.id)
    whole = shown(data, made)["whole"]
    assert (whole["state"], whole["progress"]["done"], whole["progress"]["fraction"]) == ("succeeded", 3, 1.0)
    assert shown(data, made)["pathology"]["outputs"] == {"model": last}
    problem(data.operator.delete(f"/v1/jobs/{row.id}"), 409)
    assert data.operator.delete(f"/v1/pipelines/{made['id']}").status_code == 204
    assert data.operator.delete(f"/v1/jobs/{row.id}").status_code == 204


@engines
def test_trainings_that_a_step_is_shared_out_among_get_the_identifiers_too(data: Served) -> None:
    """A step with several seeds waits with its child jobs; they run once its encoder is there, and it behind them."""
    labelled = prepared(data.database, "ds_00000000000000000009", classes=["a", "b"], labelled={"train": 8, "val": 2},
                        **ABOUT)  # fmt: skip
    tune = {"dataset": labelled, "init_model": {"from": "xray.model"}, "task": "classification", "seeds": [0, 1]}
    made = posted(data, {"xray": stage(DATA), "tune": {"kind": "finetune", "spec": tune}})
    steps = shown(data, made)

    def runs() -> list[Body]:
        return list(data.viewer.get("/v1/jobs", params={"parent": steps["tune"]["job_id"]}).json()["items"])

    assert [run["state"] for run in runs()] == ["waiting", "waiting"]
    encoder = done(data, steps["xray"]["job_id"])
    assert [(run["state"], run["spec"]["init_model"]) for run in runs()] == [("queued", encoder)] * 2
    assert shown(data, made)["tune"]["state"] == "waiting"
    for run in runs():
        claim = take(data.database, run["id"])
        with data.database.session() as session:
            attempts.succeed(session, run["id"], claim.fence, {"outputs": {}, "metrics": {}})
    swept(data)
    job = data.viewer.get(f"/v1/jobs/{steps['tune']['job_id']}").json()
    assert (job["state"], job["spec"]["init_model"]) == ("queued", encoder)


WRONG: list[tuple[Body, dict[str, str]]] = [
    ({"pathology": stage(OTHER, init_model={"from": "nobody.model"})},
     {"/steps/pathology/spec/init_model/from": "there is no step 'nobody' in this pipeline"}),
    ({"pathology": stage(OTHER, init_model={"from": "buffer.dataset"})},
     {"/steps/pathology/spec/init_model/from": "takes a model; buffer.dataset is a dataset"}),
    ({"pathology": stage(OTHER, init_model={"from": "xray.dataset"})},
     {"/steps/pathology/spec/init_model/from": "expected xray.model"}),
    ({"pathology": stage(OTHER, epochs={"from": "xray.model"})},
     {"/steps/pathology/spec/epochs/from": "takes nothing that another step makes"}),
    ({"pathology": stage(OTHER, init_model={"from": "xray"}, colour=1)},
     {"/steps/pathology/spec/init_model/from": "the name of a step and what it makes",
      "/steps/pathology/spec/colour": "no such field"}),
    ({"xray": stage(DATA, init_model={"from": "pathology.model"})},
     {"/steps/xray": "waits for itself", "/steps/pathology": "xray needs pathology"}),
    ({"pathology": stage(OTHER, init_model={"from": "xray.model"}, rehearsal=[DATA])},
     {"/steps/pathology/spec/rehearsal/0": "expected a rehearsal buffer"}),
    ({"buffer": {"kind": "build_buffer", "spec": {"model": {"from": "xray.model"}, "dataset": OTHER}}},
     {"/steps/buffer/spec/model": "has not learnt 'pathology'"}),
    ({"scores": {"kind": "evaluate", "spec": {"model": {"from": "xray.model"}, "dataset": DATA}}},
     {"/steps/scores/spec/model": "an encoder without a head"}),
    ({"xray": stage("ds_99999999999999999999", epochs=-1), "more": stage("ds_99999999999999999999")},
     {"/steps/xray/spec/epochs": "greater than", "/steps/more/spec/dataset": "does not exist"}),
    ({"more": {"kind": "prepare", "spec": {}, "depends_on": ["nobody"]}},
     {"/steps/more/kind": "expected one of", "/steps/more/depends_on/0": "there is no step 'nobody'"}),
]  # fmt: skip


def test_all_that_is_wrong_is_named_and_nothing_is_made(data: Served) -> None:
    for changed, expected in WRONG:
        body = {"steps": three(**changed)}
        document = problem(data.operator.post("/v1/pipelines", json=body), 422)
        said = {entry["pointer"]: entry["detail"] for entry in document["errors"]}
        assert said.keys() - {"/steps/buffer"} == expected.keys()
        assert all(words in said[where] for where, words in expected.items()), said
        seen = data.operator.post("/v1/pipelines:validate", json=body).json()
        assert not seen["valid"] and {e["pointer"] for e in seen["errors"]} == set(said)
    assert (count(data), count(data, Pipeline)) == (0, 0)


def test_the_same_request_makes_one_pipeline(data: Served) -> None:
    body, key = {"steps": three()}, {"Idempotency-Key": "line-1"}
    first, second = (data.operator.post("/v1/pipelines", json=body, headers=key) for _ in range(2))
    assert first.json() == second.json() and second.headers["Idempotency-Replayed"] == "true"
    assert count(data) == 3
    changed = {"steps": {"xray": stage(DATA)}}
    problem(data.operator.post("/v1/pipelines", json=changed, headers=key), 409)
    problem(data.viewer.post("/v1/pipelines", json=body), 403)


def test_what_does_not_fit_after_all_fails_before_it_runs(data: Served) -> None:
    made = posted(data, three())
    steps = shown(data, made)
    done(data, steps["xray"]["job_id"], task="classification", classes=["a", "b"])
    lost = shown(data, made)
    assert (lost["buffer"]["state"], lost["buffer"]["error"]["reason"]) == ("failed", "data")
    assert "expected an encoder" in lost["buffer"]["error"]["detail"]
    assert (lost["pathology"]["state"], lost["whole"]["state"]) == ("failed", "failed")


@engines
def test_a_failed_step_is_tried_again_with_those_behind_it_alone(data: Served) -> None:
    made = posted(data, three(alone=stage(OTHER)))
    steps = shown(data, made)
    path = f"/v1/pipelines/{made['id']}"
    problem(data.operator.post(f"{path}/retry"), 409)
    encoder = done(data, steps["xray"]["job_id"])
    failed(data, steps["buffer"]["job_id"])
    assert [shown(data, made)[n]["state"] for n in ("buffer", "pathology", "alone")] == ["failed", "failed", "queued"]
    again = data.operator.post(f"{path}/retry")
    assert again.status_code == 200, again.text
    now_ = shown(data, made)
    assert {name: now_[name]["job_id"] == steps[name]["job_id"] for name in three(alone={})} == {
        "xray": True, "buffer": False, "pathology": False, "alone": True,
    }  # fmt: skip
    assert now_["buffer"]["earlier_jobs"] == [steps["buffer"]["job_id"]]
    assert (now_["buffer"]["state"], now_["pathology"]["state"]) == ("queued", "waiting")
    with data.database.reading() as session:
        assert session.get_one(Job, now_["buffer"]["job_id"]).spec["model"] == encoder
    for name in ("buffer", "pathology", "alone"):
        done(data, shown(data, made)[name]["job_id"])
    assert shown(data, made)["whole"]["state"] == "succeeded"
    assert count(data) == 6


def test_a_step_is_tried_again_from_its_last_checkpoint_unless_its_data_were_wrong(data: Served) -> None:
    def tried(reason: str) -> tuple[str, str | None]:
        """The job that tries the step again once the one before has failed, and what it goes on from."""
        failed(data, shown(data, made)["xray"]["job_id"], reason)
        assert data.operator.post(f"/v1/pipelines/{made['id']}/retry").status_code == 200
        job_id = shown(data, made)["xray"]["job_id"]
        return job_id, data.viewer.get(f"/v1/jobs/{job_id}").json()["continues"]

    made = posted(data, {"xray": stage(DATA) | {"retry": {"on": []}}})
    first = shown(data, made)["xray"]["job_id"]
    second, before = tried("killed")
    assert before == first
    # one that nobody has taken has no checkpoint: what it would have gone on from is gone on from
    assert data.operator.post(f"/v1/jobs/{second}/cancel").status_code == 200
    assert data.operator.post(f"/v1/pipelines/{made['id']}/retry").status_code == 200
    third = shown(data, made)["xray"]["job_id"]
    assert data.viewer.get(f"/v1/jobs/{third}").json()["continues"] == first
    fourth, before = tried("code")
    assert before == third
    with data.database.reading() as session:
        assert checkpoints.before(session, fourth) == [third, first]
    refusal = problem(data.operator.delete(f"/v1/jobs/{third}"), 409)
    assert f"its checkpoints are gone on from by {fourth}" in refusal["detail"]
    _, before = tried("data")
    assert before is None


def test_a_step_that_goes_on_is_waited_for_by_those_that_are_tried_again(data: Served) -> None:
    behind = {"kind": "build_buffer", "spec": {"model": {"from": "pathology.model"}, "dataset": OTHER}}
    made = posted(data, {"a": stage(DATA), "xray": stage(DATA), "buffer": three()["buffer"],
                         "pathology": stage(OTHER, init_model={"from": "a.model"},
                                            rehearsal=[{"from": "buffer.dataset"}]),
                         "last": behind})  # fmt: skip
    steps = shown(data, made)
    done(data, steps["xray"]["job_id"])
    failed(data, steps["buffer"]["job_id"])
    data.operator.post(f"/v1/pipelines/{made['id']}/retry")
    # `a` has not begun: nobody does it twice
    assert shown(data, made)["a"]["job_id"] == steps["a"]["job_id"]
    done(data, shown(data, made)["buffer"]["job_id"])
    assert shown(data, made)["pathology"]["state"] == "waiting"
    encoder = done(data, steps["a"]["job_id"])
    with data.database.reading() as session:
        row = session.get_one(Job, shown(data, made)["pathology"]["job_id"])
        assert (row.state, row.spec["init_model"]) == ("queued", encoder)


@engines
def test_a_pipeline_is_paused_resumed_and_cancelled_as_a_whole(data: Served) -> None:
    made = posted(data, three())
    steps, path = shown(data, made), f"/v1/pipelines/{made['id']}"
    claim = take(data.database, steps["xray"]["job_id"])
    assert data.operator.post(f"{path}/pause").json()["state"] == "running", "it writes a checkpoint first"
    assert [shown(data, made)[name]["state"] for name in ("buffer", "pathology")] == ["paused", "paused"]
    model = trained(data.database, None, new_id("mdl"), claim.job_id)
    with data.database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, {"outputs": {"model": model}, "metrics": {}})
    swept(data)
    assert shown(data, made)["whole"]["state"] == "paused"
    assert data.operator.post(f"{path}/resume").json()["state"] == "waiting"
    swept(data)
    with data.database.reading() as session:
        row = session.get_one(Job, steps["buffer"]["job_id"])
        assert (row.state, row.spec["model"]) == ("queued", model)
    cancelled = data.operator.post(f"{path}/cancel").json()
    assert (cancelled["state"], cancelled["progress"]["done"]) == ("cancelled", 1)
    for order in ("cancel", "pause", "resume"):
        problem(data.operator.post(f"{path}/{order}"), 409)
    problem(data.operator.post("/v1/pipelines/pip_nobody/cancel"), 404)


def reused(steps: Iterable[Body]) -> dict[str, bool]:
    return {step["name"]: step["reused"] for step in steps}


@engines
def test_what_was_done_with_the_same_inputs_is_not_done_again(data: Served) -> None:
    first = posted(data, three())
    for name in three():
        done(data, shown(data, first)[name]["job_id"])
    path = f"/v1/pipelines/{first['id']}"
    body = {"changes": {"pathology": {"epochs": 3}}}
    again = data.operator.post(f"{path}/rerun", json=body)
    assert again.status_code == 201, again.text
    second = again.json()
    assert reused(second["steps"]) == {"xray": True, "buffer": True, "pathology": False}
    assert (second["rerun_of"], second["progress"]["done"]) == (first["id"], 2)
    steps = shown(data, second)
    assert steps["xray"]["job_id"] == shown(data, first)["xray"]["job_id"]
    assert steps["pathology"]["spec"]["epochs"] == 3 and steps["pathology"]["state"] == "queued"
    done(data, steps["pathology"]["job_id"])
    assert shown(data, second)["whole"]["state"] == "succeeded"
    # the first step decides about all behind it
    third = data.operator.post(f"{path}/rerun", json={"changes": {"xray": {"seed": 1}}}).json()
    assert reused(third["steps"]) == {"xray": False, "buffer": False, "pathology": False}
    everything = data.operator.post(f"{path}/rerun", json={"reuse": False}).json()
    assert not any(reused(everything["steps"]).values())
    assert all(reused(posted(data, three(), reuse=True)["steps"]).values())
    problem(data.operator.post(f"{path}/rerun", json={"changes": {"nobody": {}}}), 422)
    wrong = problem(data.operator.post(f"{path}/rerun", json={"changes": {"xray": {"epochs": 0}}}), 422)
    assert pointers(wrong) == ["/steps/xray/spec/epochs"]
    found = data.viewer.get("/v1/pipelines", params={"rerun_of": first["id"], "fields": "id,name,state"}).json()
    assert len(found["items"]) == 3 and {"id", "name", "state"} == set(found["items"][0])


def test_what_was_deleted_is_made_again(data: Served) -> None:
    steps = {"xray": stage(DATA)}
    model = done(data, posted(data, steps)["steps"][0]["job_id"])
    assert posted(data, steps, reuse=True)["steps"][0]["outputs"] == {"model": model}
    assert data.operator.delete(f"/v1/models/{model}").status_code == 204
    assert reused(posted(data, steps, reuse=True)["steps"]) == {"xray": False}


def test_pipelines_are_seen_in_their_project_and_listed(data: Served) -> None:
    made = posted(data, {"xray": stage(DATA)}, name="Alone")
    data.admin.post("/v1/projects", json={"name": "north"})
    secret = data.admin.post("/v1/keys", json={"name": "n", "owner": "nora", "role": "operator", "projects": ["north"]})
    stranger = {"Authorization": f"Bearer {secret.json()['secret']}"}
    assert data.operator.get(f"/v1/pipelines/{made['id']}", headers=stranger).status_code == 404
    assert data.operator.get("/v1/pipelines", headers=stranger).json()["items"] == []
    problem(data.operator.post(f"/v1/pipelines/{made['id']}/cancel", headers=stranger), 404)
    lists = {state: data.viewer.get("/v1/pipelines", params={"state": state}).json()["items"]
             for state in ("queued", "succeeded")}  # fmt: skip
    assert [p["id"] for p in lists["queued"]] == [made["id"]] and not lists["succeeded"]
    assert data.viewer.get("/v1/pipelines", params={"name": "al"}).json()["items"][0]["id"] == made["id"]
    tag = data.viewer.get(f"/v1/pipelines/{made['id']}").headers["etag"]
    assert data.viewer.get(f"/v1/pipelines/{made['id']}", headers={"If-None-Match": tag}).status_code == 304


def test_the_end_of_a_pipeline_is_told_once(data: Served) -> None:
    with data.database.session() as session:
        session.add(Webhook(id="whk_1", url="https://x", topics=["pipeline.succeeded"], secret="s", created_by="ada",
                            active=True, project_id="prj_default"))  # fmt: skip
    made = posted(data, {"xray": stage(DATA)})
    swept(data)
    done(data, made["steps"][0]["job_id"])
    swept(data)
    with data.database.reading() as session:
        told = session.scalars(select(Delivery)).all()
    assert [row.payload["data"]["pipeline_id"] for row in told] == [made["id"]]


def test_what_a_pipeline_takes_is_told_before_it_is_submitted(data: Served) -> None:
    seen = data.operator.post("/v1/pipelines:validate", json={"steps": three()}).json()
    assert seen["valid"], seen["errors"]
    # 4 batches an epoch, 2 epochs; the buffer holds a single sample, which makes one batch more
    assert [seen["steps"][name]["steps"]["value"] for name in ("xray", "pathology")] == [8, 10]
    assert (seen["training_steps"]["value"], seen["samples"]["value"]) == (18, 8 + 8 + 8 + 1)
    assert seen["duration"]["value"] > 0 and seen["gpu_hours"]["unit"] == "h"
    assert count(data) == 0


def test_images_that_are_prepared_in_a_pipeline_are_counted_by_their_files(served: Served) -> None:
    raw = uploaded(served.operator, {f"train/{n}.png": b"pixels" for n in range(6)})
    films = {"kind": "preprocess", "spec": {"dataset": raw, "recipe": {"name": "image_folder", "size": [32, 32]}}}
    made = {"from": "films.dataset"}
    # nobody knows yet which of them go to val
    steps = {"films": films, "xray": stage(made, measured_on=[made])}
    seen = served.operator.post("/v1/pipelines:validate", json={"steps": steps}).json()
    assert seen["valid"], seen["errors"]
    assert seen["steps"]["xray"]["steps"]["value"] == 6
    steps["films"]["spec"]["recipe"] = {"name": "openi_reports"}  # type: ignore[index]
    seen = served.operator.post("/v1/pipelines:validate", json={"steps": steps}).json()
    assert pointers(seen) == ["/steps/films/spec/dataset"], "there is no table among the files"


def test_a_pipeline_counts_in_the_quota_with_all_its_jobs(serve: Serve, settings: Settings) -> None:
    few = serve(settings.model_copy(update={"quota_queued": 2}))
    with_two_datasets(few)
    problem(few.operator.post("/v1/pipelines", json={"steps": three()}), 429)
    assert count(few) == 0
    assert model_info().task == "encoder"
