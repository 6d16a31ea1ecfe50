"""Makes the secrets of a compose installation at its first start, and leaves those that are there alone.

A file in `/given` (deploy/secrets of the clone) comes before what would be made. What each part may know is written to
the folder, a volume, that this part alone mounts. The standard library alone; run in the image of the control plane.
"""

import json
import secrets
import sys
from pathlib import Path
from urllib.parse import quote

GIVEN, ROOT = Path("/given"), Path("/secrets")
# parts run as users of their own, and read what they mount; nobody else mounts it
MODE = 0o444
MADE = {
    "admin_key": lambda: "mk_" + secrets.token_urlsafe(32),
    "postgres_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "s3_access_key": lambda: secrets.token_hex(10),
    "s3_secret_key": lambda: secrets.token_hex(20),
    "encryption_key": lambda: secrets.token_urlsafe(32),
    "grafana_password": lambda: secrets.token_urlsafe(18),
}
# written once: a database keeps its password, and what was sealed opens with the key that sealed it
FIXED = frozenset({"postgres_password", "encryption_key"})
# whole URLs, for a database or broker elsewhere
URLS = ("database_url", "redis_url")


def read(path: Path) -> str | None:
    """The content of a file without its line end; None when it is not there or is empty."""
    return (path.read_text().strip() or None) if path.is_file() else None


def values(given: Path, kept: Path) -> dict[str, str]:
    """Every secret: as given, or as it was, or new. SystemExit says which one may not change."""
    found: dict[str, str] = {}
    for name, make in MADE.items():
        wanted, old = read(given / name), read(kept / name)
        if wanted and old and wanted != old and name in FIXED:
            sys.exit(
                f"secrets/{name} differs from the one that this installation was made with; put the old one back, or "
                "see docs/deploy/security.md for how to change it"
            )
        found[name] = wanted or old or make()
    found |= {name: url for name in URLS if (url := read(given / name))}
    return found


def files(found: dict[str, str]) -> dict[str, str]:
    """The file of each part, by its path below the root."""
    database = f"postgresql+psycopg://medcoss:{quote(found['postgres_password'], safe='')}@postgres:5432/medcoss"
    redis = f"redis://:{quote(found['redis_password'], safe='')}@redis:6379/0"
    triton = {"s3": {"": {"secret_key": found["s3_secret_key"], "key_id": found["s3_access_key"]}}}
    return {
        "services/medcoss_database_url": found.get("database_url", database),
        "services/medcoss_redis_url": found.get("redis_url", redis),
        "services/medcoss_s3_access_key": found["s3_access_key"],
        "services/medcoss_s3_secret_key": found["s3_secret_key"],
        "services/medcoss_bootstrap_admin_key": found["admin_key"],
        "services/medcoss_encryption_key": found["encryption_key"],
        "postgres/password": found["postgres_password"],
        "redis/redis.conf": f"requirepass {found['redis_password']}",
        "s3/access_key": found["s3_access_key"],
        "s3/secret_key": found["s3_secret_key"],
        "triton/credentials.json": json.dumps(triton),
        "grafana/password": found["grafana_password"],
    }


def write(path: Path, text: str) -> None:
    """Put a file in the place of another at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.write_text(text + "\n")
    draft.chmod(MODE)
    draft.replace(path)


def main(given: Path = GIVEN, root: Path = ROOT) -> None:
    """Write what is missing or has changed."""
    found = values(given, root / "kept")
    for name in MADE:
        write(root / "kept" / name, found[name])
    for name, text in files(found).items():
        write(root / name, text)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(read(ROOT / "kept" / sys.argv[1]))  # noqa: T201 - what it was asked for
    else:
        main()
