"""The OpenAPI document, completed: problems with their headers, examples, specs of all job kinds, links.

FastAPI writes what it knows of the routes; what holds for all of them alike is added here, so that a new route has it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from medcoss.specs import JOB_KINDS
from services.api import examples
from services.core import problems

REF = "#/components/schemas/"
_JSON = "application/json"

TAGS = {
    "health": "Whether the platform answers; these need no key.",
    "datasets": "Uploaded and prepared data.",
    "uploads": "Large files of a dataset in parts, which survive a bad connection.",
    "jobs": "Submit, watch and stop jobs.",
    "pipelines": "Jobs whose inputs are each other's outputs, as a whole.",
    "streams": "What jobs report, as it comes: server-sent events.",
    "webhooks": "Have events sent to a URL, signed.",
    "registry": "Models, and what jobs there are.",
    "deployments": "Serve models under names, several versions beside each other.",
    "evaluations": "Scores of models, with pictures, and their comparison.",
    "lineage": "Lines of models, what was made from what, and model cards.",
    "indexes": "Studies found by the nearness of their embeddings; the gateway searches.",
    "aliases": "Names such as `production` that stand for one model at a time, and what was promoted when.",
    "storage": "Deleting, and what the object store holds.",
    "labels": "Names, notes and tags, and the search for them.",
    "workers": "Who runs jobs.",
    "access": "Projects, keys and the audit log.",
}
_PARAMETERS = {
    "dataset_id": "identifier of a dataset, ds_...",
    "job_id": "identifier of a job, job_...",
    "pipeline_id": "identifier of a pipeline, pip_...",
    "model_id": "identifier of a model, mdl_..., or an alias, @production",
    "evaluation_id": "identifier of an evaluation, evl_...",
    "erasure_id": "identifier of an erasure, ers_...",
    "deployment_id": "identifier of a served version, dep_...",
    "project_id": "identifier of a project, prj_...",
    "key_id": "identifier of a key, key_...",
    "webhook_id": "identifier of a webhook, whk_...",
    "upload_id": "identifier of a file that arrives in parts, upl_...",
    "delivery_id": "identifier of a message to it, msg_...",
    "run_id": "identifier of a run of the garbage collector, gc_...",
    "kind": "name of a job kind",
}
# where an answer names what a path takes: parameter -> operation, status, JSON pointer
_SOURCES = {
    "dataset_id": (("create_dataset", "201", "/dataset/id"), ("list_datasets", "200", "/items/0/id")),
    "job_id": (("submit_job", "201", "/id"), ("list_jobs", "200", "/items/0/id")),
    "pipeline_id": (("submit_pipeline", "201", "/id"), ("list_pipelines", "200", "/items/0/id")),
    "model_id": (("list_models", "200", "/items/0/id"),),
    "evaluation_id": (("list_evaluations", "200", "/items/0/id"),),
    "erasure_id": (("erase", "201", "/id"), ("list_erasures", "200", "/items/0/id")),
    "deployment_id": (("create_deployment", "201", "/id"), ("list_deployments", "200", "/items/0/id")),
    "index": (("create_index", "201", "/name"), ("list_indexes", "200", "/items/0/name")),
    "alias": (("list_aliases", "200", "/items/0/name"),),
    "project_id": (("create_project", "201", "/id"), ("list_projects", "200", "/items/0/id")),
    "key_id": (("create_key", "201", "/key/id"), ("list_keys", "200", "/items/0/id")),
    "webhook_id": (("create_webhook", "201", "/webhook/id"), ("list_webhooks", "200", "/items/0/id")),
    "run_id": (("collect_garbage", "201", "/id"), ("list_gc_runs", "200", "/items/0/id")),
    "kind": (("list_job_kinds", "200", "/items/0/name"),),
}
_KNOWN: dict[str, Any] = {
    "name": "If-None-Match", "in": "header", "required": False,
    "description": "the ETag of an answer that is known: it is not sent again",
    "schema": {"type": "string"},
}  # fmt: skip
_KEY: dict[str, Any] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "repeat it to get the same answer: the request is carried out once",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}, "example": "chest-preprocess-1",
}  # fmt: skip


def operation_id(route: APIRoute) -> str:
    """The name of the function, as generated clients call it."""
    return route.name


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it does not know."""
    problems.describe(document)
    schemas = document["components"]["schemas"]
    known = examples.by_schema() | {"Problem": problems.example(422)}
    for name, value in known.items():
        if name in schemas:
            schemas[name]["examples"] = [value]
    _add_specs(schemas)
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    for _, method, operation in _operations(document):
        _describe_parameters(operation)
        _add_etags(method, operation)
        _add_key(method, operation)
        problems.settle(operation)
        _add_examples(operation, schemas)
    _add_links(document)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _describe_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter.setdefault("description", _PARAMETERS.get(parameter["name"], ""))


def _add_etags(method: str, operation: dict[str, Any]) -> None:
    """Every JSON answer to GET and PATCH has an ETag, and GET takes the one that is known."""
    good = operation["responses"].get("200", {})
    if method not in {"get", "patch"} or _JSON not in good.get("content", {}):
        return
    good["headers"] = problems.ETAG | good.get("headers", {})
    if method == "get":
        meaning = "The client has this very answer already, see `If-None-Match`"
        operation["responses"]["304"] = {"description": meaning, "headers": problems.ETAG}
        operation.setdefault("parameters", []).append(_KNOWN)


def _add_key(method: str, operation: dict[str, Any]) -> None:
    """Every POST takes a key under which it may be repeated."""
    if method != "post":
        return
    operation.setdefault("parameters", []).append(_KEY)
    answers = operation["responses"]
    same = "the key was used for another request, or its answer is not kept"
    known = answers.get("409")
    meaning = f"{known['description']}; or {same}" if known else same[0].upper() + same[1:]
    answers["409"] = problems.response(409, meaning)


def _add_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    body = operation.get("requestBody", {}).get("content", {}).get(_JSON)
    if body is not None and body["schema"].get("$ref") == f"{REF}JobRequest":
        body["examples"] = {kind: {"value": examples.asked(one)} for kind, one in examples.REQUESTS.items()}
    elif body is not None and "example" not in body:
        _set_example(body, schemas)
    for status, answer in operation["responses"].items():
        media = answer.get("content", {}).get(_JSON)
        if status.startswith("2") and media is not None and "example" not in media:
            if operation["operationId"] in examples.ANSWERS:
                media["example"] = examples.ANSWERS[operation["operationId"]]
            else:
                _set_example(media, schemas)


def _set_example(media: dict[str, Any], schemas: dict[str, Any]) -> None:
    found = _example(media["schema"], schemas)
    if found is not None:
        media["example"] = found


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example of a schema; that of a page is one of its entries."""
    for choice in (schema, *schema.get("anyOf", [])):
        target = schemas.get(choice.get("$ref", "").removeprefix(REF), choice)
        if target.get("examples"):
            return target["examples"][0]
        if "example" in target:
            return target["example"]
        properties = target.get("properties", {})
        if "items" in properties and "next" in properties:
            entry = _example(properties["items"]["items"], schemas)
            if entry is not None:
                # rows go on after the last one, pages end
                return {"items": [entry], "next": entry["seq"] if properties["next"].get("type") == "integer" else None}
    return None


def _add_specs(schemas: dict[str, Any]) -> None:
    """What `spec` holds for each `kind`."""
    models = [(kind.spec, "validation") for kind in JOB_KINDS.values()]
    _, written = models_json_schema(models, ref_template=REF + "{model}")  # type: ignore[arg-type]
    schemas |= written["$defs"]
    for name, kind in JOB_KINDS.items():
        schemas[kind.spec.__name__]["examples"] = [examples.asked(examples.SPECS[name])]
    schemas["JobRequest"]["properties"]["kind"]["enum"] = list(JOB_KINDS)
    schemas["JobRequest"]["oneOf"] = [
        {
            "title": name,
            "type": "object",
            "required": ["kind", "spec"],
            "properties": {"kind": {"const": name}, "spec": {"$ref": REF + kind.spec.__name__}},
        }
        for name, kind in JOB_KINDS.items()
    ]


def _add_links(document: dict[str, Any]) -> None:
    """From the answer that names a thing to the operations on it."""
    operations = {operation["operationId"]: operation for _, _, operation in _operations(document)}
    for _, _, operation in _operations(document):
        taken = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
        # paths of two identifiers need two answers
        if len(taken) != 1:
            continue
        for source, status, pointer in _SOURCES.get(taken[0], ()):
            links = operations[source]["responses"][status].setdefault("links", {})
            name = operation["operationId"]
            links[name] = {"operationId": name, "parameters": {taken[0]: f"$response.body#{pointer}"}}
