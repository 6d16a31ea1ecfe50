"""Reports become the same numbers every time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.data.tokenizer import SPECIAL, Tokenizer, train_vocabulary, vocabulary_in
from medcoss.run import BadInput

TEXTS = [
    "the lungs are clear without focal consolidation",
    "no pneumothorax or pleural effusion",
    "heart size is normal no cardiomegaly",
    "cardiomediastinal silhouette is unremarkable no effusion",
    "mild cardiomegaly with small bilateral effusions",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(train_vocabulary(TEXTS, 120)) + "\n", encoding="utf-8")
    return Tokenizer(path)


@pytest.mark.parametrize("size", [60, 120, 1000])
def test_the_same_texts_give_the_same_vocabulary(size: int) -> None:
    # a resumed run learns it again: other numbers would be other words to the model
    vocabularies = {tuple(train_vocabulary(TEXTS, size)) for _ in range(8)}
    assert len(vocabularies) == 1
    (vocabulary,) = vocabularies
    assert list(vocabulary[:5]) == SPECIAL
    assert len(vocabulary) <= size
    assert len(set(vocabulary)) == len(vocabulary)


def test_frequent_words_become_whole_tokens() -> None:
    assert {"effusion", "no", "is"} <= set(train_vocabulary(TEXTS, 200))


def test_encoding_is_framed_and_padded(tokenizer: Tokenizer) -> None:
    found = tokenizer.encode("no effusion", 16)
    n = int(found.attention.sum())
    assert found.ids[0] == tokenizer.cls_id
    assert found.ids[n - 1] == tokenizer.sep_id
    assert (found.ids[n:] == tokenizer.pad_id).all()
    assert found.attention.tolist() == [1] * n + [0] * (16 - n)
    assert found.words[0] == found.words[n - 1] == found.words[-1] == -1
    assert found.words[1 : n - 1].min() == 0
    assert all(array.shape == (16,) and array.dtype == np.int64 for array in (found.ids, found.attention, found.words))
    assert tokenizer.decode(found.ids[1 : n - 1]) == "no effusion"


def test_word_pieces_know_their_word(tokenizer: Tokenizer) -> None:
    found = tokenizer.encode("no fornix", 32)
    pieces = [tokenizer.tokens[i] for i in found.ids]
    for i in range(2, int(found.attention.sum()) - 1):
        assert (found.words[i] == found.words[i - 1]) == pieces[i].startswith("##")


def test_long_reports_are_cut_and_still_end(tokenizer: Tokenizer) -> None:
    found = tokenizer.encode("no effusion " * 200)
    assert found.ids.shape == (112,)
    assert found.attention.all()
    assert found.ids[-1] == tokenizer.sep_id


@settings(max_examples=60)
@given(st.text(max_size=80))
def test_any_text_can_be_encoded(tokenizer: Tokenizer, text: str) -> None:
    found = tokenizer.encode(text, 24)
    assert found.ids.min() >= 0
    assert found.ids.max() < tokenizer.size
    assert found.attention[0] == 1
    assert (np.diff(found.attention) <= 0).all()


def test_rare_line_separators_do_not_shift_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, "a\u2028b", "word"]) + "\n", encoding="utf-8")
    tokenizer = Tokenizer(path)
    assert tokenizer.size == 7
    assert tokenizer.encode("word", 4).ids[1] == 6


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\nword\n")
    with pytest.raises(BadInput, match=r"vocab\.txt: .*\[SEP\], \[MASK\]"):
        Tokenizer(path)


def test_a_vocabulary_of_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("\n".join([*SPECIAL, "ödem"]).encode("latin-1"))
    with pytest.raises(BadInput, match=r"vocab\.txt: the vocabulary is not UTF-8 text; save it in UTF-8, one token"):
        Tokenizer(path)


def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join([*SPECIAL, "word"]).encode("utf-8-sig"))
    assert Tokenizer(path).tokens == [*SPECIAL, "word"]


def test_lengths_are_those_of_the_encoded_reports(tokenizer: Tokenizer) -> None:
    texts = [*TEXTS, "", "effusion " * 200]
    expected = [int(tokenizer.encode(text).attention.sum()) for text in texts]
    assert tokenizer.lengths(texts).tolist() == expected
    assert expected[-1] == 112


def test_a_vocabulary_is_found_in_an_upload(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"vocabulary: 0 text files found; expected one vocab\.txt"):
        vocabulary_in(tmp_path)
    (tmp_path / "words.txt").write_text("a")
    assert vocabulary_in(tmp_path).name == "words.txt"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "vocab.txt").write_text("a")
    assert vocabulary_in(tmp_path).name == "vocab.txt"
    (tmp_path / "vocab.txt").write_text("a")
    with pytest.raises(BadInput, match="3 text files found"):
        vocabulary_in(tmp_path)
