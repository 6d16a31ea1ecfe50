"""The pages of the console on a platform that has everything to show, but no workers."""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, ViewportSize, expect

from medcoss.specs.records import EvaluationInfo
from services.core import attempts, evaluations
from services.core.attempts import Artifact
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Job
from tests.api.calls import take
from tests.api.serving import KEYS, Role, Served, start, store_keys
from tests.browser import Watched, browsing, faults, log_in, needs_browser
from tests.console_demo import ATRIA, ATRIUM, CHEST, DICE, STAGES, XRAYS, Demo, fill

pytestmark = needs_browser
TABLET: ViewportSize = {"width": 834, "height": 1112}


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
        quota_running=4, quota_queued=50, storage_dir=path.parent,
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


@contextmanager
def refused(watched: Watched) -> Iterator[None]:
    """What the browser says of answers that refuse something is meant here."""
    yield
    watched.errors[:] = [each for each in watched.errors if "Failed to load resource" not in each]


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


def test_a_model_shows_what_it_has_kept_and_is_promoted_past_a_closed_gate(
    page: Page, shown: tuple[Served, Demo]
) -> None:
    served, _ = shown
    page.goto(f"{served.url}/console/models/{STAGES[2]}")
    heat = page.get_by_role("region", name="Forgetting by stage and modality")
    expect(heat.get_by_title("report after stage 3: 2.62, 8.714 % lost")).to_be_visible()
    page.get_by_text("Accuracy", exact=True).click()
    expect(heat).to_contain_text("0.7")
    assert not faults(page)
    page.get_by_role("tab", name="Lineage").click()
    expect(page.get_by_role("region", name="Lineage as a graph").locator("[data-node]")).to_have_count(6)
    page.get_by_role("tab", name="Card").click()
    expect(page.get_by_role("article", name="Model card")).to_contain_text("average_forgetting")

    # its gate is closed: a reason opens it, and is kept
    page.get_by_role("tab", name="Promote").click()
    expect(page.get_by_text("the average forgetting is 0.076, at most 0.05 is allowed")).to_be_visible()
    promote = page.get_by_role("button", name="Promote to @production all the same")
    expect(promote).to_be_disabled()
    page.get_by_label("Override, because").fill("reports are not served yet")
    promote.click()
    expect(page.get_by_role("region", name="History", exact=True)).to_contain_text(
        "gate overridden: reports are not served yet"
    )
    assert served.viewer.get("/v1/aliases/production").json()["model_id"] == STAGES[2]
    assert not faults(page)


def test_evaluations_are_compared_by_their_cases(page: Page, shown: tuple[Served, Demo]) -> None:
    page.goto(f"{shown[0].url}/console/models/{CHEST}?tab=scores")
    for name in ("chest0", "chest0"):
        page.get_by_role("checkbox", name=f"Choose scores of {name}", checked=False).first.check()
    page.get_by_role("link", name="Compare 2").click()
    expect(
        page.get_by_role("img", name=re.compile(r"ROC of covid against all others\. .*AUC 0\.\d+; .*AUC"))
    ).to_be_visible()
    expect(page.get_by_role("table", name="Worst cases of chest classifier 2").locator("tbody tr")).to_have_count(10)
    expect(page.get_by_role("region", name="Confusion of chest classifier 1").first).to_be_visible()
    assert not faults(page)
    page.goto(f"{shown[0].url}/console/evaluations?id={DICE}")
    expect(page.get_by_role("img", name=re.compile("left_atrium of left atrium: median 0"))).to_be_visible()


def test_a_key_is_made_rotated_and_revoked_and_the_log_tells(page: Page, shown: tuple[Served, Demo]) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Administration").click()
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("form", name="New key")
    form.get_by_label("Name").fill("ward 3")
    form.get_by_label("Owner").fill("bo")
    form.get_by_role("button", name="Make the key").click()
    secret = page.locator("[data-secret]")
    made = secret.inner_text()
    me = httpx.get(f"{shown[0].url}/v1/me", headers={"Authorization": f"Bearer {made}"}).json()
    assert (me["owner"], me["role"], [each["name"] for each in me["projects"]]) == ("bo", "operator", ["default"])
    page.get_by_role("button", name="I have it").click()
    expect(secret).to_be_hidden()
    row = page.locator("tr[data-key]", has_text="ward 3")
    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("button", name="Make a new secret").click()
    expect(secret).not_to_have_text(made)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(row.locator("[data-state=revoked]")).to_be_visible()
    assert not faults(page)
    page.get_by_role("tab", name="Quotas and limits").click()
    quotas = page.get_by_role("region", name="Jobs against the quotas")
    expect(quotas.get_by_role("row", name=re.compile(r"\d+ of 4 \d+ of 50")).first).to_be_visible()
    page.get_by_role("tab", name="Audit log").click()
    page.get_by_label("Route").fill("/v1/keys/{key_id}")
    log = page.get_by_role("region", name="Audit log")
    expect(log.locator("tbody tr")).to_have_count(1)
    expect(log).to_contain_text("DELETE")
    assert not faults(page)


def test_studies_are_drawn_around_on_the_map(page: Page, shown: tuple[Served, Demo]) -> None:
    page.goto(f"{shown[0].url}/console/map?index=films")
    drawn = page.get_by_role("img", name=re.compile("Map of 300 studies, coloured by label"))
    expect(page.get_by_role("status").filter(has_text="300 studies")).to_be_visible()
    box = drawn.bounding_box()
    assert box is not None and not faults(page)
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.5), (0.01, 0.5), (0.01, 0.02)]
    page.mouse.move(box["x"] + corners[0][0] * box["width"], box["y"] + corners[0][1] * box["height"])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()
    told = page.get_by_role("status").filter(has_text="drawn around")
    expect(told).to_be_visible()
    number = int(told.inner_text().split()[0])
    assert 50 < number < 250, "half of the map"
    page.get_by_label("Only label").first.click()
    page.get_by_role("option", name="normal").click()
    studies = page.get_by_role("region", name="Studies")
    expect(studies.get_by_role("cell", name="covid", exact=True)).to_have_count(0)
    # a study leads to where it can be looked at
    expect(studies.get_by_role("link", name="chest films", exact=True).first).to_be_visible()
    earlier = studies.get_by_role("row").filter(has_text="chest films, 2025").first.get_by_role("link").first
    name = earlier.inner_text()
    page.goto(f"{shown[0].url}{earlier.get_attribute('href')}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("films-of-the-north-site")
    page.wait_for_url(re.compile(rf"sample={quote(name, safe='')}"))
    page.go_back()
    page.get_by_role("combobox", name="Coloured by").click()
    page.get_by_role("option", name="time").click()
    expect(page.get_by_role("img", name=re.compile("coloured by time"))).to_be_visible()
    expect(page.get_by_text("2025-11-03 (100)")).to_be_visible()
    assert not faults(page)


def test_an_index_is_asked_for_followed_and_deleted_by_the_console(
    page: Page, shown: tuple[Served, Demo], watched: Watched
) -> None:
    served, _ = shown
    # a project with nothing in it: what has to be there first is told, with the way there
    page.goto(f"{served.url}/console/map?project=north")
    page.get_by_role("link", name="New index").click()
    first = page.get_by_role("alert").filter(has_text="Something has to be there first")
    expect(first.get_by_role("link", name="Open a raw dataset")).to_be_visible()
    expect(first.get_by_role("link", name="Pre-train an encoder")).to_be_visible()

    # from the page of an encoder, what is wrong stands at its field
    page.goto(f"{served.url}/console/models/{STAGES[1]}")
    page.get_by_role("link", name="Make an index").click()
    form = page.get_by_role("form", name="New index")
    name, build = form.get_by_role("textbox", name="Name"), form.get_by_role("button", name="Build the index")
    encoder, datasets = (form.get_by_role("combobox", name=each, exact=True) for each in ("Encoder", "Datasets"))
    expect(encoder).to_have_value(re.compile("stage 2, xray"))
    build.click()
    expect(form.get_by_role("alert").filter(has_text="Still needed: name, datasets.")).to_be_visible()
    expect(name).to_be_focused()
    name.fill("films")
    datasets.click()
    page.get_by_role("option", name=re.compile("^left atria")).click()
    with refused(watched):
        build.click()
        expect(datasets).to_have_accessible_description(re.compile("has not learnt 'mr'"))
        page.keyboard.press("Backspace")
        datasets.click()
        page.get_by_role("option", name=re.compile("^chest films · ")).click()
        build.click()
        expect(name).to_have_accessible_description(re.compile("an index 'films' is there already"))
    assert not faults(page)
    name.fill("two")
    build.click()

    # it waits for a worker, and can be deleted as well as one that is there
    row = page.locator("tr[data-index=two]")
    expect(row.locator("[data-state=building]")).to_be_visible()
    expect(page.get_by_role("region", name="Being built")).to_contain_text("its job, queued")
    made = served.viewer.get("/v1/indexes/two").json()
    assert (made["encoder"], made["datasets"]) == (STAGES[1], [XRAYS])
    assert not faults(page)
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the index").click()
    expect(row).to_be_hidden()
    expect(page.get_by_role("alert").filter(has_text="There is no index")).to_be_visible()
    films = page.locator("tr[data-index=films]")
    expect(films.get_by_role("cell", name=re.compile("KiB"))).to_be_visible()
    films.get_by_role("button", name="Rebuild").click()
    page.get_by_role("button", name="Embed everything again").click()
    expect(films.locator("[data-state=updating]")).to_be_visible()
    assert served.viewer.get("/v1/indexes/films").json()["version"] == 1, "it goes on answering"

    # a viewer sees them, and is told what a new one needs
    other = watched.page()
    log_in(other, served.url, KEYS[Role.VIEWER], "/map")
    expect(other.locator("tr[data-index=films]")).to_be_visible()
    expect(other.get_by_role("link", name="New index")).to_have_count(0)
    other.goto(f"{served.url}/console/map/new")
    expect(other.get_by_role("alert")).to_contain_text("needs the key of an operator")
    other.close()


def test_the_whole_log_is_searched_and_read_backwards(page: Page, shown: tuple[Served, Demo]) -> None:
    served, _ = shown
    asked = {"kind": "pretrain", "spec": {"dataset": XRAYS, "size": "tiny", "epochs": 9}, "name": "it writes much"}
    job = served.operator.post("/v1/jobs", json=asked).json()["id"]
    fence = take(served.database, job).fence

    def written(*numbers: int) -> None:
        lines = [("warning" if number % 100 == 0 else "info", f"line {number} of many") for number in numbers]
        with served.database.session() as session:
            attempts.record_rows(session, job, fence, metrics=[], logs=lines, artifacts=[])

    written(*range(1, 1201))
    page.goto(f"{served.url}/console/jobs/{job}?tab=log")
    log, told = page.get_by_role("region", name="Log"), page.get_by_role("status").filter(has_text="line")
    expect(told).to_have_text("1,200 lines, the last 500 shown")
    expect(log).not_to_contain_text("line 700 of")
    zone = page.get_by_text("times in ").inner_text().removeprefix("times in ")
    assert zone and (log.locator("time").first.get_attribute("title") or "").endswith(f" {zone}, attempt 1")
    assert not faults(page)

    # what the page has not is found all the same, and what comes meanwhile is counted
    search = page.get_by_role("textbox", name="Search the log")
    search.fill("LINE 7 of")
    expect(told).to_have_text("1 line found in the whole log")
    expect(log).to_have_text(re.compile(r"line 7 of many$"))
    page.wait_for_url(re.compile("q=LINE"))
    page.reload()
    expect(search).to_have_value("LINE 7 of")
    expect(told).to_have_text("1 line found in the whole log")
    search.fill("")
    page.get_by_role("combobox", name="Level").click()
    page.get_by_role("option", name="warning and above").click()
    expect(told).to_have_text("12 lines found in the whole log")
    written(1201, 1300)
    expect(told).to_have_text("13 lines found in the whole log")
    expect(log.locator("div").last).to_contain_text("warning: line 1300 of many")

    page.get_by_role("combobox", name="Level").click()
    page.get_by_role("option", name="all").click()
    expect(told).to_have_text("1,202 lines, the last 500 shown")
    page.get_by_role("button", name="500 older lines").click()
    page.get_by_role("button", name="202 older lines").click()
    expect(told).to_have_text("1,202 lines")
    expect(log.locator("div")).to_have_count(1202)
    expect(log.locator("div").first).to_contain_text("line 1 of many")


def test_files_and_evaluations_are_shown_to_their_end(page: Page, shown: tuple[Served, Demo]) -> None:
    served, demo = shown
    with served.database.session() as session:
        job = session.get_one(Job, demo.training)
        files = [Artifact(f"table_{at:04d}.csv", f"artifacts/{job.id}/{at}", "text/csv", 1) for at in range(600)]
        assert attempts.record_rows(session, job.id, job.fence, metrics=[], logs=[], artifacts=files)
        about = EvaluationInfo(schema_version=2, metrics={"dice": 0.5}, classes=["left_atrium", "wall"])
        for at in range(120):
            evaluations.register(session, f"evl_many{at:012d}", name=f"run {at}", info=about, model_id=ATRIUM,
                                 dataset_id=ATRIA, split="test", files=[], job_id="job_x",
                                 project_id=DEFAULT_PROJECT)  # fmt: skip
    page.goto(f"{served.url}/console/jobs/{demo.training}?tab=files")
    expect(page.get_by_role("link", name=re.compile("^table_"))).to_have_count(600)
    page.goto(f"{served.url}/console/models/{ATRIUM}?tab=scores")
    rows = page.get_by_role("region", name="Evaluations").locator("tbody tr")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="More of this model").click()
    expect(rows).to_have_count(121)
    page.get_by_role("button", name="More of other models").click()
    expect(page.get_by_role("button", name=re.compile("^More"))).to_have_count(0)
    assert not faults(page)


def test_reconstructions_go_by_epoch_and_home_tells_what_was_forgotten_and_what_is_used(
    page: Page, shown: tuple[Served, Demo]
) -> None:
    used = page.get_by_role("region", name="Disk and queue")
    expect(used).to_contain_text("Your jobs that run: 0 of 4")
    expect(used).to_contain_text(re.compile(r"Disk: [\d.]+ \w+ of [\d.]+ \w+ free"))
    expect(page.get_by_role("region", name="Last models")).to_contain_text("forgetting 0.076")
    page.goto(f"{shown[0].url}/console/jobs/{shown[1].training}?tab=files")
    expect(page.get_by_role("img", name="reconstruction xray after epoch 30")).to_be_visible()
    page.get_by_role("slider", name="epoch of reconstruction xray").press("Home")
    expect(page.get_by_role("img", name="reconstruction xray after epoch 10")).to_be_visible()
    # as large as the window, where the epochs go on
    page.get_by_role("button", name="Show larger: reconstruction xray after epoch 10").press("Enter")
    large = page.get_by_role("dialog", name="reconstruction xray after epoch 10")
    assert large.get_by_role("img", name="reconstruction").evaluate("image => image.clientWidth") > 1000
    large.get_by_role("slider", name="epoch of reconstruction xray").press("End")
    expect(page.get_by_role("dialog").get_by_role("img", name="reconstruction xray after epoch 30")).to_be_visible()
    assert not faults(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert not faults(page)


def test_on_a_tablet_the_menu_is_folded_and_no_page_is_wider_than_the_screen(
    page: Page, shown: tuple[Served, Demo]
) -> None:
    page.set_viewport_size(TABLET)
    menu = page.get_by_role("navigation", name="Pages")
    expect(menu.get_by_role("link", name="Jobs")).not_to_be_in_viewport()
    page.get_by_role("button", name="Menu").click()
    menu.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("region", name="Jobs").get_by_role("link").first).to_be_visible()
    expect(menu.get_by_role("link", name="Jobs")).not_to_be_in_viewport()
    assert not faults(page)
    for path in (
        "jobs",
        f"models/{STAGES[2]}",
        f"pipelines/{shown[1].running}",
        f"jobs/{shown[1].training}",
        "datasets",
    ):
        page.goto(f"{shown[0].url}/console/{path}")
        page.get_by_role("heading", level=1).wait_for()
        over = page.evaluate("() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
        assert over <= 0, path
