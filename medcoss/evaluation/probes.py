"""What a frozen encoder knows: linear probes of its features, and pretext losses on held-out samples.

A pretext loss can be read with the head that was trained together with the encoder, which says what is still
there for it to read, or with a fresh head trained on the frozen encoder, which says what could be read.
"""

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.data.sampler import epoch_batches
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.metrics import classification_scores
from medcoss.modalities import Kind
from medcoss.models.encoder import Embedder, Encoder
from medcoss.models.pretext import (
    ImageKind,
    LanguageHead,
    MaskedImageDecoder,
    image_kind,
    random_mask,
    reconstruction_loss,
)
from medcoss.models.registry import PRETEXT, load_encoder
from medcoss.run import BadInput
from medcoss.specs.encoder import PATCH
from medcoss.training.features import model_inputs
from medcoss.training.masking import IGNORED, mask_words

PENALTIES = [float(c) for c in np.logspace(-4, 2, 7)]
FOLDS = 5
MASK_RATIO, TEXT_MASK_RATIO = 0.75, 0.15
Indices = NDArray[np.int64]
PretextHead = LanguageHead | MaskedImageDecoder


def frozen_features(encoder: Encoder, reader: ShardReader, indices: Indices, *, tokenizer: Tokenizer | None = None,
                    batch_size: int = 64) -> NDArray[np.float32]:  # fmt: skip
    """Features (N, d) of samples, the mean over their tokens, without masking or augmentation."""
    embedder, device = Embedder(encoder, reader.info.kind, reader.info.modality).eval(), encoder.class_token.device
    rows = []
    for start in range(0, len(indices), batch_size):
        inputs = model_inputs(reader, indices[start : start + batch_size], tokenizer)
        with torch.inference_mode():
            rows.append(embedder(*(x.to(device) for x in inputs)).float().cpu().numpy())
    return np.concatenate(rows)


def linear_probe(train: NDArray[np.floating], train_labels: NDArray[np.integer], test: NDArray[np.floating],
                 test_labels: NDArray[np.integer], seed: int = 0) -> dict[str, float]:  # fmt: skip
    """Scores on `test` (M, d) of a logistic regression fitted on the standardised features `train` (N, d).

    Classes weigh the same, whatever their size; the penalty is chosen by cross-validation within `train`. The same
    arguments always give the same scores: `accuracy`, `balanced_accuracy`, `f1`, `auc` (see
    `medcoss.evaluation.metrics.classification_scores`) and the `penalty` chosen. Labels are 0 to K - 1.
    Raises BadInput when a class has fewer training samples than there are folds.
    """
    smallest = int(np.bincount(train_labels).min())
    if smallest < FOLDS:
        raise BadInput(f"a class has {smallest} training samples; a linear probe needs at least {FOLDS} of each",
                       "dataset")  # fmt: skip
    # Newton's method solves systems of d times K unknowns: minutes for wide features of many classes
    regression = LogisticRegression(solver="lbfgs", tol=1e-8, max_iter=10_000, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression)
    search = GridSearchCV(
        model,
        {"logisticregression__C": PENALTIES},
        scoring="balanced_accuracy",
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed),
    )
    # the systems are small: threads of several processes on the same cores wait for each other
    with threadpool_limits(1):
        search.fit(train.astype(np.float64), train_labels)
        probabilities = search.predict_proba(test.astype(np.float64))
    scores = classification_scores(probabilities, test_labels)
    scores["balanced_accuracy"] = float(balanced_accuracy_score(test_labels, probabilities.argmax(axis=1)))
    return scores | {"penalty": float(search.best_params_["logisticregression__C"])}


def nearest_neighbours(train: NDArray[np.floating], train_labels: NDArray[np.integer], test: NDArray[np.floating],
                       test_labels: NDArray[np.integer], neighbours: int) -> float:  # fmt: skip
    """Balanced accuracy on `test` (M, d) when the nearest `neighbours` of `train` (N, d) by cosine vote, nearer ones
    with more weight (Wu et al., CVPR 2018).
    """
    vote = KNeighborsClassifier(min(neighbours, len(train)), metric="cosine", weights="distance", algorithm="brute")
    vote.fit(train.astype(np.float64), train_labels)
    return float(balanced_accuracy_score(test_labels, vote.predict(test.astype(np.float64))))


def pretext_head(folder: Path, kind: Kind | None = None) -> PretextHead:
    """The pretext head that a model folder keeps of its last stage, in evaluation mode; `kind` chooses among those of a
    stage that has learnt several modalities.

    Raises BadInput when there is none, as in models that were fine-tuned.
    """
    encoder, info = load_encoder(folder, "model")
    kind = kind or info.kind
    tensors = load_file(folder / "model.safetensors")
    part = PRETEXT + ("language." if kind is Kind.TEXT else "decoder.")
    weights = {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
    if not weights:
        raise BadInput(f"this model holds no pretext head for '{info.modality}' ({part}*); expected the folder that a "
                       "pre-training stage wrote", folder.name)  # fmt: skip
    head = LanguageHead(encoder.config) if kind is Kind.TEXT else _decoder_of(encoder, weights)
    head.load_state_dict(weights)
    return head.eval()


def _decoder_of(encoder: Encoder, weights: dict[str, Tensor]) -> MaskedImageDecoder:
    kinds: tuple[ImageKind, ...] = ("2d", "3d")
    inputs: dict[ImageKind, tuple[int, int]] = {
        kind: (weights[f"positions.{kind}"].shape[1] - 1, len(weights[f"pixels.{kind}.bias"]))
        for kind in kinds
        if f"positions.{kind}" in weights
    }
    return MaskedImageDecoder(encoder.config, inputs)


def pretext_loss(encoder: Encoder, head: PretextHead, reader: ShardReader, indices: Indices, *,
                 tokenizer: Tokenizer | None = None, repeats: int = 1, seed: int = 0,
                 batch_size: int = 64) -> float:  # fmt: skip
    """Mean pretext loss of samples without augmentation, each under `repeats` masks that depend on `seed` alone.

    Cross-entropy in nats per masked word piece for reports; mean squared error of the masked patches, each normalised
    by its own mean and deviation (so that 1 is the error of predicting its mean), for images and volumes.
    """
    total, terms = 0.0, 0
    encoder.eval()
    head.eval()
    if tokenizer is not None:
        # reports of about the same length together: less padding
        indices = indices[np.argsort(_lengths(reader, indices, tokenizer), kind="stable")]
    with torch.no_grad():
        for repeat in range(repeats):
            for start in range(0, len(indices), batch_size):
                chosen = indices[start : start + batch_size]
                loss, count = _loss(encoder, head, reader, chosen, tokenizer, [seed, repeat])
                total, terms = total + float(loss) * count, terms + count
    return total / terms


def fit_head(encoder: Encoder, reader: ShardReader, indices: Indices, *, tokenizer: Tokenizer | None = None,
             steps: int = 200, batch_size: int = 32, lr: float = 1e-3, seed: int = 0,
             learn_embedding: bool = False) -> tuple[Encoder, PretextHead]:  # fmt: skip
    """A pretext head trained from scratch on the frozen encoder, with a cosine from `lr` to 0; both are returned.

    `learn_embedding` trains the embedding of the samples' kind along, for an encoder that has never learnt that kind.
    The given encoder is not changed.
    """
    torch.manual_seed(seed)
    encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
    head = _new_head(encoder, reader).to(encoder.class_token.device)
    trained = list(head.parameters())
    if learn_embedding:
        trained += [p.requires_grad_() for p in _embedding(encoder, reader).parameters()]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    lengths = _lengths(reader, indices, tokenizer) if tokenizer is not None else None
    for step, chosen in enumerate(_drawn(indices, batch_size, steps, seed, lengths)):
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss, _ = _loss(encoder, head, reader, chosen, tokenizer, [seed, step])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return encoder.requires_grad_(True), head.eval()


def _new_head(encoder: Encoder, reader: ShardReader) -> PretextHead:
    if reader.info.kind is Kind.TEXT:
        return LanguageHead(encoder.config)
    kind: ImageKind = "2d" if reader.info.kind is Kind.IMAGE2D else "3d"
    sizes = reader.info.sample_shape[1:]
    tokens = math.prod(n // PATCH for n in sizes)
    return MaskedImageDecoder(encoder.config, {kind: (tokens, PATCH ** len(sizes) * (3 if kind == "2d" else 1))})


def _embedding(encoder: Encoder, reader: ShardReader) -> nn.Module:
    kind = reader.info.kind
    if reader.info.modality in encoder.own_embeddings:
        return encoder.own_embeddings[reader.info.modality]
    if kind is Kind.TEXT:
        assert encoder.text_embedding is not None
        return encoder.text_embedding
    return encoder.image_embedding if kind is Kind.IMAGE2D else encoder.volume_embedding


def _lengths(reader: ShardReader, indices: Indices, tokenizer: Tokenizer) -> Indices:
    return tokenizer.lengths([reader.text(int(i)) for i in indices])


def _drawn(indices: Indices, batch_size: int, steps: int, seed: int, lengths: Indices | None) -> Iterator[Indices]:
    """`steps` batches, every sample once an epoch, in an order of batches drawn anew each epoch."""
    done, epoch = 0, 0
    while done < steps:
        batches = epoch_batches(len(indices), batch_size, seed, epoch, lengths)
        for number in np.random.default_rng([seed, epoch]).permutation(len(batches))[: steps - done]:
            yield indices[batches[number]]
            done += 1
        epoch += 1


def _loss(encoder: Encoder, head: PretextHead, reader: ShardReader, indices: Indices, tokenizer: Tokenizer | None,
          draw: list[int]) -> tuple[Tensor, int]:  # fmt: skip
    """Mean loss of a batch and the number of its terms; masks depend on `draw` and the sample alone."""
    device = encoder.class_token.device
    rngs = [np.random.default_rng([*draw, int(i)]) for i in indices]
    if isinstance(head, LanguageHead):
        assert tokenizer is not None
        encoded = [tokenizer.encode(reader.text(int(i))) for i in indices]
        masked = [mask_words(e, tokenizer, TEXT_MASK_RATIO, rng) for e, rng in zip(encoded, rngs, strict=True)]
        attention = np.stack([e.attention for e in encoded])
        longest = int(attention.sum(axis=1).max())
        ids, labels = (torch.from_numpy(np.stack(a)[:, :longest]).to(device) for a in zip(*masked, strict=True))
        hidden = encoder.encode_text(ids, torch.from_numpy(attention[:, :longest]).to(device))
        asked = labels != IGNORED
        return F.cross_entropy(head(hidden[asked]).float(), labels[asked]), int(asked.sum())
    images = model_inputs(reader, indices, None)[0].to(device)
    tokens = math.prod(n // PATCH for n in images.shape[2:])
    noise = torch.from_numpy(np.stack([rng.random(tokens, dtype=np.float32) for rng in rngs])).to(device)
    kept, removed = random_mask(noise, MASK_RATIO)
    predicted = head(encoder.encode_image(images, kept, reader.info.modality), kept, removed, image_kind(images))
    return reconstruction_loss(predicted, images, removed), len(indices)
