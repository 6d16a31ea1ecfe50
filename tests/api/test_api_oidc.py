"""Somebody who has signed in at a provider works like somebody with a key."""

from collections.abc import Callable

import httpx

from services.core import projects
from services.core.settings import Settings
from tests.api.calls import preprocess, uploaded
from tests.api.serving import Served
from tests.core.test_core_oidc import Provider, running

__all__ = ["running"]


def test_a_signed_in_user_works_in_their_project(
    settings: Settings, serve: Callable[[Settings], Served], running: Provider
) -> None:
    served = serve(settings.model_copy(update={"oidc_issuer": running.url, "oidc_audience": "medcoss"}))
    with served.database.session() as session:
        north = projects.create(session, "north").id
    headers = {"Authorization": f"Bearer {running.token()}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as ada:
        me = ada.get("/v1/me").json()
        assert (me["owner"], me["role"], [p["id"] for p in me["projects"]]) == ("ada", "operator", [north])
        job = preprocess(ada, uploaded(ada, {"a": b"x"}), headers={"Idempotency-Key": "k"}).json()
        assert (job["created_by"], job["project_id"]) == ("ada", north)
        assert served.operator.get(f"/v1/jobs/{job['id']}").status_code == 404
        nobody = ada.get("/v1/me", headers={"Authorization": f"Bearer {running.token(roles=[])}"})
        assert (nobody.status_code, "has no role here" in nobody.text) == (403, True)
        lost = ada.get("/v1/me", headers={"Authorization": f"Bearer {running.token(groups=[])}"})
        assert lost.json()["projects"] == []
        alone = ada.post(
            "/v1/datasets",
            json={"name": "d", "files": []},
            headers={"Authorization": f"Bearer {running.token(groups=[])}"},
        )
        assert alone.status_code == 422
    newest = served.admin.get("/v1/audit", params={"actor": "ada", "outcome": "done"}).json()["items"][0]
    assert (newest["key_id"], newest["route"]) == (me["key_id"], "/v1/jobs")
