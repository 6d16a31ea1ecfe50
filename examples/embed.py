"""Turn files into embeddings, and find the image that is most like each.

    python examples/embed.py OUT --model ENCODER --modality xray one.png two.dcm three.jpg

Without arguments: the encoder and the test images of examples/pretrain.py (made now if they are not there).
"""

import argparse
from pathlib import Path

import numpy as np
from pretrain import first_stage

from medcoss import embed

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples-output"), help="folder to write to")
    parser.add_argument("files", type=Path, nargs="*", help="images or volumes")
    parser.add_argument("--model", type=Path, help="output of pretrain or of finetune for classification")
    parser.add_argument("--modality", default="xray", help="what the files are")
    arguments = parser.parse_args()
    folder = arguments.out
    encoder = arguments.model or folder / "encoder"
    if not arguments.model and not (encoder / "model").exists():
        first_stage(folder)
    files = arguments.files or sorted(p for p in (folder / "raw" / "xray" / "test").rglob("*") if p.is_file())

    rows = embed(encoder, files, modality=arguments.modality)

    np.save(folder / "embeddings.npy", rows)
    print(f"{folder / 'embeddings.npy'}: {rows.shape[0]} embeddings of {rows.shape[1]} numbers")
    # what all images share would hide what tells them apart
    centred = rows - rows.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    likeness = centred @ centred.T
    np.fill_diagonal(likeness, -1)
    for file, nearest in zip(files, likeness.argmax(axis=1), strict=True):
        print(f"{file.parent.name}/{file.name} is most like {files[nearest].parent.name}/{files[nearest].name}")
