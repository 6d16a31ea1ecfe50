"""Folds: patients stay together, and nothing but the seed and the patients decides."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.data.folds import APART, folds_of, leave_out
from medcoss.data.shards import Sample, ShardReader
from medcoss.run import BadInput, LocalRun
from tests.medcoss.training.small import volumes, xrays


def sample(number: int, patient: str, label: int) -> Sample:
    return Sample(id=f"{number}", split="train", source=f"{number}.png", group=f"g{number}", patient=patient,
                  label=label)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=120),
    st.integers(2, 6), st.integers(0, 2**31 - 1), st.randoms(use_true_random=False),
)  # fmt: skip
def test_no_patient_is_in_two_folds_whatever_the_order(
    drawn: list[tuple[int, int]], folds: int, seed: int, mixed: random.Random
) -> None:
    samples = [sample(i, f"p{patient}", label) for i, (patient, label) in enumerate(drawn)]
    patients = {s.patient for s in samples}
    if len(patients) < folds:
        with pytest.raises(BadInput, match=rf"^folds: .* hold {len(patients)} patients or cases"):
            folds_of(samples, folds, seed)
        return
    found = folds_of(samples, folds, seed)
    assert set(found) == patients, "every patient has one fold"
    assert set(found.values()) <= set(range(folds))
    mixed.shuffle(samples)
    assert folds_of(samples, folds, seed) == found


def test_folds_are_alike_in_classes_and_differ_by_the_seed() -> None:
    samples = [sample(i, f"p{i // 2}", (i // 2) % 2) for i in range(80)]
    found = folds_of(samples, 5, 0)
    for fold in range(5):
        assert np.bincount([s.label for s in samples if found[s.patient] == fold]).tolist() == [8, 8]
    assert folds_of(samples, 5, 1) != found


def test_a_fold_is_left_out_and_the_next_one_chooses(tmp_path: Path) -> None:
    whole = xrays(tmp_path / "whole", 12)
    reader, seen = ShardReader(whole), []
    for fold in range(4):
        view = ShardReader(leave_out(whole, tmp_path / f"{fold}", fold, 4, 3, chooses=True))
        splits = {name: {view.rows[i].group for i in view.indices(name)} for name in ("train", "val", "test", APART)}
        assert splits[APART] == {row.group for row in reader.rows if row.split == "test"}, "the test split stays apart"
        assert len(set.union(*splits.values())) == sum(map(len, splits.values())) == 20
        assert view.info.splits == {n: len(splits[n]) for n in ("train", "val", "test")} == view.info.labelled
        assert [r.id for r in view.rows] == [r.id for r in reader.rows]
        assert np.array_equal(view.image(7), reader.image(7))
        seen.append(splits)
    assert set.union(*(s["test"] for s in seen)) == {r.group for r in reader.rows if r.split != "test"}
    assert all(seen[i]["val"] == seen[(i + 1) % 4]["test"] for i in range(4))
    unchosen = ShardReader(leave_out(whole, tmp_path / "unchosen", 0, 4, 3, chooses=False))
    assert "val" not in unchosen.info.splits and unchosen.info.splits["train"] == 12


def test_tiles_of_a_volume_stay_together_and_rare_classes_are_told_of(tmp_path: Path) -> None:
    view = ShardReader(leave_out(volumes(tmp_path / "v", 5, masks=True), tmp_path / "f", 1, 3, 0, chooses=True))
    homes: dict[str, set[str]] = {}
    for row in view.rows:
        homes.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert json.loads((tmp_path / "f" / "meta.json").read_text())["labelled"] is None
    run = LocalRun(tmp_path / "run")
    folds_of([sample(i, f"p{i}", int(i == 0)) for i in range(9)], 3, 0, run)
    assert run.lines == [
        "warning: classes [1] have fewer patients or cases than folds: some folds hold none of them"
    ]  # fmt: skip
