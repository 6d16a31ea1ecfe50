"""The pages of docs/deploy name what there is, and lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

from services.core.settings import Settings
from tests.deploy import compose

PAGES = sorted((compose.REPOSITORY / "docs" / "deploy").glob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each_page
def test_links_lead_to_pages_and_headings_that_are_there(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} leads to {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in slugs, f"{page.name}: no heading {heading} in {target}"


@each_page
def test_settings_and_services_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    known = {f"MEDCOSS_{name.upper()}" for name in Settings.model_fields} | {
        "MEDCOSS_SERVER", "MEDCOSS_KEY", "MEDCOSS_SECRETS_DIR",
    }  # fmt: skip
    assert set(re.findall(r"\bMEDCOSS_[A-Z0-9_]*[A-Z0-9]\b", text)) <= known
    services = set(compose.load()["services"])
    for _, service in re.findall(r"docker compose [^`\n]*?(exec(?: -T)?|run --rm|stop|restart) ([a-z0-9-]+)", text):
        assert service in services, f"{page.name}: {service}"
    for setting in re.findall(r"^([A-Z][A-Z0-9_]+)=", text, re.MULTILINE):
        assert setting in compose.example(), f"{page.name}: {setting}"


def test_every_volume_is_explained_where_data_is() -> None:
    page = (compose.REPOSITORY / "docs" / "deploy" / "compose.md").read_text()
    shown = re.findall(r"`medcoss_([a-z0-9-]+)(\*?)`", page)
    for volume in yaml.safe_load(compose.COMPOSE.read_text())["volumes"]:
        assert any(volume == name or (star and volume.startswith(name)) for name, star in shown), volume
