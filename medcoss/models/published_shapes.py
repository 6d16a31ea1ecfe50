"""Which tensors a published checkpoint must hold: sizes are read from its shapes, then every tensor is compared."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medcoss.models.embeddings import NATIVE_GRID
from medcoss.models.pretext import ImageKind, PretrainingModel
from medcoss.models.published_names import UNUSED, published_name, uniperceiver_name
from medcoss.run import BadInput
from medcoss.specs.encoder import SIZES, EncoderConfig

Shapes = dict[str, tuple[int, ...]]
VOCABULARY = 49_411
FLAT_ROWS = math.prod(NATIVE_GRID[2])
SHOWN = 10
# vectors of the embedding's width are the most frequent ones in blocks
_BLOCK_VECTOR = {"encoder": r"fused_encoder\.layers\.\d+\.", "decoder": r"decoder_blocks\.\d+\."}
_NATIVE: dict[ImageKind, tuple[str, int, int]] = {"2d": ("decoder_pos_embed_2D", 196, 768),
                                                  "3d": ("decoder_pos_embed_3D", 144, 4096)}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """What the shapes of a checkpoint say: the encoder's configuration, its name, and the decoder's inputs."""

    config: EncoderConfig
    name: str
    inputs: dict[ImageKind, tuple[int, int]]

    @property
    def words(self) -> str:
        """One line for people."""
        c = self.config
        return f"size {self.name}: {c.depth} blocks of {c.dim}, {c.heads} heads, {c.vocabulary:,} word pieces"


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def sizes_of(found: Shapes, where: str) -> Sizes:
    """The sizes of a checkpoint. What cannot be read from it, as tensors are missing, is that of size base.

    Heads of the encoder are 64 wide, those of the decoder 32. Raises BadInput when no whole number of them fits.
    """
    dim = _width(found, "encoder", SIZES["base"].dim)
    depth = _count(found, r"fused_encoder\.layers\.(\d+)\.") or SIZES["base"].depth
    name = next((n for n, size in SIZES.items() if (size.dim, size.depth) == (dim, depth)), "custom")
    like = SIZES.get(name, SIZES["base"])
    decoder_dim = _width(found, "decoder", like.decoder_dim)
    if dim % 64 or decoder_dim % 32:
        raise BadInput(
            f"the encoder is {dim} wide and the decoder {decoder_dim}; expected multiples of 64 and 32, the widths of "
            "an attention head",
            where,
        )
    config = replace(
        like, dim=dim, depth=depth, heads=dim // 64, vocabulary=_vocabulary(found), decoder_dim=decoder_dim,
        decoder_depth=_count(found, r"decoder_blocks\.(\d+)\.") or like.decoder_depth,
        decoder_heads=decoder_dim // 32,
    )  # fmt: skip
    inputs: dict[ImageKind, tuple[int, int]] = {}
    for kind, (table, tokens, pixels) in _NATIVE.items():
        shape = found.get(table, ())
        inputs[kind] = (shape[1] - 1 if len(shape) == 3 and shape[1] > 1 else tokens, pixels)
    return Sizes(config, name, inputs)


def _width(found: Shapes, part: str, default: int) -> int:
    lengths = Counter(s[0] for n, s in found.items() if len(s) == 1 and s[0] and re.match(_BLOCK_VECTOR[part], n))
    return lengths.most_common(1)[0][0] if lengths else default


def _count(found: Shapes, pattern: str) -> int:
    """Number of blocks, by the highest number in a name."""
    numbers = [int(match[1]) for name in found if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def _vocabulary(found: Shapes) -> int:
    names = ("token_embed.embeddings.weight", "mlm_head.decoder.weight", "mlm_head.bias")
    rows = Counter(found[name][0] for name in names if found.get(name))
    return rows.most_common(1)[0][0] if rows else VOCABULARY


def meta_model(config: EncoderConfig, inputs: dict[ImageKind, tuple[int, int]]) -> PretrainingModel:
    """The pre-training model without memory for its values."""
    with torch.device("meta"):
        return PretrainingModel(config, inputs)


def expected_medcoss(sizes: Sizes, heads: bool) -> Shapes:
    """Shapes of all tensors of a MedCoSS checkpoint, or of those that pass on to the next stage alone."""
    model = meta_model(sizes.config, sizes.inputs)
    shapes = {
        published_name(n): s for n, s in shapes_of(model.state_dict()).items() if heads or n.startswith("encoder.")
    }
    return shapes | {name: (rows, sizes.config.dim) for name, rows in UNUSED.items()}


def expected_uniperceiver(sizes: Sizes) -> Shapes:
    """Shapes of the tensors that are taken from a Uni-Perceiver checkpoint, by their names there."""
    shapes = {}
    for name, shape in expected_medcoss(sizes, heads=False).items():
        there = uniperceiver_name(name)
        if there is not None and name not in UNUSED:
            shapes[there] = (FLAT_ROWS, shape[1]) if "spatial_pos_embed" in there else shape
    return shapes


def check(found: Mapping[str, Tensor], expected: Shapes, known: Callable[[str], bool], where: str) -> None:
    """Compare a checkpoint with what is expected of it; names for which `known` is true may be there or not.

    Raises BadInput naming every tensor (the first ten) that is missing, surplus or of another shape, with the shapes
    expected and found, of another type, or whose values are not finite numbers.
    """
    shapes = shapes_of(found)
    wrong = [_difference(n, expected.get(n), shapes.get(n)) for n in _ordered(expected, shapes) if not known(n)
             and expected.get(n) != shapes.get(n)]  # fmt: skip
    if wrong:
        raise BadInput(f"{_amount(wrong, 'does', 'do')} not fit: {_listed(wrong, '; ')}", where)
    types = {n: str(found[n].dtype).removeprefix("torch.") for n in expected if not found[n].is_floating_point()}
    whole = [f"{name} ({kind})" for name, kind in types.items()]
    if whole:
        what = f"{_amount(whole, 'holds', 'hold')} another type of number than floating point"
        raise BadInput(f"{what}: {_listed(whole, ', ')}; write the weights as float32", where)
    broken = [n for n in expected if not bool(torch.isfinite(found[n]).all())]
    if broken:
        what = f"{_amount(broken, 'holds', 'hold')} values that are no finite numbers"
        raise BadInput(f"{what}: {_listed(broken, ', ')}; take an earlier checkpoint", where)


def _ordered(expected: Shapes, shapes: Shapes) -> Iterable[str]:
    return [*expected, *(name for name in shapes if name not in expected)]


def _difference(name: str, expected: tuple[int, ...] | None, found: tuple[int, ...] | None) -> str:
    wanted = "not expected" if expected is None else f"expected {expected}"
    return f"{name}: {wanted}, " + ("not found" if found is None else f"found {found}")


def _amount(entries: list[str], one: str, several: str) -> str:
    return f"1 tensor {one}" if len(entries) == 1 else f"{len(entries)} tensors {several}"


def _listed(entries: list[str], separator: str) -> str:
    more = [f"and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return separator.join([*entries[:SHOWN], *more])
