"""Shards give back exactly what was written, in the units that models take."""

from pathlib import Path

import numpy as np
import pytest

from medcoss.data.frames import FrameReader
from medcoss.data.shards import Sample, ShardReader, ShardWriter, copy_subset, to_model_input
from medcoss.modalities import Kind
from medcoss.run import BadInput
from medcoss.specs.records import DatasetInfo

RNG = np.random.default_rng(0)


def info(kind: Kind, samples: int, shape: list[int], **more: object) -> DatasetInfo:
    modality = {Kind.IMAGE2D: "xray", Kind.VOLUME3D: "mr", Kind.TEXT: "report"}[kind]
    return DatasetInfo(
        modality=modality, kind=kind, samples=samples, splits={"train": samples}, sample_shape=shape, recipe={}, **more
    )


def sample(number: int, split: str = "train", **more: object) -> Sample:
    return Sample(id=f"{number:03d}", split=split, source=f"file{number}", group=f"group{number}", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "shape", "dtype"),
    [(Kind.IMAGE2D, (1, 32, 48), np.uint8), (Kind.IMAGE2D, (3, 16, 16), np.uint8),
     (Kind.VOLUME3D, (1, 16, 32, 16), np.float32)],
)  # fmt: skip
def test_images_masks_and_rows_return_unchanged(
    tmp_path: Path, kind: Kind, shape: tuple[int, ...], dtype: type
) -> None:
    images = [(RNG.random(shape) * 255).astype(dtype) for _ in range(5)]
    masks = [RNG.integers(0, 2, (2, *shape[1:])).astype(np.uint8) for _ in range(5)]
    rows = [sample(i, ("train", "val")[i % 2], label=i - 1, offset=i, slices=9, spacing_z=2.5) for i in range(5)]
    writer = ShardWriter(tmp_path)
    for row, image, mask in zip(rows, images, masks, strict=True):
        writer.add(row, image, mask)
    assert len(writer) == 5
    assert writer.split_counts() == {"train": 3, "val": 2}
    writer.close(info(kind, 5, list(shape), has_masks=True))

    reader = ShardReader(tmp_path)
    assert len(reader) == 5
    assert reader.rows == rows
    assert reader.row(1)["spacing_z"] == 2.5
    # by index, in any order
    for i in (3, 0, 4, 1, 2):
        assert np.array_equal(reader.stored_image(i), images[i])
        assert reader.stored_image(i).dtype == dtype
        mask = reader.mask(i)
        assert mask is not None
        assert np.array_equal(mask, masks[i])
        assert reader.label(i) == i - 1
    assert reader.indices("val").tolist() == [1, 3]
    assert reader.indices().tolist() == [0, 1, 2, 3, 4]
    assert reader.indices("test").dtype == np.int64


def test_one_sample_is_one_chunk(tmp_path: Path) -> None:
    import blosc2

    writer = ShardWriter(tmp_path)
    for i in range(3):
        writer.add(sample(i), np.zeros((1, 32, 32), np.uint8))
    writer.close(info(Kind.IMAGE2D, 3, [1, 32, 32]))
    assert blosc2.open(str(tmp_path / "images.b2nd"), mode="r").chunks == (1, 1, 32, 32)


def test_floats_of_earlier_versions_are_read_and_damage_is_named(tmp_path: Path) -> None:
    import blosc2

    images = RNG.normal(size=(3, 1, 16, 32, 32)).astype(np.float32)
    images[1] = 0
    path = tmp_path / "images.b2nd"
    whole = (1, *images.shape[1:])
    blosc2.asarray(
        images, chunks=whole, blocks=whole, urlpath=str(path), mode="w",
        cparams=blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=5),
    )  # fmt: skip
    reader = FrameReader(path)
    assert all(np.array_equal(reader[i], images[i]) for i in (2, 0, 1, -1))
    with pytest.raises(IndexError, match="sample 3 of 3"):
        reader[3]
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[11:15], "big")
    content[first + 32 : first + 80] = bytes([255]) * 48
    (tmp_path / "damaged.b2nd").write_bytes(content)
    with pytest.raises(BadInput, match=r"^damaged.b2nd: sample 0 is damaged; preprocess the dataset again"):
        FrameReader(tmp_path / "damaged.b2nd")[0]


def test_model_input_units() -> None:
    grey = np.array([[[0, 51, 255]]], np.uint8)
    found = to_model_input(grey, Kind.IMAGE2D)
    assert found.shape == (3, 1, 3)
    assert found.dtype == np.float32
    assert found[1].ravel().tolist() == [0, np.float32(0.2), 1]
    colour = RNG.integers(0, 255, (3, 4, 4), dtype=np.uint8)
    assert np.array_equal(to_model_input(colour, Kind.IMAGE2D), colour.astype(np.float32) / np.float32(255))
    volume = RNG.normal(size=(1, 2, 3, 4)).astype(np.float32)
    assert to_model_input(volume, Kind.VOLUME3D) is volume


def test_text_needs_only_the_table(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    writer.add(sample(0, text="the heart is large"))
    writer.close(info(Kind.TEXT, 1, [112]))
    reader = ShardReader(tmp_path)
    assert reader.text(0) == "the heart is large"
    assert reader.mask(0) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["meta.json", "samples.parquet"]


def test_a_subset_keeps_order_and_content(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "all")
    images = RNG.integers(0, 255, (6, 1, 16, 16), dtype=np.uint8)
    for i in range(6):
        writer.add(sample(i), images[i], (images[i] > 99).astype(np.uint8))
    writer.close(info(Kind.IMAGE2D, 6, [1, 16, 16], has_masks=True))
    copy_subset(ShardReader(tmp_path / "all"), [4, 1], tmp_path / "some", info(Kind.IMAGE2D, 2, [1, 16, 16]))
    some = ShardReader(tmp_path / "some")
    assert [row.id for row in some.rows] == ["004", "001"]
    assert np.array_equal(some.stored_image(0), images[4])
    mask = some.mask(1)
    assert mask is not None
    assert np.array_equal(mask, images[1] > 99)


def test_a_folder_without_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"^{tmp_path.name}: .*preprocess it first"):
        ShardReader(tmp_path)
    # a writer that was not closed has made no dataset
    ShardWriter(tmp_path / "half").add(sample(0), np.zeros((1, 16, 16), np.uint8))
    with pytest.raises(BadInput, match="half"):
        ShardReader(tmp_path / "half")
