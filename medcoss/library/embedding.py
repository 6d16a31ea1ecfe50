"""Embeddings of files, texts, arrays or a prepared dataset, by the preprocessing recorded with the model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcoss.library.display import Display
from medcoss.library.folders import found
from medcoss.library.inputs import decoder
from medcoss.library.session import is_main
from medcoss.modalities import Kind
from medcoss.run import BadInput
from medcoss.specs.preprocess import VolumeFolder
from medcoss.specs.records import ModelInfo

if TYPE_CHECKING:
    from medcoss.data.shards import ShardReader

Floats = NDArray[np.float32]
Arrays = tuple[NDArray[Any], ...]


def embed(model: str | Path, inputs: str | Path | Sequence[Any], *, modality: str | None = None,
          split: str | None = None, batch_size: int = 32, quiet: bool = False) -> Floats:  # fmt: skip
    """Embeddings (N, d), one row an input, in the order of the inputs.

    `model` is an encoder or a classifier, or the output folder of the call that made it. `inputs` is a prepared
    dataset (every sample, or those of `split`), or a list: texts for reports; for images files, bytes or arrays
    (H, W) or (H, W, 3); for volumes files, bytes or arrays (D, H, W). Each is prepared as the model's training data
    were; a volume's embedding is the mean over its tiles. `modality` is needed for a list when the encoder knows
    several. Raises BadInput naming the input that cannot be used.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise BadInput(f"expected a whole number greater than or equal to 1, found {batch_size!r}", "batch_size")
    folder = found(model, "model", "model")
    if isinstance(inputs, str | Path):
        _refuse_single(inputs)
        items, count, modality = _of_dataset(found(inputs, "dataset", "inputs"), folder, modality, split)
    else:
        items, count, modality = _of_list(inputs, folder, modality, split)
    function, width = _embedder(folder, modality)
    with Display("embed", quiet or not is_main()) as display:
        return _means(function, items, count, width, batch_size, display.progress)


def _refuse_single(inputs: str | Path) -> None:
    """Raise BadInput for one file or one text, where a dataset's folder or a list is expected."""
    try:
        path = Path(inputs).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):
        # a text may be no possible path at all
        folder = file = False
    if file:
        raise BadInput(f"{inputs} is one file; give a list, [{str(inputs)!r}]", "inputs")
    if not folder:
        shown = f"{str(inputs)[:60]}..." if len(str(inputs)) > 60 else str(inputs)
        raise BadInput(f"there is no folder {shown}; expected the output of prepare or build_buffer. Texts, files and "
                       "arrays go in a list, a single one too: give a list", "inputs")  # fmt: skip


def _info(folder: Path) -> ModelInfo:
    from medcoss.models.registry import read_info

    info = read_info(folder)
    if info.task == "segmentation":
        raise BadInput("a segmentation model has no embedding; expected an encoder or a classifier", "model")
    return info


def _known(info: ModelInfo) -> dict[str, dict[str, Any]]:
    """Every modality that the model embeds, with its recipe, which may be empty for an imported one."""
    if info.task != "encoder":
        return {info.modality: info.recipe}
    return {m: info.recipes.get(m) or (info.recipe if m == info.modality else {}) for m in info.modalities}


def _chosen(info: ModelInfo, modality: str | None) -> str:
    known = _known(info)
    if modality is None and len(known) == 1:
        return next(iter(known))
    if modality in known:
        return str(modality)
    problem = "the model knows several" if modality is None else f"the model has not learnt '{modality}'"
    raise BadInput(f"{problem}; expected one of {', '.join(known) or 'none: it has learnt nothing yet'}", "modality")


def _as_list(inputs: Sequence[Any], kind: Kind) -> list[Any]:
    """The inputs one by one. Raises BadInput for a single one, whose rows or bytes would pass for inputs."""
    if isinstance(inputs, bytes | bytearray):
        raise BadInput("these are the bytes of one file; give a list, [content]", "inputs")
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biufc":
        colour = kind is Kind.IMAGE2D and inputs.ndim == 3 and inputs.shape[-1] == 3
        if inputs.ndim < 3 or colour or (kind is Kind.VOLUME3D and inputs.ndim < 4):
            raise BadInput(f"this is one array {inputs.shape}; give a list, [array]", "inputs")
    if not isinstance(inputs, Iterable):
        raise BadInput(f"expected a prepared dataset or a list, found {type(inputs).__name__}", "inputs")
    return list(inputs)


def _of_list(inputs: Sequence[Any], folder: Path, modality: str | None,
             split: str | None) -> tuple[Iterator[Arrays], int, str]:  # fmt: skip
    if split is not None:
        raise BadInput("a list has no splits; leave it out, or give a prepared dataset", "split")
    info = _info(folder)
    chosen = _chosen(info, modality)
    recipe = _known(info)[chosen]
    if not recipe:
        raise BadInput(f"the model does not say how '{chosen}' was prepared; give a prepared dataset, or go on "
                       "pre-training on one first", "model")  # fmt: skip
    kind = info.modality_named(chosen).kind
    decode = decoder(recipe, kind, folder / "vocab.txt")
    items = _as_list(inputs, kind)
    return (decode(value, f"inputs[{i}]") for i, value in enumerate(items)), len(items), chosen


def _of_dataset(dataset: Path, folder: Path, modality: str | None,
                split: str | None) -> tuple[Iterator[Arrays], int, str]:  # fmt: skip
    from medcoss.data.shards import ShardReader

    info, reader = _info(folder), ShardReader(dataset)
    if modality not in (None, reader.info.modality):
        raise BadInput(f"the dataset holds '{reader.info.modality}', not '{modality}'; leave it out", "modality")
    chosen = _chosen(info, reader.info.modality)
    _refuse_other_values(reader.info.recipe, _known(info)[chosen])
    if split not in (None, *reader.info.splits):
        raise BadInput(f"the dataset has no split '{split}'; it has {', '.join(reader.info.splits)}", "split")
    indices = reader.indices(split)
    return _samples(reader, indices, folder), len(indices), chosen


def _refuse_other_values(dataset: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise BadInput when the dataset's values mean something else than those the model has learnt."""
    from medcoss.preprocess.volumes import intensity_rule

    if model.get("name") == dataset["name"] == "volume_folder":
        here, expected = (intensity_rule(VolumeFolder.model_validate(recipe)) for recipe in (dataset, model))
        if here != expected:
            raise BadInput(f"the dataset was prepared with intensity {here}, the model's with {expected}; prepare it "
                           f"with intensity='{expected}'", "inputs")  # fmt: skip


def _samples(reader: "ShardReader", indices: NDArray[np.int64], folder: Path) -> Iterator[Arrays]:
    if reader.info.kind is not Kind.TEXT:
        yield from ((reader.image(int(i))[None],) for i in indices)
        return
    from medcoss.data.tokenizer import Tokenizer

    tokenizer = Tokenizer(folder / "vocab.txt")
    for i in indices:
        encoded = tokenizer.encode(reader.text(int(i)))
        yield encoded.ids[None], encoded.attention[None]


def _embedder(folder: Path, modality: str) -> tuple[Callable[..., Floats], int]:
    """The model as a function from a batch to embeddings, and their width."""
    import torch

    from medcoss.models.encoder import Encoder
    from medcoss.models.heads import Classifier
    from medcoss.models.registry import encoder_for, load_model
    from medcoss.training.precision import pick_device, precision

    device = pick_device()
    module, info = load_model(folder)
    encoder = module if isinstance(module, Encoder) else module.encoder
    assert isinstance(encoder, Encoder)
    function = (module if isinstance(module, Classifier) else encoder_for(encoder, info, modality)).to(device)

    def features(*batch: NDArray[Any]) -> Floats:
        if len(batch) == 2 and not encoder.config.counts_padding:
            # reports: no compute on what is padding in all of them
            longest = int(batch[1].sum(axis=1).max())
            batch = tuple(part[:, :longest] for part in batch)
        with torch.inference_mode(), precision(device):
            output = function(*(torch.from_numpy(part).to(device) for part in batch))
        found: Floats = (output[1] if isinstance(module, Classifier) else output).float().cpu().numpy()
        return found

    return features, encoder.config.dim


def _means(function: Callable[..., Floats], items: Iterator[Arrays], count: int, width: int, batch_size: int,
           progress: Callable[[int, int], None]) -> Floats:  # fmt: skip
    """The mean embedding (count, width) of the rows of each item, computed `batch_size` rows at a time."""
    sums, rows = np.zeros((count, width), np.float32), np.zeros((count, 1), np.float32)
    for owners, batch in _batches(items, batch_size):
        np.add.at(sums, owners, function(*batch))
        np.add.at(rows, owners, 1)
        progress(int(owners[-1]) + 1, count)
    return (sums / np.maximum(rows, 1)).astype(np.float32)


def _batches(items: Iterator[Arrays], size: int) -> Iterator[tuple[NDArray[np.int64], Arrays]]:
    """Rows of the items, at most `size` at a time, with the item that each belongs to."""
    owners: list[int] = []
    rows: list[Arrays] = []
    for owner, item in enumerate(items):
        for row in zip(*item, strict=True):
            owners.append(owner)
            rows.append(row)
            if len(rows) == size:
                yield np.array(owners), tuple(np.stack(part) for part in zip(*rows, strict=True))
                owners, rows = [], []
    if rows:
        yield np.array(owners), tuple(np.stack(part) for part in zip(*rows, strict=True))
