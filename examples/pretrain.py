"""Pre-train an encoder on a folder of X-ray images: the first stage.

    python examples/pretrain.py OUT --images FOLDER --size base --steps 100000

Without arguments: synthetic X-rays, a tiny model, a few steps. Ctrl-C writes a checkpoint; the same line goes on.
"""

import argparse
from pathlib import Path

from medcoss import prepare, pretrain
from medcoss.phantoms import xray


def synthetic_xrays(folder: Path) -> Path:
    """Every fourth image of the synthetic set, below train, validation and test, in class folders."""
    for item in xray.items(seed=0)[::4]:
        if not (folder / item.path).exists():
            item.write(folder)
    return folder / "xray"


def first_stage(out: Path, images: Path | None = None, size: str = "tiny", steps: int = 20) -> Path:
    """Write `out`/xray, the prepared images, and `out`/encoder."""
    pixels = 224 if images else 64
    data = prepare(images or synthetic_xrays(out / "raw"), out / "xray", modality="xray", size=(pixels, pixels),
                   labels="folders", resume=True)  # fmt: skip
    info = pretrain(out / "xray", out / "encoder", size=size, max_steps=steps, batch_size=32, resume=True)
    print(f"{data.samples} images prepared, {data.splits}; the encoder knows {', '.join(info.modalities)}")
    print(f"reconstruction loss {info.metrics['reconstruction/xray']:.3f}, pictures in {out / 'encoder' / 'artifacts'}")
    return out / "encoder"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples-output"), help="folder to write to")
    parser.add_argument("--images", type=Path, help="folder of PNG, JPEG, TIFF or DICOM images")
    parser.add_argument("--size", default="tiny", help="tiny, small, base or large")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps")
    arguments = parser.parse_args()
    first_stage(arguments.out, arguments.images, arguments.size, arguments.steps)
