"""The console on a real platform: jobs that run, fail and are tried again, and a control plane that is started anew."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from medcoss.client import Client
from medcoss.specs import ImageFolder, PreprocessSpec, PretrainSpec, Splits
from tests.browser import Watched, browser, faults, log_in, needs_browser

__all__ = ["browser"]
# before a platform is started for it
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), needs_browser]
PATIENCE_MS = 120_000
RECIPE = ImageFolder(modality="xray", size=(32, 32), splits=Splits(method="random", val_fraction=0.25))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of small pictures and a file that is none."""
    folder = tmp_path / "films"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(16):
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_jobs_are_watched_from_log_in_to_their_curves(
    platform_process: tuple[subprocess.Popen[bytes], Path], client: Client, films: Path, browser: Watched
) -> None:
    raw = client.datasets.upload(films, name="console-films", modality="xray")
    page = browser.page()
    page.set_default_timeout(60_000)
    state = json.loads((platform_process[1] / "platform.json").read_text())
    log_in(page, state["url"], state["key"], "/jobs")
    live = page.locator("[data-live=true]")
    expect(live).to_be_visible()

    # a job that fails appears by itself, says why and what to try, and is submitted once more
    strict = PreprocessSpec(dataset=raw.id, recipe=RECIPE, max_bad_fraction=0)
    failing = client.jobs.submit("preprocess", strict, name="console, strict")
    row = page.locator(f"tr[data-job={failing.id}]")
    expect(row.locator("[data-state=failed]")).to_be_visible(timeout=PATIENCE_MS)
    expect(row).to_contain_text("broken.png")
    row.get_by_role("link").click()
    expect(page.get_by_role("alert")).to_contain_text("What to try")
    page.get_by_role("tab", name="Attempts").click()
    expect(page.get_by_role("region", name="Attempts").locator("[data-state=running]")).to_be_visible()
    assert not faults(page)
    page.get_by_role("button", name="Try again").click()
    expect(page).not_to_have_url(re.compile(failing.id))
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator("h1 [data-state=cancelled], h1 [data-state=failed]")).to_be_visible(timeout=PATIENCE_MS)
    assert len(list(client.jobs.list(name="console, strict"))) == 2

    # a training is followed: curves and log come while it runs
    lenient = PreprocessSpec(dataset=raw.id, recipe=RECIPE, max_bad_fraction=0.5)
    prepared = client.jobs.wait(client.jobs.submit("preprocess", lenient).id, timeout=120)
    spec = PretrainSpec(
        dataset=prepared.outputs["dataset"],
        size="tiny",
        epochs=3,
        batch_size=4,
        log_every=1,
        warmup_epochs=1,
        output_name="console-encoder",
    )
    training = client.jobs.submit("pretrain", spec, name="console encoder")
    page.goto(f"{state['url']}/console/jobs/{training.id}")
    expect(page.get_by_role("img", name=re.compile(r"^loss.xray. console encoder: .* at step \d"))).to_be_visible(
        timeout=PATIENCE_MS
    )
    expect(page.locator("h1 [data-state=succeeded]")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("tab", name="Log").click()
    log = page.get_by_role("region", name="Log")
    expect(log).to_contain_text("batch 4")
    page.get_by_label("Search the log").fill("no such words")
    expect(log).to_contain_text("No line is like that")
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("region", name="Models").get_by_role("link").first).to_be_visible()
    assert not faults(page) and not browser.errors
    assert browser.hosts() <= {httpx.URL(state["url"]).netloc.decode()}

    # from no index to a map of the studies
    page.get_by_role("region", name="Models").get_by_role("link", name="console-encoder").click()
    page.get_by_role("link", name="Make an index").click()
    page.get_by_role("textbox", name="Name").fill("console-films")
    page.get_by_role("combobox", name="Datasets").click()
    page.get_by_role("option", name=re.compile(" · prepared · xray · 16 samples")).click()
    page.get_by_role("button", name="Build the index").click()
    row = page.locator("tr[data-index=console-films]")
    expect(row.locator("[data-state=ready]")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("img", name=re.compile("Map of 16 studies, coloured by label"))).to_be_visible()
    expect(page.get_by_role("region", name="Studies", exact=True).locator("tbody tr")).to_have_count(16)
    assert not faults(page) and not browser.errors

    # the control plane is started anew under the page, which goes on
    parts = {part["name"]: part["pid"] for part in state["parts"]}
    os.kill(parts["control plane"], signal.SIGKILL)
    expect(live).to_be_hidden()
    expect(live).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("link", name="Home").click()
    expect(page.get_by_role("region", name="Last models")).to_contain_text("encoder")
