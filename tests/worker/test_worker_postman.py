"""Messages on the wire: signed, to the very address that was looked at, never through a redirect, never for long."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import REGISTRY
from sqlalchemy import select, update

from medcoss.client import Receiver, WebhookMessage, WebhookRefused, verify
from services.core import webhooks
from services.core.db import Database
from services.core.scope import EVERYTHING
from services.core.sealing import Seal
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Delivery, Webhook
from services.core.tables.base import now
from services.worker import postman
from services.worker.postman import Postman
from tests.core.databases import database, database_url, postgres_template, sqlite_template
from tests.core.steps import submitted
from tests.worker.hooks import Hooks, hooks

__all__ = ["database", "database_url", "hooks", "postgres_template", "sqlite_template"]


@pytest.fixture
def settings(database: Database) -> Settings:
    return Settings(
        database_url=database.url, encryption_key="k", webhook_networks=["127.0.0.0/8"], webhook_timeout_s=2
    )


def made(database: Database, settings: Settings, url: str, *topics: str) -> tuple[str, str]:
    """Id and secret of a webhook."""
    with database.session() as session:
        row, secret = webhooks.create(
            session, Seal(settings), DEFAULT_PROJECT, url, topics or ("job.queued",), "", "ada"
        )
        return row.id, secret


def rows(database: Database) -> list[Delivery]:
    with database.reading() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.seq)))


def sent(outcome: str) -> float:
    """Messages that have come to this, for Prometheus."""
    return REGISTRY.get_sample_value("medcoss_webhook_messages_total", {"outcome": outcome}) or 0.0


def due_now(database: Database) -> None:
    with database.session() as session:
        session.execute(update(Delivery).where(Delivery.state == "pending").values(next_at=now()))


def test_a_message_arrives_signed(database: Database, settings: Settings, hooks: Hooks) -> None:
    _, secret = made(database, settings, hooks.url)
    job_id = submitted(database, name="Thorax ä")
    assert Postman(settings, database).send_due() == 1
    ((headers, body),) = hooks.requests
    message = verify(secret, headers, body)
    assert (message.type, message.data["job_id"], message.data["name"]) == ("job.queued", job_id, "Thorax ä")
    assert message.id == rows(database)[0].id and headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{hooks.server_port}" and headers["user-agent"].startswith("medcoss/")
    assert [(r.state, r.status, r.attempts, r.error) for r in rows(database)] == [("delivered", 204, 1, None)]
    with pytest.raises(WebhookRefused):
        verify(secret, headers, body + b" ")
    assert Postman(settings, database).send_due() == 0


def test_a_retry_has_the_same_id_and_body(database: Database, settings: Settings, hooks: Hooks) -> None:
    _, secret = made(database, settings, hooks.url)
    hooks.answers = [(503, {"Retry-After": "60"}, b"<b>down</b>\x07" + b"x" * 5000)]
    submitted(database)
    sender = Postman(settings, database)
    counted = {outcome: sent(outcome) for outcome in ("retried", "delivered")}
    sender.send_due()
    (row,) = rows(database)
    assert (row.state, row.status, row.error) == ("pending", 503, "answered 503")
    assert sent("retried") == counted["retried"] + 1
    assert row.excerpt is not None and row.excerpt.startswith("<b>down</b>x") and len(row.excerpt) <= 200
    assert row.next_at is not None and (row.next_at - now()).total_seconds() > 50, "as long as the receiver asks"
    due_now(database)
    sender.send_due()
    (first, body), (second, again) = hooks.requests
    assert body == again and first["webhook-id"] == second["webhook-id"]
    assert Receiver(secret).accept(second, again) is not None
    assert rows(database)[0].attempts == 2
    assert sent("delivered") == counted["delivered"] + 1


def test_the_receiver_of_the_documentation(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a message once, whoever sends it again."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text()
    code = next(b for b in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "class Hook" in b)
    acted: list[str] = []
    broken = [True]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _, secret = made(database, settings, f"http://127.0.0.1:{port}/")
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(code, "webhooks.md", "exec"), names)  # the page's example

    def act(message: WebhookMessage) -> None:
        if broken[0]:
            raise RuntimeError
        acted.append(message.data["job_id"])

    names["act"] = act
    names["Hook"].log_message = lambda *_: None
    monkeypatch.setattr(ThreadingHTTPServer, "handle_error", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", port), names["Hook"]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        job_id = submitted(database)
        sender = Postman(settings, database)
        sender.send_due()
        assert rows(database)[0].status == 500
        broken[0] = False
        due_now(database)
        sender.send_due()
        assert (rows(database)[0].state, acted) == ("delivered", [job_id])
        with database.session() as session:
            session.execute(update(Delivery).values(state="pending", next_at=now()))
        signed_at = time.time() + 2
        with monkeypatch.context() as later:
            # another second, another signature
            later.setattr("services.worker.postman.time.time", lambda: signed_at)
            sender.send_due()
        assert (rows(database)[0].status, acted) == (204, [job_id])
        forged = httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", headers={"webhook-id": "msg_1"})
        assert forged.status_code == 400
        server.shutdown()
        thread.join()


def test_both_secrets_sign_for_a_while(database: Database, settings: Settings, hooks: Hooks) -> None:
    webhook_id, old = made(database, settings, hooks.url)
    with database.session() as session:
        new = webhooks.rotate(session, Seal(settings), webhooks.get(session, EVERYTHING, webhook_id), 60)
    submitted(database)
    sender = Postman(settings, database)
    sender.send_due()
    with database.session() as session:
        session.execute(update(Webhook).values(previous_until=now()))
    submitted(database)
    sender.send_due()
    first, second = hooks.requests
    assert verify(old, *first).id == verify(new, *first).id
    assert verify(new, *second)
    with pytest.raises(WebhookRefused):
        verify(old, *second)


@pytest.mark.parametrize(
    ("url", "networks", "words"),
    [
        ("http://127.0.0.1:1/", ["127.0.0.0/8"], "the connection failed"),
        ("http://127.0.0.1:1/", [], "address of a private network"),
        ("http://localhost:1/", ["10.0.0.0/8"], "address of a private network"),
        ("http://no-such-host.invalid/", [], "cannot be found"),
        ("http://169.254.169.254/latest/meta-data", [], "address of a private network"),
    ],
)
def test_where_it_may_not_go_it_does_not_go(
    database: Database, settings: Settings, url: str, networks: list[str], words: str
) -> None:
    made(database, settings, url)
    submitted(database)
    Postman(settings.model_copy(update={"webhook_networks": networks}), database).send_due()
    (row,) = rows(database)
    assert row.state == "pending" and row.status is None
    assert row.error is not None and words in row.error


def test_the_address_that_was_looked_at_is_the_one_that_is_called(
    database: Database, settings: Settings, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes its address between the look and the call gains nothing: it is looked up once."""
    looks: list[str] = []

    def look_up(host: str, port: int) -> list[str]:
        looks.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(postman, "resolve", look_up)
    made(database, settings, f"http://hooks.invalid:{hooks.server_port}/x")
    submitted(database)
    Postman(settings, database).send_due()
    assert looks == ["hooks.invalid"]
    assert hooks.requests[0][0]["host"] == f"hooks.invalid:{hooks.server_port}"


def certificate(folder: Path, name: str) -> Path:
    """A certificate of a host and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made_at = now() - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(made_at).not_valid_after(made_at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + plain)
    return path


def test_certificates_are_checked_against_the_name(
    database: Database, settings: Settings, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = certificate(tmp_path, "hooks.invalid")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    hooks.socket = context.wrap_socket(hooks.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setattr(postman, "resolve", lambda host, port: ["127.0.0.1"])
    for name in ("hooks.invalid", "other.invalid"):
        made(database, settings, f"https://{name}:{hooks.server_port}/")
    submitted(database)
    Postman(settings, database).send_due()
    assert [row.state for row in rows(database)] == ["delivered", "pending"]
    assert rows(database)[1].error == "the connection failed (ConnectError)"
    assert len(hooks.requests) == 1


def test_redirects_are_not_followed(database: Database, settings: Settings, hooks: Hooks) -> None:
    hooks.answers = [(302, {"Location": hooks.url}, b"")]
    made(database, settings, hooks.url)
    submitted(database)
    Postman(settings, database).send_due()
    assert len(hooks.requests) == 1
    assert rows(database)[0].error == "answered 302; redirects are not followed: change the URL of the webhook"


@contextmanager
def trickling() -> Iterator[str]:
    """A receiver that answers a byte now and then, for ever."""
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        near, _ = listener.accept()
        with near:
            while not stop.wait(0.1):
                try:
                    near.sendall(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stop.set()
    thread.join()
    listener.close()


def test_a_receiver_that_is_slow_holds_nobody_up(database: Database, settings: Settings, hooks: Hooks) -> None:
    with trickling() as slow:
        made(database, settings, slow)
        made(database, settings, hooks.url)
        for _ in range(3):
            submitted(database)
        began = time.monotonic()
        quick = settings.model_copy(update={"webhook_timeout_s": 0.5})
        sender = Postman(quick, database)
        sender.kick()
        assert time.monotonic() - began < 0.3, "the sweeper goes on"
        while len(hooks.requests) < 3 and time.monotonic() - began < 10:
            time.sleep(0.02)
        assert len(hooks.requests) == 3
        while not any(row.error for row in rows(database)) and time.monotonic() - began < 10:
            time.sleep(0.02)
        assert "no answer within 0.5 s" in [row.error for row in rows(database)]
        assert sender._thread is not None
        sender._thread.join(20)


def test_two_at_once_send_each_message_once(database: Database, settings: Settings, hooks: Hooks) -> None:
    hooks.delay_s = 0.02
    for _ in range(2):
        made(database, settings, hooks.url)
    for _ in range(12):
        submitted(database)
    threads = [threading.Thread(target=Postman(settings, database).send_due) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids = [headers["webhook-id"] for headers, _ in hooks.requests]
    assert len(ids) == 24 and len(set(ids)) == 24
    assert {row.state for row in rows(database)} == {"delivered"}


def test_a_secret_that_cannot_be_opened_is_told(database: Database, settings: Settings, hooks: Hooks) -> None:
    made(database, settings, hooks.url)
    submitted(database)
    Postman(settings.model_copy(update={"encryption_key": None}), database).send_due()
    assert hooks.requests == []
    error = rows(database)[0].error
    assert error is not None and ("rotate the secret" in error or "MEDCOSS_ENCRYPTION_KEY" in error)
