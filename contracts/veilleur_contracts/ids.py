"""The names things go by, and the shape each must have.

Every id that crosses a boundary is short lower-case ASCII, so that it can stand in a topic, a file name and a table
without quoting, and cannot carry a sentence.
"""

import re
import zlib
from typing import Annotated, Final

import msgspec

ID_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$"
SHARDS: Final = 16

Slug = Annotated[str, msgspec.Meta(pattern=ID_PATTERN, max_length=32, description="a-z, 0-9 and inner hyphens, ≤ 32")]
BoxId = Slug
CameraId = Slug
PartId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$", max_length=24, description="as other ids, but ≤ 24"
    ),
]
"""Shorter than other ids, so that a Context with 16 lines and 16 zones still fits one record."""
LineId = PartId
ZoneId = PartId
ControllerId = Slug
Insee = Annotated[
    str,
    msgspec.Meta(pattern=r"^(?:[0-9]{2}|2[AB])[0-9]{3}$", max_length=5, description="INSEE code of the commune"),
]
Sha256Prefix = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$", max_length=16, description="first 64 bits of a SHA-256, hexadecimal")
]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", max_length=64, description="SHA-256, hexadecimal")]
VersionText = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$", max_length=14, description="major.minor.patch")
]

_ID = re.compile(ID_PATTERN)


def is_slug(text: str) -> bool:
    """Tell whether ``text`` may name a box, camera, line, zone or controller."""
    return _ID.fullmatch(text) is not None


def shard_of(box: str) -> int:
    """Return the shard, 0..15, whose ingest worker keeps the order of ``box``."""
    return zlib.crc32(box.encode("ascii")) % SHARDS
