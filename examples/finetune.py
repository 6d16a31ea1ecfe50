"""Fine-tune a classifier, or a segmenter, on an encoder.

    python examples/finetune.py OUT --model ENCODER --data PREPARED --task segmentation --steps 5000

Without arguments: a classifier on the encoder and the images of examples/pretrain.py (made now if they are not there).
"""

import argparse
from pathlib import Path

from pretrain import first_stage

from medcoss import finetune

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples-output"), help="folder to write to")
    parser.add_argument("--model", type=Path, help="output of pretrain")
    parser.add_argument("--data", type=Path, help="prepared dataset with class labels or masks")
    parser.add_argument("--task", default="classification", help="classification or segmentation")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps")
    arguments = parser.parse_args()
    folder = arguments.out
    encoder = arguments.model or folder / "encoder"
    if not arguments.model and not (encoder / "model").exists():
        first_stage(folder)

    info = finetune(arguments.data or folder / "xray", folder / arguments.task, arguments.task, init_model=encoder,
                    max_steps=arguments.steps, batch_size=16, lr=1e-3, resume=True)  # fmt: skip

    print(f"{info.task} of {info.modality}: {', '.join(info.classes or [])}")
    for name, score in info.metrics.items():
        print(f"{name:<16} {score:.3f}")
