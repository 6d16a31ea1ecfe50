"""Parameters of the recipe `pubmed20k_rct`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import RecipeSpec


class Pubmed20kRct(RecipeSpec):
    """PubMed 20k RCT: sentences of abstracts of trials, each with its role in the abstract."""

    suffixes: ClassVar[tuple[str, ...]] = ("train.txt", "dev.txt", "test.txt")
    expected: ClassVar[str] = "text files train.txt, dev.txt and test.txt"

    name: Literal["pubmed20k_rct"] = documented("always pubmed20k_rct", default="pubmed20k_rct")
    modality: Literal["report"] = documented("always report", default="report")
