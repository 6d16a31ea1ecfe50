"""Options given as keyword arguments: checked, with errors for people, and shown by `help`."""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from medcoss.run import BadInput
from medcoss.specs.base import Spec

O = TypeVar("O", bound=Spec)  # noqa: E741 - one letter, as type variables are
F = TypeVar("F", bound=Callable[..., Any])
_NO_TUPLE = frozenset({"tuple_type", "missing", "too_short", "too_long"})
# by the first word of pydantic's error types
_WANTED = {"int": "a whole number", "float": "a number", "bool": "True or False", "string": "a text"}


def refuse_unknown(function: Any, given: Mapping[str, Any], known: list[str], caller: str = "") -> None:
    """Raise BadInput for the first of the `given` options that is not `known`, naming the nearest one that is."""
    code = function.__code__
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in (n for n in given if n not in known):
        candidates = [*known, *parameters]
        near = [n for n in candidates if name in n.split("_")] or get_close_matches(name, candidates, 1, 0.55)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"its options are {', '.join(known)}"
        raise BadInput(f"{caller or function.__name__} has no option '{name}'; {hint}")


def checked(model: type[O], values: Mapping[str, Any]) -> O:
    """The options with every default filled in. Raises BadInput for the first value that does not fit."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _for_people(model, error) from None


def _for_people(model: type[Spec], error: ValidationError) -> BadInput:
    first = error.errors()[0]
    kind, said = first["type"], first["msg"]
    field = model.model_fields.get(str(first["loc"][0])) if first["loc"] else None
    if field and kind in _NO_TUPLE and (several := _several(str(first["loc"][0]), field)):
        return BadInput(f"expected {several}, found {first['input']!r} ({_meaning(field)})", str(first["loc"][0]))
    if kind == "extra_forbidden":
        problem = "there is no such option"
    elif said.startswith("Input should be "):
        wanted = _WANTED.get(kind.split("_")[0]) or said.removeprefix("Input should be ")
        number = "a number " if wanted.startswith(("greater", "less")) else ""
        problem = f"expected {number}{wanted}, found {first['input']!r}"
    else:
        problem = said.removeprefix("Value error, ")
    return BadInput(f"{problem} ({_meaning(field)})" if field else problem, ".".join(map(str, first["loc"])))


def _several(name: str, field: FieldInfo) -> str:
    """What an option of several values wants, with an example; nothing for other options."""
    if get_origin(field.annotation) is not tuple:
        return ""
    members = get_args(field.annotation)
    if Ellipsis in members:
        return "several values, e.g. ('a', 'b')"
    axes = ("depth", "height", "width")[-len(members) :]
    words = f"{', '.join(axes[:-1])} and {axes[-1]}" if name == "size" else f"{len(members)} values"
    return f"{words}, e.g. {(16, 64, 64)[-len(members) :]}"


def _meaning(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = f" [{extra['unit']}]" if "unit" in extra else ""
    default = "" if field.default is PydanticUndefined else f"; default {_shown(field.default)}"
    return f"{field.description}{unit}{default}"


def _shown(value: Any) -> str:
    return repr(value.model_dump() if isinstance(value, Spec) else value)


def shows_options(*models: type[Spec], without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Make `help` and completion show the options behind `**options`, as their one definition describes them."""

    def decorate(function: F) -> F:
        fields = {n: f for m in models for n, f in m.model_fields.items() if n not in without}
        lines = [f"    {name}: {_meaning(field)}" for name, field in fields.items()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.annotation)
            for n, f in fields.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return decorate
