"""The control plane as an ASGI application: `python -m services.core.serving services.api.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from medcoss import __version__
from services.api import console, openapi, problems
from services.api.admission import Admission
from services.api.dependencies import Parts, no_others
from services.api.etags import ETags
from services.api.once import Once
from services.api.routes import (
    access,
    aliases,
    audit,
    batch,
    datasets,
    deletion,
    deployments,
    erasures,
    evaluations,
    gc,
    health,
    indexes,
    jobs,
    labels,
    lineage,
    pipelines,
    preflight,
    registry,
    streams,
    uploads,
    usage,
    webhooks,
    workers,
)
from services.api.shell import Shell
from services.api.streaming.ending import close_on_signals
from services.api.streaming.hub import Hub
from services.api.submissions import Desk
from services.core import tracing
from services.core.access import Access
from services.core.bell import make_celery
from services.core.db import Database
from services.core.keys import Role, store_key
from services.core.logging import configure_logging
from services.core.metrics import this_process_ends
from services.core.problems import RESPONSES
from services.core.settings import Settings, get_settings
from services.core.storage import ObjectStore


class ControlPlane(FastAPI):
    """FastAPI whose OpenAPI document is complete."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            openapi.complete(super().openapi())
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on a migrated database; it makes the bucket and the first admin key if they are missing."""
    chosen = settings or get_settings()
    configure_logging(chosen.log_level)
    # somebody waits for the answer, who can try again
    store = ObjectStore(chosen, retries=1)
    database = Database(chosen.database_url)
    door = Access(chosen, database)
    admission = Admission(door)
    parts = Parts(chosen, database, store, admission, Desk(chosen, database, make_celery(chosen)))
    tracing.configure(chosen, "medcoss-api")

    hub = Hub(chosen, database, door)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.store.ensure_bucket()
        if chosen.bootstrap_admin_key is not None:
            with parts.database.session() as session:
                store_key(session, chosen.bootstrap_admin_key.get_secret_value(), "admin", Role.ADMIN)
        undo = close_on_signals(hub)
        yield
        undo()
        await hub.finish()
        app.state.numbers.close()
        this_process_ends()
        door.close()
        parts.database.engine.dispose()

    app = ControlPlane(
        title="medcoss control plane",
        version=__version__,
        description="Datasets, jobs and models of continual pre-training. Every call but health needs a key.",
        lifespan=lifespan,
        # a redirect would lead where the header Host says
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.parts = parts
    app.state.hub = hub
    app.state.numbers = health.numbers_of(lambda: app.state.parts)
    problems.install(app)
    app.include_router(health.router)
    app.include_router(console.router(chosen))
    for part in (
        datasets, uploads, jobs, batch, preflight, pipelines, registry, labels, lineage, erasures, aliases, deployments,
        evaluations, indexes, deletion, gc, access, usage, audit, streams, webhooks, workers,
    ):  # fmt: skip
        app.include_router(part.router, responses=RESPONSES, dependencies=[Depends(no_others)])
    app.include_router(pipelines.expanding, responses=RESPONSES, dependencies=[Depends(no_others)])
    if chosen.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=chosen.cors_origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After", "ETag", "Idempotency-Replayed"],
        )  # fmt: skip
    app.add_middleware(ETags)
    app.add_middleware(Once, settings=chosen, database=database, admission=admission)
    # around everything else
    app.add_middleware(Shell, settings=chosen, database=database, admission=admission)
    return app
