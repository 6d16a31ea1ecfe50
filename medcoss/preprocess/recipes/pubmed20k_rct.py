"""PubMed 20k RCT: sentences of abstracts, five roles (Dernoncourt and Lee, 2017, github.com/Franck-Dernoncourt).

Expected layout: `train.txt`, `dev.txt` and `test.txt` of one of the released folders (`PubMed_20k_RCT`, or
`..._numbers_replaced_with_at_sign`). In a file, an abstract is a line `###<PMID>`, then a line `<LABEL><tab><sentence>`
for each sentence, then a blank line. The files are train, val and test; the abstract stands for the patient, so that
one that is in two splits is told. Samples are the sentences as they are, with a class; a tokenizer cuts and pads them
to 112 tokens.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from medcoss.modalities import Kind
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.run import BadInput
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.names import SPLIT_NAMES
from medcoss.specs.recipes.pubmed20k_rct import Pubmed20kRct

CLASSES = ("BACKGROUND", "OBJECTIVE", "METHODS", "RESULTS", "CONCLUSIONS")
FILES = ("train.txt", "dev.txt", "test.txt")


def describe(spec: Pubmed20kRct) -> Described:
    """Sentences of five classes."""
    return Described(Kind.TEXT, (REPORT_LENGTH,), classes=CLASSES)


def plan(spec: Pubmed20kRct, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every sentence. Raises BadInput when several releases lie together."""
    files = [path for path in raw.files(spec.suffixes) if PurePosixPath(path).name in FILES]
    folders = sorted({str(PurePosixPath(path).parent) for path in files})
    if len(folders) > 1:
        raise BadInput(f"{', '.join(folders)} hold the same abstracts; expected one of the released folders", "dataset")
    for path in files:
        yield from _sentences(raw, path)


def make(spec: Pubmed20kRct, item: Item, raw: Raw) -> Iterator[Made]:
    """One sentence."""
    yield Made(text=captioned(item.data, spec))


def captioned(text: str, spec: Pubmed20kRct) -> str:
    """A sentence as it is, without blanks around it; serving does the same. Raises BadInput when nothing is left."""
    if not text.strip():
        raise BadInput("the sentence is empty; expected text", "text")
    return text.strip()


def _sentences(raw: Raw, path: str) -> Iterator[Item | Rejected]:
    split = SPLIT_NAMES[PurePosixPath(path).stem]
    abstract = ""
    try:
        with raw.path(path).open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.startswith("###"):
                    abstract = line[3:].strip()
                    continue
                if not line.strip():
                    continue
                label, _, sentence = line.rstrip("\n").partition("\t")
                if not abstract or label not in CLASSES or not sentence.strip():
                    yield Rejected(f"{path}:{number}", f"expected ###<PMID>, and in its abstract one of "
                                   f"{', '.join(CLASSES)}, a tab and a sentence")  # fmt: skip
                    continue
                yield Item(f"{path}:{number}", patient=abstract, split=split, label=label, data=sentence)
    except UnicodeDecodeError:
        raise BadInput("the file is not UTF-8 text; expected the file as released", path) from None
