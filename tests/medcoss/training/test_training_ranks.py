"""Two ranks over gloo: one model, one batch, one voice, one decision."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcoss.run import BadInput
from medcoss.training.batches import check_parts, cut

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def found() -> dict[str, list[dict[str, Any]]]:
    """What each rank says at the end of each scenario of `two_ranks`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.medcoss.training.two_ranks"], cwd=REPOSITORY, text=True, capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_uneven_shares_give_the_gradients_of_the_whole_batch(found: dict[str, list[dict[str, Any]]]) -> None:
    (alone,), together = found["alone"], found["together"]
    assert together[0]["weights"] == together[1]["weights"], "ranks never drift apart"
    for one, other in zip(alone["weights"], together[0]["weights"], strict=True):
        assert np.allclose(one, other, atol=1e-6)
    for row, other in zip(alone["rows"], together[0]["rows"], strict=True):
        assert row == pytest.approx(other, rel=1e-5), "metrics are those of the whole batch"


def test_parameters_without_a_gradient_are_left_alone(found: dict[str, list[dict[str, Any]]]) -> None:
    assert all(rank["untouched"] for rank in found["together"] + found["alone"])


def test_the_first_rank_alone_reports_and_writes(found: dict[str, list[dict[str, Any]]]) -> None:
    first, second = found["together"]
    assert [row[0] for row in first["rows"]] == [2, 4, 6]
    assert first["done"] == [6, 6]
    assert (second["rows"], second["lines"], second["done"]) == ([], [], [0, 0])
    assert first["files"] == ["events.out.tfevents.000000000"]


def test_one_rank_that_is_asked_to_stop_stops_all(found: dict[str, list[dict[str, Any]]]) -> None:
    assert [rank["end"] for rank in found["stopped"]] == ["Stopped", "Stopped"]
    assert found["stopped"][0]["checkpoints"] == [2, 3]
    first, second = found["resumed"]
    assert "info: resumed from the checkpoint at step 3" in first["lines"]
    assert first["weights"] == second["weights"] == found["together"][0]["weights"]


def test_one_rank_that_meets_nan_fails_all_and_stores_nothing_of_it(found: dict[str, list[dict[str, Any]]]) -> None:
    ends = {rank["end"] for rank in found["not finite"]}
    assert ends == {"BadInput lr: the loss is not finite at step 4 (points 3); lower the learning rate or look for "
                    "extreme inputs"}  # fmt: skip
    assert found["not finite"][0]["checkpoints"] == [2]
    assert np.isfinite(found["not finite"][0]["weights"][0]).all(), "no step was taken with it"


def test_time_for_a_checkpoint_is_the_first_rank_s_to_say(found: dict[str, list[dict[str, Any]]]) -> None:
    assert found["by time"][0]["checkpoints"] == [4, 5]


def test_shares_are_the_whole_batch_once() -> None:
    batch = (np.arange(12), ["kept as it is"])
    parts = [cut(cut(batch, slice(rank, None, 3)), slice(part, None, 2)) for rank in range(3) for part in range(2)]
    assert sorted(np.concatenate([part[0] for part in parts])) == list(range(12))
    assert {len(part[0]) for part in parts} == {2}
    assert parts[0][1] == ["kept as it is"]


@pytest.mark.parametrize(
    ("size", "available", "accumulate", "world", "message"),
    [
        (6, 20, 4, 1, "batch_size: 6 samples cannot be shared equally by 4 micro-batches; use a multiple of 4"),
        (6, 20, 2, 2, "batch_size: 6 samples cannot be shared equally by 2 processes x 2 micro-batches; "
                      "use a multiple of 4"),
        (8, 3, 2, 2, "accumulate: the buffer holds 3 samples, too few for 2 processes x 2 micro-batches; lower "
                     "accumulate, use fewer processes or add samples"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_shared_are_refused(
    size: int, available: int, accumulate: int, world: int, message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check_parts(size, {"the buffer": available}, accumulate, world)
    assert str(refused.value) == message
    check_parts(8, {"the buffer": 20}, accumulate, world)
