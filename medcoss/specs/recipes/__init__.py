"""The parameters of every recipe, one file each: a file that is added here is a recipe, nothing else names it."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from medcoss.specs.recipes.base import RecipeSpec


def _found() -> dict[str, type[RecipeSpec]]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    members = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    # bases have no name of their own
    specs = [m for m in members if issubclass(m, RecipeSpec) and not m.model_fields["name"].is_required()]
    return {spec.model_fields["name"].default: spec for spec in sorted(specs, key=lambda s: s.__name__)}


RECIPES: dict[str, type[RecipeSpec]] = _found()

if TYPE_CHECKING:
    Recipe = RecipeSpec
else:
    Recipe = Annotated[Union[tuple(RECIPES.values())], Field(discriminator="name")]  # noqa: UP007 - made of a tuple
