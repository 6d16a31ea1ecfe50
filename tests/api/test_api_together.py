"""Requests of one moment are served together, and each stands and falls by itself."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
from sqlalchemy import event, func, select

from services.api.together import Together
from services.core.keys import Role, store_key
from services.core.settings import Settings
from services.core.tables import AuditEntry, Job, Project
from tests.api.calls import problem, uploaded
from tests.api.serving import KEYS, Served
from tests.api.test_api_shell import Serve
from tests.core.databases import engines


class Slow:
    """Work that goes on when it is let to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go_on = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(items))
        assert self.go_on.wait(20)
        if 13 in items:
            raise OSError("all of them")
        return [ValueError(f"{item} is odd") if item % 2 else item * 10 for item in items]


async def gather(slow: Slow, items: Sequence[int], most: int = 64, leave: Sequence[int] = ()) -> list[Any]:
    """What comes of the items, all of which but the first have arrived while its group is under way."""
    together = Together[int, int](slow, most)
    tasks = [asyncio.create_task(together.do(items[0]))]
    async with asyncio.timeout(20):
        while not slow.groups:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(together.do(item)) for item in items[1:]]
        while together.waiting < len(items) - 1:
            await asyncio.sleep(0.001)
    for place in leave:
        tasks[place].cancel()
    slow.go_on.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_arrives_meanwhile_is_the_next_group() -> None:
    slow = Slow()
    found = asyncio.run(gather(slow, [2, 4, 5, 6, 8], most=3))
    assert slow.groups == [[2], [4, 5, 6], [8]]
    assert [str(one) for one in found] == ["20", "40", "5 is odd", "60", "80"]


def test_an_error_of_all_is_the_error_of_each_in_that_group() -> None:
    slow = Slow()
    first, *others, last = asyncio.run(gather(slow, [2, 4, 13, 6], most=2))
    assert (first, last) == (20, 60) and all(isinstance(one, OSError) for one in others)


def test_who_leaves_takes_nothing_away_from_the_others() -> None:
    slow = Slow()
    found = asyncio.run(gather(slow, [2, 4, 6], leave=[0, 1]))
    assert isinstance(found[0], asyncio.CancelledError) and isinstance(found[1], asyncio.CancelledError)
    assert found[2] == 60 and slow.groups == [[2], [4, 6]], "the work is done all the same"


@contextmanager
def held(served: Served) -> Iterator[tuple[threading.Event, Callable[[int], None]]]:
    """No job is recorded until the block ends; gives when the first is about to be, and what waits until so many others
    have come.
    """
    desk = served.app.state.parts.desk

    def until(number: int) -> None:
        deadline = time.monotonic() + 20
        while desk.waiting < number:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    begun, go_on = threading.Event(), threading.Event()
    engine = served.app.state.parts.database.engine

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO jobs"):
            begun.set()
            assert go_on.wait(30)

    event.listen(engine, "before_cursor_execute", stop)
    try:
        yield begun, until
    finally:
        go_on.set()


def job(dataset: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "preprocess", "spec": {"dataset": dataset, "recipe": {"name": "image_folder"}}} | fields


def post_all(
    served: Served, bodies: Sequence[dict[str, Any]], headers: Sequence[dict[str, str]]
) -> list[httpx.Response]:
    """Submit jobs: the first one alone, all others while it is being recorded."""
    with ThreadPoolExecutor(len(bodies)) as pool, held(served) as (begun, until):

        def post(place: int) -> httpx.Response:
            key = {"Authorization": f"Bearer {KEYS[Role.OPERATOR]}"} | headers[place]
            return httpx.post(f"{served.url}/v1/jobs", json=bodies[place], headers=key, timeout=60)

        answers = [pool.submit(post, 0)]
        assert begun.wait(20)
        answers += [pool.submit(post, place) for place in range(1, len(bodies))]
        until(len(bodies) - 1)
    return [answer.result() for answer in answers]


@engines
def test_each_submission_of_a_group_has_its_own_answer(served: Served) -> None:
    dataset = uploaded(served.operator, {"a.png": b"pixels"})
    failed = served.operator.post("/v1/jobs", json=job(dataset)).json()["id"]
    assert served.operator.post(f"/v1/jobs/{failed}/cancel").status_code == 200
    with served.database.session() as session:
        session.add(Project(id="prj_other", name="other"))
        store_key(session, "mk_second", "second", Role.OPERATOR, owner="bea")
    second, key = {"Authorization": "Bearer mk_second"}, {"Idempotency-Key": "twice"}
    wanted: list[tuple[dict[str, Any], dict[str, str]]] = [
        (job(dataset, name="first"), {}), (job(dataset, name="good", tags=["t"]), {}),
        (job(dataset, name="hers"), second), (job("ds_" + "0" * 21), {}), (job(dataset, spec={"dataset": dataset}), {}),
        (job(dataset, depends_on=[failed]), {}), (job(dataset, project="other"), {}),
        (job(dataset, name="once"), key), (job(dataset, name="once"), key),
    ]  # fmt: skip
    *good, missing, unfit, hopeless, foreign, once, again = post_all(
        served, [body for body, _ in wanted], [headers for _, headers in wanted]
    )
    assert [answer.status_code for answer in good] == [201] * 3
    assert [answer.json()["name"] for answer in good] == ["first", "good", "hers"]
    assert [answer.json()["created_by"] for answer in good] == ["the operator", "the operator", "bea"]
    assert [answer.json()["tags"] for answer in good] == [[], ["t"], []]
    assert problem(missing, 422)["errors"][0]["pointer"] == "/spec/dataset"
    assert problem(unfit, 422)["errors"][0]["pointer"] == "/spec/recipe"
    assert failed in problem(hopeless, 409)["detail"]
    assert problem(foreign, 422)["errors"][0]["pointer"] == "/project"
    assert (once.status_code, again.status_code, once.json()) == (201, 201, again.json())
    assert [r.headers.get("idempotency-replayed") for r in (once, again)].count("true") == 1
    with served.database.reading() as session:
        made = session.scalars(select(Job.name).where(Job.id != failed).order_by(Job.name)).all()
        assert made == ["first", "good", "hers", "once"]
        posts = select(AuditEntry.status).where(AuditEntry.route == "/v1/jobs")
        assert sorted(session.scalars(posts)) == [201] * 6 + [409] + [422] * 3


@engines
def test_statements_do_not_grow_with_a_group(served: Served) -> None:
    dataset = uploaded(served.operator, {"a.png": b"pixels"})
    engine, seen = served.app.state.parts.database.engine, []
    event.listen(engine, "after_cursor_execute", lambda _c, _x, statement, *_: seen.append(statement))
    answers = post_all(served, [job(dataset, name=f"n{i}") for i in range(21)], [{}] * 21)
    assert {answer.status_code for answer in answers} == {201}
    turns = sorted((a.json()["created_at"], a.json()["id"]) for a in answers)
    assert len({job_id for _, job_id in turns}) == 21
    recorded = [s for s in seen if s.startswith(("INSERT INTO jobs", "INSERT INTO job_events"))]
    assert len(recorded) == 4, "the first alone, then twenty at once"
    assert sum("FROM datasets" in s for s in seen) == 2
    with served.database.reading() as session:
        assert len(set(session.scalars(select(Job.turn)))) == 21, "an owner's jobs run one behind the other"


def test_a_quota_holds_within_a_group(settings: Settings, serve: Serve) -> None:
    strict = serve(settings.model_copy(update={"quota_queued": 4}))
    dataset = uploaded(strict.operator, {"a.png": b"pixels"})
    answers = post_all(strict, [job(dataset)] * 8, [{}] * 8)
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [429] * 4
    with strict.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Job)).one() == 4


def test_a_stranger_among_callers_is_refused_alone(served: Served) -> None:
    keys = [KEYS[Role.VIEWER], "mk_wrong", KEYS[Role.ADMIN], ""] * 3

    def ask(key: str) -> httpx.Response:
        shown = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.get(f"{served.url}/v1/me", headers=shown, timeout=60)

    with ThreadPoolExecutor(len(keys)) as pool:
        answers = list(pool.map(ask, keys))
    assert [answer.status_code for answer in answers] == [200, 401, 200, 401] * 3
    assert [a.json().get("role") for a in answers if a.status_code == 200] == ["viewer", "admin"] * 3
