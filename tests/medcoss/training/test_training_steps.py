"""What steps are made of: grey images as one channel until the end, plans made once an epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medcoss.data.augment import augment_image
from medcoss.data.sampler import epoch_batches, sample_rng
from medcoss.data.shards import ShardReader
from medcoss.specs.training import FinetuneSpec
from medcoss.training import finetune
from medcoss.training.finetune import FinetuneSteps
from medcoss.training.steps import PretrainSteps, Source, mix_images, mixing
from tests.medcoss.training.small import DATASET, MODEL, xrays


def test_grey_images_are_cropped_as_one_channel_to_the_same_bits(tmp_path: Path) -> None:
    reader = ShardReader(xrays(tmp_path / "data"))
    assert reader.planes(0).shape == (1, 32, 48)
    indices = reader.indices("train")
    for rehearsal in (False, True):
        steps = PretrainSteps([Source(reader, rehearsal, indices)], batch_size=4, epochs=1, seed=3,
                              text_mask_ratio=0.15, mixup=True, augment=True)  # fmt: skip
        for step in range(3):
            (_, positions) = steps.plan(0)[step]
            tripled = [augment_image(reader.image(i), sample_rng(3, 0, i))[0] for i in indices[positions].tolist()]
            expected = np.stack(tripled)
            if rehearsal:
                shares, others = mixing(4, np.random.default_rng([3, step, 4]))
                expected = mix_images(expected, expected[others], shares)
            found = steps[step].images
            assert found is not None
            assert found.shape == (4, 3, 32, 48)
            assert found.dtype == np.float32
            assert np.array_equal(found, expected)


def fine_tuning(tmp_path: Path, masks: bool, augment: bool = True) -> FinetuneSteps:
    reader = ShardReader(xrays(tmp_path / "data", masks=masks))
    spec = FinetuneSpec(task="segmentation" if masks else "classification", dataset=DATASET, init_model=MODEL,
                        batch_size=4, augment=augment)  # fmt: skip
    return FinetuneSteps(reader, reader.indices("train"), spec, None)


@pytest.mark.parametrize("masks", [True, False])
def test_so_are_those_of_fine_tuning(tmp_path: Path, masks: bool) -> None:
    steps = fine_tuning(tmp_path, masks)
    reader = steps.reader
    (images,), target = steps[4]
    for place, index in enumerate(steps.chosen(4).tolist()):
        image, mask = augment_image(reader.image(index), sample_rng(0, 1, index), reader.mask(index), (0.6, 1.0))
        assert np.array_equal(images[place].numpy(), image)
        assert not masks or np.array_equal(target[place].numpy(), mask)
    (plain,), _ = fine_tuning(tmp_path / "plain", masks, augment=False)[4]
    assert torch.equal(plain[0], torch.from_numpy(reader.image(int(steps.chosen(4)[0]))))


def test_the_order_of_an_epoch_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, drawn = fine_tuning(tmp_path, False), list[int]()

    def counted(n: int, size: int, seed: int, epoch: int) -> list[np.ndarray]:
        drawn.append(epoch)
        return epoch_batches(n, size, seed, epoch)

    monkeypatch.setattr(finetune, "epoch_batches", counted)
    seen = [steps.chosen(step) for step in (0, 1, 2, 3, 4, 1)]
    assert drawn == [0, 1, 0]
    assert np.array_equal(seen[1], seen[5])
    assert not np.array_equal(seen[0], seen[3])
