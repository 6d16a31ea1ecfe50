"""Why jobs do not run yet: the words are true, and cost a fixed number of queries."""

from sqlalchemy import event

from services.api.views import job_view, job_views
from services.core import jobs
from services.core.db import Database
from services.core.scope import EVERYTHING
from services.core.workers import SILENT, WorkerState
from tests.core.databases import engines
from tests.core.steps import claimed, submitted
from tests.core.test_core_workers import beat, heard, silent_since

GIB = 2**30


def reason(database: Database, job_id: str, quota: int | None = None) -> str | None:
    with database.reading() as session:
        return job_view(session, jobs.get(session, EVERYTHING, job_id), quota).reason


@engines
def test_it_says_what_no_worker_has(database: Database) -> None:
    two, memory, both = (
        submitted(database, gpus=2),
        submitted(database, memory_bytes=64 * GIB),
        submitted(database, gpus=1, memory_bytes=64 * GIB),
    )
    assert reason(database, two) == "no worker is alive; it starts when one is started"
    heard(database, beat("a", gpus=1, memory_bytes=16 * GIB), beat("b", gpus=4, state=WorkerState.DRAINING))
    assert reason(database, two) == "no worker that is alive offers 2 GPUs; the largest has 1 GPU"
    assert reason(database, memory) == (
        "no worker that is alive offers 64 GiB of memory; the largest has 16 GiB of memory"
    )
    heard(database, beat("c", memory_bytes=128 * GIB))
    assert reason(database, both) == "no worker that is alive offers 1 GPU and 64 GiB of memory; none has both"
    heard(database, beat("d", gpus=2, memory_bytes=None))
    assert reason(database, two) == "waits for a free worker with 2 GPUs; it is the next in the queue"
    for name in "abcd":
        silent_since(database, name, SILENT * 2)
    assert reason(database, two) == "no worker is alive; it starts when one is started"


@engines
def test_it_says_what_a_job_on_several_machines_waits_for(database: Database) -> None:
    job_id, usual = submitted(database, nodes=4, gpus=8), submitted(database)
    heard(database, beat("a", gpus=8))
    found = reason(database, job_id)
    assert found is not None and found.startswith("it runs on 4 machines, and no worker is alive that has jobs run on")
    silent_since(database, "a", SILENT * 2)
    heard(database, beat("b", nodes=2, gpus=8))
    assert reason(database, usual) == "no worker is alive; it starts when one is started"
    assert reason(database, job_id) == (
        "no worker that is alive has jobs run on 4 machines with 8 GPUs each; the largest offers 2 with 8 GPUs each"
    )
    heard(database, beat("c", nodes=4, gpus=8))
    assert reason(database, job_id) == "waits for a free worker that has 4 machines free; it is the next in the queue"


@engines
def test_it_says_how_many_jobs_are_ahead(database: Database) -> None:
    heard(database, beat("a"))
    later, first = submitted(database), submitted(database, priority=5)
    last = submitted(database, priority=-1)
    assert reason(database, first) == "waits for a free worker; it is the next in the queue"
    assert reason(database, later) == "waits for a free worker; 1 job is ahead of it in the queue"
    assert reason(database, last) == "waits for a free worker; 2 jobs are ahead of it in the queue"
    claimed(database, first)
    assert reason(database, last) == "waits for a free worker; 1 job is ahead of it in the queue"


@engines
def test_it_says_that_the_owner_runs_as_many_as_are_allowed(database: Database) -> None:
    heard(database, beat("a"))
    mine, next_one = submitted(database, created_by="me"), submitted(database, created_by="me")
    claimed(database, mine)
    full = "me runs 1 jobs, 1 are allowed at once; it starts when one of them has ended"
    assert reason(database, next_one, quota=1) == full
    assert (reason(database, next_one, quota=2) or "").startswith("waits for a free worker")


@engines
def test_a_list_costs_four_queries_however_long(database: Database) -> None:
    heard(database, beat("a"))
    ids = [submitted(database, created_by=f"owner {n % 3}") for n in range(9)]
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    with database.reading() as session:
        rows = [jobs.get(session, EVERYTHING, job_id) for job_id in ids]
        before = len(statements)
        views = job_views(session, rows, quota=5)
    assert {view.reason for view in views} == {"waits for a free worker"}
    # dependencies, tags, workers and running jobs of the owners
    assert len([s for s in statements[before:] if s.lstrip().startswith("SELECT")]) == 4
