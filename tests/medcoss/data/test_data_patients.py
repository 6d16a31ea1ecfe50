"""Leakage: patients who are trained on and measured on are counted exactly, and refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcoss.data.patients import SEEN, Seen, check_leakage, of_model, overlap, patients, write
from medcoss.run import BadInput, LocalRun

SOME = st.sets(st.integers(0, 40).map(lambda n: f"{n:032x}"))


@given(st.dictionaries(st.sampled_from(["ds_a", "ds_b", "ds_c"]), SOME), SOME)
def test_the_overlap_is_that_of_the_sets(trained: dict[str, set[str]], measured: set[str]) -> None:
    seen = Seen(frozenset((patient, name) for name, found in trained.items() for patient in found))
    count, datasets = overlap(seen, measured)
    assert count == len(set[str]().union(*trained.values()) & measured)
    assert datasets == {name: len(found & measured) for name, found in trained.items() if found & measured}


def table(folder: Path, rows: list[tuple[str, str]]) -> Path:
    folder.mkdir()
    columns = {"split": [split for split, _ in rows], "patient": [patient for _, patient in rows]}
    pq.write_table(pa.table(columns), folder / "samples.parquet")
    return folder


def test_leakage_is_refused_with_count_and_datasets_or_allowed_with_a_reason(tmp_path: Path) -> None:
    data = table(tmp_path / "ds", [("train", "a"), ("val", "b"), ("val", "b"), ("test", "c"), ("test", "")])
    assert (patients(data), patients(data, ["val"])) == ({"a", "b", "c"}, {"b"})
    run = LocalRun(tmp_path / "run")
    clean, leaking = Seen(frozenset([("a", "ds_1")])), Seen(frozenset([("b", "ds_1"), ("b", "ds_2"), ("c", "ds_2")]))
    other, bare = table(tmp_path / "other", [("test", "a"), ("test", "d")]), table(tmp_path / "bare", [("val", "")])
    own, both = [("ds", data)], [("ds", data), ("other", other), ("bare", bare)]
    assert check_leakage(clean, own, None, run) == []
    with pytest.raises(BadInput, match=r"^dataset: 2 of the 2 .* in val and test of ds.*\(1 in ds_1, 2 in ds_2\)"):
        check_leakage(leaking, own, None, run)
    found = check_leakage(leaking, [*own, *own], "pilot", run)
    assert [(f.reason, f.patients, f.datasets) for f in found] == [("pilot", 2, {"ds_1": 1, "ds_2": 2})]
    assert check_leakage(leaking, own, None, run, ["train"]) == []
    with pytest.raises(BadInput, match=r"^measured_on: 1 of the 2 patients in val and test of other.*\(1 in ds_1\)"):
        check_leakage(clean, both, None, run)
    assert run.lines[-1].endswith("cannot be told for val and test of bare: no patients are on record")
    found = check_leakage(clean | leaking, both, "pilot", run)
    assert [(f.patients, f.measured_on) for f in found] == [(2, "val and test of ds"), (1, "val and test of other")]


def test_what_a_model_has_seen_is_kept_beside_it_and_may_be_unknown(tmp_path: Path) -> None:
    seen = Seen(frozenset([("b", "ds_1"), ("a", "ds_2")]), frozenset(["ds_3"]))
    write(seen, tmp_path)
    assert of_model(tmp_path) == seen
    (tmp_path / SEEN).unlink()
    assert of_model(tmp_path).unknown == {f"the model {tmp_path.name}"}
    assert of_model(None) == Seen()
