"""What goes wrong under the console without its fault: a stopped upload, a pasted quotation mark, a dead line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Route, expect

from services.core.settings import Settings
from services.core.tables import Dataset
from tests.api.calls import prepared
from tests.api.serving import KEYS, Role, Served
from tests.browser import Watched, browser, faults, log_in

__all__ = ["browser"]
Serve = Callable[[Settings], Served]


def test_an_upload_is_stopped_and_one_file_that_is_refused_ends_the_others(
    served: Served, browser: Watched, tmp_path: Path
) -> None:
    (tmp_path / "large").mkdir()
    with (tmp_path / "large" / "volume.bin").open("wb") as large:
        # of holes: it takes no room, and seconds to be hashed
        large.truncate(2 * 2**30)
    (tmp_path / "films").mkdir()
    for number in range(4):
        (tmp_path / "films" / f"{number}.txt").write_text(f"film {number}")
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/datasets/upload")
    name = page.get_by_role("textbox", name="Name")
    send = page.get_by_role("button", name="Upload", exact=True)
    page.get_by_label("Folder to upload").set_input_files(tmp_path / "large")
    expect(name).to_have_value("large")
    send.click()
    expect(page.get_by_role("region", name="Progress of the upload")).to_contain_text("hashing")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("alert")).to_contain_text("The upload was stopped")
    expect(send).to_be_enabled()

    # a name that no dataset can hold
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "two\nlines.txt").write_text("odd")
    page.get_by_label("Folder to upload").set_input_files(tmp_path / "odd")
    send.click()
    expect(page.get_by_role("alert")).to_contain_text('the file "two\\nlines.txt": expected a relative path')

    # another folder brings its own name, unless one was typed
    page.get_by_label("Folder to upload").set_input_files(tmp_path / "films")
    expect(name).to_have_value("films")
    held: list[Route] = []
    page.route(re.compile(r"[123]\.txt"), lambda route: held.append(route))
    page.route(
        re.compile(r"0\.txt"),
        lambda route: route.fulfill(status=403, headers={"Access-Control-Allow-Origin": "*"}),
    )
    with page.expect_event("requestfailed", lambda request: "3.txt" in request.url):
        send.click()
    expect(page.get_by_role("alert")).to_contain_text("0.txt: 403")
    expect(page.get_by_role("region", name="Progress of the upload")).to_be_hidden()


def test_a_key_is_pasted_with_more_and_a_project_of_somebody_else_is_left(served: Served, browser: Watched) -> None:
    page = browser.page()
    page.goto(f"{served.url}/console/jobs?project=elsewhere")
    page.get_by_label("API key").fill(f"“{KEYS[Role.VIEWER]}”")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Something else was pasted along with it")).to_be_visible()
    page.get_by_label("API key").fill(f" {KEYS[Role.VIEWER]}\t")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").first).to_contain_text("elsewhere")
    page.locator("[aria-label='All projects']").click()
    expect(page.get_by_text("No job is like that")).to_be_visible()

    # a page that is asked for while the platform is away comes when it is back, and the console stays
    page.context.set_offline(True)
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/console/")):
        page.get_by_role("link", name="Models").click()
    assert page.url.startswith(f"{served.url}/console")
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()


def test_the_key_in_use_is_rotated_and_the_console_goes_on_with_the_new_one(served: Served, browser: Watched) -> None:
    made = served.admin.post("/v1/keys", json={"name": "of the night", "role": "admin"}).json()
    page = browser.page()
    log_in(page, served.url, made["secret"], "/admin")
    row = page.locator(f"[data-key={made['key']['id']}]")
    row.get_by_role("button", name="Rotate").click()
    page.get_by_label("The secret of today").first.click()
    page.get_by_role("option", name="ends at once").click()
    page.get_by_role("button", name="Make a new secret").click()
    secret = page.locator("[data-secret]")
    expect(secret).not_to_have_text(made["secret"])
    page.get_by_role("button", name="I have it").click()
    page.reload()
    expect(row).to_be_visible()

    # with the keys of several projects a job is made in that of its dataset
    north = served.admin.post("/v1/projects", json={"name": "north"}).json()
    prepared(served.database, "ds_films000", samples=40, splits={"train": 40})
    with served.database.session() as session:
        session.get_one(Dataset, "ds_films000").project_id = north["id"]
    page.goto(f"{served.url}/console/datasets/ds_films000")
    page.get_by_role("link", name="Pre-train on it").click()
    expect(page.get_by_role("region", name="What it takes").locator("[data-valid=true]")).to_be_visible()


def test_a_line_that_is_silent_is_opened_anew_and_a_page_that_breaks_keeps_the_menu(
    served: Served, browser: Watched
) -> None:
    prepared(served.database, "ds_films000", samples=40, splits={"train": 40})
    page = browser.page()
    page.clock.install()
    log_in(page, served.url, KEYS[Role.OPERATOR])
    expect(page.locator("[data-live=true]")).to_be_visible()
    with page.expect_request("**/v1/events*"):
        # nothing comes within a minute that passes at once
        page.clock.fast_forward("02:00")
    expect(page.locator("[data-live=true]")).to_be_visible()

    spec = {"dataset": "ds_films000", "size": "tiny"}
    form = f"{served.url}/console/jobs/new?kind=pretrain&form="
    page.goto(form + quote(json.dumps({"spec": spec})))
    # what is no number stays as it was typed, and is not taken for the last number that it was
    rate = page.get_by_role("textbox", name="Base lr")
    for typed in ("1e999", "0.5 or so"):
        rate.fill(typed)
        page.keyboard.press("Tab")
        expect(page.locator("#field-base_lr")).to_contain_text("expected a number")
        expect(rate).to_have_value(typed)
    expect(page.get_by_role("alert", name="To be mended")).to_contain_text("base_lr")
    # the address is written a moment after the field
    page.wait_for_url(re.compile("0.5(%20|[+])or"))
    page.reload()
    expect(rate).to_have_value("0.5 or so")
    # what no platform answers
    page.route("**/v1/models?*", lambda route: route.fulfill(json={"items": 5}))
    page.goto(f"{served.url}/console/models")
    expect(page.get_by_role("alert")).to_contain_text("went wrong")
    page.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()

    # a name without spaces
    job = served.operator.post("/v1/jobs", json={"kind": "pretrain", "name": "W" * 128, "spec": spec}).json()
    page.goto(f"{served.url}/console/jobs/{job['id']}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("WWW")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_a_line_may_be_silent_for_as_long_as_the_platform_says(
    serve: Serve, settings: Settings, browser: Watched
) -> None:
    served = serve(settings.model_copy(update={"stream_heartbeat_s": 60}))
    page = browser.page()
    page.clock.install()
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if "/v1/events" in request.url else None)
    log_in(page, served.url, KEYS[Role.VIEWER])
    expect(page.locator("[data-live=true]")).to_be_visible()
    before = len(opened)
    page.clock.fast_forward("03:30")
    # the page has gone on meanwhile
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    assert len(opened) == before
    with page.expect_request("**/v1/events*"):
        page.clock.fast_forward("01:00")


def test_a_tab_that_is_older_than_the_platform_is_loaded_anew_and_no_other(served: Served, browser: Watched) -> None:
    prepared(served.database, "ds_films000", samples=40, splits={"train": 40})
    asked = {"kind": "pretrain", "spec": {"dataset": "ds_films000", "size": "tiny"}}
    job = served.operator.post("/v1/jobs", json=asked).json()["id"]
    page = browser.page()
    log_in(page, served.url, KEYS[Role.VIEWER], "/jobs")
    page.evaluate("() => { window.stays = true }")
    gone = re.compile(r"/console/assets/Curves-")
    page.route(gone, lambda route: route.fulfill(status=404))
    # a part that does not come, of a console that is as new as the platform
    page.locator(f"tr[data-job={job}]").get_by_role("link").click()
    expect(page.get_by_role("alert")).to_contain_text("went wrong")
    assert page.evaluate("() => window.stays")

    # an upgrade: the platform has another console now
    page.route(
        re.compile("/console/$"),
        lambda route: route.fulfill(body="<script src='/console/assets/index-next.js'>"),
    )
    page.get_by_role("link", name="Home").click()
    page.unroute(gone)
    page.route(re.compile(r"/console/assets/Map-"), lambda route: route.fulfill(status=404))
    with page.expect_navigation():
        page.get_by_role("link", name="Map").click()


def test_a_viewer_is_told_what_the_key_cannot_and_text_is_copied_without_https(
    served: Served, browser: Watched
) -> None:
    prepared(served.database, "ds_films000", samples=40, splits={"train": 40})
    page = browser.page()
    # as on a page that came over plain HTTP from another machine
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    form = quote(json.dumps({"spec": {"dataset": "ds_films000"}}))
    log_in(page, served.url, KEYS[Role.VIEWER], f"/jobs/new?kind=pretrain&form={form}")
    expect(page.get_by_role("alert")).to_contain_text("This key cannot submit a job")
    expect(page.get_by_role("button", name="Submit")).to_have_count(0)
    lines = page.get_by_role("region", name="CLI lines")
    expect(lines).to_contain_text("ds_films000")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.get_by_text("Not allowed")).to_have_count(0)
    assert not browser.errors and not faults(page)
    page.evaluate("() => { document.execCommand = () => false }")
    page.get_by_role("tab", name="curl").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("alert").filter(has_text="copy it yourself")).to_be_visible()
