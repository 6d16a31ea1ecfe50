"""WordPiece over reports, with a vocabulary in BERT's format, through the `tokenizers` library."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from medcoss.run import BadInput
from medcoss.specs.encoder import REPORT_LENGTH

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class Encoded:
    """One report as numbers, each array of shape (length,), int64.

    `words` is the index of the word a token belongs to, -1 for special tokens and padding.
    """

    ids: NDArray[np.int64]
    attention: NDArray[np.int64]
    words: NDArray[np.int64]


def _pipeline(model: models.WordPiece) -> HfTokenizer:
    tokenizer = HfTokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def train_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """A WordPiece vocabulary of at most `size` tokens, learnt from `texts`, special tokens first.

    The same texts always give the same vocabulary.
    """
    texts = list(texts)
    tokenizer = _pipeline(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    # the trainer numbers word-inner letters in the random order of a hash table, and breaks ties between
    # merges by number; with the numbers given, nothing is left to chance
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*SPECIAL, *_inner_letters(tokenizer, texts)], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=lambda token: vocabulary[token])


def learn_vocabulary(texts: Iterable[str], size: int, folder: Path) -> Path:
    """Write the vocabulary that is learnt from `texts` into `folder` as `vocab.txt`; its path."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(train_vocabulary(texts, size)) + "\n", encoding="utf-8")
    return path


def _inner_letters(tokenizer: HfTokenizer, texts: list[str]) -> list[str]:
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    words = {word for text in texts for word, _ in split(tokenizer.normalizer.normalize_str(text))}
    return sorted({f"##{letter}" for word in words for letter in word[1:]})


def vocabulary_in(folder: Path) -> Path:
    """The one `.txt` file of a folder. Raises BadInput when there is none, or several and none is `vocab.txt`."""
    found = sorted(p for p in folder.rglob("*.txt") if p.is_file())
    named = [p for p in found if p.name == "vocab.txt"]
    if len(named) == 1 or len(found) == 1:
        return (named or found)[0]
    raise BadInput(f"{len(found)} text files found; expected one vocab.txt with a word piece a line", "vocabulary")


class Tokenizer:
    """Reports to token ids. `vocabulary` is a `vocab.txt`: one token a line, line number = id.

    Raises BadInput when it is no UTF-8 text, and naming the special tokens that are missing.
    """

    def __init__(self, vocabulary: Path) -> None:
        try:
            # a byte order mark, as Windows editors write it, is no part of the first token
            text = vocabulary.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise BadInput("the vocabulary is not UTF-8 text; save it in UTF-8, one token a line",
                           vocabulary.name) from None  # fmt: skip
        # not splitlines: a token may be a rare line separator
        tokens = text.removesuffix("\n").split("\n")
        ids = {token: i for i, token in enumerate(tokens)}
        missing = [token for token in SPECIAL if token not in ids]
        if missing:
            raise BadInput(f"the vocabulary lacks {', '.join(missing)}; expected a BERT vocab.txt", vocabulary.name)
        self.size = len(tokens)
        self.tokens = tokens
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (ids[token] for token in SPECIAL)
        self._tokenizer = _pipeline(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106
        self._tokenizer.post_processor = processors.BertProcessing(("[SEP]", self.sep_id), ("[CLS]", self.cls_id))

    def encode(self, text: str, length: int = REPORT_LENGTH) -> Encoded:
        """Token ids of `text` between [CLS] and [SEP], cut and padded to `length`."""
        self._tokenizer.enable_truncation(length)
        found = self._tokenizer.encode(text)
        ids = np.full(length, self.pad_id, dtype=np.int64)
        attention = np.zeros(length, dtype=np.int64)
        words = np.full(length, -1, dtype=np.int64)
        n = len(found.ids)
        ids[:n], attention[:n] = found.ids, 1
        words[:n] = [-1 if word is None else word for word in found.word_ids]
        return Encoded(ids, attention, words)

    def lengths(self, texts: list[str], length: int = REPORT_LENGTH) -> NDArray[np.int64]:
        """Number of tokens (N,) of each text, special ones included, at most `length`."""
        self._tokenizer.enable_truncation(length)
        return np.array([len(found.ids) for found in self._tokenizer.encode_batch_fast(texts)], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The tokens of `ids` as text, word pieces joined, padding left out."""
        pieces = [self.tokens[i] for i in ids if i != self.pad_id]
        return " ".join(pieces).replace(" ##", "")
