"""Projects and keys from the command line."""

from collections.abc import Callable

import pytest

from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ADMIN_KEY

Medcoss = Callable[..., Done]


def test_projects_and_keys(medcoss: Medcoss, environment: pytest.MonkeyPatch) -> None:
    assert medcoss("whoami", "--json").json["role"] == "operator"
    refused = medcoss("keys", "list")
    assert (refused.code, "this call needs admin" in refused.err) == (1, True)
    environment.setenv("MEDCOSS_KEY", ADMIN_KEY)
    assert medcoss("projects", "create", "south").out.startswith("prj_")
    made = medcoss("keys", "create", "ward", "--role", "viewer", "--project", "south", "--days", "30")
    secret, key_id = made.out.strip(), made.err.split(":")[0]
    assert secret.startswith("mk_")
    assert "not shown again" in made.err
    assert "south" in medcoss("whoami", "--key", secret).out
    assert medcoss("datasets", "list", "--key", secret, "--json").json == []
    assert medcoss("jobs", "list", "--project", "south", "--json").json == []
    rotated = medcoss("keys", "rotate", key_id, "--grace", "0").out.strip()
    assert "key is not known" in medcoss("whoami", "--key", secret).err
    assert key_id in medcoss("keys", "list").out
    assert medcoss("keys", "revoke", key_id).code == 0
    assert "was revoked" in medcoss("whoami", "--key", rotated).err
    listed = {key["id"]: key for key in medcoss("keys", "list", "--json").json}
    assert (listed[key_id]["state"], listed[key_id]["projects"]) == ("revoked", ["south"])
    shown = medcoss("audit", "--outcome", "denied").out
    assert "401" in shown and "/v1/me" in shown
    project = next(p for p in medcoss("projects", "list", "--json").json if p["name"] == "south")
    assert medcoss("projects", "change", project["id"], "--name", "deep-south").out.split()[1] == "deep-south"
