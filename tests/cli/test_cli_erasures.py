"""`medcoss erasures`, `client.erasures` and `medcoss models holders`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client
from tests.cli.conftest import Done


def test_a_file_is_erased_and_a_typing_error_is_told(
    medcoss: Callable[..., Done], client: Client, tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    film = tmp_path / "films" / "film.png"
    film.write_bytes(b"of a patient who has withdrawn")
    raw = client.datasets.upload(tmp_path / "films", name="films", modality="xray").id
    assert raw in medcoss("models", "holders", "--file", film).out
    made = medcoss("erasures", "create", "--file", film, "--reason", "withdrew", "--json").json
    assert (made["datasets"], made["models"], made["pipeline_id"]) == ({raw: ["raw"]}, [], None)
    assert client.erasures.get(made["id"]).sha256 == made["sha256"]
    shown = medcoss("erasures", "show", made["id"]).out
    assert f"{raw} (raw)" in shown and "withdrew" in shown
    assert [one.id for one in client.erasures.list(object=raw)] == [made["id"]]
    assert made["id"] in medcoss("erasures", "list", "--object", raw).out
    # raw files are deleted by whoever has asked
    refused = medcoss("erasures", "rebuild", made["id"])
    assert (refused.code, "nothing is marked but raw data" in refused.err) == (1, True)
    with pytest.raises(ApiError, match="nothing is marked but raw data"):
        client.erasures.rebuild(made["id"])
    nobody = medcoss("erasures", "create", "--patient", "0001235", "--reason", "withdrew", "--rebuild")
    assert (nobody.code, "check the identifier, its cohort" in nobody.err) == (0, True)
    assert "check the identifier" in medcoss("models", "holders", "--patient", "0001235").err
    for wrong in ((), ("--patient", "1", "--file", film), ("--file", tmp_path / "none.png")):
        assert medcoss("erasures", "create", "--reason", "withdrew", *wrong).code == 1
