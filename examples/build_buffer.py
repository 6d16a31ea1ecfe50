"""Keep a rehearsal buffer of what an encoder has learnt, and learn reports without forgetting it: the second stage.

    python examples/build_buffer.py OUT --model ENCODER --data PREPARED --reports FOLDER_OF_CSV

Without arguments: the encoder and the images of examples/pretrain.py (made now if they are not there), and
synthetic reports.
"""

import argparse
from pathlib import Path

from pretrain import first_stage

from medcoss import build_buffer, prepare, pretrain
from medcoss.phantoms import reports


def synthetic_reports(folder: Path) -> Path:
    """A table of 600 reports."""
    for item in reports.items(seed=0):
        item.write(folder)
    return folder / "reports"


def second_stage(out: Path, model: Path, data: Path, table: Path, steps: int) -> None:
    """Write `out`/buffer, the chosen samples, `out`/reports and `out`/encoder2."""
    kept = build_buffer(model, data, out / "buffer", centers_fraction=0.05, buffer_fraction=0.2, resume=True)
    print(f"the buffer holds {kept.samples} samples of {kept.modality}")
    prepare(table, out / "reports", recipe="openi_reports", resume=True)
    info = pretrain(out / "reports", out / "encoder2", init_model=model, rehearsal=out / "buffer", max_steps=steps,
                    batch_size=16, vocabulary_size=1000, resume=True)  # fmt: skip
    print(f"stage {info.stage}: the encoder knows {', '.join(info.modalities)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples-output"), help="folder to write to")
    parser.add_argument("--model", type=Path, help="output of pretrain")
    parser.add_argument("--data", type=Path, help="the prepared dataset that it has just learnt")
    parser.add_argument("--reports", type=Path, help="folder of CSV tables with study_id, findings and impression")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps of the second stage")
    arguments = parser.parse_args()
    folder = arguments.out
    encoder = arguments.model or folder / "encoder"
    if not arguments.model and not (encoder / "model").exists():
        first_stage(folder)
    table = arguments.reports or synthetic_reports(folder / "raw")
    second_stage(folder, encoder, arguments.data or folder / "xray", table, arguments.steps)
