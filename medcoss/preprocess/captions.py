"""Cleaning of radiology reports into captions, by the rules of the published pre-training."""

import re

_SENTENCE_END = re.compile(r"[0-9]+\.|\.")
_WORDS = re.compile(r"\w+")


def caption_sentences(impression: str, findings: str, min_tokens: int = 3) -> list[str] | None:
    """The cleaned sentences of a report, or None when it has fewer than `min_tokens` tokens.

    Sentences end at every period, with the number before it if there is one; tokens are
    lower-cased runs of word characters without what is not ASCII; sentences of fewer
    than two tokens are left out.
    """
    sentences: list[list[str]] = []
    for piece in _SENTENCE_END.split(f"{impression} {findings}".replace("\n", " ")):
        tokens = _WORDS.findall(piece.replace("\ufffd\ufffd", " ").lower())
        if len(tokens) < 2:
            continue
        kept = [token.encode("ascii", "ignore").decode() for token in tokens]
        sentences.append([token for token in kept if token])
    if sum(map(len, sentences)) < min_tokens:
        return None
    return [" ".join(tokens) for tokens in sentences if tokens]


def clean_caption(impression: str, findings: str, min_tokens: int = 3) -> str | None:
    """The sentences of a report as one caption, or None when it has fewer than `min_tokens` tokens."""
    sentences = caption_sentences(impression, findings, min_tokens)
    return None if sentences is None else " ".join(sentences)
