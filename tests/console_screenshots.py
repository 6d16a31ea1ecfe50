"""Pictures of every page of the console, of a platform that is filled for it: `python -m tests.console_screenshots
--out DIR`. With what axe and the browser's console say of each; the exit status is 1 where they find faults.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, ViewportSize

from medcoss.phantoms.mr import items
from services.core.logging import configure_logging
from tests.api.calls import uploaded
from tests.api.inspecting import inspected
from tests.api.serving import KEYS, Role, Served, ending
from tests.browser import browsing, faults, log_in, missing
from tests.console_demo import CHEST, DICE, OTHER_ROC, ROC, STAGES, XRAYS, Demo, fill, platform

# name, light or dark, width
LOOKS = ((False, 1280), (True, 834))
# what the README shows, its size, and the largest that a picture may be
README = ("home", "job", "model")
README_SIZE: ViewportSize = {"width": 1280, "height": 800}
MOST_BYTES = 150_000
# nothing has changed on the page for half a second
SETTLED = """() => new Promise(done => {
    let due = setTimeout(done, 500)
    const again = () => { clearTimeout(due); due = setTimeout(done, 500) }
    new MutationObserver(again).observe(document.body, {subtree: true, childList: true, characterData: true})
    setTimeout(done, 8000)
})"""


def looked_at(served: Served, folder: Path) -> str:
    """The id of a raw dataset of volumes with masks, of a table and of a file that is cut off, that was inspected."""
    for case in items(seed=0)[:2]:
        case.write(folder)
    (folder / "mr" / "cut_off.nii.gz").write_bytes((folder / "mr" / "case_01.nii.gz").read_bytes()[:2000])
    (folder / "mr" / "cases.csv").write_text("case,age,scanner\n1,61,A\n2,48,B\n")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((folder / "mr").iterdir())}
    made = uploaded(served.operator, found, name="atria-of-the-north-site", modality="mr")
    inspected(served, made, folder, folder / "out", "mr")
    return made


def pages(served: Served, demo: Demo, raw: str) -> dict[str, str]:
    """The address of every page, by the name of its picture; `raw` is the inspected dataset."""
    model = f"/models/{STAGES[2]}"
    failed = served.viewer.get("/v1/jobs", params={"state": "failed"}).json()["items"][-1]["id"]
    case = quote("mr/case_01.nii.gz", safe="")
    return {
        "home": "/", "jobs": "/jobs", "job": f"/jobs/{demo.training}", "job-log": f"/jobs/{demo.training}?tab=log",
        "job-files": f"/jobs/{demo.training}?tab=files", "new-job": "/jobs/new", "pipelines": "/pipelines",
        "pipeline": f"/pipelines/{demo.running}", "pipeline-failed": f"/pipelines/{demo.failed}",
        "job-attempts": f"/jobs/{demo.training}?tab=attempts", "job-failed": f"/jobs/{failed}?tab=attempts",
        "new-job-form": "/jobs/new?kind=pretrain", "new-curriculum": "/curricula/new",
        "datasets": "/datasets", "dataset": f"/datasets/{XRAYS}", "dataset-samples": f"/datasets/{raw}?sample={case}",
        "dataset-numbers": f"/datasets/{raw}?tab=numbers", "dataset-bad": f"/datasets/{raw}?tab=bad",
        "dataset-files": f"/datasets/{raw}?tab=files", "dataset-versions": f"/datasets/{XRAYS}?tab=versions",
        "upload": "/datasets/upload", "models": "/models",
        "model": model, "model-scores": f"/models/{CHEST}?tab=scores", "model-lineage": f"{model}?tab=origins",
        "model-card": f"{model}?tab=card", "model-promote": f"{model}?tab=promote", "model-serve": f"{model}?tab=serve",
        "evaluations": f"/evaluations?id={ROC},{OTHER_ROC}", "evaluation-dice": f"/evaluations?id={DICE}",
        "try": "/try", "map": "/map?index=films", "map-new": "/map/new",
        "admin-keys": "/admin", "admin-projects": "/admin?tab=projects",
        "admin-audit": "/admin?tab=audit", "admin-limits": "/admin?tab=limits",
    }  # fmt: skip


def take(page: Page, address: str, path: Path) -> list[str]:
    """A picture of a page once it has settled; what axe finds."""
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.evaluate(SETTLED)
    page.screenshot(path=path, full_page=True)
    return faults(page)


def small(page: Page, path: Path) -> None:
    """What is in view as a small picture for a README."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=80, method=6)
    assert path.stat().st_size < MOST_BYTES, f"{path} is too large"


def readme(served: Served, addresses: dict[str, str], out: Path) -> None:
    """The pictures of the README: light, of generated data alone."""
    with browsing() as watched:
        page = watched.page()
        page.set_viewport_size(README_SIZE)
        log_in(page, served.url, KEYS[Role.ADMIN])
        for name in README:
            page.goto(f"{served.url}/console{addresses[name]}")
            page.get_by_role("heading", level=1).wait_for()
            page.evaluate(SETTLED)
            small(page, out / f"{name}.webp")


def tried(data_dir: Path, model: str, volume: Path, out: Path) -> None:
    """A generated volume and its mask in three dimensions, as a platform that runs in `data_dir` answers."""
    state = json.loads((data_dir / "platform.json").read_text())
    with browsing() as watched:
        page = watched.page()
        page.set_viewport_size(README_SIZE)
        log_in(page, state["url"], state["key"], f"/try?model={model}")
        page.get_by_label("File").set_input_files(volume)
        page.get_by_text("3-D", exact=True).click(timeout=120_000)
        page.locator("canvas[data-drawn=true]").wait_for()
        page.get_by_role("heading", level=2).evaluate("each => { each.scrollIntoView(); scrollBy(0, -70) }")
        page.evaluate(SETTLED)
        small(page, out / "try.webp")


def looks(served: Served, addresses: dict[str, str], out: Path, widths: Sequence[tuple[bool, int]]) -> list[str]:
    """The pages dark or light in these widths; the faults that were found."""
    found: list[str] = []
    for dark, width in widths:
        with browsing(dark) as watched:
            page = watched.page()
            page.set_viewport_size({"width": width, "height": 860})
            log_in(page, served.url, KEYS[Role.ADMIN])
            look = f"{'dark' if dark else 'light'}-{width}"
            for name, path in addresses.items():
                sys.stdout.write(f"{name}-{look}.png\n")
                told = take(page, f"{served.url}/console{path}", out / f"{name}-{look}.png")
                found += [f"{name}, {look}: {each}" for each in told]
    return found


def main() -> int:
    """Take all pictures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--only", default="", help="pages whose name begins so")
    parser.add_argument("--width", type=int, help="in light, this many pixels wide")
    parser.add_argument("--readme", action="store_true", help="the small pictures of the README")
    parser.add_argument(
        "--tried", nargs=3, metavar=("DATA_DIR", "MODEL", "VOLUME"),
        help="of the README's pictures the one of a served segmenter, which a running platform has",
    )  # fmt: skip
    given = parser.parse_args()
    if why := missing():
        sys.stderr.write(f"{why}\n")
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    if given.tried:
        tried(Path(given.tried[0]), given.tried[1], Path(given.tried[2]), given.out)
        return 0
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder)) as served:
        # what is told here is names of pictures
        configure_logging("WARNING")
        addresses = pages(served, fill(served), looked_at(served, Path(folder) / "atria"))
        if given.readme:
            readme(served, addresses, given.out)
        else:
            wanted = {name: path for name, path in addresses.items() if name.startswith(given.only)}
            found = looks(served, wanted, given.out, ((False, given.width),) if given.width else LOOKS)
    for thread, _ in ending:
        thread.join(20)
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
