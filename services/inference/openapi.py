"""The gateway's OpenAPI document, completed: its problems with headers and examples, and what names mean."""

from typing import Any

from services.core import problems

NEEDED = ("401", "413", "422", "429", "503")
# of calls that take an input
OF_INPUT = ("400", "404", "406", "408", "409", "504")
_MEANINGS = {409: "The model does not answer this call; `detail` names one that it answers"}
_PARAMETERS = {
    "index": "name of an index",
    "name": "name under which a model is served",
    "format": "of the answer; wins over the header Accept. file: the label map, as nifti or png",
    "slice": "axial slice of an overlay, counted from the feet; by default the one with most in it",
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it does not know."""
    problems.describe(document)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            told = ("503",) if path == "/readyz" else NEEDED if path.startswith("/v1/") else ()
            answers = operation["responses"]
            answers.pop("422", None)
            if "{name}" in path:
                told = (*told, "404")
            for status in (*told, *(OF_INPUT if "requestBody" in operation else ())):
                answers[status] = problems.response(int(status), _MEANINGS.get(int(status)))
            for parameter in operation.get("parameters", []):
                parameter.setdefault("description", _PARAMETERS.get(parameter["name"], ""))
            problems.settle(operation)
    return document
