"""Files in parts, as a client sends them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import httpx

MIB = 2**20
PART = 5 * MIB


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cut(content: bytes) -> list[bytes]:
    return [content[start : start + PART] for start in range(0, len(content), PART)] or [b""]


def started(client: httpx.Client, dataset_id: str, path: str, **fields: Any) -> dict[str, Any]:
    """The answer to the start of an upload."""
    response = client.post(f"/v1/datasets/{dataset_id}/uploads", json={"path": path, "part_bytes": PART} | fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


def place(upload: dict[str, Any]) -> str:
    return f"/v1/datasets/{upload['dataset_id']}/uploads/{upload['id']}"


def signed(client: httpx.Client, upload: dict[str, Any], parts: dict[int, bytes]) -> list[dict[str, Any]]:
    """URLs for parts by number."""
    body = {"parts": [{"number": number, "md5": md5(content)} for number, content in parts.items()]}
    response = client.post(f"{place(upload)}/urls", json=body)
    assert response.status_code == 200, response.text
    return list(response.json()["parts"])


def put(url: dict[str, Any], content: bytes) -> httpx.Response:
    return httpx.put(url["url"], content=content, headers=url["headers"])


def sent(client: httpx.Client, upload: dict[str, Any], parts: dict[int, bytes]) -> None:
    """Send parts by number."""
    for url in signed(client, upload, parts):
        assert put(url, parts[url["number"]]).status_code == 200


def finished(client: httpx.Client, upload: dict[str, Any], parts: Sequence[bytes], **fields: Any) -> httpx.Response:
    return client.post(f"{place(upload)}/complete", json={"md5s": [md5(part) for part in parts]} | fields)
