"""Hooks of Schemathesis: what its checks cannot know of this platform. Loaded by `benchmarks/schemathesis.toml`."""

import json
import re

import schemathesis

# how pydantic words what a JSON schema can say, too
_STRUCTURAL = re.compile(
    r"(Input|String|List|Set|Tuple|Dictionary|Value|URL|Decimal|Object) should|Field required|Unable to extract tag|"
    r"there is no such field|Extra inputs|expected a URL that begins"
)
_NO_TRITON = re.compile(r"the model server does not answer|not ready: triton\"")


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Exception, case: schemathesis.Case, response: schemathesis.Response
) -> bool:
    """Keep a failure, unless valid data was refused for a reason that no schema can tell.

    Whether an id, a project, a cursor or an ETag is one that is there is not in a schema; neither is what two fields
    must be together. What a schema can say, it has to say: then the refusal stays a failure.
    """
    if type(failure).__name__ == "ServerError" and response.status_code == 503 and _NO_TRITON.search(response.text):
        # what is attacked has no model server; this answer is told of
        return False
    kind = response.headers.get("content-type", [""])[0]
    if type(failure).__name__ == "JsonSchemaError" and kind.startswith("text/event-stream"):
        # OpenAPI 3.1 has a schema for a stream as one text only; this check holds it against each event
        return False
    if type(failure).__name__ == "AcceptedNegativeData" and response.status_code == 304:
        # that `false` in a query is text is known to the check of a 200 only: what is known already comes after it
        return False
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    # whether the version is the present one; a limit that is a setting
    if response.status_code in {412, 413, 428}:
        return False
    if response.status_code != 422:
        return True
    document = json.loads(response.content)
    if "cannot be stored" in document["detail"]:
        # PostgreSQL has no NUL in text; that is not said again of each parameter
        return False
    found = document.get("errors", [])
    return not found or any(_STRUCTURAL.match(one["detail"]) for one in found)
