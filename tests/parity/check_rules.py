"""Learning rates, captions, and the table of rules."""

import numpy as np

from medcoss.preprocess.captions import caption_sentences, clean_caption
from medcoss.training.optim import warmup_cosine
from tests.parity.check_buffer import check_size_tables
from tests.parity.models import Models
from tests.parity.report import Check


def check_schedule(check: Check, models: Models) -> None:
    """The learning rate at every stored epoch, to the last place of float64."""
    golden, told = check.golden, check.arguments
    names = {"base_lr": "peak", "min_lr": "floor", "warmup_epochs": "warmup", "epochs": "total"}
    values = {ours: float(told[name]) for name, ours in names.items()}
    for name, ours in names.items():
        if name in golden:
            check.equal(name, values[ours], float(golden.array(name)), name)
    mine = np.array([warmup_cosine(float(epoch), **values) for epoch in golden.array("epoch").ravel()])
    expected = golden.array("lr").ravel()
    # two units in the last place: C libraries differ in one of them
    off = np.abs(mine - expected) > 2 * np.spacing(np.abs(expected))
    check.equal("lr", int(off.sum()), 0)


def check_captions(check: Check, models: Models) -> None:
    """The sentences and the caption of every report, or that it has none."""
    listed = check.goldens.json(check.file)
    reports = listed["reports"]
    for field, ours in (("sentences", caption_sentences), ("caption", clean_caption)):
        wrong = [i for i, r in enumerate(reports) if ours(r["impression"], r["findings"]) != r[field]]
        check.equal(f"{field} of {len(reports)} reports", wrong, [])
    for extra in sorted(listed.keys() - {"reports", "tokenizer_call"}):
        check.fail(extra, "not understood")
    if "tokenizer_call" in listed:
        check.note("tokenizer_call", "how the published code calls its tokenizer; no number")


def check_rules(check: Check, models: Models) -> None:
    """Cluster counts and quotas by size; how many captions are kept."""
    rules = check.goldens.json(check.file)
    check_size_tables(check, rules.pop("buffer", {}))
    captions = rules.pop("captions", {})
    if captions and (check.goldens.folder / "captions.json").is_file():
        listed = check.goldens.json("captions.json")["reports"]
        kept = sum(clean_caption(r["impression"], r["findings"]) is not None for r in listed)
        check.equal("captions kept", kept, captions["kept"])
        check.equal("captions dropped", len(listed) - kept, captions["dropped"])
    check.note("captions.nan_impression", "a missing section is empty text to our recipes; the published code stops")
    for name in ("glas_channel_order", "versions", "image_seed"):
        if rules.pop(name, None) is not None:
            check.note(name, "tells how the goldens were made")
    for name in rules:
        check.fail(name, "not understood")
