"""A real browser for tests of the console: Debian's Chromium, driven by Playwright, which downloads none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from services.api.console import BUILT

REPOSITORY = Path(__file__).resolve().parents[1]
AXE = REPOSITORY / "services" / "console" / "node_modules" / "axe-core" / "axe.min.js"
WIDTH, HEIGHT = 1280, 860
PATIENCE_MS = 20_000
# a machine that does much else is slow, not wrong
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Watched:
    """What a browser did that it should not have done."""

    context: BrowserContext
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def page(self) -> Page:
        """A new tab whose errors and requests are kept."""
        page = self.context.new_page()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def hosts(self) -> set[str]:
        """Where the requests went; data within a page goes nowhere."""
        return {urlsplit(url).netloc for url in self.requests if not url.startswith(("data:", "blob:"))}


def missing() -> str | None:
    """Why no browser can look at the console here; None where one can."""
    if shutil.which("chromium") is None:
        return "chromium is missing: apt-get install chromium"
    if not (BUILT / "index.html").is_file():
        return "the console is not built: make console, which needs Node"
    if not AXE.is_file():
        return "axe is missing: npm ci in services/console"
    return None


# what drives the console; the reason says what to install
needs_browser = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@contextmanager
def browsing(dark: bool = False) -> Iterator[Watched]:
    """A browser with nothing in it."""
    program = shutil.which("chromium")
    assert program is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--enable-unsafe-swiftshader"],
        )
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if dark else "light", locale="en-GB"
        )
        context.set_default_timeout(PATIENCE_MS)
        yield Watched(context)
        context.close()
        browser.close()


@pytest.fixture
def browser() -> Iterator[Watched]:
    """A browser; the test is skipped, with the reason, where there is none."""
    why = missing()
    if why:
        pytest.skip(why)
    with browsing() as watched:
        yield watched


def log_in(page: Page, url: str, key: str, path: str = "") -> None:
    """Open the console and give it a key."""
    page.goto(f"{url}/console{path}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()


def faults(page: Page) -> list[str]:
    """Serious faults of accessibility that axe finds on the page."""
    # not by add_script_tag: the page's policy forbids scripts that are put in
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0].get('failureSummary', '')}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def upload_folder(page: Page, folder: Path, modality: str) -> None:
    """Upload a folder as a newcomer does; its page is shown then."""
    page.get_by_role("link", name="Datasets").first.click()
    page.get_by_role("link", name="Upload").click()
    page.get_by_label("Folder to upload").set_input_files(folder)
    page.get_by_role("combobox", name="Modality").click()
    page.get_by_role("option", name=modality).click()
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(folder.name)
