"""The console as the control plane serves it, and what it shows of a platform without workers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
from playwright.sync_api import expect
from sqlalchemy import insert

from services.api.console import BUILT
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Job
from tests.api.calls import prepared, problem
from tests.api.serving import KEYS, Role, Served
from tests.browser import Watched, browser, faults, log_in, needs_browser

__all__ = ["browser"]
FIRST_PAGE_BYTES = 300_000
# it takes a tenth of that on a machine that does nothing else
FIRST_PAINT_MS = 3000
PAINTED = """() => new Promise(done => {
    const first = found => found.find(each => each.name === 'first-contentful-paint')
    const observer = new PerformanceObserver(list => {
        const paint = first(list.getEntries())
        if (paint) done(paint.startTime)
    })
    observer.observe({type: 'paint', buffered: true})
})"""
# compressed, as it is sent, wherever it comes from
WEIGHS = """() => performance.getEntriesByType('resource').filter(each => each.name.includes('/console/assets/'))
    .reduce((sum, each) => sum + each.encodedBodySize, 0)"""


def test_the_page_and_its_files_are_served_with_a_strict_policy(
    serve: Callable[[Settings], Served], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "built" / "assets").mkdir(parents=True)
    (tmp_path / "built" / "index.html").write_text('<meta name="nonce" content="__NONCE__">')
    (tmp_path / "built" / "assets" / "app-1.js").write_text("plain")
    (tmp_path / "built" / "assets" / "app-1.js.gz").write_bytes(b"packed")
    (tmp_path / "secret.js").write_text("secret")
    served = serve(settings.model_copy(update={"console_dir": tmp_path / "built"}))
    get = served.stranger.get

    nonces = set()
    for path in ("/console", "/console/", "/console/jobs/job_1", "/console/models?task=encoder"):
        page = get(path)
        policy = page.headers["content-security-policy"]
        nonce = re.search(r'content="([^"]+)"', page.text)[1]
        nonces.add(nonce)
        assert page.status_code == 200 and page.headers["cache-control"] == "no-store"
        assert f"'nonce-{nonce}'" in policy
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert "unsafe" not in policy and "*" not in policy
    assert len(nonces) == 4, "a nonce is for one answer"

    packed = served.stranger.build_request("GET", "/console/assets/app-1.js", headers={"Accept-Encoding": "gzip"})
    answer = served.stranger.send(packed, stream=True)
    assert answer.headers["content-encoding"] == "gzip" and b"".join(answer.iter_raw()) == b"packed"
    answer.close()
    plain = get("/console/assets/app-1.js", headers={"Accept-Encoding": "identity"})
    assert plain.text == "plain" and plain.headers["content-type"].startswith("text/javascript")
    assert "immutable" in plain.headers["cache-control"]
    # outside of the folder, of another kind, not there
    for path in ("assets/..%2f..%2fsecret.js", "assets/app-1.js.gz", "assets/app-2.js", "assets/"):
        problem(get(f"/console/{path}"), 404)


def test_without_a_build_a_page_says_how_to_get_one(
    serve: Callable[[Settings], Served], settings: Settings, tmp_path: Path
) -> None:
    served = serve(settings.model_copy(update={"console_dir": tmp_path}))
    page = served.stranger.get("/console/jobs")
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    for word in ("make console", "Node", "MEDCOSS_CONSOLE_DIR"):
        assert word in page.text


class _Files(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        assert tag != "style" and "style" not in about and not any(name.startswith("on") for name in about)
        assert tag != "script" or about.get("src")
        self.found += [str(about[name]) for name in ("src", "href") if name in about and tag != "a"]


@needs_browser
def test_the_first_page_is_small_and_asks_for_no_other_host() -> None:
    page = _Files()
    page.feed((BUILT / "index.html").read_text(encoding="utf-8"))
    files = [each for each in page.found if not each.startswith("data:")]
    assert len(files) >= 2 and all(each.startswith("/console/assets/") for each in files)
    sizes = {each: (BUILT / f"{each.removeprefix('/console/')}.gz").stat().st_size for each in files}
    assert sum(sizes.values()) < FIRST_PAGE_BYTES, sizes


def test_home_is_light_and_painted_at_once(served: Served, browser: Watched) -> None:
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR])
    painted, weighs = [], 0
    for _ in range(3):
        page.reload()
        expect(page.get_by_role("region", name="Last models")).to_contain_text("No model yet")
        painted.append(page.evaluate(PAINTED))
        weighs = max(weighs, page.evaluate(WEIGHS))
    # of several: a machine that does much else is slow, not wrong
    assert 0 < min(painted) < FIRST_PAINT_MS, painted
    assert 50_000 < weighs < FIRST_PAGE_BYTES


def many_jobs(served: Served, number: int) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {
            "id": f"job_{i:020d}", "project_id": DEFAULT_PROJECT, "kind": ("preprocess", "pretrain")[i % 2],
            "name": f"number {i}", "state": ("queued", "failed", "succeeded")[i % 3], "spec": {}, "priority": 0,
            "max_attempts": 1, "created_by": "ada", "created_at": began + timedelta(minutes=i),
        }
        for i in range(number)
    ]  # fmt: skip
    with served.database.session() as session:
        session.execute(insert(Job), rows)


def test_ten_thousand_jobs_are_listed_filtered_and_followed(served: Served, browser: Watched) -> None:
    many_jobs(served, 10_000)
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/jobs")
    table = page.get_by_role("region", name="Jobs")
    expect(table.get_by_role("link", name="number 9999")).to_be_visible()
    # the oldest is reached by scrolling, and few rows are drawn however many there are
    for _ in range(200):
        if page.get_by_text("10,000 jobs", exact=True).is_visible():
            break
        table.evaluate("each => each.scrollTo(0, each.scrollHeight)")
        page.evaluate("() => new Promise(requestAnimationFrame)")
    table.evaluate("each => each.scrollTo(0, each.scrollHeight)")
    expect(table.get_by_role("link", name="number 0", exact=True)).to_be_visible()
    assert table.locator("tbody tr").count() < 60
    listed = [url for url in browser.requests if "/v1/jobs?" in url]
    assert len(listed) < 40, f"{len(listed)} requests for 10,000 jobs"

    # filters are the address: a second tab shows the same
    page.get_by_label("Kind").first.click()
    page.get_by_role("option", name="pretrain", exact=True).click()
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"kind=pretrain"))
    expect(table.get_by_role("link", name="number 9998")).to_be_hidden()
    page.reload()
    expect(table.get_by_role("link", name="number 9999")).to_be_visible()
    expect(table.get_by_role("link", name="number 9998")).to_be_hidden()

    # a change comes by itself
    expect(page.locator("[data-live=true]")).to_be_visible()
    waits = "job_" + "9999".rjust(20, "0")
    row = table.locator(f"tr[data-job={waits}]")
    expect(row.locator("[data-state=queued]")).to_be_visible()
    assert served.operator.post(f"/v1/jobs/{waits}/cancel").status_code == 200
    expect(row.locator("[data-state=cancelled]")).to_be_visible()
    assert not faults(page) and not browser.errors
    assert browser.hosts() == {httpx.URL(served.url).netloc.decode()}


def test_a_key_that_ends_leads_to_the_log_in_and_back(served: Served, browser: Watched) -> None:
    many_jobs(served, 3)
    made = served.admin.post("/v1/keys", json={"name": "ward", "role": "viewer"}).json()
    page = browser.page()
    page.goto(f"{served.url}/console/jobs?state=failed")
    page.get_by_label("API key").fill("mk_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(re.compile("key", re.IGNORECASE)).first).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    page.get_by_label("API key").fill(made["secret"])
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="number 1").click()
    expect(page.get_by_role("heading", name="number 1")).to_be_visible()
    # a viewer is offered nothing that would be refused
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    # the key is in no address and in no other tab
    assert not any(made["secret"] in url for url in [*browser.requests, page.url])
    other = browser.page()
    other.goto(f"{served.url}/console/")
    expect(other.get_by_label("API key")).to_be_visible()

    assert served.admin.delete(f"/v1/keys/{made['key']['id']}").status_code == 204
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("alert")).to_contain_text("Your session has ended")
    assert page.evaluate("() => JSON.stringify({...sessionStorage})").find(made["secret"]) == -1
    assert served.admin.post("/v1/projects", json={"name": "elsewhere"}).status_code == 201
    page.get_by_label("API key").fill(KEYS[Role.ADMIN])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()

    # a project narrows every page, and is part of the address
    page.get_by_label("Project").first.click()
    page.get_by_role("option", name="elsewhere").click()
    page.get_by_role("link", name="Jobs").click()
    page.wait_for_url(re.compile(r"/jobs\?project=elsewhere"))
    expect(page.get_by_text("No job is like that")).to_be_visible()


def test_a_job_is_made_by_the_form_and_again_with_changes(served: Served, browser: Watched) -> None:
    prepared(served.database, "ds_films000", samples=40, splits={"train": 40})
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/jobs")
    page.get_by_role("link", name="New job").click()
    page.get_by_role("combobox", name="What to do").click()
    page.get_by_role("option", name="pretrain").click()
    takes = page.get_by_role("region", name="What it takes")
    expect(takes).to_contain_text("Still needed: dataset")

    # what is chosen is looked over as it is typed; what is wrong stands at its field
    page.get_by_role("combobox", name="Dataset").click()
    page.get_by_role("option", name=re.compile("prepared")).click()
    page.get_by_role("combobox", name="Size").click()
    page.get_by_role("option", name="tiny").click()
    batch = page.get_by_role("textbox", name="Batch size")
    batch.fill("0")
    expect(page.locator("#field-batch_size")).to_contain_text("greater than or equal to 1")
    takes.get_by_role("button", name="batch_size").click()
    expect(batch).to_be_focused()
    batch.fill("4")
    page.get_by_role("textbox", name="Base lr").fill("2e-4")
    page.get_by_role("textbox", name="Epochs", exact=True).fill("3")
    page.get_by_role("textbox", name="Name", exact=True).fill("by hand")
    expect(takes.locator("[data-valid=true]")).to_be_visible()
    expect(takes).to_contain_text("30 steps")
    expect(page.get_by_role("region", name="CLI lines")).to_contain_text("--set base_lr=0.0002")
    assert not faults(page)

    # the address holds the form
    page.wait_for_url(re.compile("by%20hand"))
    page.reload()
    expect(batch).to_have_value("4")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    (job,) = served.operator.get("/v1/jobs").json()["items"]
    assert (job["name"], job["spec"]["epochs"], job["spec"]["base_lr"]) == ("by hand", 3, 2e-4)

    # once more, with one field changed: the others are as they were
    page.get_by_role("link", name="Run again with changes").click()
    epochs = page.get_by_role("textbox", name="Epochs", exact=True)
    expect(epochs).to_have_value("3")
    epochs.fill("5")
    expect(takes).to_contain_text("50 steps")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(lambda url: "/jobs/job_" in url and job["id"] not in url)
    again = served.operator.get("/v1/jobs").json()["items"][0]
    assert again["spec"] == job["spec"] | {"epochs": 5} and again["name"] == "by hand"
    assert not browser.errors and browser.hosts() == {httpx.URL(served.url).netloc.decode()}


def test_a_curriculum_is_put_in_order_planned_and_started(served: Served, browser: Watched) -> None:
    # the platform is looked at by eyes that cannot drag, too: all is done by buttons
    for modality in ("xray", "pathology"):
        prepared(served.database, f"ds_{modality}0000", modality=modality, samples=40, splits={"train": 40})
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/pipelines")
    page.get_by_role("link", name="New curriculum").first.click()
    start = page.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_disabled()
    for number, modality in enumerate(("pathology", "xray"), start=1):
        page.get_by_role("combobox", name=f"Dataset of stage {number}").click()
        page.get_by_role("option", name=re.compile(f"prepared · prepared · {modality}")).click()
        expect(page.get_by_role("combobox", name=f"Modality of stage {number}")).to_have_value(modality)
    earlier = page.get_by_role("button", name="Learn stage 2 earlier")
    earlier.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("xray is now number 1 of 2")).to_be_attached()
    # the button has gone to the first place, where it can do no more
    expect(page.get_by_role("button", name="Learn stage 1 later")).to_be_focused()
    page.get_by_role("combobox", name="Size").click()
    page.get_by_role("option", name="tiny").click()
    page.get_by_role("textbox", name="Epochs", exact=True).fill("2")
    page.get_by_role("textbox", name="Batch size").fill("4")
    plan = page.get_by_role("region", name="The plan", exact=True)
    expect(plan.locator("[data-valid=true]")).to_be_visible()
    expect(plan.get_by_role("row", name=re.compile("^xray-buffer"))).to_be_visible()
    page.get_by_role("textbox", name="Buffer fraction").fill("0.001")
    expect(plan).to_contain_text("buffer_fraction 0.001 is smaller than centers_fraction")
    expect(start).to_be_disabled()
    page.get_by_role("textbox", name="Buffer fraction").fill("0.2")
    expect(start).to_be_enabled()
    assert not faults(page)
    page.get_by_label("as published").check()
    expect(page.get_by_role("combobox", name="Modality of stage 5")).to_have_value("pathology")
    page.get_by_label("as published").uncheck()
    for _ in range(3):
        page.get_by_role("listitem", name=re.compile("report|ct|mr$")).first.get_by_label("Remove stage").click()
    start.click()
    page.wait_for_url(re.compile(r"/pipelines/pip_"))
    (made,) = served.operator.get("/v1/pipelines").json()["items"]
    assert [step["name"] for step in made["steps"]] == ["xray", "xray-buffer", "pathology"]
    assert made["curriculum"]["training"] == {"size": "tiny", "epochs": 2, "batch_size": 4}
    assert not browser.errors and browser.hosts() == {httpx.URL(served.url).netloc.decode()}
