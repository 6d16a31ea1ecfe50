"""Sign-in with tokens of a real provider: a small one, over real HTTP, with keys of its own."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from pydantic import ValidationError

from services.core import oidc, projects
from services.core.access import Access
from services.core.db import Database
from services.core.errors import Forbidden, MedcossError, Unauthorized, Unavailable
from services.core.keys import Identity, Role, store_key
from services.core.scope import EVERYTHING, Scope
from services.core.settings import Settings
from services.embedded.servers import free_port


class Provider:
    """Publishes its keys and signs tokens."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey | ECKey] = {
            "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}), "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
        }  # fmt: skip
        self.asked: list[str] = []
        provider = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                documents: dict[str, Any] = {
                    "/.well-known/openid-configuration": {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"},
                    "/keys": KeySet(list(provider.keys.values())).as_dict(private=False),
                }
                body = json.dumps(documents[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def token(self, kid: str = "rsa", key: Any = None, algorithm: str = "", **claims: Any) -> str:
        """A good token; `claims` change it, None leaves one out."""
        said = {
            "iss": self.url, "aud": "medcoss", "sub": "u1", "exp": int(time.time()) + 300,
            "roles": ["medcoss-operator"], "preferred_username": "ada", "groups": ["/north", "elsewhere"],
        } | claims  # fmt: skip
        algorithm = algorithm or ("ES256" if kid == "ec" else "RS256")
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": algorithm, "kid": kid}, said, key or self.keys[kid], algorithms=[algorithm])


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    made = Provider()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.asked.clear()
    return running


def door(database: Database, issuer: str, **changes: Any) -> Access:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    return Access(Settings(oidc_issuer=issuer, oidc_audience="medcoss", redis_url=nowhere, **changes), database)


def admitted(access: Access, token: str) -> Identity:
    return access.admit(f"Bearer {token}", "127.0.0.1")


def test_claims_become_owner_role_and_projects(database: Database, provider: Provider) -> None:
    with database.session() as session:
        north = projects.create(session, "north").id
        store_key(session, "mk_key", "key", Role.VIEWER)
    access = door(database, provider.url)
    for kid in ("rsa", "ec"):
        identity = admitted(access, provider.token(kid))
        assert (identity.owner, identity.role, identity.scope) == ("ada", Role.OPERATOR, Scope.of(north))
    admin = admitted(access, provider.token(roles=["medcoss-viewer", "medcoss-admin"], preferred_username=None))
    assert (admin.owner, admin.role, admin.scope) == ("u1", Role.ADMIN, EVERYTHING)
    assert admitted(access, "mk_key").role == Role.VIEWER, "keys go on to open"
    assert len(provider.asked) == 2, "discovery and keys, once"
    nested = door(database, provider.url, oidc_roles_claim="realm_access.roles", oidc_roles={"doctor": "viewer"})
    assert admitted(nested, provider.token(realm_access={"roles": ["doctor"]})).role == Role.VIEWER


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bad_tokens(provider: Provider) -> Iterator[tuple[str, str]]:
    good = provider.token()
    header, claims, signature = good.split(".")
    yield "another audience", provider.token(aud="other")
    yield "no audience", provider.token(aud=None)
    yield "another issuer", provider.token(iss="https://evil.example")
    yield "expired", provider.token(exp=int(time.time()) - 120)
    yield "no end", provider.token(exp=None)
    yield "not yet", provider.token(nbf=int(time.time()) + 600)
    yield "no subject", provider.token(sub=None)
    yield "changed claims", f"{header}.{provider.token(sub='u2').split('.')[1]}.{signature}"
    yield "no signature", f"{header}.{claims}."
    yield "another's key", provider.token(key=RSAKey.generate_key(2048, {"kid": "rsa"}))
    public = provider.keys["rsa"].as_pem(private=False)
    signed = encoded(b'{"alg":"HS256","kid":"rsa"}') + "." + claims
    digest = hmac.digest(public, signed.encode(), "sha256")
    yield "public key as secret", f"{signed}.{encoded(digest)}"
    yield "algorithm none", encoded(b'{"alg":"none"}') + f".{claims}."
    yield "no token", "a.b.c"
    yield "too long", good + "A" * 20_000


def test_tokens_that_are_not_good(database: Database, provider: Provider) -> None:
    access = door(database, provider.url)
    for why, token in bad_tokens(provider):
        with pytest.raises(Unauthorized):
            admitted(access, token)
            pytest.fail(why)
    with pytest.raises(Forbidden, match="ada has no role here; expected one of medcoss-viewer"):
        admitted(access, provider.token(roles="other"))


def test_new_keys_are_found_and_unknown_ones_do_not_flood_the_provider(
    database: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = door(database, provider.url)
    admitted(access, provider.token())
    stranger = RSAKey.generate_key(2048, {"kid": "new"})
    for _ in range(5):
        with pytest.raises(Unauthorized):
            admitted(access, provider.token("new", key=stranger))
    assert len(provider.asked) == 2
    monkeypatch.setattr(oidc, "AGAIN_S", 0.0)
    monkeypatch.setitem(provider.keys, "new", stranger)
    assert admitted(access, provider.token("new")).owner == "ada"
    assert len(provider.asked) == 4


def test_a_provider_that_is_away(database: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="sign-in provider does not answer"):
        admitted(door(database, f"http://127.0.0.1:{free_port()}"), provider.token())
    access = door(database, provider.url)
    admitted(access, provider.token())
    monkeypatch.setattr(oidc, "FRESH_S", -1.0)
    monkeypatch.setattr(oidc, "AGAIN_S", -1.0)
    monkeypatch.setattr(access._issuer, "_url", f"http://127.0.0.1:{free_port()}")
    assert admitted(access, provider.token()).owner == "ada", "the keys that are known still hold"
    wrong = door(database, f"{provider.url}/")
    with pytest.raises(MedcossError):
        admitted(wrong, provider.token())


def test_an_issuer_without_an_audience_is_refused() -> None:
    with pytest.raises(ValidationError, match="MEDCOSS_OIDC_AUDIENCE"):
        Settings(oidc_issuer="https://id.example")


def test_tables_and_lists_are_read_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"cors_origins": '["https://pacs.example"]', "oidc_roles": '{"doctor": "viewer"}'}
    given = Settings.model_validate(words)
    for name, value in words.items():
        monkeypatch.setenv(f"MEDCOSS_{name.upper()}", value)
    assert (given.cors_origins, given.oidc_roles) == (["https://pacs.example"], {"doctor": "viewer"})
    assert (Settings().cors_origins, Settings().oidc_roles) == (given.cors_origins, given.oidc_roles)
    with pytest.raises(ValidationError, match="oidc_roles"):
        Settings.model_validate({"oidc_roles": '{"doctor": "root"}'})
