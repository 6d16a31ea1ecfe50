"""The control plane behind a real HTTP server, with a client for every role."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from services.api.app import create_app
from services.core.db import Database
from services.core.keys import Role, store_key
from services.core.serving import options
from services.core.settings import Settings
from services.core.storage import ObjectStore

KEYS = {role: f"mk_{role.name.lower()}" for role in Role}


@dataclass(frozen=True)
class Served:
    """A running control plane: a client of each role, and what stands behind it."""

    url: str
    app: FastAPI
    admin: httpx.Client
    operator: httpx.Client
    viewer: httpx.Client
    stranger: httpx.Client
    database: Database
    store: ObjectStore
    settings: Settings


ending: list[tuple[threading.Thread, socket.socket]] = []


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of a real HTTP server with `app`."""
    # with its protocol named, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app, **options(log_config=None, lifespan="on")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        host, port = listener.getsockname()
        yield f"http://{host}:{port}"
    finally:
        # it ends by itself, while the next test begins
        server.should_exit = True
        ending.append((thread, listener))


def store_keys(database: Database) -> None:
    with database.session() as session:
        for role, key in KEYS.items():
            store_key(session, key, f"the {role.name.lower()}", role)


def start(stack: ExitStack, chosen: Settings, database: Database) -> Served:
    """Run a control plane until the stack is closed."""
    app = create_app(chosen)
    url = stack.enter_context(listening(app))

    def client(key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))

    roles = {role.name.lower(): client(key) for role, key in KEYS.items()}
    return Served(
        url, app, **roles, stranger=client(None), database=database, store=ObjectStore(chosen), settings=chosen
    )
