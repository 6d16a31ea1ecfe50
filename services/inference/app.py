"""The gateway as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from medcoss import __version__
from services.core import tracing
from services.core.logging import configure_logging
from services.core.metrics import this_process_ends
from services.core.settings import Settings, get_settings
from services.inference import openapi, problems
from services.inference.calls import calls
from services.inference.gateway import Gateway
from services.inference.requests import RequestShell
from services.inference.routes import router, status_router
from services.inference.routes_indexes import router as index_router


class InferenceGateway(FastAPI):
    """FastAPI whose OpenAPI document is complete."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            openapi.complete(super().openapi())
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """The gateway for `settings`, by default those of the environment."""
    settings = settings or get_settings()
    configure_logging(settings.log_level)
    tracing.configure(settings, "medcoss-gateway")
    gateway = Gateway(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        gateway.close()
        this_process_ends()

    app = InferenceGateway(
        title="medcoss inference", version=__version__, lifespan=lifespan,
        description="Embeddings, classes and masks from served models. Every call but health needs a key.",
        # a redirect would lead where the header Host says
        redirect_slashes=False,
    )  # fmt: skip
    app.state.gateway = gateway
    problems.install(app)
    app.include_router(router)
    app.include_router(calls)
    app.include_router(index_router)
    app.include_router(status_router)
    if origins := [*settings.cors_origins, *settings.console_origins]:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["X-Request-Id", "X-Class-Names", "X-Volume-Ml", "X-Pixels", "X-Model-Version", "X-Slice"],
        )  # fmt: skip
    app.add_middleware(RequestShell, max_bytes=settings.max_inference_bytes, patience_s=settings.request_timeout_s)
    return app
