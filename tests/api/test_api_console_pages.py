"""The pages of the console on a platform that has everything to show, but no workers."""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from tests.api.serving import KEYS, Role, Served, start, store_keys
from tests.browser import Watched, browsing, faults, log_in, missing
from tests.console_demo import Demo, fill

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
TABLET = {"width": 834, "height": 1112}


@pytest.fixture(scope="module")
def shown(
    s3: dict[str, str], redis_url: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Demo]]:
    """A filled platform that the tests of this file share."""
    path = tmp_path_factory.mktemp("console") / "medcoss.db"
    shutil.copy(sqlite_template, path)
    chosen = Settings(
        database_url=f"sqlite:///{path}", redis_url=redis_url, s3_endpoint=s3["endpoint"], s3_bucket="test-console",
        s3_access_key=s3["access_key"], s3_secret_key=s3["secret_key"],
    )  # fmt: skip
    ObjectStore(chosen).ensure_bucket()
    database = Database(chosen.database_url)
    store_keys(database)
    with ExitStack() as stack:
        served = start(stack, chosen, database)
        yield served, fill(served)
    database.engine.dispose()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """One browser for all tests of this file."""
    with browsing() as made:
        yield made


@pytest.fixture
def page(watched: Watched, shown: tuple[Served, Demo]) -> Iterator[Page]:
    """A tab with an administrator's key in it; whatever a test does, nothing was said to the console or other hosts."""
    watched.errors.clear()
    made = watched.page()
    log_in(made, shown[0].url, KEYS[Role.ADMIN])
    yield made
    made.close()
    hosts = {httpx.URL(shown[0].url).netloc.decode(), shown[0].settings.s3_endpoint}
    assert not watched.errors and watched.hosts() <= hosts


def test_a_pipeline_is_seen_as_a_graph_and_as_a_table_and_stopped(page: Page, shown: tuple[Served, Demo]) -> None:
    served, demo = shown
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Pipelines").click()
    page.get_by_label("State").first.click()
    page.get_by_role("option", name="running").click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("state=running"))
    row = page.locator("tr[data-pipeline]")
    expect(row).to_have_count(1)
    row.get_by_role("link").click()
    graph = page.get_by_role("region", name="Steps as a graph")
    expect(graph.locator("[data-node]")).to_have_count(3)
    expect(graph.locator("[data-node=pathology]")).to_contain_text("40 %, 1 h 30 min to go")
    steps = page.get_by_role("region", name="Steps", exact=True)
    expect(steps.locator("tr[data-step=pathology]")).to_contain_text("xray, buffer")
    assert not faults(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the pipeline").click()
    expect(steps.locator("tr[data-step=pathology]")).to_contain_text("is being cancelled")

    # what has failed says why, and goes on from there
    page.goto(f"{served.url}/console/pipelines/{demo.failed}")
    expect(page.get_by_role("alert")).to_contain_text("steps have failed")
    page.get_by_role("button", name="Retry what has not succeeded").click()
    expect(steps.locator("tr[data-step=xray]")).to_contain_text("tried 2 times")
    expect(page.locator("h1 [data-state=queued]")).to_be_visible()
