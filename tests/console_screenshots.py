"""Pictures of every page of the console, of a platform that is filled for it: `python -m tests.console_screenshots
--out DIR`. With what axe and the browser's console say of each; the exit status is 1 where they find faults.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.api.serving import KEYS, Role, ending
from tests.browser import browsing, faults, log_in, missing
from tests.console_demo import CHEST, DICE, OTHER_ROC, ROC, STAGES, XRAYS, Demo, fill, platform

# name, light or dark, width
LOOKS = ((False, 1280), (True, 834))
# nothing has changed on the page for half a second
SETTLED = """() => new Promise(done => {
    let due = setTimeout(done, 500)
    const again = () => { clearTimeout(due); due = setTimeout(done, 500) }
    new MutationObserver(again).observe(document.body, {subtree: true, childList: true, characterData: true})
    setTimeout(done, 8000)
})"""


def pages(demo: Demo) -> dict[str, str]:
    """The address of every page, by the name of its picture."""
    model = f"/models/{STAGES[2]}"
    return {
        "home": "/", "jobs": "/jobs", "job": f"/jobs/{demo.training}", "job-log": f"/jobs/{demo.training}?tab=log",
        "job-files": f"/jobs/{demo.training}?tab=files", "new-job": "/jobs/new", "pipelines": "/pipelines",
        "pipeline": f"/pipelines/{demo.running}", "pipeline-failed": f"/pipelines/{demo.failed}",
        "datasets": "/datasets", "dataset": f"/datasets/{XRAYS}", "upload": "/datasets/upload", "models": "/models",
        "model": model, "model-scores": f"/models/{CHEST}?tab=scores", "model-lineage": f"{model}?tab=origins",
        "model-card": f"{model}?tab=card", "model-promote": f"{model}?tab=promote", "model-serve": f"{model}?tab=serve",
        "evaluations": f"/evaluations?id={ROC},{OTHER_ROC}", "evaluation-dice": f"/evaluations?id={DICE}",
        "try": "/try", "map": "/map?index=films", "admin-keys": "/admin", "admin-projects": "/admin?tab=projects",
        "admin-audit": "/admin?tab=audit", "admin-limits": "/admin?tab=limits",
    }  # fmt: skip


def take(page: Page, address: str, path: Path) -> list[str]:
    """A picture of a page once it has settled; what axe finds."""
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.evaluate(SETTLED)
    page.screenshot(path=path, full_page=True)
    return faults(page)


def main() -> int:
    """Take all pictures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--only", default="", help="pages whose name begins so")
    out, only = (given := parser.parse_args()).out, given.only
    if why := missing():
        sys.stderr.write(f"{why}\n")
        return 2
    out.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder)) as served:
        wanted = {name: path for name, path in pages(fill(served)).items() if name.startswith(only)}
        for dark, width in LOOKS:
            with browsing(dark) as watched:
                page = watched.page()
                page.set_viewport_size({"width": width, "height": 860})
                log_in(page, served.url, KEYS[Role.ADMIN])
                look = f"{'dark' if dark else 'light'}-{width}"
                for name, path in wanted.items():
                    sys.stdout.write(f"{name}-{look}.png\n")
                    told = take(page, f"{served.url}/console{path}", out / f"{name}-{look}.png")
                    found += [f"{name}, {look}: {each}" for each in told]
    for thread, _ in ending:
        thread.join(20)
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
