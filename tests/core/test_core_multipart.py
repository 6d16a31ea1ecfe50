"""How large objects are cut, named and signed."""

import hashlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import assembly
from services.core.multipart import (
    LEAST_PART,
    MOST_PART,
    MOST_PARTS,
    PartsGone,
    PartsWrong,
    Plan,
    StoredPart,
    bind,
    usual_part_bytes,
    whole_etag,
)
from services.core.settings import Settings
from services.core.storage import ObjectStore


@given(size=st.integers(0, 5 * 2**40), part_bytes=st.none() | st.integers(LEAST_PART, MOST_PART))
def test_parts_are_the_file_and_fit_what_s3_takes(size: int, part_bytes: int | None) -> None:
    plan = Plan(size, part_bytes or usual_part_bytes(size))
    assert LEAST_PART <= plan.part_bytes <= MOST_PART
    assert (plan.count - 1) * plan.part_bytes + plan.size_of(plan.count) == size
    assert 0 < plan.size_of(plan.count) <= plan.part_bytes or size == 0
    assert part_bytes or plan.count <= MOST_PARTS


def test_a_signature_is_that_of_the_specification() -> None:
    """The example that Amazon gives for Signature Version 4 in a query."""
    scope = "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    url = (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={scope}&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=other"
    )
    signed = bind(url, "GET", {}, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    assert signed.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


def test_parts_are_put_together_once_and_are_gone_then(store: ObjectStore) -> None:
    key, content = "datasets/d/raw/ü b", b"tail"
    md5 = hashlib.md5(content).hexdigest()
    s3_id = store.multipart.begin(key)
    other = store.multipart.begin(f"{key}.bak")
    assert assembly.begun_for(store, key) == [s3_id], "and not what only begins alike"
    part = store.multipart.presign(key, s3_id, 1, len(content), md5, 60)
    assert httpx.put(part.url, content=content, headers=part.headers).status_code == 200
    assert store.multipart.parts(key, s3_id) == {StoredPart(1, len(content), md5)}
    with pytest.raises(PartsWrong):
        store.multipart.put_together(key, s3_id, ["0" * 32])
    store.multipart.put_together(key, s3_id, [md5])
    assert store.size_and_etag(key) == (len(content), whole_etag([md5]))
    with pytest.raises(PartsGone):
        store.multipart.parts(key, s3_id)
    for _ in range(2):
        store.multipart.abort(f"{key}.bak", other)
    with pytest.raises(PartsGone):
        store.multipart.put_together(f"{key}.bak", other, [md5])


def test_a_part_that_came_several_times_is_not_lost_between_two_pages(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [StoredPart(1, 1, "a"), StoredPart(2, 1, "b"), StoredPart(2, 1, "c"), StoredPart(3, 1, "d")]

    def page(_key: str, _s3_id: str, after: int = 0, limit: int = 2) -> tuple[list[StoredPart], bool]:
        rest = [part for part in listed if part.number > after]
        return rest[:limit], len(rest) > limit

    monkeypatch.setattr(store.multipart, "page", page)
    assert store.multipart.parts("key", "id") == set(listed)
