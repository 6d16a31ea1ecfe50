"""Which models are served, and the preprocessing that belongs to each."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from minio.error import S3Error
from sqlalchemy import select
from urllib3.exceptions import HTTPError

from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.preprocess.serving import ServingPipeline
from medcoss.specs.records import DeploymentInfo
from services.core import registry
from services.core.db import Database
from services.core.errors import Conflict, MedcossError, Unavailable
from services.core.scope import EVERYTHING, Scope
from services.core.storage import ObjectStore
from services.core.tables import Deployment

CALLS = {"encoder": ["embed"], "classification": ["classify", "embed"], "segmentation": ["segment"]}
KEPT_PIPELINES = 64


@dataclass(frozen=True)
class Served:
    """One version of a served model."""

    id: str
    model_id: str = field(compare=False)
    info: DeploymentInfo = field(compare=False)

    @property
    def calls(self) -> list[str]:
        """The calls that this model answers."""
        return CALLS[self.info.task]


@dataclass(frozen=True)
class Preprocessing:
    """What turns an input into the model's; `tokenizer` is there for text models."""

    pipeline: ServingPipeline
    tokenizer: Tokenizer | None


class Deployments:
    """The served models, as the database has them at the moment of asking."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database, self._store = database, store
        # deployments never change, so that what was prepared for one can be kept
        self.preprocessing = lru_cache(KEPT_PIPELINES)(self._preprocessing)

    def find(self, scope: Scope, name: str, call: str | None = None) -> Served:
        """The newest ready version of `name` among the caller's, whatever it answers unless a `call` is named.

        Raises NotFound naming the served models, Conflict naming the right call when the
        model does not answer `call`.
        """
        with self._database.reading() as session:
            served = _served(registry.ready_deployment(session, scope, name))
        if call is not None and call not in served.calls:
            right = " or ".join(f"POST /v1/models/{name}/{other}" for other in served.calls)
            raise Conflict(f"'{name}' is a model for {_NOUNS[served.info.task]} and cannot {call}; use {right}")
        return served

    def all(self, scope: Scope) -> list[Served]:
        """The newest ready version of every name of the caller's, by name."""
        with self._database.reading() as session:
            return _newest(registry.ready_deployments(session, scope))

    def healthy(self) -> bool:
        """True when the database answers."""
        with self._database.reading() as session:
            return session.scalar(select(1)) == 1

    def _preprocessing(self, served: Served) -> Preprocessing:
        info = served.info
        tokenizer = self._tokenizer(served.model_id) if info.kind is Kind.TEXT else None
        return Preprocessing(ServingPipeline(info.recipe, info.kind, info.findings), tokenizer)

    def _tokenizer(self, model_id: str) -> Tokenizer:
        """The tokenizer of a model, from the vocabulary among its files."""
        with self._database.reading() as session:
            model = registry.get_model(session, EVERYTHING, model_id)
            prefix, files = model.prefix, registry.entries(model.files)
        recorded = next((file for file in files if file.path == "vocab.txt"), None)
        if recorded is None:
            raise MedcossError(f"model {model_id} reads text but has no vocabulary; export another version")
        try:
            content = self._store.get_bytes(f"{prefix.rstrip('/')}/vocab.txt")
        except FileNotFoundError:
            content = b""
        except (S3Error, HTTPError) as error:
            raise Unavailable("the object store does not answer; try again in a few seconds") from error
        if hashlib.sha256(content).hexdigest() != recorded.sha256:
            raise MedcossError(
                f"the stored vocabulary of model {model_id} is missing or damaged; export another version"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocab.txt"
            path.write_bytes(content)
            return Tokenizer(path)


_NOUNS = {"encoder": "embeddings", "classification": "classification", "segmentation": "segmentation"}


def _served(row: Deployment) -> Served:
    return Served(row.id, row.model_id, DeploymentInfo.model_validate(row.info))


def _newest(rows: Sequence[Deployment]) -> list[Served]:
    """The last row of every name."""
    return [_served(row) for row in {row.name: row for row in rows}.values()]
