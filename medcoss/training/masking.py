"""Whole-word masking of reports."""

import numpy as np
from numpy.typing import NDArray

from medcoss.data.tokenizer import Encoded, Tokenizer

IGNORED = -100
Ids = NDArray[np.int64]


def mask_words(encoded: Encoded, tokenizer: Tokenizer, ratio: float, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Masked ids and labels, each (L,): whole words are drawn until `ratio` of the word pieces are used.

    Of the drawn word pieces 80 % become [MASK], 10 % a random word piece, 10 % stay
    (Devlin et al., 2019); labels are -100 elsewhere. At least one word is drawn.
    """
    ids, labels = encoded.ids.copy(), np.full_like(encoded.ids, IGNORED)
    words = encoded.words
    budget = max(round(ratio * int((words >= 0).sum())), 1)
    used = 0
    for word in rng.permutation(np.unique(words[words >= 0])):
        places = np.flatnonzero(words == word)
        if used and used + len(places) > budget:
            continue
        used += len(places)
        labels[places] = ids[places]
        draw = rng.random(len(places))
        random_ids = rng.integers(0, tokenizer.size, len(places))
        ids[places] = np.where(draw < 0.8, tokenizer.mask_id, np.where(draw < 0.9, random_ids, ids[places]))
        if used >= budget:
            break
    return ids, labels
