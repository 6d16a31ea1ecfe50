"""Keys: what they open, until when, and their change without a gap; the audit log that nobody can change."""

from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import create_engine, delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from services.core import audit, keys, projects
from services.core.db import Database, _config, migrate
from services.core.errors import Conflict, Unauthorized, ValidationFailed
from services.core.keys import Identity, Role
from services.core.scope import EVERYTHING, Scope
from services.core.tables import DEFAULT_PROJECT, ApiKey, AuditEntry, Dataset, Deployment, Job, KeyProject, Model
from services.core.tables.base import now
from tests.core.databases import empty_engines, engines


def made(database: Database, role: Role = Role.OPERATOR, expires_in_s: float | None = None) -> tuple[str, str]:
    """The id and the secret of a new key."""
    end = None if expires_in_s is None else now() + timedelta(seconds=expires_in_s)
    with database.session() as session:
        row, secret = keys.create_key(
            session, name="ward", owner="ada", role=role, projects=[DEFAULT_PROJECT], expires_at=end
        )
        return row.id, secret


def who(database: Database, secret: str) -> Identity:
    with database.reading() as session:
        return keys.authenticate(session, f"Bearer {secret}")


@engines
def test_a_key_opens_its_projects_until_it_ends(database: Database) -> None:
    key_id, secret = made(database, expires_in_s=60)
    identity = who(database, secret)
    assert (identity.key_id, identity.owner, identity.role) == (key_id, "ada", Role.OPERATOR)
    assert identity.scope == Scope.of(DEFAULT_PROJECT)
    assert who(database, made(database, Role.ADMIN)[1]).scope == EVERYTHING
    with database.session() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(expires_at=now() - timedelta(seconds=1)))
    with pytest.raises(Unauthorized, match="the key 'ward' expired at"):
        who(database, secret)
    with pytest.raises(Conflict, match="expired"), database.session() as session:
        keys.rotate_key(session, key_id, 60)


@engines
def test_rotation_leaves_no_gap_and_no_way_back(database: Database) -> None:
    key_id, first = made(database)
    with database.session() as session:
        _, second = keys.rotate_key(session, key_id, grace_s=60)
    assert who(database, first).key_id == who(database, second).key_id == key_id
    with database.session() as session:
        _, third = keys.rotate_key(session, key_id, grace_s=0)
    assert who(database, third).key_id == key_id
    for old in (first, second):
        with pytest.raises(Unauthorized, match="not known"):
            who(database, old)
    with database.reading() as session:
        row = keys.get_key(session, key_id)
        assert not {first, second, third} & {row.digest, row.previous_digest, row.id}


@engines
def test_a_revoked_key_is_out_with_both_secrets(database: Database) -> None:
    key_id, first = made(database)
    with database.session() as session:
        _, second = keys.rotate_key(session, key_id, grace_s=600)
        keys.revoke_key(session, key_id)
    for secret in (first, second):
        with pytest.raises(Unauthorized, match="was revoked"):
            who(database, secret)


def test_a_first_key_that_was_given_up_does_not_come_back(database: Database) -> None:
    """The secret stays in the settings of the control plane, which stores it at every start."""
    with database.session() as session:
        keys.store_key(session, "mk_first", "admin", Role.ADMIN)
        (row,) = session.scalars(select(ApiKey))
        for _ in range(2):
            keys.rotate_key(session, row.id, grace_s=0)
        keys.store_key(session, "mk_first", "admin", Role.ADMIN)
    with pytest.raises(Unauthorized):
        who(database, "mk_first")


@engines
def test_use_is_noted_once_a_minute(database: Database) -> None:
    key_id, secret = made(database)
    assert who(database, secret).use_due
    with database.session() as session:
        keys.note_use(session, key_id)
    assert not who(database, secret).use_due
    with database.reading() as session:
        noted = keys.get_key(session, key_id).last_used_at
    with database.session() as session:
        keys.note_use(session, key_id)
    with database.reading() as session:
        assert keys.get_key(session, key_id).last_used_at == noted


@engines
def test_the_project_that_a_caller_means(database: Database) -> None:
    with database.session() as session:
        north, south = (projects.create(session, name).id for name in ("north", "south"))
        assert projects.resolve(session, Scope.of(north), None) == north
        assert projects.resolve(session, Scope.of(north, DEFAULT_PROJECT), None) == DEFAULT_PROJECT
        assert projects.resolve(session, Scope.of(north, south), "south") == south
        assert projects.resolve(session, EVERYTHING, north) == north
        with pytest.raises(ValidationFailed, match="say which project"):
            projects.resolve(session, Scope.of(north, south), None)
        with pytest.raises(ValidationFailed, match=r"no project 'south'; expected one of north$"):
            projects.resolve(session, Scope.of(north), "south")
        with pytest.raises(Conflict, match="a project 'north' already"):
            projects.create(session, "north")
        with pytest.raises(Conflict, match="'north' already"):
            projects.change(session, south, "north", None)
        with pytest.raises(Conflict, match="keeps its name"):
            projects.change(session, DEFAULT_PROJECT, "mine", None)


@engines
def test_the_audit_log_cannot_be_changed(database: Database) -> None:
    audit.record(database, audit.deed("POST", "/v1/jobs", "/v1/jobs\n\0", "req_1", 201, "::1", None))
    for statement in (update(AuditEntry).values(actor="nobody"), delete(AuditEntry)):
        with pytest.raises(DBAPIError, match="append-only"), database.session() as session:
            session.execute(statement)
    with database.reading() as session:
        (row,) = session.scalars(audit.entries(10))
    assert (row.path, row.outcome) == ("/v1/jobs??", "done")


BEFORE = [
    "INSERT INTO api_keys (id, name, digest, role, created_at) VALUES "
    "('key_1', 'ward', 'd1', 'operator', '2026-01-01 00:00:00'), "
    "('key_2', 'root', 'd2', 'admin', '2026-01-01 00:00:00')",
    "INSERT INTO datasets (id, name, description, role, state, prefix, file_count, total_bytes, parents, created_at) "
    "VALUES ('ds_1', 'n', '', 'raw', 'ready', 'p', 1, 1, '[]', '2026-01-01 00:00:00')",
    "INSERT INTO dataset_files (dataset_id, path, size, sha256) VALUES ('ds_1', 'a', 1, 'x')",
    "INSERT INTO jobs (id, kind, name, state, spec, priority, rank, turn, backoff_s, ran_s, attempt, max_attempts, "
    "fence, created_by, created_at) "
    "VALUES ('job_1', 'export', 'n', 'queued', '{}', 0, 0, 0, 0, 0, 0, 3, 0, 'me', '2026-01-01 00:00:00')",
    "INSERT INTO models (id, name, prefix, info, parents, created_at) "
    "VALUES ('mdl_1', 'n', 'p', '{}', '[]', '2026-01-01 00:00:00')",
    "INSERT INTO deployments (id, name, version, state, info, model_id, created_at) "
    "VALUES ('dep_1', 'n', 1, 'ready', '{}', 'mdl_1', '2026-01-01 00:00:00')",
]
TABLES = ("api_keys", "datasets", "dataset_files", "jobs", "models", "deployments")


@empty_engines
def test_what_was_there_before_projects_belongs_to_the_default_one(empty_url: str) -> None:
    command.upgrade(_config(empty_url), "0003")
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        for statement in BEFORE:
            connection.execute(text(statement))
    migrate(empty_url)
    database = Database(empty_url)
    with database.session() as session:
        for table in (Dataset, Job, Model, Deployment):
            assert session.scalars(select(table.project_id)).all() == [DEFAULT_PROJECT], table
        assert session.execute(select(ApiKey.owner, ApiKey.role).order_by(ApiKey.id)).all() == [
            ("ward", "operator"), ("root", "admin"),
        ]  # fmt: skip
        (opened,) = session.scalars(select(KeyProject))
        assert (opened.key_id, opened.project_id) == ("key_1", DEFAULT_PROJECT)
        projects.create(session, "north")
        keys.revoke_key(session, "key_1")
    audit.record(database, audit.deed("POST", "/v1/jobs", "/v1/jobs", "req_1", 201, None, None))
    database.engine.dispose()
    command.downgrade(_config(empty_url), "0003")
    with engine.connect() as connection:
        left = {name: connection.scalar(select(func.count()).select_from(text(name))) for name in TABLES}
        assert left == dict.fromkeys(TABLES, 1), "all but the key that was revoked, which the old version would let in"
    migrate(empty_url)
    engine.dispose()
