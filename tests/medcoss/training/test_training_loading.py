"""Batches from other processes are those of this one, in memory that is used again."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from medcoss.training import loading
from medcoss.training.batches import arrays, as_tensors
from medcoss.training.loading import AHEAD, loaded, stacked
from medcoss.training.steps import Batch

WORKERS = 2
COUNT = 4 * WORKERS * (AHEAD + 1)


class Made(Dataset[Any]):
    """A batch of every form that trainings use."""

    def __getitem__(self, step: int) -> Any:
        rng = np.random.default_rng(step)
        images = stacked([rng.random((1, 2, 3 + step % 2), dtype=np.float32) for _ in range(4)])
        if step == COUNT - 1:
            raise ValueError("the last one is bad")
        if step % 3 == 0:
            # in place, beside it in memory of its own, and not in one piece
            return Batch(step, images=images, noise=rng.random((4, 5), dtype=np.float32), ids=np.arange(step)[:, None])
        masks = torch.from_numpy(rng.integers(0, 2, (4, 3), dtype=np.uint8))
        return (torch.from_numpy(images[::2]),), [masks, torch.zeros(0), torch.tensor(1.5, dtype=torch.bfloat16)]


def same(one: Any, other: Any) -> bool:
    pairs = list(zip(arrays(one), arrays(other), strict=True))
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("room", [2**20, 64])
def test_workers_bring_the_batches_of_one_process_in_memory_that_is_used_again(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_ROOM", room)
    numbers, made = range(COUNT - 1), Made()
    places = set()
    for number, batch in zip(numbers, loaded(made, numbers, WORKERS), strict=True):
        assert same(batch, as_tensors(made[number])), number
        assert isinstance(batch, Batch) == (number % 3 == 0)
        places.add(arrays(batch)[0].data_ptr())
    if room > 64:
        assert len(places) == WORKERS * (AHEAD + 1)


def test_a_batch_stays_until_the_next_one_is_asked_for() -> None:
    made = Made()
    batches = loaded(made, range(COUNT - 1), WORKERS)
    first = next(batches)
    kept = [array.clone() for array in arrays(first)]
    # all workers are as far ahead as they get
    second = next(batches)
    assert same(first, kept)
    assert same(second, as_tensors(made[1]))


def test_what_goes_wrong_in_a_worker_is_told() -> None:
    with pytest.raises(ValueError, match="the last one is bad"):
        list(loaded(Made(), range(COUNT), WORKERS))
