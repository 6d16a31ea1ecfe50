"""Attempts stay inside the project of their job."""

from collections.abc import Callable

from sqlalchemy import select

from services.core import jobs, projects
from services.core.db import Database
from services.core.jobs import NewJob
from services.core.registry import register_deployment, register_model
from services.core.tables import DEFAULT_PROJECT, Dataset
from services.worker.supervisor import Supervisor
from tests.api.calls import model_info
from tests.api.test_api_registry import deployment_info
from tests.worker.scripts import RESULT
from tests.worker.work import FOLDER, row

Script = Callable[..., None]


def in_project(database: Database, kind: str, spec: dict[str, object], name: str = "north") -> tuple[str, str]:
    """The ids of a job and of its project, which is a new one."""
    with database.session() as session:
        project = projects.create(session, name).id
        asked = NewJob(kind=kind, spec=spec, name=kind, max_attempts=3, project_id=project)
        return jobs.submit(session, asked, created_by="test").id, project


def add_raw(database: Database, project: str) -> None:
    with database.session() as session:
        session.add(
            Dataset(id="ds_raw0000000", name="raw", role="raw", state="ready", parents=[], prefix="datasets/x/raw",
                    project_id=project)
        )  # fmt: skip


def test_what_a_job_makes_is_its_projects(supervisor: Supervisor, database: Database, script: Script) -> None:
    script(RESULT)
    job_id, project = in_project(database, "preprocess", {"dataset": "ds_raw0000000", "recipe": FOLDER})
    add_raw(database, project)
    supervisor.run_next()
    assert row(database, job_id).state == "succeeded", row(database, job_id).error
    with database.reading() as session:
        made = session.scalars(select(Dataset.project_id).where(Dataset.job_id == job_id)).all()
    assert made == [project]


def test_another_projects_data_is_not_there(supervisor: Supervisor, database: Database) -> None:
    add_raw(database, DEFAULT_PROJECT)
    job_id, _ = in_project(database, "preprocess", {"dataset": "ds_raw0000000", "recipe": FOLDER})
    supervisor.run_next()
    error = row(database, job_id).error
    assert error is not None
    assert (error["reason"], "there is no dataset ds_raw0000000" in error["detail"]) == ("data", True)


def test_a_served_name_that_another_project_has_taken_meanwhile(supervisor: Supervisor, database: Database) -> None:
    job_id, project = in_project(database, "export", {"model": "mdl_00000001", "name": "chest"})
    with database.session() as session:
        for model_id, owner in (("mdl_00000000", DEFAULT_PROJECT), ("mdl_00000001", project)):
            register_model(
                session, model_id, name="m", info=model_info(), prefix=f"models/{model_id}", files=[], parents=[],
                dataset_id=None, job_id="job_x", project_id=owner,
            )  # fmt: skip
        session.flush()
        register_deployment(
            session, "dep_1", info=deployment_info("chest", 1), model_id="mdl_00000000", job_id="job_x",
            project_id=DEFAULT_PROJECT,
        )  # fmt: skip
    supervisor.run_next()
    error = row(database, job_id).error
    assert error is not None
    assert (error["reason"], "'chest' is taken" in error["detail"]) == ("data", True)
