"""Samples per second of our pre-training step against a plain PyTorch restatement of the published one.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --modalities report xray --batch 16 --steps 6 --faster bf16

Size base, the same samples and the same masks' sizes for both, each measured in turns within one run. The plain step
(`_plain_step.py`) embeds every patch, predicts every patch, computes logits for every token of reports padded to 112
and reads the loss back after every step; ours is the training loop of the library as a job runs it. Reports come from a
CSV with `findings` and `impression` columns (`--reports`; by default the real ones beside the project, if they are
there), because the lengths decide; without one, lengths are drawn from the quartiles of the OpenI collection.
`--faster` adds rows of our step in other precisions, `compile` standing for bf16 with torch.compile. Random weights.
"""

import argparse
import csv
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch.utils.data import Dataset

from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.data.tokenizer import Tokenizer, train_vocabulary
from medcoss.modalities import BUILTIN, Kind
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import LanguageHead, MaskedImageDecoder
from medcoss.preprocess.captions import clean_caption
from medcoss.run import LocalRun
from medcoss.specs.encoder import PATCH, SIZES
from medcoss.specs.records import DatasetInfo
from medcoss.training.distributed import Ranks
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.optim import adamw
from medcoss.training.pretrain import PretrainTask
from medcoss.training.steps import Batch, PretrainSteps, Source

try:
    from benchmarks._plain_step import LENGTH, VOCABULARY, PlainModel, PlainTrainer
except ImportError:
    from _plain_step import LENGTH, VOCABULARY, PlainModel, PlainTrainer

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MEDCOSS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TURNS = 3
# quartiles of the number of words in the cleaned reports of the OpenI collection
OPENI_QUARTILES = (5, 22, 32, 46, 112)


@dataclass(frozen=True)
class Prepared(Dataset[Batch]):
    """Batches that are made already, again and again: the step is measured, not the reading of files."""

    batches: list[Batch]

    def __getitem__(self, step: int) -> Batch:
        return self.batches[step % len(self.batches)]

    def turn(self, number: int, steps: int) -> "Prepared":
        """The batches of one turn: other reports in every turn."""
        return Prepared([self[number * steps + i] for i in range(steps)])


def captions(path: Path | None, count: int) -> list[str]:
    """Cleaned reports of a CSV, or word lists whose lengths follow those of OpenI."""
    rng = np.random.default_rng(0)
    if path is not None:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = [clean_caption(row["impression"], row["findings"]) for row in csv.DictReader(handle)]
        kept = [caption for caption in rows if caption]
        return [kept[i] for i in rng.permutation(len(kept))[:count]]
    words = np.array([f"word{i}" for i in range(2000)])
    lengths = np.interp(rng.random(count), np.linspace(0, 1, 5), OPENI_QUARTILES).astype(int)
    return [" ".join(rng.choice(words, n)) for n in lengths]


def prepared_reports(texts: list[str], batch: int, folder: Path) -> Prepared:
    """Masked batches of reports."""
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(train_vocabulary(texts, 30_522)) + "\n", encoding="utf-8")
    writer = ShardWriter(folder / "reports")
    for i, text in enumerate(texts):
        writer.add(Sample(id=str(i), split="train", source="reports.csv", group=str(i), text=text))
    writer.close(
        DatasetInfo(modality="report", kind=Kind.TEXT, samples=len(texts), splits={"train": len(texts)},
                    sample_shape=[LENGTH], recipe={})
    )  # fmt: skip
    reader = ShardReader(folder / "reports")
    source = Source(reader, False, reader.indices("train"), Tokenizer(vocabulary))
    steps = PretrainSteps([source], batch_size=batch, epochs=1, seed=0, text_mask_ratio=0.15, mixup=True, augment=True)
    return Prepared([steps[i] for i in range(len(steps))])


def prepared_images(modality: str, batch: int) -> Prepared:
    """Random images or volumes; their values change nothing in the speed."""
    shape = BUILTIN[modality].size
    rng = np.random.default_rng(0)
    images = rng.random((batch, 3 if len(shape) == 2 else 1, *shape), dtype=np.float32)
    tokens = int(np.prod([n // PATCH for n in shape]))
    return Prepared([Batch(0, images=images, noise=rng.random((batch, tokens), dtype=np.float32))])


def padded(batch: Batch) -> tuple[torch.Tensor, ...]:
    """The same batch as the published step takes it: images, or reports padded to 112 tokens."""
    if batch.images is not None:
        return (torch.from_numpy(batch.images),)
    assert batch.ids is not None and batch.attention is not None and batch.labels is not None
    width = ((0, 0), (0, LENGTH - batch.ids.shape[1]))
    ids, attention = np.pad(batch.ids, width), np.pad(batch.attention, width)
    return tuple(torch.from_numpy(x) for x in (ids, attention, np.pad(batch.labels, width, constant_values=-100)))


def our_task(modality: str, batches: Prepared, folder: Path) -> PretrainTask:
    """The library's stage on one modality, at size base with the published number of word pieces."""
    config = replace(SIZES["base"], vocabulary=VOCABULARY)
    torch.manual_seed(0)
    encoder = Encoder(config)
    encoder.set_drop_path(0.1)
    known = BUILTIN[modality]
    if known.kind is Kind.TEXT:
        head: torch.nn.Module = LanguageHead(config)
    else:
        kind = "2d" if known.kind is Kind.IMAGE2D else "3d"
        tokens = int(np.prod([n // PATCH for n in known.size]))
        head = MaskedImageDecoder(config, {kind: (tokens, 768 if kind == "2d" else PATCH**3)})
    reader = _Described(known.kind, modality)
    return PretrainTask(encoder, [head], None, [Source(reader, False, np.zeros(0, np.int64))], 0.75)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Described:
    """Stands for a dataset whose batches are made already."""

    kind: Kind
    modality: str

    @property
    def info(self) -> "_Described":
        """What a task asks of a dataset: its kind and modality."""
        return self


class Ours:
    """The library's loop over prepared batches; every turn goes on with the same weights."""

    def __init__(self, task: PretrainTask, ranks: Ranks, folder: Path, precision: str, compiled: bool) -> None:
        self.task, self.ranks, self.folder = task, ranks, folder
        task.modules.to(ranks.device)
        self.optimizer = adamw(task.modules, 3e-4, 0.05, (0.9, 0.95))
        self.settings = {"seed": 0, "checkpoint_minutes": 1e6, "precision": precision, "compile": compiled}

    def run(self, batches: Prepared) -> dict[str, float]:
        """Train one step on each batch; the metrics of all of them."""
        steps = len(batches.batches)
        run = LocalRun(Path(tempfile.mkdtemp(dir=self.folder)))
        settings = LoopSettings(**self.settings, log_every=steps)  # type: ignore[arg-type]
        Loop(self.task, self.optimizer, batches, steps, lambda _: 3e-4, run, settings, self.ranks).run()
        return run.history[-1][1]


def turn_of_plain(plain: PlainTrainer, batches: Prepared, batch: int) -> float:
    """Samples per second of the plain step."""
    inputs = [padded(one) for one in batches.batches]
    began = time.perf_counter()
    for one in inputs:
        plain.step(one)
    return len(inputs) * batch / (time.perf_counter() - began)


def measure(modality: str, options: argparse.Namespace, ranks: Ranks, folder: Path) -> list[tuple[str, ...]]:
    """Rows of the table for one modality: the two steps in turns, then the faster precisions."""
    if modality == "report":
        batches = prepared_reports(captions(options.reports, 40 * options.batch), options.batch, folder)
    else:
        batches = prepared_images(modality, options.batch)
    same = Ours(our_task(modality, batches, folder), ranks, folder, options.precision, False)
    plain = PlainTrainer(PlainModel({"2d": 196, "3d": 144}), ranks.device)
    # the first steps allocate memory, and count the operations of every shape
    turn_of_plain(plain, batches.turn(TURNS, 2), options.batch)
    same.run(batches.turn(TURNS, 2))
    speeds: dict[str, list[float]] = {"plain": [], "ours": []}
    last: dict[str, float] = {}
    turns = [batches.turn(number, options.steps) for number in range(TURNS)]
    for turn in turns:
        speeds["plain"].append(turn_of_plain(plain, turn, options.batch))
        last = same.run(turn)
        speeds["ours"].append(last["samples_per_s"])
    base = statistics.harmonic_mean(speeds["plain"])
    rows = [_row(modality, "plain", "fp16" if ranks.device.type == "cuda" else "fp32", speeds["plain"], base, {})]
    rows.append(_row(modality, "ours", options.precision, speeds["ours"], base, last))
    del plain, same
    for faster in options.faster:
        ours = Ours(our_task(modality, batches, folder), ranks, folder, "bf16" if faster == "compile" else faster,
                    faster == "compile")  # fmt: skip
        ours.run(batches.turn(TURNS, 2))
        runs = [ours.run(turn) for turn in turns]
        rows.append(_row(modality, "ours", faster, [r["samples_per_s"] for r in runs], base, runs[-1]))
        del ours
    return rows


def _row(modality: str, who: str, how: str, speeds: list[float], base: float, last: dict[str, Any]) -> tuple[str, ...]:
    # as many samples in every turn: the harmonic mean is the speed over all turns
    mean = statistics.harmonic_mean(speeds)
    spread = f"{min(speeds):.2f}-{max(speeds):.2f}"
    use = f"{last['mfu']:.1%}" if "mfu" in last else ""
    work = f"{last['tflops_per_s']:.3f}" if last else ""
    return modality, who, how, f"{mean:.2f}", spread, f"{mean / base:.2f}", work, use


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--modalities", nargs="+", default=list(BUILTIN), choices=list(BUILTIN))
    parser.add_argument("--batch", type=int, default=16, help="samples a step")
    parser.add_argument("--steps", type=int, default=4, help="steps a turn; three turns are taken")
    parser.add_argument(
        "--precision", default="fp32", choices=["fp32", "fp16", "bf16"], help="of our step beside the plain one"
    )
    parser.add_argument("--faster", nargs="*", default=["bf16"], choices=["bf16", "fp16", "compile"])
    known = DATA / "reports" / "reports.csv"
    parser.add_argument("--reports", type=Path, default=known if known.is_file() else None)
    options = parser.parse_args()
    ranks = Ranks.join()
    name = torch.cuda.get_device_name() if ranks.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; {platform.machine()}; torch {torch.__version__}; size base, batch {options.batch}")
    print(f"reports: {'given' if options.reports else 'lengths drawn from the quartiles of OpenI'}")
    heads = ("modality", "step", "precision", "samples/s", "range", "ratio", "TFLOP/s", "MFU")
    print(("{:<10} {:<6} {:<8} {:>10} {:>15} {:>6} {:>8} {:>6}").format(*heads))
    with tempfile.TemporaryDirectory() as folder:
        for modality in options.modalities:
            work = Path(folder) / modality
            work.mkdir()
            for row in measure(modality, options, ranks, work):
                print(("{:<10} {:<6} {:<8} {:>10} {:>15} {:>6} {:>8} {:>6}").format(*row), flush=True)


if __name__ == "__main__":
    main()
