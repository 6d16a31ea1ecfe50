"""The compose file does what its documentation says: hardened containers on loopback, and every setting is used."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medcoss import __version__
from services.core.settings import Settings
from tests.deploy import compose

SERVICES = compose.load()["services"]
# what runs once and ends
ONCE = {"secrets", "migrations", "bucket"}
# set by image and compose file, or as files of secrets
WIRED = {"cache_dir", "triton_model_dir", "triton_backend", "metrics_port", "metrics_host"}
# of a worker that has jobs run on several machines, which the chart alone has
IN_A_CLUSTER = {name for name in Settings.model_fields if name.startswith("machines")}
SECRET = {
    "database_url", "redis_url", "s3_access_key", "s3_secret_key", "encryption_key", "bootstrap_admin_key",
}  # fmt: skip


def test_docker_reads_the_file_with_every_profile() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no docker compose here")
    found = subprocess.run(
        ["docker", "compose", "-f", str(compose.COMPOSE), "--profile", "*", "config", "--quiet"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_can_do_no_more_than_it_has_to(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices"} & set(service)
    # the platform's own images name their user, 10001; of others the file does
    own = "medcoss/" in service["image"]
    assert own or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_limited_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert re.fullmatch(r"\d+[mg]", limits["memory"]) and limits["pids"] > 0
    if name in ONCE:
        assert service["restart"].startswith("on-failure") and service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service.get("healthcheck") or "medcoss/" in service["image"], "the image brings its own"
    assert service["image"].partition(":")[2] not in {"", "latest"}


def test_only_what_clients_need_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    without_profile = {name for name in published if "profiles" not in SERVICES[name]}
    # signed URLs lead to the object store itself
    assert without_profile == {"api", "gateway", "s3"}
    assert compose.load()["networks"]["back"] == {"internal": True}
    for name in ("postgres", "redis", "triton", "worker"):
        assert SERVICES[name]["networks"] == ["back"]


def test_nothing_secret_stands_in_an_environment() -> None:
    for name, service in SERVICES.items():
        for variable in service.get("environment") or {}:
            secret = re.search(r"KEY|PASSWORD|SECRET|DATABASE_URL|REDIS_URL", variable)
            assert not secret or re.search(r"_FILE$|_DIR$|_PATH$", variable), f"{name}: {variable}"


def test_the_example_has_every_setting_and_no_other() -> None:
    example = set(compose.example())
    fields = {name: f"MEDCOSS_{name.upper()}" for name in Settings.model_fields}
    wanted = {variable for name, variable in fields.items() if name not in WIRED | SECRET | IN_A_CLUSTER}
    asked = compose.variables()
    assert wanted <= example, f"not explained: {sorted(wanted - example)}"
    assert asked <= example, f"not explained: {sorted(asked - example)}"
    # what compose itself reads
    known = asked | set(fields.values()) | {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
    assert example <= known, f"nobody reads {sorted(example - known)}"


def test_every_setting_of_the_example_is_explained_above_it() -> None:
    explained = False
    for line in compose.EXAMPLE.read_text().splitlines():
        if not line.strip():
            explained = False
        elif re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert explained, f"what is this for? {line}"
        else:
            explained = line.startswith("# ") and not line.startswith("# ---")


def test_the_examples_values_are_the_defaults() -> None:
    text, usual = compose.COMPOSE.read_text(), compose.load()
    for name, value in compose.example().items():
        if f"${{{name}" in text and not name.startswith("MEDCOSS_"):
            changed = compose.load({name: value})
            assert changed == usual, f"{name} is not {value} by default"
    for field in ("lease_s", "cache_max_bytes", "rate_per_s", "max_file_bytes", "webhook_patience_s", "oidc_roles"):
        default = Settings.model_fields[field].default
        assert json.loads(compose.example()[f"MEDCOSS_{field.upper()}"]) == default
    assert compose.example()["VERSION"] == __version__


def test_what_a_stopped_worker_has_to_write_fits_into_its_grace() -> None:
    assert (
        int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
        > Settings.model_fields["stop_grace_s"].default + 15
    )


def test_every_folder_that_is_mounted_is_in_the_repository() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
            if source.startswith("."):
                assert (compose.DEPLOY / source).exists(), source


def run_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    program = compose.DEPLOY / "init" / "make_secrets.py"
    # as the container runs it: its folder comes before the standard library
    code = (
        f"import sys; sys.path.insert(0, {str(program.parent)!r}); import runpy, pathlib; "
        f"m = runpy.run_path({str(program)!r}); "
        f"m['main'](pathlib.Path({str(folder / 'given')!r}), pathlib.Path({str(folder / 'made')!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def made(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder / "made")): p.read_text() for p in (folder / "made").rglob("*") if p.is_file()}


def test_secrets_are_made_once_and_given_ones_come_first(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    assert run_secrets(tmp_path).returncode == 0
    first = made(tmp_path)
    assert run_secrets(tmp_path).returncode == 0 and made(tmp_path) == first
    password = first["postgres/password"].strip()
    assert len(password) >= 40 and f":{password}@postgres:5432/" in first["services/medcoss_database_url"]

    (tmp_path / "given" / "admin_key").write_text("mk_" + "a" * 40 + "\n")
    (tmp_path / "given" / "redis_password").write_text("p@ss/word\n")
    assert run_secrets(tmp_path).returncode == 0
    changed = made(tmp_path)
    assert changed["services/medcoss_bootstrap_admin_key"].strip() == "mk_" + "a" * 40
    assert changed["redis/redis.conf"] == "requirepass p@ss/word\n"
    assert "p%40ss%2Fword" in changed["services/medcoss_redis_url"]
    assert changed["postgres/password"] == first["postgres/password"]


def test_a_password_that_the_database_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    assert run_secrets(tmp_path).returncode == 0
    before = made(tmp_path)
    (tmp_path / "given" / "postgres_password").write_text("another")
    refused = run_secrets(tmp_path)
    assert refused.returncode == 1 and "secrets/postgres_password differs" in refused.stderr
    assert made(tmp_path) == before


def test_services_read_their_secrets_from_the_files_that_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.core import settings

    (tmp_path / "given").mkdir()
    assert run_secrets(tmp_path).returncode == 0
    for name in SECRET:
        monkeypatch.delenv(f"MEDCOSS_{name.upper()}", raising=False)
    monkeypatch.setenv(settings.SECRETS_DIR, str(tmp_path / "made" / "services"))
    found: Any = settings.get_settings.__wrapped__()
    values = made(tmp_path)
    assert found.database_url == values["services/medcoss_database_url"].strip()
    assert found.s3_secret_key.get_secret_value() == values["s3/secret_key"].strip()
    assert found.bootstrap_admin_key.get_secret_value() == values["kept/admin_key"].strip()

    monkeypatch.setenv(settings.SECRETS_DIR, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"MEDCOSS_SECRETS_DIR is .*nowhere, which is no folder"):
        settings.get_settings.__wrapped__()
