"""`medcoss models promote` and what goes with it; deletion names what is in the way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client
from tests.api.calls import trained
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane

ONE, TWO = "mdl_cli000001", "mdl_cli000002"


@pytest.fixture(scope="module")
def models(plane: ControlPlane) -> list[str]:
    return [trained(plane.database, None, model) for model in (ONE, TWO)]


def test_promote_look_and_go_back(medcoss: Callable[..., Done], models: list[str]) -> None:
    assert medcoss("models", "promote", ONE, "production", "--note", "the first").out == f"@production {ONE}\n"
    promoted = medcoss("models", "promote", TWO, "@production", "--json").json
    assert (promoted["model_id"], promoted["promoted_by"]) == (TWO, "operator")
    assert medcoss("models", "show", "@production", "--json").json["id"] == TWO
    assert TWO in medcoss("models", "aliases").out
    assert medcoss("models", "rollback", "production").out == f"@production {ONE}\n"
    history = medcoss("models", "history", "production")
    assert [line.split()[2] for line in history.out.splitlines() if "mdl_" in line] == [
        "rolled_back", "promoted", "promoted",
    ]  # fmt: skip
    assert "the first" in history.out
    in_use = medcoss("models", "delete", ONE)
    assert (in_use.code, "the alias @production" in in_use.err) == (1, True)
    assert "stands for nothing" in medcoss("models", "unalias", "production").err
    assert medcoss("models", "delete", ONE).code == 0
    assert "there is no alias" in medcoss("models", "rollback", "production").err


def test_a_gate_is_set_looked_at_and_overridden(medcoss: Callable[..., Done], plane: ControlPlane) -> None:
    first, second = (trained(plane.database, None, f"mdl_gate00000{n}", modalities=["xray"]) for n in (1, 2))
    medcoss("models", "promote", first, "served")
    assert "@served has no gate" in medcoss("models", "gate", "served").out
    shown = medcoss("models", "gate", "served", "--average", "0.05", "--modality", "xray=0.1").out
    assert "average" in shown and "0.1" in shown
    closed = medcoss("models", "gate", "served", "--check", second).out
    assert closed.startswith("closed\nthere is no forgetting report of")
    refused = medcoss("models", "promote", second, "served")
    assert (refused.code, "Give an override with the reason" in refused.err) == (1, True)
    assert medcoss("models", "promote", second, "served", "--override", "a first try").code == 0
    assert "[gate overridden: a first try]" in medcoss("models", "history", "served").out
    wrong = medcoss("models", "gate", "served", "--modality", "xray:0.1")
    assert (wrong.code, "expected a modality and a share" in wrong.err) == (1, True)
    assert "any model" in medcoss("models", "gate", "served", "--remove").err


def test_a_line_its_lineage_and_a_card_are_shown(medcoss: Callable[..., Done], plane: ControlPlane,
                                                 tmp_path: Path) -> None:  # fmt: skip
    model = trained(plane.database, None, "mdl_line000001")
    # neither markup nor broken off, however wide the terminal is
    notes = "[/b] of the [b]second reading " + "of the films " * 10
    medcoss("note", model, notes)
    (stage,) = medcoss("models", "line", model, "--json").json["stages"]
    assert (stage["model_id"], stage["learnt"]) == (model, ["xray"])
    assert model in medcoss("models", "line", model, "--compare", model).out
    assert [node["id"] for node in medcoss("models", "lineage", model, "--json").json["nodes"]] == [model]
    assert model in medcoss("models", "lineage", model, "--uses", "--files", "2").out
    card = medcoss("models", "card", model).out
    assert card.startswith("# encoder") and notes.strip() in card
    assert medcoss("models", "card", model, "--out", str(tmp_path / "card.md")).code == 0
    assert "| Id | mdl_line000001 |" in (tmp_path / "card.md").read_text()
    missing = medcoss("models", "card", model, "--out", str(tmp_path / "no" / "card.md"))
    assert (missing.code, "cannot be written" in missing.err) == (1, True)


def test_a_job_is_deleted_once_it_has_ended(medcoss: Callable[..., Done], client: Client, raw: str) -> None:
    job = client.jobs.submit("preprocess", {"dataset": raw, "recipe": {"name": "image_folder"}}).id
    refused = medcoss("jobs", "delete", job)
    assert (refused.code, "cancel it first" in refused.err) == (1, True)
    client.jobs.cancel(job)
    assert medcoss("jobs", "delete", job).err == f"deleted {job}\n"
    with pytest.raises(ApiError, match=job):
        client.jobs.get(job)
    missing = medcoss("deployments", "delete", "dep_00000000")
    assert (missing.code, "there is no deployment" in missing.err) == (1, True)
