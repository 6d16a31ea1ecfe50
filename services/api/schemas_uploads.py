"""What the API takes and gives of files that arrive in parts."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.api.schemas import BYTES, Body, FilePath, Sha256
from services.core.multipart import LEAST_PART, MOST_PART, MOST_PARTS
from services.core.tables import UploadSession
from services.core.uploads import plan_of

# URLs in one answer
MOST_URLS = 1000
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="MD5 of the part's content, hexadecimal")]
PartNumber = Annotated[int, Field(ge=1, le=MOST_PARTS, description="number of the part, from 1")]


class UploadRequest(Body):
    """A file that is going to be sent in parts."""

    path: FilePath
    size: int | None = Field(
        None, ge=0, description="size of the file; may be left out when it was announced", json_schema_extra=BYTES
    )
    sha256: Sha256 | None = Field(
        None, description="SHA-256 of the whole file; may be left out when it was announced, or be told at the end"
    )
    part_bytes: int | None = Field(
        None, ge=LEAST_PART, le=MOST_PART, description="size of each part but the last; left out, one that suits",
        json_schema_extra=BYTES,
    )  # fmt: skip


class UploadOut(BaseModel):
    """A file that arrives in parts."""

    id: str = Field(description="identifier, upl_...")
    dataset_id: str = Field(description="dataset that it goes into, ds_...")
    path: str = Field(description="path inside the dataset")
    size: int = Field(description="size of the file", json_schema_extra=BYTES)
    sha256: str | None = Field(description="SHA-256 of the whole file; null when it was not told yet")
    part_bytes: int = Field(description="size of each part but the last", json_schema_extra=BYTES)
    part_count: int = Field(description="number of parts")
    state: Literal["open", "completing", "completed"] = Field(
        description="open: takes parts; completing: they are being put together; completed: the file is there"
    )
    created_at: datetime = Field(description="when it was started")
    expires_at: datetime = Field(description="when it is dropped unless somebody goes on with it")

    @classmethod
    def of(cls, row: UploadSession) -> "UploadOut":
        """A row as the API shows it."""
        own = {name: getattr(row, name) for name in cls.model_fields if name != "part_count"}
        return cls(**own, part_count=plan_of(row).count)


class PartToSend(Body):
    """A part that is about to be sent."""

    number: PartNumber
    md5: Md5


class PartsRequest(Body):
    """The parts that are about to be sent."""

    parts: list[PartToSend] = Field(min_length=1, max_length=MOST_URLS, description="numbers and MD5s of the parts")


class PartUrl(BaseModel):
    """Where one part goes; the object store refuses another size or another content."""

    number: int = Field(description="number of the part, from 1")
    size: int = Field(description="size of the part", json_schema_extra=BYTES)
    method: str = Field("PUT", description="HTTP method to use")
    url: str = Field(description="presigned URL that takes this one part until `expires_at`")
    headers: dict[str, str] = Field(description="headers that the request has to carry")


class PartUrls(BaseModel):
    """Where parts go."""

    parts: list[PartUrl] = Field(description="in the order of the request")
    expires_at: datetime = Field(description="when the URLs end")


class PartOut(BaseModel):
    """A part that has arrived. One that was sent with another content, too, may be listed with both."""

    number: int = Field(description="number of the part, from 1")
    size: int = Field(description="size of the part", json_schema_extra=BYTES)
    md5: str = Field(description="MD5 of its content, hexadecimal")


class UploadCompletion(Body):
    """What the file is made of."""

    md5s: list[Md5] = Field(min_length=1, max_length=MOST_PARTS, description="MD5 of every part, in order, hexadecimal")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the whole file, unless it was told before")


_DATASET, _PATH, _PART = "ds_0199c2b3f00a1b2c3d4e5", "slides.tar", 16 * 2**20
_EVENING = datetime(2026, 3, 3, tzinfo=UTC)
_URL = (
    f"https://s3.clinic.example/medcoss/datasets/{_DATASET}/raw/{_PATH}?partNumber=1&uploadId=...&X-Amz-Signature=..."
)
EXAMPLES = (
    UploadOut(
        id="upl_0199c2b3f11a1b2c3d4e5", dataset_id=_DATASET, path=_PATH, size=40 * 2**30, sha256=_SHA256,
        part_bytes=_PART, part_count=2560, state="open", created_at=datetime(2026, 3, 2, tzinfo=UTC),
        expires_at=_EVENING,
    ),
    PartUrls(
        parts=[PartUrl(number=1, size=_PART, url=_URL,
                       headers={"Content-Length": str(_PART), "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})],
        expires_at=_EVENING,
    ),
    PartOut(number=1, size=_PART, md5=_MD5),
)  # fmt: skip
ASKED = (
    UploadRequest(path=_PATH, size=40 * 2**30, sha256=_SHA256),
    PartsRequest(parts=[PartToSend(number=1, md5=_MD5)]),
    UploadCompletion(md5s=[_MD5]),
)
